"""Text encoders without torch: an exported directory, run by ONNX Runtime.

Imports nothing but the base install. `litetext export` writes the directory (see `litetext.encoders.export`): the graph
``model.onnx`` with its token embedding beside it in ``model.onnx.data``, which is mapped into memory rather than read
(a prompt touches a handful of its rows), ``config.json`` (shape, convention, kept vocabulary, precision, whether real
tokens run alone) and ``tokenizer.json``, which other programs may read.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import LitetextError
from ..json_files import read_json
from ..memory import return_freed_memory
from ..tokenizer import Tokenizer
from .config import EncoderConfig
from .features import TextFeatures
from .trimming import equal_length_groups, padding_mask, real_lengths

FORMAT = "litetext-onnx-encoder"

_BATCH = 32  # prompts run at once: as fast as more, in less memory


class OnnxTextEncoder:
    """Noun phrases to `TextFeatures` (numpy) through an exported encoder; threads may share one.

    Args:
        folder: what `litetext export` wrote.
        threads: CPU threads of one call; by default as many as there are cores.

    Attributes:
        config: shape and convention.
        tokenizer: see `Tokenizer`.
        trim: whether real tokens run alone, without padding.

    Raises:
        LitetextError: a file that is missing, cut short, of another kind, or made for another kind of CPU.
    """

    def __init__(self, folder: str | os.PathLike[str], *, threads: int | None = None) -> None:
        folder = Path(folder)
        values = _checked_config(folder)
        self.config = EncoderConfig.from_dict(values["encoder"], f"{folder}/config.json")
        # the session first: what reading it leaves free is room enough to build the tokenizer in
        self._session = open_session(folder / "model.onnx", threads)
        self.tokenizer = Tokenizer(values["vocabulary"])
        self.trim = bool(values["trim"])
        if self.tokenizer.vocab_size != self.config.vocab_size:
            raise LitetextError(
                f"{folder}: the embedding has {self.config.vocab_size} rows, its vocabulary {self.tokenizer.vocab_size}"
            )
        inputs = {one.name for one in self._session.get_inputs()}
        outputs = [(one.name, one.shape[-1]) for one in self._session.get_outputs()]
        if not {"ids"} <= inputs <= {"ids", "padding"} or outputs != [("tokens", self.config.output_dim)]:
            raise LitetextError(
                f"{folder}/model.onnx takes {sorted(inputs)} and gives {outputs}, which is not what config.json "
                "describes; export the encoder again"
            )
        self._wants_padding = "padding" in inputs
        return_freed_memory()

    def encode(self, prompts: Sequence[str]) -> TextFeatures[NDArray[Any]]:
        """Return tokens float32 [B, L, D] and mask bool [B, L]; L is the convention's context length.

        Where real tokens run alone, the features of padding are zero.
        """
        convention = self.config.convention
        ids = self.tokenizer(list(prompts), convention.context_length, convention.pad_id)
        mask = padding_mask(ids, self.config)
        tokens = np.zeros((*ids.shape, self.config.output_dim), dtype=np.float32)
        lengths = real_lengths(ids, self.config) if self.trim else np.full(len(ids), convention.context_length)
        if len(ids):
            for length, rows in equal_length_groups(lengths, _BATCH):
                tokens[rows, :length] = self._run(ids[rows, :length], mask[rows, :length])
        return TextFeatures(tokens, mask)

    def _run(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        feeds = {"ids": ids, "padding": mask} if self._wants_padding else {"ids": ids}
        found: np.ndarray = self._session.run(["tokens"], feeds)[0]
        return found


def is_exported(path: Path) -> bool:
    """Whether ``path`` is a directory that `litetext export` wrote for this runtime."""
    return (path / "model.onnx").is_file() and not (path / "model.safetensors").exists()


@lru_cache(maxsize=1)
def int8_weight_bits() -> int:
    """Return how many bits an int8 weight may use on this CPU: 8, or 7 where sums of two products could saturate.

    x86 without VNNI adds pairs of 8-bit products in 16 bits (ONNX Runtime's ``reduce_range``): with full-range weights
    token cosines fell to 0.975 there. Where the CPU does not say, 7 is right everywhere.
    """
    if platform.machine().lower() not in ("x86_64", "amd64", "i386", "i686"):
        return 8
    try:
        facts = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 7
    return 8 if "avx512_vnni" in facts or "avx_vnni" in facts else 7


def _checked_config(folder: Path) -> dict[str, Any]:
    values = read_json(folder / "config.json")
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise LitetextError(
            f"{folder} is not an exported encoder; write one with: litetext export CHECKPOINT --to onnx"
        )
    if values.get("version") != 1:
        raise LitetextError(
            f"{folder}: config.json is of version {values.get('version')!r}; this litetext reads version 1"
        )
    for key in ("encoder", "vocabulary", "trim", "weight_bits"):
        if key not in values:
            raise LitetextError(f"{folder}/config.json: key {key!r} is missing; export the encoder again")
    if values["weight_bits"] == 8 and int8_weight_bits() == 7:
        raise LitetextError(
            f"{folder} holds 8-bit weights for CPUs with VNNI, and this one has none: its sums would overflow; "
            "export it with --weight-bits 7"
        )
    return values


def open_session(path: Path, threads: int | None, *, keep_memory: bool = True) -> Any:
    """Return an ``onnxruntime.InferenceSession`` of one graph on the CPU, by default with a thread a core.

    What a run computes in is kept for the next one, which is faster; ``keep_memory=False`` gives it back after each.

    Raises:
        LitetextError: no such file, no ONNX model that can be read, or fewer threads than one.
    """
    import onnxruntime

    if threads is not None and threads < 1:
        raise LitetextError(f"threads must be 1 or more, got {threads}")
    if not path.is_file():
        raise LitetextError(f"{path}: no such file; export the model again")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = keep_memory
    options.log_severity_level = 4  # what goes wrong is raised
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises classes of its own, derived from Exception alone
        reason = str(error).splitlines()[0].rpartition(" : ")[2]
        raise LitetextError(f"{path} is not a readable ONNX model ({reason}); is it cut short?") from None
