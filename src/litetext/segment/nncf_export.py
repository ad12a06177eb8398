"""A written export's graphs put into int8 for OpenVINO by NNCF, with ranges that are measured on the user's images.

Unlike `int8_export`'s, the scales of what matrices and kernels are multiplied with are fixed beforehand, which costs
nothing as the graph runs. NNCF leaves in float32 what attention is sensitive to, moves the outliers of a layer's input
into its weights (SmoothQuant) and corrects biases.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..encoders.features import TextFeatures
from ..encoders.openvino_session import openvino_here
from ..errors import failures_named
from ..images import ImageLike, read_image
from .int8_export import recorded_feeds
from .resampling import resized_photo
from .sources import in_openvino_form
from .whole_export import CalibratedGraph

CALIBRATED = ("vision", "pixels")
"""The graphs that gain by it: most of a prompt is attention, and example boxes are few tokens."""

_DRAWN = 8  # images whose masks are drawn to calibrate the pixels: their maps are held in memory
_PRODUCTS = ("MatMul", "Convolution", "ConvolutionBackpropData", "GroupConvolution")
_ROUNDED = {"i8", "u8", "FakeQuantize"}


def calibrate_graphs(
    folder: Path, text: TextFeatures, images: Sequence[ImageLike], weight_bits: int
) -> dict[str, CalibratedGraph]:
    """Replace an export's float32 graphs of vision and pixels by OpenVINO's in int8.

    Args:
        folder: the export.
        text: features of some prompts.
        images: to measure ranges on.
        weight_bits: 8, or 7 for CPUs whose integer sums could saturate.
    """
    feeds = recorded_feeds(folder, text, [read_image(image) for image in images[:_DRAWN]])
    side = len(feeds["vision"][0]["image"])
    given: dict[str, Iterable[Any]] = {"vision": _Photos(images, side), "pixels": feeds["pixels"]}
    return {graph: _calibrated(folder, graph, given[graph], weight_bits) for graph in CALIBRATED}


class _Photos:
    """What the vision graph is given of each image; read anew every time, so that few are in memory."""

    def __init__(self, images: Sequence[ImageLike], side: int) -> None:
        self._images, self._side = images, side

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[Mapping[str, NDArray[np.uint8]]]:
        for image in self._images:
            yield {"image": resized_photo(read_image(image), (self._side, self._side))}


def _calibrated(folder: Path, graph: str, given: Any, weight_bits: int) -> CalibratedGraph:
    """Write ``graph.xml`` and ``graph.bin`` in place of ``graph.onnx``."""
    openvino, source = openvino_here(), folder / f"{graph}.onnx"
    target = str(in_openvino_form(source))
    with failures_named(source, "cannot be calibrated by NNCF"), _quiet_nncf() as nncf:
        exact = openvino.Core().read_model(str(source))
        fix = nncf.OverflowFix.ENABLE if weight_bits == 7 else nncf.OverflowFix.DISABLE
        rough = nncf.quantize(
            exact,
            nncf.Dataset(given),
            subset_size=len(given),
            model_type=nncf.ModelType.TRANSFORMER,
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=fix),
        )
        openvino.save_model(rough, target, compress_to_fp16=False)
    for file in folder.glob(f"{graph}.onnx*"):
        file.unlink()
    return CalibratedGraph(len(given), *_products(openvino.Core().read_model(target)))


def _products(model: Any) -> tuple[int, int]:
    """How many products with stored weights a graph has, and how many of them are in int8."""
    weights = [_sources(node.input_value(1)) for node in model.get_ops() if node.get_type_name() in _PRODUCTS]
    stored = [sources for sources in weights if "Parameter" not in sources]
    return len(stored), sum(not _ROUNDED.isdisjoint(sources) for sources in stored)


def _sources(value: Any) -> set[str]:
    """The kinds of all nodes that make a value, and the types of all numbers on the way."""
    first = value.get_node()
    nodes, waiting = {first.get_name(): first}, [first]
    while waiting:
        for source in waiting.pop().input_values():
            node = source.get_node()
            if node.get_name() not in nodes:
                nodes[node.get_name()] = node
                waiting.append(node)
    kinds = {node.get_type_name() for node in nodes.values()}
    return kinds | {node.get_output_element_type(0).get_type_name() for node in nodes.values()}


@contextlib.contextmanager
def _quiet_nncf() -> Iterator[Any]:
    """NNCF, without its bars on standard output, and without sending what it is used for to its makers."""
    os.environ.setdefault("NNCF_CI", "1")
    import nncf

    nncf.set_log_level(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):
        yield nncf
