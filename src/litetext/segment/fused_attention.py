"""Attention in exported graphs: one operator that never writes its matrix, where there is no mask.

ONNX's own attention is two matrix products with a softmax between them, and ONNX Runtime keeps what is between them in
memory: at SAM3's size 860 MB for one layer. ONNX Runtime's ``MultiHeadAttention`` goes through it in blocks that stay
in the processor's cache; it takes a third of the time. OpenVINO reads it too. Masked attention stays as it is: there
the keys are a few words, or the queries are few.
"""

from __future__ import annotations

from typing import Any

import torch
from onnx.defs import OpSchema
from onnxscript import opset20
from onnxscript.function_libs.torch_lib.ops.nn import aten_scaled_dot_product_attention
from onnxscript.values import Op, Opset

op: Any = opset20

_DOMAIN, _NAME = "com.microsoft", "MultiHeadAttention"


def _operator() -> Any:
    """ONNX Runtime's operator, of which onnx knows nothing: inputs [B, L, heads * D], and what is given of it here."""
    tensors = [OpSchema.FormalParameter(name, "T") for name in ("query", "key", "value", "output")]
    attributes = [
        OpSchema.Attribute("num_heads", OpSchema.AttrType.INT),
        OpSchema.Attribute("scale", OpSchema.AttrType.FLOAT),
    ]
    schema = OpSchema(
        _NAME,
        _DOMAIN,
        1,
        inputs=tensors[:3],
        outputs=tensors[3:],
        type_constraints=[("T", ["tensor(float)"], "")],
        attributes=attributes,
    )
    return Op(Opset(_DOMAIN, 1), _NAME, schema)


_multi_head_attention = _operator()


def attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """Return the nodes of ``torch.nn.functional.scaled_dot_product_attention``, whose arguments these are."""
    heads, width = query.shape[1], query.shape[3]
    if attn_mask is not None or is_causal or enable_gqa or not isinstance(heads, int) or value.shape[3] != width:
        return aten_scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    rows = [_by_token(one, heads * width) for one in (query, key, value)]
    mixed = _multi_head_attention(*rows, num_heads=heads, scale=width**-0.5 if scale is None else scale)
    split = op.Reshape(mixed, op.Constant(value_ints=[0, 0, heads, width]))
    return op.Transpose(split, perm=[0, 2, 1, 3])


def _by_token(states: Any, width: int) -> Any:
    """States [B, heads, L, D] as [B, L, heads * D]."""
    return op.Reshape(op.Transpose(states, perm=[0, 2, 1, 3]), op.Constant(value_ints=[0, 0, width]))


TRANSLATION: dict[Any, Any] = {torch.ops.aten.scaled_dot_product_attention.default: attention}
"""What torch's exporter is told."""
