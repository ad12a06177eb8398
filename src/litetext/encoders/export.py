"""Exporting an encoder for the torch-free runtime: written, run, compared with torch, and only then put in place."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from ..errors import LitetextError, choice_error, extras_named
from ..files import write_json, write_text
from ..outputs import atomic_folder
from .card import model_card
from .checkpoints import Checkpoint
from .config import EncoderConfig
from .difference import FeatureDifference, measure_difference
from .runtime import FORMAT, GRAPH_BESIDE, OnnxTextEncoder, int8_weight_bits
from .torch_encoder import TorchTextEncoder
from .trimming import trims_exactly

with extras_named():
    from onnx import ModelProto, TensorProto

    from .graph import OPSETS, GraphPrecision, encoder_graph
    from .shared_weights import share_weights

TOLERANCES: dict[GraphPrecision, float] = {"fp32": 1e-4, "fp16": 1e-2, "int8": 0.15}
"""The largest relative error of a real token, |exported - torch| / |torch|, that an export may have."""


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        folder: where.
        precision, weight_bits, opset: how; ``weight_bits`` is None unless int8.
        trim: whether real tokens run alone.
        bytes: size of graph and embedding.
        difference: the exported encoder against torch, running the same tokens.
        trimming: torch with and without padding, where trimming is not exact; None where it is, or was not asked for.
    """

    folder: str
    precision: GraphPrecision
    weight_bits: int | None
    opset: int
    trim: bool
    bytes: int
    difference: FeatureDifference
    trimming: FeatureDifference | None


def export_onnx(
    checkpoint: Checkpoint,
    folder: str | os.PathLike[str],
    prompts: Sequence[str],
    *,
    precision: GraphPrecision = "fp32",
    weight_bits: int | None = None,
    opset: int = OPSETS[0],
    trim: bool = False,
    tolerance: float | None = None,
    overwrite: bool = False,
) -> Export:
    """Write ``checkpoint`` as a directory for `OnnxTextEncoder`, atomically.

    Args:
        checkpoint: the encoder.
        folder: the directory; new, or an earlier export where ``overwrite`` says so.
        prompts: what the result is compared with torch on, before it is put in place.
        precision: ``fp32``, ``fp16`` or ``int8``, see `litetext.encoders.graph`.
        weight_bits: for int8, 8 or 7; by default what this CPU needs (`int8_weight_bits`).
        opset: the ONNX operator set.
        trim: run real tokens alone even where the encoder was made to read its padding; where it cannot see padding
            that happens anyway.
        tolerance: the largest relative error of a token; `TOLERANCES` by default.
        overwrite: replace an earlier export.

    Raises:
        LitetextError: an unknown precision or opset, or a result that differs more than ``tolerance`` allows.
    """
    if precision not in TOLERANCES:
        raise choice_error("precision", precision, get_args(GraphPrecision))
    if opset not in OPSETS:
        raise LitetextError(f"opset {opset} is not one this graph is written in; give {OPSETS[0]} to {OPSETS[-1]}")
    if weight_bits not in (None, 7, 8):
        raise LitetextError(f"weight_bits must be 7 or 8, got {weight_bits}")
    if not prompts:
        raise LitetextError("an export is checked on prompts; give one or more")
    bits = None if precision != "int8" else weight_bits or int8_weight_bits()
    exact = trims_exactly(checkpoint.config)
    module = checkpoint.module()
    reference = TorchTextEncoder(module, checkpoint.tokenizer, trim=trim or exact)
    trimming = None
    if trim and not exact:
        trimming = measure_difference(reference, TorchTextEncoder(module, checkpoint.tokenizer, trim=False), prompts)
    context = checkpoint.config.convention.context_length
    config = replace(checkpoint.config, position_rows=context, unused_projection=0).with_convention(positions="slice")
    weights = {name: tensor.float().numpy() for name, tensor in reference.module.state_dict().items()}
    weights["position_embedding"] = reference.module.positions(context).float().numpy()
    model = encoder_graph(
        config,
        weights,
        precision=precision,
        weight_bits=bits or 8,
        opset=opset,
        padding=config.convention.mask_padding == "attention" and not reference.trim,
    )
    with atomic_folder(folder, "exported encoder", overwrite=overwrite) as temporary:
        size = _write_model(model, temporary)
        values = _runtime_config(config, checkpoint, reference.trim, precision, bits, opset)
        write_json(temporary / "config.json", values, indent=None)
        checkpoint.tokenizer.save(temporary / "tokenizer.json")
        difference = measure_difference(OnnxTextEncoder(temporary, threads=1), reference, prompts)
        limit = TOLERANCES[precision] if tolerance is None else tolerance
        if not difference.error_worst <= limit:
            raise LitetextError(
                f"not written: in {precision} a token of {difference.worst_prompt!r} is off by "
                f"{difference.error_worst:.2g} of its length (cosine {difference.min_cosine:.4f}), more than "
                f"{limit:g}; use a higher precision, or allow it with --tolerance"
            )
        export = Export(str(folder), precision, bits, opset, reference.trim, size, difference, trimming)
        write_text(temporary / "README.md", model_card(config, size, _notes(export)))
    return export


def write_graph_beside(checkpoint: Checkpoint, folder: Path, opset: int = OPSETS[0]) -> None:
    """Write an encoder's graph into its own folder, where it reads the weights of ``model.safetensors``.

    Args:
        checkpoint: what the folder holds.
        folder: gets ``model.onnx`` and ``graph.json``.
        opset: the ONNX operator set.

    Raises:
        LitetextError: the encoder reads its padding, which a graph beside its weights does not.
    """
    if not trims_exactly(checkpoint.config):
        raise LitetextError(f"{folder}: the encoder reads its padding; write a graph of its own with litetext export")
    context = checkpoint.config.convention.context_length
    config = replace(checkpoint.config, position_rows=context, unused_projection=0).with_convention(positions="slice")
    module = checkpoint.module().folded().requires_grad_(False)
    weights = {name: tensor.float().numpy() for name, tensor in module.state_dict().items()}
    weights["position_embedding"] = module.positions(context).float().numpy()
    model = encoder_graph(config, weights, precision="fp32", weight_bits=8, opset=opset, padding=False)
    share_weights(model, folder / "model.safetensors")
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    values = _runtime_config(config, checkpoint, True, "fp32", None, opset)
    write_json(folder / GRAPH_BESIDE, values, indent=None)


def _runtime_config(
    config: EncoderConfig, checkpoint: Checkpoint, trim: bool, precision: GraphPrecision, bits: int | None, opset: int
) -> dict[str, Any]:
    """What the runtime has to know beside the graph."""
    kept = checkpoint.tokenizer.kept
    return {
        "format": FORMAT,
        "version": 1,
        "encoder": config.to_dict(),
        "trim": trim,
        "precision": precision,
        "weight_bits": bits,
        "opset": opset,
        "vocabulary": list(kept) if kept is not None else None,
    }


def _write_model(model: ModelProto, folder: Path) -> int:
    """Write the graph, its token embedding in a file of its own that a runtime can map; return the bytes of both."""
    table = next(one for one in model.graph.initializer if one.name == "token_embedding")
    (folder / "model.onnx.data").write_bytes(table.raw_data)
    for key, value in (("location", "model.onnx.data"), ("offset", "0"), ("length", str(len(table.raw_data)))):
        table.external_data.add(key=key, value=value)
    size = len(table.raw_data)
    table.ClearField("raw_data")
    table.data_location = TensorProto.EXTERNAL
    return size + (folder / "model.onnx").write_bytes(model.SerializeToString())


def _notes(export: Export) -> str:
    """What the card says beyond a checkpoint's: precision, agreement with torch, trimming, and how to run it alone."""
    found = export.difference
    stored = {
        "fp32": "float32",
        "fp16": "half precision, computed in float32",
        "int8": f"integers of {export.weight_bits} bits, a scale a column; activations are quantised as they come",
    }
    lines = [
        "## Exported",
        "",
        "Runs without torch on `pip install litetext`: `load_encoder` reads this folder as it is.",
        "",
        f"- `model.onnx` (operator set {export.opset}, {export.bytes:,} bytes with `model.onnx.data`); weights are "
        f"{stored[export.precision]}.",
        f"- Against torch on {found.prompts} prompts, {found.tokens} real tokens: cosine {found.mean_cosine:.6f} on "
        f"average, {found.min_cosine:.6f} at worst; largest relative error {found.error_worst:.1e}.",
    ]
    if export.trim:
        lines.append(
            "- Real tokens run alone: give the graph rows of one length, SOT to EOT, without padding and without mask."
        )
    else:
        lines.append("- Padding is read: give the graph whole rows, padded to the context.")
    if export.trimming is not None:
        effect = export.trimming
        lines.append(
            "- **Trimmed against its convention.** This encoder was made to read its padding; without it, token cosine "
            f"to what it gives with it is {effect.mean_cosine:.4f} on average, {effect.min_cosine:.4f} at worst."
        )
    if export.weight_bits == 8:
        lines.append("- For CPUs with VNNI (or other than x86); others need `litetext export … --weight-bits 7`.")
    return "\n".join(lines)
