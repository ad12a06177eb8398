"""One HTML file that shows a score: the numbers, where they come from, and the worst cases drawn.

The file holds everything (pictures as JPEG inside, charts as SVG) and asks nothing of a network, so it can be mailed
and kept.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..files import write_text
from ..images import read_image
from ..outputs import mark
from ..results.formats.saco import Pair, Predictions, Region
from ..results.rle import decode
from .image import IOU_THRESHOLDS, SCORE_THRESHOLD, PairScores
from .tables import COLUMN_NAMES, Scoreboard, Subset

_CASES = 6
_THUMBNAIL = 420
_FLIPS_SHOWN = 24
_COLOURS = ("#3266ad", "#d1611f", "#2f8f4e", "#8e4bb5", "#b3374f", "#7a7a20")
_MASK_COLOURS = np.array(
    [[230, 75, 53], [77, 157, 224], [60, 170, 90], [240, 180, 40], [150, 90, 200], [20, 170, 170], [230, 110, 170]]
)
_KINDS = {
    "poor": "Found, but badly drawn or counted",
    "missed": "Missed: it is there, nothing was predicted",
    "false": "False alarms: it is not there, something was predicted",
}


def write_report(
    path: Path,
    boards: Sequence[Scoreboard],
    subsets: Sequence[Subset],
    predictions: Mapping[str, Mapping[str, Predictions]],
    document: Mapping[str, Any],
    *,
    images: Path | None = None,
) -> None:
    """Write the report of one or several systems; ``document`` is what ``litetext evaluate --json`` prints for them.

    ``images``: the folder of the photos, to draw the cases on; without it they are drawn on grey.
    """
    facts = {board.system: document if len(boards) == 1 else document["systems"][board.system] for board in boards}
    sections = [_headline(boards), _thresholds(boards)]
    if len(boards) > 1:
        sections.append(_comparisons(document))
    for board in boards:
        sections.append(_groups(board.system, facts[board.system]["groups"]))
    for board in boards:
        if "calibration" in facts[board.system]:
            sections.append(_calibration(board.system, facts[board.system]["calibration"]))
    for board in boards:
        sections.append(_cases(board, subsets, predictions[board.system], images))
    title = f"{' and '.join(board.system for board in boards)} on {len(boards[0].scores):,} pairs"
    write_text(path, _page(title, sections))


def _page(title: str, sections: Sequence[str]) -> str:
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="{html.escape(mark("evaluation report"))}">
<title>{html.escape(title)}</title><style>{_STYLE}</style></head>
<body><main><h1>{html.escape(title)}</h1>
{"".join(sections)}
<footer>Written by litetext evaluate. cgF1 = pmF1 × IL_MCC, in percent; definitions as in SA-Co's official evaluator.
</footer></main></body></html>
"""


_STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #f6f6f3; color: #222; font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 24px 20px 60px; }
h1 { font-size: 26px; line-height: 1.25; }
h2 { font-size: 19px; margin: 36px 0 8px; }
h3 { font-size: 15px; margin: 20px 0 8px; }
table { border-collapse: collapse; background: #fff; margin: 8px 0; }
th, td { padding: 5px 12px; border: 1px solid #ddd; text-align: right; font-variant-numeric: tabular-nums; }
td:first-child, th:first-child, .words th, .words td { text-align: left; }
th { background: #eee; font-weight: 600; }
.wide { overflow-x: auto; }
.note { color: #666; max-width: 75ch; }
.charts { display: flex; flex-wrap: wrap; gap: 16px; }
svg { background: #fff; border: 1px solid #ddd; }
.cases { display: grid; grid-template-columns: repeat(auto-fill, minmax(500px, 1fr)); gap: 14px; }
figure { margin: 0; background: #fff; border: 1px solid #ddd; padding: 10px; }
figure .pair { display: flex; gap: 6px; }
figure img { width: calc(50% - 3px); display: block; }
figcaption { margin-top: 6px; }
.small, footer { color: #666; font-size: 13px; }
footer { margin-top: 48px; }
@media (max-width: 560px) { .cases { grid-template-columns: 1fr; } th, td { padding: 4px 7px; } }
"""


def _headline(boards: Sequence[Scoreboard]) -> str:
    names = list(boards[0].subsets)
    if len(names) > 1:
        header = ["system", "", "Avg.", *(COLUMN_NAMES.get(name, name) for name in names)]
        rows = []
        for board in boards:
            for metric, digits in (("cgF1", 1), ("IL_MCC", 2), ("pmF1", 1)):
                cells = [f"{getattr(one, metric):.{digits}f}" for one in board.subsets.values()]
                name = board.system if metric == "cgF1" else ""
                rows.append([name, metric, f"{board.mean[metric]:.{digits}f}", *cells])
    else:
        header = ["system", "cgF1", "IL_MCC", "pmF1", "pairs", "with the phrase", "without"]
        rows = []
        for board in boards:
            there = int((board.scores.truths > 0).sum())
            counts = [f"{len(board.scores):,}", f"{there:,}", f"{len(board.scores) - there:,}"]
            rows.append([board.system, *_formatted(board.mean), *counts])
    warnings = list(dict.fromkeys(text for board in boards for one in board.subsets.values() for text in one.warnings))
    notes = "".join(f'<p class="note">{html.escape(text)}</p>' for text in warnings)
    return f'<h2>Scores</h2><div class="wide">{_table(header, rows)}</div>{notes}'


def _formatted(mean: Mapping[str, float]) -> list[str]:
    return [f"{mean['cgF1']:.2f}", f"{mean['IL_MCC']:.3f}", f"{mean['pmF1']:.2f}"]


def _thresholds(boards: Sequence[Scoreboard]) -> str:
    """cgF1 and pmF1 by IoU threshold: steep curves mean loose outlines."""
    charts = []
    for metric, title in (("cgF1", "cgF1 by IoU threshold"), ("positive_micro_F1", "pmF1 by IoU threshold")):
        lines = {}
        for board in boards:
            curves = [100 * one.summary[metric] for one in board.subsets.values()]
            lines[board.system] = list(zip(IOU_THRESHOLDS.tolist(), np.mean(curves, axis=0).tolist(), strict=True))
        charts.append(_line_chart(title, lines, (0.5, 0.95), (0.0, 100.0)))
    return f'<h2>How tight the outlines are</h2><div class="charts">{"".join(charts)}</div>'


def _comparisons(document: Mapping[str, Any]) -> str:
    parts = []
    first = document["comparisons"]["first"]
    for second, found in document["comparisons"]["with"].items():
        rows = []
        for name, change in found["differences"].items():
            digits = 3 if name == "IL_MCC" else 2
            interval = f"[{change['low']:+.{digits}f}, {change['high']:+.{digits}f}]"
            verdict = ("better" if change["difference"] > 0 else "worse") if change["clear"] else "no clear difference"
            values = [f"{change[key]:.{digits}f}" for key in ("first", "second")]
            rows.append([name, *values, f"{change['difference']:+.{digits}f}", interval, verdict])
        header = ["", first, second, "difference", "95 % interval", f"{second} is"]
        text = (
            f"Bootstrap of {found['resamples']:,} draws of the {found['images']:,} images, both systems on the same "
            f"draws. {second} answers “is it there?” right in {found['won']:,} pairs where {first} does not, and wrong "
            f"in {found['lost']:,} where {first} is right."
        )
        parts.append(
            f"<h2>{html.escape(second)} against {html.escape(first)}</h2><div class='wide'>{_table(header, rows)}</div>"
            f'<p class="note">{html.escape(text)}</p>{_group_changes(found["groups"])}{_flips(found["flips"])}'
        )
    return "".join(parts)


def _group_changes(groups: Mapping[str, Any]) -> str:
    header = ["group", "pairs", "cgF1", "IL_MCC", "pmF1", "presence right"]
    rows: list[list[str]] = []
    for kind, parts in groups.items():
        for name, row in parts.items():
            cells = [_signed(row[metric]["difference"], metric) for metric in ("cgF1", "IL_MCC", "pmF1", "presence")]
            rows.append([f"{name} instances" if kind == "instances" else name, f"{row['pairs']:,}", *cells])
    return (
        f"<h3>Where the difference comes from (second minus first)</h3><div class='wide'>{_table(header, rows)}</div>"
    )


def _flips(flips: Sequence[Mapping[str, Any]]) -> str:
    if not flips:
        return ""
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
    table = _table(["prompt", "image", "the phrase", "flip"], rows, "words")
    return f"<h3>Prompts that flipped ({len(flips):,}{more})</h3><div class='wide'>{table}</div>"


def _groups(system: str, groups: Mapping[str, Any]) -> str:
    titles = {"prompt_length": "prompt length", "instances": "instances in the pair", "words": "words"}
    parts = []
    for kind, rows in groups.items():
        header = [titles[kind], "pairs", "cgF1", "IL_MCC", "pmF1", "presence right"]
        cells = [
            [
                name,
                f"{row['pairs']:,}",
                _plain(row["cgF1"], 1),
                _plain(row["IL_MCC"], 3),
                _plain(row["pmF1"], 1),
                f"{row['presence']:.1f} %",
            ]
            for name, row in rows.items()
        ]
        parts.append(f"<div class='wide'>{_table(header, cells)}</div>")
    return f"<h2>{html.escape(system)}: which pairs are hard</h2>{''.join(parts)}"


def _calibration(system: str, calibration: Mapping[str, Any]) -> str:
    parts = {"": calibration} if "best" in calibration else calibration
    rows, charts = [], []
    for name, part in parts.items():
        rows.append(
            [
                name or "all pairs",
                f"{part['best_presence']:.2f}",
                f"{part['best_query']:.2f}",
                f"{part['best']:.2f}",
                f"{part['held_out']:.2f}",
                f"{part['official']:.2f}",
                f"{part['presence_calibration_error']:.3f}",
            ]
        )
        lines = {
            "presence": [(bin["mean"], bin["right"]) for bin in part["presence_curve"]],
            "query": [(bin["mean"], bin["right"]) for bin in part["query_curve"]],
        }
        title = f"reliability{f' ({name})' if name else ''}: share right by score"
        charts.append(_line_chart(title, lines, (0.0, 1.0), (0.0, 1.0), diagonal=True))
        charts.append(_surface(part))
    header = ["", "best presence", "best query", "cgF1 there", "cgF1 held out", "cgF1 at 0.5", "calibration error"]
    note = (
        "The best thresholds are found on the pairs they are scored on; held out chooses them on half of the images "
        "and scores the other half."
    )
    return (
        f"<h2>{html.escape(system)}: thresholds and reliability</h2><div class='wide'>{_table(header, rows)}</div>"
        f'<p class="note">{note}</p><div class="charts">{"".join(charts)}</div>'
    )


def _cases(
    board: Scoreboard, subsets: Sequence[Subset], predictions: Mapping[str, Predictions], images: Path | None
) -> str:
    """The worst pairs of each kind, ground truth beside prediction."""
    cases = [
        (kind, weight, row, subset)
        for subset in subsets
        for kind, weight, row in _worst_rows(board.subsets[subset.name].scores)
    ]
    parts = [f"<h2>{html.escape(board.system)}: worst cases</h2>"]
    for kind, title in _KINDS.items():
        worst = sorted((case for case in cases if case[0] == kind), key=lambda case: -case[1])[:_CASES]
        figures = [
            _figure(board.subsets[subset.name].scores, row, subset, predictions[subset.name], images)
            for _, _, row, subset in worst
        ]
        if figures:
            parts.append(f"<h3>{title}</h3><div class='cases'>{''.join(figures)}</div>")
    note = "Left: ground truth. Right: predictions that count (score 0.5 and more)."
    return "".join([parts[0], f'<p class="note">{note}</p>', *parts[1:]]) if len(parts) > 1 else ""


def _worst_rows(scores: PairScores) -> list[tuple[str, float, int]]:
    """Candidates with how bad they are: objects lost or invented, and for false alarms the score."""
    there, predicted = scores.truths > 0, scores.predictions > 0
    loss = (1 - scores.f1.mean(axis=1)) * np.maximum(scores.truths, scores.predictions)
    rows: list[tuple[str, float, int]] = []
    for kind, mask, weight in (
        ("poor", there & predicted & (loss > 0), loss),
        ("missed", there & ~predicted, scores.truths.astype(np.float64)),
        ("false", ~there & predicted, scores.predictions.astype(np.float64)),
    ):
        candidates = np.flatnonzero(mask)
        worst = candidates[np.argsort(-weight[candidates], kind="stable")][:_CASES]
        rows.extend((kind, float(weight[row]), int(row)) for row in worst)
    return rows


def _figure(scores: PairScores, row: int, subset: Subset, predictions: Predictions, images: Path | None) -> str:
    pair = scores.pairs[row]
    truth = subset.truths[int(scores.annotator[row])]
    objects = [region for region in truth.regions.get(pair.id, ()) if not region.crowd]
    found = [region for region in predictions.of_pair(pair.id, truth) if region.score >= SCORE_THRESHOLD]
    photo = _photo(pair, images)
    drawings = "".join(
        f'<img alt="{label}" src="data:image/jpeg;base64,{_jpeg(_drawn(photo, regions, pair))}">'
        for label, regions in (("ground truth", objects), ("prediction", found))
    )
    best = ", ".join(f"{region.score:.2f}" for region in sorted(found, key=lambda region: -region.score)[:5])
    facts = (
        f"{len(objects)} there, {len(found)} predicted, F1 {100 * float(scores.f1[row].mean()):.0f}"
        + (f"; scores {best}" if best else "")
        + (f"; annotator {int(scores.annotator[row]) + 1}" if len(subset.truths) > 1 else "")
    )
    return (
        f'<figure><div class="pair">{drawings}</div><figcaption><b>{html.escape(pair.prompt)}</b>'
        f'<div class="small">{html.escape(facts)}<br>{html.escape(f"{pair.file_name} (pair {pair.id})")}</div>'
        "</figcaption></figure>"
    )


def _photo(pair: Pair, images: Path | None) -> NDArray[np.uint8]:
    """The pair's photo, small; grey where there is none."""
    from PIL import Image

    height, width = pair.size
    scale = min(1.0, _THUMBNAIL / max(height, width)) if max(height, width) > _THUMBNAIL else 1.0
    small = (max(1, round(height * scale)), max(1, round(width * scale)))
    if images is None or not (images / pair.file_name).is_file():
        return np.full((*small, 3), 225, dtype=np.uint8)
    photo = Image.fromarray(read_image(images / pair.file_name))
    return np.asarray(photo.resize((small[1], small[0]), Image.Resampling.BILINEAR))


def _drawn(photo: NDArray[np.uint8], regions: Sequence[Region], pair: Pair) -> NDArray[np.uint8]:
    """The photo with regions tinted and outlined, one colour each."""
    picture = photo.astype(np.float64)
    for number, region in enumerate(regions):
        mask = _small_mask(region, pair, (photo.shape[0], photo.shape[1]))
        colour = _MASK_COLOURS[number % len(_MASK_COLOURS)]
        picture[mask] = 0.5 * picture[mask] + 0.5 * colour
        picture[mask & ~_inside(mask)] = colour
    return picture.astype(np.uint8)


def _small_mask(region: Region, pair: Pair, size: tuple[int, int]) -> NDArray[np.bool_]:
    """A region at the size of the thumbnail; a box becomes its filled rectangle."""
    if isinstance(region.shape, bytes):
        mask = decode(region.shape, pair.size)
        rows = np.arange(size[0]) * pair.size[0] // size[0]
        columns = np.arange(size[1]) * pair.size[1] // size[1]
        return np.asarray(mask[np.ix_(rows, columns)])
    x, y, width, height = region.shape
    unit = (1.0, 1.0) if max(x + width, y + height) <= 2 else (float(pair.size[1]), float(pair.size[0]))
    left, right = (round(side / unit[0] * size[1]) for side in (x, x + width))
    top, bottom = (round(side / unit[1] * size[0]) for side in (y, y + height))
    mask = np.zeros(size, dtype=bool)
    mask[max(top, 0) : bottom, max(left, 0) : right] = True
    return mask


def _inside(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask without its outermost pixels."""
    padded = np.pad(mask, 1)
    return padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]


def _jpeg(picture: NDArray[np.uint8]) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=85)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "numbers") -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table class='{kind}'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _plain(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _signed(value: float | None, metric: str) -> str:
    return "–" if value is None else f"{value:+.{3 if metric == 'IL_MCC' else 1}f}"


def _line_chart(
    title: str,
    lines: Mapping[str, Sequence[tuple[float, float]]],
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    diagonal: bool = False,
) -> str:
    """Lines through points in an SVG with axes, ticks and a legend."""
    left, top, width, height = 44, 34, 420, 240

    def x(value: float) -> float:
        return left + (value - x_range[0]) / (x_range[1] - x_range[0]) * width

    def y(value: float) -> float:
        return top + height - (value - y_range[0]) / (y_range[1] - y_range[0]) * height

    parts = [f'<text x="{left}" y="20" font-size="14" font-weight="600">{html.escape(title)}</text>']
    for step in range(6):
        value = y_range[0] + step * (y_range[1] - y_range[0]) / 5
        parts.append(
            f'<line x1="{left}" x2="{left + width}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#e4e4e4"/>'
        )
        parts.append(f'<text x="{left - 6}" y="{y(value) + 4:.1f}" font-size="11" text-anchor="end">{value:g}</text>')
    ticks = np.linspace(*x_range, 10 if x_range[0] else 6)
    for value in ticks.tolist():
        parts.append(
            f'<text x="{x(value):.1f}" y="{top + height + 16}" font-size="11" text-anchor="middle">{value:.2g}</text>'
        )
    if diagonal:
        parts.append(
            f'<line x1="{x(x_range[0])}" y1="{y(y_range[0])}" x2="{x(x_range[1])}" y2="{y(y_range[1])}" '
            'stroke="#999" stroke-dasharray="4 4"/>'
        )
    for number, (name, points) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.extend(f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="3" fill="{colour}"/>' for a, b in points)
        down = top + height + 36 + 17 * number
        parts.append(f'<rect x="{left}" y="{down - 9}" width="12" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{left + 18}" y="{down}" font-size="12">{html.escape(name)}</text>')
    total = top + height + 36 + 17 * len(lines)
    return f'<svg width="{left + width + 20}" height="{total}" role="img">{"".join(parts)}</svg>'


def _surface(part: Mapping[str, Any]) -> str:
    """cgF1 for every pair of thresholds, the best cell framed."""
    grid, values = part["grid"], np.asarray(part["surface"])
    cell, left, top = 13, 48, 34
    low, high = float(values.min()), max(float(values.max()), float(values.min()) + 1e-9)
    side = cell * len(grid)
    parts = [
        f'<text x="{left}" y="20" font-size="14" font-weight="600">cgF1 by thresholds ({low:.0f} to {high:.0f})</text>'
    ]
    for row, presence in enumerate(grid):
        for column, query in enumerate(grid):
            shade = (values[row, column] - low) / (high - low)
            colour = f"hsl(213 55% {96 - 62 * shade:.0f}%)"
            best = presence == part["best_presence"] and query == part["best_query"]
            frame = ' stroke="#d1611f" stroke-width="2"' if best else ""
            parts.append(
                f'<rect x="{left + column * cell}" y="{top + (len(grid) - 1 - row) * cell}" width="{cell - 1}" '
                f'height="{cell - 1}" fill="{colour}"{frame}><title>presence {presence}, query {query}: '
                f"{values[row, column]:.1f}</title></rect>"
            )
    for number in range(1, len(grid), 4):
        along = left + number * cell + cell / 2
        up = top + (len(grid) - 1 - number) * cell + cell / 2 + 4
        parts.append(
            f'<text x="{along}" y="{top + side + 14}" font-size="11" text-anchor="middle">{grid[number]:g}</text>'
        )
        parts.append(f'<text x="{left - 6}" y="{up}" font-size="11" text-anchor="end">{grid[number]:g}</text>')
    parts.append(f'<text x="{left}" y="{top + side + 32}" font-size="12">across: query threshold; up: presence</text>')
    return f'<svg width="{left + side + 20}" height="{top + side + 44}" role="img">{"".join(parts)}</svg>'
