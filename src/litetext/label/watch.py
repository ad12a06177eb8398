"""A folder that fills: work again whenever there is something new in it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import LitetextError
from .sources import image_refs


def changes(given: Sequence[str], seconds: float) -> Iterator[None]:
    """Yield at once, and then whenever the inputs are others than at the last time; without end.

    Args:
        given: what names the images, see `image_refs`; there need not be any yet.
        seconds: between two looks.
    """
    known = ""
    while True:
        found = _signature(given)
        if found and found != known:
            known = found
            yield
        else:
            time.sleep(seconds)


def _signature(given: Sequence[str]) -> str:
    """What changes when images come, go or change; "" where there are none."""
    digest, count = hashlib.sha256(), 0
    try:
        for ref in image_refs(given):
            state = Path(ref.path).stat() if ref.is_file and Path(ref.path).exists() else None
            size, changed = (state.st_size, state.st_mtime_ns) if state else (0, 0)
            digest.update(f"{ref.to_json()} {size} {changed}\n".encode(errors="surrogatepass"))
            count += 1
    except LitetextError:
        pass  # an empty folder, which may fill
    return digest.hexdigest() if count else ""
