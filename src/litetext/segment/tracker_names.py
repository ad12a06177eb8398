"""Which video tracker lies beside a detector, told by the names in its file: no tensor is read, no library loaded."""

from __future__ import annotations

from collections.abc import Container
from typing import Literal

MEMORY = "tracker.maskmem_tpos_enc"
"""A tensor that SAM3's tracker has at this place and SAM 3.1's at another."""

MULTIPLEX = "tracker.model.maskmem_tpos_enc"

_PORTED = "tracker_model.memory_temporal_positional_encoding"

TrackerKind = Literal["memory", "multiplex"]


def tracker_among(keys: Container[str]) -> TrackerKind | None:
    """Return the kind of tracker among the names of a file or folder, Meta's or transformers'; None where none is."""
    if MEMORY in keys or _PORTED in keys:
        return "memory"
    return "multiplex" if MULTIPLEX in keys else None
