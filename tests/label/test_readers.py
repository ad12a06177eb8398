"""Datasets open in the tools that people train and look with, where these are installed."""

from __future__ import annotations

import sys
import tarfile
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litetext.errors import LitetextError
from litetext.images import read_image
from litetext.label.datasets import write_datasets
from litetext.label.fiftyone import FIELD, load_job, samples

from .conftest import ColorSegmenter, job


class _Values(dict[str, Any]):
    """Stands for FiftyOne's documents, which are made of named values and read as attributes or items."""

    def __init__(self, **values: Any) -> None:
        super().__init__(values)
        self.__dict__.update(values)


class _Dataset:
    def __init__(self, name: str | None, persistent: bool) -> None:
        self.name, self.persistent, self.samples = name, persistent, list[Any]()

    def add_samples(self, found: list[Any]) -> None:
        self.samples += found


@pytest.fixture
def fiftyone(monkeypatch: pytest.MonkeyPatch) -> Any:
    """FiftyOne, or a stand-in; the dataset is one in any case, since FiftyOne's needs a MongoDB that runs."""
    try:
        import fiftyone
    except ImportError:
        module: Any = types.ModuleType("fiftyone")
        module.Sample = module.Detection = module.Detections = _Values
        monkeypatch.setitem(sys.modules, "fiftyone", module)
        fiftyone = module
    monkeypatch.setattr(fiftyone, "Dataset", _Dataset, raising=False)
    return fiftyone


def test_fiftyone_has_the_boxes_and_masks_of_a_job(
    fiftyone: Any, segmenter: ColorSegmenter, photos: Path, tmp_path: Path
) -> None:
    one = job(tmp_path / "out", val=0.5)
    one.run([str(photos)])
    dataset = load_job(tmp_path / "out", "photos", persistent=True)
    assert (dataset.name, dataset.persistent) == ("photos", True)
    labelled = [entry for entry in one.entries() if entry.is_labeled]
    assert [sample.tags for sample in dataset.samples] == [[entry.split(0.5)] for entry in labelled]
    for sample, entry in zip(dataset.samples, labelled, strict=True):
        height, width = read_image(Path(sample.filepath)).shape[:2]
        found = one.settled(one.store().instances(entry.sha256))
        detections = sample[FIELD].detections
        assert [detection.label for detection in detections] == [found.prompts[row] for row in found.prompt_index]
        for detection, mask in zip(detections, found.masks, strict=True):
            x, y, w, h = (detection.bounding_box * np.array([width, height, width, height])).round().astype(int)
            drawn = np.zeros((height, width), bool)
            drawn[y : y + h, x : x + w] = detection.mask
            assert np.array_equal(drawn, mask)


def test_images_inside_other_files_are_written_out(
    fiftyone: Any, segmenter: ColorSegmenter, photos: Path, tmp_path: Path
) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        archive.add(photos / "a", "a")
    one = job(tmp_path / "out")
    one.run([str(tmp_path / "s.tar")])
    with pytest.raises(LitetextError, match="give images=DIR to write such images to"):
        list(samples(one))
    written = [Path(sample.filepath) for sample in samples(one, tmp_path / "images")]
    assert written and all(path.is_relative_to(tmp_path / "images") and read_image(path).any() for path in written)


def test_without_fiftyone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "fiftyone", None)
    with pytest.raises(LitetextError, match="pip install fiftyone"):
        load_job(tmp_path)


def test_ultralytics_trains_on_it(segmenter: ColorSegmenter, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("ultralytics", reason="ultralytics is not installed")
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    one = job(tmp_path / "out", val=0.5)
    one.run([str(photos)])
    (folder,) = write_datasets(one, ["yolo"])
    data = check_det_dataset(str(folder / "data.yaml"))
    assert list(data["names"].values()) == [concept.name for concept in one.concepts]
    images, objects = 0, 0
    for split in ("train", "val"):
        read = YOLODataset(img_path=data[split], data=data, task="segment", augment=False)
        images += len(read)
        objects += sum(len(label["segments"]) for label in read.labels)
    labelled = [entry for entry in one.entries() if entry.is_labeled]
    assert images == len(labelled)
    assert objects == sum(len(one.settled(one.store().instances(entry.sha256))) for entry in labelled)
