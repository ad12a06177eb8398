"""Graphs beside a model's weights: a model in litetext's own layout then runs without torch, from the same files.

``segmenter/`` gets the four graphs of an export (see `onnx_backend`) and ``graphs.json``; the text encoder's folder
gets ``model.onnx`` and ``graph.json``. The graphs hold no weights: they point into ``model.safetensors``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx

from ..encoders.checkpoints import read_checkpoint
from ..encoders.export import write_graph_beside
from ..encoders.graph import OPSETS
from ..encoders.shared_weights import share_weights
from ..errors import LitetextError
from ..files import write_json
from .convention import KEY
from .export import measure_agreement, write_graphs
from .onnx_backend import FORMAT, VERSION, graphs_of
from .parity import TOLERANCE
from .segmenter import Segmenter
from .sources import GRAPHS_BESIDE
from .torch_backend import TorchBackend
from .whole_export import Agreement

WEIGHTS = "model.safetensors"


def write_graphs_beside(model: Path, text: str, prompts: list[str], opset: int = OPSETS[0]) -> Agreement:
    """Write a model's graphs beside its weights and compare them with torch.

    Args:
        model: a folder with ``segmenter/`` and ``text/``.
        text: the name of the encoder under ``text/``.
        prompts: what is compared on.
        opset: the ONNX operator set.

    Raises:
        LitetextError: they differ by more than `TOLERANCE` (see `Agreement.worst`).
    """
    segmenter, encoder = model / "segmenter", model / "text" / text
    backend = TorchBackend.load(segmenter, "cpu")
    with tempfile.TemporaryDirectory() as folder:
        write_graphs(backend, Path(folder), opset)
        for graph in graphs_of(backend.convention):
            traced = onnx.load(Path(folder) / f"{graph}.onnx")
            share_weights(traced, segmenter / WEIGHTS)
            (segmenter / f"{graph}.onnx").write_bytes(traced.SerializeToString())
    values = {"format": FORMAT, "version": VERSION, "opset": opset, KEY: backend.convention.to_dict()}
    write_json(segmenter / GRAPHS_BESIDE, values)
    write_graph_beside(read_checkpoint(encoder), encoder, opset)
    agreement = agreement_of(model, text, prompts)
    if not agreement.worst <= TOLERANCE:
        raise LitetextError(f"{segmenter}: graphs and torch differ by {agreement.worst:.2g}, more than {TOLERANCE:g}")
    return agreement


def agreement_of(model: Path, text: str, prompts: list[str]) -> Agreement:
    """Compare a model's graphs with torch, see `write_graphs_beside`."""
    encoder = model / "text" / text
    ours = Segmenter.from_pretrained(model, encoder, backend="onnx", threads=1)
    return measure_agreement(ours, Segmenter.from_pretrained(model, encoder, device="cpu", backend="torch"), prompts)
