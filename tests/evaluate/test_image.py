import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litetext.errors import LitetextError
from litetext.evaluate import PairScores, evaluate_images, ground_truth_from, read_ground_truth
from litetext.evaluate.image import ImageMetrics, summarize

from .world import ground_truth, perfect, random_boxes, rectangle, shaken

GOLDEN = Path(__file__).parent / "golden" / "image"
CASES = json.loads((GOLDEN / "expected.json").read_text())["cases"]
seeds = st.integers(0, 2**32 - 1)


def scored(documents, predictions, **options):
    several = documents if isinstance(documents, list) else [documents]
    return evaluate_images([ground_truth_from(document) for document in several], predictions, **options)


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
@pytest.mark.parametrize("case", CASES)
def test_every_number_of_the_official_evaluator(case, iou_type):
    expected = CASES[case]["results"][iou_type]
    metrics = evaluate_images(
        [GOLDEN / name for name in CASES[case]["gt"]], GOLDEN / CASES[case]["pred"], iou_type=iou_type
    )
    assert metrics.official == pytest.approx(expected["metrics"], abs=1e-6, rel=0)
    counts = dict(expected["counts"])
    assert len(metrics.scores) == counts.pop("num_pairs_evaluated")
    assert metrics.counts == counts
    for name, values in expected["per_iou_threshold"].items():
        np.testing.assert_allclose(metrics.summary[name], [math.nan if v is None else v for v in values], atol=1e-6)


@pytest.mark.parametrize(("case", "files"), [("single_a", "a"), ("oracle_abc", "abc")])
def test_every_pair_of_the_official_evaluator(case, files):
    expected = json.loads((GOLDEN / "expected_per_pair.json").read_text())[case]
    scores = evaluate_images([GOLDEN / f"gt_{name}.json" for name in files], GOLDEN / "pred.json").scores
    assert [pair.id for pair in scores.pairs] == [record["image_id"] for record in expected]
    for row, record in enumerate(expected):
        assert scores.predictions[row] == record["num_dt"]
        if "TPs" in record:
            assert scores.hits[row].tolist() == record["TPs"]
            assert (scores.truths[row] - scores.hits[row]).tolist() == record["FNs"]
            np.testing.assert_allclose(scores.f1[row], record["local_F1s"], atol=1e-6)
        else:
            assert scores.truths[row] + scores.predictions[row] == 0


def test_seven_subsets_to_their_printed_digits():
    expected = json.loads((GOLDEN / "expected_subsets.json").read_text())
    metrics = evaluate_images(
        [GOLDEN / f"gt_{name}.json" for name in expected["annotators"]], GOLDEN / expected["pred"]
    )
    for subset in expected["subsets"].values():
        part = metrics.subset(subset["pair_ids"])
        assert [round(part.cgF1, 2), round(part.IL_MCC, 2), round(part.pmF1, 2)] == list(subset["expected"].values())


def test_other_processes_give_the_same_scores(monkeypatch):
    monkeypatch.setattr("litetext.evaluate.image._FEW_PAIRS", 0)
    alone, together = (evaluate_images(GOLDEN / "gt_a.json", GOLDEN / "pred.json", processes=n) for n in (1, 2))
    assert alone.to_dict() == together.to_dict()
    assert json.loads(json.dumps(alone.to_dict(), allow_nan=False))["official"] == alone.official


@settings(max_examples=25, deadline=None)
@given(seeds, st.randoms(use_true_random=False))
def test_the_order_of_pairs_and_predictions_changes_nothing(seed, random):
    document = ground_truth(seed)
    predictions = shaken(document, seed)
    expected = scored(document, predictions)
    random.shuffle(document["images"])
    random.shuffle(predictions)
    found = scored(document, predictions)
    assert found.counts == expected.counts
    assert found.official == pytest.approx(expected.official)


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_the_order_of_annotators_changes_only_pairs_tied_in_mean_f1(seed):
    documents = [ground_truth(seed + k, pairs=16) for k in range(3)]
    predictions = shaken(documents[1], seed)
    one, other = (scored(several, predictions).scores for several in (documents, documents[::-1]))
    single = [scored(document, predictions).scores.f1.mean(axis=1) for document in documents]
    best = np.sort(np.stack(single), axis=0)
    tied = best[-1] == best[-2]
    for row in np.flatnonzero(~tied):
        assert one.hits[row].tolist() == other.hits[row].tolist()
        assert (one.truths[row], one.annotator[row]) == (other.truths[row], 2 - other.annotator[row])
    np.testing.assert_allclose(one.f1.mean(axis=1), other.f1.mean(axis=1))


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_perfect_predictions_are_perfect(seed):
    rng = np.random.default_rng(seed)
    boxes = {pair: random_boxes(rng, 2 * (pair % 2)) for pair in range(60)}
    metrics = scored(ground_truth(seed, boxes=boxes), perfect(ground_truth(seed, boxes=boxes)))
    assert metrics.cgF1 >= 99.99
    assert metrics.pmF1 >= 99.99
    assert metrics.IL_MCC >= 0.9999


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_a_false_positive_on_a_negative_lowers_mcc_and_leaves_pmf1(seed):
    document = ground_truth(seed, pairs=20)
    predictions = perfect(document)
    before = scored(document, predictions)
    negative = next(pair.id for pair, n in zip(before.scores.pairs, before.scores.truths, strict=True) if n == 0)
    false = {"image_id": negative, "category_id": 1, "score": 0.5, "segmentation": rectangle((1, 1, 4, 4))}
    after = scored(document, [*predictions, false])
    assert after.IL_MCC < before.IL_MCC
    assert after.pmF1 == before.pmF1


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(0, 11), st.integers(0, 11))
def test_shards_merged_equal_one_run(seed, a, b):
    document = ground_truth(seed, pairs=12)
    predictions = shaken(document, seed)
    truth = ground_truth_from(document)
    whole = scored(document, predictions)
    parts = [list(range(12))[cut] for cut in (slice(0, min(a, b)), slice(min(a, b), max(a, b)), slice(max(a, b), None))]
    shards = [
        evaluate_images(truth.subset(ids), [p for p in predictions if p["image_id"] in ids]).scores for ids in parts
    ]
    assert ImageMetrics(PairScores.merge(shards)).official == whole.official


def test_weights_count_pairs_several_times():
    document = ground_truth(5)
    scores = scored(document, shaken(document, 5)).scores
    rows = np.array([0, 0, 3, 7, 7, 7])
    weights = np.stack([np.bincount(rows, minlength=len(scores)), np.ones(len(scores), dtype=int)])
    drawn = summarize(scores, weights)
    for name, value in summarize(scores.select(rows)).items():
        np.testing.assert_allclose(drawn[name][0], value)
    for name, value in summarize(scores).items():
        np.testing.assert_allclose(drawn[name][1], value)


def test_the_score_threshold_is_inclusive_and_can_be_moved():
    document = ground_truth(1, boxes={0: [(2, 2, 6, 6)], 1: []})
    prediction = {**perfect(document)[0], "score": 0.5}
    assert pytest.approx(1, abs=1e-5) == scored(document, [prediction]).IL_MCC
    assert scored(document, [prediction], score_threshold=0.6).IL_MCC == 0


def test_dropped_input_is_told():
    case = CASES["other_category_a"]
    warnings = " ".join(evaluate_images(GOLDEN / case["gt"][0], GOLDEN / case["pred"]).warnings)
    assert "category_id is not among" in warnings
    assert "not annotated exhaustively" in warnings
    assert "crowd" in warnings


def test_one_sided_sets_are_defined_and_told():
    positives = ground_truth(0, boxes={0: [(1, 1, 5, 5)]})
    assert "no pair is negative" in scored(positives, perfect(positives)).warnings[0]
    assert scored(positives, perfect(positives)).cgF1 == 0
    empty = copy.deepcopy(positives)
    empty["images"][0]["is_instance_exhaustive"] = 0
    metrics = scored(empty, perfect(positives))
    assert (metrics.cgF1, metrics.pmF1, metrics.IL_MCC) == (0, 0, 0)
    assert any("no pair is left" in warning for warning in metrics.warnings)


def test_annotators_must_share_their_pairs():
    one, other = ground_truth(0, pairs=4), ground_truth(0, pairs=3)
    with pytest.raises(LitetextError, match="no pair has id 3"):
        scored([one, other], [])
    assert len(scored([other, one], []).scores) == 3


def test_a_ground_truth_read_once_serves_many_systems():
    truth = read_ground_truth(GOLDEN / "gt_a.json")
    assert evaluate_images(truth, GOLDEN / "pred.json").cgF1 > evaluate_images(truth, GOLDEN / "pred_empty.json").cgF1


def test_masks_and_boxes_are_not_mixed():
    with pytest.raises(LitetextError, match=r"gt_a.json for bbox; read both alike"):
        evaluate_images(read_ground_truth(GOLDEN / "gt_a.json", "bbox"), GOLDEN / "pred.json")


def test_documents_may_hold_what_numpy_and_pycocotools_give():
    document = ground_truth(0)
    results = perfect(document)
    given = [
        {
            **result,
            "image_id": np.int64(result["image_id"]),
            "score": np.float32(0.75),
            "bbox": np.array(result["bbox"]),
            "segmentation": {
                "size": tuple(result["segmentation"]["size"]),
                "counts": result["segmentation"]["counts"].encode(),
            },
        }
        for result in results
    ]
    plain = [{**result, "score": 0.75} for result in results]
    truth = ground_truth_from(document)
    assert evaluate_images(truth, given).to_dict() == evaluate_images(truth, plain).to_dict()
    with pytest.raises(LitetextError, match="neither a compressed string nor a list of run lengths"):
        evaluate_images(truth, [{**given[0], "segmentation": {"size": (24, 32), "counts": b"\xff"}}])
