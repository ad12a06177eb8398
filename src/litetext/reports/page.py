"""One self-contained HTML page: sections of tables, charts and pictures, styled in one place for every report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources

from .. import __version__
from ..errors import extras_named
from .charts import Figure, legend
from .svg import svg

_FOLDED_FROM = 12  # rows from which a table is folded away


@dataclass(frozen=True, slots=True)
class Table:
    """Text in rows; the first column names the row."""

    title: str
    header: list[str]
    rows: list[list[str]]


@dataclass(frozen=True, slots=True)
class Case:
    """Pictures side by side, with what they show.

    Attributes:
        title: in bold.
        facts: lines below it.
        pictures: (what is shown, the ``src`` of an image) each.
    """

    title: str
    facts: list[str]
    pictures: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Section:
    """One question: what is asked and what was found.

    Attributes:
        key: anchor.
        title: the heading.
        lead: what the figures mean, and by which definition.
        tables: the first stands before the charts, the others behind them.
        figures: charts.
        remarks: what a reader must know before concluding.
        summary: what was found, in a sentence (the terminal's).
        cases: pictures, by the heading of their group.
    """

    key: str
    title: str
    lead: str
    tables: list[Table] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    summary: str = ""
    cases: dict[str, list[Case]] = field(default_factory=dict)


def render(
    title: str,
    subtitle: Sequence[str],
    sections: Sequence[Section],
    *,
    remarks_title: str = "Remarks",
    footer: str = "",
    mark: str = "",
) -> str:
    """Return a whole report as one HTML document that asks nothing of a network.

    Args:
        title: of the page.
        subtitle: what was examined, in a few words each; the version of litetext is added.
        sections: in reading order.
        remarks_title: what stands above a section's remarks.
        footer: a last line.
        mark: a seal to be known by as ours (see `litetext.outputs.sealed_file`).
    """
    with extras_named():
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates = resources.files(__package__) / "templates"
    style, script = (Markup((templates / name).read_text("utf-8")) for name in ("style.css", "script.js"))
    return environment.get_template("page.html").render(
        title=title,
        subtitle=[*subtitle, f"litetext {__version__}"],
        sections=sections,
        remarks_title=remarks_title,
        footer=footer,
        mark=mark,
        style=style,
        script=script,
        svg=lambda figure: Markup(svg(figure)),
        legend=legend,
        folded_from=_FOLDED_FROM,
    )


def figures_of(parts: Sequence[Section]) -> list[Figure]:
    """Every chart of some sections."""
    return [figure for part in parts for figure in part.figures]
