"""What the teacher says of every prompt, computed once and kept: fp16, real tokens only, on disk.

What is special here:

* A prompt's features are filed under a hash of the **token ids** the teacher reads, in a folder named by a hash of its
  **weights and convention**. So editing, adding or reordering prompts never misaligns anything, another context
  recomputes only the prompts that it cuts elsewhere, and a retrained teacher starts a folder of its own.
* A store is a folder of shards that each carry their own keys: there is no index that could disagree with them. A shard
  is written under another name and renamed, so a kill loses at most the one in the making, and many processes may
  fill one store (the same prompt twice does no harm).
* Shards are memory-mapped: a store may be larger than memory.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import secrets
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from safetensors.numpy import save_file

from ..encoders.safetensors_file import SafetensorsFile
from ..errors import LitetextError
from ..files import atomic_path
from ..progress import Progress, no_progress
from ..ragged import Ragged, offsets_of

if TYPE_CHECKING:
    from torch import nn

    from ..encoders import TextTransformer

KEY_BYTES = 16
SHARD_TOKENS = 65_536
"""Tokens a shard: 32 MB at 256 numbers a token, and what a kill may cost."""

_TEACHER_TOKENS = 8_192  # run through the teacher at once


class Teacher(Protocol):
    """Whatever gives a feature for every token.

    Attributes:
        dim: D, the numbers a token.
        digest: hexadecimal; changes with anything that changes a feature (weights, convention).
    """

    @property
    def dim(self) -> int:
        """D, the numbers a token."""
        ...

    @property
    def digest(self) -> str:
        """A hash of everything that a feature depends on."""
        ...

    def features(self, ids: Ragged) -> np.ndarray:
        """Return the features of all tokens of ``ids``, end to end: floating [T, D]."""
        ...


class Targets(Protocol):
    """Features by prompt: a `Ragged` in memory, or `StoredTargets` on disk."""

    def __len__(self) -> int: ...

    @property
    def lengths(self) -> np.ndarray:
        """int64 [N]: real tokens of every prompt."""
        ...

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the features of some prompts, end to end: floating [t, D]."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class StoredTargets:
    """The features of N prompts where they lie in a store's shards.

    Attributes:
        shards: memory-mapped fp16 [T_s, D] arrays.
        shard: int32 [N], the shard of each prompt.
        start: int64 [N], its first token there.
        lengths: int64 [N], its tokens.
    """

    shards: list[np.ndarray]
    shard: np.ndarray
    start: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.start)

    @property
    def nbytes(self) -> int:
        """What `load` would take of memory."""
        return int(self.lengths.sum()) * self.shards[0].shape[1] * 2 if self.shards else 0

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the features of ``rows``, row after row: fp16 [t, D]."""
        ends = np.cumsum(self.lengths[rows])
        out = np.empty((int(ends[-1]) if len(ends) else 0, self.shards[0].shape[1]), np.float16)
        for row, end in zip(rows.tolist(), ends.tolist(), strict=True):
            start, length = int(self.start[row]), int(self.lengths[row])
            out[end - length : end] = self.shards[self.shard[row]][start : start + length]
        return out

    def load(self) -> Ragged:
        """Return the same features in memory."""
        return Ragged(self.take(np.arange(len(self))), offsets_of(self.lengths))


class TargetStore:
    """A folder of a teacher's features.

    Args:
        folder: made when first written to; may hold the features of several teachers.
        teacher: whose features.
    """

    def __init__(self, folder: str | os.PathLike[str], teacher: Teacher) -> None:
        self.teacher = teacher
        self.folder = Path(folder) / teacher.digest[:16]
        self._known: dict[bytes, tuple[int, int, int]] = {}
        self._shards: list[np.ndarray] = []
        self._read: set[str] = set()

    def fill(
        self,
        ids: Ragged,
        *,
        part: tuple[int, int] = (0, 1),
        shard_tokens: int = SHARD_TOKENS,
        progress: Progress = no_progress,
    ) -> int:
        """Compute what is missing of the features of ``ids``, shard by shard.

        Args:
            ids: int [T] token ids of N prompts.
            part: (i, n): of every n shards' worth of missing prompts compute only the i-th, as n processes share it.
            shard_tokens: tokens a shard.
            progress: called after every shard with the prompts done and those missing at the start.

        Returns:
            How many prompts were computed.

        Raises:
            LitetextError: the disk is full (all shards written so far stay), or a shard is damaged.
        """
        missing = self._missing(ids)
        done = 0
        for number, rows in enumerate(_shards_of(ids.lengths, missing, shard_tokens)):
            if number % part[1] == part[0]:
                self._write(ids.select(rows))
                done += len(rows)
                progress(done, len(missing))
        return done

    def read(self, ids: Ragged) -> StoredTargets:
        """Return the features of ``ids``, memory-mapped, in their order.

        Raises:
            LitetextError: some are not in the store (fill it first), or a shard is damaged.
        """
        self._refresh()
        keys = keys_of(ids)
        try:
            found = np.array([self._known[key] for key in keys], np.int64).reshape(-1, 3)
        except KeyError:
            lacking = sum(key not in self._known for key in keys)
            raise LitetextError(
                f"{self.folder} lacks the features of {lacking} of {len(keys)} prompts; fill the store with them first"
            ) from None
        return StoredTargets(self._shards, found[:, 0].astype(np.int32), found[:, 1], found[:, 2])

    def targets(self, ids: Ragged, progress: Progress = no_progress) -> StoredTargets:
        """Fill what is missing and return the features of ``ids``."""
        self.fill(ids, progress=progress)
        return self.read(ids)

    def __len__(self) -> int:
        self._refresh()
        return len(self._known)

    def _missing(self, ids: Ragged) -> np.ndarray:
        """The rows, one a distinct prompt, whose features are not in the store; shortest first."""
        self._refresh()
        first = {key: row for row, key in enumerate(keys_of(ids)) if key not in self._known}
        rows = np.fromiter(first.values(), np.int64, len(first))
        return rows[np.argsort(ids.lengths[rows], kind="stable")]

    def _write(self, ids: Ragged) -> None:
        tokens = np.asarray(self.teacher.features(ids))
        if tokens.shape != (len(ids.values), self.teacher.dim):
            raise LitetextError(
                f"the teacher gave features of shape {tokens.shape} for {len(ids.values)} tokens of D = "
                f"{self.teacher.dim}"
            )
        with np.errstate(over="ignore"):
            half = tokens.astype(np.float16, order="C")  # the order in which save_file writes any bytes
        if not np.isfinite(half).all():
            raise LitetextError("the teacher's features hold NaN or exceed fp16's 65,504; is its checkpoint sound?")
        keys = np.frombuffer(b"".join(keys_of(ids)), np.uint8).reshape(len(ids), KEY_BYTES)
        arrays = {"keys": keys, "offsets": ids.offsets, "tokens": half}
        path = self.folder / f"{os.getpid()}-{secrets.token_hex(6)}.safetensors"
        with atomic_path(path) as temporary:
            try:
                save_file(arrays, str(temporary), metadata={"crc32": str(_checksum(arrays))})
            except Exception as error:  # safetensors has an error of its own, which wraps the system's
                full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
                if not full and "No space left" not in str(error):
                    raise
                raise LitetextError(
                    f"{self.folder}: the disk is full; free {half.nbytes / 1e6:,.0f} MB or more and start again: "
                    f"the {len(self._known):,} prompts stored so far are kept"
                ) from None
        self._add(path)

    def _refresh(self) -> None:
        """Take in the shards that this or other processes wrote since."""
        for path in sorted(self.folder.glob("[!.]*.safetensors")):
            if path.name not in self._read:
                self._add(path)

    def _add(self, path: Path) -> None:
        keys, offsets, tokens = _open_shard(path, self.teacher.dim)
        number = len(self._shards)
        self._shards.append(tokens)
        self._read.add(path.name)
        for row, (start, end) in enumerate(itertools.pairwise(offsets.tolist())):
            self._known[keys[row].tobytes()] = (number, start, end - start)


def keys_of(ids: Ragged) -> list[bytes]:
    """Return the key of every prompt: a hash of its ids."""
    values = np.ascontiguousarray(ids.values, "<i4")
    bounds = ids.offsets.tolist()
    return [
        hashlib.blake2b(values[start:end].tobytes(), digest_size=KEY_BYTES).digest()
        for start, end in itertools.pairwise(bounds)
    ]


def _shards_of(lengths: np.ndarray, rows: np.ndarray, tokens: int) -> Iterator[np.ndarray]:
    """Cut ``rows`` into runs of about ``tokens`` tokens."""
    if len(rows):
        shard = (np.cumsum(lengths[rows]) - 1) // tokens
        yield from np.split(rows, np.flatnonzero(np.diff(shard)) + 1)


def _open_shard(path: Path, dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a shard's keys [n, 16], offsets [n + 1] and memory-mapped tokens [t, D], checked against its sum."""
    try:
        file = SafetensorsFile(path)
        arrays = {name: file.array(name) for name in ("keys", "offsets", "tokens")}
        if int(file.metadata["crc32"]) != _checksum(arrays):
            raise ValueError("its checksum does not agree")
        if arrays["tokens"].shape[1] != dim:
            raise ValueError(f"its features are {arrays['tokens'].shape[1]} wide, the teacher's {dim}")
    except (ValueError, KeyError, IndexError) as error:
        raise LitetextError(
            f"{path} is damaged ({error}); delete this file: its prompts are computed anew on the next run"
        ) from None
    return np.array(arrays["keys"]), np.array(arrays["offsets"]), arrays["tokens"]


def _checksum(arrays: Mapping[str, np.ndarray]) -> int:
    value = 0
    for name in ("keys", "offsets", "tokens"):
        value = zlib.crc32(np.ascontiguousarray(arrays[name]).data, value)
    return value


class EncoderTeacher:
    """A litetext encoder as teacher: under its own convention, only on real tokens where that is exact.

    Args:
        module: an encoder of any layout, unfolded.
        device: where it runs.
    """

    def __init__(self, module: TextTransformer, device: Any = "cpu") -> None:
        from ..encoders.trimming import trims_exactly

        config = module.config
        self._module = module.folded().requires_grad_(False).to(device)
        self._pad_to = None if trims_exactly(config) else config.convention.context_length
        self._pad_id = config.convention.pad_id
        self.dim = config.output_dim
        self.context_length = config.convention.context_length
        self.digest = weights_digest(module, json.dumps(config.to_dict(), sort_keys=True))

    def features(self, ids: Ragged) -> np.ndarray:
        """Return float32 [T, D]; prompts of one length run together, so nothing is padded that need not be."""
        import torch

        device = self._module.position_embedding.device

        def run(batch: np.ndarray) -> np.ndarray:
            length = batch.shape[1]
            if self._pad_to is not None:
                batch = np.pad(batch, ((0, 0), (0, self._pad_to - length)), constant_values=self._pad_id)
            tokens, _ = self._module(torch.from_numpy(batch).to(device))
            return np.asarray(tokens[:, :length].float().cpu().numpy())

        with torch.inference_mode():
            return by_length(ids, self.dim, run)


def by_length(ids: Ragged, dim: int, run: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return the features of all tokens, float32 [T, D]: ``run`` maps ids int64 [B, l], all real, to [B, l, D].

    For teachers of your own: the running in batches of one length that needs neither padding nor mask.
    """
    features = np.empty((len(ids.values), dim), np.float32)
    lengths = ids.lengths
    for length in np.unique(lengths).tolist():
        rows = np.flatnonzero(lengths == length)
        for part in np.array_split(rows, -(-len(rows) * length // _TEACHER_TOKENS)):
            places = ids.offsets[part][:, None] + np.arange(length)
            features[places] = run(ids.values[places].astype(np.int64))
    return features


def weights_digest(module: nn.Module, convention: str) -> str:
    """Return a hash (hexadecimal) of all tensors of ``module``, their names, and ``convention``."""
    digest = hashlib.blake2b(convention.encode(), digest_size=KEY_BYTES)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
