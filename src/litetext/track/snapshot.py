"""The state of a video under way in a file: what a memory tracker goes on from when its process was killed.

The file is safetensors; everything that is no tensor stands in its header as JSON. Only the classes named here are made
of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import LitetextError, failures_named
from ..files import atomic_path
from ..outputs import mark
from .memories import Memory, MemoryWindow, ObjectMemory
from .memory_session import MemorySession, TrackedFrame
from .policy import TrackingPolicy
from .tracks import TrackedObject, Tracks

_CLASSES = {one.__name__: one for one in (Memory, ObjectMemory, TrackedFrame, TrackedObject, Tracks)}
_GIVEN = {MemoryWindow: "window", TrackingPolicy: "policy"}
"""What the tracker itself says again."""

_ORIGIN = mark("tracks")


def save_state(path: Path, state: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    """Write a state, atomically.

    Args:
        path: of the file.
        state: tensors, numbers, texts, and tuples, lists, sets, mappings and the classes above of them.
        run: what the state is of, JSON values.
    """
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    packed = _packed(state, tensors)
    header = {"origin": _ORIGIN, "run": json.dumps(run), "state": json.dumps(packed)}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata=header)


def load_state(path: Path, run: Mapping[str, Any], session: MemorySession) -> Any:
    """Return a state for a session of the same model and policy; None where the file holds none of this run."""
    from safetensors.torch import load_file

    header = _header(path)
    if header.get("origin") != _ORIGIN or json.loads(header["run"]) != run:
        return None
    with failures_named(path, "cannot be read as the state of a video"):
        tensors = load_file(path, device=str(session.tracker.model.device))
        return _unpacked(json.loads(header["state"]), tensors, {"window": session.window, "policy": session.policy})


def check_state(path: Path) -> None:
    """Refuse a file in the place of a state that is none.

    Raises:
        LitetextError: naming the file and the remedy.
    """
    if os.path.lexists(path) and _header(path).get("origin") != _ORIGIN:
        raise LitetextError(f"{path} exists and was not written by litetext; choose another name, or move it away")


def _header(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError):
        return {}


def _packed(value: Any, tensors: dict[str, Tensor]) -> Any:
    """A value as JSON: plain ones as they are, others as a list of what they are and what they hold."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        tensors[name := str(len(tensors))] = value.detach().cpu().contiguous().clone()
        return ["tensor", name]
    if type(value) in _GIVEN:
        return ["given", _GIVEN[type(value)]]
    if isinstance(value, Mapping):
        return ["dict", [[_packed(key, tensors), _packed(one, tensors)] for key, one in value.items()]]
    if isinstance(value, tuple | list | set):
        items = sorted(value) if isinstance(value, set) else value
        return [type(value).__name__, [_packed(one, tensors) for one in items]]
    name = type(value).__name__
    if _CLASSES.get(name) is not type(value):
        raise TypeError(f"a state cannot hold {name}")
    return ["class", name, [_packed(getattr(value, field.name), tensors) for field in fields(value)]]


def _unpacked(value: Any, tensors: Mapping[str, Tensor], given: Mapping[str, Any]) -> Any:
    """The value that `_packed` was given."""
    if not isinstance(value, list):
        return value
    kind, held = value[0], value[1]
    if kind == "tensor":
        return tensors[held]
    if kind == "given":
        return given[held]
    if kind == "dict":
        return {_unpacked(key, tensors, given): _unpacked(one, tensors, given) for key, one in held}
    if kind == "class":
        cls: Any = _CLASSES[held]
        parts = [_unpacked(one, tensors, given) for one in value[2]]
        return cls(**dict(zip((field.name for field in fields(cls)), parts, strict=True)))
    return {"tuple": tuple, "list": list, "set": set}[kind](_unpacked(one, tensors, given) for one in held)
