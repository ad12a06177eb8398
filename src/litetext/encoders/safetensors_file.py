"""safetensors files mapped into memory: the header is read and checked in full, tensors are views of the file.

Opening a file of any size costs its header. Every tensor's offsets are checked against its dtype and shape, against one
another and against the file, so that no view reaches outside the file and no byte belongs to two tensors or to none.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LitetextError, short
from ..files import open_file
from ..json_files import parse_json
from .mapped_file import MappedFile

_DTYPES: dict[str, str | int] = {
    "F64": "<f8", "I64": "<i8", "U64": "<u8", "F32": "<f4", "I32": "<i4", "U32": "<u4", "F16": "<f2", "I16": "<i2",
    "U16": "<u2", "I8": "i1", "U8": "u1", "BOOL": "?", "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "C64": "<c8",
}  # fmt: skip
"""The format's name of a dtype -> numpy's; where numpy has none, the bytes of one number."""

_LONGEST_HEADER = 1 << 24  # bytes; SAM3's 1,500 tensors take 150 kB


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor lies in a file: dtype as the format calls it, shape, first byte and the byte after its last."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


class SafetensorsFile:
    """A safetensors file, open for as long as an array of it is in use.

    Args:
        path: the file.
        writable: whether arrays can be written to; what is written stays in memory and never reaches the file.

    Attributes:
        path: as given.
        metadata: the strings that the file carries beside its tensors.
        tensors: name -> where it lies.

    Raises:
        LitetextError: the file is missing, cut short, or its header does not describe it.
    """

    def __init__(self, path: str | os.PathLike[str], *, writable: bool = False) -> None:
        self.path = Path(path)
        header, start, size = _read_header(self.path)
        self.metadata = _metadata(self.path, header.pop("__metadata__", {}))
        self.tensors: Mapping[str, StoredTensor] = {
            name: _stored(self.path, name, entry, start) for name, entry in header.items()
        }
        _check_places(self.path, self.tensors, start, size)
        self._mapped = MappedFile(self.path, writable=writable)

    def release(self) -> None:
        """Give back the memory of what was read, which stays readable; what was written to it is lost."""
        self._mapped.release()

    def bytes_of(self, name: str) -> np.ndarray:
        """Return a tensor's bytes: uint8, a view of the file."""
        tensor = self.tensors[name]
        return self._mapped.bytes(tensor.start, tensor.end)

    def array(self, name: str) -> np.ndarray:
        """Return a tensor as an array in its own shape and dtype, a view of the file.

        Raises:
            LitetextError: numpy has no such dtype (BF16 and 8-bit floats).
        """
        tensor = self.tensors[name]
        dtype = _DTYPES[tensor.dtype]
        if isinstance(dtype, int):
            raise LitetextError(f"{self.path}: {name!r} is stored as {tensor.dtype}, which needs torch to be read")
        return self.bytes_of(name).view(dtype).reshape(tensor.shape)


def is_floating(dtype: str) -> bool:
    """Whether a dtype, as the format calls it, is of floating-point numbers."""
    return dtype.startswith(("F", "BF"))


def itemsize(dtype: str) -> int:
    """Return the bytes of one number of a dtype, as the format calls it."""
    number = _DTYPES[dtype]
    return number if isinstance(number, int) else np.dtype(number).itemsize


def _read_header(path: Path) -> tuple[dict[str, Any], int, int]:
    """Return the header, where tensors begin, and the size of the file."""
    with open_file(path, "a safetensors file") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or 8 + length > size:
            raise _damaged(path, f"its header would end at byte {8 + length:,}, the file at {size:,}; is it cut short?")
        if length > _LONGEST_HEADER:
            raise _damaged(path, f"its header has {length:,} bytes, more than {_LONGEST_HEADER:,}")
        content = file.read(length)
    try:
        header = parse_json(content.decode("utf-8"), f"{path}: the header of this safetensors file")
    except UnicodeDecodeError:
        raise _damaged(path, "its header is not UTF-8") from None
    if not isinstance(header, dict):
        raise _damaged(path, f"its header is {short(header)}, where an object should stand")
    return header, 8 + length, size


def _metadata(path: Path, values: Any) -> dict[str, str]:
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise _damaged(path, f"its metadata are {short(values)}, where strings by name should stand")
    return values


def _stored(path: Path, name: str, entry: Any, start: int) -> StoredTensor:
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        raise _damaged(path, f"{short(name)} is {short(entry)}, where dtype, shape and data_offsets should stand")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise _damaged(path, f"{short(name)} has dtype {short(dtype)}; known are {', '.join(_DTYPES)}")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise _damaged(path, f"{short(name)} has shape {short(shape)} and offsets {short(offsets)}")
    size = math.prod(shape) * itemsize(dtype)
    if offsets[1] - offsets[0] != size:
        raise _damaged(
            path,
            f"{short(name)} has {offsets[1] - offsets[0]:,} bytes, its shape {short(shape)} in {dtype} takes {size:,}",
        )
    return StoredTensor(dtype, tuple(shape), start + offsets[0], start + offsets[1])


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _check_places(path: Path, tensors: Mapping[str, StoredTensor], start: int, size: int) -> None:
    """Raise unless the tensors fill the file from ``start`` to its end, none in another's place."""
    placed = sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end))
    edge = StoredTensor("U8", (0,), start, start)
    for (name, one), (other, two) in pairwise([("the header", edge), *placed]):
        if two.end > size:
            raise _damaged(path, f"{short(other)} ends at byte {two.end:,}, the file at {size:,}; is it cut short?")
        if two.start < one.end:
            raise _damaged(path, f"{short(name)} and {short(other)} overlap")
        if two.start > one.end:
            raise _damaged(path, f"{two.start - one.end:,} bytes before {short(other)} belong to no tensor")
    end = placed[-1][1].end if placed else start
    if end != size:
        raise _damaged(path, f"{size - end:,} bytes after its last tensor belong to none")


def _damaged(path: Path, what: str) -> LitetextError:
    return LitetextError(f"{path} is not a readable safetensors file: {what}")
