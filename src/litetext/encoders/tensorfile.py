"""Tensors by name from whatever file holds them, read one at a time, never unpickling objects."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import LitetextError
from ..json_files import read_json


class TensorFile:
    """A safetensors file, a sharded set of them, or a ``.pt`` of tensors: keys, shapes, and tensors on demand."""

    def __init__(
        self, source: str, shapes: dict[str, tuple[int, ...]], bytes_: dict[str, int], get: Callable[[str], Tensor]
    ) -> None:
        self.source = source
        self._shapes = shapes
        self._bytes = bytes_
        self._get = get

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __contains__(self, key: object) -> bool:
        return key in self._shapes

    def shape(self, key: str) -> tuple[int, ...]:
        """Return the shape of one tensor without reading it."""
        return self._shapes[key]

    def bytes(self, key: str) -> int:
        """Return the size of one tensor in the file, in bytes."""
        return self._bytes[key]

    def get(self, key: str) -> Tensor:
        """Read one tensor, in the dtype it was stored in."""
        return self._get(key)


def open_tensors(path: str | os.PathLike[str]) -> TensorFile:
    """Open the weights at ``path``: a .safetensors, .pt, .pth or .bin file, or a folder that holds one.

    In a folder the order is ``model.safetensors``, its sharded index, one other safetensors file, one ``.pt``.
    """
    path = Path(path)
    if not path.exists():
        raise LitetextError(f"{path}: no such file or folder")
    if path.is_dir():
        path = _weights_in(path)
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
    if not isinstance(listing, dict) or not isinstance(listing.get("weight_map"), dict):
        raise LitetextError(f"{index}: key 'weight_map' is missing; is it a sharded checkpoint's index?")
    shards = [index.parent / name for name in sorted(set(listing["weight_map"].values()))]
    for shard in shards:
        if shard.parent != index.parent or not shard.is_file():
            raise LitetextError(f"{index} names the shard {shard.name!r}, which is not beside it")
    file = _open_safetensors(str(index), shards)
    for key in listing["weight_map"]:
        if key not in file:
            raise LitetextError(f"{index} lists {key!r}, which is in none of its shards")
    return file


def _open_safetensors(source: str, paths: list[Path]) -> TensorFile:
    handles, shapes, sizes = {}, {}, {}
    for path in paths:
        try:
            handle = safe_open(str(path), framework="pt")
            for key in handle.keys():  # noqa: SIM118 (a safetensors handle is not a mapping)
                part = handle.get_slice(key)
                shapes[key], handles[key] = tuple(part.get_shape()), handle
                sizes[key] = _count(shapes[key]) * _DTYPE_BYTES.get(part.get_dtype(), 4)
        except (SafetensorError, OSError) as error:
            raise LitetextError(f"{path} is not a readable safetensors file ({error}); is it cut short?") from None
    return TensorFile(source, shapes, sizes, lambda key: handles[key].get_tensor(key))


def _open_pickle(path: Path) -> TensorFile:
    try:
        content = torch.load(
            path, map_location="cpu", weights_only=True, mmap=torch.serialization._is_zipfile(path.open("rb"))
        )
    except pickle.UnpicklingError:
        raise LitetextError(
            f"{path} holds Python objects beside its tensors, which could run code when loaded; "
            "save it again as a plain dictionary of tensors or as safetensors"
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LitetextError(f"{path} is not a readable PyTorch checkpoint ({reason}); is it cut short?") from None
    for wrapper in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict):
        raise LitetextError(f"{path} holds a {type(content).__name__}, not a dictionary of tensors")
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise LitetextError(f"{path} holds no tensors")
    shapes = {key: tuple(value.shape) for key, value in tensors.items()}
    sizes = {key: value.numel() * value.element_size() for key, value in tensors.items()}
    return TensorFile(str(path), shapes, sizes, lambda key: tensors[key].clone())


_DTYPE_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count
