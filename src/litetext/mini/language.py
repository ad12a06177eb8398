"""The world's language: what a phrase means, of which objects it is true, and how people would write it.

A phrase is a `Query` (a concept, and perhaps a colour, a size, a place) put into words. Truth has three values: a
size between small and large, or a natural sprite that is half red, is neither, and a phrase for which any object
of the scene is "neither" is never asked. So every pair of the world has one right answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from .art import COLORS
from .concepts import WorldConcept

Rng = np.random.Generator
T = TypeVar("T")

SIZES = ("small", "large")
PLACES = ("left", "right", "top", "bottom")
PHRASE_KINDS = ("name", "synonym", "attribute", "referring")
"""name: the concept's name; synonym: another word for it; attribute: colour or size + noun; referring: longer."""

_SIZE_WORDS = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}
_PLACE_WORDS = {
    "left": ("on the left", "on the left side", "in the left half"),
    "right": ("on the right", "on the right side", "in the right half"),
    "top": ("at the top", "in the upper half", "near the top"),
    "bottom": ("at the bottom", "in the lower half", "near the bottom"),
}


WORDS = (
    "a an the every all of you can see that is which looks and be seen in on at near side half picture image scene "
    "left right top bottom upper lower small little tiny large big huge "
    "red orange yellow green blue purple pink gray grey"
)
"""Every word a phrase can hold beside the concept's own."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What can be said of an object: its concept, and what is true, false or neither (None) of it.

    Attributes:
        concept: what it is.
        truths: for colours, sizes and places: True, False or None; None too where nothing is said.
    """

    concept: WorldConcept
    truths: dict[str, bool | None]


@dataclass(frozen=True, slots=True)
class Query:
    """What a phrase asks for: a concept and any of its attributes."""

    concept: WorldConcept
    color: str | None = None
    size: str | None = None
    place: str | None = None

    @property
    def attributes(self) -> tuple[str, ...]:
        """The attributes asked for."""
        return tuple(value for value in (self.color, self.size, self.place) if value)

    def truth(self, traits: Traits) -> bool | None:
        """Is it true of an object? None where one could argue."""
        if traits.concept != self.concept:
            return False
        values = [traits.truths.get(attribute) for attribute in self.attributes]
        if any(value is False for value in values):
            return False
        return None if any(value is None for value in values) else True


def phrase(query: Query, rng: Rng, kind: str) -> str:
    """Put ``query`` into words of one of `PHRASE_KINDS`; "referring" draws on longer turns of phrase."""
    words = query.concept.words
    if kind == "synonym" and len(words) > 1:
        noun = words[int(rng.integers(1, len(words)))]
    elif kind in ("attribute", "referring"):
        noun = words[0] if rng.random() < 0.75 else pick(rng, words)
    else:
        noun = words[0]
    size = pick(rng, _SIZE_WORDS[query.size]) if query.size else ""
    color = query.color or ""
    if color == "gray" and rng.random() < 0.3:
        color = "grey"
    place = pick(rng, _PLACE_WORDS[query.place]) if query.place else ""
    described = " ".join(part for part in (size, color, noun) if part)
    if kind != "referring":
        article = pick(rng, ("", "", "", "a ", "the "))
        return f"{_article(article, described)}{described}" + (f" {place}" if place else "")
    return _referring(rng, noun, size, color, place, described)


def phrases(
    concepts: Sequence[WorldConcept], count: int, seed: int, wanted: Callable[[Query], bool] = lambda _: True
) -> list[str]:
    """Return up to ``count`` distinct phrases about ``concepts`` with up to two attributes, as scenes are asked them.

    Args:
        concepts: to speak of.
        count: the language is finite: a large count may not be reached.
        seed: of the phrases.
        wanted: keeps only some of the meanings.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, None] = {}
    for _ in range(20 * count):
        said = rng.choice(3, int(rng.integers(3)), replace=False)  # which attributes, at most two
        values = (COLORS, SIZES, PLACES)
        query = Query(pick(rng, concepts), *(pick(rng, values[slot]) if slot in said else None for slot in range(3)))
        if wanted(query):
            found[phrase(query, rng, pick(rng, PHRASE_KINDS))] = None
        if len(found) == count:
            break
    return list(found)


def _referring(rng: Rng, noun: str, size: str, color: str, place: str, described: str) -> str:
    where = f" {place}{pick(rng, ('', '', ' of the picture', ' of the image'))}" if place else ""
    that = " and ".join(part for part in (size, color) if part)
    plain = f"the {described}{where}"
    forms = [plain, f"{described}{where}", f"every {described}{where}", f"all of the {described} you can see{where}"]
    if that:
        forms += [f"the {noun} that is {that}{where}", f"a {noun} which looks {that}{where}"]
    if place:
        forms += [f"the {described} that is {place}", f"the {described} which can be seen {place} of the scene"]
    return pick(rng, forms)


def _article(article: str, following: str) -> str:
    return "an " if article == "a " and following[0] in "aeiou" else article


def pick(rng: Rng, choices: Sequence[T]) -> T:
    """Return one of ``choices``, all alike likely."""
    return choices[int(rng.integers(len(choices)))]
