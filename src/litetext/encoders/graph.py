"""An encoder as an ONNX graph, written node by node: it is small and regular, so no tracer is needed.

The graph reads ``ids`` int64 [B, L] and gives ``tokens`` float32 [B, L, D]; B and L are free. BatchNorms are folded
(`TextTransformer.folded`), positions are those of the convention's context. There is no mask in it: either padding is
read like any token, or real tokens run alone (`litetext.encoders.trimming`). Only an encoder that hides padding from
its attention but not from its convolutions reads a second input, ``padding`` bool [B, L].

Precisions: ``fp32``; ``fp16`` stores weights in half the bytes and computes in float32; ``int8`` stores matrices and
embedding with a scale a column and a row, and multiplies in integers (ONNX Runtime's ``DynamicQuantizeMatMul``, whose
activations take their range from the batch they run in).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from .config import EncoderConfig

GraphPrecision = Literal["fp32", "fp16", "int8"]

OPSETS = range(20, 24)
"""Operator sets that can be asked for: Gelu came with 20, and every supported ONNX Runtime runs that one."""

_EPS = 1e-5  # of every LayerNorm, as published
_ONNX_RUNTIME = "com.microsoft"


def encoder_graph(
    config: EncoderConfig,
    weights: Mapping[str, np.ndarray],
    *,
    precision: GraphPrecision,
    weight_bits: int,
    opset: int,
    padding: bool,
) -> ModelProto:
    """Return the model.

    Args:
        config: the encoder's shape.
        weights: float32 tensors of the folded encoder by their names, ``position_embedding`` resized to the context.
        precision: see the module.
        weight_bits: 8, or 7 for CPUs whose integer sums could saturate; read by ``int8`` alone.
        opset: one of `OPSETS`.
        padding: whether attention reads the second input.
    """
    graph = _Graph(weights, precision, weight_bits)
    x = graph.embedded()
    bias = graph.attention_bias(config.causal, config.convention.context_length, padding)
    for index in range(config.layers):
        if index in config.repmixer_layers():
            x = graph.mixer_block(x, f"layers.{index}")
        else:
            x = graph.transformer_block(x, f"layers.{index}", config.heads, bias)
    graph.node("Identity", graph.linear(graph.norm(x, "final_norm"), "projector"), out="tokens")
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "length"])]
    if padding:
        inputs.append(helper.make_tensor_value_info("padding", TensorProto.BOOL, ["batch", "length"]))
    tokens = helper.make_tensor_value_info("tokens", TensorProto.FLOAT, ["batch", "length", config.output_dim])
    body = helper.make_graph(graph.nodes, "text_encoder", inputs, [tokens], graph.constants)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(_ONNX_RUNTIME, 1)]
    return helper.make_model(body, opset_imports=opsets, ir_version=9, producer_name="litetext")


class _Graph:
    """Nodes and constants as they come; every method adds some and returns the name of its result."""

    def __init__(self, weights: Mapping[str, np.ndarray], precision: GraphPrecision, weight_bits: int) -> None:
        self.nodes: list[Any] = []
        self.constants: list[TensorProto] = []
        self._weights = weights
        self._precision = precision
        self._largest = 2 ** (weight_bits - 1) - 1

    def node(self, operator: str, *inputs: str, out: str = "", domain: str = "", **attributes: Any) -> str:
        out = out or f"{operator.lower()}_{len(self.nodes)}"
        # Named, since ONNX Runtime up to 1.21 names what it fuses after its nodes and refuses a name that comes twice.
        self.nodes.append(helper.make_node(operator, list(inputs), [out], name=out, domain=domain, **attributes))
        return out

    def constant(self, value: Any, dtype: Any = np.float32, name: str = "") -> str:
        name = name or f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value, dtype=dtype, order="C"), name))
        return name

    def weight(self, name: str, value: np.ndarray | None = None) -> str:
        """A tensor of two dimensions or more, stored as the precision says (int8 aside), read as float32."""
        value = self._weights[name] if value is None else value
        if self._precision != "fp16":
            return self.constant(value, name=name)
        return self.node("Cast", self.constant(value, np.float16, name), to=TensorProto.FLOAT)

    def embedded(self) -> str:
        """Token embedding plus position, [B, L, width]."""
        table = self._weights["token_embedding.weight"]
        if self._precision == "int8":
            scale = _scales(table, 1, 127)
            rows = self.constant(np.rint(table / scale), np.int8, "token_embedding")
            words = self.node("Cast", self.node("Gather", rows, "ids"), to=TensorProto.FLOAT)
            words = self.node("Mul", words, self.node("Gather", self.constant(scale, name="token_scale"), "ids"))
        else:
            half = self._precision == "fp16"
            rows = self.constant(table, np.float16 if half else np.float32, "token_embedding")
            words = self.node("Gather", rows, "ids")
            words = self.node("Cast", words, to=TensorProto.FLOAT) if half else words
        length = self.node("Shape", "ids", start=1, end=2)
        positions = self.node("Slice", self.weight("position_embedding"), self.constant([0], np.int64), length)
        return self.node("Add", words, positions)

    def attention_bias(self, causal: bool, context: int, padding: bool) -> str | None:
        """What is added to every attention logit, broadcast to [B, heads, L, L]: -inf where it cannot be seen."""
        bias = None
        if causal:
            length = self.node("Shape", "ids", start=1, end=2)
            later = self.constant(np.triu(np.full((context, context), -np.inf), 1))
            twice = self.node("Concat", length, length, axis=0)
            axes = self.constant([0, 1], np.int64)
            bias = self.node("Slice", later, self.constant([0, 0], np.int64), twice, axes)
        if padding:
            hidden = self.node("Where", "padding", self.constant(-np.inf), self.constant(0.0))
            hidden = self.node("Unsqueeze", hidden, self.constant([1, 2], np.int64))
            bias = self.node("Add", bias, hidden) if bias else hidden
        return bias

    def transformer_block(self, x: str, name: str, heads: int, bias: str | None) -> str:
        """Pre-norm attention and feed-forward."""
        x = self.node("Add", x, self.attention(self.norm(x, f"{name}.norm1"), f"{name}.attention", heads, bias))
        return self.node("Add", x, self.feed_forward(self.norm(x, f"{name}.norm2"), f"{name}.ffn"))

    def mixer_block(self, x: str, name: str) -> str:
        """A folded RepMixer block: its residual stands inside the first convolution."""
        x = self.convolution(x, f"{name}.mixer")
        return self.node("Add", x, self.feed_forward(self.convolution(x, f"{name}.conv"), name))

    def attention(self, x: str, name: str, heads: int, bias: str | None) -> str:
        """Multi-head self-attention, [B, L, width]."""
        width = self._weights[f"{name}.out.weight"].shape[0]
        qkv = self.linear(x, f"{name}.qkv")
        split = self.node("Reshape", qkv, self.constant([0, 0, 3, heads, width // heads], np.int64))
        split = self.node("Transpose", split, perm=[2, 0, 3, 1, 4])
        q, k, v = (self.node("Gather", split, self.constant(part, np.int64), axis=0) for part in range(3))
        q = self.node("Mul", q, self.constant((width // heads) ** -0.5))
        logits = self.node("MatMul", q, self.node("Transpose", k, perm=[0, 1, 3, 2]))
        if bias:
            logits = self.node("Add", logits, bias)
        mixed = self.node("MatMul", self.node("Softmax", logits, axis=-1), v)
        mixed = self.node("Transpose", mixed, perm=[0, 2, 1, 3])
        return self.linear(self.node("Reshape", mixed, self.constant([0, 0, width], np.int64)), f"{name}.out")

    def feed_forward(self, x: str, name: str) -> str:
        return self.linear(self.node("Gelu", self.linear(x, f"{name}.up")), f"{name}.down")

    def convolution(self, x: str, name: str) -> str:
        """A depthwise convolution along the tokens of [B, L, C]; four-dimensional, for which kernels are fast."""
        kernel = self._weights[f"{name}.weight"][:, :, None, :]
        half = kernel.shape[-1] // 2
        x = self.node("Unsqueeze", self.node("Transpose", x, perm=[0, 2, 1]), self.constant([2], np.int64))
        x = self.node(
            "Conv",
            x,
            self.weight(f"{name}.weight", kernel),
            self.constant(self._weights[f"{name}.bias"]),
            group=kernel.shape[0],
            kernel_shape=kernel.shape[2:],
            pads=[0, half, 0, half],
        )
        return self.node("Transpose", self.node("Squeeze", x, self.constant([2], np.int64)), perm=[0, 2, 1])

    def norm(self, x: str, name: str) -> str:
        gain, bias = (self.constant(self._weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        return self.node("LayerNormalization", x, gain, bias, axis=-1, epsilon=_EPS)

    def linear(self, x: str, name: str) -> str:
        matrix = self._weights[f"{name}.weight"].T  # [in, out]
        bias = self.constant(self._weights[f"{name}.bias"])
        if self._precision != "int8":
            return self.node("Add", self.node("MatMul", x, self.weight(f"{name}.weight", matrix)), bias)
        scale = _scales(matrix, 0, self._largest)
        rounded = self.constant(np.rint(matrix / scale), np.int8, f"{name}.weight")
        # the empty name: weights are symmetric, without a zero point
        return self.node("DynamicQuantizeMatMul", x, rounded, self.constant(scale[0]), "", bias, domain=_ONNX_RUNTIME)


def _scales(matrix: np.ndarray, axis: int, largest: int) -> np.ndarray:
    """What one step of an int8 is worth along ``axis`` (kept, of size 1), so that the largest number is ``largest``."""
    peak = np.abs(matrix).max(axis=axis, keepdims=True)
    scale: np.ndarray = np.where(peak > 0, peak, 1).astype(np.float32) / np.float32(largest)
    return scale
