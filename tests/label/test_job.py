"""A job loses no image, does none twice, goes on where it stopped, and says what it did not find."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from litetext.errors import LitetextError
from litetext.label import Concept, Job
from litetext.label.datasets import write_datasets
from litetext.label.labeler import ImageRow, Labeler
from litetext.label.settling import Rules, settled
from litetext.label.sources import ImageRef
from litetext.label.store import Store, write_shard
from litetext.label.summary import summarize
from litetext.results import Instances, Masks
from litetext.results.formats import coco, label_studio, labelme, pascal_voc, saco, table, yolo

from ..killing import check_same_files
from .conftest import ColorSegmenter, job, picture


def _labels(one: Job) -> dict[str, dict[str, int]]:
    store = one.store()
    return {entry.name: one.settled(store.instances(entry.sha256)).counts for entry in one.entries() if not entry.error}


def test_every_image_is_labelled_once(segmenter: ColorSegmenter, photos: Path, tmp_path: Path) -> None:
    one = job(tmp_path / "out")
    outcome = one.run([str(photos)])
    assert (outcome.images, outcome.labeled, outcome.failed, segmenter.seen) == (13, 13, 0, 13)
    found = _labels(one)
    assert found["empty.png"] == {"red": 0, "green": 0, "blue": 0}
    for number in range(2, 12):
        counts = found[f"{'ab'[number > 5]}/{number:02}.png"]
        assert counts == {color: int(place == number % 3) for place, color in enumerate(("red", "green", "blue"))}
    again = one.run([str(photos)])
    assert (again.labeled, segmenter.seen) == (0, 13)


def test_other_thresholds_need_no_model(segmenter: ColorSegmenter, photos: Path, tmp_path: Path) -> None:
    job(tmp_path / "out").run([str(photos)])
    higher = job(tmp_path / "out", *(Concept(color, threshold=0.8) for color in ("red", "green", "blue")))
    assert higher.run([str(photos)]).labeled == 0
    assert sum(sum(counts.values()) for counts in _labels(higher).values()) == 3
    lower = job(tmp_path / "out", *(Concept(color, threshold=0.2) for color in ("red", "green", "blue")))
    assert lower.run([str(photos)]).labeled == 13  # the shards hold nothing below 0.3
    between = job(tmp_path / "out", *(Concept(color, threshold=0.25) for color in ("red", "green", "blue")))
    assert between.run([str(photos)]).labeled == 0  # but now they do
    proven = Job.open(tmp_path / "out").with_concepts(higher.concepts)
    assert _labels(proven) == _labels(higher)


def test_a_name_that_is_not_utf8_is_labelled_too(segmenter: ColorSegmenter, photos: Path, tmp_path: Path) -> None:
    picture(photos / os.fsdecode(b"caf\xe9.png"), "red", 0.9)
    one = job(tmp_path / "out")
    assert one.run([str(photos)]).labeled == 14
    assert _labels(one)["caf\N{REPLACEMENT CHARACTER}.png"]["red"] == 1
    found = next(entry for entry in one.entries() if entry.name.startswith("caf"))
    assert found.ref.read() == (photos / os.fsdecode(b"caf\xe9.png")).read_bytes()


def test_a_moved_image_is_known_and_a_changed_one_is_not(
    segmenter: ColorSegmenter, photos: Path, tmp_path: Path
) -> None:
    one = job(tmp_path / "out")
    one.run([str(photos)])
    (photos / "a" / "00.png").rename(photos / "b" / "moved.png")
    picture(photos / "a" / "01.png", "blue", 0.9)
    assert one.run([str(photos)]).labeled == 1
    assert _labels(one)["a/01.png"] == {"red": 0, "green": 0, "blue": 1}


def test_copies_are_labelled_once_and_named(segmenter: ColorSegmenter, photos: Path, tmp_path: Path) -> None:
    shutil.copy(photos / "a" / "03.png", photos / "b" / "copy.png")
    one = job(tmp_path / "out", image_batch=5)
    outcome = one.run([str(photos)])
    assert (outcome.images, outcome.labeled, outcome.duplicates) == (14, 13, 1)
    assert [entry.duplicate_of for entry in one.entries() if entry.name == "b/copy.png"] == ["a/03.png"]
    assert _labels(one)["b/copy.png"] == _labels(one)["a/03.png"]


@pytest.mark.parametrize("image_batch", [1, 4])
def test_poison_is_set_aside_with_its_reason(
    segmenter: ColorSegmenter, photos: Path, tmp_path: Path, image_batch: int
) -> None:
    (photos / "a" / "cut.png").write_bytes((photos / "a" / "00.png").read_bytes()[:60])
    (photos / "b" / "text.jpg").write_text("no image")
    (photos / "void.png").write_bytes(b"")
    picture(photos / "b" / "thirteen.png", "red", size=(13, 32))  # the model itself fails on it
    (photos / "list.txt").write_text("missing.png\n")
    one = job(tmp_path / "out", image_batch=image_batch)
    outcome = one.run([str(photos), str(photos / "list.txt")])
    assert (outcome.images, outcome.labeled, outcome.failed) == (18, 13, 5)
    failed = [json.loads(line) for line in (tmp_path / "out" / "failed.jsonl").read_text().splitlines()]
    assert {entry["image"] for entry in failed} == {
        "a/cut.png", "b/text.jpg", "void.png", "b/thirteen.png", "missing.png"
    }  # fmt: skip
    reasons = {entry["image"]: entry["error"] for entry in failed}
    assert "b/text.jpg is not an image" in reasons["b/text.jpg"]
    assert reasons["b/thirteen.png"] == "RuntimeError: thirteen rows are too many"
    picture(photos / "void.png", "red")
    assert one.run([str(photos)]).labeled == 1  # what failed is tried again


def test_a_model_that_fails_on_everything_stops_the_job(
    segmenter: ColorSegmenter, photos: Path, tmp_path: Path
) -> None:
    for number in range(9):
        picture(tmp_path / "bad" / f"{number}.png", "red", size=(13, 32), seed=number)
    with pytest.raises(LitetextError, match="the model failed on 8 images in a row"):
        job(tmp_path / "out").run([str(tmp_path / "bad")])


def test_a_full_disk_stops_cleanly(
    segmenter: ColorSegmenter, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, write, written = job(tmp_path / "out"), Path.write_text, []

    def fills_up(self: Path, *arguments: Any, **options: Any) -> int:
        if self.suffix == ".jsonl" and "shards" in self.parts:
            written.append(self)
            if len(written) == 3:
                write(self, "half")
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return write(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", fills_up)
        with pytest.raises(LitetextError, match="cannot be written: no space left on device; free some space"):
            one.run([str(photos)])
    assert len(list(one.shards.glob("*.jsonl"))) == 2
    assert not list((tmp_path / "out").rglob(".litetext-*"))


def test_after_a_full_disk_the_rest_is_done(segmenter: ColorSegmenter, photos: Path, tmp_path: Path) -> None:
    one = job(tmp_path / "out")
    one.run([str(photos / "a")])
    with pytest.raises(LitetextError, match="was not labelled to the end"):
        list(job(tmp_path / "other").entries())
    assert one.run([str(photos)]).labeled == 7


def test_ctrl_c_saves_what_was_done(
    segmenter: ColorSegmenter, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, detect = job(tmp_path / "out", shard_size=100), ColorSegmenter.detect

    def interrupted(self: ColorSegmenter, *arguments: Any, **options: Any) -> Instances:
        if self.seen == 8:
            raise KeyboardInterrupt
        return detect(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(ColorSegmenter, "detect", interrupted)
        with pytest.raises(KeyboardInterrupt, match="7 images of this run are saved"):
            one.run([str(photos)])
    assert one.run([str(photos)]).labeled == 6


def test_one_process_at_a_time(segmenter: ColorSegmenter, photos: Path, tmp_path: Path) -> None:
    one = job(tmp_path / "out")
    with one._own(), pytest.raises(LitetextError, match="is being labelled by another process"):
        job(tmp_path / "out").run([str(photos)])


def test_folders_that_are_not_the_jobs_are_refused(segmenter: ColorSegmenter, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(LitetextError, match="holds no labelling job that litetext wrote"):
        job(photos).run([str(photos / "a")])
    with pytest.raises(LitetextError, match="lies in the input"):
        job(photos / "out").run([str(photos)])
    with pytest.raises(LitetextError, match="holds no labelling job; make one with"):
        Job.open(photos)


def test_a_job_is_opened_as_it_was(segmenter: ColorSegmenter, photos: Path, tmp_path: Path) -> None:
    one = job(tmp_path / "out", Concept("red", ["rose"], threshold=0.6), val=0.3, rules=Rules(0.5, None, "off"))
    one.run([str(photos)])
    again = Job.open(tmp_path / "out")
    assert (again.concepts, again.settings) == (one.concepts, one.settings)
    assert _labels(again) == _labels(one)


def test_datasets_of_every_format_hold_the_same(segmenter: ColorSegmenter, photos: Path, tmp_path: Path) -> None:
    (photos / "bad.png").write_text("no image")
    one = job(tmp_path / "out", val=0.4)
    one.run([str(photos)])
    formats = ("coco", "csv", "label-studio", "labelme", "saco", "voc", "yolo")
    folders = dict(zip(formats, write_datasets(one, formats), strict=True))
    splits = {entry.name: entry.split(0.4) for entry in one.entries() if not entry.error}
    assert {"train", "val"} == set(splits.values())
    expected = {name: sum(counts.values()) for name, counts in _labels(one).items()}

    def counts(read: Any, folder: Path) -> dict[str, int]:
        return {f"{image.file_name}": len(image) for image in read(folder)}

    for split in ("train", "val"):
        of_split = {name: count for name, count in expected.items() if splits[name] == split}
        assert counts(coco.read, folders["coco"] / f"{split}.json") == of_split
        assert counts(table.read, folders["csv"] / f"{split}.csv") == of_split
        voc = pascal_voc.read(folders["voc"] / "Annotations" / split)
        assert sorted(len(image) for image in voc) == sorted(of_split.values())
        assert sum(counts(labelme.read, folders["labelme"] / split).values()) == sum(of_split.values())
        truth = saco.read_ground_truth(folders["saco"] / f"{split}.json")
        assert len(truth.pairs) == 3 * len(of_split)
        assert sum(map(len, truth.regions.values())) == sum(of_split.values())
        assert {path.stem for path in (folders["labelme"] / split).rglob("*.png")} == {
            path.stem for path in (folders["labelme"] / split).rglob("*.json")
        }
    assert counts(label_studio.read, folders["label-studio"] / "tasks.json") == expected
    read = counts(yolo.read, folders["yolo"])
    assert read == {f"{splits[name]}/{name}": count for name, count in expected.items()}


def test_links_leave_the_users_files_alone_and_changed_datasets_stay(
    segmenter: ColorSegmenter, photos: Path, tmp_path: Path
) -> None:
    for path in photos.rglob("*.png"):
        path.chmod(0o600)
    one = job(tmp_path / "out")
    one.run([str(photos)])
    write_datasets(one, ["yolo"])
    write_datasets(one, ["yolo"], images="copy")
    assert {path.stat().st_mode & 0o777 for path in photos.rglob("*.png")} == {0o600}
    (tmp_path / "out" / "yolo" / "data.yaml").write_text("mine")
    with pytest.raises(LitetextError, match=r"yolo/data\.yaml is not as litetext wrote it"):
        write_datasets(one, ["yolo"])


def test_a_resumed_job_ends_as_an_unbroken_one(segmenter: ColorSegmenter, photos: Path, tmp_path: Path) -> None:
    for name, inputs in {"whole": [photos], "parts": [photos / "b", photos]}.items():
        one = job(tmp_path / name)
        for given in inputs:
            one.run([str(given)])
        write_datasets(one, ["coco", "yolo"])
        shutil.rmtree(tmp_path / name / "shards")  # which images share a shard may differ
    check_same_files(tmp_path / "parts", tmp_path / "whole")


def test_the_summary_tells_what_was_not_found(segmenter: ColorSegmenter, photos: Path, tmp_path: Path) -> None:
    (photos / "bad.png").write_text("no image")
    one = job(tmp_path / "out", "red", "rusty", Concept("green", threshold=0.99), "yellow")
    summary = summarize(one, one.run([str(photos)]))
    found = {concept.name: concept for concept in summary.concepts}
    assert (summary.images, summary.labeled, summary.failed) == (14, 13, 1)
    assert found["red"].instances == 3 == summary.instances
    assert found["yellow"].nearest == ["red"] and sum(found["green"].histogram) == 4
    assert found["rusty"].warning.startswith("all 3 detections are on objects of a better concept")
    assert summary.empty == 10 == len(summary.empty_names)
    assert summary.warnings[0].startswith("1 images could not be labelled")
    assert "never found: rusty, green, yellow" in summary.warnings[1]
    silent = job(tmp_path / "silent", "yellow")
    silent.run([str(photos)])
    assert any(line.startswith("nothing was found in any image") for line in summarize(silent).warnings)


def test_a_damaged_shard_is_named(segmenter: ColorSegmenter, photos: Path, tmp_path: Path) -> None:
    one = job(tmp_path / "out")
    one.run([str(photos)])
    shard = next(one.shards.glob("*.jsonl"))
    text = shard.read_text()
    shard.write_text(text.replace('"rle": ["', '"rle": ["0'))
    with pytest.raises(LitetextError, match=shard.name):
        _labels(one)
    shard.write_text("{}\n")
    with pytest.raises(LitetextError, match=f"{shard.name} is no shard"):
        one.run([str(photos)])


def test_a_batch_is_a_pure_function(segmenter: ColorSegmenter, photos: Path, tmp_path: Path) -> None:
    labeler = Labeler(segmenter, ["red", "blue"], keep=0.3)  # type: ignore[arg-type]
    contents = [path.read_bytes() for path in sorted(photos.rglob("*.png"))]
    rows = [
        ImageRow(ImageRef(str(n), ""), content, hashlib.sha256(content).hexdigest())
        for n, content in enumerate(contents)
    ]
    labeled = labeler.label_batch(rows)
    assert [row.ref for row in labeled] == [row.ref for row in rows]
    (tmp_path / "s").mkdir()
    first = write_shard(tmp_path / "s", labeled)
    assert first == write_shard(tmp_path / "s", reversed(labeler.label_batch(rows[::-1])))
    store = Store(tmp_path / "s", ["red", "blue"])
    for row in labeled:
        assert row.found is not None
        read = store.instances(row.sha256)
        assert read.masks.counts == row.found.masks.counts
        assert np.array_equal(read.scores, row.found.scores) and read.size == row.found.size


def _boxes(*rows: tuple[str, float, tuple[int, int, int, int]]) -> Instances:
    prompts = tuple(dict.fromkeys(name for name, _, _ in rows))
    masks = np.zeros((len(rows), 40, 40), bool)
    for mask, (_, _, (x1, y1, x2, y2)) in zip(masks, rows, strict=True):
        mask[y1:y2, x1:x2] = True
    found = Masks.from_dense(masks)
    scores = np.array([score for _, score, _ in rows], np.float32)
    index = np.array([prompts.index(name) for name, _, _ in rows])
    return Instances((40, 40), prompts, np.ones(len(prompts), np.float32), found.boxes, found, scores, index)


BIG, SAME, PART, AWAY = (0, 0, 20, 20), (0, 0, 20, 19), (2, 2, 8, 8), (30, 30, 40, 40)


CAR, BUS, WHEEL = Concept("car"), Concept("bus"), Concept("wheel")
TWO = [("car", 0.9, BIG), ("bus", 0.8, SAME)]
WITH_PART = [("car", 0.9, BIG), ("wheel", 0.8, PART)]


@pytest.mark.parametrize(
    ("found", "concepts", "rules", "expected"),
    [
        ([("dog", 0.9, BIG), ("puppy", 0.95, SAME)], [Concept("dog", ["puppy"])], Rules(), {"dog": [0.95]}),
        ([("dog", 0.9, BIG), ("dog", 0.6, PART)], [Concept("dog")], Rules(), {"dog": [0.9]}),
        ([("dog", 0.9, BIG), ("dog", 0.6, PART)], [Concept("dog")], Rules(containment=None), {"dog": [0.9, 0.6]}),
        ([("dog", 0.9, BIG), ("toy", 0.95, SAME)], [Concept("dog", [], ["toy"])], Rules(), {"dog": []}),
        ([("dog", 0.9, BIG), ("toy", 0.8, SAME)], [Concept("dog", [], ["toy"])], Rules(), {"dog": [0.9]}),
        (TWO, [CAR, BUS], Rules(), {"car": [0.9], "bus": []}),
        (TWO, [CAR, Concept("bus", priority=1)], Rules(), {"car": [], "bus": [0.8]}),
        (TWO, [CAR, BUS], Rules(across="off"), {"car": [0.9], "bus": [0.8]}),
        (WITH_PART, [CAR, WHEEL], Rules(), {"car": [0.9], "wheel": [0.8]}),
        (WITH_PART, [CAR, WHEEL], Rules(across="containment"), {"car": [0.9], "wheel": []}),
        ([("dog", 0.6, BIG), ("dog", 0.9, AWAY)], [Concept("dog", max_count=1)], Rules(), {"dog": [0.9]}),
        ([("dog", 0.6, BIG), ("dog", 0.9, AWAY)], [Concept("dog", threshold=0.7)], Rules(), {"dog": [0.9]}),
    ],
)
def test_phrases_settle_into_objects(
    found: list[Any], concepts: list[Concept], rules: Rules, expected: dict[str, list[float]]
) -> None:
    asked = {word: None for concept in concepts for word in (*concept.asked, *concept.negatives)}
    raw = _boxes(*found)
    missing = [word for word in asked if word not in raw.prompts]
    prompts = (*raw.prompts, *missing)
    raw = Instances(
        raw.size, prompts, np.ones(len(prompts), np.float32), raw.boxes, raw.masks, raw.scores, raw.prompt_index
    )
    objects = settled(raw, concepts, rules)
    assert {name: objects[name].scores.tolist() for name in objects.prompts} == {
        name: pytest.approx(scores) for name, scores in expected.items()
    }


def test_images_without_a_file_are_written_beside_the_labels(
    segmenter: ColorSegmenter, photos: Path, tmp_path: Path
) -> None:
    import tarfile

    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        archive.add(photos / "a" / "03.png", "03.png")
    one = job(tmp_path / "out")
    one.run([str(tmp_path / "s.tar")])
    (folder,) = write_datasets(one, ["yolo"])
    (image,) = folder.rglob("03.png")
    assert image.read_bytes() == (photos / "a" / "03.png").read_bytes() and not image.is_symlink()
    with Image.open(image) as opened:
        assert opened.size == (32, 24)


def test_pycocotools_and_supervision_open_the_datasets(segmenter: ColorSegmenter, photos: Path, tmp_path: Path) -> None:
    import supervision
    import yaml
    from pycocotools.coco import COCO

    one = job(tmp_path / "out", val=0.4)
    one.run([str(photos)])
    coco_folder, yolo_folder = write_datasets(one, ["coco", "yolo"])
    for split in ("train", "val"):
        read = COCO(str(coco_folder / f"{split}.json"))
        assert all(read.annToMask(annotation).sum() == annotation["area"] for annotation in read.anns.values())
        data = supervision.DetectionDataset.from_yolo(
            str(yolo_folder / "images" / split / "a"),
            str(yolo_folder / "labels" / split / "a"),
            str(yolo_folder / "data.yaml"),
            force_masks=True,
        )
        inside = [name for name in (image["file_name"] for image in read.imgs.values()) if name.startswith("a/")]
        assert len(data) == len(inside)
    document = yaml.safe_load((yolo_folder / "data.yaml").read_text())
    assert document == {
        "train": "images/train",
        "val": "images/val",
        "names": {0: "red", 1: "green", 2: "blue"},
    }
