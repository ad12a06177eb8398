"""The end of a job in words and pictures: ``report.html``, ``report.json`` and the dataset's card."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..reports.charts import BarChart, Line, LineChart, number
from ..reports.page import Section, Table, render
from .concepts import Concept
from .job import Job
from .summary import BINS, Summary

_CHARTED = 24
_LISTED = 200
_BLOCKS = " ▁▂▃▄▅▆▇█"


def write_report(job: Job, summary: Summary, formats: Sequence[str]) -> None:
    """Write the report and the card into the job's folder."""
    out = job.output()
    with out.staged() as staged:
        (staged / "report.html").write_text(page(job, summary), encoding="utf-8")
        (staged / "report.json").write_text(json.dumps(summary.to_json(), ensure_ascii=False, indent=1) + "\n", "utf-8")
        (staged / "README.md").write_text(card(job, summary, formats), encoding="utf-8")


def sparkline(counts: Sequence[int]) -> str:
    """Return counts as a line of blocks, the highest count the highest block."""
    highest = max(counts, default=0)
    return "".join(_BLOCKS[-(-count * (len(_BLOCKS) - 1) // highest)] if highest else " " for count in counts)


def page(job: Job, summary: Summary) -> str:
    """Return the report as one HTML document."""
    sections = [_overview(summary), _concepts(summary), _scores(summary)]
    sections += [section for section in (_empty(summary), _failures(summary)) if section.tables]
    subtitle = [f"{summary.labeled:,} images", f"{summary.instances:,} instances", f"model {job.settings.model.name}"]
    return render(f"Labels of {len(job.concepts)} concepts", subtitle, sections)


def card(job: Job, summary: Summary, formats: Sequence[str]) -> str:
    """Return the dataset's card (Markdown), which says the same for the same images, concepts and settings."""
    settings = job.settings
    lines = [
        "---",
        "task_categories: [image-segmentation, object-detection]",
        f"formats: [{', '.join(formats)}]",
        "---",
        "# A dataset labelled by litetext",
        "",
        f"{summary.labeled:,} images ({summary.splits['train']:,} to train on, {summary.splits['val']:,} to validate "
        f"on, split by the hash of their content), {summary.instances:,} instances of {len(job.concepts)} concepts. "
        f"{summary.empty:,} images hold none of them; {summary.failed:,} could not be labelled (`failed.jsonl`); "
        f"{summary.duplicates:,} have the content of another; {summary.skipped:,} that look like another were skipped.",
        "",
        f"Labels were predicted by `{settings.model.name}`"
        + (f" with the text encoder `{settings.model.text}`" if settings.model.text else "")
        + ", and no person has looked at them but where a precision is stated below. Do not evaluate on them what was "
        "trained on them.",
        "",
        "| concept | instances | images | threshold | stated precision |",
        "|---|---|---|---|---|",
        *(
            f"| {_cell(one.name)} | {one.instances:,} | {one.images:,} | {one.threshold:g} | "
            f"{_cell(one.calibration or 'none: the threshold was chosen by hand')} |"
            for one in summary.concepts
        ),
        "",
        f"Two masks are one object above an IoU of {settings.rules.iou:g}"
        + (
            f", or where more than {settings.rules.containment:.0%} of one lies inside the other"
            if settings.rules.containment is not None
            else ""
        )
        + f"; across concepts: {settings.rules.across}. Phrases: {_phrases(job.concepts)}.",
    ]
    return "\n".join(lines) + "\n"


def _phrases(concepts: Sequence[Concept]) -> str:
    parts = []
    for concept in concepts:
        asked = [repr(word) for word in concept.words] + [f"{len(concept.examples)} examples"] * bool(concept.examples)
        against = f" against {', '.join(map(repr, concept.negatives))}" if concept.negatives else ""
        parts.append(f"{concept.name} ({', '.join(asked)}{against})")
    return "; ".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _overview(summary: Summary) -> Section:
    rate = summary.images_per_second
    rows = [
        ["images given", f"{summary.images:,}"],
        ["labelled", f"{summary.labeled:,}"],
        ["failed", f"{summary.failed:,}"],
        ["without anything", f"{summary.empty:,}"],
        ["of the same content as another", f"{summary.duplicates:,}"],
        ["skipped, since they look like another", f"{summary.skipped:,}"],
        ["to train on / to validate on", f"{summary.splits['train']:,} / {summary.splits['val']:,}"],
        ["labelled by the last run", f"{summary.new:,}" + (f", {number(rate)} a second" if rate else "")],
    ]
    return Section("overview", "Overview", "", [Table("Images", ["", ""], rows)], remarks=summary.warnings[:_CHARTED])


def _concepts(summary: Summary) -> Section:
    rows = [
        [
            one.name,
            f"{one.instances:,}",
            f"{one.images:,}",
            f"{one.threshold:g}",
            one.calibration or "by hand",
            ", ".join(one.nearest),
        ]
        for one in summary.concepts
    ]
    header = ["concept", "instances", "images", "threshold", "stated precision", "nearest that were found"]
    shown = summary.concepts[:_CHARTED]
    chart = BarChart(
        "counts",
        "Instances of each concept" + (f" (the first {_CHARTED})" if len(summary.concepts) > _CHARTED else ""),
        "instances",
        [one.name for one in shown],
        {"instances": [float(one.instances) for one in shown]},
    )
    lead = "Concepts that were never found name the nearest that were, by the mean of the text encoder's tokens."
    return Section("concepts", "Concepts", lead, [Table("Concepts", header, rows)], [chart])


def _scores(summary: Summary) -> Section:
    middles = [(place + 0.5) / BINS for place in range(BINS)]
    charts = [
        LineChart(
            f"scores-{row}",
            f"Scores of {one.name}",
            "score",
            "detections",
            [Line("detections", middles, [float(count) for count in one.histogram])],
            verticals=[(one.threshold, "threshold")],
        )
        for row, one in enumerate(summary.concepts[:_CHARTED])
        if any(one.histogram)
    ]
    lead = (
        "All detections of a concept's phrases from the lowest score that is kept, before thresholds and suppression. "
        "A threshold in a valley between two hills decides well; one on a hill does not."
    )
    return Section("scores", "Scores", lead, figures=list(charts))


def _empty(summary: Summary) -> Section:
    rows = [[name] for name in summary.empty_names[:_LISTED]]
    more = f", the first {_LISTED}" if summary.empty > _LISTED else ""
    tables = [Table(f"Images without anything ({summary.empty:,}{more})", ["image"], rows)] if rows else []
    return Section("empty", "Images without anything", "", tables)


def _failures(summary: Summary) -> Section:
    rows = [list(failure) for failure in summary.failures[:_LISTED]]
    more = f", the first {_LISTED}" if summary.failed > _LISTED else ""
    tables = [Table(f"Images that failed ({summary.failed:,}{more})", ["image", "reason"], rows)] if rows else []
    return Section("failed", "Images that failed", "", tables)
