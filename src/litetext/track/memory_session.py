"""One frame after the other through SAM3's video system: detect, propagate, fuse, remember.

The order of the steps is SAM3's: tracks are propagated without being remembered, matched with the frame's detections,
corrected and hidden by the policy's rules; only then is the frame encoded into memories, and new tracks start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import LitetextError
from .cleanup import without_holes
from .fusion import (
    HIDDEN_LOGIT,
    Association,
    Detected,
    associate,
    most_recently_hidden,
    without_shrunk,
)
from .memories import Memory, MemoryWindow, ObjectMemory
from .memory_tracker import MemoryTracker, Propagated, TrackerFeatures, memory_of
from .policy import TrackingPolicy
from .tracks import NEVER, TrackedObject, Tracks

_REMOVED_LATER = 100_000
"""When a track counts as hidden that is removed in this frame: after every other."""


@dataclass(frozen=True, slots=True, eq=False)
class TrackedFrame:
    """What the memory tracker says of one frame.

    Attributes:
        frame: its index.
        object_ids: of the N tracks.
        prompts: the prompt id of each.
        scores: of each, of the detection that found it.
        presences: how certain the tracker is that each is there, 0..1.
        logits: [N, h, w] of their masks.
        hidden: ids that are not shown in this frame.
        removed: ids that are gone since this frame, and wrong in every frame before.
    """

    frame: int
    object_ids: list[int]
    prompts: list[int]
    scores: list[float]
    presences: list[float]
    logits: Tensor
    hidden: set[int] = field(default_factory=set)
    removed: set[int] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class MemorySession:
    """The state of one video.

    Attributes:
        tracker: that propagates.
        policy: that decides.
        frame_count: of the video, or None where it is not known; a short video changes how pointers are read.
    """

    tracker: MemoryTracker
    policy: TrackingPolicy
    frame_count: int | None = None
    tracks: Tracks = field(init=False)

    def __post_init__(self) -> None:
        self.tracks = Tracks(self.policy)

    @property
    def _as_transformers(self) -> bool:
        return self.policy.convention == "transformers"

    @property
    def _pointers(self) -> int:
        most = self.tracker.greatest_pointers
        return most if self.frame_count is None else min(self.frame_count, most)

    @property
    def window(self) -> MemoryWindow:
        """How far memories reach."""
        config = self.tracker.model.config
        return MemoryWindow(
            memories=config.num_maskmem - 1,
            pointers=config.max_object_pointers_in_encoder - 1,
            conditioning=config.max_cond_frame_num,
            selection=self.policy.memory_selection,
            all_conditioning_pointers=self._as_transformers,
        )

    def step(self, frame: int, features: TrackerFeatures, detected: Detected) -> TrackedFrame:
        """Go on by one frame.

        Args:
            frame: its index, above the last.
            features: of the frame.
            detected: the detections of all prompts in it.
        """
        tracks = self.tracks
        objects = list(tracks.objects)
        propagated = self._propagated(objects, features, frame)
        logits = without_holes(propagated.logits, self.policy.hole_area)
        association = associate(detected, logits, _prompts(objects, logits.device), self.policy)
        fresh = self._fresh(association.new, detected)
        tracks.count_matches(association.matched, association.unmatched, association.empty)
        tracks.count_duplicates(association.matched)
        removed = tracks.wrong(frame)
        corrected = self._corrected(frame, association, objects, propagated)
        if objects:
            logits = self._hide_overlapping(logits, objects, frame, removed)
            self._remember(frame, objects, propagated, logits, features, detected, corrected)
        started = [
            tracks.start(int(detected.prompts[row]), float(detected.scores[row]), frame, ObjectMemory(self.window))
            for row in fresh
        ]
        self._start(started, fresh, detected, features, frame, objects, propagated, corrected)
        self._note_seen(frame, objects, logits, association)
        result = self._result(frame, objects, started, logits, detected, fresh, corrected, removed)
        tracks.objects = [*objects, *started]
        tracks.remove(removed | tracks.expired(frame))
        for track in tracks.objects:
            track.memory.forget(frame)
        return result

    def add(
        self, frame: int, features: TrackerFeatures, mask: Tensor, prompt: int, score: float = 1.0
    ) -> TrackedObject:
        """Start a track with a mask that the user gives.

        Args:
            frame: the index of the frame that the mask is of, the last that `step` saw.
            features: of that frame.
            mask: [H, W] bool.
            prompt: the id of the prompt that it counts as.
            score: of the track.

        Raises:
            LitetextError: a mask without a pixel.
        """
        if not bool(mask.any()):
            raise LitetextError(f"frame {frame}: the mask has no pixel; a track starts with a mask of the object")
        track = self.tracks.start(prompt, score, frame, ObjectMemory(self.window))
        found = self.tracker.condition(mask[None], features)
        self._condition(track, found, 0, frame)
        (encoded,) = self.tracker.encode(
            self.tracker.mask_logits(mask[None]), found.presence_logits, features, binary=True
        )
        track.memory.conditioning[frame].features = encoded
        self.tracks.objects.append(track)
        return track

    def remove(self, object_id: int) -> None:
        """Forget a track.

        Raises:
            LitetextError: an id that no track has.
        """
        if object_id not in {track.object_id for track in self.tracks.objects}:
            raise LitetextError(f"there is no track {object_id}; the ids of a frame are in its object_ids")
        self.tracks.remove([object_id])

    def bytes(self) -> int:
        """Return what the memories of all tracks take."""
        return sum(track.memory.bytes() for track in self.tracks.objects)

    def _propagated(self, objects: Sequence[TrackedObject], features: TrackerFeatures, frame: int) -> Propagated:
        if not objects:
            height, width = self.tracker.low_resolution
            top = features.top
            return Propagated(top.new_zeros(0, height, width), top.new_zeros(0), top.new_zeros(0, 1), top.new_zeros(0))
        found = self.tracker.propagate([one.memory for one in objects], features, frame, self._pointers)
        for track, presence in zip(objects, found.presence_logits.sigmoid().tolist(), strict=True):
            track.presence = presence
        return found

    def _fresh(self, new: list[int], detected: Detected) -> list[int]:
        """The detections that start a track: all new ones, or the best where there are too many."""
        room = self.policy.greatest_count - len(self.tracks.objects)
        if len(new) <= room:
            return new
        return sorted(new, key=lambda row: -float(detected.scores[row]))[: max(room, 0)]

    def _corrected(
        self, frame: int, association: Association, objects: Sequence[TrackedObject], propagated: Propagated
    ) -> dict[int, int]:
        """Tracks, by row, whose memory a detection corrects in this frame, and the detection."""
        every = self.policy.recondition_every
        if not every or frame % every:
            return {}
        sure = propagated.presence_logits > self.policy.recondition_score
        return {row: detection for row, detection in association.confirmed.items() if bool(sure[row])}

    def _hide_overlapping(
        self, logits: Tensor, objects: Sequence[TrackedObject], frame: int, removed: set[int]
    ) -> Tensor:
        """Empty the tracks that give way to another of their prompt."""
        if not self.policy.overlap_iou:
            return logits
        masks = logits > 0
        last = torch.tensor([_last_hidden(track, removed) for track in objects])
        gives_way = torch.zeros(len(objects), dtype=torch.bool)
        for prompt in dict.fromkeys(track.prompt for track in objects):
            rows = [row for row, track in enumerate(objects) if track.prompt == prompt]
            if len(rows) > 1:
                gives_way[rows] = most_recently_hidden(
                    masks[rows], last[rows].to(masks.device), self.policy.overlap_iou
                ).cpu()
        hidden = gives_way | ~masks.flatten(1).any(1).cpu()
        for track, value, now in zip(objects, last.tolist(), hidden.tolist(), strict=True):
            track.last_hidden = frame if now else value
        logits = logits.clone()
        logits[gives_way] = HIDDEN_LOGIT
        return logits

    def _remember(
        self,
        frame: int,
        objects: Sequence[TrackedObject],
        propagated: Propagated,
        logits: Tensor,
        features: TrackerFeatures,
        detected: Detected,
        corrected: dict[int, int],
    ) -> None:
        """Encode the frame into every track's memory."""
        for row, track in enumerate(objects):
            if row in corrected:
                self._correct(track, propagated, row, frame, features, detected.logits[corrected[row]])
            else:
                track.memory.tracked[frame] = memory_of(propagated, row)
        remembered = logits.clone()
        if self.policy.recondition_with == "detections" and self._as_transformers:
            for row, detection in corrected.items():
                remembered[row] = (detected.logits[detection] >= 0.5).to(logits.dtype)
        remembered = without_shrunk(self._for_memory(remembered), [track.prompt for track in objects])
        appearing = torch.where((remembered > 0).flatten(1).any(1), 10.0, -10.0).to(features.top)
        encoded = self.tracker.encode(remembered, appearing, features, binary=False)
        for track, one in zip(objects, encoded, strict=True):
            _newest(track.memory, frame).features = one

    def _for_memory(self, logits: Tensor) -> Tensor:
        """Mask logits as memories are made of them: Meta enlarges them before tracks compete for pixels."""
        return logits if self._as_transformers else self._enlarged(logits)

    def _enlarged(self, logits: Tensor) -> Tensor:
        height, width = self.tracker.low_resolution
        large = F.interpolate(
            logits[:, None].float(), size=(4 * height, 4 * width), mode="bilinear", align_corners=False
        )
        return large[:, 0].to(logits.dtype)

    def _correct(
        self,
        track: TrackedObject,
        propagated: Propagated,
        row: int,
        frame: int,
        features: TrackerFeatures,
        detection: Tensor,
    ) -> None:
        """Make the frame one that corrects a track's memory."""
        if self.policy.recondition_with == "detections" and not self._as_transformers:
            self._condition(track, self.tracker.condition(self._cut(detection[None]), features), 0, frame)
        else:
            track.memory.conditioning[frame] = memory_of(propagated, row)

    def _cut(self, logits: Tensor) -> Tensor:
        """Detections' mask logits [n, h, w] as the masks that new tracks start with."""
        return logits >= 0.5 if self._as_transformers else self._enlarged(logits) > 0

    @staticmethod
    def _condition(track: TrackedObject, found: Propagated, row: int, frame: int) -> None:
        track.memory.conditioning[frame] = memory_of(found, row)

    def _start(
        self,
        started: Sequence[TrackedObject],
        fresh: Sequence[int],
        detected: Detected,
        features: TrackerFeatures,
        frame: int,
        objects: Sequence[TrackedObject],
        propagated: Propagated,
        corrected: dict[int, int],
    ) -> None:
        """Give new tracks their first memory."""
        if not started:
            return
        masks = self._cut(detected.logits[list(fresh)])
        found = self.tracker.condition(masks, features)
        for row, track in enumerate(started):
            self._condition(track, found, row, frame)
        logits, appearing = self.tracker.mask_logits(masks), found.presence_logits
        others: list[int] = []
        if self._as_transformers and objects:
            others = [row for row in range(len(objects)) if row not in corrected]
            logits = torch.cat([self.tracker.enlarged(propagated.logits[others]), logits])
            appearing = torch.cat([propagated.presence_logits[others], appearing])
        encoded = self.tracker.encode(logits, appearing, features, binary=True)
        for track, one in zip([*(objects[row] for row in others), *started], encoded, strict=True):
            _newest(track.memory, frame).features = one

    @staticmethod
    def _note_seen(frame: int, objects: Sequence[TrackedObject], logits: Tensor, association: Association) -> None:
        matched = {row for rows in association.matched for row in rows}
        there = (logits > 0).flatten(1).any(1).tolist() if objects else []
        for row, track in enumerate(objects):
            if there[row] or row in matched:
                track.last_seen = frame

    def _result(
        self,
        frame: int,
        objects: Sequence[TrackedObject],
        started: Sequence[TrackedObject],
        logits: Tensor,
        detected: Detected,
        fresh: Sequence[int],
        corrected: dict[int, int],
        removed: set[int],
    ) -> TrackedFrame:
        shown = torch.cat([logits, without_holes(detected.logits[list(fresh)], self.policy.hole_area)])
        tracks = [*objects, *started]
        presences = [track.presence for track in tracks]
        if self._as_transformers and removed:
            shown, presences = _shifted(shown, presences, [track.object_id not in removed for track in tracks], started)
        for row, detection in corrected.items():
            shown[row] = detected.logits[detection]
        return TrackedFrame(
            frame,
            [track.object_id for track in tracks],
            [track.prompt for track in tracks],
            [track.score for track in tracks],
            presences,
            shown,
            self.tracks.worn_out(),
            removed,
        )


def _prompts(objects: Sequence[TrackedObject], device: torch.device) -> Tensor:
    return torch.tensor([track.prompt for track in objects], dtype=torch.long, device=device)


def _newest(memory: ObjectMemory, frame: int) -> Memory:
    return memory.conditioning[frame] if frame in memory.conditioning else memory.tracked[frame]


def _last_hidden(track: TrackedObject, removed: set[int]) -> int:
    if track.last_hidden is not None:
        return track.last_hidden
    return _REMOVED_LATER if track.object_id in removed else NEVER


def _shifted(
    shown: Tensor, presences: list[float], kept: list[bool], started: Sequence[TrackedObject]
) -> tuple[Tensor, list[float]]:
    """Return masks and presences as transformers gives them in a frame that removes tracks.

    There the tracks behind a removed one get what belongs to the track before them; a new one keeps its mask.
    """
    old = len(kept) - len(started)
    rows = [row for row, keep in enumerate(kept) if keep]
    masks, given = shown.clone(), list(presences)
    for place, row in enumerate(rows[:old]):
        given[row] = presences[place]
        if row < old:
            masks[row] = shown[place]
    return masks, given
