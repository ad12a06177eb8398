"""torch's dtypes by the names that safetensors gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import LitetextError

if TYPE_CHECKING:
    import torch

_TORCH_NAMES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "BOOL": "bool", "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "C64": "complex64",
}  # fmt: skip
_NAMES = {of_torch: name for name, of_torch in _TORCH_NAMES.items()}


def torch_dtype(name: str) -> torch.dtype:
    """Return torch's dtype by the name that safetensors gives it (``F32``)."""
    import torch

    dtype: torch.dtype = getattr(torch, _TORCH_NAMES[name])
    return dtype


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name that safetensors gives one of torch's dtypes.

    Raises:
        LitetextError: a dtype that the format does not have.
    """
    found = _NAMES.get(_spelled(dtype))
    if found is None:
        raise LitetextError(f"a tensor of {dtype} cannot be kept in a file of weights; convert it to another dtype")
    return found


def has_name(dtype: torch.dtype) -> bool:
    """Return whether the format has a dtype of torch's."""
    return _spelled(dtype) in _NAMES


def _spelled(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
