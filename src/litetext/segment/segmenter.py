"""`Segmenter`: SAM3 behind the seam.

The vision encoder runs once for an image (`Segmenter.encode_image`); any number of prompts are decoded over its
features in batches (`Segmenter.detect`); and masks are decoded only for what will be shown. `Segmenter.segment` is the
two steps together. The text comes from any `TextEncoder`, and once the prompts are known the encoder can be released
(`Segmenter.freeze`). What runs it is a `Backend`: transformers' modules in torch, or an export by ONNX Runtime alone;
nothing here knows which.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..devices import AUTO, fast_cpu_dtype
from ..encoders.config import Positions
from ..encoders.exemplar import ExemplarConcept
from ..encoders.features import TextEncoder, TextFeatures
from ..encoders.loading import load_encoder
from ..errors import LitetextError, choice_error, extras_named
from ..images import ImageLike, is_one_image, read_image
from ..results import Instances, Masks
from .backend import Backend, Detections, ImageFeatures
from .convention import ConventionLike
from .questions import (
    VISUAL,
    BoxPrompts,
    Prompt,
    Question,
    batches,
    check_boxes_inside,
    checked_boxes,
    checked_prompt,
    per_image,
    per_image_prompts,
    questions_of,
)
from .resampling import masks_of
from .sources import has_graphs, is_exported, is_for_openvino, locate

if TYPE_CHECKING:
    import torch

    from .torch_backend import TorchBackend


BACKENDS = ("torch", "onnx", "openvino")
"""What runs a detector."""


class Segmenter:
    """SAM3 with a text encoder plugged in.

    Attributes:
        backend: the detector; `TorchBackend` or `OnnxBackend`.
        text: the text encoder; any object with ``encode(prompts) -> TextFeatures`` may be put in its place.
    """

    def __init__(self, backend: Backend, text: TextEncoder) -> None:
        self.backend = backend
        self.text = text

    def __repr__(self) -> str:
        return f"Segmenter({self.backend!r}, text={_named(self.text)})"

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        text: TextEncoder | str | os.PathLike[str] | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        threads: int | None = None,
        convention: ConventionLike | None = None,
        backend: str | None = None,
        allow_nan: bool = False,
        context_length: int | None = None,
        positions: Positions | None = None,
        image_size: int | None = None,
        compile: bool = False,
    ) -> Segmenter:
        """Load a segmenter.

        Args:
            name_or_path: ``"mini"``, which comes with the package; the folder or hub name of a transformers
                ``Sam3Model``, ``Sam3LiteTextModel`` or ``Sam3VideoModel``, such as
                ``"Simon7108528/sam3-litetext-s0"``; a whole SAM3 checkpoint file in Meta's layout; or the folder of a
                whole model's export, for which neither torch nor transformers is imported.
            text: the text encoder, or what `litetext.load_encoder` takes; by default the model's own.
            device: ``"cpu"``, ``"cuda"``, …; by default a GPU if there is one. An export runs on the CPU.
            dtype: of the weights and the computing, such as ``"bfloat16"``, or ``"auto"``: bfloat16 where the device
                multiplies it fast; float32 by default. An export's is fixed, unless OpenVINO runs it.
            threads: CPU threads of an export; by default as many as there are cores.
            convention: how the detector is run, ``"meta"`` or ``"transformers"``; by default as its checkpoint says,
                and where that says nothing as Meta runs it (see `litetext.segment.convention`). An export's is fixed.
            backend: ``"torch"`` or ``"onnx"`` for a model that runs in both, as the shipped ones do; by default torch
                where it is installed. ONNX Runtime starts in a fraction of the time. ``"openvino"`` runs what ONNX
                Runtime runs, and exports in int8 of its own, for which it is the default.
            allow_nan: load weights that are NaN or infinite too.
            context_length: tokens a prompt, if not the text encoder's own, which must be named or the model's.
            positions: how a position table longer than the context is read, see `litetext.load_encoder`.
            image_size: side of the square that pictures are resized to, in pixels: a multiple of the model's patch (14
                for SAM3); by default the one it was trained at. Fewer pixels take less time and show less. An export's
                is fixed.
            compile: run vision encoder and detector through `torch.compile`: minutes at the first image and the first
                numbers of prompts, for faster ones after (see `litetext.segment.compiled`).

        Raises:
            LitetextError: an unknown name, a model out of reach, or a checkpoint that does not fit exactly.
        """
        parts = locate(name_or_path)
        if backend not in (None, *BACKENDS):
            raise choice_error("backend", backend, BACKENDS)
        text_options = {"context_length": context_length, "positions": positions}
        text_options = {name: value for name, value in text_options.items() if value is not None}
        fixed = (dtype, convention, image_size, compile or None)
        wants_torch = device is not None or any(one is not None for one in fixed) or bool(text_options)
        if _runs_in_onnx(parts.detector, os.fspath(name_or_path), backend, wants_torch):
            in_openvino = backend == "openvino" or (backend is None and is_for_openvino(parts.detector))
            if str(device or "cpu") != "cpu" or any(one is not None for one in fixed[in_openvino:]):
                raise LitetextError(
                    f"{name_or_path} is an export: it runs on the CPU in the precision, at the size and under the "
                    "convention it was written in; leave out device, dtype, image_size, convention and compile, or "
                    "give the model it was made from"
                )
            detector: Backend = (_openvino_backend if in_openvino else _onnx_backend)(parts.detector, threads, dtype)
            text_device, text_backend = None, "onnx"
        else:
            detector = in_torch = _torch_backend().load(
                parts.detector,
                device,
                dtype,
                convention,
                allow_nan=allow_nan,
                image_size=image_size,
                compile=compile,
            )
            text_device, text_backend = in_torch.device, None
        text = parts.text if text is None else parts.encoder(text)
        if isinstance(text, str | os.PathLike):
            text = load_encoder(
                text,
                device=text_device,
                threads=threads,
                allow_nan=allow_nan,
                backend=text_backend,
                **text_options,  # type: ignore[arg-type]
            )
        elif text_options:
            raise LitetextError(f"{', '.join(text_options)} cannot be given with an encoder that is loaded; load it so")
        return cls(detector, text)

    @property
    def dim(self) -> int:
        """D, the numbers a text token must have; 256 for SAM3."""
        return self.backend.dim

    def encode_image(self, image: ImageLike) -> ImageFeatures:
        """Run the vision encoder on one image; `detect` then finds any prompts in it without running it again.

        Args:
            image: a path, a PIL image or an array.

        Raises:
            LitetextError: an unreadable image.
        """
        return self.encode_images([image])[0]

    def encode_images(self, images: Sequence[ImageLike], *, image_batch: int = 1) -> list[ImageFeatures]:
        """Run the vision encoder on several images.

        Args:
            images: of any sizes.
            image_batch: images that run together; more is faster on a GPU and takes more memory.

        Returns:
            The features of each image, in the order given; they are what each image alone gives.

        Raises:
            LitetextError: an unreadable image.
        """
        _check_batches(image_batch=image_batch)
        return [
            features
            for start in range(0, len(images), image_batch)
            for features in self._encoded(images[start : start + image_batch])
        ]

    def detect(
        self,
        features: ImageFeatures,
        prompts: Prompt | Sequence[Prompt] | EncodedPrompts | None = None,
        boxes: BoxPrompts = None,
        box_labels: BoxPrompts = None,
        *,
        threshold: float | Sequence[float] = 0.5,
        batch_size: int = 8,
    ) -> Instances:
        """Find every instance of every prompt in an image that was encoded before.

        Args:
            features: of the image, from `encode_image` of a segmenter with this backend.
            prompts: as in `segment`, of one image; so are the others. Or what `encode_prompts` made of all three.
            boxes: example boxes.
            box_labels: of the example boxes.
            threshold: lowest score that counts, one for all prompts or one each; a concept's own comes first.
            batch_size: prompts run through the detector together.

        Raises:
            LitetextError: features of another model, or whatever `segment` refuses of prompts and boxes.
        """
        _check_batches(batch_size=batch_size)
        self._check_features(features)
        if not isinstance(prompts, EncodedPrompts):
            prompts = self.encode_prompts(prompts, boxes, box_labels)
        return self._detected(features, prompts, _one_each(threshold, len(prompts)), batch_size)

    def encode_prompts(
        self, prompts: Prompt | Sequence[Prompt] | None = None, boxes: BoxPrompts = None, box_labels: BoxPrompts = None
    ) -> EncodedPrompts:
        """Run the text encoder on prompts; `detect` then finds them in any number of images without running it again.

        Args:
            prompts: as in `segment`, of one image; so are the others.
            boxes: example boxes.
            box_labels: of the example boxes.

        Raises:
            LitetextError: whatever `segment` refuses of prompts and boxes.
        """
        questions = questions_of(prompts, boxes, box_labels)
        return EncodedPrompts(tuple(questions), tuple(self._texts_of([questions])[0]))

    def detect_logits(
        self, features: ImageFeatures, prompts: EncodedPrompts, *, threshold: float = 0.5, batch_size: int = 8
    ) -> list[PromptDetections]:
        """Find every instance of every prompt, with the mask logits as the detector gives them.

        `detect` makes masks of the image's size of them; a video tracker goes on with the logits.

        Args:
            features: of the image, from `encode_image` of a segmenter with this backend.
            prompts: from `encode_prompts`.
            threshold: lowest score that counts.
            batch_size: prompts run through the detector together.

        Returns:
            The detections of each prompt, in the order of the detector's queries.
        """
        _check_threshold(threshold)
        _check_batches(batch_size=batch_size)
        self._check_features(features)
        found = self._passing(features, prompts, [threshold] * len(prompts), batch_size)
        return [detections for _, detections in sorted(found, key=lambda one: one[0])]

    @overload
    def segment(  # type: ignore[overload-overlap]
        self,
        images: ImageLike,
        prompts: Prompt | Sequence[Prompt] | None = None,
        boxes: BoxPrompts = None,
        box_labels: BoxPrompts = None,
        *,
        threshold: float = 0.5,
        batch_size: int = 8,
        image_batch: int = 1,
    ) -> Instances: ...

    @overload
    def segment(
        self,
        images: Sequence[ImageLike],
        prompts: Prompt | Sequence[Prompt] | Sequence[Sequence[Prompt]] | None = None,
        boxes: Sequence[BoxPrompts] | None = None,
        box_labels: Sequence[BoxPrompts] | None = None,
        *,
        threshold: float = 0.5,
        batch_size: int = 8,
        image_batch: int = 1,
    ) -> list[Instances]: ...

    def segment(
        self,
        images: Any,
        prompts: Any = None,
        boxes: Any = None,
        box_labels: Any = None,
        *,
        threshold: float = 0.5,
        batch_size: int = 8,
        image_batch: int = 1,
    ) -> Instances | list[Instances]:
        """Find every instance of every prompt: `encode_image` and `detect` together.

        Args:
            images: one image (a path, a PIL image, an array) or a list of them.
            prompts: noun phrases, or concepts shown by example (see `concept`). For several images a flat list is
                asked of each, a list of lists gives each image its own. None where boxes alone say what to find (SAM3
                then reads the word "visual").
            boxes: example boxes, x1, y1, x2, y2 in pixels of the upright image: for each prompt an [n, 4] array
                or None (for a lone prompt simply the [n, 4] array); for several images a list with that for
                each image.
            box_labels: in the shape of ``boxes`` without its last axis: 1 (or True) for an example of what to
                find, 0 for a counterexample; all examples by default.
            threshold: an instance counts when its score, presence times query score, is **at least** this, as
                in SA-Co's evaluation (transformers' post-processing wants it above).
            batch_size: prompts decoded together; more is faster on a GPU and takes more memory.
            image_batch: images that run through the vision encoder together, see `encode_images`.

        Returns:
            `Instances` for one image, a list of them for a list.

        Raises:
            LitetextError: an unreadable image, an empty prompt, boxes that do not fit the prompts, or an
                encoder whose width is not the detector's.
        """
        _check_threshold(threshold)
        _check_batches(batch_size=batch_size, image_batch=image_batch)
        if is_one_image(images):
            return self._segment_all([images], [prompts], [boxes], [box_labels], threshold, batch_size, 1)[0]
        images = list(images)
        if not images:
            return []
        return self._segment_all(
            images,
            per_image_prompts(prompts, len(images)),
            per_image("boxes", boxes, len(images)),
            per_image("box_labels", box_labels, len(images)),
            threshold,
            batch_size,
            image_batch,
        )

    def concept(
        self,
        image: ImageLike | ImageFeatures,
        boxes: ArrayLike,
        name: str,
        *,
        box_labels: ArrayLike | None = None,
        prompt: str = VISUAL,
        threshold: float | None = None,
    ) -> ExemplarConcept:
        """Return what example boxes show, to be found in other images too.

        In the image it was made of, a concept finds exactly what the boxes themselves find; how well it carries over to
        other images is up to the model, so look before you rely on it. `litetext.encoders.build_bank` keeps it.

        Args:
            image: with the examples; or its features, from `encode_image`.
            boxes: [n, 4] x1, y1, x2, y2 in pixels of the upright image.
            name: what results call it.
            box_labels: [n] 1 (or True) for an example, 0 for a counterexample; all examples by default.
            prompt: a noun phrase to go with the boxes; by default the word that SAM3 reads where boxes stand alone.
            threshold: the lowest score that counts for it; by default what each call asks for.

        Raises:
            LitetextError: an unreadable image, features of another model, or boxes that do not fit the image.
        """
        if not isinstance(image, ImageFeatures):
            image = self.encode_image(image)
        self._check_features(image)
        question = Question(name, *checked_boxes(name, boxes, box_labels))
        if not len(question.boxes):
            raise LitetextError(f"concept {name!r} needs at least one example box")
        text = self._features([prompt]).numpy()
        geometry = self._encode_boxes(image, [question])
        return ExemplarConcept(name, np.concatenate([text.tokens[0][~text.mask[0]], geometry[0]]), threshold)

    def _check_features(self, features: ImageFeatures) -> None:
        if features.backend is not self.backend:
            raise LitetextError("these image features are of another model; encode the image with this segmenter")

    def freeze(self, prompts: Sequence[str | ExemplarConcept]) -> Segmenter:
        """Return a segmenter with the same backend that knows only ``prompts`` and needs no text encoder.

        It refuses every other prompt (boxes alone ask "visual": name it too if they will); results are the same. Where
        nothing else holds the encoder any longer, its memory is returned to the system at the first call.
        """
        known = list(dict.fromkeys(prompt for prompt in map(checked_prompt, prompts) if isinstance(prompt, str)))
        rows = {prompt: row for row, prompt in enumerate(known)}
        return Segmenter(self.backend, _FrozenPrompts(rows, self._features(known), self.backend.return_memory))

    def _segment_all(
        self,
        images: list[ImageLike],
        prompts: list[Any],
        boxes: list[Any],
        box_labels: list[Any],
        threshold: float,
        batch_size: int,
        image_batch: int,
    ) -> list[Instances]:
        # All questions are checked, and all words embedded, before the first image is encoded.
        questions = [questions_of(*asked) for asked in zip(prompts, boxes, box_labels, strict=True)]
        encoded = [
            EncodedPrompts(tuple(asked), tuple(texts))
            for asked, texts in zip(questions, self._texts_of(questions), strict=True)
        ]
        found: list[Instances] = []
        for start in range(0, len(images), image_batch):
            for features in self._encoded(images[start : start + image_batch]):
                asked = encoded[len(found)]
                found.append(self._detected(features, asked, [threshold] * len(asked), batch_size))
        return found

    def _encoded(self, images: Sequence[ImageLike]) -> list[ImageFeatures]:
        """Run images through the vision encoder together."""
        photos = [read_image(image) for image in images]
        return [
            ImageFeatures((photo.shape[0], photo.shape[1]), image, self.backend, state)
            for photo, image, state in zip(photos, images, self.backend.encode_images(photos), strict=True)
        ]

    def _detected(
        self, image: ImageFeatures, prompts: EncodedPrompts, thresholds: Sequence[float], batch_size: int
    ) -> Instances:
        presence = np.zeros(len(prompts), dtype=np.float32)
        rows = _Rows(image.size)
        for index, found in self._passing(image, prompts, thresholds, batch_size):
            presence[index] = found.presence
            if len(found.scores):
                order = np.argsort(-found.scores, kind="stable")
                masks = masks_of(found.mask_logits[order], image.size, self.backend.convention.mask_resampling)
                rows.add(index, found.boxes[order], found.scores[order], masks)
        instances = rows.instances(prompts.names, presence, image.image)
        share = self.backend.convention.suppression
        return instances if share is None else instances.nms(share, containment=share)

    def _passing(
        self, image: ImageFeatures, prompts: EncodedPrompts, thresholds: Sequence[float], batch_size: int
    ) -> Iterator[tuple[int, PromptDetections]]:
        """Detections that reach their prompt's threshold, with its row; prompts of one kind come together."""
        asked, texts = prompts.questions, prompts.texts
        kinds = [text.kind(len(question.boxes)) for text, question in zip(texts, asked, strict=True)]
        for batch in batches(kinds, batch_size):
            detections = self._batch_detected(
                image, [asked[index] for index in batch], [texts[index] for index in batch]
            )
            least = [texts[index].threshold(thresholds[index]) for index in batch]
            chosen = [np.flatnonzero(scores >= one) for scores, one in zip(detections.scores, least, strict=True)]
            shown = {row: queries for row, queries in enumerate(chosen) if len(queries)}
            masks = self.backend.decode_masks_together(image.state, detections, shown)
            for row, (index, queries) in enumerate(zip(batch, chosen, strict=True)):
                yield (
                    index,
                    PromptDetections(
                        float(detections.presence[row]),
                        detections.boxes[row, queries],
                        detections.scores[row, queries],
                        next(masks) if row in shown else np.zeros((0, 1, 1), np.float32),
                    ),
                )

    def _batch_detected(self, image: ImageFeatures, asked: list[Question], texts: list[_Text]) -> Detections:
        """Decode questions of one kind over an image."""
        text = texts[0].features[[one.row for one in texts]]
        geometry = None
        if len(asked[0].boxes):
            geometry = self._encode_boxes(image, asked)
        elif texts[0].by_example:  # what stands behind its text is in its tokens already
            geometry = np.zeros((len(asked), 0, self.dim), dtype=np.float32)
        return self.backend.detect(image.state, text, geometry)

    def _encode_boxes(self, image: ImageFeatures, asked: list[Question]) -> NDArray[np.float32]:
        """The example boxes of questions about an image as tokens."""
        if not self.backend.convention.takes_boxes:
            raise LitetextError(
                "this model has no geometry encoder, so it cannot be shown example boxes; name in words what to find"
            )
        return self.backend.encode_boxes(image.state, *_examples(asked, image.size))

    def _texts_of(self, questions: list[list[Question]]) -> list[list[_Text]]:
        """Where the features of each image's questions are; every distinct prompt is embedded once."""
        prompts = [question.prompt for asked in questions for question in asked]
        texts: dict[Any, _Text] = {}
        words = list(dict.fromkeys(prompt for prompt in prompts if isinstance(prompt, str)))
        if words:
            features = self._features(words)
            texts.update({word: _Text(features, row) for row, word in enumerate(words)})
        for concept in prompts:
            if not isinstance(concept, str) and id(concept) not in texts:
                texts[id(concept)] = _Text(self._prepared(concept.features), 0)
        return [
            [texts[prompt if isinstance(prompt, str) else id(prompt)] for prompt in (one.prompt for one in asked)]
            for asked in questions
        ]

    def _features(self, prompts: list[str]) -> TextFeatures:
        return self._prepared(self.text.encode(prompts))

    def _prepared(self, features: TextFeatures) -> TextFeatures:
        if features.dim != self.dim:
            raise LitetextError(
                f"the text encoder gives {features.dim} numbers a token, but this detector reads {self.dim}; "
                "use an encoder made for this model"
            )
        return self.backend.prepare_text(features)


@dataclass(frozen=True, slots=True, eq=False)
class PromptDetections:
    """What one prompt finds in one image, in the order of the detector's queries.

    Attributes:
        presence: probability that the prompt is in the image at all.
        boxes: [n, 4] float32 x1, y1, x2, y2 as fractions of the image.
        scores: [n] float32.
        mask_logits: [n, h, w] float32, of the detector's own size; h and w mean nothing where n is 0.
    """

    presence: float
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    mask_logits: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class EncodedPrompts:
    """Prompts with the text encoder's features of them, from `Segmenter.encode_prompts`; they work for any image.

    Attributes:
        questions: the prompts and their example boxes.
        texts: where the features of each are.
    """

    questions: tuple[Question, ...]
    texts: tuple[_Text, ...]

    def __len__(self) -> int:
        return len(self.questions)

    def __add__(self, others: EncodedPrompts) -> EncodedPrompts:
        return EncodedPrompts(self.questions + others.questions, self.texts + others.texts)

    def __getitem__(self, rows: Sequence[int]) -> EncodedPrompts:
        return EncodedPrompts(tuple(self.questions[row] for row in rows), tuple(self.texts[row] for row in rows))

    @property
    def names(self) -> tuple[str, ...]:
        """What results call each."""
        return tuple(question.name for question in self.questions)


@dataclass(frozen=True, slots=True, eq=False)
class _Text:
    """One prompt's features: a row of those of several prompts."""

    features: TextFeatures
    row: int

    @property
    def by_example(self) -> bool:
        return self.features.by_example is not None and bool(self.features.by_example[self.row])

    def kind(self, boxes: int) -> Hashable:
        """What it has in common with the prompts that can be decoded together with it."""
        return id(self.features), self.by_example, boxes

    def threshold(self, otherwise: float) -> float:
        """The lowest score that counts for it."""
        own = np.nan if self.features.thresholds is None else float(self.features.thresholds[self.row])
        return otherwise if np.isnan(own) else own


class _Rows:
    """Instances in the making, collected prompt by prompt; every mask becomes run lengths as soon as it is there."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._parts: dict[int, tuple[NDArray[np.float32], NDArray[np.float32], Masks]] = {}

    def add(self, prompt: int, boxes: NDArray[np.float32], scores: NDArray[np.float32], masks: Masks) -> None:
        """Take the instances of one prompt: boxes [n, 4] as fractions, scores [n], masks."""
        self._parts[prompt] = (boxes, scores, masks)

    def instances(self, prompts: tuple[str, ...], presence: NDArray[np.float32], image: ImageLike | None) -> Instances:
        """All of them, in the order of the prompts."""
        height, width = self._size
        order = sorted(self._parts)
        parts = [self._parts[index] for index in order]
        return Instances(
            size=self._size,
            prompts=prompts,
            presence=presence,
            boxes=np.concatenate([np.zeros((0, 4), np.float32), *(boxes for boxes, _, _ in parts)])
            * np.array([width, height, width, height], np.float32),
            masks=Masks.concatenate((masks for _, _, masks in parts), self._size),
            scores=np.concatenate([np.zeros(0, np.float32), *(scores for _, scores, _ in parts)]),
            prompt_index=np.repeat(np.array(order, np.int64), [len(scores) for _, scores, _ in parts]),
            image=image,
        )


class _FrozenPrompts:
    """A text encoder that knows the prompts it was made with, and no other."""

    def __init__(self, rows: dict[str, int], features: TextFeatures, return_memory: Callable[[], None]) -> None:
        self._rows = rows
        self._features = features
        self._return_memory: Callable[[], None] | None = return_memory

    def encode(self, prompts: Sequence[str]) -> TextFeatures:
        run, self._return_memory = self._return_memory, None  # taken first: threads may share a segmenter
        if run is not None:  # while `freeze` ran, its caller still held the encoder
            run()
        unknown = [prompt for prompt in prompts if prompt not in self._rows]
        if unknown:
            raise LitetextError(
                f"the segmenter was frozen without the prompt {unknown[0]!r}; "
                "name it in freeze(), or set segmenter.text to an encoder"
            )
        return self._features[[self._rows[prompt] for prompt in prompts]]


def _named(text: TextEncoder) -> str:
    """A text encoder as people read it: its class where it does not say more itself."""
    return type(text).__name__ if type(text).__repr__ is object.__repr__ else repr(text)


def _check_threshold(threshold: float) -> None:
    if not 0 <= threshold <= 1:
        raise LitetextError(f"threshold must lie in 0..1, got {threshold}")


def _one_each(threshold: float | Sequence[float], count: int) -> Sequence[float]:
    """The threshold of each of ``count`` prompts."""
    thresholds = list(threshold) if isinstance(threshold, Sequence | np.ndarray) else [threshold] * count
    if len(thresholds) != count:
        raise LitetextError(f"give one threshold, or one for each of the {count} prompts, not {len(thresholds)}")
    for one in thresholds:
        _check_threshold(one)
    return thresholds


def _check_batches(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise LitetextError(f"{name} must be at least 1, got {size}")


def _examples(asked: list[Question], size: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Boxes [P, n, 4] (center x, center y, width, height as fractions) and labels [P, n]."""
    height, width = size
    for question in asked:
        check_boxes_inside(question, size)
    corners = np.stack([question.boxes for question in asked]) / np.array([width, height, width, height], np.float32)
    low, high = corners[..., :2], corners[..., 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=-1), np.stack([question.labels for question in asked])


def _runs_in_onnx(detector: Path, name: str, backend: str | None, wants_torch: bool) -> bool:
    """Whether ONNX Runtime runs a model: an export always, one with graphs beside it unless torch is wanted."""
    if is_exported(detector):
        if backend == "torch":
            raise LitetextError(f"{name} is an export, which torch does not run; leave out the backend")
        return True
    if backend in ("onnx", "openvino") and not has_graphs(detector):
        runtime = "ONNX Runtime" if backend == "onnx" else "OpenVINO"
        raise LitetextError(f"{name} has no graphs for {runtime}; write an export: litetext export {name} --whole")
    if backend is None:
        return has_graphs(detector) and not wants_torch and find_spec("torch") is None
    return backend != "torch"


def _onnx_backend(folder: Path, threads: int | None, _: object) -> Backend:
    from .onnx_backend import OnnxBackend

    return OnnxBackend(folder, threads=threads)


def _openvino_backend(folder: Path, threads: int | None, dtype: Any) -> Backend:
    from .openvino_backend import OpenVinoBackend

    dtype = fast_cpu_dtype() if dtype == AUTO else dtype
    return OpenVinoBackend(folder, threads=threads, dtype=None if dtype is None else str(dtype).removeprefix("torch."))


def _torch_backend() -> type[TorchBackend]:
    with extras_named():
        from .torch_backend import TorchBackend
    return TorchBackend
