"""The world as all of SA-Co Gold: seven subsets that ask seven kinds of questions, each seen by three annotators.

Annotator ``a`` drew the scenes and so is exact. ``b`` and ``c`` are people with unsteady hands: each outlines an object
a pixel too wide, too tight or beside it, and now and then overlooks a small one. Scores take the best annotator of a
pair, as SA-Co does, so an exact answer still scores 100.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from ..files import write_json
from ..outputs import atomic_folder
from ..progress import Progress, no_progress, shifted
from ..results.formats.saco import STATISTICS
from .export import Annotator, DrawnPairs, draw_pairs, exact_masks, saco_document, statistics
from .language import Rng
from .world import CROWDS, DrawnPair, World, generator

ANNOTATORS = ("a", "b", "c")
_OVERLOOKED = 0.05
_SMALL = 0.02  # of the picture


@dataclass(frozen=True, slots=True)
class GoldSubset:
    """A kind of question.

    Attributes:
        name: of the subset, in its files' names.
        about: which part of SA-Co Gold it mirrors.
        crowds: the share of scenes that show a crowd.
        wanted: given a pair and the number of concepts known, is it of this kind?
    """

    name: str
    about: str
    wanted: Callable[[DrawnPair, Sequence[str]], bool] = field(repr=False)
    crowds: float = CROWDS


def _common(pair: DrawnPair, known: Sequence[str]) -> bool:
    return pair.kind == "name" and known.index(pair.query.concept.name) < len(known) / 2


def _rare(pair: DrawnPair, known: Sequence[str]) -> bool:
    return pair.kind == "name" and known.index(pair.query.concept.name) >= len(known) / 2


SUBSETS = (
    GoldSubset("common", "MetaCLIP: names of the first half of the concepts", _common),
    GoldSubset("rare", "SA-1B: names of the second half", _rare),
    GoldSubset("crowded", "Crowded: any phrase, in scenes with a crowd", lambda pair, _: True, crowds=1.0),
    GoldSubset(
        "food", "Food & Drink", lambda pair, _: pair.query.concept.kind in ("food", "fruit", "vegetable", "drink")
    ),
    GoldSubset("sports", "Sports Equipment, with what else is ridden or sailed", lambda pair, _: _sporty(pair)),
    GoldSubset("attributes", "Attributes: colours, sizes, places", lambda pair, _: bool(pair.query.attributes)),
    GoldSubset("wiki", "Wiki-Common: other words for it, and longer phrases", lambda pair, _: _wordy(pair)),
)


def _sporty(pair: DrawnPair) -> bool:
    return pair.query.concept.kind in ("sport", "vehicle")


def _wordy(pair: DrawnPair) -> bool:
    return pair.kind in ("synonym", "referring") and len(pair.query.attributes) < 2


def export_gold(
    concepts: Sequence[str],
    styles: Sequence[str],
    size: int,
    seed: int,
    pairs: int,
    folder: Path,
    progress: Progress = no_progress,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write seven subsets: ``annotations/gold_{subset}_merged_{a,b,c}_release_test.json``, ``images/``, ``stats.json``.

    Args:
        concepts: of the `World`.
        styles: of the `World`.
        size: of the `World`, in pixels.
        seed: of the scenes; every subset has scenes of its own.
        pairs: how many in every subset.
        folder: new, or an earlier world where ``overwrite`` says so.
        progress: counts the pairs of all subsets.
        overwrite: replace an earlier world.

    Returns:
        The statistics of every subset by name.
    """
    figures: dict[str, Any] = {}
    with atomic_folder(folder, "drawn world", overwrite=overwrite) as staged:
        (staged / "images").mkdir()
        (staged / "annotations").mkdir()
        for number, subset in enumerate(SUBSETS, start=1):
            world = World(concepts, styles, size, crowds=subset.crowds)
            part = shifted(progress, (number - 1) * pairs, len(SUBSETS) * pairs)
            drawn = _draw(subset, world, 100 * seed + number, pairs, part)
            for row, scene in enumerate(drawn.scenes):
                Image.fromarray(scene.image).save(staged / "images" / f"{subset.name}-{row:06d}.png")
            for hand, annotator in enumerate(ANNOTATORS):
                masks = exact_masks if hand == 0 else _unsteady(generator(seed, 10 * number + hand))
                document = saco_document(drawn, f"{subset.name}-", masks, first=1 + (number - 1) * pairs)
                name = f"gold_{subset.name}_merged_{annotator}_release_test.json"
                write_json(staged / "annotations" / name, document, indent=None)
            figures[subset.name] = {"mirrors": subset.about, **statistics(drawn)}
        write_json(staged / STATISTICS, {"seed": seed, "size": size, "subsets": figures})
    return figures


def _draw(subset: GoldSubset, world: World, seed: int, pairs: int, progress: Progress) -> DrawnPairs:
    known = [concept.name for concept in world.concepts]
    return draw_pairs(world, seed, pairs, progress, lambda pair: subset.wanted(pair, known))


def _unsteady(rng: Rng) -> Annotator:
    """The masks of an annotator whose hand is unsteady."""

    def masks(drawn: DrawnPairs, row: int, pair: DrawnPair) -> list[NDArray[np.bool_]]:
        exact = exact_masks(drawn, row, pair)
        seen = [mask for mask in exact if mask.mean() > _SMALL or rng.random() > _OVERLOOKED]
        return [_redrawn(mask, rng) for mask in seen or exact]

    return masks


def _redrawn(mask: NDArray[np.bool_], rng: Rng) -> NDArray[np.bool_]:
    """A mask outlined anew: a pixel wider, tighter or to the side, and never empty."""
    match rng.integers(4):
        case 0:
            drawn = ndimage.binary_dilation(mask)
        case 1:
            drawn = ndimage.binary_erosion(mask)
        case 2:
            drawn = ndimage.shift(mask, rng.integers(-1, 2, 2), order=0)
        case _:
            drawn = ndimage.median_filter(mask, 3)
    return drawn if drawn.any() else mask
