"""What the shipped mini can do: SA-Co's metrics on scenes drawn anew, and a control with the phrases permuted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..evaluate.image import ImageMetrics, evaluate_images
from ..evaluate.predict import LOWEST_SCORE
from ..progress import Progress, no_progress, shifted
from ..results.formats.saco import ground_truth_from
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
    segmenter: Segmenter, drawn: DrawnPairs, seed: int, progress: Progress = no_progress
) -> Evaluation:
    """Score a segmenter on drawn pairs; ``seed`` permutes the control's phrases. ``progress`` counts scenes twice."""
    truth = ground_truth_from(saco_document(drawn), name="drawn pairs")
    texts = [pair.text for _, pair in drawn.pairs]
    order = np.random.default_rng(seed).permutation(len(texts))
    scenes = len(drawn.scenes)
    found = predictions(segmenter, drawn, texts, shifted(progress, 0, 2 * scenes))
    permuted = [texts[index] for index in order]
    shuffled = predictions(segmenter, drawn, permuted, shifted(progress, scenes, 2 * scenes))
    return Evaluation(evaluate_images(truth, found), evaluate_images(truth, shuffled), found)


def predictions(
    segmenter: Segmenter,
    drawn: DrawnPairs,
    texts: list[str],
    progress: Progress = no_progress,
    threshold: float = LOWEST_SCORE,
) -> list[dict[str, Any]]:
    """Ask ``texts``, one a pair, of the pairs' scenes: SA-Co results, pair ids as in `saco_document`."""
    results: list[dict[str, Any]] = []
    first = 1
    asked = zip(drawn.scenes, phrases_by_scene(drawn, texts), strict=True)
    for done, (scene, phrases) in enumerate(asked, start=1):
        found = segmenter.segment(scene.image, phrases, threshold=threshold)
        results.extend(found.to_saco(list(range(first, first + len(phrases)))))
        first += len(phrases)
        progress(done, len(drawn.scenes))
    return results
