"""ONNX graphs that read their weights from a model's own safetensors file: one copy of them serves torch and ONNX.

A safetensors file is a header and then raw tensors, so ONNX's external data (location, offset, length) can point into
it. Weights stored in half precision are cast to float32 in the graph, which ONNX Runtime does once, when it loads.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from .safetensors_file import SafetensorsFile

SMALLEST = 64
"""Constants with fewer numbers stay in the graph."""

_KINDS = {"F16": TensorProto.FLOAT16, "F32": TensorProto.FLOAT}


@dataclass(frozen=True, slots=True, eq=False)
class _Stored:
    """A tensor in a safetensors file: its values, and where their bytes are."""

    values: np.ndarray
    kind: int
    offset: int
    length: int


def share_weights(model: ModelProto, weights: Path) -> int:
    """Replace a graph's constants, in place, by references to equal tensors of a file that will lie beside it.

    A constant counts as equal if it is the stored tensor as float32, or that transposed, or in another shape.

    Args:
        model: the graph.
        weights: the safetensors file.

    Returns:
        The bytes that the graph no longer holds.
    """
    stored = _by_values(weights)
    kept, nodes, saved = [], [], 0
    for constant in model.graph.initializer:
        values = numpy_helper.to_array(constant)
        found = _find(values, stored) if values.size >= SMALLEST and values.dtype.kind == "f" else None
        if found is None:
            kept.append(constant)
            continue
        tensor, transposed = found
        name = f"{constant.name}/stored"
        shape = tensor.values.shape if transposed else values.shape
        kept.append(_reference(name, tensor, shape, weights.name))
        steps: list[tuple[str, dict[str, Any]]] = []
        if tensor.kind != constant.data_type:
            steps.append(("Cast", {"to": constant.data_type}))
        if transposed:
            steps.append(("Transpose", {"perm": [1, 0]}))
        for number, (operator, attributes) in enumerate(steps, start=1):
            out = constant.name if number == len(steps) else f"{name}/{operator}"
            nodes.append(helper.make_node(operator, [name], [out], **attributes))
            name = out
        if not steps:
            kept[-1].name = constant.name
        saved += values.nbytes
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
    return saved


def _reference(name: str, tensor: _Stored, shape: tuple[int, ...], location: str) -> TensorProto:
    """Return a constant whose values are in the file."""
    reference = TensorProto(name=name, data_type=tensor.kind, dims=shape, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", tensor.offset), ("length", tensor.length)):
        reference.external_data.add(key=key, value=str(value))
    return reference


def _by_values(path: Path) -> dict[bytes, _Stored]:
    """Return the tensors of a safetensors file by their values as float32, flat."""
    file = SafetensorsFile(path)
    found: dict[bytes, _Stored] = {}
    for name, tensor in file.tensors.items():
        if tensor.dtype in _KINDS:
            values = file.array(name)
            stored = _Stored(values, _KINDS[tensor.dtype], tensor.start, tensor.end - tensor.start)
            found.setdefault(_key(values), stored)
    return found


def _find(values: np.ndarray, stored: dict[bytes, _Stored]) -> tuple[_Stored, bool] | None:
    """Return the stored tensor that equals ``values``, and whether it has to be transposed for that."""
    if (tensor := stored.get(_key(values))) is not None:
        return tensor, False
    if values.ndim == 2 and (tensor := stored.get(_key(values.T))) is not None and tensor.values.ndim == 2:
        return tensor, True
    return None


def _key(values: np.ndarray) -> bytes:
    return np.ascontiguousarray(values, np.float32).tobytes()
