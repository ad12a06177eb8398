"""Tracks of SAM3's memory tracker: the detector's logits in, `FrameResult`s out once they are settled."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..results import FrameResult, Instances, Masks
from ..segment.resampling import masks_at
from .cleanup import keep_best
from .fusion import Detected
from .memory_session import MemorySession, TrackedFrame

if TYPE_CHECKING:
    from ..segment.backend import ImageFeatures
    from ..segment.segmenter import EncodedPrompts, PromptDetections, Segmenter
    from .memory_tracker import MemoryTracker, TrackerFeatures
    from .policy import TrackingPolicy


class MemoryTracks:
    """The tracks of one video, see `litetext.track.video_tracks.VideoTracks`."""

    def __init__(
        self,
        segmenter: Segmenter,
        tracker: MemoryTracker,
        policy: TrackingPolicy,
        prompt_batch: int,
        frame_count: int | None,
    ) -> None:
        self._segmenter = segmenter
        self._policy = policy
        self._prompt_batch = prompt_batch
        self._tracker = tracker
        self.session = MemorySession(tracker, policy, frame_count)
        self._waiting: deque[_Waiting] = deque()
        self._removed: set[int] = set()
        self._names: dict[int, str] = {}
        self._features: TrackerFeatures | None = None
        self._frame = -1

    @torch.inference_mode()
    def step(
        self, frame: int, image: ImageFeatures, encoded: EncodedPrompts, prompts: Mapping[int, str]
    ) -> list[FrameResult]:
        """Go on by one frame, see `VideoTracks`."""
        self._names.update(prompts)
        self._frame = frame
        found = self._segmenter.detect_logits(
            image, encoded, threshold=self._policy.detection_threshold, batch_size=self._prompt_batch
        )
        self._features = self._tracker.features(image.state)
        detected = self._detected(found, list(prompts))
        tracked = self.session.step(frame, self._features, detected)
        self._removed |= tracked.removed
        presence = {name: one.presence for name, one in zip(prompts.values(), found, strict=True)}
        self._waiting.append(_Waiting(tracked, image.size, presence))
        settled = len(self._waiting) >= self._policy.hotstart_delay
        return [self._result(self._waiting.popleft())] if settled else []

    def finish(self) -> list[FrameResult]:
        """Return the frames that were not settled yet."""
        results = [self._result(one) for one in self._waiting]
        self._waiting.clear()
        return results

    @torch.inference_mode()
    def add_mask(self, image: ImageFeatures, mask: NDArray[np.bool_], prompt: int, name: str) -> int:
        """Start a track, see `VideoTracks`."""
        assert self._features is not None
        self._names[prompt] = name
        given = torch.from_numpy(np.ascontiguousarray(mask)).to(self._features.top.device)
        return self.session.add(self._frame, self._features, given, prompt).object_id

    @torch.inference_mode()
    def add_box(
        self, image: ImageFeatures, box: NDArray[np.float32], prompt: int, name: str, encoded: EncodedPrompts
    ) -> int:
        """Start a track with what SAM's decoder segments in a box, see `VideoTracks`."""
        assert self._features is not None
        height, width = image.size
        fractions = torch.from_numpy(box / np.array([width, height, width, height], np.float32))
        logits = self._tracker.in_boxes(fractions[None], self._features).logits[0]
        return self.add_mask(image, (logits > 0).cpu().numpy(), prompt, name)

    def remove(self, object_id: int) -> None:
        """Forget a track; it is in no result that is not out yet."""
        self.session.remove(object_id)
        self._removed.add(object_id)

    def drop(self, prompt: int, name: str) -> None:
        """Forget the tracks of a prompt."""
        gone = [track.object_id for track in self.session.tracks.objects if track.prompt == prompt]
        self.session.tracks.remove(gone)

    def state(self) -> dict[str, Any]:
        """Return all that frames to come depend on; `restore` goes on from it."""
        return {
            "tracks": self.session.tracks,
            "waiting": [[one.tracked, one.size, one.presence] for one in self._waiting],
            "removed": self._removed,
            "names": self._names,
            "frame": self._frame,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.session.tracks = state["tracks"]
        self._waiting = deque(_Waiting(*one) for one in state["waiting"])
        self._removed, self._names, self._frame = state["removed"], state["names"], state["frame"]

    def _detected(self, found: list[PromptDetections], prompts: list[int]) -> Detected:
        """The detections of all prompts that count, as tensors beside the tracker."""
        model = self._tracker.model
        height, width = self._tracker.low_resolution
        logits, scores, ids = [torch.zeros(0, height, width)], [torch.zeros(0)], []
        for prompt, one in zip(prompts, found, strict=True):
            rows = self._kept(one)
            logits.append(torch.from_numpy(one.mask_logits)[rows].reshape(-1, height, width))
            scores.append(torch.from_numpy(one.scores)[rows])
            ids += [prompt] * len(rows)
        return Detected(
            torch.cat(logits).to(model.device, model.dtype),
            torch.cat(scores).to(model.device),
            torch.tensor(ids, dtype=torch.long, device=model.device),
        )

    def _kept(self, found: PromptDetections) -> Tensor:
        """Rows of a prompt's detections above the threshold, without duplicates."""
        rows = torch.from_numpy(np.flatnonzero(found.scores > self._policy.detection_threshold))
        if not self._policy.nms_iou or len(rows) < 2:
            return rows
        masks, scores = torch.from_numpy(found.mask_logits)[rows] > 0, torch.from_numpy(found.scores)[rows]
        return rows[keep_best(masks, scores, self._policy.nms_iou)]

    def _result(self, waiting: _Waiting) -> FrameResult:
        """A frame as the user gets it: no empty or hidden track, and every pixel with one track of a prompt."""
        tracked, size = waiting.tracked, waiting.size
        hidden = tracked.hidden | self._removed
        masks = masks_at(tracked.logits.float().cpu().numpy(), size, 0.0)
        rows = [row for row in np.flatnonzero(masks.areas > 0).tolist() if tracked.object_ids[row] not in hidden]
        exclusive = _exclusive(
            masks[rows], [tracked.presences[row] for row in rows], [tracked.prompts[row] for row in rows]
        )
        names = list(dict.fromkeys([*waiting.presence, *(self._names[tracked.prompts[row]] for row in rows)]))
        index = np.array([names.index(self._names[tracked.prompts[row]]) for row in rows], dtype=np.int64)
        scores = np.array([tracked.scores[row] for row in rows], dtype=np.float32)
        instances = Instances(
            size=size,
            prompts=tuple(names),
            presence=np.array([waiting.presence.get(name, np.nan) for name in names], dtype=np.float32),
            boxes=exclusive.boxes,
            masks=exclusive,
            scores=scores,
            prompt_index=index,
        )
        order = np.lexsort((-scores, index))
        ids = np.array([tracked.object_ids[row] for row in rows], dtype=np.int64)
        return FrameResult(tracked.frame, ids[order], instances[order])


class _Waiting:
    """A frame that is not settled: what was tracked, the frame's size, and the presence of each prompt by its name."""

    __slots__ = ("presence", "size", "tracked")

    def __init__(self, tracked: TrackedFrame, size: tuple[int, int], presence: dict[str, float]) -> None:
        self.tracked, self.size, self.presence = tracked, size, presence


def _exclusive(masks: Masks, strengths: list[float], groups: list[int]) -> Masks:
    """Give every pixel that several masks of a group share to the strongest of them, the first of equals."""
    shared = masks.overlaps(masks) if len(masks) > 1 else np.zeros((0, 0))
    changed: dict[int, bytes] = {}
    for row in range(len(shared)):
        stronger = [
            other
            for other in np.flatnonzero(shared[row]).tolist()
            if other != row and groups[other] == groups[row] and (-strengths[other], other) < (-strengths[row], row)
        ]
        if stronger:
            left = masks[row] & ~masks[stronger].union()[0]
            changed[row] = Masks.from_dense(left[None]).counts[0]
    return Masks(masks.size, tuple(changed.get(row, counts) for row, counts in enumerate(masks.counts)))
