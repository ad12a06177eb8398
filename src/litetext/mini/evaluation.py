"""What the shipped mini can do: SA-Co's metrics on scenes drawn anew, and a control with the phrases permuted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..evaluate.formats import ground_truth_from
from ..evaluate.image import ImageMetrics, evaluate_images
from ..evaluate.predict import LOWEST_SCORE
from ..segment import Segmenter
from .export import DrawnPairs, phrases_by_scene, saco_document


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of `evaluate_segmenter`.

    Attributes:
        metrics: of the phrases as they belong.
        permuted: of the same phrases dealt to other pairs, against the truth of the original pairs: a model that
            reads its phrase must fail at it.
        predictions: SA-Co results of the first, pair ids as in `saco_document`.
    """

    metrics: ImageMetrics
    permuted: ImageMetrics
    predictions: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """The figures, JSON-ready."""
        full = self.metrics.to_dict()
        return {
            **{name: full[name] for name in ("cgF1", "pmF1", "IL_MCC", "pairs", "positive_pairs")},
            "permuted_IL_MCC": self.permuted.IL_MCC,
            "details": full,
        }


def evaluate_segmenter(
    segmenter: Segmenter, drawn: DrawnPairs, seed: int, progress: Callable[[int], None] = lambda _: None
) -> Evaluation:
    """Score a segmenter on drawn pairs; ``seed`` permutes the control's phrases. ``progress`` gets scenes done."""
    truth = ground_truth_from(saco_document(drawn), name="drawn pairs")
    texts = [pair.text for _, pair in drawn.pairs]
    order = np.random.default_rng(seed).permutation(len(texts))
    found = predictions(segmenter, drawn, texts, progress)
    shuffled = predictions(segmenter, drawn, [texts[index] for index in order], progress)
    return Evaluation(evaluate_images(truth, found), evaluate_images(truth, shuffled), found)


def predictions(
    segmenter: Segmenter,
    drawn: DrawnPairs,
    texts: list[str],
    progress: Callable[[int], None] = lambda _: None,
    threshold: float = LOWEST_SCORE,
) -> list[dict[str, Any]]:
    """Ask ``texts``, one a pair, of the pairs' scenes: SA-Co results, pair ids as in `saco_document`."""
    results: list[dict[str, Any]] = []
    first = 1
    for scene, phrases in zip(drawn.scenes, phrases_by_scene(drawn, texts), strict=True):
        found = segmenter.segment(scene.image, phrases, threshold=threshold)
        results.extend(found.to_saco(list(range(first, first + len(phrases)))))
        first += len(phrases)
        progress(1)
    return results
