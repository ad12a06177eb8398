"""What `litetext label` costs and what it survives. Run on the machine you want to know about:

    python benchmarks/label.py speed          # images a second against the bare segmenter's loop, in processor seconds
    python benchmarks/label.py ray            # two workers of Ray against two bare loops, likewise
    python benchmarks/label.py poison         # 200 files that are no pictures among 2,000
    python benchmarks/label.py memory         # 100,000 tiny pictures: is memory flat?
    python benchmarks/label.py ray-memory     # the same with two workers of Ray: the driver's memory and theirs
    python benchmarks/label.py kills          # kill -9 at 30 random moments

The model is mini, run by ONNX Runtime on one thread; `memory` is about the job and uses a segmenter that answers at
once. Results go to label.json beside this file, one entry a measurement.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import platform
import random
import shutil
import statistics
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from litetext.data import samples
from litetext.encoders import TextFeatures
from litetext.files import write_json
from litetext.images import read_image
from litetext.label import Concept, Job, Settings
from litetext.label.datasets import write_datasets
from litetext.label.labeler import Model, asked_phrases
from litetext.results import Instances, Masks
from litetext.segment import Segmenter

RESULTS = Path(__file__).with_suffix(".json")
CONCEPTS = [Concept(name) for name in ("owl", "airplane", "fire truck", "hammer", "whale")]
MODEL = Model("mini", backend="onnx", threads=1)
KEEP = 0.3
KILLS = 30


def pictures(folder: Path, count: int, size: int = 200) -> Path:
    """Crops of the sample scenes, no two of one content."""
    folder.mkdir(parents=True)
    scenes = [read_image(sample.image) for sample in samples()]
    for number in range(count):
        scene, shift = scenes[number % len(scenes)], number // len(scenes) % 40
        crop = scene[shift : shift + size, 40 - shift : 40 - shift + size].copy()
        crop[0, 0] = number % 256, number // 256, 0
        Image.fromarray(crop).save(folder / f"{number:05}.png")
    return folder


def job(folder: Path, **settings: Any) -> Job:
    return Job(folder, CONCEPTS, Settings(MODEL, **settings))


def bare_loop(photos: Sequence[Path], segmenter: Segmenter) -> int:
    """What anybody would write: text once, then image by image."""
    prompts = segmenter.encode_prompts(asked_phrases(CONCEPTS))
    return sum(len(segmenter.detect(segmenter.encode_image(path), prompts, threshold=KEEP)) for path in photos)


def speed(folder: Path) -> dict[str, Any]:
    """The job's loop, its reading, hashing and writing included, and the bare one, in turns."""
    photos = sorted(pictures(folder / "photos", 60).iterdir())
    segmenter = MODEL.load()
    bare_loop(photos[:4], segmenter)
    Model.load = lambda self, text=None: segmenter  # type: ignore[method-assign]  # loading is not what is compared
    loops, jobs = [], []
    for turn in range(5):
        begun = time.process_time()
        bare_loop(photos, segmenter)
        loops.append(len(photos) / (time.process_time() - begun))
        begun = time.process_time()
        outcome = job(folder / f"out{turn}").run([str(folder / "photos")])
        jobs.append(outcome.labeled / (time.process_time() - begun))
    ratio = statistics.median(one / other for one, other in zip(jobs, loops, strict=True))
    return {
        "images": len(photos),
        "concepts": len(CONCEPTS),
        "loop, images a processor second": round(statistics.median(loops), 2),
        "job, images a processor second": round(statistics.median(jobs), 2),
        "ratio": round(ratio, 3),
    }


def _loop_process(photos: list[Path], rates: Any) -> None:
    segmenter = MODEL.load()
    bare_loop(photos[:2], segmenter)
    begun = time.process_time()
    bare_loop(photos, segmenter)
    rates.put(len(photos) / (time.process_time() - begun))


def _two_loops(photos: list[Path]) -> float:
    """Images a processor second of two bare loops that run beside each other."""
    context = multiprocessing.get_context("spawn")
    rates: Any = context.Queue()
    loops = [context.Process(target=_loop_process, args=(photos[half::2], rates)) for half in range(2)]
    for loop in loops:
        loop.start()
    found = [rates.get() for _ in loops]
    for loop in loops:
        loop.join()
    return statistics.harmonic_mean(found)


def _two_workers(photos: Path, folder: Path, size: int = 8) -> float:
    """Images a processor second of everything that a job on Ray runs, once both workers are at work."""
    one, marks, stop = job(folder, shard_size=size), [], threading.Event()

    def watch() -> None:
        while not stop.wait(0.1):
            written = len(list(one.shards.glob("*.jsonl")))
            if written >= 6:
                marks.append((written, _processor_seconds()))

    thread = threading.Thread(target=watch)
    thread.start()
    one.run([str(photos)], engine="ray", workers=2)
    stop.set()
    thread.join()
    first, begun = marks[0]
    last, ended = next(mark for mark in marks if mark[0] == max(written for written, _ in marks))
    return size * (last - first) / (ended - begun)


def _processor_seconds() -> float:
    """Of this process and all that come from it."""
    parents, spent = {}, {}
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            parents[int(entry.name)] = int(fields[1])
            spent[int(entry.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, IndexError):
            continue
    ours = {os.getpid()}
    while more := {child for child, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return sum(spent[process] for process in ours if process in spent)


def ray(folder: Path) -> dict[str, Any]:
    """Ray's own processes count, its start does not: some fifteen seconds on the clock, once for a job."""
    photos = pictures(folder / "photos", 320)
    loops, workers = [], []
    for turn in range(3):
        loops.append(_two_loops(sorted(photos.iterdir())))
        workers.append(_two_workers(photos, folder / f"out{turn}"))
    return {
        "images": 320,
        "two loops, images a processor second": [round(one, 2) for one in loops],
        "two workers, images a processor second": [round(one, 2) for one in workers],
        "ratio": round(statistics.median(two / one for one, two in zip(loops, workers, strict=True)), 3),
    }


def poison(folder: Path) -> dict[str, Any]:
    """Every tenth file is no picture, in one of five ways."""
    photos = sorted(pictures(folder / "photos", 2000, 64).iterdir())
    bad = photos[::10]
    for number, path in enumerate(bad):
        content = path.read_bytes()
        path.write_bytes(
            [b"", content[: len(content) // 2], b"<html>no picture</html>", os.urandom(500), content[:33]][number % 5]
        )
    one = job(folder / "out")
    outcome = one.run([str(folder / "photos")])
    named = {json.loads(line)["image"] for line in (one.folder / "failed.jsonl").read_text().splitlines()}
    segmenter, store = MODEL.load(), one.store()
    prompts = segmenter.encode_prompts(one.phrases)
    same = 0
    for entry in list(one.entries())[1::100]:
        alone = segmenter.detect(segmenter.encode_image(entry.ref.path), prompts, threshold=KEEP)
        found = store.instances(entry.sha256)
        same += found.masks.counts == alone.masks.counts and np.array_equal(found.scores, alone.scores)
    return {
        "files": outcome.images,
        "labelled": outcome.labeled,
        "failed": outcome.failed,
        "the 200 poisoned are the named": named == {path.name for path in bad},
        "of 20 compared, equal to segmenting them alone": same,
    }


class InstantSegmenter:
    """Answers at once, so that what is measured is the job."""

    def __init__(self) -> None:
        self.text = self

    def encode(self, prompts: Sequence[str]) -> TextFeatures:
        return TextFeatures(np.ones((len(prompts), 2, 4), np.float32), np.zeros((len(prompts), 2), bool))

    def encode_prompts(self, prompts: Sequence[str]) -> tuple[str, ...]:
        return tuple(prompts)

    def encode_images(self, images: Sequence[NDArray[np.uint8]], *, image_batch: int = 1) -> list[NDArray[np.uint8]]:
        return list(images)

    def detect(self, photo: NDArray[np.uint8], prompts: tuple[str, ...], **_: Any) -> Instances:
        mask = photo[None, :, :, 0] > 127
        found = Masks.from_dense(mask)
        one = np.ones(1, np.float32)
        return Instances(
            photo.shape[:2], prompts, np.ones(len(prompts), np.float32), found.boxes, found, one, np.zeros(1, np.int64)
        )


def _tiny_tars(folder: Path, count: int) -> None:
    draw = np.random.default_rng(0)
    folder.mkdir()
    for part in range(10):
        with tarfile.open(folder / f"{part}.tar", "w") as archive:
            for number in range(count // 10):
                buffer = io.BytesIO()
                Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8)).save(buffer, "PNG")
                entry = tarfile.TarInfo(f"{part}-{number:05}.png")
                entry.size = buffer.tell()
                buffer.seek(0)
                archive.addfile(entry, buffer)


class InstantModel(Model):
    """Loads it. Ray's workers get this class with the job, since it is of the script that runs."""

    def load(self, text: Any = None) -> Any:
        return InstantSegmenter()


def _resident(process: int | str = "self") -> float:
    """Megabytes of a process."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def memory(folder: Path) -> dict[str, Any]:
    """Resident memory after each tenth of the images."""
    count = 100_000
    _tiny_tars(folder / "tars", count)
    Model.load = lambda self, text=None: InstantSegmenter()  # type: ignore[method-assign,assignment,return-value]
    resident: dict[int, float] = {}

    def note(completed: int, total: int | None = None, description: str | None = None) -> None:
        if completed % (count // 10) == 0:
            resident[completed] = round(_resident(), 1)

    one, begun = job(folder / "out"), time.monotonic()
    outcome = one.run([str(folder / "tars" / "*.tar")], progress=note)
    labelling, begun = time.monotonic() - begun, time.monotonic()
    write_datasets(one, ["csv"])
    writing = time.monotonic() - begun
    growth = (resident[count] - resident[count // 10]) / (0.9 * count) * 1e6
    return {
        "images": outcome.labeled,
        "resident MB after so many": resident,
        "bytes an image that stay": round(growth),
        "resident MB after the dataset": round(_resident(), 1),
        "overhead of the job, ms an image": round(1000 * labelling / count, 2),
        "dataset (csv), images a second": round(count / writing),
    }


def ray_memory(folder: Path) -> dict[str, Any]:
    """Resident memory of the driver and of two workers after each tenth of the images."""
    count = 100_000
    _tiny_tars(folder / "tars", count)
    resident: dict[int, list[float]] = {}

    def note(completed: int, total: int | None = None, description: str | None = None) -> None:
        if completed % (count // 10) == 0:
            resident[completed] = [round(_resident(one), 1) for one in ("self", *sorted(_ray_workers()))]

    one = Job(folder / "out", CONCEPTS, Settings(InstantModel("mini")))
    outcome = one.run([str(folder / "tars" / "*.tar")], engine="ray", workers=2, progress=note)
    return {"images": outcome.labeled, "resident MB of the driver and each worker after so many": resident}


def _done(folder: Path) -> dict[str, bytes]:
    """Everything of a job that does not tell the time or how the work was cut up."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "shards" not in path.parts and path.name != ".litetext.jsonl"
    }


def _whole_job(photos: Path, folder: Path, engine: str = "local") -> None:
    one = job(folder, shard_size=4)
    one.run([str(photos)], engine=engine, workers=2)
    write_datasets(one, ["coco", "yolo"])


def kills(folder: Path) -> dict[str, Any]:
    """Jobs killed at random moments until `KILLS` fell, and one on Ray whose workers are killed as it goes."""
    photos = pictures(folder / "photos", 24)
    _whole_job(photos, folder / "warm")
    begun = time.monotonic()
    _whole_job(photos, folder / "whole")
    length, whole = time.monotonic() - begun, _done(folder / "whole")
    killed = runs = same = 0
    draw, processes = random.Random(0), multiprocessing.get_context("fork")
    while killed < KILLS or (folder / str(runs)).exists():
        child = processes.Process(target=_whole_job, args=(photos, folder / str(runs)))
        child.start()
        child.join(draw.uniform(0, 0.6) * length if killed < KILLS else None)
        if child.is_alive():
            child.kill()
            child.join()
            killed += 1
        else:
            same += _done(folder / str(runs)) == whole
            runs += 1
    workers: list[int] = []
    stop = threading.Event()
    thread = threading.Thread(target=_kill_workers, args=(folder / "many", workers, stop))
    thread.start()
    _whole_job(photos, folder / "many", "ray")
    stop.set()
    thread.join()
    return {
        "kills of the driver": killed,
        "finished jobs": runs,
        "identical to an unbroken one": same,
        "kills of Ray's workers in one job": len(workers),
        "that job is identical": _done(folder / "many") == whole,
    }


def _kill_workers(folder: Path, killed: list[int], stop: threading.Event) -> None:
    """Kill a worker each time that two more shards are there, four times at most."""
    while not stop.wait(0.05) and len(killed) < 4:
        if len(list(folder.glob("shards/*/*.jsonl"))) >= 1 + len(killed):
            for worker in _ray_workers():
                if worker not in killed:
                    os.kill(worker, 9)
                    killed.append(worker)
                    break


def _ray_workers() -> Iterator[int]:
    """The actors of the cluster that this process started."""
    for entry in Path("/proc").iterdir():
        try:
            if b"MapWorker" in (entry / "cmdline").read_bytes() and _parent(_parent(int(entry.name))) == os.getpid():
                yield int(entry.name)
        except (OSError, ValueError, IndexError):
            continue


def _parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


MEASUREMENTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "speed": speed,
    "ray": ray,
    "poison": poison,
    "memory": memory,
    "ray-memory": ray_memory,
    "kills": kills,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=MEASUREMENTS)
    name = parser.parse_args().what
    folder = Path(tempfile.mkdtemp())
    try:
        found = MEASUREMENTS[name](folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    found["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    write_json(RESULTS, {**results, name: found})
    json.dump(found, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
