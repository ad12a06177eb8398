"""Any image segmenter as a video system: what it finds in every frame, linked."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from ..images import ImageLike
from ..results import FrameResult, Instances, Masklets
from .detection_session import DetectionSession
from .policy import BY_DETECTION, TrackingPolicy


class ImageSegmenter(Protocol):
    """Anything that finds noun phrases in an image."""

    def segment(self, images: Any, prompts: Sequence[str], *, threshold: float) -> Instances:
        """Return what is found for each prompt with a score of at least ``threshold``."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class LinkedSegmenter:
    """Tracking by detection with another detector than SAM3, as table 4's baselines are.

    Attributes:
        segmenter: the detector.
        policy: its thresholds.
    """

    segmenter: ImageSegmenter
    policy: TrackingPolicy = BY_DETECTION

    def stream(self, frames: Iterable[ImageLike], prompts: Sequence[str]) -> Iterator[FrameResult]:
        """Yield what is in each frame, while frames come in."""
        session = DetectionSession(self.policy)
        for index, frame in enumerate(frames):
            found = self.segmenter.segment(frame, prompts, threshold=self.policy.weak_threshold)
            yield session.step(index, found)

    def track(self, frames: Iterable[ImageLike], prompts: Sequence[str]) -> Masklets:
        """Return all tracks of a video."""
        return Masklets.collect(self.stream(frames, prompts))
