"""How detections and tracks are brought together, frame by frame: the numbers, and the presets of the paper's table 4.

SAM3's own system (`full`) corrects its memory by the detector, waits before it shows a track, and removes tracks that
turn out wrong. `no-temporal` leaves these out ("w/o temporal disambiguation"). `by-detection` has no memory at all: it
links what the detector finds in every frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeAlias, get_args

from ..errors import LitetextError, choice_error

PolicyName = Literal["full", "no-temporal", "by-detection"]
Recondition = Literal["detections", "tracks"]
TrackerConvention = Literal["meta", "transformers"]


@dataclass(frozen=True, slots=True)
class TrackingPolicy:
    """What decides which tracks there are. Scores lie in 0..1, delays and gaps are frames, areas pixels of small masks.

    Attributes:
        name: what messages and tables call it.
        memory: whether SAM3's memory tracker carries masks from frame to frame; if not, detections alone are linked.
        detection_threshold: a detection counts above this score.
        new_object_threshold: a detection starts a track from this score on.
        weak_threshold: where detections alone are linked, a weaker one above this score still continues a track, as
            ByteTrack does; it starts none.
        nms_iou: of two detections of a prompt whose masks overlap more than this, the better one stays; 0: both do.
        association_iou: a detection belongs to every track that it overlaps at least this much.
        matched_iou: a track is confirmed by a detection that it overlaps at least this much.
        hotstart_delay: frames that a result waits, so that tracks that turn out wrong are never shown.
        hotstart_unmatched: frames without a detection after which a track younger than the delay is removed.
        hotstart_duplicates: frames beside an older track after which a track younger than the delay is removed.
        suppress_unmatched: whether older tracks without a detection are hidden when their keep-alive is used up.
        initial_keep_alive: of a new track; a matched frame adds one, an unmatched frame takes one.
        greatest_keep_alive: it never grows beyond this.
        least_keep_alive: nor falls below this.
        keep_alive_when_empty: whether frames in which the track has no pixel leave it as it is.
        overlap_iou: of two tracks of a prompt that overlap at least this much, the one that was hidden last is emptied;
            0: neither is.
        recondition_every: frames between corrections of the memory by detections; 0: never.
        recondition_with: the mask that corrects: the detection's, or the track's own, which the detection confirms.
        recondition_score: only detections and tracks above this score correct.
        recondition_iou: only a detection that overlaps the track this much corrects it.
        hole_area: holes and specks up to this many pixels are removed from masks; 0: none are.
        memory_selection: whether the memories are the last frames in which the object was well seen, not simply the
            last frames.
        convention: whose details: Meta's, or those of transformers' port, see below.
        greatest_count: of tracks at a time.
        expire_after: frames after which a track that has had neither pixel nor detection is forgotten; None: never.

    Under the convention ``transformers``

    * every frame that ever corrected a memory lends its object pointer (Meta: those of the four chosen frames do);
    * a new track makes the memories of all others be encoded again, from their masks as they were propagated;
    * a new track's mask logits are cut at one half as they are (Meta: at zero, after they are enlarged);
    * tracks compete for pixels on small masks (Meta: on masks of the memory encoder's size).
    """

    name: str
    memory: bool = True
    detection_threshold: float = 0.5
    new_object_threshold: float = 0.7
    weak_threshold: float = 0.1
    nms_iou: float = 0.1
    association_iou: float = 0.1
    matched_iou: float = 0.5
    hotstart_delay: int = 15
    hotstart_unmatched: int = 8
    hotstart_duplicates: int = 8
    suppress_unmatched: bool = False
    initial_keep_alive: int = 30
    greatest_keep_alive: int = 30
    least_keep_alive: int = -1
    keep_alive_when_empty: bool = True
    overlap_iou: float = 0.7
    recondition_every: int = 16
    recondition_with: Recondition = "detections"
    recondition_score: float = 0.8
    recondition_iou: float = 0.8
    hole_area: int = 16
    memory_selection: bool = True
    convention: TrackerConvention = "meta"
    greatest_count: int = 10_000
    expire_after: int | None = 300

    def __post_init__(self) -> None:
        for name, choices in (("recondition_with", Recondition), ("convention", TrackerConvention)):
            if getattr(self, name) not in get_args(choices):
                raise choice_error(name, getattr(self, name), get_args(choices))
        for name, value in self.to_dict().items():
            if name.endswith(("threshold", "iou", "score")) and not 0 <= value <= 1:
                raise LitetextError(f"{name} must lie in 0..1, got {value}")
            if name in _COUNTS and value < 0:
                raise LitetextError(f"{name} must be at least 0, got {value}")
        if self.hotstart_delay and max(self.hotstart_unmatched, self.hotstart_duplicates) > self.hotstart_delay:
            raise LitetextError(
                "hotstart_unmatched and hotstart_duplicates must not exceed hotstart_delay "
                f"({self.hotstart_delay}), got {self.hotstart_unmatched} and {self.hotstart_duplicates}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


_COUNTS = ("hotstart_delay", "hotstart_unmatched", "hotstart_duplicates", "recondition_every", "hole_area")

FULL = TrackingPolicy("full")
"""Meta's whole system."""

NO_TEMPORAL = replace(
    FULL,
    name="no-temporal",
    hotstart_delay=0,
    hotstart_unmatched=0,
    hotstart_duplicates=0,
    recondition_every=0,
    memory_selection=False,
)
"""Meta's system without temporal disambiguation."""

BY_DETECTION = replace(
    FULL, name="by-detection", memory=False, new_object_threshold=0.5, hotstart_delay=0, expire_after=30
)
"""What the detector finds, linked from frame to frame."""

POLICIES = {policy.name: policy for policy in (FULL, NO_TEMPORAL, BY_DETECTION)}
"""What ``--policy`` may name."""

PolicyLike: TypeAlias = "TrackingPolicy | str"

_OF_CONFIG = {
    "detection_threshold": "score_threshold_detection",
    "new_object_threshold": "new_det_thresh",
    "nms_iou": "det_nms_thresh",
    "association_iou": "assoc_iou_thresh",
    "matched_iou": "trk_assoc_iou_thresh",
    "hotstart_delay": "hotstart_delay",
    "hotstart_unmatched": "hotstart_unmatch_thresh",
    "hotstart_duplicates": "hotstart_dup_thresh",
    "initial_keep_alive": "init_trk_keep_alive",
    "greatest_keep_alive": "max_trk_keep_alive",
    "least_keep_alive": "min_trk_keep_alive",
    "overlap_iou": "suppress_overlapping_based_on_recent_occlusion_threshold",
    "recondition_every": "recondition_every_nth_frame",
    "recondition_score": "high_conf_thresh",
    "recondition_iou": "high_iou_thresh",
    "hole_area": "fill_hole_area",
    "greatest_count": "max_num_objects",
}
"""Our names -> those of transformers' ``Sam3VideoConfig``."""

_TEMPORAL = ("hotstart_delay", "hotstart_unmatched", "hotstart_duplicates", "recondition_every")


def named_policy(policy: PolicyLike) -> TrackingPolicy:
    """Return a policy by its name.

    Raises:
        LitetextError: an unknown name.
    """
    if isinstance(policy, TrackingPolicy):
        return policy
    if policy not in POLICIES:
        raise choice_error("policy", policy, tuple(POLICIES))
    return POLICIES[policy]


def with_threshold(policy: TrackingPolicy, threshold: float) -> TrackingPolicy:
    """Return a policy whose detections count from another score on.

    Args:
        policy: how much more a new object needs stays as it is.
        threshold: lowest score of a detection, 0..1.
    """
    more = policy.new_object_threshold - policy.detection_threshold
    return replace(
        policy,
        detection_threshold=threshold,
        new_object_threshold=min(1.0, max(0.0, threshold + more)),
        weak_threshold=min(policy.weak_threshold, threshold),
    )


def with_numbers_of(policy: TrackingPolicy, config: Mapping[str, Any]) -> TrackingPolicy:
    """Return a policy with the thresholds that a checkpoint was saved with.

    Args:
        policy: what it leaves out of time (see `NO_TEMPORAL`) stays left out.
        config: the fields of a ``Sam3VideoConfig``; what is missing keeps the policy's value.
    """
    left_out = _TEMPORAL if not policy.recondition_every else ()
    numbers = {ours: config[theirs] for ours, theirs in _OF_CONFIG.items() if theirs in config and ours not in left_out}
    return replace(
        policy,
        **numbers,
        suppress_unmatched=not config.get("suppress_unmatched_only_within_hotstart", not policy.suppress_unmatched),
        keep_alive_when_empty=not config.get(
            "decrease_trk_keep_alive_for_empty_masklets", not policy.keep_alive_when_empty
        ),
    )


def as_transformers(policy: TrackingPolicy, *, recondition_with: Recondition = "tracks") -> TrackingPolicy:
    """Return a policy as transformers' ``Sam3VideoModel`` runs it.

    Without the hub's package ``kernels``, that is: duplicates stay, and holes are not filled.

    Args:
        policy: whose thresholds are kept.
        recondition_with: the mask that corrects memories; ``tracks`` is transformers' default.
    """
    return replace(
        policy,
        nms_iou=0.0,
        hole_area=0,
        recondition_with=recondition_with,
        memory_selection=False,
        convention="transformers",
        expire_after=None,
    )
