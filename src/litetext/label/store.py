"""What the model found, on disk: shards of JSON lines, by the hash of an image's content and of the job's settings.

A shard is written whole or not at all, so a kill at any moment loses at most the shards that were being filled, and
what an image's content was labelled as is found again under any name. Rows keep everything from the lowest score on;
thresholds and suppression are applied when they are read (`litetext.label.settling`), and can be changed at no cost.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LitetextError
from ..files import sweep, write_text
from ..json_files import parse_json
from ..results import Instances, Masks
from .disk_map import DiskMap
from .labeler import LabeledRow

_PREFIX = '{"sha256": "'
_HASH = re.compile("[0-9a-f]{64}")
_KEY = slice(len(_PREFIX), len(_PREFIX) + 64)


def write_shard(folder: Path, rows: Iterable[LabeledRow]) -> Path | None:
    """Write the rows that were labelled as one shard, atomically; the same rows make the same file.

    Args:
        folder: of a `Store`.
        rows: those with an error are left out, so that a later run tries them again.

    Returns:
        The file, or None where no row was labelled.
    """
    lines = sorted({row.sha256: _line(row.sha256, row.found) for row in rows if row.found is not None}.items())
    if not lines:
        return None
    name = hashlib.sha256("".join(sha256 for sha256, _ in lines).encode()).hexdigest()[:24]
    path = folder / f"{name}.jsonl"
    write_text(path, "".join(line for _, line in lines))
    return path


class Store:
    """The shards of one job's settings; where each image is stands in a temporary file.

    Args:
        folder: made if it is not there; what a killed process left half-written in it is removed.
        phrases: what was asked, in the order of the rows' numbers.
    """

    def __init__(self, folder: Path, phrases: Sequence[str]) -> None:
        self.folder = folder
        self._phrases = tuple(phrases)
        folder.mkdir(parents=True, exist_ok=True)
        sweep.cache_clear()
        sweep(folder.resolve())
        self._shards: list[Path] = []
        self._known: set[str] = set()
        self._places: DiskMap[int] = DiskMap()
        self.refresh()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._places

    def refresh(self) -> None:
        """Take note of shards that were written meanwhile, by this process or by others."""
        for path in sorted(self.folder.glob("*.jsonl")):
            if path.name not in self._known:
                self.add(path)

    def add(self, path: Path) -> None:
        """Take note of a shard."""
        self._known.add(path.name)
        self._shards.append(path)
        number, offset = len(self._shards) - 1, 0
        with path.open("rb") as file:
            for line in file:
                text = line[: _KEY.stop].decode("ascii", "replace")
                if not text.startswith(_PREFIX) or not _HASH.fullmatch(text[_KEY]):
                    raise LitetextError(f"{path} is no shard of labels; remove it, and its images are labelled again")
                self._places.setdefault(text[_KEY], number << 40 | offset)
                offset += len(line)

    def instances(self, sha256: str) -> Instances:
        """Return what was found in an image, by the phrases that were asked.

        Raises:
            LitetextError: it is not there, or its shard was changed.
        """
        place = self._places.get(sha256)
        if place is None:
            raise LitetextError(f"{self.folder} holds no labels for the image {sha256[:12]}…; give the command again")
        path = self._shards[place >> 40]
        with path.open("rb") as file:
            file.seek(place & ((1 << 40) - 1))
            line = file.readline()
        value = parse_json(line.decode(errors="replace"), str(path))
        try:
            return _instances(value, self._phrases)
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            reason = " ".join(str(error).split())[:200]
            raise LitetextError(
                f"{path} is not as it was written ({reason}); remove it, and its images are labelled again"
            ) from None


def _line(sha256: str, found: Instances) -> str:
    row: dict[str, Any] = {
        "sha256": sha256,
        "size": list(found.size),
        "presence": [round(float(value), 6) for value in found.presence],
        "phrase": found.prompt_index.tolist(),
        "score": found.scores.tolist(),
        "box": found.boxes.round(3).astype(np.float64).round(3).tolist(),
        "rle": [counts.decode("ascii") for counts in found.masks.counts],
    }
    return json.dumps(row, allow_nan=False) + "\n"


def _instances(row: Any, phrases: tuple[str, ...]) -> Instances:
    height, width = row["size"]
    masks = Masks.from_rle([{"size": [height, width], "counts": text} for text in row["rle"]], (height, width))
    return Instances(
        size=(height, width),
        prompts=phrases,
        presence=np.array(row["presence"], np.float32),
        boxes=np.array(row["box"], np.float32).reshape(-1, 4),
        masks=masks,
        scores=np.array(row["score"], np.float32),
        prompt_index=np.array(row["phrase"], np.int64),
    )


def bytes_of(folder: Path) -> int:
    """Return how many bytes the shards of a folder take."""
    return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.name.endswith(".jsonl"))
