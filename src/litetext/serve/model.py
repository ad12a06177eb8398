"""The models of a server: batches of asks in, what was found out.

An image is encoded once while its features are kept; asks that come together are encoded and decoded together.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..encoders.bank import ConceptBank
from ..encoders.encoder_file import open_checkpoint
from ..encoders.exemplar import ExemplarConcept
from ..encoders.loading import load_encoder
from ..encoders.runtime import is_exported, read_export
from ..errors import LitetextError
from ..results import Instances
from ..segment import Segmenter
from ..segment.backend import ImageFeatures
from ..segment.questions import Question, check_boxes_inside, checked_boxes
from ..segment.segmenter import EncodedPrompts
from ..segment.sources import locate, quickest_backend
from .cache import FeatureCache, Kept
from .settings import ServerSettings
from .uploads import Upload, reduced
from .waiting import WaitingPixels

if TYPE_CHECKING:
    from ..track import VideoSegmenter


WAITING_BYTES = 1 << 30
"""Of decoded images that wait for the model; those that come while they take as much are decoded again."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One thing to find.

    Attributes:
        question: a phrase or a concept, with example boxes in pixels of the upright image.
        threshold: lowest score that counts.
    """

    question: Question
    threshold: float


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """An image that was sent.

    Attributes:
        upload: its file.
        size: height and width in pixels, upright.
        pixels: uint8 [h, w, 3] as the models see it, reduced or not; None where its features were kept when it came, or
            where so many decoded images wait that it is decoded again when its turn comes.
    """

    upload: Upload
    size: tuple[int, int]
    pixels: NDArray[np.uint8] | None

    @property
    def sha256(self) -> str:
        """Of its file."""
        return self.upload.sha256


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """An image and what to find in it.

    Attributes:
        model: that is asked, by its name.
        photo: the image.
        wanted: at least one.
    """

    model: str
    photo: Photo
    wanted: tuple[Wanted, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What was found in an image.

    Attributes:
        found: in pixels of the upright image; carries no image.
        cached: whether the image's features were kept from before.
    """

    found: Instances
    cached: bool


def wanted(
    prompt: str | ExemplarConcept,
    threshold: float,
    size: tuple[int, int],
    boxes: Sequence[Sequence[float]] | None = None,
    labels: Sequence[int] | None = None,
) -> Wanted:
    """Return one thing to find in an image of a size (height, width), checked.

    Raises:
        LitetextError: boxes that are none, or that lie outside the image.
    """
    name = prompt if isinstance(prompt, str) else prompt.name
    question = Question(prompt, *checked_boxes(name, boxes, labels))
    check_boxes_inside(question, size)
    return Wanted(question, threshold)


class Models:
    """The models of a server, by name; to be asked by one thread.

    Args:
        segmenters: by name; those that share a backend share the features of images.
        sources: the model and the text encoder of each, as `litetext.Segmenter.from_pretrained` takes them.
        cache: of features.
        max_side: that images are reduced to.
    """

    def __init__(
        self,
        segmenters: dict[str, Segmenter],
        sources: dict[str, tuple[str, str | None]],
        cache: FeatureCache,
        max_side: int | None = None,
    ) -> None:
        self.segmenters = segmenters
        self.sources = sources
        self.cache = cache
        self.max_side = max_side
        self.waiting = WaitingPixels(WAITING_BYTES)

    @classmethod
    def load(cls, settings: ServerSettings) -> Models:
        """Load what settings name.

        Raises:
            LitetextError: as `litetext.Segmenter.from_pretrained`, or a text encoder that fits no model.
        """
        segmenters: dict[str, Segmenter] = {}
        sources: dict[str, tuple[str, str | None]] = {}
        texts = settings.texts or (None,)
        for model in settings.models:
            first = _segmenter(model, texts[0], settings.device)
            for text in texts:
                named = model if text is None else f"{model} with {text}"
                sources[named] = model, text
                segmenters[named] = first if text == texts[0] else _with_text(first, model, text)
        for name, segmenter in segmenters.items():
            _check_width(name, segmenter)
        return cls(segmenters, sources, FeatureCache(settings.cache_megabytes), settings.max_side)

    @property
    def default(self) -> str:
        """The name of the model that answers where none is named."""
        return next(iter(self.segmenters))

    def parameters(self, model: str) -> int | None:
        """Return how many parameters a model's text encoder has, where its files say."""
        name, text = self.sources[model]
        parts = locate(name)
        place = Path(parts.encoder(text) if text is not None else parts.text)
        with contextlib.suppress(LitetextError):
            config = read_export(place).encoder if is_exported(place) else open_checkpoint(os.fspath(place)).config
            return config.parameters()
        return None

    def photo(self, model: str, upload: Upload) -> Photo:
        """Return an image, decoded where its features are not kept for a model.

        Raises:
            RefusalError: a damaged file.
        """
        kept = self.cache.get(self._key(model, upload.sha256))
        if kept is not None:
            return Photo(upload, kept.size, None)
        pixels = upload.pixels()
        return Photo(upload, (pixels.shape[0], pixels.shape[1]), self.waiting.kept(reduced(pixels, self.max_side)))

    def answers(self, asks: Sequence[Ask]) -> list[Answer]:
        """Return what is found, for each ask: images are encoded together, and so are texts.

        Raises:
            LitetextError: what a model refuses.
        """
        before = [self.cache.get(self._key(ask.model, ask.photo.sha256)) is not None for ask in asks]
        found: list[Instances | None] = [None] * len(asks)
        for model, rows in _grouped((ask.model, row) for row, ask in enumerate(asks)):
            answers = self._found(model, [asks[row] for row in rows])
            for row, one in zip(rows, answers, strict=True):
                found[row] = one
        return [Answer(one, kept) for one, kept in zip(found, before, strict=True) if one is not None]

    def concept(
        self, model: str, photo: Photo, name: str, asked: Wanted, prompt: str | None, threshold: float | None
    ) -> ExemplarConcept:
        """Return what example boxes in an image show, see `litetext.Segmenter.concept`.

        Args:
            model: that it belongs to.
            photo: the image.
            name: of the concept.
            asked: the boxes, with a question of any prompt.
            prompt: a phrase that goes with them.
            threshold: of the concept.
        """
        segmenter = self.segmenters[model]
        features = self._features(model, [Ask(model, photo, (asked,))])[photo.sha256]
        boxes = _scaled(asked.question, photo.size, features.size)
        more = {} if prompt is None else {"prompt": prompt}
        return segmenter.concept(features, boxes.boxes, name, box_labels=boxes.labels, threshold=threshold, **more)

    def _found(self, model: str, asks: Sequence[Ask]) -> list[Instances]:
        """What one model finds, for each ask; asks of one image are decoded together."""
        features = self._features(model, asks)
        prompts = self._prompts(model, asks, features)
        starts = np.cumsum([0, *(len(ask.wanted) for ask in asks)])
        found: list[Instances | None] = [None] * len(asks)
        for image, rows in _grouped((ask.photo.sha256, row) for row, ask in enumerate(asks)):
            several = [asks[row] for row in rows]
            together = prompts[[place for row in rows for place in range(starts[row], starts[row + 1])]]
            lowest = min(one.threshold for ask in several for one in ask.wanted)
            all_found = self.segmenters[model].detect(features[image], together, threshold=lowest)
            for row, one in zip(rows, _parts(all_found, several, together), strict=True):
                found[row] = one
        return [one for one in found if one is not None]

    def _prompts(self, model: str, asks: Sequence[Ask], features: dict[str, ImageFeatures]) -> EncodedPrompts:
        """Everything that is asked, its words embedded together."""
        questions = [
            _scaled(one.question, ask.photo.size, features[ask.photo.sha256].size) for ask in asks for one in ask.wanted
        ]
        boxes = [question.boxes if len(question.boxes) else None for question in questions]
        labels = [question.labels if len(question.boxes) else None for question in questions]
        return self.segmenters[model].encode_prompts([question.prompt for question in questions], boxes, labels)

    def _features(self, model: str, asks: Sequence[Ask]) -> dict[str, ImageFeatures]:
        """The features of each image by its hash; those that are not kept are encoded together."""
        asked = {ask.photo.sha256: ask.photo for ask in asks}
        kept = {sha256: self.cache.get(self._key(model, sha256)) for sha256 in asked}
        features = {sha256: one.features for sha256, one in kept.items() if one is not None}
        missing = [photo for sha256, photo in asked.items() if sha256 not in features]
        images = [reduced(one.upload.pixels(), self.max_side) if one.pixels is None else one.pixels for one in missing]
        encoded = self.segmenters[model].encode_images(images, image_batch=max(1, len(images)))
        for photo, one in zip(missing, encoded, strict=True):
            features[photo.sha256] = alone = replace(one, image=None)
            self.cache.put(self._key(model, photo.sha256), Kept(alone, photo.size))
        return features

    def _key(self, model: str, sha256: str) -> str:
        return f"{id(self.segmenters[model].backend)} {sha256}"


def video_segmenter(model: str, text: str | None, device: str | None) -> VideoSegmenter:
    """Return what tracks videos with a model, as well as it can.

    Raises:
        LitetextError: as `litetext.VideoSegmenter.from_pretrained`.
    """
    from ..track import VideoSegmenter

    return VideoSegmenter.from_pretrained(model, text, device=device, backend=quickest_backend(model, device))


def _segmenter(model: str, text: str | None, device: str | None) -> Segmenter:
    """A model, in ONNX Runtime where it has graphs and no other device is asked for."""
    return Segmenter.from_pretrained(model, text, device=device, backend=quickest_backend(model, device))


def _with_text(segmenter: Segmenter, model: str, text: str | None) -> Segmenter:
    """The same detector with another text encoder."""
    return Segmenter(segmenter.backend, load_encoder(locate(model).encoder(text)))  # type: ignore[arg-type]


def _check_width(name: str, segmenter: Segmenter) -> None:
    text = segmenter.text
    known = text.concepts()[:1] if isinstance(text, ConceptBank) else ["a"]
    try:
        segmenter.encode_prompts(known)
    except LitetextError as error:
        raise LitetextError(f"{name}: {error}") from None


def _grouped(pairs: Iterable[tuple[str, int]]) -> list[tuple[str, list[int]]]:
    """Rows by what they have in common, in the order of the first of each."""
    groups: dict[str, list[int]] = defaultdict(list)
    for key, row in pairs:
        groups[key].append(row)
    return list(groups.items())


def _scaled(question: Question, size: tuple[int, int], other: tuple[int, int]) -> Question:
    """A question about an image of a size (height, width), its boxes in pixels of the same image at another."""
    if size == other or not len(question.boxes):
        return question
    return replace(question, boxes=question.boxes * _factors(size, other))


def _factors(size: tuple[int, int], other: tuple[int, int]) -> NDArray[np.float32]:
    down, across = other[0] / size[0], other[1] / size[1]
    return np.array([across, down, across, down], np.float32)


def _parts(found: Instances, asks: Sequence[Ask], prompts: EncodedPrompts) -> list[Instances]:
    """Of what was found for several asks together, the part of each: above its thresholds, in its image's pixels.

    A concept's own threshold comes before the ask's, as in `litetext.Segmenter.detect`.
    """
    parts, start = [], 0
    for ask in asks:
        count = len(ask.wanted)
        thresholds = np.full(len(found.prompts), math.inf)
        thresholds[start : start + count] = [
            prompts.texts[row].threshold(one.threshold) for row, one in enumerate(ask.wanted, start)
        ]
        own = found[found.scores >= thresholds[found.prompt_index]]
        parts.append(_at_size(_only(own, start, count), ask.photo.size))
        start += count
    return parts


def _only(found: Instances, start: int, count: int) -> Instances:
    rows = slice(start, start + count)
    return replace(
        found, prompts=found.prompts[rows], presence=found.presence[rows], prompt_index=found.prompt_index - start
    )


def _at_size(found: Instances, size: tuple[int, int]) -> Instances:
    if found.size == size:
        return found
    return replace(found, size=size, boxes=found.boxes * _factors(found.size, size), masks=found.masks.resize(size))
