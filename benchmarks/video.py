"""How fast frames are decoded, drawn on and encoded, without a model. Writes to ``video.json``, beside ``tracking.py``:

    python benchmarks/video.py             # a made clip of 854 x 480 pixels
    python benchmarks/video.py VIDEO       # a video of your own as well
    python benchmarks/video.py --alone     # ahead of all other processes, for some seconds; as root, on Linux

Four objects that move, each with an outline and a label, are drawn on every frame, as ``litetext track`` draws them.
The made clip is a shipped scene under grain, enlarged and panned; grain and panning make it as hard to encode as filmed
video. Besides frames a second on the clock, which other work on the machine lowers unless ``--alone`` is given, there
are processor seconds: of the thread that draws, of all threads (decoder, encoder), and of each step on its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from litetext import Instances
from litetext.data import samples
from litetext.results import FrameResult, Masks
from litetext.track.files import overlay
from litetext.videos import VideoReader, open_video, write_video

RESULTS = Path(__file__).with_suffix(".json")
SIZE = (480, 854)
FRAMES = 240
OBJECTS = 4
ROUNDS = 3


def grainy_scene(count: int) -> Iterator[NDArray[np.uint8]]:
    """Frames of a scene that is panned over, under grain of its own in every frame."""
    rng = np.random.default_rng(0)
    height, width = SIZE
    scene = Image.open(samples()[1].image).convert("RGB").resize((2 * width, 2 * width), Image.Resampling.BICUBIC)
    ground = np.asarray(scene).astype(np.int16) + rng.normal(0, 12, (2 * width, 2 * width, 1)).astype(np.int16)
    grain = rng.normal(0, 3, (8, height, width, 1)).astype(np.int16)
    for number in range(count):
        left, top = 3 * number % width, 2 * number % (2 * width - height)
        part = ground[top : top + height, left : left + width] + grain[number % 8]
        yield part.clip(0, 255).astype(np.uint8)


def moving_objects(count: int, size: tuple[int, int]) -> list[FrameResult]:
    """Four wavy discs, each about a tenth of the frame, that cross it on ways of their own."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    frames = []
    for number in range(count):
        discs = []
        for place in range(OBJECTS):
            turn = number / 40 + place * 1.7
            dx = x - width * (0.5 + 0.35 * np.cos(turn))
            dy = y - height * (0.5 + 0.3 * np.sin(1.3 * turn))
            radius = 0.18 * height * (1 + 0.15 * np.sin(7 * np.arctan2(dy, dx) + turn))
            discs.append(dx * dx + dy * dy < radius * radius)
        masks = Masks.from_dense(discs)
        scores = np.linspace(0.9, 0.6, OBJECTS, dtype=np.float32)
        prompts = ("white dog", "red car")
        instances = Instances(size, prompts, np.ones(2, np.float32), masks.boxes, masks, scores, np.arange(OBJECTS) % 2)
        frames.append(FrameResult(number, np.arange(OBJECTS), instances))
    return frames


def rendered(video: VideoReader, found: list[FrameResult], destination: Path) -> dict[str, float]:
    """Decode, draw and encode a video once; seconds a frame on the clock, of the drawing thread and of all threads."""
    clocks = (time.perf_counter, time.thread_time, time.process_time)
    begun = [clock() for clock in clocks]
    frames = 0
    with write_video(destination, video.size, video.frame_rate, sound=video.sound()) as written:
        for frame in video:
            written.write(overlay(frame.image, found[frame.index % len(found)]), frame.time)
            frames += 1
    names = ("clock", "drawing_thread", "all_threads")
    return {name: (clock() - start) / frames for name, clock, start in zip(names, clocks, begun, strict=True)}


def stages(video: VideoReader, found: list[FrameResult], destination: Path) -> dict[str, float]:
    """Milliseconds of processor time a frame of each step alone."""
    begun = time.process_time()
    frames = list(video)
    decoded = time.process_time()
    drawn = [overlay(frame.image, found[frame.index % len(found)]) for frame in frames]
    marked = time.process_time()
    with write_video(destination, video.size, video.frame_rate) as written:
        for image in drawn:
            written.write(image)
    ended = time.process_time()
    parts = {"decode": decoded - begun, "draw": marked - decoded, "encode": ended - marked}
    return {name: round(1e3 * seconds / len(frames), 2) for name, seconds in parts.items()}


def measured(path: Path, folder: Path) -> dict[str, Any]:
    """The best of several rounds over one video."""
    video = open_video(path, max_side=max(SIZE))
    found = moving_objects(min(FRAMES, video.frame_count or FRAMES), video.size)
    rounds = [rendered(video, found, folder / "overlay.mp4") for _ in range(ROUNDS)]
    best = {name: min(one[name] for one in rounds) for name in rounds[0]}
    return {
        "size": f"{video.size[1]}x{video.size[0]}",
        "frames": video.frame_count,
        "objects": OBJECTS,
        "frames_a_second": round(1 / best["clock"], 1),
        "processor_ms_a_frame": {name: round(1e3 * best[name], 2) for name in ("drawing_thread", "all_threads")}
        | stages(video, found, folder / "stages.mp4"),
    }


def run_alone() -> None:
    """Let this process and its threads go before all others."""
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def record(name: str, result: dict[str, Any]) -> None:
    """Print a result and keep it in video.json, where other benchmarks have keys of their own."""
    setup = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "alone": os.sched_getscheduler(0) == os.SCHED_RR,
        "av": av.__version__,
    }
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept[name] = result | setup
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    print(name, json.dumps(kept[name], indent=1))


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("videos", nargs="*", type=Path)
    given.add_argument("--alone", action="store_true")
    arguments = given.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with write_video(folder / "made.mp4", SIZE, 24) as video:
            for image in grainy_scene(FRAMES):
                video.write(image)
        if arguments.alone:
            run_alone()
        record("pictures", measured(folder / "made.mp4", folder))
        for path in arguments.videos:
            record(f"pictures {path.stem}", measured(path, folder))


if __name__ == "__main__":
    main()
