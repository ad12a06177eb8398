"""Tracking by detection: any image segmenter as a video system, by linking what it finds frame by frame.

This is the plain baseline beside SAM3's own tracker ("detector + tracking by detection"): every frame is segmented
alone, and a mask continues the track whose last mask it overlaps most (Hungarian matching on IoU, per phrase).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LitetextError
from ..journal import write_resumable
from ..progress import Progress, no_progress
from ..results.formats import veval
from ..results.formats.veval import Track, Video, VideoTruth
from ..results.rle import Size
from .coco_masks import mask_ious
from .predict import System, files_fingerprint

THRESHOLD = 0.5
"""Detections count from here on, as in scoring."""

_LEAST_OVERLAP = 0.3
_LONGEST_GAP = 5


@dataclasses.dataclass
class _Open:
    """A track in the making: its masks and scores by frame."""

    masks: dict[int, bytes]
    scores: list[float]

    @property
    def last(self) -> int:
        return max(self.masks)


def predict_videos(
    system: System,
    truth: VideoTruth,
    frames: Path,
    destination: Path,
    *,
    settings: Mapping[str, Any],
    progress: Progress = no_progress,
    overwrite: bool = False,
) -> Path:
    """Write a segmenter's tracks for every (video, phrase) pair of a VEval file; resumable video by video.

    ``frames``: the folder that the videos' ``file_names`` are in. ``settings`` identify the run, as in
    `litetext.evaluate.predict.predict`. ``progress`` counts videos. ``overwrite``: replace what another run wrote.
    """
    asked = _phrases(truth)
    names = {str(video): video for video in asked}

    def results(name: str) -> Iterator[dict[str, Any]]:
        video = truth.videos[names[name]]
        return _tracks(system, video, frames, asked[video.id], truth.categories)

    run = {
        "settings": {**settings, "threshold": THRESHOLD},
        "videos": frames_fingerprint(truth, frames),
    }
    return write_resumable(destination, run, list(names), results, progress, overwrite=overwrite)


def frames_fingerprint(truth: VideoTruth, frames: Path) -> str:
    """Return a hash of the videos and phrases that a run is about, and of the frames."""
    videos = [truth.videos[video] for video in _phrases(truth)]
    for video in videos:
        _check_frames(video, frames)
    files = files_fingerprint(frames, (name for video in videos for name in video.file_names))
    return video_fingerprint(truth) + files


def video_fingerprint(truth: VideoTruth) -> str:
    """Return a hash of the videos and phrases that a run is about."""
    text = "\n".join(f"{video} {sorted(phrases)}" for video, phrases in _phrases(truth).items())
    return hashlib.sha256(text.encode()).hexdigest()


def _phrases(truth: VideoTruth) -> dict[Any, list[int]]:
    """The categories asked of each video: the listed pairs, or those with objects where none are listed."""
    pairs = truth.listed if truth.listed is not None else [track.pair for track in truth.tracks]
    asked: dict[Any, list[int]] = {}
    for video, category in dict.fromkeys(pairs):
        asked.setdefault(video, []).append(category)
    return asked


def _check_frames(video: Video, frames: Path) -> None:
    if not video.file_names:
        raise LitetextError(f"video {video.id!r} has no 'file_names'; prediction needs the frames")
    for name in video.file_names:
        if not (frames / name).is_file():
            raise LitetextError(f"{frames / name}: no such file; --images is the folder of the videos' frames")


def _tracks(
    system: System, video: Video, frames: Path, categories: Sequence[int], names: Mapping[int, str]
) -> Iterator[dict[str, Any]]:
    """Segment every frame, link the masks of each phrase, and give the tracks in VEval's layout."""
    tracks: dict[int, list[_Open]] = {category: [] for category in categories}
    for t, name in enumerate(video.file_names):
        found = system.segment(frames / name, [names[category] for category in categories], threshold=THRESHOLD)
        if tuple(found.size) != video.size:
            raise LitetextError(
                f"{frames / name} is {found.size}, but video {video.id!r} is {video.size} (height, width)"
            )
        masks, pixels = found.masks.counts, found.masks.areas
        for number, category in enumerate(categories):
            rows = np.flatnonzero(found.prompt_index == number)
            detections = [(masks[row], float(found.scores[row])) for row in rows if pixels[row]]
            _link(tracks[category], detections, t, video.size)
    for category, several in tracks.items():
        for track in several:
            yield veval.prediction(_track(track, video, category), video.size)


def _link(tracks: list[_Open], detections: Sequence[tuple[bytes, float]], t: int, size: Size) -> None:
    """Give each detection of frame ``t`` to the track it overlaps, or a new one."""
    from scipy.optimize import linear_sum_assignment

    near = [track for track in tracks if t - track.last <= _LONGEST_GAP]
    owners: dict[int, _Open] = {}
    if near and detections:
        ious = mask_ious([mask for mask, _ in detections], [track.masks[track.last] for track in near], size)
        for detection, track in zip(*linear_sum_assignment(-ious), strict=True):
            if ious[detection, track] >= _LEAST_OVERLAP:
                owners[int(detection)] = near[track]
    for number, (mask, score) in enumerate(detections):
        if number in owners:
            owners[number].masks[t] = mask
            owners[number].scores.append(score)
        else:
            tracks.append(_Open({t: mask}, [score]))


def _track(found: _Open, video: Video, category: int) -> Track:
    masks = tuple(found.masks.get(t) for t in range(video.length))
    score = float(np.mean(found.scores))
    return Track(masks, (None,) * video.length, video.id, category, 0, score)
