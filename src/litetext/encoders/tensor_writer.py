"""Files of weights written tensor by tensor: each is read when its turn comes, so that any model fits in memory."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import LitetextError
from .dtypes import dtype_name
from .safetensors_file import itemsize
from .tensorfile import LazyTensor

Seen = Callable[[str, Tensor], None]
"""What is told of every tensor as it is written, with its name."""


def ignore(name: str, tensor: Tensor) -> None:
    """Do nothing with a tensor that is written."""


def write_safetensors(
    path: Path, tensors: Mapping[str, LazyTensor], metadata: Mapping[str, str], seen: Seen = ignore
) -> None:
    """Write a safetensors file.

    Args:
        path: the file.
        tensors: by name.
        metadata: strings that the file carries beside its tensors.
        seen: told of every tensor.
    """
    # Numbers begin at multiples of their size where the largest come first.
    ordered = dict(sorted(tensors.items(), key=lambda item: (-itemsize(item[1].dtype), item[0])))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in ordered.items():
        start, end = end, end + tensor.bytes
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, tensor in ordered.items():
            _write(file, name, tensor, seen)


def write_torch(path: Path, tensors: Mapping[str, LazyTensor], comment: str, seen: Seen = ignore) -> None:
    """Write ``{"model": tensors}`` as ``torch.save`` does.

    Args:
        path: the file.
        tensors: by name.
        comment: of the archive that the file is.
        seen: told of every tensor.

    Raises:
        LitetextError: a dtype for which torch has no storage of its own.
    """
    with path.open("wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr(_entry("data.pkl"), _pickled(tensors))
        archive.writestr(_entry("byteorder"), b"little")
        for row, (name, tensor) in enumerate(tensors.items()):
            with archive.open(_aligned(_entry(f"data/{row}"), tensor.bytes, file.tell()), "w") as entry:
                _write(entry, name, tensor, seen)
        archive.writestr(_entry("version"), b"3\n")
        archive.comment = comment.encode()


def _write(file: Any, name: str, tensor: LazyTensor, seen: Seen) -> None:
    """Read a tensor and write its numbers."""
    read = tensor.read()
    if (tuple(read.shape), dtype_name(read.dtype)) != (tensor.shape, tensor.dtype):
        raise AssertionError(f"{name} is {tuple(read.shape)} of {read.dtype}, announced as {tensor}")
    seen(name, read)
    file.write(read.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)


_STORAGES = {
    "F64": "DoubleStorage", "F32": "FloatStorage", "F16": "HalfStorage", "BF16": "BFloat16Storage",
    "I64": "LongStorage", "I32": "IntStorage", "I16": "ShortStorage", "I8": "CharStorage", "U8": "ByteStorage",
    "BOOL": "BoolStorage", "C64": "ComplexFloatStorage",
}  # fmt: skip
"""safetensors' names of dtypes -> torch's of what holds their numbers in a file of its own."""


@dataclass(frozen=True)
class _Numbers:
    """Where the pickle has an entry of the archive: torch's name of it."""

    identity: tuple[str, type, str, str, int]


class _Placed:
    """Where the pickle has a tensor: how torch makes it of an entry."""

    def __init__(self, row: int, name: str, tensor: LazyTensor) -> None:
        if tensor.dtype not in _STORAGES:
            raise LitetextError(f"a .pt cannot hold {name!r}, stored as {tensor.dtype}; write a .safetensors")
        strides = torch.empty(tensor.shape, device="meta").stride()
        count = tensor.bytes // itemsize(tensor.dtype)
        numbers = _Numbers(("storage", getattr(torch, _STORAGES[tensor.dtype]), str(row), "cpu", count))
        self._made: tuple[Any, ...] = (numbers, 0, tensor.shape, strides, False, OrderedDict())

    def __reduce__(self) -> tuple[Any, ...]:
        return torch._utils._rebuild_tensor_v2, self._made


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        return value.identity if isinstance(value, _Numbers) else None


def _pickled(tensors: Mapping[str, LazyTensor]) -> bytes:
    placed = {name: _Placed(row, name, tensor) for row, (name, tensor) in enumerate(tensors.items())}
    content = io.BytesIO()
    _Pickler(content, protocol=2).dump({"model": placed})
    return content.getvalue()


def _entry(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(f"archive/{name}")  # dated 1980, so that the same model is the same file


def _aligned(entry: zipfile.ZipInfo, size: int, at: int) -> zipfile.ZipInfo:
    """The entry with a header of such a length that its content begins at a multiple of 64, as torch maps it."""
    entry.file_size = size
    zip64 = 20 if size * 1.05 > zipfile.ZIP64_LIMIT else 0  # as zipfile decides it
    padding = -(at + 30 + len(entry.filename) + zip64 + 4) % 64
    entry.extra = b"FB" + padding.to_bytes(2, "little") + bytes(padding)
    return entry
