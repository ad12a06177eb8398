"""What a written mini says of itself, and the phrases about what it knows; torch is not needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data import resolve
from ..json_files import read_json
from ..validation import from_values, ranged
from .concepts import CONCEPTS
from .language import Query, phrases
from .world import asks_new

FACTS = "mini.json"
"""The file of a written mini that holds what is known of it."""


def facts_of(folder: Path | None = None) -> dict[str, Any]:
    """Return what is known of a written mini (the shipped one by default): concepts, input size, figures."""
    path = (folder or resolve("mini")) / FACTS
    facts = read_json(path)
    from_values(_Facts, facts, str(path), others=True)
    return dict(facts)


@dataclass(frozen=True)
class _Facts:
    """What must be known of a written mini, beside what is said of it."""

    known_concepts: list[str]
    image_size: int = ranged(32, 4096)


def shipped_concepts() -> list[str]:
    """The names of the concepts that the shipped mini knows."""
    return list(facts_of()["known_concepts"])


def known_phrases(count: int, seed: int, *, folder: Path | None = None, new: bool | None = None) -> list[str]:
    """Return up to ``count`` distinct phrases about the concepts that a written mini (the shipped one) knows.

    ``new`` keeps only phrases with a colour that training never gave their concept (True), or only the others (False).
    """
    names = set(facts_of(folder)["known_concepts"])

    def wanted(query: Query) -> bool:
        return new is None or new == asks_new(query)

    return phrases([concept for concept in CONCEPTS if concept.name in names], count, seed, wanted)
