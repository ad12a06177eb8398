"""What is done to a batch of images: `Labeler.label_batch`, the same function on one machine and on a cluster."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..encoders import ConceptBank, build_bank
from ..encoders.exemplar import ExemplarConcept
from ..errors import LitetextError
from ..files import stamp
from ..images import read_image
from ..outputs import digest_of
from ..results import Instances
from ..segment import Segmenter
from ..segment.sources import locate
from ..tokenizer import clean
from .concepts import Concept
from .sources import ImageRef

_FAILURES = 8
"""Images in a row on which the model itself fails, after which it is the model that is at fault."""


@dataclass(frozen=True, slots=True)
class Model:
    """The segmenter of a job, in words that can be sent to another process.

    Attributes:
        name: what `Segmenter.from_pretrained` takes.
        text: another text encoder for it; None: its own.
        backend: ``"torch"`` or ``"onnx"``; None: whichever fits.
        device: where torch computes.
        dtype: of the weights, such as ``"bfloat16"``.
        convention: of the detector.
        allow_nan: go on with weights that are NaN or infinite.
        threads: of torch on a CPU, in a worker; None: as many as there are cores.
    """

    name: str
    text: str | None = None
    backend: str | None = None
    device: str | None = None
    dtype: str | None = None
    convention: str | None = None
    allow_nan: bool = False
    threads: int | None = None

    def load(self, text: Any = None) -> Segmenter:
        """Return the segmenter; with the text encoder ``text`` its own is not loaded."""
        if self.threads is not None and self.backend != "onnx":
            import torch

            torch.set_num_threads(self.threads)
        return Segmenter.from_pretrained(
            self.name,
            self.text if text is None else text,
            device=self.device,
            dtype=self.dtype,
            backend=self.backend,
            convention=self.convention,  # type: ignore[arg-type]
            allow_nan=self.allow_nan,
            threads=self.threads if self.backend == "onnx" else None,
        )

    def identity(self) -> list[Any]:
        """Return what changes when the results would: the names, and the state of the files behind them."""
        paths = [locate(self.name).detector, *([Path(self.text)] if self.text and Path(self.text).exists() else [])]
        return [self.name, self.text, self.backend, self.dtype, self.convention, [stamp(path) for path in paths]]


def asked_phrases(concepts: Sequence[Concept]) -> list[str]:
    """Return everything that a model is asked for some concepts, each once: a row of the bank each."""
    phrases = [phrase for concept in concepts for phrase in (*concept.asked, *concept.negatives)]
    return list({clean(phrase): phrase for phrase in reversed(phrases)}.values())[::-1]


def question_identity(concepts: Sequence[Concept]) -> list[Any]:
    """Return what changes when the model would be asked something else."""
    examples = [
        [digest_of(Path(example.image)), example.boxes, example.not_boxes]
        for concept in concepts
        for example in concept.examples
    ]
    return [asked_phrases(concepts), examples]


def write_bank(concepts: Sequence[Concept], segmenter: Segmenter, destination: Path, encoder_name: str) -> None:
    """Encode what is asked once for the whole job, examples included, and write it as a concept bank.

    Raises:
        LitetextError: an example's image cannot be read, or its boxes do not fit it.
    """
    shown: list[ExemplarConcept] = []
    for concept in concepts:
        for name, example in zip(concept.shown, concept.examples, strict=True):
            boxes = np.array([*example.boxes, *example.not_boxes], np.float32).reshape(-1, 4)
            labels = np.repeat([1, 0], [len(example.boxes), len(example.not_boxes)])
            shown.append(segmenter.concept(example.image, boxes, name, box_labels=labels, prompt=concept.name))
    names = {clean(one.name) for one in shown}
    words = [phrase for phrase in asked_phrases(concepts) if clean(phrase) not in names]
    build_bank(words, segmenter.text, destination, encoder_name=encoder_name, concepts=shown)


@dataclass(frozen=True, slots=True)
class ImageRow:
    """An image to label.

    Attributes:
        ref: where it is.
        content: the bytes of its file.
        sha256: of ``content``, in hexadecimal.
    """

    ref: ImageRef
    content: bytes
    sha256: str


@dataclass(frozen=True, slots=True)
class LabeledRow:
    """What came of an image.

    Attributes:
        ref: where the image is.
        sha256: of its content; "" where it could not be read.
        found: what was found by each phrase that was asked; None where there is an error.
        error: why the image could not be labelled, or "".
    """

    ref: ImageRef
    sha256: str
    found: Instances | None = None
    error: str = ""


def read_rows(refs: Iterable[ImageRef]) -> tuple[list[ImageRow], list[LabeledRow]]:
    """Return images with their bytes, and those that cannot be read with the reason."""
    rows: list[ImageRow] = []
    unread: list[LabeledRow] = []
    for ref in refs:
        try:
            content = ref.read()
            rows.append(ImageRow(ref, content, hashlib.sha256(content).hexdigest()))
        except (LitetextError, OSError) as error:
            unread.append(LabeledRow(ref, "", error=_reason(error)))
    return rows, unread


class Labeler:
    """A segmenter that was told what to find.

    Args:
        segmenter: its text encoder is not used: what is asked comes from the bank.
        bank: what `write_bank` wrote.
        phrases: see `asked_phrases`.
        keep: lowest score of what is kept.
        batch_size: phrases that are decoded together.
        image_batch: images that run through the vision encoder together.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        phrases: Sequence[str],
        *,
        keep: float,
        batch_size: int = 8,
        image_batch: int = 1,
    ) -> None:
        self._segmenter = segmenter
        self._prompts = segmenter.encode_prompts(list(phrases))
        self._keep = keep
        self._batch_size = batch_size
        self._image_batch = image_batch
        self._failures = 0

    @classmethod
    def from_bank(cls, model: Model, bank: Path, phrases: Sequence[str], **options: Any) -> Labeler:
        """Load a model without its text encoder: the bank holds the features of all phrases."""
        return cls(model.load(ConceptBank(bank)), phrases, **options)

    def label_batch(self, rows: Sequence[ImageRow]) -> list[LabeledRow]:
        """Return what is found in each of several images, in their order; images that fail come with their error.

        Raises:
            LitetextError: the model failed on `_FAILURES` images in a row: it is not the images.
        """
        photos: dict[int, NDArray[np.uint8]] = {}
        labeled: dict[int, LabeledRow] = {}
        for place, row in enumerate(rows):
            try:
                photos[place] = read_image(row.content)
            except (LitetextError, MemoryError) as error:
                labeled[place] = LabeledRow(row.ref, row.sha256, error=_named(error, row.ref.name))
        places = list(photos)
        for start in range(0, len(places), self._image_batch):
            batch = places[start : start + self._image_batch]
            for place, found in zip(batch, self._found([photos.pop(place) for place in batch]), strict=True):
                row = rows[place]
                labeled[place] = (
                    LabeledRow(row.ref, row.sha256, found)
                    if isinstance(found, Instances)
                    else LabeledRow(row.ref, row.sha256, error=_named(found, row.ref.name))
                )
        return [labeled[place] for place in range(len(rows))]

    def _found(self, photos: list[NDArray[np.uint8]]) -> list[Instances | Exception]:
        """What is found in each of some images; where they fail together, each is tried alone."""
        try:
            found: list[Instances | Exception] = list(self._detected(photos))
        except Exception as error:
            if len(photos) > 1:
                return [one for photo in photos for one in self._found([photo])]
            self._failures += 1
            if self._failures >= _FAILURES:
                reason = _reason(error)
                raise LitetextError(
                    f"the model failed on {_FAILURES} images in a row (the last: {reason}); it is not the images"
                ) from error
            return [error]
        self._failures = 0
        return found

    def _detected(self, photos: list[NDArray[np.uint8]]) -> list[Instances]:
        features = self._segmenter.encode_images(photos, image_batch=self._image_batch)  # type: ignore[arg-type]
        options = {"threshold": self._keep, "batch_size": self._batch_size}
        return [self._segmenter.detect(one, self._prompts, **options) for one in features]  # type: ignore[arg-type]


def _named(error: Exception, name: str) -> str:
    """Why an image failed; `read_image` knows it as "the image"."""
    return _reason(error).replace("the image", name, 1)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:500]
    return text if isinstance(error, LitetextError) else f"{type(error).__name__}: {text}"


@dataclass(frozen=True, slots=True)
class LabelerRecipe:
    """What makes a `Labeler`, in words that can be sent to another process."""

    model: Model
    bank: str
    phrases: tuple[str, ...]
    options: Mapping[str, Any]

    def load(self) -> Labeler:
        """Load the model."""
        return Labeler.from_bank(self.model, Path(self.bank), self.phrases, **self.options)

    def on(self, threads: int) -> LabelerRecipe:
        """Return the recipe for a worker with so many threads."""
        return replace(self, model=replace(self.model, threads=threads))
