"""How well mini tracks: table 4's policies on 60 held-out clips of its world, with paired intervals.

python benchmarks/video_quality.py WORK [MODEL] > benchmarks/video_quality.json
python benchmarks/video_quality.py curve     draws docs/mini/tracker_curve.png from benchmarks/tracker_curve.csv

WORK is a folder for clips and predictions: started again, the script goes on where it was. MODEL is a mini folder with
a memory tracker, as `litetext mini train-tracker` writes it; without it the shipped mini is tracked by detection alone.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litetext.evaluate.compare_video import compare_videos
from litetext.evaluate.tracking import LazyVideoSystem, VideoSystem, predict_videos
from litetext.evaluate.video import VideoMetrics, evaluate_videos
from litetext.mini.clip_export import ANNOTATION, MEDIA, export_clips
from litetext.mini.excerpts import START_PIXELS, mask_ious
from litetext.mini.facts import shipped_concepts
from litetext.mini.motion import FRAMES, MotionWorld
from litetext.mini.world import World, generator
from litetext.results import FrameResult, Instances, Masklets, Masks
from litetext.results.formats.veval import Track, VideoTruth, read_video_truth

HERE = Path(__file__).parent
SEED, CLIPS = 90210, 60
LINKED = "by-detection"
POLICIES = (LINKED, "no-temporal", "full")
TEXTS = {LINKED: {"student": "mini", "teacher": "mini-teacher"}}
COMPARED = (
    ("by-detection, student", "full, student"),
    ("by-detection, student", "no-temporal, student"),
    ("no-temporal, student", "full, student"),
    ("by-detection, teacher", "by-detection, student"),
)


class PerfectDetections:
    """The masks of the ground truth, without their identities, linked as the policy by-detection links detections."""

    def __init__(self, truth: VideoTruth) -> None:
        self._tracks: dict[tuple[str, str], list[Track]] = {}
        self._video_of = {video.file_names[0]: video for video in truth.videos.values()}
        for track in truth.tracks:
            name = truth.videos[track.video].name
            self._tracks.setdefault((name, truth.categories[track.category]), []).append(track)

    def track(self, frames: Sequence[Path], prompts: Sequence[str]) -> Masklets:
        """Link what is in each frame."""
        video = self._video_of[f"{frames[0].parent.name}/{frames[0].name}"]
        return Masklets.collect(self._linked(video.name, video.size, len(frames), prompts), len(frames))

    def _linked(self, name: str, size: tuple[int, int], count: int, prompts: Sequence[str]) -> Iterator[FrameResult]:
        from litetext.track.detection_session import DetectionSession
        from litetext.track.policy import BY_DETECTION

        session = DetectionSession(BY_DETECTION)
        asked = [(row, track) for row, prompt in enumerate(prompts) for track in self._tracks.get((name, prompt), [])]
        for frame in range(count):
            seen = [(row, mask) for row, track in asked if (mask := track.masks[frame]) is not None]
            masks = Masks(size, tuple(mask for _, mask in seen))
            yield session.step(
                frame,
                Instances(
                    size=size,
                    prompts=tuple(prompts),
                    presence=np.full(len(prompts), np.nan, np.float32),
                    boxes=masks.boxes,
                    masks=masks,
                    scores=np.ones(len(seen), np.float32),
                    prompt_index=np.array([row for row, _ in seen], np.int64),
                ),
            )


def systems(truth: VideoTruth, model: str) -> dict[str, VideoSystem]:
    """Every system by name; a model is loaded when it is first used."""
    from litetext.track import VideoSegmenter

    def loaded(policy: str, text: str) -> VideoSystem:
        return VideoSegmenter.from_pretrained("mini" if policy == LINKED else model, text, policy, "cpu")

    found: dict[str, VideoSystem] = {"perfect detections, by-detection": PerfectDetections(truth)}
    for policy in POLICIES if model != "mini" else [LINKED]:
        for name, text in TEXTS.get(policy, {"student": "mini"}).items():
            found[f"{policy}, {name}"] = LazyVideoSystem(lambda policy=policy, text=text: loaded(policy, text))
    return found


def measured(truth: VideoTruth, work: Path, model: str) -> dict[str, VideoMetrics]:
    """Run and score every system."""
    metrics = {}
    for name, system in systems(truth, model).items():
        predicted = work / "predictions" / f"{name.replace(', ', '_').replace(' ', '-')}.json"
        predicted.parent.mkdir(exist_ok=True)
        settings = {"system": name, "model": "mini" if LINKED in name else model}
        predict_videos(system, truth, work / "clips" / MEDIA, predicted, settings=settings)
        metrics[name] = evaluate_videos(truth, predicted)
        print(f"{name}: pHOTA {metrics[name].to_dict()['pHOTA']:.1f}", file=sys.stderr)
    return metrics


def propagation(model: str) -> dict[str, Any]:
    """Mean IoU by frames since the first exact mask: of the tracker alone, and of that first mask kept."""
    import torch

    from litetext.mini.tracker import follow
    from litetext.segment import decode
    from litetext.track import VideoSegmenter

    video: Any = VideoSegmenter.from_pretrained(model, policy="full", device="cpu")
    tracker, backend = video.tracker, video.segmenter.backend
    motion = MotionWorld(World(shipped_concepts()))
    ious: dict[str, list[NDArray[np.float64]]] = {"tracker": [], "first mask kept": []}
    right, frames_seen = 0, 0
    for index in range(CLIPS):
        clip = motion.clip(generator(SEED, index))
        targets = np.stack([clip.instances == row + 1 for row in range(len(clip.objects))])
        targets = targets[targets[:, 0].sum((1, 2)) >= START_PIXELS]
        if not len(targets):
            continue
        with torch.no_grad():
            pixels = torch.cat([backend.pixels(frame) for frame in clip.frames])
            features = [tracker.features(one) for one in decode.encode_images(backend.detector, pixels).images()]
            curves = {name: np.full((len(targets), FRAMES), np.nan) for name in ious}
            for frame, _, found in follow(tracker, features, _first_masks(targets)):
                there = targets[:, frame].any((1, 2))
                masks = (tracker.enlarged(found.logits) > 0).numpy()
                for name, given in (("tracker", masks), ("first mask kept", targets[:, 0])):
                    curves[name][there, frame] = mask_ious(given, targets[:, frame])[there]
                right += int(((found.presence_logits.numpy() > 0) == there).sum())
                frames_seen += len(there)
        for name, curve in curves.items():
            ious[name].append(curve)
    stacked = {name: np.concatenate(several) for name, several in ious.items()}
    return {
        "objects": len(stacked["tracker"]),
        "mean_iou": {name: round(float(np.nanmean(curve)), 4) for name, curve in stacked.items()},
        "mean_iou_by_frame": {
            name: [round(float(value), 3) for value in np.nanmean(curve, axis=0)[1:]] for name, curve in stacked.items()
        },
        "presence_right": round(right / frames_seen, 4),
    }


def _first_masks(targets: NDArray[np.bool_]) -> Any:
    from litetext.mini.tracker import Cues

    return Cues([0] * len(targets), {0: dict(enumerate(targets[:, 0]))})


def main(work: Path, model: str) -> dict[str, Any]:
    """Return everything that is measured."""
    world = MotionWorld(World(shipped_concepts()))
    if not (work / "clips").exists():
        work.mkdir(parents=True, exist_ok=True)
        export_clips(world, SEED, CLIPS, FRAMES, work / "clips", {"seed": SEED})
    truth = read_video_truth(work / "clips" / ANNOTATION)
    metrics = measured(truth, work, model)
    rows = {name: {key: round(value, 2) for key, value in _row(one).items()} for name, one in metrics.items()}
    perfect = rows["perfect detections, by-detection"]["pHOTA"]
    return {
        "machine": "2-core CPU, shared with other work",
        "clips": json.loads((work / "clips" / "stats.json").read_text()),
        "systems": rows,
        "by_detection_share_of_perfect": round(rows["by-detection, student"]["pHOTA"] / perfect, 4),
        "paired": {
            f"{second} - {first}": _paired(metrics[first], metrics[second])
            for first, second in COMPARED
            if first in metrics and second in metrics
        },
        "propagation": propagation(model) if model != "mini" else None,
    }


def _row(metrics: VideoMetrics) -> dict[str, float]:
    document = metrics.to_dict()
    return {name: document[name] for name in ("cgF1", "VL_MCC", "pmF1", "pHOTA", "pDetA", "pAssA", "TETA")}


def _paired(first: VideoMetrics, second: VideoMetrics) -> dict[str, dict[str, Any]]:
    return {
        name: {"difference": round(one.difference, 2), "low": round(one.low, 2), "high": round(one.high, 2)}
        for name, one in compare_videos(first, second).items()
    }


def draw_curve() -> None:
    """Draw the losses on masks and the held-out IoU of the tracker's trainings."""
    import matplotlib.pyplot as plt

    with (HERE / "tracker_curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    figure, left = plt.subplots(figsize=(7.5, 3.6))
    right = left.twinx()
    for run, color in (("recipe", "#1d4ed8"), ("absences weighted", "#c2410c")):
        own = [row for row in rows if row["run"] == run]
        seen = [row for row in own if row["held_out_iou"]]
        left.plot(*_points(own, "dice"), color=color, linewidth=1.2, label=f"{run}: dice loss (left)")
        right.plot(
            *_points(seen, "held_out_iou"), color=color, marker="o", linestyle=":", label=f"{run}: held-out IoU (right)"
        )
    right.axhline(0.212, color="#9ca3af", linewidth=0.8)
    right.text(5, 0.225, "IoU of the first mask, kept where it is", fontsize=8, color="#6b7280")
    left.set(xlabel="step (4 excerpts of up to 4 objects)", ylabel="dice", ylim=(0, 1))
    right.set_ylim(0, 1)
    handles = [*left.get_lines(), *(line for line in right.get_lines() if not line.get_label().startswith("_"))]
    figure.legend(
        handles, [line.get_label() for line in handles], loc="upper center", ncol=2, fontsize=8, frameon=False
    )
    figure.tight_layout(rect=(0, 0, 1, 0.88))
    figure.savefig(HERE.parent / "docs" / "mini" / "tracker_curve.png", dpi=110)


def _points(rows: Sequence[dict[str, str]], name: str) -> tuple[list[float], list[float]]:
    return [float(row["step"]) for row in rows], [float(row[name]) for row in rows]


if __name__ == "__main__":
    if sys.argv[1:] == ["curve"]:
        draw_curve()
        sys.exit()
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "mini"), indent=1))
