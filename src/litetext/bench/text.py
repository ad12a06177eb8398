"""Throughput and memory of text encoders, side by side in one run (paper, table 8).

Every row is a text encoder of random weights (speed does not depend on their values) or a checkpoint of yours, timed
from strings to features. The rows take turns, round after round, and ratios are taken within a round, so a machine that
slows down slows all of them. Memory is the peak of a fresh process that does nothing else.
"""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..devices import torch_device
from ..encoders import (
    PRESETS,
    EncoderConfig,
    OnnxTextEncoder,
    TorchTextEncoder,
    build,
    load_encoder,
    load_torch_encoder,
    read_checkpoint,
)
from ..encoders.difference import measure_difference
from ..encoders.openvino_session import is_openvino_here
from ..encoders.runtime import is_exported, read_export
from ..errors import LitetextError, choice_error
from ..progress import Progress, no_progress
from ..tokenizer import Tokenizer
from .memory import exported_encoder, peak_resident_bytes

Encode = Callable[[Sequence[str]], Any]

REFERENCE = "s0-eager"
"""transformers' own S0 at L = 16, eager: what ``vs_s0_eager`` is measured against."""

_SHORTEST = 0.05  # seconds a timed sample lasts at least: shorter calls are repeated


@dataclass(frozen=True)
class Row:
    """One encoder at one batch size.

    Attributes:
        name, L, batch, threads: what ran, at which context length; threads is 0 on a GPU.
        texts_per_s: median over the rounds; with one CPU thread a second of processor time, of which other programs on
            the machine take nothing.
        vs_teacher, vs_s0_eager: median over the rounds of the ratio to that row at the same batch; None where it
            did not run.
        parameters, live_parameters, bytes: of the weights, float32 unless a checkpoint says otherwise.
        gflops: arithmetic of one prompt at L, 2 per multiply-add (matrix products only).
        peak_mb: peak resident memory of a process that encodes at this batch (on a GPU: of its memory), 10^6 bytes.
        min_cosine: the lowest cosine of a real token to the reference encoder's, over the first 2,000 prompts; None
            for random weights and without a reference.
    """

    name: str
    L: int
    batch: int
    threads: int
    texts_per_s: float
    vs_teacher: float | None
    vs_s0_eager: float | None
    parameters: int
    live_parameters: int
    gflops: float
    bytes: int
    peak_mb: float
    min_cosine: float | None


@dataclass(frozen=True)
class Candidate:
    """Something to time: its figures, how to make it ready, and where its weights are from a file, what runs them.

    Attributes:
        file: the checkpoint or export; None of random weights.
        dtype: in what a checkpoint runs.
        in_openvino: whether OpenVINO runs an export.
    """

    name: str
    length: int
    parameters: int
    live_parameters: int
    gflops: float
    bytes: int
    ready: Callable[[str], Encode]
    file: str | None = None
    dtype: str | None = None
    in_openvino: bool = False


def candidates(
    names: Sequence[str] | None = None,
    checkpoints: Sequence[str] = (),
    *,
    dtype: str | None = None,
    allow_nan: bool = False,
) -> list[Candidate]:
    """Return what can be timed.

    Args:
        names: rows of table 8; all of them if None.
        checkpoints: checkpoints and exports, a row each; exports in int8 have a second one, in OpenVINO, where it is.
        dtype: in what checkpoints run, such as ``"bfloat16"``; float32 by default.
        allow_nan: take checkpoints with weights that are NaN or infinite too.

    Raises:
        LitetextError: an unknown row, or a checkpoint that cannot be read.
    """
    makers = _makers()
    for name in names or ():
        if name not in makers:
            raise choice_error("row", name, tuple(makers))
    of_files = (_of_files(name, dtype, allow_nan) for name in checkpoints)
    return [makers[name]() for name in names or makers] + [row for rows in of_files for row in rows]


def bench_text(
    rows: Sequence[Candidate],
    prompts: Sequence[str],
    *,
    batches: Sequence[int] = (1, 64),
    threads: int | None = None,
    device: str = "cpu",
    rounds: int = 5,
    memory: bool = True,
    reference: str | None = None,
    allow_nan: bool = False,
    progress: Progress = no_progress,
) -> list[Row]:
    """Time every row at every batch size.

    Args:
        rows: what to time, see `candidates`.
        prompts: drawn from in turn; at least one.
        batches: prompts a call.
        threads: CPU threads of torch; all of them if None.
        device: ``cpu`` or a CUDA device.
        rounds: how often the rows take turns; medians are over rounds.
        reference: the checkpoint that rows from files are compared with, for ``min_cosine``.
        allow_nan: let the reference have weights that are NaN or infinite.
        memory: whether to measure ``peak_mb`` (a process a row); 0 if not.
        progress: counts the parts of the work; its descriptions say what is being done.
    """
    if not prompts:
        raise LitetextError("bench needs one prompt or more")
    if threads:
        torch.set_num_threads(threads)
    device = str(torch_device(device))
    used = 0 if device != "cpu" else torch.get_num_threads()
    parts = itertools.count()
    total = len(rows) * (2 if memory else 1) + len(batches)

    def step(description: str) -> None:
        progress(next(parts), total, description)

    encoders = []
    for candidate in rows:
        step(f"building {candidate.name} at L = {candidate.length}")
        encoders.append(candidate.ready(device))
    found = []
    for batch in batches:
        step(f"timing {len(rows)} encoders at batch {batch}")
        clock = time.process_time if used == 1 else time.perf_counter
        seconds = _taking_turns(encoders, _batches(prompts, batch), rounds, device, clock)
        teacher, eager = (_times_of(rows, seconds, name) for name in ("teacher", REFERENCE))
        for candidate, own in zip(rows, seconds, strict=True):
            found.append(
                Row(
                    name=candidate.name,
                    L=candidate.length,
                    batch=batch,
                    threads=used,
                    texts_per_s=batch / statistics.median(own),
                    vs_teacher=_ratio(teacher, own),
                    vs_s0_eager=_ratio(eager, own),
                    parameters=candidate.parameters,
                    live_parameters=candidate.live_parameters,
                    gflops=candidate.gflops,
                    bytes=candidate.bytes,
                    peak_mb=0.0,
                    min_cosine=None,
                )
            )
    if reference is not None:
        cosines = [_min_cosine(row, reference, prompts, allow_nan) if row.file else None for row in rows]
        found = [replace(row, min_cosine=cosine) for row, cosine in zip(found, itertools.cycle(cosines))]
    if not memory:
        return found
    del encoders
    peaks = []
    for candidate in rows:
        step(f"measuring the memory of {candidate.name} at L = {candidate.length}")
        peaks.append(_peaks(candidate, prompts, batches, threads, device))
    in_order = itertools.chain.from_iterable(zip(*peaks, strict=True))  # batch by batch, as the rows are
    return [replace(row, peak_mb=peak) for row, peak in zip(found, in_order, strict=True)]


def gflops(config: EncoderConfig, length: int) -> float:
    """Return the arithmetic of one prompt of ``length`` tokens in 10^9 operations (2 per multiply-add)."""
    width = config.width
    ffn = 2 * width * config.ffn
    transformer = 4 * width * width + 2 * length * width + ffn
    mixer = 2 * config.repmixer_kernel * width + ffn
    mixers = len(config.repmixer_layers())
    per_token = mixers * mixer + (config.layers - mixers) * transformer + width * config.output_dim
    return 2 * length * per_token / 1e9


def _makers() -> dict[str, Callable[[], Candidate]]:
    # position tables as long as the context, so that L = 32 needs no interpolation
    makers: dict[str, Callable[[], Candidate]] = {
        "teacher": partial(_of_preset, "teacher", 32),
        REFERENCE: _transformers_s0,
    }
    for name in ("s0", "s1", "l"):
        for length in (16, 32):
            makers[f"{name}-{length}"] = partial(_of_preset, name, length)
    makers["bert-base"] = _bert_base
    makers["eva02-clip-bigE"] = _big_e
    return makers


def _of_preset(name: str, length: int) -> Candidate:
    preset = PRESETS[name]
    convention = replace(preset.convention, context_length=length)
    return _of_config(name, replace(preset, position_rows=length, convention=convention))


def _big_e() -> Candidate:
    # EVA02-CLIP-bigE's text tower by its published dimensions: OpenCLIP's, 32 layers of width 1280, context 77
    convention = replace(PRESETS["teacher"].convention, context_length=77)
    shape = EncoderConfig(
        "eva02-clip-bigE", 1280, 20, 5120, 32, causal=True, position_rows=77, output_dim=1024, convention=convention
    )
    return _of_config(shape.variant, shape)


def _of_config(name: str, config: EncoderConfig) -> Candidate:
    def ready(device: str) -> Encode:
        torch.manual_seed(0)
        return TorchTextEncoder(build(config).to(device), Tokenizer()).encode

    length = config.convention.context_length
    parameters, live = config.parameters(), config.live_parameters()
    return Candidate(name, length, parameters, live, gflops(config, length), 4 * parameters, ready)


def _of_files(name: str, dtype: str | None, allow_nan: bool) -> list[Candidate]:
    if not is_exported(Path(name)):
        return [_of_checkpoint(name, dtype, allow_nan)]
    twice = read_export(Path(name)).precision == "int8" and is_openvino_here()
    return [_of_export(name, in_openvino) for in_openvino in (False, True)[: 1 + twice]]


def _of_export(name: str, in_openvino: bool) -> Candidate:
    config = OnnxTextEncoder(name, threads=1).config
    length = config.convention.context_length
    size = sum((Path(name) / file).stat().st_size for file in ("model.onnx", "model.onnx.data"))

    def ready(device: str) -> Encode:
        if device != "cpu":
            raise LitetextError(f"{name} is an exported encoder, which runs on the CPU; leave --device at cpu")
        return exported_encoder(name, torch.get_num_threads(), in_openvino).encode

    shown = f"{name} (OpenVINO)" if in_openvino else name
    figures = config.parameters(), config.live_parameters(), gflops(config, length), size
    return Candidate(shown, length, *figures, ready, file=name, in_openvino=in_openvino)


def _min_cosine(row: Candidate, reference: str, prompts: Sequence[str], allow_nan: bool) -> float:
    file = row.file or row.name
    own: Any = (
        exported_encoder(file, None, True)
        if row.in_openvino
        else load_encoder(file, dtype=row.dtype, allow_nan=allow_nan)
    )
    return measure_difference(own, load_torch_encoder(reference, allow_nan=allow_nan), prompts[:2000]).min_cosine


def _of_checkpoint(name: str, dtype: str | None, allow_nan: bool) -> Candidate:
    checkpoint = read_checkpoint(name, allow_nan=allow_nan)
    config = checkpoint.config
    length = config.convention.context_length
    return Candidate(
        name,
        length,
        config.parameters(),
        config.live_parameters(),
        gflops(config, length),
        checkpoint.bytes(),
        lambda device: load_encoder(name, device=device, dtype=dtype, allow_nan=allow_nan).encode,
        file=name,
        dtype=dtype,
    )


def _transformers_s0() -> Candidate:
    config = PRESETS["s0"]

    def ready(device: str) -> Encode:
        from transformers import Sam3LiteTextTextConfig
        from transformers.models.sam3_lite_text.modeling_sam3_lite_text import Sam3LiteTextTextModel

        text = Sam3LiteTextTextConfig(num_hidden_layers=config.layers, max_position_embeddings=16)
        text._attn_implementation = "eager"
        torch.manual_seed(0)
        tower = Sam3LiteTextTextModel(text).eval().to(device)
        return _from_ids(tower, nn.Linear(config.width, config.output_dim).to(device), 16, 49408, device)

    live = config.live_parameters()
    parameters = config.parameters()
    return Candidate(REFERENCE, 16, parameters, live, gflops(config, 16), 4 * parameters, ready)


def _bert_base() -> Candidate:
    shape = EncoderConfig("bert-base", 768, 12, 3072, 12, vocab_size=30522, position_rows=512, output_dim=256)

    def ready(device: str) -> Encode:
        from transformers import BertConfig, BertModel

        torch.manual_seed(0)
        tower = BertModel(BertConfig(), add_pooling_layer=False).eval().to(device)
        # its word pieces cannot be had offline; ids of the same number and range cost the same
        return _from_ids(tower, nn.Linear(768, 256).to(device), 32, 30522, device)

    parameters = shape.parameters() + 2 * 768  # token types; its LayerNorm stands at the embedding, not at the end
    return Candidate("bert-base", 32, parameters, parameters, gflops(shape, 32), 4 * parameters, ready)


def _from_ids(tower: nn.Module, projector: nn.Module, length: int, vocabulary: int, device: str) -> Encode:
    tokenizer = Tokenizer()

    @torch.inference_mode()
    def encode(prompts: Sequence[str]) -> Tensor:
        ids = torch.from_numpy(tokenizer(prompts, length) % vocabulary).to(device)
        return projector(tower(input_ids=ids).last_hidden_state)

    return encode


def _batches(prompts: Sequence[str], batch: int) -> list[list[str]]:
    """Prompts in batches, in their order, the first ones again where there are too few."""
    repeated = list(prompts) * (1 + batch // len(prompts))
    count = max(1, min(32, len(repeated) // batch))
    return [repeated[i * batch : (i + 1) * batch] for i in range(count)]


def _taking_turns(
    encoders: Sequence[Encode], batches: list[list[str]], rounds: int, device: str, clock: Callable[[], float]
) -> list[list[float]]:
    """Return, for every encoder, the seconds a batch took in every round."""

    def once(encode: Encode, calls: int, offset: int) -> float:
        _synchronize(device)
        start = clock()
        for call in range(calls):
            encode(batches[(offset + call) % len(batches)])
        _synchronize(device)
        return (clock() - start) / calls

    warm = [min(once(encode, 1, 0), once(encode, 1, 1)) for encode in encoders]
    calls = [max(1, round(_SHORTEST / seconds)) for seconds in warm]
    times: list[list[float]] = [[] for _ in encoders]
    for turn in range(rounds):
        for own, encode, repeats in zip(times, encoders, calls, strict=True):
            own.append(once(encode, repeats, turn))
    return times


def _synchronize(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


def _times_of(rows: Sequence[Candidate], seconds: list[list[float]], name: str) -> list[float] | None:
    """The seconds of a built-in row; a checkpoint of the user's may have its name."""
    return next((own for row, own in zip(rows, seconds, strict=True) if row.name == name and row.file is None), None)


def _ratio(reference: list[float] | None, own: list[float]) -> float | None:
    if reference is None:
        return None
    return statistics.median(theirs / mine for theirs, mine in zip(reference, own, strict=True))


def _peaks(
    row: Candidate, prompts: Sequence[str], batches: Sequence[int], threads: int | None, device: str
) -> list[float]:
    """Return the peak memory at every batch size, each from a process of its own."""
    peaks = []
    for batch in batches:
        task = {
            "name": row.file or row.name,
            "of_file": row.file is not None,
            "L": row.length,
            "dtype": row.dtype,
            "in_openvino": row.in_openvino,
            "prompts": _batches(prompts, batch)[0],
            "threads": threads,
            "device": device,
        }
        measure = "text import print_peak"
        if row.file and is_exported(Path(row.file)):
            measure = "memory import print_peak_without_torch"
        code = f"import sys; from litetext.bench.{measure} as measure; measure(sys.stdin.read())"
        done = subprocess.run([sys.executable, "-c", code], input=json.dumps(task), capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"measuring {row.name} failed:\n{done.stderr}")
        peaks.append(float(done.stdout))
    return peaks


def print_peak(task_json: str) -> None:
    """Run inside a fresh process: encode one batch twice, print the peak memory in 10^6 bytes."""
    task = json.loads(task_json)
    if task["threads"]:
        torch.set_num_threads(task["threads"])
    encode = _row_of(task).ready(task["device"])
    for _ in range(2):
        encode(task["prompts"])
    if task["device"] != "cpu":
        print(torch.cuda.max_memory_allocated(task["device"]) / 1e6)
    else:
        print(peak_resident_bytes() / 1e6)


def _row_of(task: Mapping[str, Any]) -> Candidate:
    if task["of_file"]:
        return _of_checkpoint(task["name"], task["dtype"], allow_nan=True)  # checked where it was timed
    made = (maker() for maker in _makers().values())
    return next(one for one in made if (one.name, one.length) == (task["name"], task["L"]))


def as_dicts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows as plain JSON values."""
    return [asdict(row) for row in rows]
