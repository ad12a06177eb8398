"""Tracking by detection: what the detector finds in every frame, linked by Roboflow's `trackers`.

ByteTrack predicts where each box goes and assigns detections by box IoU, the good ones first, then weak ones to the
tracks that are left; it knows no classes, so every prompt has a tracker of its own. Masks decide where boxes cannot:
among detections whose boxes all but coincide, identities follow the overlap with the masks of the frame before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import LitetextError, extras_named
from ..results import FrameResult, Instances, Masks
from ..results.rle import corner_ious
from .policy import TrackingPolicy

if TYPE_CHECKING:
    from trackers import ByteTrackTracker

_TIED = 0.5
"""Detections whose boxes overlap at least this much are told apart by their masks."""

_LEAST_IOU = 0.1
"""Of a detection's box with the place that a track is expected in."""

_PENDING = 5
"""Frames for which a detection that was seen once waits for its second."""

_UNTRACKED = -1


@dataclass(slots=True, eq=False)
class DetectionSession:
    """The state of one video.

    Attributes:
        policy: its thresholds.
        removed: ids that are not shown any more.
    """

    policy: TrackingPolicy
    removed: set[int] = field(default_factory=set)
    _links: dict[str, _PromptLinks] = field(default_factory=dict)
    _next_id: int = 0

    def thresholds(self, prompts: Sequence[str]) -> list[float]:
        """Return the score from which a detection of each prompt can matter in the next frame.

        Weak detections only continue tracks: a prompt without any needs none of them.
        """
        weak, strong = self.policy.weak_threshold, self.policy.new_object_threshold
        tracked = {prompt for prompt, links in self._links.items() if links.has_tracks}
        return [weak if prompt in tracked else max(weak, strong) for prompt in prompts]

    def step(self, frame: int, found: Instances) -> FrameResult:
        """Go on by one frame.

        Args:
            frame: its index, above the last.
            found: the detections of all prompts in it, at least from their `thresholds` on.
        """
        if self.policy.nms_iou:
            found = found.nms(self.policy.nms_iou)
        found = found[np.flatnonzero(found.masks.areas > 0)]
        ids = np.full(len(found), _UNTRACKED, dtype=np.int64)
        for prompt in dict.fromkeys([*self._links, *found.prompts]):
            rows = np.flatnonzero([label == prompt for label in found.labels])
            links = self._links.setdefault(prompt, _PromptLinks(self.policy))
            ids[rows] = links.assign(found[rows], self._new_ids)
        shown = np.flatnonzero((ids != _UNTRACKED) & ~np.isin(ids, list(self.removed)))
        return FrameResult(frame, ids[shown], found[shown])

    def add(self, mask: Masks, prompt: str) -> int:
        """Start a track with a mask (one) of the last frame that `step` saw, and return its id."""
        links = self._links.setdefault(prompt, _PromptLinks(self.policy))
        (id,) = self._new_ids(1)
        links.add(id, mask)
        return id

    def remove(self, object_id: int) -> None:
        """Show a track no more.

        Raises:
            LitetextError: an id that no track has had.
        """
        if not 0 <= object_id < self._next_id:
            raise LitetextError(f"there is no track {object_id}; the ids of a frame are in its object_ids")
        self.removed.add(object_id)

    def drop(self, prompt: str) -> None:
        """Forget the tracks of a prompt."""
        self._links.pop(prompt, None)

    def _new_ids(self, count: int) -> list[int]:
        self._next_id += count
        return list(range(self._next_id - count, self._next_id))


class _PromptLinks:
    """The tracks of one prompt."""

    def __init__(self, policy: TrackingPolicy) -> None:
        self._policy = policy
        self._tracker = _byte_track(policy)
        self._id_of: dict[int, int] = {}  # the library's id -> ours
        self._last = _Placed(np.zeros((0, 4), np.float32), None, np.zeros(0, np.int64))
        self._places: dict[int, tuple[int, NDArray[np.float32]]] = {}  # id -> when and where it was last
        self._steps = 0

    def assign(self, found: Instances, new_ids: _NewIds) -> NDArray[np.int64]:
        """The id of each detection of a frame; `_UNTRACKED` for one too weak to start a track."""
        self._steps += 1
        theirs = self._tracked(found)
        ids = np.array([self._id_of.get(id, _UNTRACKED) for id in theirs.tolist()], dtype=np.int64)
        strong = (theirs != _UNTRACKED) | (found.scores >= self._policy.new_object_threshold)
        for row in np.flatnonzero((ids == _UNTRACKED) & strong).tolist():
            ids[row] = self._known(found.boxes[row], ids, new_ids)
            if theirs[row] != _UNTRACKED:
                self._id_of[int(theirs[row])] = int(ids[row])
        self._untie(found, ids)
        self._note(found, ids)
        return ids

    @property
    def has_tracks(self) -> bool:
        """Whether there are tracks that a weak detection could continue."""
        return bool(self._tracker.tracks)

    def add(self, id: int, mask: Masks) -> None:
        """Let a mask of the last frame be a track."""
        import supervision as sv

        last = self._last
        boxes, ids = np.concatenate([last.boxes, mask.boxes]), np.append(last.ids, id)
        # the library starts tracks from what no track fits: all tracked detections of the frame are given once more
        self._tracker.update(sv.Detections(xyxy=boxes, confidence=np.ones(len(ids), np.float32)))
        self._last = _Placed(boxes, mask if last.masks is None else Masks.concatenate([last.masks, mask]), ids)
        self._places[id] = (self._steps, mask.boxes[0])

    def _tracked(self, found: Instances) -> NDArray[np.int64]:
        """The library's id of each detection."""
        import supervision as sv

        rows = np.arange(len(found))
        detections = sv.Detections(xyxy=found.boxes, confidence=found.scores, data={"row": rows})
        tracked = self._tracker.update(detections)
        ids = np.full(len(found), _UNTRACKED, dtype=np.int64)
        if len(tracked):
            ids[np.asarray(tracked.data["row"])] = np.asarray(tracked.tracker_id)
        return ids

    def _known(self, box: NDArray[np.float32], taken: NDArray[np.int64], new_ids: _NewIds) -> int:
        """The id of a detection that the library does not know yet: it names a track only in its second frame."""
        held = {*self._id_of.values(), *taken.tolist()}
        free = [id for id, (step, _) in self._places.items() if id not in held and self._steps - step <= _PENDING]
        if free:
            ious = corner_ious(box[None], np.stack([self._places[id][1] for id in free]))[0]
            if ious.max() >= _LEAST_IOU:
                return free[int(ious.argmax())]
        return new_ids(1)[0]

    def _note(self, found: Instances, ids: NDArray[np.int64]) -> None:
        """Remember where everything is; of tracks that are gone for good, nothing."""
        tracked = np.flatnonzero(ids != _UNTRACKED)
        last = self._last = _Placed(found.boxes[tracked], found.masks[tracked], ids[tracked])
        self._places |= {int(id): (self._steps, box) for id, box in zip(last.ids, last.boxes, strict=True)}
        alive = {track.tracker_id for track in self._tracker.tracks}
        self._id_of = {theirs: ours for theirs, ours in self._id_of.items() if theirs in alive}
        kept = {*self._id_of.values(), *last.ids.tolist()}
        self._places = {
            id: (step, box) for id, (step, box) in self._places.items() if id in kept or self._steps - step <= _PENDING
        }

    def _untie(self, found: Instances, ids: NDArray[np.int64]) -> None:
        """Let masks decide which of detections with nearly the same box is which."""
        last = self._last
        known = np.flatnonzero(np.isin(ids, last.ids) & (ids != _UNTRACKED))
        if len(known) < 2 or last.masks is None:
            return
        for group in _groups(corner_ious(found.boxes[known], found.boxes[known]) >= _TIED):
            rows = known[group]
            if len(rows) > 1:
                places = np.array([int(np.flatnonzero(last.ids == id)[0]) for id in ids[rows]])
                ids[rows] = _by_masks(found.masks[rows], last.masks[places], ids[rows])


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
    """The detections of a frame that belong to tracks, and their ids."""

    boxes: NDArray[np.float32]
    masks: Masks | None
    ids: NDArray[np.int64]


if TYPE_CHECKING:
    from collections.abc import Callable

    _NewIds = Callable[[int], list[int]]


def _byte_track(policy: TrackingPolicy) -> ByteTrackTracker:
    with extras_named():
        from trackers import ByteTrackTracker
    return ByteTrackTracker(
        lost_track_buffer=policy.expire_after or 30,
        track_activation_threshold=policy.new_object_threshold,
        high_conf_det_threshold=policy.detection_threshold,
        minimum_consecutive_frames=1,
        minimum_iou_threshold=_LEAST_IOU,
    )


def _groups(linked: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """The connected groups of a symmetric relation [n, n]."""
    from scipy.sparse.csgraph import connected_components

    count, labels = connected_components(linked, directed=False)
    return [np.flatnonzero(labels == label) for label in range(count)]


def _by_masks(now: Masks, before: Masks, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """``ids`` in the order in which the masks ``now`` overlap those of the ids ``before`` most."""
    from scipy.optimize import linear_sum_assignment

    _, columns = linear_sum_assignment(now.iou(before), maximize=True)
    return ids[columns]
