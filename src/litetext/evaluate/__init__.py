"""Scores of any system's predictions with the numbers the field reports: SA-Co's metrics for images and videos."""

from __future__ import annotations

from .formats import GroundTruth, Predictions, ground_truth_from, predictions_from, read_ground_truth, read_predictions
from .image import ImageMetrics, PairScores, evaluate_images

__all__ = [
    "GroundTruth",
    "ImageMetrics",
    "PairScores",
    "Predictions",
    "evaluate_images",
    "ground_truth_from",
    "predictions_from",
    "read_ground_truth",
    "read_predictions",
]
