"""Tensors by name from whatever file holds them, read one at a time, never unpickling objects.

What a safetensors file holds is told without torch, which takes seconds to import.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LitetextError, short
from ..files import checked_file
from ..json_files import read_json
from ..pickles import read_pickle
from .dtypes import dtype_name, has_name, torch_dtype
from .safetensors_file import SafetensorsFile, is_floating, itemsize
from .torch_file import NotPlainError, TorchFile, TorchTensor

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class LazyTensor:
    """A tensor that is read, or made of others that are, when it is asked for.

    Attributes:
        shape: known before.
        dtype: as safetensors calls it (``F32``), known before.
        read: returns it.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], Tensor]

    @property
    def bytes(self) -> int:
        """Its size."""
        return math.prod(self.shape) * itemsize(self.dtype)


def lazy(tensor: Tensor) -> LazyTensor:
    """Return a tensor that is there already as one of those that are read when asked for."""
    return LazyTensor(tuple(tensor.shape), dtype_name(tensor.dtype), lambda: tensor)


def lazily(tensors: Mapping[str, Tensor]) -> dict[str, LazyTensor]:
    """Return tensors that are there already as such that are read when asked for."""
    return {name: lazy(tensor) for name, tensor in tensors.items()}


def read_all(tensors: Mapping[str, LazyTensor]) -> dict[str, Tensor]:
    """Read tensors."""
    return {name: tensor.read() for name, tensor in tensors.items()}


def cast(tensors: Mapping[str, LazyTensor], dtype: torch.dtype) -> dict[str, LazyTensor]:
    """Return tensors, to be read later, with their floating-point numbers in another dtype."""
    name = dtype_name(dtype)

    def converted(tensor: LazyTensor) -> LazyTensor:
        floating = is_floating(tensor.dtype) and tensor.dtype != name
        return LazyTensor(tensor.shape, name, lambda: tensor.read().to(dtype)) if floating else tensor

    return {key: converted(tensor) for key, tensor in tensors.items()}


class TensorFile:
    """A safetensors file, a sharded set of them, or a ``.pt`` of tensors: keys, shapes, and tensors on demand.

    Args:
        source: the file, for messages.
        tensors: by name.
        release: see the method of that name.
    """

    def __init__(
        self, source: str, tensors: Mapping[str, LazyTensor], release: Callable[[], None] = lambda: None
    ) -> None:
        self.source = source
        self._tensors = tensors
        self._release = release

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __contains__(self, key: object) -> bool:
        return key in self._tensors

    def lazy(self, key: str) -> LazyTensor:
        """Return one tensor, to be read later."""
        return self._tensors[key]

    def release(self) -> None:
        """Give back the memory of what was read, which stays readable; where the system cannot, do nothing."""
        self._release()

    def shape(self, key: str) -> tuple[int, ...]:
        """Return the shape of one tensor without reading it."""
        return self._tensors[key].shape

    def bytes(self, key: str) -> int:
        """Return the size of one tensor in the file, in bytes."""
        return self._tensors[key].bytes

    def dtype(self, key: str) -> str:
        """Return the dtype of one tensor in the file, as safetensors calls it (``F32``)."""
        return self._tensors[key].dtype

    def get(self, key: str) -> Tensor:
        """Read one tensor, in the dtype it was stored in."""
        return self._tensors[key].read()


def open_tensors(path: str | os.PathLike[str]) -> TensorFile:
    """Open the weights at ``path``: a .safetensors, .pt, .pth or .bin file, or a folder that holds one.

    In a folder the order is ``model.safetensors``, its sharded index, one other safetensors file, one ``.pt``.
    """
    path = Path(path)
    if path.is_dir():
        path = _weights_in(path)
    checked_file(path, "a checkpoint: a .safetensors or .pt file, or a folder that holds one")
    if path.name.endswith(".safetensors.index.json"):
        return _open_shards(path)
    if path.suffix == ".safetensors":
        return _open_safetensors(str(path), [path])
    if path.suffix in (".pt", ".pth", ".bin"):
        return _open_pickle(path)
    raise LitetextError(f"{path}: not a checkpoint; give a .safetensors or .pt file, or a folder that holds one")


def _weights_in(folder: Path) -> Path:
    for name in ("model.safetensors", "model.safetensors.index.json"):
        if (folder / name).is_file():
            return folder / name
    for suffix in (".safetensors", ".pt"):
        files = sorted(folder.glob(f"*{suffix}"))
        if len(files) == 1:
            return files[0]
        if len(files) > 1:
            raise LitetextError(f"{folder} holds {len(files)} {suffix} files; give the path of one of them")
    raise LitetextError(f"{folder} holds no weights (model.safetensors, model.safetensors.index.json or a .pt file)")


def _open_shards(index: Path) -> TensorFile:
    listing = read_json(index)
    names = listing.get("weight_map") if isinstance(listing, dict) else None
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise LitetextError(f"{index}: key 'weight_map' should name the shard of every tensor")
    shards = [index.parent / name for name in sorted(set(names.values()))]
    for shard in shards:
        if shard.parent != index.parent or not shard.is_file():
            raise LitetextError(f"{index} names the shard {short(shard.name)}, which is not beside it")
    file = _open_safetensors(str(index), shards)
    for key in names:
        if key not in file:
            raise LitetextError(f"{index} lists {short(key)}, which is in none of its shards")
    return file


def _open_safetensors(source: str, paths: list[Path]) -> TensorFile:
    tensors: dict[str, LazyTensor] = {}
    files = [SafetensorsFile(path, writable=True) for path in paths]  # torch warns of memory that cannot be written to
    for file in files:
        for key, stored in file.tensors.items():
            if key in tensors:
                raise LitetextError(f"{file.path} holds {short(key)}, which another shard holds too")
            tensors[key] = LazyTensor(stored.shape, stored.dtype, _reader(file, key))

    def release() -> None:
        for file in files:
            file.release()

    return TensorFile(source, tensors, release)


def _reader(file: SafetensorsFile, key: str) -> Callable[[], Tensor]:
    def read() -> Tensor:
        import torch

        stored, content = file.tensors[key], file.bytes_of(key)
        if stored.start % itemsize(stored.dtype):
            content = content.copy()  # torch wants numbers to begin at a multiple of their size
        return torch.from_numpy(content).view(torch_dtype(stored.dtype)).reshape(stored.shape)

    return read


def _open_pickle(path: Path) -> TensorFile:
    try:
        return _open_plain(path)
    except NotPlainError:
        return _open_by_torch(path)


def _open_plain(path: Path) -> TensorFile:
    """A file of plain tensors, as nearly every one is, without torch.

    Raises:
        NotPlainError: another file.
    """
    file = TorchFile(path)
    content = _unwrapped(file.content)
    items = content.items() if isinstance(content, dict) else ()
    found = {key: one for key, one in items if isinstance(one, TorchTensor)}
    if not found or not all(isinstance(key, str) for key in found):
        raise NotPlainError
    for tensor in found.values():
        file.check(tensor)
    stored = {key: LazyTensor(one.shape, one.dtype, file.reader(one)) for key, one in found.items()}
    return TensorFile(str(path), stored, file.release)


def _unwrapped(content: Any) -> Any:
    """What a training's checkpoint holds under the name of the model, or else the content itself."""
    for wrapper in ("model", "state_dict", "ema"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    return content


def _open_by_torch(path: Path) -> TensorFile:
    """A file of another kind, if torch reads it without running code; else what is wrong with it."""
    import torch
    from torch import Tensor

    content = _unwrapped(read_pickle(path))
    if not isinstance(content, dict):
        raise LitetextError(f"{path} holds a {type(content).__name__}, not a dictionary of tensors")
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise LitetextError(f"{path} holds no tensors")
    for key, tensor in tensors.items():
        if not isinstance(key, str):
            raise LitetextError(f"{path}: a tensor is called {short(key)}, where a text should stand")
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise LitetextError(f"{path}: {short(key)} is sparse, quantized or not in the file; save it as it is used")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise LitetextError(f"{path}: {short(key)} has shape {short(tuple(tensor.shape))}, more than is stored")
    unknown = next((key for key, tensor in tensors.items() if not has_name(tensor.dtype)), None)
    if unknown is not None:
        raise LitetextError(f"{path}: {short(unknown)} is stored as {tensors[unknown].dtype}, which no encoder is")
    return TensorFile(str(path), lazily(tensors))
