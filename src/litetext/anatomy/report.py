"""The audit on disk: one self-contained page, PNGs, JSON, and the recipe."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..files import write_json, write_text
from ..outputs import OutputFolder
from ..progress import Progress, no_progress
from ..reports.page import Section, figures_of, render
from ..reports.png import save_pngs
from .audit import Audit
from .sections import sections


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
    return render(
        f"Audit of {len(audit.corpus):,} prompts",
        [", ".join(audit.corpus.sources), subject],
        parts,
        remarks_title="Beside the paper",
    )
