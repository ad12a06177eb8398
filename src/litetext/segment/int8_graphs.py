"""Exported graphs in int8: matrices in 8 bits, and multiplied in 8 bits where that is close enough.

Every matrix gets a scale a column, and ONNX Runtime's ``DynamicQuantizeMatMul`` rounds all that it is multiplied with
by one scale. Where that is off by too much, each row is divided by its largest number first and the product multiplied
back, so that a place of the picture with large numbers costs the others nothing. How far both are off is measured for
every matrix on pictures; one that is sensitive to both is kept in 8 bits but multiplied in float32. Kernels of
convolutions and tables are stored in half the bytes and computed with in float32.

Where 4 bits are asked for, a matrix gets them, with a scale for every `BLOCK` numbers of a column (ONNX Runtime's
``MatMulNBits``, which rounds what it is multiplied with to 8 bits), unless that is off by more than `COARSE`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from .whole_export import Errors, Int8Graph

_DOMAIN = "com.microsoft"

EVEN, SENSITIVE = 0.015, 0.03
"""A product whose mean error is a larger share of its mean size is taken row by row, and then in float32."""

BLOCK, COARSE = 32, 0.15
"""Numbers that share a scale in 4 bits, and the mean error from which on a matrix is put into 8 bits instead."""

_LEAST = 1 << 12  # numbers of a tensor that is worth it
_SUFFIX = "_int8_error"
_TINY = np.array(1e-12, np.float32)  # so that rows of zeros stay zeros


def probe_graph(graph: Path, probe: Path, largest: int, *, fours: bool = False) -> list[str]:
    """Write a graph that also says how far each product would be off in fewer bits.

    Args:
        graph: the float32 graph, which stays.
        probe: what is written, its weights beside it.
        largest: the greatest integer of a weight, 127 or 63.
        fours: measure 4 bits too.

    Returns:
        The names of the additional outputs, those of a product in the order of `Errors`.
    """
    model = ir.load(graph)
    names: list[str] = []
    for product in _products(model.graph):
        built = _Nodes(model.graph)
        roughs = [_even_product(built, product, largest), _row_product(built, product, largest)]
        for rough in [*roughs, _four_product(built, product)] if fours else roughs:
            names.append(f"product_{len(names)}{_SUFFIX}")
            model.graph.outputs.append(_share_off(built, product.outputs[0], rough, names[-1]))
        model.graph.insert_after(product, built.nodes)
    _save(model, probe)
    return names


def _share_off(built: _Nodes, exact: ir.Value, rough: ir.Value, name: str) -> ir.Value:
    """The mean error of a product as a share of its mean size."""
    error = built.mean_size(built.node("Sub", exact, rough))
    share = built.node("Div", error, built.node("Add", built.mean_size(exact), built.constant(_TINY)))
    share.name, share.type, share.shape = name, ir.TensorType(ir.DataType.FLOAT), ir.Shape([])
    return share


def write_int8(graph: Path, target: Path, errors: Sequence[Errors], largest: int) -> Int8Graph:
    """Write a graph in int8, and in 4 bits what was measured in them and is close enough.

    Args:
        graph: the float32 graph.
        target: what is written, its weights beside it.
        errors: of each product, in the order of `probe_graph`.
        largest: the greatest integer of a weight, 127 or 63.
    """
    model = ir.load(graph)
    products = list(_products(model.graph))
    kept: list[float] = []
    fours: list[float] = []
    for product, error in zip(products, errors, strict=True):
        built = _Nodes(model.graph)
        if error.four is not None and error.four <= COARSE:  # NaN is not
            fours.append(error.four)
            _replace(model.graph, [product], built, _four_product(built, product))
        elif error.even <= EVEN:
            kept.append(error.even)
            _replace_biased(model.graph, product, built, largest)
        elif error.by_row <= SENSITIVE:
            kept.append(error.by_row)
            _replace(model.graph, [product], built, _row_product(built, product, largest))
        else:
            _replace(model.graph, [product], built, _weight_only(built, product, largest))
    _drop_unread(model.graph)
    _store_halves(model.graph)
    _drop_unread(model.graph)
    model.graph.opset_imports[_DOMAIN] = 1
    _save(model, target)
    sensitive = len(products) - len(kept) - len(fours)
    return Int8Graph(len(products), sensitive, max(kept, default=0.0), len(fours), max(fours, default=0.0))


def _products(graph: ir.Graph) -> Iterator[ir.Node]:
    """The products with a constant matrix, in the order they are computed."""
    for node in graph:
        if node.op_type == "MatMul" and node.inputs[1] is not None and _is_large(node.inputs[1], (2,)):
            yield node


def _is_large(value: ir.Value, dimensions: tuple[int, ...]) -> bool:
    """Whether a value is a stored tensor of float32 that is worth fewer bytes."""
    constant = value.const_value
    return (
        value.is_initializer()
        and constant is not None
        and constant.dtype == ir.DataType.FLOAT
        and len(constant.shape) in dimensions
        and constant.size >= _LEAST
    )


def _numbers(value: Any) -> NDArray[np.float32]:
    """The numbers of a stored tensor."""
    return np.asarray(value.const_value.numpy())


class _Nodes:
    """Nodes in the making, with their constants."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self.nodes: list[ir.Node] = []

    def node(self, operator: str, *inputs: Any, domain: str = "", **attributes: Any) -> ir.Value:
        made = ir.node(operator, list(inputs), attributes=attributes, domain=domain)
        self.nodes.append(made)
        return made.outputs[0]

    def constant(self, array: NDArray[Any], name: str = "") -> ir.Value:
        """A stored tensor; one of a name is stored once."""
        name = name or f"constant_{array.dtype}_{array.ndim}_{'_'.join(map(str, array.ravel()[:4]))}"
        if name not in self.graph.initializers:
            tensor = ir.tensor(np.array(array, order="C"), name=name)
            shape = ir.Shape(array.shape)
            value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=shape, const_value=tensor)
            self.graph.register_initializer(value)
        return self.graph.initializers[name]

    def mean_size(self, value: ir.Value) -> ir.Value:
        return self.node("ReduceMean", self.node("Abs", value), keepdims=0)


def _quantized(built: _Nodes, matrix: Any, largest: int) -> tuple[ir.Value, ir.Value]:
    """A matrix [in, out] in int8, and its scales [out]."""
    name = str(matrix.name)
    if f"{name}_int8" not in built.graph.initializers:
        numbers = _numbers(matrix)
        peak = np.abs(numbers).max(axis=0)
        scale = np.where(peak > 0, peak, 1).astype(np.float32) / np.float32(largest)
        built.constant(np.rint(numbers / scale).astype(np.int8), f"{name}_int8")
        built.constant(scale, f"{name}_scale")
    return built.graph.initializers[f"{name}_int8"], built.graph.initializers[f"{name}_scale"]


def _even_product(built: _Nodes, product: ir.Node, largest: int, bias: ir.Value | None = None) -> ir.Value:
    """The product in integers, all rows rounded by one scale."""
    rows, matrix = product.inputs
    # the empty input: weights are symmetric, without a zero point
    operands = [rows, *_quantized(built, matrix, largest), *([] if bias is None else [None, bias])]
    return built.node("DynamicQuantizeMatMul", *operands, domain=_DOMAIN)


def _row_product(built: _Nodes, product: ir.Node, largest: int) -> ir.Value:
    """The product in integers, each row rounded by a scale of its own."""
    rows, matrix = product.inputs
    axis = built.constant(np.array([-1], np.int64))
    high = built.node("ReduceMax", rows, axis, keepdims=1)
    low = built.node("ReduceMin", rows, axis, keepdims=1)
    peak = built.node("Max", high, built.node("Neg", low), built.constant(_TINY))
    operands = built.node("Div", rows, peak), *_quantized(built, matrix, largest)
    return built.node("Mul", built.node("DynamicQuantizeMatMul", *operands, domain=_DOMAIN), peak)


def _four_product(built: _Nodes, product: ir.Node) -> ir.Value:
    """The product with the matrix in 4 bits."""
    rows, matrix = product.inputs
    inside, outside = _numbers(matrix).shape
    fours, scale = _in_fours(built, matrix)
    shape = {"K": inside, "N": outside, "bits": 4, "block_size": BLOCK, "accuracy_level": 4}
    return built.node("MatMulNBits", rows, fours, scale, domain=_DOMAIN, **shape)


def _in_fours(built: _Nodes, matrix: Any) -> tuple[ir.Value, ir.Value]:
    """A matrix [in, out] in 4 bits, two numbers a byte [out, blocks, `BLOCK` / 2], and its scales [out, blocks]."""
    name = str(matrix.name)
    if f"{name}_int4" not in built.graph.initializers:
        columns = _numbers(matrix).T
        blocks = -(-columns.shape[1] // BLOCK)
        columns = np.pad(columns, ((0, 0), (0, blocks * BLOCK - columns.shape[1]))).reshape(-1, blocks, BLOCK)
        furthest = np.take_along_axis(columns, np.abs(columns).argmax(-1, keepdims=True), -1)
        scale = np.where(furthest == 0, 1, furthest / np.float32(-8)).astype(np.float32)  # which there is 0, of 0 to 15
        levels = np.clip(np.rint(columns / scale) + 8, 0, 15).astype(np.uint8)
        built.constant(levels[..., ::2] | levels[..., 1::2] << 4, f"{name}_int4")
        built.constant(scale[..., 0], f"{name}_int4_scale")
    return built.graph.initializers[f"{name}_int4"], built.graph.initializers[f"{name}_int4_scale"]


def _weight_only(built: _Nodes, product: ir.Node, largest: int) -> ir.Value:
    """The product in float32, its matrix stored in int8."""
    rows, matrix = product.inputs
    integers, scale = _quantized(built, matrix, largest)
    return built.node("MatMul", rows, built.node("DequantizeLinear", integers, scale, axis=1))


def _replace(graph: ir.Graph, old: list[ir.Node], built: _Nodes, result: ir.Value) -> None:
    value = old[-1].outputs[0]
    result.type, result.shape = value.type, value.shape
    ir.convenience.replace_nodes_and_values(graph, old[-1], old, built.nodes, [value], [result])


def _replace_biased(graph: ir.Graph, product: ir.Node, built: _Nodes, largest: int) -> None:
    """Replace a product, and the addition of a bias behind it, where there is one."""
    readers = [use.node for use in product.outputs[0].uses()]
    if len(readers) == 1 and readers[0].op_type == "Add":
        bias = next((one for one in readers[0].inputs if one is not product.outputs[0]), None)
        if bias is not None and bias.is_initializer() and bias.shape is not None and len(bias.shape) == 1:
            _replace(graph, [product, readers[0]], built, _even_product(built, product, largest, bias))
            return
    _replace(graph, [product], built, _even_product(built, product, largest))


def _store_halves(graph: ir.Graph) -> None:
    """Store the large tensors that are left in float16, and cast them where they are read."""
    for value in list(graph.initializers.values()):
        if not _is_large(value, (2, 3, 4)):
            continue
        built = _Nodes(graph)
        half = built.constant(_numbers(value).astype(np.float16), f"{value.name}_half")
        whole = built.node("Cast", half, to=int(ir.DataType.FLOAT))
        first = next(iter(graph))
        ir.convenience.replace_all_uses_with(value, whole)
        graph.insert_before(first, built.nodes)


def _drop_unread(graph: ir.Graph) -> None:
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]


def _save(model: ir.Model, path: Path) -> None:
    ir.save(model, path, external_data=f"{path.name}.data", size_threshold_bytes=1024)
