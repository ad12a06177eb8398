"""Scores of any system's predictions with the numbers the field reports: SA-Co's metrics for images and videos."""

from __future__ import annotations

from ..results.formats.saco import (
    GroundTruth,
    Predictions,
    ground_truth_from,
    predictions_from,
    read_ground_truth,
    read_predictions,
)
from ..results.formats.veval import read_video_predictions, read_video_truth
from .calibrate import Calibration, calibrate
from .compare import Comparison, compare
from .evaluation import EvaluationReport, SystemEvaluation, evaluate
from .image import ImageMetrics, PairScores, evaluate_images
from .predict import predict
from .video import VideoMetrics, evaluate_videos

__all__ = [
    "Calibration",
    "Comparison",
    "EvaluationReport",
    "GroundTruth",
    "ImageMetrics",
    "PairScores",
    "Predictions",
    "SystemEvaluation",
    "VideoMetrics",
    "calibrate",
    "compare",
    "evaluate",
    "evaluate_images",
    "evaluate_videos",
    "ground_truth_from",
    "predict",
    "predictions_from",
    "read_ground_truth",
    "read_predictions",
    "read_video_predictions",
    "read_video_truth",
]
