"""``litetext distill``: from any teacher to a small student, on one CPU or many GPUs."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import LitetextError, choice_error, missing_extra
from .output import console, notes, print_json, progress_bar, warn

if TYPE_CHECKING:
    from rich.table import Table

    from ..distill import Outcome, Processes, Report
    from ..encoders import EncoderConfig, TextTransformer
    from ..tokenizer import Tokenizer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("distill")(distill)


def distill(
    teacher: str = typer.Option(
        "teacher", help="An encoder with CLIP's tokens: teacher (mini's), a checkpoint, a hub name."
    ),
    student: str = typer.Option(None, help="Shape: s0, s1, l, xs, xxs, or a recipe.toml that litetext audit wrote."),
    prompts: list[str] = typer.Option(
        [], help="Files or folders of phrases, or named sources (see litetext audit); by default what mini knows."
    ),
    out: Path = typer.Option(..., help="Folder for the student (OUT/student), checkpoint, curves and targets."),
    init: str = typer.Option(None, help="Start from a litetext or SAM3 checkpoint, or a MobileCLIP's text encoder."),
    embedding: str = typer.Option("pca", help="A new student's token embedding: pca (from the teacher's) or drawn."),
    context: int = typer.Option(None, min=2, help="Tokens a prompt (default: the recipe's, the checkpoint's, or 16)."),
    epochs: float = typer.Option(100, help="Passes over the prompts."),
    steps: int = typer.Option(None, min=1, help="Steps, instead of epochs."),
    batch: int = typer.Option(128, min=1, help="Prompts a step, over all processes."),
    accumulate: int = typer.Option(1, min=1, help="Parts a step is computed in, to save memory."),
    rate: float = typer.Option(1.25e-3, help="The highest learning rate; the paper's 5e-3 is for 512 prompts a step."),
    warmup: float = typer.Option(0.1, help="Share of the steps in which the rate rises."),
    weight_decay: float = typer.Option(0.05, min=0.0, help="AdamW's."),
    ema: float = typer.Option(0.0, help="Decay of a moving average of the weights; 0: none."),
    mse: float = typer.Option(1.0, help="Weight of the squared error."),
    cosine: float = typer.Option(2.0, help="Weight of 1 - cosine."),
    consistency: float = typer.Option(0.1, help="Weight of the consistency between a prompt and its permutation."),
    relational: float = typer.Option(0.0, help="Weight of the difference between the prompts' Gram matrices."),
    downstream: float = typer.Option(0.0, help="Weight of the difference that a detector sees."),
    through: str = typer.Option("mini", help="The segmenter whose detector looks."),
    through_way: str = typer.Option("reads", help="reads: its keys and values; answers: its scores over scenes."),
    permute: str = typer.Option("words", help="What a permutation moves: words, or attribute-noun."),
    stop_gradient: bool = typer.Option(False, help="Consistency teaches the permuted prompt alone."),
    held_out: float = typer.Option(0.05, min=0.0, max=0.9, help="Share of concepts (stems) held out."),
    limit: int = typer.Option(None, min=1, help="Stop after this many distinct phrases (mini's default: 20,000)."),
    store: Path = typer.Option(None, help="Folder of the teacher's features, shared by runs (default: OUT/targets)."),
    precision: str = typer.Option("fp32", help="fp32 or bf16 (autocast)."),
    resume: str = typer.Option("auto", help="auto: go on from a checkpoint in OUT; never: start anew."),
    seed: int = typer.Option(0, min=0, help="Seed of weights, order and permutations."),
    device: str = typer.Option(None, help="cpu or cuda (default: CUDA if there is one)."),
    as_json: bool = typer.Option(False, "--json", help="Print the result as JSON."),
) -> None:
    """Teach a small student to give a teacher's features, token by token.

    A killed run goes on where it was. Under `accelerate launch` or `torchrun` all processes train one student.
    """
    for option, given, choices in (
        ("--resume", resume, ("auto", "never")),
        ("--embedding", embedding, ("pca", "drawn")),
        ("--permute", permute, ("words", "attribute-noun")),
    ):
        if given not in choices:
            raise choice_error(option, given, choices)
    if student is None and init is None:
        raise LitetextError("a student needs a shape (--student s0, s1, l, xs, xxs or a recipe.toml) or --init")
    if not prompts and teacher != "teacher":
        raise LitetextError(f"--teacher {teacher} needs prompts; give files of phrases with --prompts")
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        raise missing_extra("tensorboard", "distill") from None
    from ..distill import (
        EncoderTeacher,
        LossWeights,
        Processes,
        TargetStore,
        TrainConfig,
        prepare,
        train,
    )
    from ..distill.card import distillation_notes
    from ..encoders import read_checkpoint, save_encoder
    from ..encoders.trimming import trims_exactly

    processes = Processes.start(device)
    phrases, source = _phrases(prompts, limit)
    checkpoint = read_checkpoint(teacher)
    teaching = EncoderTeacher(checkpoint.module(), processes.device)
    module, vocabulary = _student(
        student, init, embedding, context, checkpoint.tokenizer, teaching, checkpoint.state, phrases, seed
    )
    convention = module.config.convention
    if convention.context_length > teaching.context_length:
        raise LitetextError(
            f"a context of {convention.context_length} is longer than the teacher's {teaching.context_length}; "
            f"give --context {teaching.context_length} or less"
        )
    config = TrainConfig(
        epochs=epochs,
        steps=steps,
        batch=batch,
        accumulate=accumulate,
        rate=rate,
        warmup=warmup,
        weight_decay=weight_decay,
        ema=ema,
        losses=LossWeights(mse, cosine, consistency, relational, downstream),
        stop_gradient=stop_gradient,
        precision=precision,  # type: ignore[arg-type]
        pad_id=convention.pad_id,
        pad_to=None if trims_exactly(module.config) else convention.context_length,
        seed=seed,
    )
    looking = None
    if downstream:
        from .distill_through import downstream_of

        looking = downstream_of(through, through_way, teaching.width, seed, processes.device)
    with progress_bar() as bar:
        task = bar.add_task("teacher's features", total=None)
        prepared = prepare(
            phrases,
            checkpoint.tokenizer,
            vocabulary,
            TargetStore(store or out / "targets", teaching),
            convention.context_length,
            held_out=held_out,
            mode=permute,  # type: ignore[arg-type]
            processes=processes,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if prepared.unlike and processes.first:
        warn(f"{prepared.unlike:,} prompts left out: the student's smaller vocabulary spells them in other tokens")
    with _Screen(processes) as screen:
        outcome = train(
            module,
            prepared.train,
            config,
            held_out=prepared.held_out,
            downstream=looking,
            out=out,
            resume=resume == "auto",
            device=processes.device,
            on_report=screen.show,
        )
    if not processes.first:
        return
    data: dict[str, object] = {
        "prompts": f"{len(prepared.train):,} from {source}",
        "held out by stem": f"{len(prepared.held_out):,}" if prepared.held_out is not None else None,
        "spelled otherwise, left out": f"{prepared.unlike:,}" if prepared.unlike else None,
        "mean tokens": f"{prepared.train.ids.lengths.mean():.1f} of {convention.context_length}",
        "started from": init,
    }
    card = distillation_notes(teacher, checkpoint.config, module.config, data, config, outcome, _command())
    save_encoder(module.cpu(), vocabulary, out / "student", notes=card)
    _tell(out, teacher, checkpoint.config, module.config, outcome, len(prepared.train), prepared.unlike, as_json)


def _phrases(prompts: list[str], limit: int | None) -> tuple[list[str], str]:
    """The distinct phrases to learn from, and what to call them."""
    if not prompts:
        from ..mini.ship import known_phrases

        return known_phrases(limit or 20_000, 0), "mini's world"
    from ..prompts import read_corpus

    corpus = read_corpus(prompts, limit=limit)
    return corpus.phrases, ", ".join(corpus.sources)


def _student(
    name: str | None,
    init: str | None,
    embedding: str,
    context: int | None,
    teacher_vocabulary: Tokenizer,
    teacher: Any,
    teacher_state: Any,
    phrases: list[str],
    seed: int,
) -> tuple[TextTransformer, Tokenizer]:
    """The student before training, and its vocabulary."""
    from ..distill import (
        fitted,
        fresh_student,
        load_student,
        student_config,
        student_vocabulary,
        take_embedding,
        teacher_rows,
    )
    from ..tokenizer import CLIP_VOCABULARY_SIZE

    shape = student_config(name) if name is not None else None
    if init is not None:
        module, vocabulary = load_student(init, output_dim=teacher.width, context_length=context, seed=seed)
        teacher_rows(vocabulary, teacher_vocabulary)  # refuses what the teacher cannot spell
        for part in ("width", "heads", "ffn", "layers", "repmixer"):
            if shape is not None and getattr(shape, part) != getattr(module.config, part):
                raise LitetextError(
                    f"--init {init} has {part} {getattr(module.config, part)}, --student {name} "
                    f"{getattr(shape, part)}; leave --student out, or give one of the same shape"
                )
        return module, vocabulary
    assert shape is not None
    # A preset stands for a shape over any vocabulary; a recipe says how many rows it wants.
    rows = teacher_vocabulary.vocab_size if shape.vocab_size == CLIP_VOCABULARY_SIZE else shape.vocab_size
    vocabulary = student_vocabulary(teacher_vocabulary, phrases, rows)
    config = fitted(
        shape,
        output_dim=teacher.width,
        vocab_size=vocabulary.vocab_size,
        context_length=context or shape.convention.context_length,
    )
    module = fresh_student(config, seed)
    if embedding == "pca":
        table = teacher_state["token_embedding.weight"]
        take_embedding(module, table[teacher_rows(vocabulary, teacher_vocabulary)])
    return module, vocabulary


class _Screen:
    """The run as it goes: a live table where someone watches, else a line ten times a run."""

    def __init__(self, processes: Processes) -> None:
        from rich.live import Live

        self._live = Live(console=notes, transient=True, auto_refresh=False)
        self._watched = notes.is_terminal and processes.first
        self._said = -1

    def __enter__(self) -> _Screen:
        if self._watched:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._watched:
            self._live.stop()

    def show(self, report: Report) -> None:
        """Take in a report."""
        if self._watched:
            self._live.update(_table(report), refresh=True)
        elif (tenth := 10 * report.step // report.steps) > self._said:
            self._said = tenth
            held = f", held-out cosine {report.held_out.cosine_mean:.4f}" if report.held_out is not None else ""
            notes.print(
                f"step {report.step:,} of {report.steps:,}: loss {report.losses['total']:.4f}{held}, "
                f"{report.prompts_per_second:,.0f} prompts/s",
                highlight=False,
                soft_wrap=True,
            )


def _table(report: Report) -> Table:
    """One report as a table."""
    from rich.table import Table

    table = Table(title=f"step {report.step:,} of {report.steps:,}", title_justify="left", min_width=44)
    table.add_column("")
    table.add_column("now", justify="right")
    for name, value in report.losses.items():
        table.add_row("loss" if name == "total" else f"  {name}", f"{value:.5f}", end_section=name == "total")
    if report.held_out is not None:
        table.add_row("held-out cosine, mean", f"{report.held_out.cosine_mean:.4f}")
        table.add_row("held-out cosine, 5th percentile", f"{report.held_out.cosine_p5:.4f}", end_section=True)
    table.add_row("learning rate", f"{report.rate:.2e}")
    table.add_row("prompts/s", f"{report.prompts_per_second:,.0f}")
    left = (report.steps - report.step) / max(report.step, 1)
    table.add_row("steps left", f"{report.steps - report.step:,} ({left / (1 + left):.0%})")
    return table


def _command() -> str:
    """What was typed, as it would be typed again."""
    import shlex

    return shlex.join(["litetext", *sys.argv[1:]])


def _tell(
    out: Path,
    teacher: str,
    teacher_config: EncoderConfig,
    student: EncoderConfig,
    outcome: Outcome,
    prompts: int,
    unlike: int,
    as_json: bool,
) -> None:
    """Say what came out."""
    live, of_teacher = student.live_parameters(), teacher_config.live_parameters()
    held = outcome.held_out
    if as_json:
        print_json(
            {
                "student": str(out / "student"),
                "teacher": teacher,
                "parameters": student.parameters(),
                "live_parameters": live,
                "teacher_live_parameters": of_teacher,
                "prompts": prompts,
                "spelled_otherwise": unlike,
                "steps": outcome.steps,
                "seconds": outcome.seconds,
                "prompts_per_second": outcome.prompts_per_second,
                "losses": {key: value for key, value in outcome.history[-1].items() if not key.startswith("held_out")},
                "held_out": asdict(held) if held is not None else None,
            }
        )
        return
    console.print(
        f"student: {out / 'student'}, {live:,} live parameters, {1 - live / of_teacher:.1%} fewer than {teacher}",
        soft_wrap=True,
        highlight=False,
    )
    if held is not None:
        console.print(
            f"held out: {held.prompts:,} prompts, token cosine {held.cosine_mean:.4f} (5th percentile "
            f"{held.cosine_p5:.4f}), pooled {held.pooled_cosine:.4f}",
            soft_wrap=True,
            highlight=False,
        )
    console.print(f"try: litetext segment --text {out / 'student'} …", soft_wrap=True, highlight=False)
