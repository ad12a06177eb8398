"""What `photo` does on photographs that it never saw, and what its forms cost. Photographs do not come with litetext:

    python benchmarks/photo.py sizes PAIRS.json IMAGES        # at other input sizes
    python benchmarks/photo.py int8 PAIRS.json IMAGES          # in int8 against float32, paired
    python benchmarks/photo.py nncf PAIRS.json IMAGES PHOTOS    # in OpenVINO's int8, calibrated on other photographs
    python benchmarks/photo.py seen PAIRS.json IMAGES TRAINED.json    # against photographs of training
    python benchmarks/photo.py guided PAIRS.json IMAGES       # the semantic map, sharpened along the photograph's edges
    python benchmarks/photo.py time IMAGE                     # five phrases on a photograph, after start, ONNX Runtime
    python benchmarks/photo.py paste RUN_WITH RUN_WITHOUT     # of `litetext photo train --paste 0.5` and 0
    python benchmarks/photo.py last RUN_WITH RUN_WITHOUT      # of `litetext photo tune --last-rate 0.1` and 0
    python benchmarks/photo.py pseudo DATA MASKS              # Caltech-101's photographs that photo could outline
    python benchmarks/photo.py before PAIRS.json IMAGES MODEL # of the model folder that was tuned

PAIRS.json and TRAINED.json are what `tools/make_photo_pairs.py` wrote. Seconds are on the clock, medians; they want an
idle machine, and the load is recorded beside them. Results go to benchmarks/photo.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter as clock
from types import SimpleNamespace
from typing import Any

RESULTS = Path(__file__).with_suffix(".json")
MEASURE = Path(__file__).resolve().parent.parent / "tools" / "measure_photo.py"
sys.path.append(str(MEASURE.parent))
SIZES = (256, 320, 416, 512, 608)
PHRASES = ["person", "dog", "car", "a cup", "chair"]
CARD = ("semantic_iou", "semantic_iou_large", "IL_MCC", "pmF1", "cgF1", "cgF1_low", "cgF1_high")


def sizes(pairs: str, images: str) -> None:
    """The card's figures at several input sizes."""
    record("sizes", {str(size): _card(pairs, images, size) for size in SIZES})


def seen(pairs: str, images: str, trained: str) -> None:
    """The card's figures on held-out photographs and on as many of training."""
    record("seen", {"held out": _card(pairs, images), "of training": _card(trained, images)})


def _card(pairs: str, images: str, size: int | None = None, model: str | None = None) -> dict[str, float]:
    """What tools/measure_photo.py says of a model folder; of the shipped one if none is given."""
    from litetext.data import resolve

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "facts.json"
        options = [] if size is None else ["--image-size", str(size)]
        command = [sys.executable, MEASURE, model or resolve("photo"), out, "--set", "pairs", pairs, images, *options]
        subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
        (figures,) = json.loads(out.read_text())["figures"]
    return {name: round(figures[name], 3) for name in CARD}


def int8(pairs: str, images: str) -> None:
    """The scores of an int8 export against float32 on the same pairs."""
    record("int8", _against_float32(pairs, images, "onnx", precision="int8", graph_precision="int8"))


def nncf(pairs: str, images: str, photos: str, count: int = 64) -> None:
    """The same in OpenVINO's int8, which must not be asked with tcmalloc preloaded."""
    chosen = sorted(Path(photos).iterdir())[:count]
    found = _against_float32(pairs, images, "openvino", graph_precision="nncf-int8", calibration=chosen)
    record("nncf", {"calibrated on": len(chosen), **found})


def _against_float32(pairs: str, images: str, backend: str, **options: Any) -> dict[str, Any]:
    """Export photo, and compare its scores with those of float32."""
    from litetext.data import SHIPPED_PHRASES
    from litetext.encoders import read_checkpoint
    from litetext.evaluate.compare import compare
    from litetext.prompts import read_prompts
    from litetext.segment.export import export_segmenter
    from litetext.segment.sources import locate

    parts = locate("photo")
    with tempfile.TemporaryDirectory() as folder:
        text, words = read_checkpoint(parts.text), read_prompts(SHIPPED_PHRASES)
        written = export_segmenter(parts.detector, text, f"{folder}/int8", words, **options)
        exact = _scores("photo", pairs, images, folder, "onnx")
        rough = _scores(f"{folder}/int8", pairs, images, folder, backend)
    differences = compare(exact, rough).to_dict()["differences"]
    return {"bytes": written.bytes, **{name: differences[name] for name in ("cgF1", "pmF1", "IL_MCC")}}


def _scores(model: str, pairs: str, images: str, folder: str, backend: str) -> Any:
    from litetext import Segmenter
    from litetext.evaluate.image import score_pairs
    from litetext.evaluate.predict import predict
    from litetext.results.formats.saco import read_ground_truth, read_predictions

    truth = read_ground_truth(Path(pairs))
    segmenter = Segmenter.from_pretrained(model, backend=backend, threads=1)
    destination = Path(folder) / f"{Path(model).name}.json"
    predict(segmenter, truth, Path(images), destination, settings={"model": model})
    return score_pairs([truth], read_predictions(destination))


def guided(pairs: str, images: str, radius: int = 8, epsilon: float = 1e-3) -> None:
    """The semantic map's IoU as it is, and after a guided filter, at two thresholds of its probability."""
    import numpy as np
    import torch
    from measure_photo import iou, semantic_maps, union

    from litetext import Segmenter
    from litetext.evaluate.predict import pairs_by_image
    from litetext.results.formats.saco import read_ground_truth

    truth = read_ground_truth(Path(pairs))
    found: dict[str, list[float]] = {}
    with torch.inference_mode():
        segmenter = Segmenter.from_pretrained("photo", device="cpu")
        for image, asked, _, maps in semantic_maps(segmenter, pairs_by_image(truth, Path(images)), Path(images)):
            for row, pair in enumerate(asked):
                if regions := truth.regions.get(pair.id, ()):
                    wanted, plain = union(regions, image.shape[:2]), 1 / (1 + np.exp(-maps(row)))
                    sharp = _guided(image.astype(np.float32) / 255, plain, radius, epsilon)
                    for name, probability in (("plain", plain), ("guided", sharp)):
                        for least in (0.3, 0.5):
                            found.setdefault(f"{name}, from {least} on", []).append(iou(probability > least, wanted))
    record(
        "guided",
        {"radius": radius, "epsilon": epsilon, **{name: round(np.mean(one), 3) for name, one in found.items()}},
    )


def _guided(image: Any, values: Any, radius: int, epsilon: float) -> Any:
    """The guided filter of He, Sun and Tang (2010): `values` [h, w] as a linear map of colours, `image` [h, w, 3]."""
    import cv2
    import numpy as np

    def mean(maps: Any) -> Any:
        return cv2.boxFilter(maps, -1, (2 * radius + 1, 2 * radius + 1))

    color, value = mean(image), mean(values)
    products = mean((image[..., :, None] * image[..., None, :]).reshape(*values.shape, 9)).reshape(*values.shape, 3, 3)
    spread = products - color[..., :, None] * color[..., None, :] + epsilon * np.eye(3, dtype=np.float32)
    together = mean(image * values[..., None]) - color * value[..., None]
    slope = np.linalg.solve(spread, together[..., None])[..., 0]
    return (mean(slope) * image).sum(-1) + mean(value - (slope * color).sum(-1))


def time(image: str, rounds: int = 9) -> None:
    """Seconds of five phrases on a photograph, from its file to masks, by threads."""
    from litetext import Segmenter

    found: dict[str, Any] = {"phrases": len(PHRASES), "load_average": round(os.getloadavg()[0], 2)}
    for threads in (1, 2):
        segmenter = Segmenter.from_pretrained("photo", backend="onnx", threads=threads)
        segmenter.segment(image, PHRASES)
        seconds = []
        for _ in range(rounds):
            start = clock()
            segmenter.segment(image, PHRASES)
            seconds.append(clock() - start)
        found[f"seconds_{threads}_threads"] = round(statistics.median(seconds), 3)
    record("time", found)


def paste(with_pasting: str, without: str) -> None:
    """The last figures on held-out photographs of two runs that differ in --paste alone."""
    record("paste", {"with": _last(Path(with_pasting)), "without": _last(Path(without))})


def last(with_last: str, without: str) -> None:
    """The last figures on held-out photographs of two tunings that differ in --last-rate alone."""
    record("last", {"with": _last(Path(with_last)), "without": _last(Path(without))})


def before(pairs: str, images: str, model: str) -> None:
    """The card's figures of the model folder that the shipped one was tuned from."""
    record("before", _card(pairs, images, model=model))


def pseudo(data: str, masks: str, least: float = 0.7) -> None:
    """Of Caltech-101's photographs that GrabCut left without outline (an empty file in MASKS): those photo outlines."""
    import torch
    from measure_photo import semantic_maps

    from litetext import Segmenter
    from litetext.photo.concepts import CALTECH
    from litetext.photo.imagenet import concept_rows, label_names
    from litetext.photo.photographs import is_recognised
    from litetext.photo.train import PhotoData

    source, root = PhotoData(Path(data)), Path(data) / "caltech101"
    rows = dict(zip(source.concepts.all, concept_rows(source.concepts, label_names()), strict=True))
    counts = {"without outline": 0, "known to the classifier": 0, "seen": 0, "outlined": 0}
    with torch.inference_mode():
        segmenter = Segmenter.from_pretrained("photo", device="cpu")
        for category in CALTECH:
            concept = source.concepts.all[source.concepts.caltech[category]]
            paths = [path for path in sorted((Path(masks) / category).glob("*.png")) if not path.stat().st_size]
            counts["without outline"] += len(paths)
            if not rows[concept]:
                continue
            counts["known to the classifier"] += len(paths)
            asked = {f"{category}/{path.stem}.jpg": [SimpleNamespace(prompt=concept.name)] for path in paths}
            for image, _, output, maps in semantic_maps(segmenter, asked, root):
                if output.presence[0] > math.log(least / (1 - least)):
                    counts["seen"] += 1
                    mask = maps(0) > 0
                    fits = bool(0.03 < mask.mean() < 0.8)
                    counts["outlined"] += fits and is_recognised(image, mask, rows[concept], source.classifier)
    record("pseudo", {"least presence": least, **counts})


def _last(run: Path) -> dict[str, float]:
    with (run / "losses.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("held_out_semantic_iou")]
    names = ("semantic_iou", "semantic_iou_large", "presence_auc", "presence_mcc", "pmF1")
    return {"step": int(rows[-1]["step"]), **{name: round(float(rows[-1][f"held_out_{name}"]), 3) for name in names}}


def record(name: str, part: dict[str, Any]) -> None:
    """Keep a result beside the others in benchmarks/photo.json."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept[name] = part
    kept["setup"] = {"machine": platform.machine(), "cores": os.cpu_count()}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    print(json.dumps(part), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    stages = {"sizes": sizes, "int8": int8, "nncf": nncf, "seen": seen, "guided": guided, "time": time, "paste": paste}
    stages |= {"last": last, "before": before, "pseudo": pseudo}
    parser.add_argument("stage", choices=stages)
    parser.add_argument("rest", nargs="*")
    given = parser.parse_args()
    stages[given.stage](*given.rest)


if __name__ == "__main__":
    main()
