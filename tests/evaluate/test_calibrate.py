import json

import numpy as np
import pytest

from litetext.evaluate import evaluate_images, ground_truth_from, predictions_from
from litetext.evaluate.calibrate import GRID, Bin, calibrate, calibration_error

from .world import ground_truth, perfect, random_boxes, rectangle, shaken, without_names


def test_the_surface_holds_the_official_score_where_thresholds_are_a_half():
    document = ground_truth(7, pairs=40)
    truth, results = ground_truth_from(document), shaken(document, 7)
    found = calibrate([truth], predictions_from(results))
    half = int(np.flatnonzero(GRID == 0.5)[0])
    expected = evaluate_images(truth, results).cgF1
    assert found.official == pytest.approx(expected)
    assert found.surface[half, half] == pytest.approx(expected)
    assert found.best == found.surface.max() >= expected
    json.dumps(found.to_dict(), allow_nan=False)


def test_thresholds_that_separate_right_from_wrong_are_found():
    """Right answers score 0.3, wrong ones 0.2: everything is below the official threshold, and 0.25 is right."""
    rng = np.random.default_rng(0)
    boxes = {pair: random_boxes(rng, 2 * (pair % 2)) for pair in range(40)}
    document = ground_truth(0, boxes=boxes)
    right = [{**result, "score": 0.3} for result in perfect(document)]
    wrong = [
        {"image_id": pair, "category_id": 1, "score": 0.2, "segmentation": rectangle((1, 1, 5, 5))} for pair in boxes
    ]
    found = calibrate([ground_truth_from(document)], predictions_from(right + wrong))
    assert found.official == 0
    assert found.best > 99.9
    assert found.held_out > 99.9
    assert 0.2 < found.best_query <= 0.3
    assert [(bin.low, bin.right) for bin in found.presence_curve] == [(0.2, 0.0), (0.3, 1.0)]


def test_presence_is_told_apart_where_the_file_has_it():
    document = ground_truth(0, boxes={0: [(2, 2, 6, 6)], 1: []})
    result = {**perfect(document)[0], "score": 0.4, "presence": 0.5}
    found = calibrate([ground_truth_from(document)], predictions_from([result]))
    assert found.separate_presence
    kept = found.surface > 0
    assert kept[GRID <= 0.5][:, GRID <= 0.8].all()
    assert not kept[GRID > 0.5].any()
    assert not kept[:, GRID > 0.8].any()


def test_the_query_curve_is_of_the_query_scores():
    """A score is the product of presence and query score; queries of 0.9 that are all right are off by 0.1."""
    document = ground_truth(0, boxes={0: [(2, 2, 6, 6)], 1: [(4, 4, 8, 8)], 2: []})
    results = [{**result, "score": 0.54, "presence": 0.6} for result in perfect(document)]
    found = calibrate([ground_truth_from(document)], predictions_from(results))
    (bin,) = found.query_curve
    assert (bin.count, bin.mean, bin.right) == (2, pytest.approx(0.9), 1.0)
    assert found.to_dict()["query_calibration_error"] == pytest.approx(0.1)
    above = [{**result, "score": 0.7} for result in results]
    (bin,) = calibrate([ground_truth_from(document)], predictions_from(above)).query_curve
    assert bin.mean == 1


def test_halves_are_of_images_where_the_file_has_no_names():
    """One image of three categories: the half that thresholds are chosen on is empty, so nothing is held out."""
    document = without_names()
    results = [{**result, "score": 0.3} for result in perfect(document)]
    found = calibrate([ground_truth_from(document)], predictions_from(results))
    assert found.best > 99.9
    assert found.held_out == 0


def test_the_calibration_error_is_the_mean_gap():
    assert calibration_error([Bin(0.0, 3, 0.1, 0.0), Bin(0.9, 1, 0.9, 0.5)]) == pytest.approx((3 * 0.1 + 0.4) / 4)
    assert calibration_error([]) == 0
