"""``litetext distill``: from any teacher to a small student, on one CPU or many GPUs."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..distill.config import LossWeights, TrainConfig
from ..errors import LitetextError, choice_error, require
from ..outputs import check_folder
from .command import add
from .destination import paths_of
from .encoder_options import ALLOW_NAN, DEVICE
from .output import console, print_json, shown_progress, tell, warn
from .training_screen import TrainingScreen

if TYPE_CHECKING:
    from ..distill import TrainResult
    from ..encoders import EncoderConfig, TextTransformer
    from ..tokenizer import Tokenizer


_DEFAULTS = TrainConfig()
_LOSSES = LossWeights()


_MINI_TEACHER = "mini-teacher"


def register(app: typer.Typer) -> None:
    """Add the command."""
    add(
        app,
        distill,
        "distill",
        "litetext distill --student xxs --out run",
        "litetext distill --student run/recipe.toml --prompts phrases.txt --epochs 20 --out run",
        extra="distill",
    )


def distill(
    teacher: str = typer.Option(
        _MINI_TEACHER, help="An encoder with CLIP's tokens: mini-teacher, a checkpoint, a hub name."
    ),
    student: str = typer.Option(None, help="Shape: s0, s1, l, xs, xxs, or a recipe.toml that litetext audit wrote."),
    prompts: list[str] = typer.Option(
        [], help="Files or folders of phrases, or named sources (see litetext audit); by default what mini knows."
    ),
    out: Path = typer.Option(
        ..., "--out", "-o", help="Folder for the student (OUT/student), checkpoint, curves and targets."
    ),
    init: str = typer.Option(None, help="Start from a litetext or SAM3 checkpoint, or a MobileCLIP's text encoder."),
    embedding: str = typer.Option("pca", help="A new student's token embedding: pca (from the teacher's) or drawn."),
    context: int = typer.Option(None, min=2, help="Tokens a prompt (default: the recipe's, the checkpoint's, or 16)."),
    epochs: float = typer.Option(_DEFAULTS.epochs, help="Passes over the prompts."),
    steps: int = typer.Option(None, min=1, help="Steps, instead of epochs."),
    batch_size: int = typer.Option(_DEFAULTS.batch_size, min=1, help="Prompts a step, over all processes."),
    gradient_accumulation_steps: int = typer.Option(
        _DEFAULTS.gradient_accumulation_steps, min=1, help="Parts a step is computed in, to save memory."
    ),
    learning_rate: float = typer.Option(
        _DEFAULTS.learning_rate, help="The highest learning rate; the paper's 5e-3 is for 512 prompts a step."
    ),
    warmup_ratio: float = typer.Option(
        _DEFAULTS.warmup_ratio, help="Share of the steps in which the learning rate rises."
    ),
    weight_decay: float = typer.Option(_DEFAULTS.weight_decay, min=0.0, help="AdamW's."),
    ema_decay: float = typer.Option(_DEFAULTS.ema_decay, help="Decay of a moving average of the weights; 0: none."),
    mse: float = typer.Option(_LOSSES.mse, help="Weight of the squared error."),
    cosine: float = typer.Option(_LOSSES.cosine, help="Weight of 1 - cosine."),
    consistency: float = typer.Option(
        _LOSSES.consistency, help="Weight of the consistency between a prompt and its permutation."
    ),
    relational: float = typer.Option(
        _LOSSES.relational, help="Weight of the difference between the prompts' Gram matrices."
    ),
    downstream: float = typer.Option(_LOSSES.downstream, help="Weight of the difference that a detector sees."),
    through: str = typer.Option("mini", help="The segmenter whose detector --downstream uses."),
    through_way: str = typer.Option("reads", help="reads: its keys and values; answers: its scores over scenes."),
    permute: str = typer.Option("words", help="What a permutation moves: words, or attribute-noun."),
    stop_gradient: bool = typer.Option(False, help="Consistency teaches the permuted prompt alone."),
    held_out: float = typer.Option(0.05, min=0.0, max=0.9, help="Share of concepts (stems) held out."),
    limit: int = typer.Option(None, min=1, help="Stop after this many distinct phrases (mini's default: 20,000)."),
    store: Path = typer.Option(None, help="Folder of the teacher's features, shared by runs (default: OUT/targets)."),
    precision: str = typer.Option(_DEFAULTS.precision, help="fp32 or bf16 (autocast)."),
    resume: str = typer.Option("auto", help="auto: go on from a checkpoint in OUT; never: start anew."),
    seed: int = typer.Option(_DEFAULTS.seed, min=0, help="Seed of weights, order and permutations."),
    device: str = DEVICE,
    allow_nan: bool = ALLOW_NAN,
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
    if not prompts and teacher != _MINI_TEACHER:
        raise LitetextError(f"--teacher {teacher} needs prompts; give files of phrases with --prompts")
    check_folder(out / "student", "encoder", overwrite=True, inputs=paths_of(teacher, init, student, *prompts))
    require("tensorboard")
    from ..distill import (
        EncoderTeacher,
        TargetStore,
        prepare,
        student_config,
        train,
    )
    from ..distill.card import distillation_notes
    from ..encoders import read_checkpoint, save_encoder
    from ..encoders.config import check_student_context
    from ..encoders.trimming import trims_exactly
    from ..training.processes import Processes

    shape = student_config(student) if student is not None else None
    processes = Processes.start(device)
    phrases, source = _phrases(prompts, limit)
    checkpoint = read_checkpoint(teacher, allow_nan=allow_nan)
    teaching = EncoderTeacher(checkpoint.module(), processes.device)
    module, vocabulary, initial = _student(
        student,
        shape,
        init,
        embedding,
        context,
        checkpoint.tokenizer,
        teaching,
        checkpoint.state,
        phrases,
        seed,
        allow_nan,
    )
    convention = module.config.convention
    check_student_context(module.config, checkpoint.config)
    config = TrainConfig(
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        gradient_accumulation_steps=gradient_accumulation_steps,
        learning_rate=learning_rate,
        warmup_ratio=warmup_ratio,
        weight_decay=weight_decay,
        ema_decay=ema_decay,
        losses=LossWeights(mse, cosine, consistency, relational, downstream),
        stop_gradient=stop_gradient,
        precision=precision,  # type: ignore[arg-type]
        pad_id=convention.pad_id,
        pad_to=None if trims_exactly(module.config) else convention.context_length,
        seed=seed,
    )
    looking = None
    if downstream:
        from ..mini.scenes import scene_images
        from ..probe.downstream import downstream_of

        images = scene_images(seed) if through_way == "answers" else ()
        looking = downstream_of(through, through_way, teaching.dim, processes.device, images, allow_nan=allow_nan)
    with shown_progress("teacher's features") as progress:
        prepared = prepare(
            phrases,
            checkpoint.tokenizer,
            vocabulary,
            TargetStore(store or out / "targets", teaching),
            convention.context_length,
            held_out=held_out,
            mode=permute,  # type: ignore[arg-type]
            processes=processes,
            progress=progress,
        )
    if prepared.unlike and processes.first:
        warn(f"{prepared.unlike:,} prompts left out: the student's smaller vocabulary spells them in other tokens")
    with TrainingScreen("prompts", active=processes.first) as screen:
        result = train(
            module,
            prepared.train,
            config,
            held_out=prepared.held_out,
            downstream=looking,
            out=out,
            resume=resume == "auto",
            device=processes.device,
            on_report=screen.show,
            initial_student=initial,
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
    card = distillation_notes(teacher, checkpoint.config, module.config, data, config, result, _command())
    save_encoder(module.cpu(), vocabulary, out / "student", notes=card, overwrite=True)
    _tell(out, teacher, checkpoint.config, module.config, result, len(prepared.train), prepared.unlike, as_json)


def _phrases(prompts: list[str], limit: int | None) -> tuple[list[str], str]:
    """The distinct phrases to learn from, and what to call them."""
    if not prompts:
        from ..mini.facts import known_phrases

        return known_phrases(limit or 20_000, 0), "mini's world"
    from ..prompts import read_corpus

    corpus = read_corpus(prompts, limit=limit)
    return corpus.phrases, ", ".join(corpus.sources)


def _student(
    name: str | None,
    shape: EncoderConfig | None,
    init: str | None,
    embedding: str,
    context: int | None,
    teacher_vocabulary: Tokenizer,
    teacher: Any,
    teacher_state: Any,
    phrases: list[str],
    seed: int,
    allow_nan: bool,
) -> tuple[TextTransformer, Tokenizer, str]:
    """The student before training, its vocabulary, and a hash of what it starts from.

    The hash names how the embedding begins, not a PCA's numbers: they round otherwise with other numbers of threads.
    """
    from ..distill import (
        fitted,
        fresh_student,
        load_student,
        student_vocabulary,
        take_embedding,
    )
    from ..distill.targets import weights_digest
    from ..tokenizer import CLIP_VOCABULARY_SIZE

    def digest(module: TextTransformer, start: str) -> str:
        return weights_digest(module, json.dumps([start, module.config.to_dict()], sort_keys=True))

    if init is not None:
        module, vocabulary = load_student(
            init, output_dim=teacher.dim, context_length=context, seed=seed, allow_nan=allow_nan
        )
        vocabulary.rows_in(teacher_vocabulary)  # refuses what the teacher cannot spell
        for part in ("width", "heads", "ffn", "layers", "repmixer"):
            if shape is not None and getattr(shape, part) != getattr(module.config, part):
                raise LitetextError(
                    f"--init {init} has {part} {getattr(module.config, part)}, --student {name} "
                    f"{getattr(shape, part)}; leave --student out, or give one of the same shape"
                )
        return module, vocabulary, digest(module, "init")
    assert shape is not None
    # A preset stands for a shape over any vocabulary; a recipe says how many rows it wants.
    rows = teacher_vocabulary.vocab_size if shape.vocab_size == CLIP_VOCABULARY_SIZE else shape.vocab_size
    vocabulary = student_vocabulary(teacher_vocabulary, phrases, rows)
    config = fitted(
        shape,
        output_dim=teacher.dim,
        vocab_size=vocabulary.vocab_size,
        context_length=context or shape.convention.context_length,
    )
    module = fresh_student(config, seed)
    initial = digest(module, embedding)
    if embedding == "pca":
        table = teacher_state["token_embedding.weight"]
        take_embedding(module, table[vocabulary.rows_in(teacher_vocabulary)])
    return module, vocabulary, initial


def _command() -> str:
    """What was typed, as it would be typed again."""
    import shlex

    return shlex.join(["litetext", *sys.argv[1:]])


def _tell(
    out: Path,
    teacher: str,
    teacher_config: EncoderConfig,
    student: EncoderConfig,
    result: TrainResult,
    prompts: int,
    unlike: int,
    as_json: bool,
) -> None:
    """Say what came out."""
    live, of_teacher = student.live_parameters(), teacher_config.live_parameters()
    held = result.held_out
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
                "steps": result.steps,
                "seconds": result.seconds,
                "prompts_per_second": result.prompts_per_second,
                "losses": {key: value for key, value in result.history[-1].items() if not key.startswith("held_out")},
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
            f"held out: {held.prompts:,} prompts, token cosine {held.mean_cosine:.4f} (5th percentile "
            f"{held.p5_cosine:.4f}), pooled {held.pooled_cosine:.4f}",
            soft_wrap=True,
            highlight=False,
        )
    tell(f"try: litetext segment IMAGE -p PHRASE --text {out / 'student'}")
