"""Run a video system over the (video, phrase) pairs of a VEval file, and go on where a killed run stopped.

SA-Co VEval is published as three sets, a file each, and their frames in folders of their own; `frames_folder` finds
them below the folder that holds them all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ..errors import LitetextError
from ..journal import write_resumable
from ..progress import Progress, no_progress
from ..results import Masklets
from ..results.formats.veval import Video, VideoTruth
from .predict import files_fingerprint

SETS = {
    "sav": ("SA-V", "saco_sav/JPEGImages_24fps"),
    "yt1b": ("YT-Temporal-1B", "saco_yt1b/JPEGImages_6fps"),
    "smartglasses": ("SmartGlasses", "saco_sg/JPEGImages_6fps"),
}
"""What the files of SA-Co VEval have in their names -> the set's name, and the folder of its frames."""


class VideoSystem(Protocol):
    """Anything that tracks noun phrases through a video; `litetext.track.VideoSegmenter` is one."""

    def track(self, frames: Sequence[Path], prompts: Sequence[str]) -> Masklets:
        """Return all tracks of the prompts, every frame counted."""
        ...


class LazyVideoSystem:
    """A system that is loaded when the first video asks for it, so that a finished run costs nothing."""

    def __init__(self, load: Callable[[], VideoSystem]) -> None:
        self._load = load
        self._system: VideoSystem | None = None

    def track(self, frames: Sequence[Path], prompts: Sequence[str]) -> Masklets:
        """As `VideoSystem.track`."""
        if self._system is None:
            self._system = self._load()
        return self._system.track(frames, prompts)


def set_name(path: Path) -> str:
    """Return the name of the set whose ground truth a file is: a published one's, or the file's own."""
    return next((name for part, (name, _) in SETS.items() if f"veval_{part}" in path.stem), path.stem)


def frames_folder(folder: Path, truth: VideoTruth) -> Path:
    """Return the folder that a set's ``file_names`` are in: ``folder`` itself, or where the sets are published to lie.

    Args:
        folder: of the frames, or of the frames of several sets.
        truth: of one set.
    """
    names = next((video.file_names for video in truth.videos.values() if video.file_names), ())
    if not names:
        return folder
    places = [folder, *(root / place for root in (folder, folder / "media") for _, place in SETS.values())]
    return next((place for place in places if (place / names[0]).is_file()), folder)


def predict_videos(
    system: VideoSystem,
    truth: VideoTruth,
    frames: Path,
    destination: Path,
    *,
    settings: Mapping[str, Any],
    progress: Progress = no_progress,
    overwrite: bool = False,
) -> Path:
    """Write a system's tracks for every (video, phrase) pair of a VEval file; resumable video by video.

    Args:
        system: that tracks.
        truth: the videos and the phrases that are asked of each.
        frames: the folder that the videos' ``file_names`` are in.
        destination: the file to write.
        settings: identify the run, as in `litetext.evaluate.predict.predict`.
        progress: counts videos.
        overwrite: replace what another run wrote.

    Raises:
        LitetextError: a frame that is not there, or of another size than the file says.
    """
    asked = _phrases(truth)
    names = {str(video): video for video in asked}

    def results(name: str) -> Iterator[dict[str, Any]]:
        return iter(_tracks(system, truth.videos[names[name]], frames, asked[names[name]], truth.categories))

    run = {"settings": dict(settings), "videos": frames_fingerprint(truth, frames)}
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
    asked = _phrases(truth).items()
    text = "\n".join(f"{video} {[(id, truth.categories[id]) for id in sorted(phrases)]}" for video, phrases in asked)
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
            raise LitetextError(f"{frames / name}: no such file; --frames is the folder of the videos' frames")


def _tracks(
    system: VideoSystem, video: Video, frames: Path, categories: Sequence[int], names: Mapping[int, str]
) -> list[dict[str, Any]]:
    """Track all phrases of one video, in VEval's layout."""
    with_name: dict[str, list[int]] = {}
    for category in categories:
        with_name.setdefault(names[category], []).append(category)
    found = system.track([frames / name for name in video.file_names], list(with_name))
    if tuple(found.size) != video.size:
        raise LitetextError(
            f"{frames / video.file_names[0]} is {found.size}, but video {video.id!r} is {video.size} (height, width)"
        )
    entries = found.to_veval(video.id, range(len(found.prompts)))
    return [
        {**entry, "category_id": category}
        for entry in entries
        for category in with_name[found.prompts[entry["category_id"]]]
    ]
