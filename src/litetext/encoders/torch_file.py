"""PyTorch's files of tensors described without torch, which takes seconds to import, and mapped into memory.

A ``.pt`` is an archive: a pickle says which tensors there are and in which entry each has its numbers. Here it is read
by an unpickler that knows a handful of names and makes nothing but descriptions. What holds anything else goes to
`litetext.pickles`, where torch looks at it and says what is wrong.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LitetextError
from ..pickles import check_unpacked_size, is_archive
from .dtypes import torch_dtype
from .mapped_file import MappedFile
from .safetensors_file import itemsize

if TYPE_CHECKING:
    from torch import Tensor

_LARGEST_PICKLE = 1 << 26  # bytes; SAM3's 1,500 tensors take 200 kB
_LOCAL_HEADER = 30  # bytes of an archive's entry before its name

_STORAGES = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8",
    "BoolStorage": "BOOL", "ComplexFloatStorage": "C64",
}  # fmt: skip
"""torch's names of what holds numbers of one dtype -> safetensors' of the dtype."""


class NotPlainError(Exception):
    """A file that holds more than tensors in plain containers, or that is damaged: for torch to look at."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a pickle calls the type of a storage."""

    dtype: str


@dataclass(frozen=True, slots=True)
class _Storage:
    """An entry of the archive: ``count`` numbers."""

    dtype: str
    key: str
    count: int


@dataclass(frozen=True, slots=True)
class TorchTensor:
    """Where a tensor lies in a file.

    Attributes:
        dtype: as safetensors calls it.
        shape, strides: of the tensor, in numbers.
        offset: of its first number in the entry.
        key: of the entry.
        count: numbers in the entry.
    """

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    key: str
    count: int


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> TorchTensor:
    """The description of a tensor; what is no tensor of the archive's is not plain."""
    sizes = isinstance(shape, tuple) and isinstance(strides, tuple) and len(shape) == len(strides)
    if not isinstance(storage, _Storage) or not sizes or not all(_is_size(one) for one in (offset, *shape, *strides)):
        raise NotPlainError
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if (0 not in shape and last >= storage.count) or math.prod(shape) > storage.count:
        raise NotPlainError
    return TorchTensor(storage.dtype, shape, strides, offset, storage.key, storage.count)


def _is_size(value: Any) -> bool:
    return type(value) is int and value >= 0


def _first(value: Any, *_: Any) -> Any:
    return value


_NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch", "Size"): tuple,
    **{("torch", name): _Kind(dtype) for name, dtype in _STORAGES.items()},
}
"""All that a pickle may name, and what stands for it."""


class _Describer(pickle.Unpickler):
    """An unpickler that makes descriptions of tensors and plain containers of them, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise NotPlainError
        return _NAMES[module, name]

    def persistent_load(self, identity: Any) -> _Storage:
        _, kind, key, _, count = identity
        if not isinstance(kind, _Kind) or not isinstance(key, str) or not _is_size(count):
            raise NotPlainError
        return _Storage(kind.dtype, key, count)


class TorchFile:
    """A ``.pt`` of plain tensors.

    Args:
        path: the file.

    Attributes:
        content: what was saved, with a `TorchTensor` in each tensor's place.

    Raises:
        NotPlainError: it is not an archive of torch's, is damaged, or holds anything but tensors and plain containers.
        LitetextError: it would unpack to more than it is.
    """

    def __init__(self, path: Path) -> None:
        if not is_archive(path):
            raise NotPlainError
        try:
            check_unpacked_size(path)
            with zipfile.ZipFile(path) as archive:
                self._prefix = next(name for name in archive.namelist() if name.endswith("/data.pkl"))[:-8]
                self._entries = {entry.filename: entry for entry in archive.infolist()}
                self.content = self._described(archive)
        except LitetextError:
            raise
        except Exception:  # whatever else is wrong is for torch to say
            raise NotPlainError from None
        self._path = path
        self._mapped = MappedFile(path, writable=True)  # torch warns of memory that cannot be written to

    def _described(self, archive: zipfile.ZipFile) -> Any:
        order = f"{self._prefix}byteorder"
        if order in self._entries and archive.read(order) != b"little":
            raise NotPlainError
        pickled = archive.getinfo(f"{self._prefix}data.pkl")
        if pickled.file_size > _LARGEST_PICKLE:
            raise NotPlainError
        return _Describer(io.BytesIO(archive.read(pickled))).load()

    def check(self, tensor: TorchTensor) -> None:
        """Raise `NotPlainError` unless the file holds the numbers of a tensor, uncompressed."""
        entry = self._entries.get(f"{self._prefix}data/{tensor.key}")
        if (
            entry is None
            or entry.compress_type != zipfile.ZIP_STORED
            or entry.file_size != tensor.count * itemsize(tensor.dtype)
        ):
            raise NotPlainError

    def reader(self, tensor: TorchTensor) -> Callable[[], Tensor]:
        """Return what reads a tensor: a view of the file, unless its numbers lie where none may begin."""

        def read() -> Tensor:
            import torch

            content = self._mapped.bytes(*self._place(tensor))
            if content.ctypes.data % itemsize(tensor.dtype):
                content = content.copy()
            numbers = torch.from_numpy(content).view(torch_dtype(tensor.dtype))
            return numbers.as_strided(tensor.shape, tensor.strides, tensor.offset)

        return read

    def _place(self, tensor: TorchTensor) -> tuple[int, int]:
        """The first byte of a tensor's entry in the file, and the one after its last."""
        entry = self._entries[f"{self._prefix}data/{tensor.key}"]
        header = self._mapped.bytes(entry.header_offset, entry.header_offset + _LOCAL_HEADER).tobytes()
        lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        start = entry.header_offset + _LOCAL_HEADER + lengths
        return start, start + entry.file_size

    def release(self) -> None:
        """Give back the memory of what was read, which stays readable."""
        self._mapped.release()
