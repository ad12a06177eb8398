"""``litetext photo``: the embedded model for photographs, trained again from public data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from ..errors import LitetextError, choice_error, require
from .command import add
from .output import console, shown_progress
from .training_screen import TrainingScreen


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(name="photo", help="The embedded model for photographs: its training.", no_args_is_help=True)
    add(group, train, "train", "litetext photo train --data photo_data --out run", extra="photo")
    add(group, distill, "distill", "litetext photo distill --data photo_data --out run", extra="photo")
    add(group, tune, "tune", "litetext photo tune --data photo_data --out tuned", extra="photo")
    app.add_typer(group)


def train(
    data: Path = typer.Option(..., help="Folder of the data; docs/photo.md says what it holds and where from."),
    out: Path = typer.Option(..., help="Folder for scenes, checkpoint, curves and the trained segmenter (OUT/photo)."),
    steps: str = typer.Option(None, help="Steps of the three stages, such as 1500,250,3100."),
    learning_rate: float = typer.Option(None, min=0.0, help="After its rise and before its fall."),
    cooldown_steps: int = typer.Option(None, min=0, help="Steps at the end over which the learning rate falls to 0."),
    scenes: int = typer.Option(None, min=1, help="Scenes to make."),
    paste: float = typer.Option(None, min=0.0, max=1.0, help="Share of scenes with pasted cut-outs."),
    seed: int = typer.Option(0, min=0, help="Seed of weights, scenes and phrases."),
    resume: str = typer.Option("auto", help="auto: go on from the checkpoint in --out; never: start anew."),
) -> None:
    """Train photo; a killed run goes on where it was, with other steps or another rate if you like."""
    goes_on = _goes_on(resume)
    require("cv2", "tensorboard")
    from ..photo.task import PhotoTrainConfig
    from ..photo.train import train as run

    given = {
        "steps": _three(steps),
        "learning_rate": learning_rate,
        "cooldown_steps": cooldown_steps,
        "scenes": scenes,
        "paste": paste,
        "seed": seed,
    }
    config: PhotoTrainConfig = replace(PhotoTrainConfig(), **_only_given(given))
    with shown_progress("making scenes") as progress, TrainingScreen("scenes") as screen:
        run(data, out, config, resume=goes_on, on_report=screen.show, on_preparation=progress)
    console.print(f"trained: {out}; its text encoder: litetext photo distill --data {data} --out {out}", soft_wrap=True)


def distill(
    data: Path = typer.Option(..., help="The data folder of the training."),
    out: Path = typer.Option(..., help="The training's folder; the whole model comes into OUT/photo."),
    steps: int = typer.Option(8000, min=1, help="Steps of 128 phrases."),
    seed: int = typer.Option(0, min=0, help="Seed of weights and phrases."),
    image_size: int = typer.Option(None, min=64, help="Side of the input to write; as trained if absent."),
    score_offset: float = typer.Option(0.0, help="Added to the logit of every score."),
    resume: str = typer.Option("auto", help="auto: go on from a checkpoint; never: start anew."),
) -> None:
    """Distil the small text encoder of a trained photo, and write the whole model."""
    goes_on = _goes_on(resume)
    require("tensorboard")
    from ..photo.model import PhotoShape
    from ..photo.ship import raise_scores, write_photo
    from ..photo.student import distill as run
    from ..photo.student import phrases
    from ..photo.teacher import PhotoTeacher
    from ..photo.train import PhotoData, trained_model

    source = PhotoData(data)
    model = trained_model(out, replace(PhotoShape(), image_size=image_size or PhotoShape().image_size))
    teacher, words = PhotoTeacher(model.teacher, source.sentences), phrases(source.concepts, seed)
    with TrainingScreen("prompts") as screen, shown_progress("teacher's features") as progress:
        run(
            teacher,
            words,
            out / "text",
            steps=steps,
            seed=seed,
            resume=goes_on,
            on_report=screen.show,
            progress=progress,
        )
    if score_offset:
        raise_scores(model, teacher.encode(words[:4000]), score_offset)
    write_photo(model, out / "text" / "student", out / "photo", {"score_offset": score_offset}, overwrite=True)
    _say_written(out / "photo")


def tune(
    data: Path = typer.Option(..., help="The data folder of the training."),
    out: Path = typer.Option(..., help="Folder for scenes, checkpoint, curves and the tuned model (OUT/photo)."),
    model: Path = typer.Option(None, help="Folder of a finished photo; the shipped one if absent."),
    image_size: int = typer.Option(None, min=64, help="Side of the input in pixels; that of the model if absent."),
    steps: int = typer.Option(None, min=1, help="Steps of 8 scenes; in the first 80 only training's own heads learn."),
    learning_rate: float = typer.Option(None, min=0.0, help="After its rise and before its fall."),
    cooldown_steps: int = typer.Option(None, min=0, help="Steps at the end over which the learning rate falls to 0."),
    last_rate: float = typer.Option(None, min=0.0, help="Share of it for the network's last stages; 0 keeps them."),
    bfloat16: bool = typer.Option(None, "--bfloat16", help="Faster on processors that have it (AMX, AVX512-BF16)."),
    scenes: int = typer.Option(None, min=1, help="Scenes to make."),
    paste: float = typer.Option(None, min=0.0, max=1.0, help="Share of them with pasted cut-outs."),
    seed: int = typer.Option(None, min=0, help="Seed of scenes and phrases."),
    resume: str = typer.Option("auto", help="auto: go on from the checkpoint in --out; never: start anew."),
) -> None:
    """Tune a finished photo at another input size, the network's last stages too; its text encoder stays."""
    goes_on = _goes_on(resume)
    require("cv2", "tensorboard")
    from ..data import resolve
    from ..json_files import read_json
    from ..photo.ship import FACTS
    from ..photo.tune import TuneConfig
    from ..photo.tune import tune as run

    given = {
        "steps": steps,
        "learning_rate": learning_rate,
        "cooldown_steps": cooldown_steps,
        "last_rate": last_rate,
        "bfloat16": bfloat16,
        "scenes": scenes,
        "paste": paste,
        "seed": seed,
    }
    model = model or resolve("photo")
    config = TuneConfig(image_size or read_json(model / FACTS)["image_size"], **_only_given(given))
    with shown_progress("making scenes") as progress, TrainingScreen("scenes") as screen:
        run(
            data,
            model,
            out,
            config,
            resume=goes_on,
            on_report=screen.show,
            on_preparation=progress,
        )
    _say_written(out / "photo")


def _three(steps: str | None) -> tuple[int, int, int] | None:
    if steps is None:
        return None
    parts = steps.split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() for part in parts):
        raise LitetextError(f"--steps {steps!r}: give three numbers, such as 1500,250,3100")
    first, second, third = map(int, parts)
    return first, second, third


def _goes_on(resume: str) -> bool:
    if resume not in ("auto", "never"):
        raise choice_error("--resume", resume, ("auto", "never"))
    return resume == "auto"


def _only_given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _say_written(model: Path) -> None:
    console.print(f"written: {model}; try: litetext segment IMAGE -p dog --model {model}", soft_wrap=True)
