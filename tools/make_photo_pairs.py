"""Write ground truth for `litetext evaluate`: for every photograph what it shows, and as much that it does not.

python tools/make_photo_pairs.py INSTANCES.json OUT.json [--only NAMES.json] [--leave-out NAMES.json] [--seed 0]

INSTANCES.json is in COCO's format. A category is asked for where it covers at least 0.5 % of the photograph; where it
covers less, or is there as a crowd, it is not asked for at all. Absent ones are drawn by the seed and listed as LVIS
does (neg_category_ids).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle

LEAST_AREA = 0.005


def main() -> None:
    """Read, draw, write."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("instances", type=Path)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--only", type=Path)
    arguments.add_argument("--leave-out", type=Path)
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    document = json.loads(given.instances.read_text())
    only = set(json.loads(given.only.read_text())) if given.only else None
    left_out = set(json.loads(given.leave_out.read_text())) if given.leave_out else set()
    names = {entry["file_name"] for entry in document["images"]}
    chosen = (names if only is None else names & only) - left_out
    given.out.write_text(json.dumps(balanced(document, chosen, given.seed)))


def balanced(document: dict[str, Any], chosen: set[str], seed: int) -> dict[str, Any]:
    """Return the chosen photographs with what is to be asked of each."""
    rng = np.random.default_rng(seed)
    of_image: dict[int, list[dict[str, Any]]] = {}
    for annotation in document["annotations"]:
        of_image.setdefault(annotation["image_id"], []).append(annotation)
    every = sorted(category["id"] for category in document["categories"])
    images, annotations = [], []
    for entry in document["images"]:
        if entry["file_name"] not in chosen:
            continue
        own = of_image.get(entry["id"], [])
        crowds = {one["category_id"] for one in own if one.get("iscrowd")}
        there = {one["category_id"] for one in own}
        asked = sorted(
            category
            for category in there - crowds
            if _area([one for one in own if one["category_id"] == category], entry) >= LEAST_AREA
        )
        if not asked:
            continue
        absent = rng.choice([category for category in every if category not in there], len(asked), replace=False)
        images.append({**entry, "neg_category_ids": sorted(absent.tolist()), "not_exhaustive_category_ids": []})
        annotations.extend(one for one in own if one["category_id"] in asked)
    return {"images": images, "annotations": annotations, "categories": document["categories"]}


def _area(annotations: list[dict[str, Any]], entry: dict[str, Any]) -> float:
    """The share of a photograph that annotations cover together."""
    masks = []
    for annotation in annotations:
        found = annotation["segmentation"]
        if isinstance(found, list):
            masks.extend(rle.frPyObjects(found, entry["height"], entry["width"]))
        elif isinstance(found["counts"], list):
            masks.append(rle.frPyObjects(found, *found["size"]))
        else:
            masks.append(found)
    return float(rle.area(rle.merge(masks))) / (entry["height"] * entry["width"])


if __name__ == "__main__":
    main()
