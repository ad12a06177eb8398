"""Checkpoints: written atomically, read without unpickling anything but plain tensors, and bound to their run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..errors import LitetextError
from ..files import as_given, atomic_path
from ..pickles import read_pickle

CHECKPOINT = "checkpoint.pt"


def save_checkpoint(path: Path, identity: dict[str, Any], state: dict[str, Any]) -> None:
    """Write a checkpoint atomically.

    Args:
        path: file to write; its folder is made.
        identity: what two runs must share for one to continue the other.
        state: everything else, of types that ``torch.load(weights_only=True)`` reads.

    Raises:
        LitetextError: the disk is full; the checkpoint before stays.
    """
    with atomic_path(path) as temporary:
        try:
            torch.save({"run": identity, **state}, temporary)
        except (RuntimeError, OSError) as error:  # torch's own writer reports a full disk as a RuntimeError
            reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
            raise LitetextError(
                f"{as_given(path)} could not be written ({reason}); free some space and start again: the last "
                "checkpoint is kept"
            ) from None


def read_checkpoint_state(path: Path, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Return what a checkpoint holds.

    Raises:
        LitetextError: there is none, or it is damaged.
    """
    if not path.exists():
        raise LitetextError(f"{path} does not exist; no run to start from has been there")
    try:
        state = read_pickle(path, device)
    except LitetextError as error:
        raise LitetextError(f"{error} (delete it to start anew, or give another out)") from None
    if not isinstance(state, dict) or not isinstance(state.get("run"), dict):
        raise LitetextError(f"{path} is not a checkpoint of this version; start anew without resuming")
    return state


def load_checkpoint(path: Path, identity: dict[str, Any], device: str | torch.device) -> dict[str, Any]:
    """Return what a checkpoint of the run with ``identity`` holds.

    Raises:
        LitetextError: there is none, it is damaged, or it belongs to another run: what differs is named.
    """
    state = read_checkpoint_state(path, device)
    if state["run"] != identity:
        changed = sorted(key for key, value in identity.items() if state["run"].get(key) != value)
        raise LitetextError(
            f"{path} belongs to another run (its {', '.join(changed) or 'format'} differ); start anew without "
            "resuming, or give another out"
        )
    return state
