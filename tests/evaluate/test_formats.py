import copy
import json

import pytest

from litetext.errors import LitetextError
from litetext.evaluate import evaluate_images, ground_truth_from, predictions_from, read_ground_truth, read_predictions

from .world import ground_truth, perfect, rectangle


def broken(document, section, index, **changes):
    """A copy of a document (or of a list, section "") with keys of one entry changed; None removes the key."""
    document = copy.deepcopy(document)
    entry = (document[section] if section else document)[index]
    for key, value in changes.items():
        entry.pop(key) if value is None else entry.update({key: value})
    return document


TRUTH = ground_truth(0, boxes={0: [(1, 1, 5, 5), (8, 8, 6, 6)], 1: []})
PREDICTIONS = perfect(TRUTH)


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("images", {"id": None}, r"images\[0\]: key 'id' is missing"),
        ("images", {"text_input": None}, r"images\[0\]: key 'text_input' is missing"),
        ("images", {"is_instance_exhaustive": None}, r"images\[0\]: key 'is_instance_exhaustive' is missing"),
        ("images", {"width": "32"}, r"images\[0\]: key 'width' is '32', where a whole number"),
        ("images", {"height": 0}, r"images\[0\]: key 'height'.*at least 1 pixel"),
        ("images", {"id": 1}, r"images\[1\]: key 'id' is 1, which an earlier image has"),
        ("images", {"height": 25}, r"annotations\[0\]: key 'segmentation': the RLE's size is 24 x 32"),
        ("annotations", {"id": 1}, r"annotations\[1\]: key 'id' is 1, which an earlier annotation has"),
        ("annotations", {"image_id": 99}, r"annotations\[0\]: key 'image_id' is 99, which no entry of 'images' has"),
        ("annotations", {"image_id": None}, r"annotations\[0\]: key 'image_id' is missing"),
        (
            "annotations",
            {"category_id": 7},
            r"annotations\[0\]: key 'category_id' is 7, which no entry of 'categories'",
        ),
        ("annotations", {"segmentation": None}, r"annotations\[0\]: key 'segmentation' is missing"),
        ("annotations", {"segmentation": "abc"}, r"annotations\[0\]: key 'segmentation' is 'abc'"),
        ("annotations", {"segmentation": {"size": [24, 32]}}, r"annotations\[0\]: key 'segmentation'.*'counts'"),
        (
            "annotations",
            {"segmentation": {"size": [24, 32], "counts": "PP"}},
            r"annotations\[0\]: key 'segmentation': the RLE is malformed",
        ),
        (
            "annotations",
            {"segmentation": {**rectangle((1, 1, 2, 2)), "size": [24, 33]}},
            r"annotations\[0\]: key 'segmentation': the RLE covers 768 pixels, its size 24 x 33",
        ),
        ("images", {"height": 10**9, "width": 10**9}, r"images\[0\]: key 'height' and 'width' are 1000000000 and"),
        ("annotations", {"segmentation": [[0, 0, 24, 0, 0, 0] * 200_000]}, r"annotations\[0\]: key 'segmentation'"),
        ("annotations", {"segmentation": [[1, 2]]}, r"annotations\[0\]: key 'segmentation'.*list of polygons"),
        ("categories", {"id": None}, r"categories\[0\]: key 'id' is missing"),
    ],
)
def test_ground_truth_errors_name_file_entry_and_key(tmp_path, section, changes, message):
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(broken(TRUTH, section, 0, **changes)))
    with pytest.raises(LitetextError, match=rf"truth\.json: {message}"):
        read_ground_truth(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": None}, "entry 1: key 'score' is missing"),
        ({"score": float("nan")}, "entry 1: key 'score' is nan, where a number from 0 to 1"),
        ({"score": float("inf")}, "entry 1: key 'score' is inf"),
        ({"score": 2}, "entry 1: key 'score' is 2, where a number from 0 to 1 should stand"),
        ({"score": -1}, "entry 1: key 'score' is -1, where a number from 0 to 1 should stand"),
        ({"presence": 1.5}, "entry 1: key 'presence' is 1.5, where a number from 0 to 1 should stand"),
        ({"score": True}, "entry 1: key 'score' is True"),
        ({"score": "high"}, "entry 1: key 'score' is 'high', where a whole number or a number"),
        ({"image_id": None}, "entry 1: key 'image_id' is missing"),
        ({"image_id": 1.5}, "entry 1: key 'image_id' is 1.5"),
        ({"category_id": None}, "entry 1: key 'category_id' is missing"),
        ({"segmentation": None}, "entry 1: key 'segmentation' is missing"),
        ({"segmentation": [[1, 1, 4, 1, 4, 4]]}, "entry 1: key 'segmentation' holds polygons"),
        ({"segmentation": {"size": [24, 32], "counts": [5]}}, "entry 1: key 'segmentation' covers 5 pixels"),
        ({"segmentation": {"size": [24], "counts": "0"}}, r"entry 1: key 'segmentation' has size \[24\]"),
        ({"segmentation": {"size": [24, 32], "counts": 5}}, "entry 1: key 'segmentation' has counts that are neither"),
    ],
)
def test_prediction_errors_name_file_entry_and_key(tmp_path, changes, message):
    path = tmp_path / "predictions.json"
    path.write_text(json.dumps(broken(PREDICTIONS, "", 1, **changes)))
    with pytest.raises(LitetextError, match=rf"predictions\.json: {message}"):
        read_predictions(path)


@pytest.mark.parametrize("box", [None, [1, 2, 3], [0, 0, -1, 1], [0, 0, float("nan"), 1], ["0", 0, 1, 1]])
def test_boxes_are_checked_when_boxes_are_scored(box):
    predictions = broken(PREDICTIONS, "", 0, bbox=box)
    assert len(predictions_from(predictions, "segm")) == 2
    with pytest.raises(LitetextError, match="entry 0: key 'bbox'"):
        predictions_from(predictions, "bbox")


def test_predictions_must_fit_the_ground_truth():
    truth = ground_truth_from(TRUTH)
    with pytest.raises(LitetextError, match="entry 0: key 'image_id': 77 is not in ground truth"):
        evaluate_images(truth, broken(PREDICTIONS, "", 0, image_id=77))
    small = {"size": [12, 64], "counts": rectangle((0, 0, 1, 1))["counts"]}
    with pytest.raises(LitetextError, match="entry 0: key 'segmentation': the RLE's size is 12 x 64"):
        evaluate_images(truth, broken(PREDICTIONS, "", 0, segmentation=small))
    with pytest.raises(LitetextError, match="predictions: key 'bbox' is in pixels, but in ground truth"):
        pixels = broken(PREDICTIONS, "", 0, bbox=[3, 3, 10, 10])
        evaluate_images(ground_truth_from(TRUTH, "bbox"), pixels, iou_type="bbox")


def test_documents_of_the_wrong_kind(tmp_path):
    path = tmp_path / "file.json"
    path.write_text(json.dumps(TRUTH))
    with pytest.raises(LitetextError, match="predictions are one list"):
        read_predictions(path)
    path.write_text(json.dumps(PREDICTIONS))
    with pytest.raises(LitetextError, match="'images' is missing"):
        read_ground_truth(path)
    path.write_text(json.dumps({"videos": [{"id": 1}]}))
    with pytest.raises(LitetextError, match="video annotation file"):
        read_ground_truth(path)
    path.write_text("[1, 2]")
    with pytest.raises(LitetextError, match="entry 0 is int, not an object"):
        read_predictions(path)
    with pytest.raises(LitetextError, match="unknown IoU type 'mask'"):
        read_predictions(path, "mask")


@pytest.mark.parametrize("key", ["neg_category_ids", "not_exhaustive_category_ids"])
@pytest.mark.parametrize("ids", [None, 5, [[1]], ["1"], [1.5]])
def test_ids_of_lvis_are_checked(key, ids):
    truth = copy.deepcopy(TRUTH)
    truth["images"] = [
        {"id": image["id"], "height": 24, "width": 32, "neg_category_ids": [], key: ids} for image in truth["images"]
    ]
    with pytest.raises(LitetextError, match=rf"images\[0\]: key '{key}'"):
        ground_truth_from(truth)


def test_sections_may_stand_in_any_order():
    backwards = dict(reversed(TRUTH.items()))
    polygon = {"segmentation": [[1, 1, 6, 1, 6, 6, 1, 6]]}
    assert ground_truth_from(backwards) == ground_truth_from(TRUTH)
    assert ground_truth_from(broken(backwards, "annotations", 0, **polygon)) == ground_truth_from(TRUTH)


COCO = {
    "images": [{"id": 5, "file_name": "a.jpg", "height": 24, "width": 32}, {"id": 6, "height": 24, "width": 32}],
    "categories": [{"id": 3, "name": "dog"}, {"id": 1, "name": "stop_sign"}],
    "annotations": [
        {"id": 1, "image_id": 5, "category_id": 3, "iscrowd": 0, "segmentation": [[1, 1, 9, 1, 9, 9, 1, 9]]},
        {"id": 2, "image_id": 6, "category_id": 1, "iscrowd": 0, "segmentation": rectangle((4, 4, 5, 5))},
    ],
}


def test_coco_pairs_are_every_image_with_every_category():
    truth = ground_truth_from(COCO)
    assert [(pair.id, pair.prompt) for pair in truth.pairs.values()] == [
        ((5, 1), "stop sign"),
        ((5, 3), "dog"),
        ((6, 1), "stop sign"),
        ((6, 3), "dog"),
    ]
    predictions = [
        {"image_id": 5, "category_id": 3, "score": 0.9, "segmentation": rectangle((1, 1, 8, 8))},
        {"image_id": 6, "category_id": 3, "score": 0.9, "segmentation": rectangle((4, 4, 5, 5))},
    ]
    metrics = evaluate_images(truth, predictions)
    assert metrics.counts["IL_TP"] == metrics.counts["IL_FP"] == metrics.counts["IL_FN"] == metrics.counts["IL_TN"] == 1
    assert metrics.counts["TPs"] == [1] * 10


def test_lvis_pairs_are_what_the_annotators_looked_for():
    lvis = copy.deepcopy(COCO)
    lvis["categories"].append({"id": 9, "name": "kite"})
    lvis["images"][0].update(neg_category_ids=[1], not_exhaustive_category_ids=[])
    lvis["images"][1].update(neg_category_ids=[], not_exhaustive_category_ids=[1])
    truth = ground_truth_from(lvis)
    assert [(pair.id, pair.exhaustive) for pair in truth.pairs.values()] == [
        ((5, 1), True),
        ((5, 3), True),
        ((6, 1), False),
    ]
    unlisted = {"image_id": 6, "category_id": 9, "score": 0.9, "segmentation": rectangle((4, 4, 5, 5))}
    metrics = evaluate_images(truth, [unlisted])
    assert any("says nothing of their category" in warning for warning in metrics.warnings)
    assert len(metrics.scores) == 2
    with pytest.raises(LitetextError, match=r"images\[0\]: key 'neg_category_ids' holds 44"):
        ground_truth_from(broken(lvis, "images", 0, neg_category_ids=[44]))
