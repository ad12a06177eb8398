"""What a student learns from, or is held to: token ids and the teacher's features of the same tokens."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import LitetextError
from ..ragged import Ragged

if TYPE_CHECKING:
    from .targets import Targets


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """What a student learns from, or is held to.

    Attributes:
        ids: int [T], token ids of N prompts, start and end tokens included.
        targets: the teacher's features of the same tokens, floating [T, D].
        chunks: what may move when a prompt is permuted (`litetext.distill.permute.chunks_of`); the consistency loss
            needs it.
        teacher: the digest of the teacher whose features they are, by which a resumed run knows it; "" where it is not
            known.
    """

    ids: Ragged
    targets: Targets
    chunks: Ragged | None = None
    teacher: str = ""

    def __post_init__(self) -> None:
        if len(self.ids) == 0:
            raise LitetextError("there are no prompts to learn from; give at least one")
        if len(self.targets) != len(self.ids) or not np.array_equal(self.targets.lengths, self.ids.lengths):
            raise LitetextError("the teacher's features do not belong to these prompts: their token counts differ")
        if self.chunks is not None and not np.array_equal(self.chunks.offsets, self.ids.offsets):
            raise LitetextError("the chunks do not belong to these prompts: their token counts differ")

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, rows: np.ndarray) -> Examples:
        """Return some of the examples, their targets in memory."""
        ids = self.ids.select(rows)
        chunks = self.chunks.select(rows) if self.chunks is not None else None
        return Examples(ids, Ragged(self.targets.take(rows), ids.offsets), chunks, self.teacher)

    def digest(self) -> str:
        """Return a hash of ids and chunks, by which a resumed run knows its prompts."""
        digest = hashlib.blake2b(self.ids.offsets.tobytes(), digest_size=16)
        digest.update(np.ascontiguousarray(self.ids.values).tobytes())
        if self.chunks is not None:
            digest.update(self.chunks.values.tobytes())
        return digest.hexdigest()
