"""The export is SA-Co Gold, and says what the world says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from litetext.evaluate.image import evaluate_images
from litetext.mini.concepts import CONCEPTS
from litetext.mini.export import draw_pairs, export, saco_document
from litetext.mini.world import World
from litetext.results.formats.saco import ground_truth_from

WORLD = World([concept.name for concept in CONCEPTS[:20]], size=64)


def test_the_export_holds_the_scenes_exactly(tmp_path: Path) -> None:
    drawn = draw_pairs(WORLD, 1, 30)
    figures = export(drawn, tmp_path / "world", {"seed": 1})
    document = json.loads((tmp_path / "world" / "gold_mini.json").read_text())
    assert json.loads((tmp_path / "world" / "stats.json").read_text()) == figures
    assert [image["id"] for image in document["images"]] == list(range(1, 31))
    for (row, pair), image in zip(drawn.pairs, document["images"], strict=True):
        assert image["text_input"] == pair.text
        assert image["is_instance_exhaustive"] == image["is_pixel_exhaustive"] == 1
        picture = np.asarray(Image.open(tmp_path / "world" / "images" / image["file_name"]))
        assert np.array_equal(picture, drawn.scenes[row].image)
        annotations = [entry for entry in document["annotations"] if entry["image_id"] == image["id"]]
        assert len(annotations) == len(pair.targets)
        for index, entry in zip(pair.targets, annotations, strict=True):
            mask = coco_mask.decode(entry["segmentation"]).astype(bool)
            assert np.array_equal(mask, drawn.scenes[row].mask(index))
            x, y, width, height = (value * 64 for value in entry["bbox"])
            rows, columns = np.nonzero(mask)
            assert [x, y, x + width, y + height] == [
                columns.min(),
                rows.min(),
                columns.max() + 1,
                rows.max() + 1,
            ]


def test_perfect_predictions_score_perfectly() -> None:
    document = saco_document(draw_pairs(WORLD, 2, 40))
    predictions = [
        {key: entry[key] for key in ("image_id", "category_id", "bbox", "segmentation")} | {"score": 0.9}
        for entry in document["annotations"]
    ]
    metrics = evaluate_images(ground_truth_from(document), predictions)
    assert metrics.pmF1 > 99.9 and metrics.IL_MCC > 0.999


def test_the_first_pairs_do_not_depend_on_how_many_are_drawn() -> None:
    few, many = draw_pairs(WORLD, 3, 8), draw_pairs(WORLD, 3, 20)
    assert few.pairs == many.pairs[:8]
