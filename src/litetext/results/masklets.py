"""What was found in a video: frame by frame as it comes, and all tracks of it together."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import LitetextError
from .formats import veval
from .formats.veval import Track
from .instances import Instances
from .masks import Masks
from .rle import Size


def object_number(object_id: int) -> int:
    """Return the number by which pictures and files call an object, from 1: 0 is the background of mask pictures."""
    return object_id + 1


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """The instances of one frame, each with the object that it is.

    Attributes:
        frame_index: from 0.
        object_ids: [N] int64, of each instance; an object keeps its id through the video.
        instances: what was found in the frame.
    """

    frame_index: int
    object_ids: NDArray[np.int64]
    instances: Instances

    def __post_init__(self) -> None:
        if self.object_ids.shape != (len(self.instances),):
            raise LitetextError(f"FrameResult.object_ids must be [{len(self.instances)}], got {self.object_ids.shape}")
        if len(np.unique(self.object_ids)) < len(self.object_ids):
            raise LitetextError(f"frame {self.frame_index} has an object twice; object_ids occur once in a frame")


@dataclass(frozen=True, slots=True, eq=False)
class Masklets:
    """The K objects tracked through one video for P prompts, and the R places where one is seen in a frame.

    Attributes:
        size: height and width of the frames in pixels.
        frame_count: frames of the video.
        prompts: the P prompts that were asked, found or not.
        object_ids: [K] int64, in the order of the objects' first appearance.
        prompt_index: [K] int64, row of ``prompts`` of each object.
        scores: [K] float32 in 0..1, the mean over the frames in which the object is seen.
        frames: [R] int64, the frame of each place, rising.
        objects: [R] int64, row of ``object_ids`` of each place.
        boxes: [R, 4] float32, x1, y1, x2, y2 in pixels.
        masks: R masks.
        frame_scores: [R] float32.
    """

    size: Size
    frame_count: int
    prompts: tuple[str, ...]
    object_ids: NDArray[np.int64]
    prompt_index: NDArray[np.int64]
    scores: NDArray[np.float32]
    frames: NDArray[np.int64]
    objects: NDArray[np.int64]
    boxes: NDArray[np.float32]
    masks: Masks
    frame_scores: NDArray[np.float32]

    def __post_init__(self) -> None:
        objects, places = len(self.object_ids), len(self.frames)
        shapes = {
            "prompt_index": (self.prompt_index.shape, (objects,)),
            "scores": (self.scores.shape, (objects,)),
            "objects": (self.objects.shape, (places,)),
            "boxes": (self.boxes.shape, (places, 4)),
            "masks": (self.masks.shape, (places, *self.size)),
            "frame_scores": (self.frame_scores.shape, (places,)),
        }
        for name, (given, wanted) in shapes.items():
            if given != wanted:
                raise LitetextError(f"Masklets.{name} must have shape {wanted}, got {given}")

    @classmethod
    def collect(cls, stream: Iterable[FrameResult], frame_count: int | None = None) -> Masklets:
        """Gather the frames of a video; masks stay run lengths, so a long video fits in memory.

        Args:
            stream: frames in rising order; frames in which nothing is seen may be missing.
            frame_count: frames of the video; by default up to the last that came.

        Raises:
            LitetextError: no frame at all, frames out of order or of several sizes, or an object that changes its
                prompt.
        """
        kept = list(stream)
        if not kept:
            raise LitetextError("there is no frame to collect; give at least one FrameResult")
        indices = [frame.frame_index for frame in kept]
        if any(later <= earlier for earlier, later in itertools.pairwise(indices)):
            raise LitetextError("frames must come in rising order, each once")
        prompts = tuple(dict.fromkeys(prompt for frame in kept for prompt in frame.instances.prompts))
        label_of: dict[int, str] = {}
        for frame in kept:
            for id, label in zip(frame.object_ids.tolist(), frame.instances.labels, strict=True):
                if label_of.setdefault(id, label) != label:
                    raise LitetextError(f"object {id} is {label_of[id]!r} first and {label!r} later; an object has one")
        row_of = {id: row for row, id in enumerate(label_of)}
        objects = np.array([row_of[id] for frame in kept for id in frame.object_ids.tolist()], dtype=np.int64)
        frame_scores = np.concatenate([frame.instances.scores for frame in kept]).astype(np.float32)
        return cls(
            size=kept[0].instances.size,
            frame_count=indices[-1] + 1 if frame_count is None else frame_count,
            prompts=prompts,
            object_ids=np.array(list(label_of), dtype=np.int64),
            prompt_index=np.array([prompts.index(label) for label in label_of.values()], dtype=np.int64),
            scores=_means(frame_scores, objects, len(label_of)),
            frames=np.repeat(indices, [len(frame.object_ids) for frame in kept]).astype(np.int64),
            objects=objects,
            boxes=np.concatenate([frame.instances.boxes for frame in kept]),
            masks=Masks.concatenate(frame.instances.masks for frame in kept),
            frame_scores=frame_scores,
        )

    @classmethod
    def from_tracks(cls, tracks: Sequence[Track], size: Size, frame_count: int, names: Mapping[int, str]) -> Masklets:
        """Return the tracks of one video as a VEval file holds them; an object's id is its row.

        Args:
            tracks: of one video; each has one score for all frames.
            size: height and width of the frames.
            frame_count: frames of the video.
            names: the noun phrase of each category id; these are the prompts.
        """
        prompts = tuple(dict.fromkeys(names.values()))
        places = [
            (t, row) for row, track in enumerate(tracks) for t, mask in enumerate(track.masks) if mask is not None
        ]
        places.sort()
        boxes = np.array([tracks[row].boxes[t] for t, row in places], dtype=np.float32).reshape(-1, 4)
        scores = np.array([track.score for track in tracks], dtype=np.float32)
        objects = np.array([row for _, row in places], dtype=np.int64)
        return cls(
            size=size,
            frame_count=frame_count,
            prompts=prompts,
            object_ids=np.arange(len(tracks)),
            prompt_index=np.array([prompts.index(names[track.category]) for track in tracks], dtype=np.int64),
            scores=scores,
            frames=np.array([t for t, _ in places], dtype=np.int64),
            objects=objects,
            boxes=np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1),
            masks=Masks(size, tuple(tracks[row].masks[t] or b"" for t, row in places)),
            frame_scores=scores[objects],
        )

    def __len__(self) -> int:
        return len(self.object_ids)

    def __repr__(self) -> str:
        counts = ", ".join(f"{prompt!r}: {self.labels.count(prompt)}" for prompt in self.prompts)
        return f"Masklets({self.size[1]}x{self.size[0]}, {self.frame_count} frames, {{{counts}}})"

    @property
    def labels(self) -> list[str]:
        """The prompt of each object."""
        return [self.prompts[index] for index in self.prompt_index.tolist()]

    def __getitem__(self, rows: slice | Sequence[int] | NDArray[Any]) -> Masklets:
        """Some of the objects (slice, indices or [K] bool) and where they are seen; prompts and frames stay."""
        index = np.arange(len(self))[
            rows if isinstance(rows, slice) else np.asarray(rows, dtype=None if len(rows) else int)
        ]
        row_of = np.full(len(self), -1)
        row_of[index] = np.arange(len(index))
        places = np.flatnonzero(row_of[self.objects] >= 0)
        return Masklets(
            self.size,
            self.frame_count,
            self.prompts,
            self.object_ids[index],
            self.prompt_index[index],
            self.scores[index],
            self.frames[places],
            row_of[self.objects[places]],
            self.boxes[places],
            self.masks[places],
            self.frame_scores[places],
        )

    def frame(self, frame_index: int) -> FrameResult:
        """Return what is seen in one frame; presence is not known here (NaN), and no image is kept."""
        places = np.flatnonzero(self.frames == frame_index)
        rows = self.objects[places]
        order = np.lexsort((-self.frame_scores[places], self.prompt_index[rows]))
        places, rows = places[order], rows[order]
        instances = Instances(
            size=self.size,
            prompts=self.prompts,
            presence=np.full(len(self.prompts), np.nan, np.float32),
            boxes=self.boxes[places],
            masks=self.masks[places],
            scores=self.frame_scores[places],
            prompt_index=self.prompt_index[rows],
        )
        return FrameResult(frame_index, self.object_ids[rows], instances)

    def stream(self) -> Iterator[FrameResult]:
        """Yield every frame of the video, in order; `collect` makes the same masklets of them."""
        return (self.frame(index) for index in range(self.frame_count))

    def tracks(self, video_id: int | str, category_ids: Sequence[int]) -> list[Track]:
        """Return the objects as evaluation and VEval files take them.

        Args:
            video_id: of the video.
            category_ids: for each of the P prompts the id of its noun phrase.
        """
        if len(category_ids) != len(self.prompts):
            raise LitetextError(
                f"one category id is needed for each of {len(self.prompts)} prompts, got {len(category_ids)}"
            )
        tracks = []
        for row in range(len(self)):
            places = np.flatnonzero(self.objects == row)
            frames = self.frames[places].tolist()
            boxes = self.boxes[places].astype(np.float64)
            boxes[:, 2:] -= boxes[:, :2]
            masks = dict(zip(frames, (self.masks.counts[place] for place in places.tolist()), strict=True))
            box_of = dict(zip(frames, map(tuple, boxes.tolist()), strict=True))
            tracks.append(
                Track(
                    tuple(masks.get(t) for t in range(self.frame_count)),
                    tuple(box_of.get(t) for t in range(self.frame_count)),
                    video_id,
                    int(category_ids[self.prompt_index[row]]),
                    row,
                    float(self.scores[row]),
                )
            )
        return tracks

    def to_veval(self, video_id: int | str, category_ids: Sequence[int]) -> list[dict[str, Any]]:
        """Return SA-Co VEval predictions, one entry an object, see `tracks`."""
        return [veval.prediction(track, self.size) for track in self.tracks(video_id, category_ids)]


def _means(values: NDArray[np.float32], groups: NDArray[np.int64], count: int) -> NDArray[np.float32]:
    """The mean of the values of each of ``count`` groups, none of which is empty."""
    sums = np.bincount(groups, weights=values, minlength=count)
    return (sums / np.maximum(np.bincount(groups, minlength=count), 1)).astype(np.float32)
