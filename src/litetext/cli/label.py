"""``litetext label``: images and concepts in, datasets and a report out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from ..devices import known_dtype
from ..errors import LitetextError, choice_error
from ..segment.sources import PUBLISHED, quickest_backend
from .command import add
from .convention_option import AS
from .encoder_options import ALLOW_NAN, DEVICE, DTYPE
from .output import console, notes, print_json, shown_progress, warn

if TYPE_CHECKING:
    from ..label import Job, Outcome
    from ..label.summary import Summary

_DEFAULT_MODEL = "mini"


def register(app: typer.Typer) -> None:
    """Add the command."""
    add(
        app,
        label,
        "label",
        "litetext label photos --concepts concepts.yaml --out labels --format yolo",
        "litetext label --calibrate decisions.json --precision 0.95 --out labels",
        "litetext label shard-000.tar photos.parquet --concepts things.txt --out labels --model photo",
        extra="label",
    )


def label(
    given: list[str] = typer.Argument(
        None, metavar="INPUT", help="Folders, quoted patterns, .txt lists, .parquet, .tar, COCO .json, addresses."
    ),
    concepts: Path = typer.Option(None, "--concepts", help="What to label: a file of phrases, or YAML."),
    out: Path = typer.Option(..., "--out", "-o", help="The folder of the job: new, or one to go on with."),
    formats: list[str] = typer.Option(
        [],
        "--format",
        "-f",
        help="coco, csv, label-studio, labelme, saco, voc or yolo; repeat it for more. By default those that DIR has, "
        "or coco.",
    ),
    model: str = typer.Option(_DEFAULT_MODEL, help="mini, photo, a folder, or a hub name of a SAM3 model."),
    text: str = typer.Option(None, help="Another text encoder for it: a name, file, folder or hub name."),
    threshold: float = typer.Option(0.5, min=0.0, max=1.0, help="Lowest score of concepts that say none."),
    keep: float = typer.Option(0.3, min=0.0, max=1.0, help="Lowest score to keep, for thresholds to be lowered to."),
    iou: float = typer.Option(0.7, min=0.0, max=1.0, help="Two masks are one object above this IoU."),
    containment: float = typer.Option(
        0.9, min=0.0, max=1.0, help="Share of a mask inside another of its concept that makes them one object."
    ),
    across: str = typer.Option("overlap", help="Across concepts: overlap (--iou), containment (both) or off."),
    val: float = typer.Option(0.1, min=0.0, max=1.0, help="Share of the images that go into val, by their content."),
    images: str = typer.Option("link", help="Images beside YOLO, LabelMe and VOC labels: link, copy or none."),
    url_prefix: str = typer.Option("", help="Put before names for Label Studio, such as /data/local-files/?d=."),
    skip_near: int = typer.Option(
        None,
        "--skip-near",
        min=0,
        max=63,
        help="Skip near-duplicates: at most so many of 64 hash bits differ.",
    ),
    watch: float = typer.Option(
        None, "--watch", min=0.1, help="Look every so many seconds for new images, until Ctrl-C."
    ),
    engine: str = typer.Option("local", help="local: this process; ray: workers on one machine or a cluster."),
    workers: int = typer.Option(1, min=1, help="Workers of ray, each with a model."),
    address: str = typer.Option(None, help="Of a ray cluster, such as ray://head:10001 or auto."),
    batch_size: int = typer.Option(8, min=1, help="Phrases that are decoded together."),
    image_batch: int = typer.Option(1, min=1, help="Images that run through the vision encoder together."),
    calibrate: Path = typer.Option(
        None,
        "--calibrate",
        help="Decisions saved from the page of litetext review: set the thresholds of a job by them.",
    ),
    precision: float = typer.Option(0.95, help="Share of right detections that --calibrate is to prove."),
    confidence: float = typer.Option(0.95, help="At which --calibrate proves it, for each concept."),
    convention: str = AS,
    device: str = DEVICE,
    dtype: str = DTYPE,
    backend: str = typer.Option("auto", help="torch, onnx, or auto: ONNX Runtime where the model has its graphs."),
    allow_nan: bool = ALLOW_NAN,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document about what was found."),
) -> None:
    """Label many images with a list of concepts, and write datasets.

    What is done is kept: the same command goes on where it was stopped, and other thresholds, formats or rules need no
    second look at the images. Images that fail are set aside in failed.jsonl; the exit code is 2 if all of them do.
    """
    from ..label.datasets import check_formats, formats_in, write_datasets
    from ..label.report import write_report
    from ..label.summary import summarize
    from ..label.watch import changes

    formats = formats or formats_in(out) or ["coco"]
    check_formats(formats, images)
    if calibrate is not None:
        if given or concepts is not None:
            raise LitetextError("--calibrate sets the thresholds of the job in --out; leave out INPUT and --concepts")
        job = _calibrated(out, calibrate, precision, confidence)
    elif concepts is None or not given:
        raise LitetextError("nothing to label; give INPUT and --concepts FILE")
    elif watch is not None and as_json:
        raise LitetextError("--watch has no end, so it prints no JSON document; DIR/report.json is always there")
    else:
        job = _job(locals())

    def write(outcome: Outcome | None) -> None:
        with shown_progress("writing") as progress:
            folders = write_datasets(job, formats, images=images, url_prefix=url_prefix, progress=progress)
            summary = summarize(job, outcome)
        write_report(job, summary, formats)
        _show(job, summary, [str(folder) for folder in folders], as_json)
        if summary.failed and not summary.labeled and watch is None:
            reason = summary.failures[0][1]
            raise LitetextError(f"none of {summary.images:,} images could be labelled; the first: {reason}")

    if calibrate is not None:
        write(None)
        return
    for _ in changes(given, watch) if watch is not None else (None,):
        with shown_progress("labelling") as progress:
            outcome = job.run(given, engine=engine, workers=workers, address=address, progress=progress)
        write(outcome)


def _calibrated(folder: Path, decisions: Path, precision: float, confidence: float) -> Job:
    """The job of a folder with the thresholds that decisions prove, which are written into its concepts."""
    from ..label import Job
    from ..label.calibration import calibrated, read_decisions

    job = Job.open(folder)
    decided = read_decisions(decisions, job.shards.name)
    undecided = sum(one.accepted is None for one in decided)
    if undecided:
        warn(f"{undecided:,} of {len(decided):,} detections were not decided on; they count as wrong")
    concepts, bounds = calibrated(job.concepts, decided, precision, confidence)
    for name, bound in bounds.items():
        if bound.threshold is None:
            warn(f"{name}: {bound}; it takes {bound.needed} right ones at least: review more, or state less")
    job = job.with_concepts(concepts)
    job.save_concepts()
    tell_of = "; ".join(f"{one.name}: {one.threshold:g}, {one.calibration}" for one in concepts if one.calibration)
    notes.print(f"{folder}/concepts.yaml: {tell_of or 'no threshold was proven'}", highlight=False, soft_wrap=True)
    return job


def _job(given: dict[str, Any]) -> Job:
    """The job that the options describe."""
    from ..label import Job, Settings, read_concepts
    from ..label.labeler import Model
    from ..label.settling import Rules

    if given["across"] not in ("overlap", "containment", "off"):
        raise choice_error("--across", given["across"], ("overlap", "containment", "off"))
    model = Model(
        given["model"],
        given["text"],
        _backend(given),
        given["device"],
        known_dtype(given["dtype"], given["device"]),
        given["convention"],
        given["allow_nan"],
    )
    settings = Settings(
        model,
        given["keep"],
        Rules(given["iou"], given["containment"], given["across"]),
        given["val"],
        given["batch_size"],
        given["image_batch"],
        near=given["skip_near"],
    )
    return Job(given["out"], read_concepts(given["concepts"], given["threshold"]), settings)


def _backend(given: dict[str, Any]) -> str | None:
    chosen: str = given["backend"]
    if chosen not in ("auto", "torch", "onnx"):
        raise choice_error("--backend", chosen, ("auto", "torch", "onnx"))
    if chosen != "auto":
        return chosen
    return quickest_backend(given["model"], given["device"], given["convention"], given["dtype"])


def _show(job: Job, summary: Summary, folders: list[str], as_json: bool) -> None:
    """Print what was found, what is doubtful, and where everything is."""
    for message in summary.warnings:
        warn(message)
    if as_json:
        print_json({**summary.to_json(), "out": str(job.folder), "datasets": folders})
        return
    console.print(_table(summary))
    rate = summary.images_per_second
    speed = f", {summary.new:,} labelled now at {rate:.3g} a second" if rate else ""
    console.print(
        f"{summary.labeled:,} of {summary.images:,} images labelled{speed}; {summary.empty:,} without anything, "
        f"{summary.failed:,} failed, {summary.duplicates:,} duplicates, {summary.skipped:,} skipped",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"written: {', '.join(folders)}; {job.folder}/report.html", highlight=False, soft_wrap=True)
    if job.settings.model.name == _DEFAULT_MODEL:
        notes.print(
            f"Model: {_DEFAULT_MODEL}, which ships with litetext and knows only its small drawn world. "
            f"For photographs: --model {PUBLISHED}",
            highlight=False,
            soft_wrap=True,
        )


def _table(summary: Summary) -> Table:
    from ..label.report import sparkline

    table = Table("concept", "instances", "images", "threshold", "scores 0 to 1", "nearest that were found")
    for one in summary.concepts:
        table.add_row(
            one.name,
            f"{one.instances:,}",
            f"{one.images:,}",
            f"{one.threshold:g}",
            sparkline(one.histogram),
            ", ".join(one.nearest),
        )
    return table
