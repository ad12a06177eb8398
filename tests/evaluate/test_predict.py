import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from litetext import journal
from litetext.errors import LitetextError
from litetext.evaluate import evaluate_images, ground_truth_from, read_ground_truth
from litetext.evaluate.predict import LazySystem, predict
from litetext.journal import recorded_facts
from litetext.results.rle import decode
from litetext.segment import Instances

from .world import HEIGHT, WIDTH, ground_truth, perfect, without_names

SETTINGS = {"model": "test", "text": None}


class Painter:
    """A system that knows the ground truth; it counts images and can die on one of them."""

    def __init__(self, truth, dies_at=None):
        self.truth, self.dies_at, self.seen = truth, dies_at, []

    def segment(self, images, prompts, *, threshold):
        if images.name == self.dies_at:
            raise KeyboardInterrupt
        self.seen.append(images.name)
        pairs = [pair for pair in self.truth.pairs.values() if pair.file_name == images.name]
        assert [pair.prompt for pair in pairs] == list(prompts)
        regions = [(row, r) for row, pair in enumerate(pairs) for r in self.truth.regions.get(pair.id, ())]
        masks = [decode(region.shape, (HEIGHT, WIDTH)) for _, region in regions]
        return Instances(
            size=(HEIGHT, WIDTH),
            prompts=tuple(prompts),
            presence=np.array([pair.id in self.truth.regions for pair in pairs], dtype=np.float32),
            boxes=np.array([[1, 2, 5, 8]] * len(regions), dtype=np.float32).reshape(-1, 4),
            masks=np.array(masks, dtype=bool).reshape(len(regions), HEIGHT, WIDTH),
            scores=np.full(len(regions), 0.75, dtype=np.float32),
            prompt_index=np.array([row for row, _ in regions], dtype=np.int64),
        )


@pytest.fixture
def world(tmp_path):
    document = ground_truth(4, pairs=10)
    (tmp_path / "truth.json").write_text(json.dumps(document))
    (tmp_path / "images").mkdir()
    for image in document["images"]:
        (tmp_path / "images" / image["file_name"]).touch()
    return tmp_path, read_ground_truth(tmp_path / "truth.json")


def test_predictions_are_written_and_score(world):
    folder, truth = world
    path = predict(Painter(truth), truth, folder / "images", folder / "out.json", settings=SETTINGS)
    metrics = evaluate_images(truth, path)
    assert metrics.cgF1 > 99.9
    first = json.loads(path.read_text())[0]
    assert first["score"] == 0.75
    assert first["presence"] == 1.0
    assert first["bbox"] == pytest.approx([1 / WIDTH, 2 / HEIGHT, 4 / WIDTH, 6 / HEIGHT])
    assert sorted(path.name for path in folder.glob("out*")) == ["out.json", "out.json.run.json"]


def test_a_killed_run_goes_on_where_it_stopped(world):
    folder, truth = world
    whole = predict(Painter(truth), truth, folder / "images", folder / "whole.json", settings=SETTINGS)
    killed = Painter(truth, dies_at="3.png")
    with pytest.raises(KeyboardInterrupt):
        predict(killed, truth, folder / "images", folder / "out.json", settings=SETTINGS)
    assert not (folder / "out.json").exists()
    with (folder / "out.json.partial").open("a") as journal:
        journal.write('{"image": "3.png", "resul')  # the kill fell into a line
    again, steps = Painter(truth), []
    path = predict(
        again,
        truth,
        folder / "images",
        folder / "out.json",
        settings=SETTINGS,
        progress=lambda done, *_: steps.append(done),
    )
    assert killed.seen + again.seen == ["0.png", "1.png", "2.png", "3.png", "4.png"]
    assert steps[-1] == 5
    assert path.read_text() == whole.read_text()


def test_a_finished_run_is_not_predicted_again(world):
    folder, truth = world
    for _ in range(2):
        painter = Painter(truth)
        predict(painter, truth, folder / "images", folder / "out.json", settings=SETTINGS)
    assert painter.seen == []


def test_another_run_is_refused(world):
    folder, truth = world
    predict(Painter(truth), truth, folder / "images", folder / "out.json", settings=SETTINGS)
    with pytest.raises(LitetextError, match="is of another run"):
        predict(Painter(truth), truth, folder / "images", folder / "out.json", settings={**SETTINGS, "text": "s0"})
    painter = Painter(truth)
    other = {**SETTINGS, "text": "s0"}
    predict(painter, truth, folder / "images", folder / "out.json", settings=other, overwrite=True)
    assert len(painter.seen) == 5
    with pytest.raises(KeyboardInterrupt):
        predict(Painter(truth, dies_at="3.png"), truth, folder / "images", folder / "cut.json", settings=SETTINGS)
    with pytest.raises(LitetextError, match=r"cut\.json\.partial is of another run \(its text differ\)"):
        predict(Painter(truth), truth, folder / "images", folder / "cut.json", settings=other)


@pytest.mark.parametrize("change", ["contents", "folder", "same size"])
def test_other_images_are_another_run(world, change):
    folder, truth = world
    images = folder / "images"
    (images / "0.png").write_bytes(b"white" * 10_000)
    predict(Painter(truth), truth, images, folder / "out.json", settings=SETTINGS)
    if change == "folder":
        images = shutil.copytree(images, folder / "others")
    elif change == "contents":
        (images / "3.png").write_bytes(b"black")
    else:  # and the same time of change
        status = (images / "0.png").stat()
        (images / "0.png").write_bytes(b"black" * 10_000)
        os.utime(images / "0.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(LitetextError, match="its images differ"):
        predict(Painter(truth), truth, images, folder / "out.json", settings=SETTINGS)


@pytest.mark.parametrize("name", ["out.json", "out.json.partial", "out.json.run.json"])
@pytest.mark.parametrize("content", ["", "mine", "[]", '{"run": {}}', '["no end'])
@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_the_users_are_refused(world, name, content, overwrite):
    folder, truth = world
    (folder / name).write_text(content)
    with pytest.raises(LitetextError, match="choose another name, or move it away"):
        predict(Painter(truth), truth, folder / "images", folder / "out.json", settings=SETTINGS, overwrite=overwrite)
    assert (folder / name).read_text() == content
    assert sorted(path.name for path in folder.iterdir()) == sorted(["images", "truth.json", name])


def test_predictions_that_were_edited_are_refused(world):
    folder, truth = world
    path = predict(Painter(truth), truth, folder / "images", folder / "out.json", settings=SETTINGS)
    path.write_text("[]")
    with pytest.raises(LitetextError, match="is not what litetext wrote there"):
        predict(Painter(truth), truth, folder / "images", path, settings=SETTINGS, overwrite=True)
    assert path.read_text() == "[]"


def test_one_process_writes_at_a_time(world):
    folder, truth = world

    class Second(Painter):
        def segment(self, images, prompts, *, threshold):
            for settings in (SETTINGS, {**SETTINGS, "threshold": 0.4}):
                with pytest.raises(LitetextError, match="is being written by another process"):
                    predict(
                        Painter(self.truth), self.truth, folder / "images", folder / "out.json",
                        settings=settings, overwrite=True,
                    )  # fmt: skip
            return super().segment(images, prompts, threshold=threshold)

    predict(Second(truth), truth, folder / "images", folder / "out.json", settings=SETTINGS)


def test_a_full_disk_keeps_what_was_predicted_and_names_the_journal(world, monkeypatch):
    folder, truth = world
    written, append = [], journal.Journal.append

    def full_after_two(self, unit, results):
        written.append(unit)
        if len(written) == 3:
            self._file.write(b'{"unit": "2.p')
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(self, unit, results)

    monkeypatch.setattr(journal.Journal, "append", full_after_two)
    with pytest.raises(LitetextError, match=r"out\.json\.partial cannot be written: no space left.*; free some space"):
        predict(Painter(truth), truth, folder / "images", folder / "out.json", settings=SETTINGS)
    monkeypatch.undo()
    again = Painter(truth)
    predict(again, truth, folder / "images", folder / "out.json", settings=SETTINGS)
    assert again.seen == ["2.png", "3.png", "4.png"]


def test_facts_are_recorded_until_the_file_changes(world):
    folder, truth = world
    path = folder / "out.json"
    facts = {"text_parameters": 7}
    predict(Painter(truth), truth, folder / "images", path, settings=SETTINGS, facts=lambda: facts)
    assert recorded_facts(path) == facts
    path.write_text(path.read_text() + " ")
    assert recorded_facts(path) == {}


def test_missing_images_are_told_before_the_first_is_predicted(world):
    folder, truth = world
    (folder / "images" / "4.png").unlink()
    painter = Painter(truth)
    with pytest.raises(LitetextError, match=r"4\.png: no such file \(1 of 5 images are missing\)"):
        predict(painter, truth, folder / "images", folder / "out.json", settings=SETTINGS)
    assert painter.seen == []


def test_coco_predictions_use_coco_ids_and_pixels(tmp_path):
    document = {
        "images": [{"id": 5, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": 3, "name": "dog"}, {"id": 7, "name": "cat"}],
        "annotations": [{**perfect(ground_truth(0, boxes={5: [(2, 3, 6, 7)]}))[0], "category_id": 3}],
    }
    (tmp_path / "truth.json").write_text(json.dumps(document))
    (tmp_path / "a.png").touch()
    truth = read_ground_truth(tmp_path / "truth.json")
    path = predict(Painter(truth), truth, tmp_path, tmp_path / "out.json", settings=SETTINGS)
    (result,) = json.loads(path.read_text())
    assert (result["image_id"], result["category_id"], result["bbox"]) == (5, 3, [1, 2, 4, 6])
    assert evaluate_images(truth, path).pmF1 > 99.9


def test_lvis_images_are_named_by_their_address(tmp_path):
    document = without_names()
    document["images"][0]["coco_url"] = "http://images.cocodataset.org/val2017/000000000007.jpg"
    truth = ground_truth_from(document)
    (tmp_path / "000000000007.jpg").touch()
    painter = Painter(truth)
    path = predict(painter, truth, tmp_path, tmp_path / "out.json", settings=SETTINGS)
    assert painter.seen == ["000000000007.jpg"]
    assert evaluate_images(truth, path).pmF1 > 99.9


def test_a_system_is_loaded_only_when_it_is_asked(world):
    folder, truth = world
    loads = []
    system = LazySystem(lambda: loads.append(1) or Painter(truth))
    predict(system, truth, folder / "images", folder / "out.json", settings=SETTINGS)
    predict(LazySystem(lambda: loads.append(2)), truth, folder / "images", Path(folder / "out.json"), settings=SETTINGS)
    assert loads == [1]
