"""Video: noun phrases through time.

`VideoSegmenter` yields what is in each frame while frames come in; a `TrackingPolicy` says how detections become
tracks: SAM3's whole system, the same without its temporal corrections, or detections linked from frame to frame.
"""

from .linked_segmenter import LinkedSegmenter
from .policy import (
    BY_DETECTION,
    FULL,
    NO_TEMPORAL,
    POLICIES,
    PolicyName,
    TrackingPolicy,
    as_transformers,
    named_policy,
    with_threshold,
)
from .video_segmenter import VideoSegmenter
from .video_session import VideoSession

__all__ = [
    "BY_DETECTION",
    "FULL",
    "NO_TEMPORAL",
    "POLICIES",
    "LinkedSegmenter",
    "PolicyName",
    "TrackingPolicy",
    "VideoSegmenter",
    "VideoSession",
    "as_transformers",
    "named_policy",
    "with_threshold",
]
