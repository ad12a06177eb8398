"""Pairs of the world as SA-Co Gold: a document any SA-Co evaluator reads, PNGs, and figures about both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..files import write_json
from ..outputs import atomic_folder
from ..progress import Progress, no_progress
from ..results import Masks
from ..results.formats import saco
from ..results.formats.saco import STATISTICS, TruthPair
from .language import PHRASE_KINDS
from .world import NEGATIVE_KINDS, DrawnPair, Scene, World, generator

PAIRS_A_SCENE = 4
_TRIES_A_SCENE = 12  # where only some pairs are wanted


@dataclass(frozen=True, slots=True, eq=False)
class DrawnPairs:
    """Scenes, and the pairs asked of each.

    Attributes:
        scenes: in the order they were drawn.
        asked: for each scene its pairs, in order; pair ids count through all of them from 1.
    """

    scenes: tuple[Scene, ...]
    asked: tuple[tuple[DrawnPair, ...], ...]

    @property
    def pairs(self) -> list[tuple[int, DrawnPair]]:
        """Every pair with the index of its scene, in the order of their ids."""
        return [(row, pair) for row, pairs in enumerate(self.asked) for pair in pairs]


Annotator = Callable[[DrawnPairs, int, DrawnPair], Sequence[NDArray[np.bool_]]]
"""From drawn pairs, the index of a scene and a pair to the masks of its answer, each [size, size]."""


def draw_pairs(
    world: World,
    seed: int,
    count: int,
    progress: Progress = no_progress,
    wanted: Callable[[DrawnPair], bool] | None = None,
) -> DrawnPairs:
    """Draw ``count`` pairs, at most four a scene; the same seed always gives the same ones.

    Args:
        world: to draw from.
        seed: of the scenes.
        count: of pairs.
        progress: counts pairs.
        wanted: keeps only some of the pairs, and of those never more negatives than positives.
    """
    scenes: list[Scene] = []
    asked: list[tuple[DrawnPair, ...]] = []
    index = total = 0
    while total < count:
        rng = generator(seed, index)
        index += 1
        scene = world.scene(rng)
        most = min(PAIRS_A_SCENE, count - total)
        asked_now = world.pairs(scene, rng, _TRIES_A_SCENE if wanted else most) if scene.objects else []
        pairs = tuple(asked_now if wanted is None else _balanced(filter(wanted, asked_now), asked))[:most]
        if pairs:
            scenes.append(scene)
            asked.append(pairs)
            total += len(pairs)
            progress(total, count)
    return DrawnPairs(tuple(scenes), tuple(asked))


def _balanced(pairs: Iterable[DrawnPair], before: Sequence[Sequence[DrawnPair]]) -> Iterator[DrawnPair]:
    """The pairs but for the negatives that would outnumber the positives, those ``before`` counted."""
    lead = sum(1 if pair.negative is None else -1 for asked in before for pair in asked)
    for pair in pairs:
        if pair.negative is None or lead > 0:
            lead += 1 if pair.negative is None else -1
            yield pair


def exact_masks(drawn: DrawnPairs, row: int, pair: DrawnPair) -> list[NDArray[np.bool_]]:
    """The masks as they were drawn."""
    return [drawn.scenes[row].mask(index) for index in pair.targets]


def saco_document(
    drawn: DrawnPairs, prefix: str = "", masks_of: Annotator = exact_masks, first: int = 1
) -> dict[str, Any]:
    """Return the SA-Co Gold document: an entry of ``images`` is a pair; one without annotations is a negative.

    Args:
        drawn: the pairs.
        prefix: of the file names of the scenes.
        masks_of: what the annotator outlined; as drawn by default.
        first: the id of the first pair.
    """
    pairs = (
        TruthPair(
            pair_id,
            f"{prefix}{scene_name(row)}",
            pair.text,
            Masks.from_dense(masks_of(drawn, row, pair), drawn.scenes[row].instances.shape),
            {"queried_category": pair.query.concept.name},
        )
        for pair_id, (row, pair) in enumerate(drawn.pairs, start=first)
    )
    description = "litetext's small world: drawn scenes with exact masks"
    return saco.document(pairs, description, "litetext mini world")


def statistics(drawn: DrawnPairs) -> dict[str, Any]:
    """Return what the pairs are: how many, negatives by kind, phrases by kind, objects a scene, concepts."""
    pairs = [pair for _, pair in drawn.pairs]
    negatives = Counter(pair.negative for pair in pairs if pair.negative)
    hard = sum(number for kind, number in negatives.items() if kind != "easy")
    counts = [len(scene.objects) for scene in drawn.scenes]
    return {
        "pairs": len(pairs),
        "scenes": len(drawn.scenes),
        "negatives": sum(negatives.values()),
        "negative_share": sum(negatives.values()) / len(pairs),
        "hard_share_of_negatives": hard / max(sum(negatives.values()), 1),
        "negatives_by_kind": {kind: negatives[kind] for kind in NEGATIVE_KINDS},
        "phrase_kinds": {kind: sum(pair.kind == kind for pair in pairs) for kind in PHRASE_KINDS},
        "objects_a_scene": float(np.mean(counts)),
        "objects_by_scene_count": {str(number): counts.count(number) for number in sorted(set(counts))},
        "most_instances_a_pair": max(len(pair.targets) for pair in pairs),
        "concepts": len({thing.traits.concept for scene in drawn.scenes for thing in scene.objects}),
        "concepts_asked_for": len({pair.query.concept for pair in pairs}),
    }


def export(drawn: DrawnPairs, folder: Path, settings: dict[str, Any], *, overwrite: bool = False) -> dict[str, Any]:
    """Write ``gold_mini.json``, ``images/*.png`` and ``stats.json`` (with ``settings``); return the statistics."""
    figures = {**settings, **statistics(drawn)}
    with atomic_folder(folder, "drawn world", overwrite=overwrite) as staged:
        (staged / "images").mkdir()
        for row, scene in enumerate(drawn.scenes):
            Image.fromarray(scene.image).save(staged / "images" / scene_name(row))
        write_json(staged / "gold_mini.json", saco_document(drawn), indent=None)
        write_json(staged / STATISTICS, figures)
    return figures


def scene_name(row: int) -> str:
    """The file name of scene ``row``."""
    return f"{row:06d}.png"


def phrases_by_scene(drawn: DrawnPairs, texts: Sequence[str]) -> list[list[str]]:
    """Deal ``texts``, one a pair in the order of their ids, to the scenes of the pairs."""
    left = iter(texts)
    return [[next(left) for _ in pairs] for pairs in drawn.asked]
