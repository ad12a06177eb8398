"""The two ways to track, behind one face: linked detections, and SAM3's memory tracker.

Both take encoded frames and give settled `FrameResult`s; `litetext.track.video_session` knows no more of them than
`VideoTracks` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import LitetextError
from ..results import FrameResult, Masks
from ..results.rle import corner_ious
from .detection_session import DetectionSession

if TYPE_CHECKING:
    from ..segment.backend import ImageFeatures
    from ..segment.segmenter import EncodedPrompts, Segmenter
    from .policy import TrackingPolicy

_LEAST_BOX_IOU = 0.5
_WEAK = 0.05
"""Where the user points with a box, detections count from this score on."""


class VideoTracks(Protocol):
    """The tracks of one video, however they are made."""

    def step(
        self, frame: int, image: ImageFeatures, encoded: EncodedPrompts, prompts: Mapping[int, str]
    ) -> list[FrameResult]:
        """Go on by one frame; returned are the frames that are settled by it.

        Args:
            frame: its index.
            image: the frame, encoded.
            encoded: the prompts that are asked of it.
            prompts: their names by their ids, in the same order.
        """
        ...

    def finish(self) -> list[FrameResult]:
        """Return the frames that were not settled yet."""
        ...

    def add_mask(self, image: ImageFeatures, mask: NDArray[np.bool_], prompt: int, name: str) -> int:
        """Start a track in the last frame, with a mask [H, W] of it, and return its id."""
        ...

    def add_box(
        self, image: ImageFeatures, box: NDArray[np.float32], prompt: int, name: str, encoded: EncodedPrompts
    ) -> int:
        """Start a track in the last frame, with a box [4] in pixels, and return its id."""
        ...

    def remove(self, object_id: int) -> None:
        """Forget a track."""
        ...

    def drop(self, prompt: int, name: str) -> None:
        """Forget the tracks of a prompt."""
        ...


class LinkedDetections:
    """Tracks of detections alone, see `litetext.track.detection_session`."""

    def __init__(self, segmenter: Segmenter, policy: TrackingPolicy, prompt_batch: int) -> None:
        self._segmenter = segmenter
        self._prompt_batch = prompt_batch
        self._session = DetectionSession(policy)

    def step(
        self, frame: int, image: ImageFeatures, encoded: EncodedPrompts, prompts: Mapping[int, str]
    ) -> list[FrameResult]:
        """Go on by one frame, see `VideoTracks`."""
        thresholds = self._session.thresholds(encoded.names)
        found = self._segmenter.detect(image, encoded, threshold=thresholds, batch_size=self._prompt_batch)
        return [self._session.step(frame, found)]

    def finish(self) -> list[FrameResult]:
        """Return nothing: every frame is settled at once."""
        return []

    def add_mask(self, image: ImageFeatures, mask: NDArray[np.bool_], prompt: int, name: str) -> int:
        """Start a track, see `VideoTracks`."""
        return self._session.add(Masks.from_dense(mask[None]), name)

    def add_box(
        self, image: ImageFeatures, box: NDArray[np.float32], prompt: int, name: str, encoded: EncodedPrompts
    ) -> int:
        """Start a track with the detection that fits a box best, see `VideoTracks`."""
        names = encoded.names
        asked = encoded[[names.index(name)]] if name in names else self._segmenter.encode_prompts(name)
        found = self._segmenter.detect(image, asked, threshold=_WEAK)
        ious = corner_ious(box[None], found.boxes)[0] if len(found) else np.zeros(0)
        if not len(ious) or ious.max() < _LEAST_BOX_IOU:
            raise LitetextError(f"the detector finds no {name!r} in the box {box.tolist()}; give the object's mask")
        return self._session.add(found.masks[[int(ious.argmax())]], name)

    def remove(self, object_id: int) -> None:
        """Show a track no more."""
        self._session.remove(object_id)

    def drop(self, prompt: int, name: str) -> None:
        """Forget the tracks of a prompt."""
        self._session.drop(name)
