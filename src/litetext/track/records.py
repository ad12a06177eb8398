"""Frames as JSON values, exact to the bit, for journals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import LitetextError
from ..results import FrameResult, Instances, Masks


def instances_record(found: Instances) -> dict[str, Any]:
    """Return what was found in an image as JSON values."""
    return {
        "size": list(found.size),
        "prompts": list(found.prompts),
        "presence": [None if math.isnan(value) else value for value in found.presence.tolist()],
        "boxes": found.boxes.tolist(),
        "masks": [counts.decode("ascii") for counts in found.masks.counts],
        "scores": found.scores.tolist(),
        "prompt_index": found.prompt_index.tolist(),
    }


def frame_record(frame: FrameResult) -> dict[str, Any]:
    """Return a frame as JSON values."""
    ids = frame.object_ids.tolist()
    return {"frame": frame.frame_index, "object_ids": ids, **instances_record(frame.instances)}


def instances_of(record: Mapping[str, Any]) -> Instances:
    """Return what `instances_record` was made of.

    Raises:
        LitetextError: a record that is malformed.
    """
    try:
        height, width = record["size"]
        rles = [{"size": (height, width), "counts": counts} for counts in record["masks"]]
        return Instances(
            size=(height, width),
            prompts=tuple(record["prompts"]),
            presence=np.array([math.nan if one is None else one for one in record["presence"]], dtype=np.float32),
            boxes=np.array(record["boxes"], dtype=np.float32).reshape(-1, 4),
            masks=Masks.from_rle(rles, (height, width)),
            scores=np.array(record["scores"], dtype=np.float32),
            prompt_index=np.array(record["prompt_index"], dtype=np.int64),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _malformed(error) from None


def frame_of(record: Mapping[str, Any]) -> FrameResult:
    """Return what `frame_record` was made of.

    Raises:
        LitetextError: a record that is malformed.
    """
    found = instances_of(record)
    try:
        return FrameResult(int(record["frame"]), np.array(record["object_ids"], dtype=np.int64), found)
    except (KeyError, TypeError, ValueError) as error:
        raise _malformed(error) from None


def _malformed(error: Exception) -> LitetextError:
    return LitetextError(f"a frame in the journal is malformed ({error!r}); remove the journal to begin anew")
