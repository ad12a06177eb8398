"""The seven subsets ask what their names say, and SA-Co's own rules score them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from litetext.evaluate.image import evaluate_images
from litetext.evaluate.tables import read_benchmark
from litetext.mini.concepts import CONCEPTS
from litetext.mini.export import draw_pairs
from litetext.mini.gold import ANNOTATORS, SUBSETS, export_gold
from litetext.mini.language import Query
from litetext.mini.world import TRAINING_STYLES, World, held_out

KNOWN = [concept.name for concept in CONCEPTS[:40]]


@pytest.fixture(scope="module")
def gold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gold") / "world"
    export_gold(KNOWN, TRAINING_STYLES, 64, 5, 16, folder)
    return folder


def _read(gold: Path, subset: str, annotator: str = "a") -> dict[str, list[dict[str, object]]]:
    document: dict[str, list[dict[str, object]]] = json.loads(
        (gold / "annotations" / f"gold_{subset}_merged_{annotator}_release_test.json").read_text()
    )
    return document


def test_every_subset_asks_its_own_kind_of_question(gold: Path) -> None:
    kind_of = {concept.name: concept.kind for concept in CONCEPTS}

    def asked(subset: str) -> list[str]:
        return [str(image["queried_category"]) for image in _read(gold, subset)["images"]]

    assert all(KNOWN.index(name) < 20 for name in asked("common"))
    assert all(KNOWN.index(name) >= 20 for name in asked("rare"))
    assert {kind_of[name] for name in asked("food")} <= {"food", "fruit", "vegetable", "drink"}
    assert {kind_of[name] for name in asked("sports")} <= {"sport", "vehicle"}
    stats = json.loads((gold / "stats.json").read_text())["subsets"]
    assert set(stats) == {subset.name for subset in SUBSETS}
    assert stats["crowded"]["objects_a_scene"] > 6 > stats["common"]["objects_a_scene"]
    assert stats["wiki"]["phrase_kinds"]["name"] == stats["attributes"]["phrase_kinds"]["name"] == 0
    assert all(row["pairs"] == 16 and 0.3 < row["negative_share"] <= 0.5 for row in stats.values())


def test_annotators_agree_on_the_pairs_and_differ_in_their_outlines(gold: Path) -> None:
    exact, unsteady = _read(gold, "crowded", "a"), _read(gold, "crowded", "b")
    assert exact["images"] == unsteady["images"]
    assert _read(gold, "crowded", "c")["annotations"] != unsteady["annotations"]

    def covered(document: dict[str, list[dict[str, object]]]) -> dict[object, np.ndarray]:
        pixels: dict[object, np.ndarray] = {}
        for entry in document["annotations"]:
            mask = coco_mask.decode(entry["segmentation"]).astype(bool)
            assert mask.any()
            pixels[entry["image_id"]] = pixels.get(entry["image_id"], False) | mask
        return pixels

    a, b = covered(exact), covered(unsteady)
    assert set(a) == set(b)
    overlap = [(a[pair] & b[pair]).sum() / (a[pair] | b[pair]).sum() for pair in a]
    assert 0.5 < np.mean(overlap) < 0.99


def test_exact_answers_score_100_with_all_three_annotators(gold: Path) -> None:
    subsets = read_benchmark([gold / "annotations"])
    assert {subset.name for subset in subsets} == {subset.name for subset in SUBSETS}
    for subset in subsets:
        assert len(subset.truths) == len(ANNOTATORS)
        document = _read(gold, subset.name)
        answers = [
            {key: entry[key] for key in ("image_id", "category_id", "bbox", "segmentation")} | {"score": 1.0}
            for entry in document["annotations"]
        ]
        metrics = evaluate_images(list(subset.truths), answers)
        assert metrics.cgF1 > 99.9


def test_new_combinations_are_what_training_never_met() -> None:
    world = World(KNOWN, size=64)
    new = draw_pairs(world, 1, 12, wanted=lambda pair: _is_new(pair.query))
    assert len(new.pairs) == 12 and all(_is_new(pair.query) for _, pair in new.pairs)
    trained = draw_pairs(World(KNOWN, size=64, hold_out=True), 1, 200)
    assert not any(_is_new(pair.query) for _, pair in trained.pairs)
    assert not any(
        thing.color and held_out(thing.traits.concept, thing.color)
        for scene in trained.scenes
        for thing in scene.objects
    )


def _is_new(query: Query) -> bool:
    return query.color is not None and held_out(query.concept, query.color)
