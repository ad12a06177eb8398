"""A graph compiled by OpenVINO, asked as ONNX Runtime's sessions are."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import LitetextError, extras_named, failures_named
from ..files import checked_file
from .runtime import check_threads


def openvino_here() -> Any:
    """Return the module, where it can be used.

    Raises:
        LitetextError: it is not installed, or an allocator is preloaded with which it crashes.
    """
    if _crashes() and find_spec("openvino") is not None:
        raise LitetextError("OpenVINO crashes where tcmalloc is preloaded; start without it: env -u LD_PRELOAD …")
    with extras_named():
        import openvino
    return openvino


def is_openvino_here() -> bool:
    """Whether `openvino_here` returns; nothing is imported."""
    return not _crashes() and find_spec("openvino") is not None


def _crashes() -> bool:
    return "tcmalloc" in os.environ.get("LD_PRELOAD", "")


class OpenVinoSession:
    """A compiled graph that is asked as an ``onnxruntime.InferenceSession`` is.

    Args:
        path: the graph, in ONNX or in OpenVINO's own form.
        threads: CPU threads of one call; by default as many as there are cores.
        precision: what it computes in, as OpenVINO calls it.

    Raises:
        LitetextError: see `openvino_here`; no such file, none that OpenVINO can run, or fewer threads than one.
    """

    def __init__(self, path: Path, threads: int | None, *, precision: str = "f32") -> None:
        openvino = openvino_here()
        check_threads(threads)
        checked_file(path, "a folder that litetext export wrote")
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision}
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        with failures_named(path, "is not a graph that OpenVINO can run"):
            self._compiled = openvino.Core().compile_model(str(path), "CPU", settings)
        self._inputs, self._outputs = (
            [_described(port) for port in side] for side in (self._compiled.inputs, self._compiled.outputs)
        )

    def get_inputs(self) -> list[Any]:
        """Names and shapes of what it reads; a free dimension is None."""
        return self._inputs

    def get_outputs(self) -> list[Any]:
        """Names and shapes of what it gives."""
        return self._outputs

    def run(self, outputs: Sequence[str] | None, feeds: Mapping[str, Any]) -> list[NDArray[Any]]:
        """Return the ``outputs``, by default all of them; a request of its own makes it safe to share."""
        given = {place: feeds[one.name] for place, one in enumerate(self._inputs)}
        found = self._compiled.create_infer_request().infer(given)
        names = [one.name for one in self._outputs]
        return [np.array(found[names.index(name)]) for name in outputs or names]


def _described(port: Any) -> SimpleNamespace:
    shape = [int(size.get_length()) if size.is_static else None for size in port.get_partial_shape()]
    # a tensor may have gathered several names; its node keeps the graph's
    return SimpleNamespace(name=port.get_node().get_friendly_name().removesuffix("/sink_port_0"), shape=shape)
