"""``litetext evaluate``: score predictions, or a model, with SA-Co's metrics for images and videos."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import typer
from rich.table import Table

from ..devices import known_dtype
from ..errors import LitetextError, choice_error, require
from ..outputs import check_file
from .command import add
from .convention_option import AS
from .destination import OVERWRITE, paths_of
from .encoder_options import ALLOW_NAN, CONTEXT, DEVICE, DTYPE, POSITIONS, position_reading
from .evaluate_video import score_video, show_video, truth_files
from .image_size_option import IMAGE_SIZE_OR_BUDGET, chosen_image_size, time_budget
from .output import console, notes, print_json, shown_progress, warn
from .predictor import Predictor, several_beside
from .stamps import model_stamps

if TYPE_CHECKING:
    from ..evaluate.calibrate import Calibration
    from ..evaluate.evaluation import EvaluationReport
    from ..evaluate.tables import Subset
    from ..results.formats.saco import IouType, Predictions


def register(app: typer.Typer) -> None:
    """Add the command."""
    add(
        app,
        evaluate,
        "evaluate",
        "litetext evaluate --gt gold.json --pred predictions.json",
        "litetext evaluate --gt gold.json --images images --model mini --html report.html",
        "litetext evaluate --video --gt saco_veval_sav_val.json --frames media --model mini",
        "litetext evaluate --check predictions.json --gt gold.json",
        extra="evaluate",
    )


def evaluate(
    gt: list[Path] = typer.Option(
        [], "--gt", help="Ground truth (SA-Co, COCO, LVIS, VEval): a file an annotator, or a folder."
    ),
    pred: list[str] = typer.Option(
        [], "--pred", metavar="[NAME=]PATH", help="Predictions; repeat to compare systems with the first."
    ),
    iou_type: str = typer.Option("segm", help="What overlaps: segm (masks) or bbox (boxes)."),
    video: bool = typer.Option(False, "--video", help="The files are of videos (SA-Co VEval)."),
    check: Path = typer.Option(
        None, "--check", metavar="P.json", help="Only check a predictions file (against --gt, if given)."
    ),
    model: str = typer.Option(None, help="Predict with this segmenter first (needs --images)."),
    text: str = typer.Option(None, help="Text encoder for --model, or a model's own."),
    context: int = CONTEXT,
    positions: str = POSITIONS,
    convention: str = AS,
    system: str = typer.Option(
        None, help="Predict with a baseline first: grounding-dino, mm-grounding-dino, llmdet, owlv2, owlvit."
    ),
    detector: str = typer.Option(None, help="Checkpoint for --system, where not its usual one."),
    masks: str = typer.Option(None, help="SAM-family checkpoint that turns the boxes of --system into masks."),
    policy: str = typer.Option(
        None, help="How --model tracks in videos: full, no-temporal or by-detection (default: the fullest it can)."
    ),
    images: Path = typer.Option(
        None,
        "--images",
        "--frames",
        help="Folder of the images, or videos' frames, that the ground truth names.",
    ),
    save_predictions: Path = typer.Option(
        None, help="Where --model and --system write (default: in the cache folder)."
    ),
    seen_words: Path = typer.Option(
        None, help="Training prompts, one a line: groups prompts by seen and unseen words."
    ),
    no_cache: bool = typer.Option(
        False, "--no-cache", help="Predict anew and keep no predictions (but for --save-predictions)."
    ),
    calibrate: bool = typer.Option(False, "--calibrate", help="Search the best thresholds and measure reliability."),
    html: Path = typer.Option(None, help="Write a report with the worst cases drawn (on the photos, with --images)."),
    device: str = DEVICE,
    dtype: str = DTYPE,
    image_size: str = IMAGE_SIZE_OR_BUDGET,
    allow_nan: bool = ALLOW_NAN,
    resamples: int = typer.Option(1000, min=10, help="Draws of the bootstrap."),
    processes: int = typer.Option(2, min=1, help="Processes for large sets."),
    overwrite: bool = OVERWRITE,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Score predictions with cgF1, IL_MCC and pmF1 (images) or cgF1, pHOTA and TETA (videos)."""
    if iou_type not in ("segm", "bbox"):
        raise choice_error("IoU type", iou_type, ["segm", "bbox"])
    kind: IouType = "bbox" if iou_type == "bbox" else "segm"
    if images is not None and not images.is_dir():
        raise LitetextError(f"{images}: no such folder; --images (--frames) is the folder of the images")
    scoring = {"--html": html, "--calibrate": calibrate, "--seen-words": seen_words}
    if check is not None:
        _refuse(scoring, "of scores; leave it out, or --check")
    if video:
        _refuse(scoring, "of images; leave it out, or --video")
    if model is None:
        _refuse({"--text": text, "--policy": policy}, "of --model; give that too, or leave it out")
    if system is None:
        _refuse({"--detector": detector, "--masks": masks}, "of --system; give that too, or leave it out")
    if model is None and system is None:
        _refuse({"--save-predictions": save_predictions}, "of --model and --system; give one, or leave it out")
    if html is not None:
        require("jinja2")
        check_file(html, "evaluation report", overwrite=overwrite, inputs=paths_of(*gt, *_sources(pred).values()))
    if check is not None:
        _show_check(_check(check, gt, kind, video), as_json)
        return
    if not gt:
        raise LitetextError("nothing to score against: give --gt FILE (or --check P.json to check predictions alone)")
    predictor = None
    if model is not None or system is not None:
        if model is not None and system is not None:
            raise LitetextError("give --model or --system, not both")
        if model is not None:
            asked = partial(_usual_prompts, gt, kind)
            found = _model(
                model, text, context, positions, convention, device, dtype, image_size, allow_nan, video, policy, asked
            )
        else:
            found = _baseline(str(system), detector, masks, device, video)
        predictor = Predictor(*found, images, save_predictions, overwrite, no_cache)
        if predictor.name in _sources(pred):
            raise LitetextError(
                f"two systems are named {predictor.name!r}; give the predictions another name: --pred NAME=PATH"
            )
    if video:
        show_video(score_video(gt, _sources(pred), predictor, kind), as_json)
        return

    from ..evaluate.tables import read_benchmark

    with shown_progress("reading ground truth"):
        subsets = read_benchmark(gt, kind)
    sources = _sources(pred)
    with ExitStack() as predicted:
        if predictor is not None:
            sources[predictor.name] = predicted.enter_context(_predicted(predictor, subsets))
        if not sources:
            raise LitetextError("nothing to score: give --pred FILE, --model NAME or --system NAME")
        predictions = _read_all(sources, subsets, kind)
        parameters = _parameters(sources, subsets)
    report = _scored(predictions, subsets, parameters, _seen_words(seen_words), calibrate, resamples, processes)
    if html is not None:
        report.save_html(html, images)
        notes.print(f"report: {html}", highlight=False, soft_wrap=True)
    if as_json:
        print_json(report.to_dict())
    else:
        _show(report)


def _refuse(given: Mapping[str, Any], reason: str) -> None:
    """Refuse options that would have no effect."""
    for option, value in given.items():
        if value not in (None, False):
            raise LitetextError(f"{option} is {reason}")


def _sources(pred: Sequence[str]) -> dict[str, Path]:
    """The named prediction files; a path without a name is named after its file."""
    sources: dict[str, Path] = {}
    for given in pred:
        name, equals, path = given.partition("=")
        # A file's own name may hold an equals sign.
        named = bool(equals) and not Path(given).exists()
        source = Path(path) if named else Path(given)
        name = name if named else source.stem
        if name in sources:
            raise LitetextError(f"two systems are named {name!r}; name them: --pred NAME={source}")
        if not source.exists():
            raise LitetextError(f"{source}: no such file or folder")
        sources[name] = source
    return sources


_System: TypeAlias = tuple[str, dict[str, Any], Callable[[], Any], Callable[[], Any] | None]
"""A name, what identifies the run, how to load it, and how to read what its text encoder is made of."""


def _model(
    model: str,
    text: str | None,
    context: int | None,
    positions: str | None,
    convention: str | None,
    device: str | None,
    dtype: str | None,
    given_size: str | None,
    allow_nan: bool,
    video: bool,
    policy: str | None,
    asked: Callable[[], Sequence[str]],
) -> _System:
    dtype = known_dtype(dtype, device)
    if policy is not None and not video:
        raise LitetextError("--policy is of videos: give --video, or leave it out")
    if video and given_size is not None and time_budget(given_size) is not None:
        raise LitetextError(f"--image-size {given_size} is of images; with --video give the size as a number")

    def load_video() -> Any:
        from ..track import VideoSegmenter

        if context is not None or positions is not None:
            raise LitetextError("--context and --positions are not for --video: give --text an encoder's file")
        return VideoSegmenter.from_pretrained(
            model,
            text=text,
            policy=policy,
            convention=convention,
            device=device,
            dtype=dtype,
            allow_nan=allow_nan,
            image_size=image_size,
        )

    def load(image_size: int | None = None) -> Any:
        from ..segment import Segmenter

        return Segmenter.from_pretrained(
            model,
            text=text,
            convention=convention,
            context_length=context,
            positions=position_reading(positions),
            device=device,
            dtype=dtype,
            allow_nan=allow_nan,
            image_size=image_size,
        )

    def read_encoder() -> Any:
        from ..encoders import open_checkpoint
        from ..segment.sources import locate

        parts = locate(model)
        return open_checkpoint(parts.encoder(text) if text else parts.text)

    image_size = chosen_image_size(given_size, load, asked)
    settings = {
        "model": model,
        "text": text,
        "context": context,
        "positions": positions,
        "convention": convention,
        "policy": policy,
        "image_size": image_size,
        "dtype": dtype,
        "files": model_stamps(model, text),
    }
    name = f"{model}+{text}" if text else model
    name = f"{name}@{image_size}" if image_size else name
    name = f"{name} {dtype}" if dtype else name
    if video:
        return (f"{name} {policy}" if policy else name), settings, load_video, read_encoder
    return name, settings, partial(load, image_size), read_encoder


def _usual_prompts(gt: Sequence[Path], kind: IouType) -> list[str]:
    """The prompts of an image, the one with the median number of them."""
    from ..evaluate.tables import read_benchmark

    by_image: dict[str, list[str]] = {}
    for pair in read_benchmark(gt, kind)[0].truths[0].pairs.values():
        by_image.setdefault(pair.file_name, []).append(pair.prompt)
    if not by_image:
        raise LitetextError(f"{gt[0]} asks nothing of any image; give --image-size as a number")
    return sorted(by_image.values(), key=len)[len(by_image) // 2]


def _baseline(system: str, detector: str | None, masks: str | None, device: str | None, video: bool) -> _System:
    from ..evaluate.predict import BASELINES, MASKS

    if system not in BASELINES:
        raise choice_error("baseline", system, list(BASELINES))
    boxes, mask_model = detector or BASELINES[system], masks or MASKS

    def load() -> Any:
        from ..evaluate.baselines import load_baseline

        loaded = load_baseline(boxes, mask_model, device)
        if not video:
            return loaded
        from ..track import LinkedSegmenter

        return LinkedSegmenter(loaded)

    settings = {"system": system, "detector": boxes, "masks": mask_model, "files": model_stamps(boxes, mask_model)}
    return system, settings, load, None


@contextmanager
def _predicted(predictor: Predictor, subsets: Sequence[Subset]) -> Iterator[Path]:
    """Predict every subset; yield the file, or the folder of one file a subset."""
    from ..evaluate.predict import LazySystem, images_fingerprint, predict

    images = predictor.folder()
    with predictor.target([images_fingerprint(subset.truths[0], images) for subset in subsets]) as target:
        loaded, folder = LazySystem(predictor.load), several_beside(target)
        for subset in subsets:
            file = target if len(subsets) == 1 else folder / f"{subset.name}.json"
            truth = subset.truths[0]
            count = len({pair.file_name for pair in truth.pairs.values()})
            with shown_progress(f"predicting {subset.name or predictor.name}", count) as progress:
                predict(
                    loaded,
                    truth,
                    images,
                    file,
                    settings=predictor.settings,
                    progress=progress,
                    overwrite=predictor.overwrite,
                    facts=predictor.facts,
                )
        yield target if len(subsets) == 1 else folder


def _read_all(
    sources: Mapping[str, Path], subsets: Sequence[Subset], kind: IouType
) -> dict[str, dict[str, Predictions]]:
    from ..evaluate.tables import read_system

    with shown_progress("reading predictions", len(sources)) as progress:
        found = {}
        for done, (name, path) in enumerate(sources.items(), start=1):
            found[name] = read_system(path, subsets, kind)
            progress(done, len(sources))
    return found


def _scored(
    predictions: Mapping[str, Mapping[str, Predictions]],
    subsets: Sequence[Subset],
    parameters: Mapping[str, int],
    seen_words: frozenset[str] | None,
    calibrate: bool,
    resamples: int,
    processes: int,
) -> EvaluationReport:
    from ..evaluate.evaluation import evaluate_systems

    with shown_progress("scoring") as progress:
        report = evaluate_systems(
            subsets,
            predictions,
            seen_words=seen_words,
            calibration=calibrate,
            resamples=resamples,
            processes=processes,
            text_parameters=parameters,
            progress=progress,
        )
    for board in report.scoreboards:
        for subset, metrics in board.subsets.items():
            for warning in metrics.warnings:
                warn(f"{subset}: {warning}" if subset else warning)
    return report


def _parameters(sources: Mapping[str, Path], subsets: Sequence[Subset]) -> dict[str, int]:
    """Parameters of the text encoder by system, for predictions that say so because this command made them."""
    from ..evaluate.tables import file_of
    from ..journal import recorded_facts

    found = {}
    for name, path in sources.items():
        recorded = recorded_facts(file_of(path, subsets[0].name) if path.is_dir() else path)
        if isinstance(recorded.get("text_parameters"), int):
            found[name] = recorded["text_parameters"]
    return found


def _seen_words(path: Path | None) -> frozenset[str] | None:
    if path is None:
        return None
    from ..evaluate.compare import words_of
    from ..prompts import read_prompts

    return frozenset(words_of(" ".join(read_prompts(path))))


def _check(path: Path, gt: Sequence[Path], kind: IouType, video: bool) -> dict[str, Any]:
    """Read a predictions file as scoring would, and say what is in it; whatever is wrong is an error."""
    if video:
        from ..results.formats.veval import read_video_predictions, read_video_truth

        files = truth_files(gt) if gt else []
        if len(files) != 1:
            raise LitetextError("checking video predictions needs their ground truth: give --gt FILE once")
        tracks = read_video_predictions(path, read_video_truth(files[0])).tracks
        return {
            "file": str(path),
            "ok": True,
            "predictions": len(tracks),
            "pairs": len({t.pair for t in tracks}),
            "warnings": [],
        }

    from ..results.formats.saco import annotation_files, check_predictions, read_ground_truth, read_predictions

    predictions = read_predictions(path, kind)
    truths = [read_ground_truth(file, kind) for file in annotation_files(gt)]
    warnings = check_predictions(predictions, truths) if truths else []
    return {
        "file": str(path),
        "ok": True,
        "predictions": len(predictions),
        "pairs": len(predictions.regions),
        "warnings": warnings,
    }


def _show_check(facts: dict[str, Any], as_json: bool) -> None:
    for warning in facts["warnings"]:
        warn(warning)
    if as_json:
        print_json(facts)
    else:
        print(f"{facts['file']} is well formed: {facts['predictions']:,} predictions in {facts['pairs']:,} pairs")


def _show(report: EvaluationReport) -> None:
    from ..evaluate.tables import COLUMN_NAMES

    boards = report.scoreboards
    subsets = list(boards[0].subsets)
    if len(subsets) > 1:
        table = Table("system", "", "Avg.", *(COLUMN_NAMES.get(name, name) for name in subsets))
        for board in boards:
            for metric, digits in (("cgF1", 1), ("IL_MCC", 2), ("pmF1", 1)):
                cells = [_number(getattr(metrics, metric), digits) for metrics in board.subsets.values()]
                name = board.system if metric == "cgF1" else ""
                table.add_row(name, metric, _number(board.mean[metric], digits), *cells, end_section=metric == "pmF1")
    else:
        names = ("cgF1", "IL_MCC", "pmF1", "pMF1")
        table = Table("system", *names, "pairs", "positive")
        for board in boards:
            shown = board.to_dict()
            cells = [_number(shown[name], 3 if name == "IL_MCC" else 2) for name in names]
            table.add_row(board.system, *cells, f"{shown['pairs']:,}", f"{shown['positive_pairs']:,}")
    console.print(table)
    if len(boards) > 1:
        _show_retention(report)
    for name, system in report.systems.items():
        if system.calibration is not None:
            _show_calibration(name, system.calibration)


def _show_retention(report: EvaluationReport) -> None:
    first = report.scoreboards[0].system
    table = Table("system", "cgF1", f"of {first}", "difference [95 %]", "won", "lost", "text", "smaller")
    for row in report.retention:
        name = row["system"]
        cells = ["", "", ""]
        if name != first:
            comparison = report.comparisons[name]
            change = comparison.differences["cgF1"]
            cells = [
                f"{change.difference:+.2f} [{change.low:+.2f}, {change.high:+.2f}]",
                str(comparison.won),
                str(comparison.lost),
            ]
        parameters = f"{row['parameters'] / 1e6:.2f} M" if row["parameters"] else ""
        compression = f"{row['compression']:.1f} x" if row["compression"] else ""
        table.add_row(name, _number(row["cgF1"]), f"{_number(row['retained'])} %", *cells, parameters, compression)
    console.print(table)


def _show_calibration(system: str, calibration: Mapping[str, Calibration]) -> None:
    table = Table(
        "subset", "presence", "query", "cgF1 there", "cgF1 held out", "cgF1 at 0.5", title=f"{system}: thresholds"
    )
    for name, part in calibration.items():
        figures = (part.best_presence, part.best_query, part.best, part.held_out, part.official)
        table.add_row(name or "all", *(_number(figure, 2) for figure in figures))
    console.print(table)


def _number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
