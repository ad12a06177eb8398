"""An export's graphs run by OpenVINO: the same files as ONNX Runtime's, or int8 of its own, on Intel's kernels.

On CPUs with AMX or AVX512-BF16 it computes in bfloat16 where it is asked to, several times as fast as float32.
"""

from __future__ import annotations

from pathlib import Path

from ..encoders.openvino_session import OpenVinoSession
from ..errors import choice_error
from .onnx_backend import OnnxBackend
from .sources import in_openvino_form

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

        def opened(graph: Path, threads: int | None) -> OpenVinoSession:
            own = in_openvino_form(graph)
            return OpenVinoSession(own if own.is_file() else graph, threads, precision=precision)

        super().__init__(folder, threads=threads, opened=opened)
        self._dtype = dtype or "float32"

    def __repr__(self) -> str:
        return f"OpenVinoBackend({str(self._folder)!r}, {self._dtype}, as {self._convention.name})"
