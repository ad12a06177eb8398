"""A written export's graphs put into int8 or 4 bits, by what is measured of them on the scenes that ship."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..encoders.features import TextFeatures
from ..encoders.runtime import open_session, run_session
from .int8_graphs import probe_graph, write_int8
from .onnx_backend import OnnxBackend, graphs_of
from .whole_export import Errors, Int8Graph

_MASKS = 3
_BOXES = np.array([[[0.4, 0.5, 0.3, 0.4], [0.7, 0.3, 0.2, 0.2]]], dtype=np.float32)
_LABELS = np.array([[1, 0]])

Feeds = list[Mapping[str, NDArray[Any]]]
"""What a graph was given, run by run."""


def put_into_int8(
    folder: Path, text: TextFeatures, photos: Sequence[NDArray[np.uint8]], weight_bits: int, *, fours: bool = False
) -> dict[str, Int8Graph]:
    """Replace an export's float32 graphs.

    Args:
        folder: the export.
        text: features of some prompts.
        photos: to measure on, uint8 [H, W, 3] each.
        weight_bits: 8, or 7 for CPUs whose integer sums could saturate.
        fours: put matrices into 4 bits where that is close enough.
    """
    feeds = recorded_feeds(folder, text, photos)
    largest = 2 ** (weight_bits - 1) - 1
    written = {}
    for graph, given in feeds.items():
        with tempfile.TemporaryDirectory(dir=folder) as staging:
            staged = Path(staging) / "new"
            staged.mkdir()
            errors = _errors(folder / f"{graph}.onnx", Path(staging) / f"{graph}.onnx", given, largest, fours)
            written[graph] = write_int8(folder / f"{graph}.onnx", staged / f"{graph}.onnx", errors, largest)
            for file in folder.glob(f"{graph}.onnx*"):
                file.unlink()
            for file in staged.iterdir():
                shutil.move(file, folder)
    return written


class _Recorder(OnnxBackend):
    """A backend that keeps what its graphs are given."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.feeds: dict[str, Feeds] = {graph: [] for graph in graphs_of(self.convention)}

    def _run(self, graph: str, feeds: Mapping[str, Any]) -> list[Any]:
        self.feeds[graph].append(feeds)
        return super()._run(graph, feeds)


def recorded_feeds(folder: Path, text: TextFeatures, photos: Sequence[NDArray[np.uint8]]) -> dict[str, Feeds]:
    """Return what all graphs of an export are given where all prompts are asked of all photos."""
    backend = _Recorder(folder)
    for photo in photos:
        (state,) = backend.encode_images([photo])
        detections = backend.detect(state, text)
        for prompt, scores in enumerate(detections.scores):
            backend.decode_masks(state, detections, prompt, np.argsort(-scores)[:_MASKS])
        if backend.convention.takes_boxes:
            backend.encode_boxes(state, _BOXES, _LABELS)
    return backend.feeds


def _errors(graph: Path, probe: Path, feeds: Feeds, largest: int, fours: bool) -> list[Errors]:
    """How far each product of a graph would be off at worst."""
    names = probe_graph(graph, probe, largest, fours=fours)
    if not names:
        return []
    session = open_session(probe, None, keep_memory=False, in_order=True)  # else all products wait in memory
    runs = [run_session(session, names, given, probe) for given in feeds]
    worst = [float(np.max(errors)) for errors in zip(*runs, strict=True)]  # np.max keeps NaN
    each = 3 if fours else 2
    return [Errors(*worst[first : first + each]) for first in range(0, len(worst), each)]
