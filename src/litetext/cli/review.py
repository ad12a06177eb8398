"""``litetext review``: what a job found, to be accepted or rejected by people."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..errors import LitetextError, choice_error
from ..files import write_json
from ..outputs import check_file
from .command import add
from .destination import OVERWRITE
from .output import print_json, shown_progress, tell

if TYPE_CHECKING:
    from ..label import Job


def register(app: typer.Typer) -> None:
    """Add the command."""
    add(
        app,
        review,
        "review",
        "litetext review labels",
        "litetext review labels --serve 8001",
        "litetext review labels --per-concept 200 --from 0.4 --out review.html",
        "litetext review labels --decide-by export.json --out decisions.json",
        extra="label",
    )


def review(
    folder: Path = typer.Argument(..., metavar="DIR", help="The folder of a labelling job."),
    out: Path = typer.Option(None, "--out", "-o", help="The page to write; DIR/review.html by default."),
    per_concept: int = typer.Option(100, min=1, help="Detections of each concept, at most."),
    sample: str = typer.Option("random", help="random, which can prove a precision; or margin, nearest to thresholds."),
    lowest: float = typer.Option(None, "--from", min=0.0, max=1.0, help="Lowest score; by default each threshold."),
    seed: int = typer.Option(0, help="Of the random choice."),
    form: str = typer.Option("page", "--format", help="page, or label-studio: tasks with the images of the sample."),
    url_prefix: str = typer.Option("", help="Put before names for Label Studio, such as /data/local-files/?d=."),
    decide_by: Path = typer.Option(
        None, "--decide-by", help="Label Studio's export of corrected tasks: write the decisions that follow from it."
    ),
    serve: int = typer.Option(
        None,
        "--serve",
        metavar="PORT",
        min=0,
        max=65535,
        help="Serve the page on this machine until Ctrl-C (0: a free port), and keep decisions in DIR/decisions.json.",
    ),
    overwrite: bool = OVERWRITE,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document about what was written."),
) -> None:
    """Write a page of detections to review, or take decisions from Label Studio.

    The decisions go to: litetext label --calibrate decisions.json --precision 0.95 --out DIR
    """
    if serve is not None and (decide_by is not None or form != "page" or as_json):
        raise LitetextError("--serve is of the page; leave out --format, --decide-by and --json")
    if form not in ("page", "label-studio"):
        raise choice_error("--format", form, ("page", "label-studio"))
    from ..label import Job
    from ..label.review import sampled, write_page

    job = Job.open(folder)
    if decide_by is not None or form == "label-studio":
        destination = out or folder / ("decisions.json" if decide_by is not None else "review-tasks.json")
        if destination.exists():
            raise LitetextError(f"{destination} exists; give --out another name, or move it away")
    else:
        destination = out or folder / "review.html"
        check_file(destination, "review page", overwrite=overwrite or serve is not None)
    with shown_progress("choosing") as progress:
        chosen = sampled(job, per_concept, sample=sample, lowest=lowest, seed=seed, progress=progress)
    if not chosen:
        raise LitetextError(f"{folder} holds no detection to review; label with lower thresholds, or give --from SCORE")
    if decide_by is not None:
        from ..label.review import decisions_document, decisions_from_annotations
        from ..results.formats import label_studio

        decisions = decisions_from_annotations(job, chosen, label_studio.read(decide_by, predictions=False))
        write_json(destination, decisions_document(job, decisions, sample))
        count = sum(one.accepted is not None for one in decisions)
        message = f"{destination}: {count:,} of {len(decisions):,} detections decided"
    elif form == "label-studio":
        from ..results.formats import label_studio

        names = {one.entry.name: one.entry for one in chosen}
        store = job.store()
        images = [job.settled(store.instances(entry.sha256)).annotations(name) for name, entry in names.items()]
        label_studio.write(images, destination, url_prefix=url_prefix)
        message = f"{destination}: {len(images):,} images with the {len(chosen):,} detections of the sample"
        count = len(images)
    else:
        with shown_progress("drawing") as progress:
            count = write_page(job, chosen, destination, sample=sample, progress=progress)
        message = f"{destination}: {count:,} detections; open it in a browser"
        if serve is not None:
            _serve(job, destination, serve)
            return
    if as_json:
        print_json({"out": str(destination), "count": count, "sampled": len(chosen)})
    else:
        tell(message)


def _serve(job: Job, page: Path, port: int) -> None:
    """Serve the page until Ctrl-C."""
    from ..label.review_server import ReviewServer

    decisions = job.folder / "decisions.json"
    with ReviewServer(page, decisions, job.shards.name, port) as server:
        tell(f"{server.address} (Ctrl-C ends it); decisions: {decisions}")
        with suppress(KeyboardInterrupt):
            server.serve_forever(poll_interval=0.2)
    tell(f"next: litetext label --calibrate {decisions} --precision 0.95 --out {job.folder}")
