"""The audit on disk: one self-contained page, PNGs, JSON, and the recipe."""

from __future__ import annotations

import html
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from .. import __version__
from ..files import write_json, write_text
from ..outputs import OutputFolder
from ..progress import Progress, no_progress
from .audit import Audit
from .figures import Figure, legend
from .png import save_pngs
from .sections import Section, Table, figures_of, sections
from .svg import svg


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """Where everything was written."""

    html: Path
    json: Path
    recipe: Path
    pictures: list[Path]


def write_report(audit: Audit, folder: Path, progress: Progress = no_progress) -> ReportFiles:
    """Write ``report.html``, ``report.json``, ``recipe.toml`` and ``figures/*.png`` into ``folder``: all, or nothing.

    Raises:
        LitetextError: one of them is there and not as an earlier audit left it.
    """
    parts = sections(audit)
    with OutputFolder(folder, "audit").staged() as staged:
        pictures = save_pngs(figures_of(parts), staged / "figures", progress)
        write_text(staged / "report.html", page(audit, parts))
        write_json(staged / "report.json", to_json(audit))
        write_text(staged / "recipe.toml", audit.recipe.to_toml())
    return ReportFiles(
        folder / "report.html",
        folder / "report.json",
        folder / "recipe.toml",
        [folder / "figures" / picture.name for picture in pictures],
    )


def to_json(audit: Audit) -> dict[str, Any]:
    """Return every figure of the audit as plain JSON values (never NaN; None where something does not apply)."""
    corpus = audit.corpus
    return {
        "litetext": __version__,
        "tokenizer": audit.tokenizer,
        "sample": audit.sample,
        "seed": audit.seed,
        "prompts": {
            "unique": len(corpus),
            "read": corpus.read,
            "duplicates": asdict(corpus.duplicates),
            "sources": {name: len(corpus.rows_of(name)) for name in corpus.sources},
        },
        "tokens": {
            **asdict(audit.context.tokens),
            "sources": {name: asdict(found) for name, found in audit.context.sources.items()},
            "histogram": audit.context.histogram,
        },
        "context_window": {str(length): asdict(window) for length, window in audit.context.windows.items()},
        "vocabulary": _plain_keys(asdict(audit.vocabulary)),
        "encoders": [_plain_keys(asdict(_without_long_lists(study))) for study in audit.encoders],
        "recipe": {
            **audit.recipe.student.to_dict(),
            "reasons": audit.recipe.reasons,
            "warnings": audit.recipe.warnings,
        },
    }


def _without_long_lists(study: Any) -> Any:
    """The study without the curve of the whole vocabulary's variance, which would be most of the file."""
    embedding = study.token_embedding
    return replace(
        study,
        token_embedding=replace(embedding, full=replace(embedding.full, variance=embedding.full.variance[:256])),
    )


def _plain_keys(value: Any) -> Any:
    """The same value with every key a string, as JSON has it."""
    if isinstance(value, dict):
        return {str(key): _plain_keys(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_keys(entry) for entry in value]
    return value


def page(audit: Audit, parts: list[Section]) -> str:
    """Return the whole report as one HTML document that needs nothing else."""
    subject = ", ".join(study.name for study in audit.encoders) or audit.tokenizer
    title = f"Audit of {len(audit.corpus):,} prompts"
    contents = "".join(f'<a href="#{part.key}">{html.escape(part.title)}</a>' for part in parts)
    body = "".join(_section(part) for part in parts)
    files = resources.files(__package__) / "page"
    style, script = ((files / name).read_text("utf-8") for name in _PAGE_FILES)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head><body>'
        f"<header><h1>{title}</h1><p>{html.escape(', '.join(audit.corpus.sources))} · {html.escape(subject)} · "
        f"litetext {__version__}</p><nav>{contents}</nav></header><main>{body}</main>"
        f'<div id="tip" hidden></div><script>{script}</script></body></html>\n'
    )


def _section(part: Section) -> str:
    first, *others = [_table(table) for table in part.tables]
    rest = "".join(others)
    figures = "".join(_figure(figure) for figure in part.figures)
    remarks = "".join(f"<li>{html.escape(remark)}</li>" for remark in part.remarks)
    aside = f"<aside><h3>Beside the paper</h3><ul>{remarks}</ul></aside>" if remarks else ""
    return (
        f'<section id="{part.key}"><h2>{html.escape(part.title)}</h2><p>{html.escape(part.lead)}</p>'
        f'{first}{aside}<div class="figures">{figures}</div>{rest}</section>'
    )


_PAGE_FILES = ("style.css", "script.js")
_LONG = 12  # rows from which a table is folded away


def _table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.header)
    rows = "".join("<tr>" + "".join(_cell(n, cell) for n, cell in enumerate(row)) + "</tr>" for row in table.rows)
    content = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    title = html.escape(table.title)
    if len(table.rows) > _LONG:
        return f"<details><summary>{title}</summary>{content}</details>"
    return f"<h3>{title}</h3>{content}"


def _cell(column: int, text: str) -> str:
    if column == 0:
        return f'<th scope="row">{html.escape(text)}</th>'
    return f"<td{' class=text' if len(text) > 40 else ''}>{html.escape(text)}</td>"


def _figure(figure: Figure) -> str:
    keys = "".join(
        f'<span class="key c{color} {kind}">{html.escape(name)}</span>' for name, color, kind in legend(figure)
    )
    return (
        f'<figure id="{figure.key}"><figcaption>{html.escape(figure.title)}</figcaption>'
        f'<div class="legend">{keys}</div>{svg(figure)}</figure>'
    )
