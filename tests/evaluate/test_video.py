import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from litetext.errors import LitetextError
from litetext.evaluate.coco_masks import joined
from litetext.evaluate.image import ImageMetrics, official_summary, summarize
from litetext.evaluate.video import evaluate_videos, masklet_ious, tracklet_ious
from litetext.results.formats.veval import Track, read_video_predictions, read_video_truth
from litetext.results.rle import encode

GOLDEN = Path(__file__).parent / "golden" / "video"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())
PREDICTIONS = list(EXPECTED)


@pytest.fixture(scope="module")
def metrics():
    return {name: evaluate_videos(GOLDEN / "gt.json", GOLDEN / name) for name in PREDICTIONS}


@pytest.mark.parametrize("name", PREDICTIONS)
def test_every_number_of_the_official_evaluators(metrics, name):
    found, results = metrics[name], EXPECTED[name]["dataset_results"]
    for evaluator in results.keys() - {"TETA_full", "cgF1_full"}:
        for key, value in results[evaluator].items():
            assert found.official[key] == (None if value is None else pytest.approx(value, abs=1e-4)), key
    for field, value in results.get("TETA_full", {}).items():
        assert 100 * found.teta[field] == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize("kind", ["segm", "bbox"])
@pytest.mark.parametrize("name", [name for name in PREDICTIONS if "cgF1_full" in EXPECTED[name]["dataset_results"]])
def test_every_number_of_cgf1(metrics, name, kind):
    expected = EXPECTED[name]["dataset_results"]["cgF1_full"][kind]
    scores = metrics[name].types[kind].pairs
    assert official_summary(summarize(scores), "") == pytest.approx(expected["metrics"], abs=1e-4, rel=0)
    assert {**ImageMetrics(scores).counts, "num_pairs_evaluated": len(scores)} == expected["counts"]


@pytest.mark.parametrize("name", PREDICTIONS)
def test_every_pair(metrics, name):
    rows = {(row["video_id"], row["category_id"]): row for row in metrics[name].pair_rows()}
    for expected in EXPECTED[name]["video_np_results"]:
        row = rows[expected["video_id"], expected["category_id"]]
        assert {key: row[key] for key in expected} == pytest.approx(expected, abs=1e-4)


def test_the_json_form_has_the_headline_numbers(metrics):
    for found in metrics.values():
        document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
        official = found.official
        assert document["cgF1"] == pytest.approx(100 * official["video_mask_demo_cgf1_micro_50_95"])
        assert document["VL_MCC"] == official["video_mask_demo_ilmcc_50_95"]
        for key, part in (("pHOTA", "HOTA"), ("pDetA", "DetA"), ("pAssA", "AssA")):
            assert document[key] == pytest.approx(100 * official[f"video_mask_all_phrase_{part}"])
        assert document["TETA"] == pytest.approx(official["video_mask_teta"], abs=1e-3)


def test_what_stops_the_official_code_is_defined_and_told(metrics):
    empty, below = metrics["pred_empty.json"], metrics["pred_below_threshold.json"]
    assert (empty.cgF1, empty.VL_MCC, empty.pmF1, empty.teta["TETA"], empty.scores.hota["HOTA"]) == (0, 0, 0, 0, 0)
    assert "is empty" in empty.warnings[0]
    assert below.teta["TETA"] == 0
    assert "TETA is 0 by definition" in below.warnings[0]
    assert "not in 'video_np_pairs'" in metrics["pred_unlisted_pair.json"].warnings[0]


def write(folder, name, document):
    path = folder / name
    path.write_text(json.dumps(document))
    return path


def test_without_listed_pairs_there_is_no_mcc(tmp_path):
    truth = json.loads((GOLDEN / "gt.json").read_text())
    del truth["video_np_pairs"]
    found = evaluate_videos(write(tmp_path, "gt.json", truth), GOLDEN / "pred.json")
    assert found.cgF1 is None
    assert found.VL_MCC is None
    assert found.pmF1 > 0
    assert "no 'video_np_pairs'" in found.warnings[0]
    json.dumps(found.to_dict(), allow_nan=False)


def test_boxes_and_areas_follow_from_the_masks(tmp_path, metrics):
    bare = [
        {key: track[key] for key in ("video_id", "category_id", "score", "segmentations")}
        for track in json.loads((GOLDEN / "pred.json").read_text())
    ]
    found = evaluate_videos(GOLDEN / "gt.json", write(tmp_path, "pred.json", bare))
    assert found.official == pytest.approx(metrics["pred.json"].official)


@settings(max_examples=5, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_predictions_changes_nothing(tmp_path_factory, random):
    tracks = json.loads((GOLDEN / "pred.json").read_text())
    for number, track in enumerate(tracks):
        track["score"] += number * 1e-9  # distinct scores
    folder = tmp_path_factory.mktemp("order")
    expected = evaluate_videos(GOLDEN / "gt.json", write(folder, "one.json", tracks)).official
    random.shuffle(tracks)
    assert evaluate_videos(GOLDEN / "gt.json", write(folder, "other.json", tracks)).official == pytest.approx(expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video_id": 99}, "entry 2: key 'video_id' is 99, which no video has"),
        ({"category_id": 99}, "entry 2: key 'category_id' is 99, which no category has"),
        ({"score": None}, "entry 2: key 'score' is None, where a whole number or a number should stand"),
        ({"score": math.nan}, "entry 2: key 'score' is nan"),
        ({"segmentations": []}, "entry 2: key 'segmentations' has 0 frames, but video 3 has 12"),
        (
            {"segmentations": [{"size": [9, 9], "counts": "a"}] * 12},
            r"entry 2: key 'segmentations\[0\]' has size 9 x 9",
        ),
        (
            {"segmentations": [{"size": [72, 96], "counts": "1"}] * 12},
            r"entry 2: key 'segmentations\[0\]': the RLE covers",
        ),
        ({"bboxes": [[1, 2, 3]] * 12}, r"entry 2: key 'bboxes\[0\]' is \[1, 2, 3\]"),
    ],
)
def test_prediction_errors_name_file_entry_and_key(tmp_path, changes, message):
    tracks = json.loads((GOLDEN / "pred.json").read_text())
    tracks[2].update(changes)
    with pytest.raises(LitetextError, match=rf"pred\.json: {message}"):
        read_video_predictions(write(tmp_path, "pred.json", tracks), read_video_truth(GOLDEN / "gt.json"))


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("videos", {"id": 8}, r"videos\[1\]: key 'id' is 8, which an earlier video has"),
        ("videos", {"length": 5}, r"videos\[0\]: key 'file_names' names 12 frames, but 'length' is 5"),
        ("videos", {"height": 0}, r"videos\[0\]: key 'height' and 'width' are 0 and 96"),
        ("annotations", {"id": 75}, r"annotations\[\d+\]: key 'id' is 75, which an earlier annotation has"),
        ("annotations", {"video_id": 99}, r"annotations\[0\]: key 'video_id' is 99"),
        ("categories", {"id": 107}, r"categories\[1\]: key 'id' is 107, which an earlier category has"),
        ("video_np_pairs", {"category_id": 5}, r"video_np_pairs\[0\]: key 'category_id' is 5, which no category has"),
    ],
)
def test_ground_truth_errors_name_file_entry_and_key(tmp_path, section, changes, message):
    truth = json.loads((GOLDEN / "gt.json").read_text())
    if section == "annotations" and "id" in changes:
        changes = {"id": truth["annotations"][1]["id"]}
        message = message.replace("75", str(changes["id"]))
    truth[section][0].update(changes)
    with pytest.raises(LitetextError, match=rf"gt\.json: {message}"):
        read_video_truth(write(tmp_path, "gt.json", truth))


def test_files_of_the_wrong_kind(tmp_path):
    with pytest.raises(LitetextError, match="predictions are one list of tracks"):
        evaluate_videos(GOLDEN / "gt.json", GOLDEN / "gt.json")
    with pytest.raises(LitetextError, match="'videos' is missing"):
        read_video_truth(GOLDEN / "pred.json")


clips = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5)).flatmap(
    lambda shape: st.lists(arrays(bool, shape), min_size=2, max_size=3)
)


def track(clip, number=0):
    masks = tuple(encode(mask) if mask.any() else None for mask in clip)
    return Track(masks, tuple(None if mask is None else (0.0, 0.0, 1.0, 1.0) for mask in masks), 1, 1, number)


@given(clips)
def test_masklets_laid_end_to_end_are_the_pixels_of_all_frames(several):
    for clip in several:
        runs = joined(track(clip).masks, clip[0].size)
        painted = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
        np.testing.assert_array_equal(painted, np.concatenate([mask.ravel(order="F") for mask in clip]))
        assert (runs[1:] > 0).all()


@given(clips, st.integers(1, 40))
def test_masklet_iou_is_that_of_all_pixels_however_long_strips_are(several, pixels):
    first, rest = several[:1], several[1:]
    expected = [[(a & b).sum() / (a | b).sum() if (a | b).any() else 1.0 for b in rest] for a in first]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("litetext.evaluate.video._STRIP_PIXELS", pixels)
        found = masklet_ious([track(a) for a in first], [track(b) for b in rest], first[0][0].shape)
    np.testing.assert_array_equal(found, expected)


def test_tracklet_iou_sums_over_frames():
    seen = ((0.0, 0.0, 2.0, 2.0), (0.0, 0.0, 2.0, 2.0), None)
    half = ((0.0, 0.0, 2.0, 1.0), None, None)
    one, other = (Track((b"1",) * 3, boxes, 1, 1, 0) for boxes in (seen, half))
    assert tracklet_ious([one], [one, other]).tolist() == [[1.0, 0.25]]
    assert tracklet_ious([], [one]).shape == (0, 1)


def test_crowd_tracks_are_dropped_for_cgf1_and_told(tmp_path):
    truth = json.loads((GOLDEN / "gt.json").read_text())
    crowded = copy.deepcopy(truth)
    crowded["annotations"][0]["iscrowd"] = 1
    found = evaluate_videos(write(tmp_path, "gt.json", crowded), GOLDEN / "pred_perfect.json")
    assert found.scores.pairs.truths.sum() == len(truth["annotations"]) - 1
    assert any("crowd tracks" in warning for warning in found.warnings)
