"""Hashes of what a command reads, so that a run that goes on knows whether it is still the same run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


def stamps(paths: Iterable[Path]) -> list[str]:
    """Return a hash of every path that exists: names, sizes and times of change of the files."""
    from ..files import stamp

    return [hashlib.sha256(repr(stamp(path)).encode()).hexdigest()[:16] for path in paths if path.exists()]


def model_stamps(*names: str | None) -> list[str]:
    """Return hashes of the names that are shipped models, files or folders: a model trained anew is another run."""
    from ..data import resolve
    from ..segment.sources import ENCODERS, SHIPPED

    shipped = {name: name for name in SHIPPED} | dict.fromkeys(ENCODERS, "mini")
    return stamps(resolve(shipped[name]) if name in shipped else Path(name) for name in names if name)
