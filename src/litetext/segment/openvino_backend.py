"""An export's graphs run by OpenVINO: the same files as ONNX Runtime's, on Intel's kernels.

On CPUs with AMX or AVX512-BF16 it computes in bfloat16 where it is asked to, several times as fast as float32.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import LitetextError, choice_error, extras_named, failures_named
from ..files import checked_file
from .onnx_backend import OnnxBackend

PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
"""What can be computed in, and what OpenVINO calls it; float16 needs AVX512-FP16."""


class OpenVinoBackend(OnnxBackend):
    """An `OnnxBackend` in OpenVINO.

    Args:
        folder: the export.
        threads: CPU threads of one call; by default as many as there are cores.
        dtype: what it computes in; float32 by default.

    Raises:
        LitetextError: OpenVINO is not installed, or what `OnnxBackend` refuses.
    """

    def __init__(self, folder: Path, *, threads: int | None = None, dtype: str | None = None) -> None:
        precision = PRECISIONS.get(dtype or "float32")
        if precision is None:
            raise choice_error("dtype of OpenVINO", dtype, tuple(PRECISIONS))
        super().__init__(folder, threads=threads, opened=partial(_Session, precision=precision))
        self._dtype = dtype or "float32"

    def __repr__(self) -> str:
        return f"OpenVinoBackend({str(self._folder)!r}, {self._dtype}, as {self._convention.name})"


class _Session:
    """A compiled graph that is asked as an ``onnxruntime.InferenceSession`` is."""

    def __init__(self, path: Path, threads: int | None, *, precision: str) -> None:
        if "tcmalloc" in os.environ.get("LD_PRELOAD", ""):
            raise LitetextError("OpenVINO crashes where tcmalloc is preloaded; start without it: env -u LD_PRELOAD …")
        with extras_named():
            import openvino
        checked_file(path, "a folder that litetext export wrote")
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision}
        if threads is not None:
            if threads < 1:
                raise LitetextError(f"threads must be 1 or more, got {threads}")
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
