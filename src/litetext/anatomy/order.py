"""Question 7, order sensitivity: does the encoder read a phrase, or a bag of concepts?

Each phrase is changed in three ways: its words in another order, its noun by a synonym, its noun by another noun.
The change of the pooled features is measured in units of the mean distance between two different phrases, so 1
means "as far as any other phrase". The paper's consistency loss rests on the prior that word order matters little;
it holds where reordering moves the features (and masks) less than a synonym does.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from ..encoders import TextEncoder
from ..errors import LitetextError
from ..prompts import article_free, permute_words
from ..ragged import Ragged
from .gallery import GalleryImage
from .robustness import soft_overlap
from .subject import pooled

SYNONYMS: tuple[tuple[str, ...], ...] = (
    ("sofa", "couch"), ("bike", "bicycle"), ("tv", "television"), ("phone", "telephone"), ("photo", "picture"),
    ("rug", "carpet"), ("cup", "mug"), ("hat", "cap"), ("boat", "ship"), ("jacket", "coat"), ("stone", "rock"),
    ("plane", "airplane"), ("truck", "lorry"), ("car", "automobile"), ("motorbike", "motorcycle"),
    ("child", "kid"), ("woman", "lady"), ("man", "guy"), ("pants", "trousers"), ("sneaker", "trainer"),
    ("purse", "handbag"), ("bag", "sack"), ("bucket", "pail"), ("faucet", "tap"), ("curtain", "drape"),
    ("pillow", "cushion"), ("street", "road"), ("store", "shop"), ("doctor", "physician"), ("bunny", "rabbit"),
    ("puppy", "dog"), ("kitten", "cat"), ("glasses", "spectacles"), ("garbage", "trash"), ("fridge", "refrigerator"),
    ("lamp", "light"), ("forest", "woods"), ("pig", "hog"), ("path", "trail"), ("notebook", "notepad"),
)  # fmt: skip
"""Everyday nouns in groups of one meaning; other groups can be given."""


@dataclass(frozen=True, slots=True)
class Edits:
    """A phrase and its three changes, each list N long."""

    original: list[str]
    reordered: list[str]
    synonym: list[str]
    other_noun: list[str]


@dataclass(frozen=True, slots=True)
class Change:
    """How much one kind of edit changes.

    Attributes:
        features: mean distance of the pooled features, 1 = as far as two different phrases.
        low, high: its 95 % bootstrap interval.
        mask_overlap: mean soft IoU of the masks before and after; None without a segmenter.
    """

    features: float
    low: float
    high: float
    mask_overlap: float | None


@dataclass(frozen=True, slots=True)
class OrderSensitivity:
    """The answer to question 7, over ``phrases`` phrases (and ``scene_phrases`` at scenes, for the masks)."""

    phrases: int
    scene_phrases: int
    reordered: Change
    synonym: Change
    other_noun: Change

    @property
    def bag_of_concepts(self) -> bool:
        """Whether another order changes the features less than a synonym does."""
        return self.reordered.features < self.synonym.features


def edits_of(
    phrases: Sequence[str], synonyms: Sequence[tuple[str, ...]] = SYNONYMS, *, limit: int = 500, seed: int = 0
) -> Edits:
    """Return up to ``limit`` phrases that can be changed in all three ways, and their changes.

    A leading article is cut first, since "a" and "an" would betray the noun. A phrase serves if it has two
    different words or more and ends with one of the nouns in ``synonyms``.
    """
    rng = random.Random(seed)
    group_of = {word: group for group in synonyms for word in group}
    words = sorted(group_of)
    edits = Edits([], [], [], [])
    for given in phrases:
        phrase = article_free(given.lower())
        noun = phrase.split()[-1]
        reordered = permute_words(phrase, rng)
        if noun not in group_of or reordered is None:
            continue
        alike = [word for word in group_of[noun] if word != noun]
        unlike = [word for word in words if word not in group_of[noun]]
        if not alike or not unlike:
            continue
        edits.original.append(phrase)
        edits.reordered.append(reordered)
        edits.synonym.append(phrase.removesuffix(noun) + rng.choice(alike))
        edits.other_noun.append(phrase.removesuffix(noun) + rng.choice(unlike))
        if len(edits.original) == limit:
            break
    return edits


def order_sensitivity(
    features: Callable[[Sequence[str]], Ragged],
    edits: Edits,
    *,
    encoder: TextEncoder | None = None,
    scenes: Sequence[tuple[GalleryImage, Edits]] = (),
    seed: int = 0,
) -> OrderSensitivity:
    """Return how far each kind of edit moves the features, and the masks where scenes are given.

    Args:
        features: prompts -> their real tokens (see `Subject.features`).
        edits: what to compare.
        encoder: the text encoder for the scenes.
        scenes: images, each with edits of phrases to ask of it.
        seed: of the bootstrap.
    """
    if len(edits.original) < 2:
        raise LitetextError("order sensitivity needs at least two phrases that can be changed; give more prompts")
    original = pooled(features(edits.original)).astype(np.float64)
    unit = _mean_distance(original)
    kinds = [field.name for field in fields(Edits)][1:]
    overlaps = {kind: _mask_overlap(encoder, scenes, kind) for kind in kinds}
    changes = {}
    for kind in kinds:
        moved = np.linalg.norm(pooled(features(getattr(edits, kind))) - original, axis=1) / unit
        draws = np.random.default_rng(seed).integers(len(moved), size=(500, len(moved)))
        low, high = np.percentile(moved[draws].mean(axis=1), [2.5, 97.5]).tolist()
        changes[kind] = Change(float(moved.mean()), low, high, overlaps[kind])
    return OrderSensitivity(len(original), sum(len(e.original) for _, e in scenes), **changes)


def _mean_distance(points: np.ndarray) -> float:
    """Mean distance of different points, by their neighbours in a fixed shuffle (1 where all coincide)."""
    shuffled = points[np.random.default_rng(0).permutation(len(points))]
    return float(np.linalg.norm(shuffled - np.roll(shuffled, 1, axis=0), axis=1).mean()) or 1.0


def _mask_overlap(encoder: TextEncoder | None, scenes: Sequence[tuple[GalleryImage, Edits]], kind: str) -> float | None:
    if encoder is None or not scenes:
        return None
    overlaps: list[float] = []
    for scene, edits in scenes:
        before = scene.soft_masks(encoder.encode(edits.original).to_torch())
        overlaps += soft_overlap(before, scene.soft_masks(encoder.encode(getattr(edits, kind)).to_torch()))
    return float(np.mean(overlaps))
