"""``litetext mini``: the small world, the training of the embedded SAM3 on it, and what it can do there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from ..errors import LitetextError, choice_error, require
from ..journal import check_resumable, write_recorded
from ..outputs import check_folder
from .command import add
from .destination import OVERWRITE
from .encoder_options import ALLOW_NAN
from .output import console, notes, print_json, shown_progress, tell
from .training_screen import TrainingScreen

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..mini.world import DrawnPair, World

_EVALUATION_SEED = 7
_NEW_ONLY = "new (only phrases with a colour that training never gave this concept)"


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(
        name="mini", help="The embedded SAM3: its world, its training, its figures.", no_args_is_help=True
    )
    add(group, world, "world", "litetext mini world --pairs 100 --out world")
    add(group, train, "train", "litetext mini train --out run", extra="mini")
    add(group, train_tracker, "train-tracker", "litetext mini train-tracker --out run", extra="mini")
    add(group, evaluate, "evaluate", "litetext mini evaluate --seed 7 --pairs 100", extra="mini")
    app.add_typer(group)


def world(
    out: Path = typer.Option(..., "--out", "-o", help="Folder for annotations, pictures and stats.json."),
    seed: int = typer.Option(0, min=0, help="Seed of the scenes."),
    pairs: int = typer.Option(500, min=1, help="(scene, phrase) pairs, four a scene."),
    style: str = typer.Option("training", help="training, new-look (held out of training), or a drawing style."),
    concepts: str = typer.Option("all", help="all, known (what the shipped mini knows), or the first N."),
    size: int = typer.Option(128, min=32, max=1024, help="Side of the scenes in pixels."),
    combinations: str = typer.Option("all", help=f"all; {_NEW_ONLY}."),
    gold: bool = typer.Option(False, "--gold", help="Seven subsets of so many pairs each, by three annotators."),
    video: bool = typer.Option(False, "--video", help="Draw clips with masklets instead, as SA-Co VEval."),
    count: int = typer.Option(60, min=1, help="Clips (--video), four phrases each."),
    frames: int = typer.Option(24, min=2, max=1000, help="Frames of a clip (--video)."),
    overwrite: bool = OVERWRITE,
    as_json: bool = typer.Option(False, "--json", help="Print the statistics as JSON."),
) -> None:
    """Draw scenes with exact masks and phrases about them, as SA-Co Gold, or clips, as SA-Co VEval."""
    check_folder(out, "drawn world", overwrite=overwrite)
    from ..mini.export import draw_pairs, export

    drawn_from = _world(concepts, style, size)
    wanted = _wanted(combinations)
    if video and (gold or wanted is not None):
        raise LitetextError("--video excludes --gold and --combinations new; leave them out")
    if video:
        settings = {"seed": seed, "style": style, "size": size, "world_concepts": len(drawn_from.concepts)}
        _export_clips(drawn_from, seed, count, frames, out, settings, overwrite, as_json)
        return
    if gold and wanted is not None:
        raise LitetextError("--combinations new and --gold exclude each other; leave one out")
    if gold:
        _export_gold(drawn_from, seed, pairs, out, overwrite, as_json)
        return
    with shown_progress("drawing") as progress:
        drawn = draw_pairs(drawn_from, seed, pairs, progress, wanted)
        settings = {
            "seed": seed,
            "style": style,
            "size": size,
            "combinations": combinations,
            "world_concepts": len(drawn_from.concepts),
        }
        figures = export(drawn, out, settings, overwrite=overwrite)
    if as_json:
        print_json(figures)
        return
    console.print(
        f"{figures['pairs']} pairs on {figures['scenes']} scenes, {figures['negative_share']:.0%} negative "
        f"({figures['hard_share_of_negatives']:.0%} of them hard), {figures['objects_a_scene']:.1f} objects a scene",
        highlight=False,
    )
    tell(f"written: {out}/ (gold_mini.json, images, stats.json)")


def train(
    out: Path = typer.Option(
        ..., "--out", "-o", help="Folder for checkpoints, curves, TensorBoard events and the trained mini."
    ),
    preset: str = typer.Option("cpu", help="cpu (one core, three and a half hours) or gpu (one GPU, bf16)."),
    resume: str = typer.Option("auto", help="auto: go on from the checkpoints in --out; never: start anew."),
    init: str = typer.Option("none", help="Start from the shipped weights (shipped) or from nothing (none)."),
    seed: int = typer.Option(0, min=0, help="Seed of weights and scenes."),
) -> None:
    """Train a mini SAM3; a killed run goes on where it was. The result is a model folder: OUT/mini."""
    for option, given, choices in (("--resume", resume, ("auto", "never")), ("--init", init, ("shipped", "none"))):
        if given not in choices:
            raise choice_error(option, given, choices)
    check_folder(out / "mini", "mini model", overwrite=True)
    require("tensorboard")
    from ..data import resolve
    from ..mini.config import known_concepts, recipes
    from ..mini.ship import load_weights, write_mini
    from ..mini.train import train_in_turn

    plan = recipes(preset, seed)
    with TrainingScreen("scenes") as screen:
        trained = train_in_turn(
            plan,
            out,
            resume=resume == "auto",
            initial=(lambda task: load_weights(task.model, resolve("mini"))) if init == "shipped" else None,
            on_report=screen.show,
        )
    facts = {
        "known_concepts": known_concepts(plan[-1].concepts),
        "preset": preset,
        "steps": sum(config.total_steps for config in plan),
        "seed": seed,
    }
    write_mini(trained.model, trained.tokenizer, out / "mini", facts, overwrite=True)
    tell(f"written: {out / 'mini'}; try: litetext mini evaluate --model {out / 'mini'}")


def train_tracker(
    out: Path = typer.Option(
        ..., "--out", "-o", help="Folder for checkpoints, curves, TensorBoard events and the mini with its tracker."
    ),
    model: str = typer.Option("mini", help="The shipped mini, or the folder of a trained one; it stays as it is."),
    resume: str = typer.Option("auto", help="auto: go on from the checkpoint in --out; never: start anew."),
    seed: int = typer.Option(0, min=0, help="Seed of weights and clips."),
    steps: int = typer.Option(None, min=1, help="Fewer or more steps than the recipe's, its stages in proportion."),
) -> None:
    """Train a memory tracker for a mini; a killed run goes on where it was. The result is a model folder: OUT/mini."""
    if resume not in ("auto", "never"):
        raise choice_error("--resume", resume, ("auto", "never"))
    check_folder(out / "mini", "mini model", overwrite=True)
    from ..mini.tracker_config import TrackerTrainConfig
    from ..mini.train_tracker import tracker_task, write_mini_with_tracker
    from ..mini.train_tracker import train_tracker as fit

    folder = None if model == "mini" else Path(model)
    config = TrackerTrainConfig(seed=seed)
    config = config if steps is None else config.scaled_to(steps)
    with shown_progress("drawing and encoding clips") as progress:
        task = tracker_task(config, folder, progress=progress)
    with TrainingScreen("excerpts") as screen:
        fit(task, out, resume=resume == "auto", on_report=screen.show)
    facts = {"steps": config.total_steps, "seed": seed, "figures": task.evaluate()}
    write_mini_with_tracker(task, out / "mini", facts, model=folder, overwrite=True)
    tell(f"written: {out / 'mini'}; try: litetext track VIDEO -p banana --model {out / 'mini'}")


def evaluate(
    seed: int = typer.Option(_EVALUATION_SEED, min=0, help="Seed of the scenes."),
    pairs: int = typer.Option(500, min=2, help="Pairs to draw."),
    style: str = typer.Option("training", help="training, new-look (held out of training), or a drawing style."),
    model: str = typer.Option("mini", help="The shipped mini, or the folder of a trained one."),
    size: int = typer.Option(None, min=32, max=1024, help="Side of the scenes in pixels; the model's own if absent."),
    combinations: str = typer.Option("all", help=f"all; {_NEW_ONLY}."),
    text: str = typer.Option(None, help="Another text encoder for it: a name, file or folder."),
    save_predictions: Path = typer.Option(None, help="Write the predictions there, as SA-Co results."),
    overwrite: bool = OVERWRITE,
    allow_nan: bool = ALLOW_NAN,
    as_json: bool = typer.Option(False, "--json", help="Print the figures as JSON."),
) -> None:
    """Score a mini on scenes drawn anew: cgF1, pmF1, IL_MCC, and IL_MCC with the phrases permuted."""
    asked = {"model": model, "text": text, "seed": seed, "pairs": pairs, "style": style, "size": size}
    run = {"settings": {**asked, "combinations": combinations}}
    if save_predictions is not None:
        check_resumable(save_predictions, run, overwrite=overwrite)
    from ..data import resolve
    from ..mini.evaluation import evaluate_segmenter
    from ..mini.export import draw_pairs, statistics
    from ..mini.facts import FACTS, facts_of
    from ..mini.world import World
    from ..segment import Segmenter

    folder = resolve("mini") if model == "mini" else Path(model)
    if not (folder / FACTS).is_file():
        raise LitetextError(f"{folder} holds no {FACTS}; give mini or a folder that litetext mini train wrote")
    facts = facts_of(folder)
    known, size = facts["known_concepts"], size or facts["image_size"]
    drawn = draw_pairs(World(known, _styles(style), size), seed, pairs, wanted=_wanted(combinations))
    with notes.status("loading the model"):
        segmenter = Segmenter.from_pretrained(model if model == "mini" else folder, text, allow_nan=allow_nan)
    with shown_progress("segmenting") as progress:
        result = evaluate_segmenter(segmenter, drawn, seed, progress)
    if save_predictions is not None:
        write_recorded(save_predictions, run, result.predictions, {})
    document: dict[str, Any] = {
        "model": model,
        "text": text or "its own",
        "seed": seed,
        "style": style,
        "size": size,
        "combinations": combinations,
        "concepts": len(known),
        **result.to_dict(),
        "world": statistics(drawn),
    }
    if as_json:
        print_json(document)
        return
    table = Table("pairs", "concepts", "cgF1", "pmF1", "IL_MCC", "IL_MCC, phrases permuted")
    table.add_row(
        str(document["pairs"]),
        str(len(known)),
        *(f"{document[name]:.{digits}f}" for name, digits in (("cgF1", 1), ("pmF1", 1), ("IL_MCC", 2))),
        f"{document['permuted_IL_MCC']:.2f}",
    )
    console.print(table)


def _export_gold(world: World, seed: int, pairs: int, out: Path, overwrite: bool, as_json: bool) -> None:
    from ..mini.gold import export_gold

    names = [concept.name for concept in world.concepts]
    with shown_progress("drawing") as progress:
        figures = export_gold(names, world.styles, world.size, seed, pairs, out, progress, overwrite=overwrite)
    if as_json:
        print_json({"seed": seed, "size": world.size, "subsets": figures})
        return
    table = Table("subset", "mirrors", "pairs", "negative", "objects a scene")
    for name, row in figures.items():
        table.add_row(
            name, row["mirrors"], str(row["pairs"]), f"{row['negative_share']:.0%}", f"{row['objects_a_scene']:.1f}"
        )
    console.print(table)
    tell(f"written: {out}/; try: litetext evaluate --gt {out}/annotations --images {out}/images --model mini")


def _export_clips(
    world: World,
    seed: int,
    count: int,
    frames: int,
    out: Path,
    settings: dict[str, Any],
    overwrite: bool,
    as_json: bool,
) -> None:
    from ..mini.clip_export import ANNOTATION, MEDIA, export_clips
    from ..mini.motion import MotionWorld

    with shown_progress("drawing") as progress:
        figures = export_clips(MotionWorld(world), seed, count, frames, out, settings, progress, overwrite=overwrite)
    if as_json:
        print_json(figures)
        return
    console.print(
        f"{figures['pairs']} pairs on {figures['clips']} clips, {figures['negative_share']:.0%} negative; "
        f"{figures['masklets']} masklets, {figures['masklets_with_a_gap']} of objects that hide or leave and return",
        highlight=False,
    )
    tell(f"written: {out}/; try: litetext evaluate --video --gt {out / ANNOTATION} --frames {out / MEDIA} --model mini")


def _wanted(combinations: str) -> Callable[[DrawnPair], bool] | None:
    """Which pairs to keep; None for all."""
    if combinations not in ("all", "new"):
        raise choice_error("--combinations", combinations, ("all", "new"))
    from ..mini.world import asks_new

    return (lambda pair: asks_new(pair.query)) if combinations == "new" else None


def _styles(style: str) -> tuple[str, ...]:
    from ..mini.concepts import NEW_LOOK, STYLES
    from ..mini.world import TRAINING_STYLES

    named = {"training": TRAINING_STYLES, "new-look": (NEW_LOOK,), **{one: (one,) for one in STYLES}}
    if style not in named:
        raise choice_error("--style", style, tuple(named))
    return named[style]


def _world(concepts: str, style: str, size: int) -> World:
    from ..mini.concepts import CONCEPTS
    from ..mini.facts import shipped_concepts
    from ..mini.world import World

    if concepts == "all":
        names = None
    elif concepts == "known":
        names = shipped_concepts()
    elif concepts.isdigit() and 0 < int(concepts) <= len(CONCEPTS):
        names = [concept.name for concept in CONCEPTS[: int(concepts)]]
    else:
        raise LitetextError(f"--concepts {concepts!r}: give all, known, or a number from 1 to {len(CONCEPTS)}")
    return World(names, _styles(style), size)
