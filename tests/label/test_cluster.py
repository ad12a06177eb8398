"""Workers of Ray find what one machine finds, also where one of them is killed midway."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

from litetext.data import samples
from litetext.errors import LitetextError
from litetext.images import read_image
from litetext.label import Concept, Job, Settings, cluster
from litetext.label.datasets import write_datasets
from litetext.label.labeler import Model
from litetext.label.sources import ImageRef

from ..killing import check_same_files

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crops of the sample scenes, and two files that are no pictures."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("photos")
    for sample in samples():
        photo = read_image(sample.image)
        for shift in range(12):
            Image.fromarray(photo[shift:, shift:]).save(folder / f"{sample.image.stem}-{shift:02}.png")
    (folder / "bad.png").write_text("no picture")
    (folder / "worse.jpg").write_bytes(b"")
    return folder


def _job(folder: Path) -> Job:
    concepts = [Concept("owl"), Concept("airplane"), Concept("fire truck")]
    return Job(folder, concepts, Settings(Model("mini", backend="onnx"), shard_size=4))


def _workers() -> list[int]:
    """The processes of the actors of this process's cluster."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                above = int((Path("/proc") / str(parent) / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError, IndexError):
                continue
            if b"ray::" in command and b"MapWorker" in command and above == os.getpid():
                found.append(int(entry.name))
    return found


def _kill_a_worker(shards: Path, killed: list[int]) -> None:
    """Kill one of the workers with -9 as soon as some shards are there."""
    for _ in range(6000):
        if len(list(shards.glob("*.jsonl"))) >= 3 and (workers := _workers()):
            os.kill(workers[0], signal.SIGKILL)
            killed.append(workers[0])
            return
        time.sleep(0.02)


@pytest.mark.slow
def test_workers_find_the_same_and_survive_a_kill(photos: Path, tmp_path: Path) -> None:
    whole, many = _job(tmp_path / "whole"), _job(tmp_path / "many")
    assert whole.run([str(photos)]).labeled == 48
    killed: list[int] = []
    killer = threading.Thread(target=_kill_a_worker, args=(many.shards, killed))
    killer.start()
    outcome = many.run([str(photos)], engine="ray", workers=2)
    killer.join()
    assert killed, "no worker was killed"
    assert (outcome.images, outcome.labeled, outcome.failed) == (50, 48, 2)
    for job in (whole, many):
        write_datasets(job, ["coco", "yolo"])
        shutil.rmtree(job.folder / "shards")  # which images share a shard may differ
    check_same_files(many.folder, whole.folder)


@pytest.mark.slow
def test_what_a_worker_raises_is_said_in_one_line(photos: Path, tmp_path: Path) -> None:
    one = _job(tmp_path / "out")
    one.run([str(photos / "scene-02-00.png")])
    one.bank.write_bytes(b"no bank")
    with pytest.raises(LitetextError, match=r"bank\.safetensors") as error:
        one.run([str(photos)], engine="ray", workers=1)
    assert "\n" not in str(error.value)


def test_a_batch_that_kills_its_workers_is_given_up(photos: Path, tmp_path: Path) -> None:
    note = tmp_path / "tried" / "batch"
    assert [cluster._try(note) for _ in range(3)] == [1, 2, 3]
    refs = [ImageRef(f"{number}.png", "x") for number in range(3)]
    rows = cluster._given_up(refs)
    assert [row.ref for row in rows] == refs
    assert rows[0].error == "workers died 10 times on the batch 0.png to 2.png"
