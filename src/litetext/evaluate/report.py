"""One HTML file that shows a score: the numbers, where they come from, and the worst cases drawn.

The file holds everything (pictures as JPEG inside, charts as SVG) and asks nothing of a network, so it can be mailed
and kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..images import read_image
from ..outputs import blank_seal, sealed_file
from ..reports.charts import Figure, Line, LineChart, Surface, fixed, signed
from ..reports.page import Case, Section, Table, render
from ..results import Masks
from ..results.drawing import data_uri, draw_masks
from ..results.formats.saco import Pair, Predictions, Region
from ..results.polygons import corners_of, filled
from .image import IOU_THRESHOLDS, SCORE_THRESHOLD, PairScores
from .tables import COLUMN_NAMES, Scoreboard, Subset

_CASES = 6
_THUMBNAIL = 420
_FLIPS_SHOWN = 24
_GRAY = (225, 225, 225)
_NO_LOSS = 0.01  # what the official F1's constants take from a perfect pair
_KINDS = {
    "poor": "Found, but badly drawn or counted",
    "missed": "Missed: it is there, nothing was predicted",
    "false": "False alarms: it is not there, something was predicted",
}
_FOOTER = "cgF1 = pmF1 × IL_MCC, in percent; definitions as in SA-Co's official evaluator."


def write_report(
    path: Path,
    boards: Sequence[Scoreboard],
    subsets: Sequence[Subset],
    predictions: Mapping[str, Mapping[str, Predictions]],
    document: Mapping[str, Any],
    *,
    images: Path | None = None,
) -> None:
    """Write the report of one or several systems.

    Args:
        path: the file.
        boards: of each system.
        subsets: what was scored.
        predictions: of each system, by subset.
        document: what ``litetext evaluate --json`` prints for them.
        images: the folder of the photos, to draw the cases on; without it they are drawn on gray.
    """
    facts = {board.system: document if len(boards) == 1 else document["systems"][board.system] for board in boards}
    sections = [_headline(boards), _thresholds(boards)]
    if len(boards) > 1:
        sections += _comparisons(document)
    sections += [_groups(board.system, facts[board.system]["groups"]) for board in boards]
    sections += [
        _calibration(board.system, facts[board.system]["calibration"])
        for board in boards
        if "calibration" in facts[board.system]
    ]
    sections += [part for board in boards for part in _cases(board, subsets, predictions[board.system], images)]
    pairs = f"{len(boards[0].scores):,} pairs"
    title = f"{' and '.join(board.system for board in boards)} on {pairs}"
    scored = [
        COLUMN_NAMES.get(subset.name, subset.name) or ", ".join(Path(truth.name).name for truth in subset.truths)
        for subset in subsets
    ]
    seal = blank_seal("evaluation report")
    with sealed_file(path, "evaluation report") as temporary:
        page = render(title, [", ".join(scored)], sections, footer=_FOOTER, mark=seal)
        temporary.write_text(page, encoding="utf-8")


def _headline(boards: Sequence[Scoreboard]) -> Section:
    names = list(boards[0].subsets)
    rows = []
    if len(names) > 1:
        header = ["system", "", "Avg.", *(COLUMN_NAMES.get(name, name) for name in names)]
        for board in boards:
            for metric, digits in (("cgF1", 1), ("IL_MCC", 2), ("pmF1", 1)):
                cells = [fixed(getattr(one, metric), digits) for one in board.subsets.values()]
                name = board.system if metric == "cgF1" else ""
                rows.append([name, metric, fixed(board.mean[metric], digits), *cells])
    else:
        header = ["system", "cgF1", "IL_MCC", "pmF1", "pairs", "with the phrase", "without"]
        for board in boards:
            there = int((board.scores.truths > 0).sum())
            counts = [f"{len(board.scores):,}", f"{there:,}", f"{len(board.scores) - there:,}"]
            digits_of = (("cgF1", 2), ("IL_MCC", 3), ("pmF1", 2))
            rows.append([board.system, *(fixed(board.mean[metric], digits) for metric, digits in digits_of), *counts])
    warnings = list(dict.fromkeys(text for board in boards for one in board.subsets.values() for text in one.warnings))
    return Section("scores", "Scores", "", [Table("All pairs", header, rows)], remarks=warnings)


def _thresholds(boards: Sequence[Scoreboard]) -> Section:
    charts = []
    for metric, name in (("cgF1", "cgF1"), ("positive_micro_F1", "pmF1")):
        lines = []
        for board in boards:
            curves = [100 * one.summary[metric] for one in board.subsets.values()]
            lines.append(Line(board.system, IOU_THRESHOLDS.tolist(), np.mean(curves, axis=0).tolist()))
        title = f"{name} by IoU threshold"
        charts.append(LineChart(f"{name}-by-iou", title, "IoU threshold", name, lines, y_range=(0.0, 100.0)))
    lead = "A curve that falls steeply means loose outlines: the objects are found, but not drawn well."
    return Section("outlines", "How tight the outlines are", lead, figures=list(charts))


def _comparisons(document: Mapping[str, Any]) -> Iterator[Section]:
    first = document["comparisons"]["first"]
    for number, (second, found) in enumerate(document["comparisons"]["with"].items()):
        rows = []
        for name, change in found["differences"].items():
            digits = 3 if name == "IL_MCC" else 2
            interval = f"[{signed(change['low'], digits)}, {signed(change['high'], digits)}]"
            verdict = ("better" if change["difference"] > 0 else "worse") if change["clear"] else "no clear difference"
            values = [fixed(change[key], digits) for key in ("first", "second")]
            rows.append([name, *values, signed(change["difference"], digits), interval, verdict])
        lead = (
            f"Bootstrap of {found['resamples']:,} draws of the {found['images']:,} images, both systems on the same "
            f"draws. {second} answers “is it there?” right in {found['won']:,} pairs where {first} does not, and wrong "
            f"in {found['lost']:,} where {first} is right."
        )
        header = ["", first, second, "difference", "95 % interval", f"{second} is"]
        tables = [Table("Differences", header, rows), _group_changes(found["groups"]), *_flips(found["flips"])]
        yield Section(f"comparison-{number}", f"{second} against {first}", lead, tables)


def _group_changes(groups: Mapping[str, Any]) -> Table:
    rows: list[list[str]] = []
    for kind, parts in groups.items():
        for name, row in parts.items():
            cells = [
                _difference(row[metric]["difference"], metric) for metric in ("cgF1", "IL_MCC", "pmF1", "presence")
            ]
            rows.append([_group_name(kind, name), f"{row['pairs']:,}", *cells])
    title = "Where the difference comes from (second minus first)"
    return Table(title, ["group", "pairs", "cgF1", "IL_MCC", "pmF1", "presence right"], rows)


def _group_name(kind: str, name: str) -> str:
    """A group as a table of several kinds calls it."""
    if kind != "instances":
        return name
    return {"none": "no instance", "1": "1 instance"}.get(name, f"{name} instances")


def _flips(flips: Sequence[Mapping[str, Any]]) -> Iterator[Table]:
    rows = [
        [
            flip["prompt"],
            flip["file_name"],
            "is there" if flip["present"] else "is not there",
            "won" if flip["won"] else "lost",
        ]
        for flip in flips[:_FLIPS_SHOWN]
    ]
    more = f", the first {_FLIPS_SHOWN}" if len(flips) > _FLIPS_SHOWN else ""
    if rows:
        yield Table(f"Prompts that flipped ({len(flips):,}{more})", ["prompt", "image", "the phrase", "flip"], rows)


def _groups(system: str, groups: Mapping[str, Any]) -> Section:
    titles = {"prompt_length": "Prompt length", "instances": "Instances in the pair", "words": "Words"}
    tables = []
    for kind, rows in groups.items():
        cells = [
            [
                name,
                f"{row['pairs']:,}",
                _value(row["cgF1"], 1),
                _value(row["IL_MCC"], 3),
                _value(row["pmF1"], 1),
                f"{row['presence']:.1f} %",
            ]
            for name, row in rows.items()
        ]
        tables.append(Table(titles[kind], ["", "pairs", "cgF1", "IL_MCC", "pmF1", "presence right"], cells))
    return Section(_key("groups", system), f"{system}: which pairs are hard", "", tables)


def _calibration(system: str, calibration: Mapping[str, Any]) -> Section:
    parts = {"": calibration} if "best" in calibration else calibration
    rows: list[list[str]] = []
    charts: list[Figure] = []
    for name, part in parts.items():
        two = ("best_presence", "best_query", "best", "held_out", "official")
        numbers = [fixed(part[key], 2) for key in two]
        rows.append([name or "all pairs", *numbers, fixed(part["presence_calibration_error"], 3)])
        charts += [_reliability(system, name, part), _surface(system, name, part)]
    header = ["", "best presence", "best query", "cgF1 there", "cgF1 held out", "cgF1 at 0.5", "calibration error"]
    lead = (
        "The best thresholds are found on the pairs they are scored on; held out chooses them on half of the images "
        "and scores the other half."
    )
    tables = [Table("Thresholds", header, rows)]
    return Section(_key("calibration", system), f"{system}: thresholds and reliability", lead, tables, charts)


def _reliability(system: str, name: str, part: Mapping[str, Any]) -> LineChart:
    lines = [
        Line(kind, [bin["mean"] for bin in part[f"{kind}_curve"]], [bin["right"] for bin in part[f"{kind}_curve"]])
        for kind in ("presence", "query")
    ]
    lines.append(Line("as it should be", [0.0, 1.0], [0.0, 1.0], dashed=True, color=7))
    title = f"reliability{f' ({name})' if name else ''}: share right by score"
    return LineChart(_key("reliability", system, name), title, "score", "share right", lines, y_range=(0.0, 1.0))


def _surface(system: str, name: str, part: Mapping[str, Any]) -> Surface:
    grid = list(part["grid"])
    best = grid.index(part["best_presence"]), grid.index(part["best_query"])
    title = f"cgF1{f' ({name})' if name else ''} by thresholds"
    key = _key("surface", system, name)
    return Surface(key, title, "query threshold", "presence threshold", grid, part["surface"], best)


def _cases(
    board: Scoreboard, subsets: Sequence[Subset], predictions: Mapping[str, Predictions], images: Path | None
) -> Iterator[Section]:
    """The worst pairs of each kind, ground truth beside prediction."""
    candidates = [
        (kind, weight, row, subset)
        for subset in subsets
        for kind, weight, row in _worst_rows(board.subsets[subset.name].scores)
    ]
    cases = {}
    for kind, title in _KINDS.items():
        worst = sorted((one for one in candidates if one[0] == kind), key=lambda one: -one[1])[:_CASES]
        if worst:
            cases[title] = [
                _case(board.subsets[subset.name].scores, row, subset, predictions[subset.name], images)
                for _, _, row, subset in worst
            ]
    if cases:
        lead = "Left: ground truth. Right: predictions that count (score 0.5 and more)."
        yield Section(_key("cases", board.system), f"{board.system}: worst cases", lead, cases=cases)


def _worst_rows(scores: PairScores) -> list[tuple[str, float, int]]:
    """Candidates with how bad they are: objects lost or invented, and for false alarms the score."""
    there, predicted = scores.truths > 0, scores.predictions > 0
    loss = (1 - scores.f1.mean(axis=1)) * np.maximum(scores.truths, scores.predictions)
    rows: list[tuple[str, float, int]] = []
    for kind, mask, weight in (
        ("poor", there & predicted & (loss > _NO_LOSS), loss),
        ("missed", there & ~predicted, scores.truths.astype(np.float64)),
        ("false", ~there & predicted, scores.predictions.astype(np.float64)),
    ):
        candidates = np.flatnonzero(mask)
        worst = candidates[np.argsort(-weight[candidates], kind="stable")][:_CASES]
        rows.extend((kind, float(weight[row]), int(row)) for row in worst)
    return rows


def _case(scores: PairScores, row: int, subset: Subset, predictions: Predictions, images: Path | None) -> Case:
    pair = scores.pairs[row]
    truth = subset.truths[int(scores.annotator[row])]
    objects = [region for region in truth.regions.get(pair.id, ()) if not region.crowd]
    found = [region for region in predictions.of_pair(pair.id, truth) if region.score >= SCORE_THRESHOLD]
    photo = _photo(pair, images)
    pictures = [
        (shown, data_uri(_drawn(photo, regions, pair)))
        for shown, regions in (("ground truth", objects), ("prediction", found))
    ]
    best = ", ".join(f"{region.score:.2f}" for region in sorted(found, key=lambda region: -region.score)[:5])
    facts = (
        f"{len(objects)} there, {len(found)} predicted, F1 {100 * float(scores.f1[row].mean()):.0f}"
        + (f"; scores {best}" if best else "")
        + (f"; annotator {int(scores.annotator[row]) + 1}" if len(subset.truths) > 1 else "")
    )
    return Case(pair.prompt, [facts, f"{pair.file_name} (pair {pair.id})"], pictures)


def _photo(pair: Pair, images: Path | None) -> Image.Image:
    """The pair's photo at a small size; gray where there is none."""
    height, width = pair.size
    scale = _THUMBNAIL / max(height, width)
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    if images is None or not (images / pair.file_name).is_file():
        return Image.new("RGB", small, _GRAY)
    return Image.fromarray(read_image(images / pair.file_name)).resize(small, Image.Resampling.BILINEAR)


def _drawn(photo: Image.Image, regions: Sequence[Region], pair: Pair) -> Image.Image:
    """The photo with regions filled and outlined, one color each."""
    masks = Masks(pair.size, tuple(_mask(region, pair) for region in regions))
    return draw_masks(photo.copy(), masks, np.arange(len(masks)))


def _mask(region: Region, pair: Pair) -> bytes:
    """A region's run lengths; a box is filled."""
    if isinstance(region.shape, bytes):
        return region.shape
    x, y, width, height = region.shape
    box = np.array([x, y, x + width, y + height])
    if box.max() <= 2:  # fractions of the image
        box *= [pair.size[1], pair.size[0], pair.size[1], pair.size[0]]
    return filled([corners_of(box.tolist())], pair.size)


def _key(*names: str) -> str:
    """An anchor of letters, digits and dashes; a system's name may hold anything."""
    parts = ("".join(one if one.isalnum() else f"_{ord(one):x}" for one in name) for name in names if name)
    return "-".join(parts)


def _value(value: float | None, digits: int) -> str:
    return "–" if value is None else fixed(value, digits)


def _difference(value: float | None, metric: str) -> str:
    return "–" if value is None else signed(value, 3 if metric == "IL_MCC" else 1)
