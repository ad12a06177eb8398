"""Small random pairs with ground truth and predictions, as documents in SA-Co's layout, for this folder's tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from litetext.results.rle import encode

HEIGHT, WIDTH = 24, 32
WORDS = ["red", "ball", "small", "dog", "wooden", "crate"]


def rectangle(box: tuple[int, int, int, int]) -> dict[str, Any]:
    x, y, width, height = box
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[y : y + height, x : x + width] = True
    return {"size": [HEIGHT, WIDTH], "counts": encode(mask).decode()}


def normalised(box: tuple[int, int, int, int]) -> list[float]:
    x, y, width, height = box
    return [x / WIDTH, y / HEIGHT, width / WIDTH, height / HEIGHT]


def random_boxes(rng: np.random.Generator, count: int) -> list[tuple[int, int, int, int]]:
    return [
        (int(x), int(y), int(w), int(h))
        for x, y, w, h in zip(
            rng.integers(0, WIDTH - 10, count),
            rng.integers(0, HEIGHT - 10, count),
            rng.integers(2, 10, count),
            rng.integers(2, 10, count),
            strict=True,
        )
    ]


def ground_truth(seed: int, pairs: int = 12, boxes: dict[int, list[Any]] | None = None) -> dict[str, Any]:
    """A SA-Co document; the given boxes of each pair, or random ones (none in about a third of the pairs)."""
    rng = np.random.default_rng(seed)
    boxes = boxes or {i: random_boxes(rng, int(rng.integers(1, 4)) * bool(rng.random() < 0.65)) for i in range(pairs)}
    images = [
        {
            "id": pair,
            "file_name": f"{pair // 2}.png",
            "text_input": " ".join(WORDS[(pair + k) % len(WORDS)] for k in range(1 + pair % 3)),
            "width": WIDTH,
            "height": HEIGHT,
            "is_instance_exhaustive": 1,
        }
        for pair in boxes
    ]
    annotations = [
        {"image_id": pair, "category_id": 1, "iscrowd": 0, "segmentation": rectangle(box), "bbox": normalised(box)}
        for pair, several in boxes.items()
        for box in several
    ]
    for number, annotation in enumerate(annotations):
        annotation["id"] = number
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}


def without_names() -> dict[str, Any]:
    """An LVIS document of one image that has no name, with two categories in it and one that is not."""
    return {
        "images": [{"id": 7, "width": WIDTH, "height": HEIGHT, "neg_category_ids": [3]}],
        "annotations": [
            {
                "id": id,
                "image_id": 7,
                "category_id": id,
                "segmentation": rectangle((id, 1, 6, 6)),
                "bbox": [id, 1, 6, 6],
            }
            for id in (1, 2)
        ],
        "categories": [{"id": id, "name": name} for id, name in enumerate(("dog", "cat", "kite"), start=1)],
    }


def shaken(document: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    """Predictions: most objects moved a little, some dropped, some false; scores are distinct."""
    rng = np.random.default_rng(seed)
    results = []
    for annotation in document["annotations"]:
        x, y, w, h = annotation["bbox"]
        box = (round(x * WIDTH), round(y * HEIGHT), round(w * WIDTH), round(h * HEIGHT))
        if rng.random() < 0.8:
            box = (box[0] + int(rng.integers(0, 2)), box[1], box[2], max(box[3] - int(rng.integers(0, 2)), 1))
            results.append((annotation["image_id"], box))
    for image in document["images"]:
        if rng.random() < 0.3:
            results.append((image["id"], random_boxes(rng, 1)[0]))
    scores = rng.permutation(np.linspace(0.3, 0.99, len(results)))
    return [
        {"image_id": pair, "category_id": 1, "score": float(s), "segmentation": rectangle(box), "bbox": normalised(box)}
        for (pair, box), s in zip(results, scores, strict=True)
    ]


def perfect(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**annotation, "score": 0.9} for annotation in document["annotations"]]
