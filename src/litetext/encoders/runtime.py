"""Text encoders without torch: an exported directory, run by ONNX Runtime.

Imports nothing but the base install. `litetext export` writes the directory (see `litetext.encoders.export`): the graph
``model.onnx`` with its token embedding beside it in ``model.onnx.data``, which is mapped into memory rather than read
(a prompt touches a handful of its rows), ``config.json`` (shape, convention, kept vocabulary, precision, whether real
tokens run alone) and ``tokenizer.json``, which other programs may read.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..devices import cpu_flags
from ..errors import LitetextError, short
from ..files import checked_file
from ..json_files import read_json
from ..memory import return_freed_memory, return_large_blocks
from ..validation import from_values
from .config import EncoderConfig, tokenizer_of
from .features import TextFeatures
from .trimming import equal_length_groups, padding_mask, real_lengths

T = TypeVar("T")

FORMAT = "litetext-onnx-encoder"

Opened = Callable[[Path, "int | None"], Any]
"""Opens a graph: what it returns is asked as an ``onnxruntime.InferenceSession`` is."""

GRAPH_BESIDE = "graph.json"
"""What ``config.json`` is to an export, for a graph that lies beside a checkpoint and reads its weights."""

_BATCH = 32  # prompts run at once: as fast as more, in less memory


class OnnxTextEncoder:
    """Noun phrases to `TextFeatures` (numpy) through an exported encoder; threads may share one.

    Args:
        folder: what `litetext export` wrote.
        threads: CPU threads of one call; by default as many as there are cores. Runs of a large batch go at the same
            time, a lone run is shared by all threads.
        opened: what opens the graph with that many threads; ONNX Runtime by default.

    Attributes:
        config: shape and convention.
        tokenizer: see `Tokenizer`.
        trim: whether real tokens run alone, without padding.

    Raises:
        LitetextError: a file that is missing, cut short, of another kind, or made for another kind of CPU.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, threads: int | None = None, opened: Opened | None = None
    ) -> None:
        self._folder = folder = Path(folder)
        written = read_export(folder)
        check_weight_bits(written.weight_bits, folder)
        self.config, self.trim = written.encoder, written.trim
        # the session first: what reading it leaves free is room enough to build the tokenizer in
        self._session = (opened or open_session)(folder / "model.onnx", threads)
        self._at_once = threads or os.cpu_count() or 1
        self.tokenizer = tokenizer_of(written.vocabulary, self.config, str(folder))
        inputs = {one.name for one in self._session.get_inputs()}
        outputs = [(one.name, (one.shape or [None])[-1]) for one in self._session.get_outputs()]
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
        ids = self.tokenizer(prompts, convention.context_length, convention.pad_id)
        mask = padding_mask(ids, self.config)
        tokens = np.zeros((*ids.shape, self.config.output_dim), dtype=np.float32)
        lengths = real_lengths(ids, self.config) if self.trim else np.full(len(ids), convention.context_length)

        def fill(group: tuple[int, NDArray[Any]]) -> None:
            length, rows = group
            tokens[rows, :length] = self._run(ids[rows, :length], mask[rows, :length])

        if len(ids):
            groups = list(equal_length_groups(lengths, _BATCH))
            groups.sort(key=lambda group: -group[0] * len(group[1]))  # the largest first: threads end together
            _for_each(fill, groups, self._at_once)
        return TextFeatures(tokens, mask)

    def _run(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        feeds = {"ids": ids, "padding": mask} if self._wants_padding else {"ids": ids}
        found: np.ndarray = run_session(self._session, ["tokens"], feeds, self._folder / "model.onnx")[0]
        if found.shape != (*ids.shape, self.config.output_dim):
            raise LitetextError(
                f"{self._folder}/model.onnx gives features of shape {list(found.shape)} for ids of {list(ids.shape)}; "
                "export the encoder again"
            )
        return found


def _for_each(work: Callable[[T], None], items: Sequence[T], threads: int) -> None:
    """Do the work on every item, up to ``threads`` of them at the same time."""
    if min(threads, len(items)) < 2:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(min(threads, len(items))) as pool:
        for _ in pool.map(work, items):
            pass


def is_exported(path: Path) -> bool:
    """Whether ``path`` is a directory that `litetext export` wrote for this runtime."""
    return (path / "model.onnx").is_file() and not (path / "model.safetensors").exists()


def has_graph(path: Path) -> bool:
    """Whether ``path`` is a checkpoint's directory with a graph beside the weights."""
    return (path / GRAPH_BESIDE).is_file()


@lru_cache(maxsize=1)
def int8_weight_bits() -> int:
    """Return how many bits an int8 weight may use on this CPU: 8, or 7 where sums of two products could saturate.

    x86 without VNNI adds pairs of 8-bit products in 16 bits (ONNX Runtime's ``reduce_range``): with full-range weights
    token cosines fell to 0.975 there. Where the CPU does not say, 7 is right everywhere.
    """
    if platform.machine().lower() not in ("x86_64", "amd64", "i386", "i686"):
        return 8
    return 8 if cpu_flags() & {"avx512_vnni", "avx_vnni"} else 7


@dataclass(frozen=True, slots=True)
class ExportConfig:
    """What an export says of itself in config.json, beside ``format`` and ``version``.

    Attributes:
        encoder: shape and convention.
        trim, precision, weight_bits, opset: as they were given to `litetext.encoders.export_onnx`.
        vocabulary: CLIP's ids of the rows that were kept; None: all of them.
    """

    encoder: EncoderConfig
    trim: bool
    precision: str
    weight_bits: int | None
    opset: int
    vocabulary: list[int] | None


def read_export(folder: Path) -> ExportConfig:
    """Return what an exported encoder says of itself; its graph is not opened.

    Raises:
        LitetextError: the folder holds no such export, or one of another version.
    """
    name = GRAPH_BESIDE if has_graph(folder) else "config.json"
    values = read_json(folder / name)
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise LitetextError(
            f"{folder} is not an exported encoder; write one with: litetext export CHECKPOINT --to onnx"
        )
    version = values.pop("version", None)
    if version != 1:
        raise LitetextError(f"{folder}: {name} is of version {short(version)}; this litetext reads version 1")
    return from_values(ExportConfig, values, f"{folder}/{name}")


def check_weight_bits(weight_bits: int | None, folder: Path) -> None:
    """Raise where int8 weights of ``weight_bits`` (None: there are none) would overflow on this CPU."""
    if weight_bits == 8 and int8_weight_bits() == 7:
        raise LitetextError(
            f"{folder} holds 8-bit weights for CPUs with VNNI, and this one has none: its sums would overflow; "
            "export it with --weight-bits 7"
        )


def check_threads(threads: int | None) -> None:
    """Raise where fewer threads than one are asked for; None is as many as there are cores."""
    if threads is not None and threads < 1:
        raise LitetextError(f"threads must be 1 or more, got {threads}")


def open_session(path: Path, threads: int | None, *, keep_memory: bool = True, in_order: bool = False) -> Any:
    """Return an ``onnxruntime.InferenceSession`` of one graph on the CPU, by default with a thread a core.

    What a run computes in is kept for the next one, which is faster; ``keep_memory=False`` gives it back tensor by
    tensor, in the whole process.
    Threads sleep while they wait for the next operator or run; to spin, ONNX Runtime's default, takes cores from
    whatever else runs, the other graphs of a model among it.
    ``in_order`` takes nodes in the order of the file: what is read along the way does not wait for the end.

    Raises:
        LitetextError: no such file, no ONNX model that can be read, or fewer threads than one.
    """
    import onnxruntime

    check_threads(threads)
    checked_file(path, "a folder that litetext export wrote")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = keep_memory
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not keep_memory:
        return_large_blocks()
    if in_order:
        options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    options.log_severity_level = 4  # what goes wrong is raised
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises classes of its own, derived from Exception alone
        reason = str(error).splitlines()[0].rpartition(" : ")[2]
        raise LitetextError(f"{path} is not a readable ONNX model ({reason}); is it cut short?") from None


def run_session(session: Any, outputs: Sequence[str] | None, feeds: Mapping[str, Any], path: Path) -> list[Any]:
    """Return what a graph gives for ``feeds``; one that cannot be run on them is a `LitetextError` that names it."""
    try:
        found: list[Any] = session.run(outputs, feeds)
    except Exception as error:  # see `open_session`
        reason = str(error).splitlines()[0].rpartition(" : ")[2]
        raise LitetextError(f"{path} cannot be run ({reason}); export the model again") from None
    return found
