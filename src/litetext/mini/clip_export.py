"""Clips of the world as SA-Co VEval: a folder of JPEGs a clip, and one file of masklets and phrases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..files import write_json
from ..outputs import atomic_folder
from ..progress import Progress, no_progress
from ..results.formats import veval
from ..results.formats.saco import STATISTICS
from ..results.formats.veval import Track, Video
from .motion import FRAMES, Clip, MotionWorld
from .world import DrawnPair, generator

ANNOTATION = "annotation/saco_veval_mini_test.json"
MEDIA = "media/saco_mini/JPEGImages_6fps"
PAIRS_A_CLIP = 4


@dataclass(frozen=True, slots=True, eq=False)
class AskedClip:
    """A clip and the phrases asked of it, some of which are true of nothing in it."""

    clip: Clip
    pairs: tuple[DrawnPair, ...]


def asked_clips(motion: MotionWorld, seed: int, count: int, frames: int = FRAMES) -> Iterator[AskedClip]:
    """Draw ``count`` clips with up to four phrases each; clip ``i`` of a seed is always the same.

    Args:
        motion: to draw from.
        seed: of the clips.
        count: of clips.
        frames: of each clip; with fewer of them the same plays are seen at fewer times.
    """
    for index in range(count):
        rng = generator(seed, index)
        clip = motion.clip(rng, np.linspace(0, 1, frames))
        yield AskedClip(clip, tuple(motion.pairs(clip, rng, PAIRS_A_CLIP)))


def export_clips(
    motion: MotionWorld,
    seed: int,
    count: int,
    frames: int,
    folder: Path,
    settings: Mapping[str, Any],
    progress: Progress = no_progress,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Draw clips into a folder, laid out as SA-Co VEval is published, with ``stats.json``; return the statistics.

    Args:
        motion: to draw from.
        seed: of the clips.
        count: of clips.
        frames: of each clip.
        folder: new, empty or, to overwrite it, of clips that were drawn before.
        settings: are written with the statistics.
        progress: counts clips.
        overwrite: replace clips that were drawn before.
    """
    drawn: list[_Annotated] = []
    with atomic_folder(folder, "drawn world", overwrite=overwrite) as staged:
        for index, asked in enumerate(asked_clips(motion, seed, count, frames)):
            video = _video(index, asked.clip)
            _write_frames(asked.clip, video, staged / MEDIA)
            drawn.append(_Annotated(video, asked.pairs, _tracks(asked, video)))
            progress(index + 1, count)
        (staged / ANNOTATION).parent.mkdir()
        write_json(staged / ANNOTATION, _document(drawn), indent=None)
        figures = {**settings, **_statistics(drawn)}
        write_json(staged / STATISTICS, figures)
    return figures


@dataclass(frozen=True, slots=True, eq=False)
class _Annotated:
    """A clip's entry, its pairs, and the tracks of each pair (their categories are filled in later)."""

    video: Video
    pairs: tuple[DrawnPair, ...]
    tracks: tuple[tuple[Track, ...], ...]


def _document(drawn: Sequence[_Annotated]) -> dict[str, Any]:
    """Return the VEval ground truth of annotated clips; a pair without tracks is a negative."""
    phrases = sorted({pair.text for one in drawn for pair in one.pairs})
    category_of = {phrase: number for number, phrase in enumerate(phrases, start=1)}
    asked = [(one, pair, tracks) for one in drawn for pair, tracks in zip(one.pairs, one.tracks, strict=True)]
    return veval.document(
        [one.video for one in drawn],
        {number: phrase for phrase, number in category_of.items()},
        [replace(track, category=category_of[pair.text]) for _, pair, tracks in asked for track in tracks],
        [(one.video.id, category_of[pair.text]) for one, pair, _ in asked],
        "litetext's small world in motion: drawn clips with exact masklets",
    )


def _video(index: int, clip: Clip) -> Video:
    name = f"mini_{index:06d}"
    length, height, width = clip.instances.shape
    return Video(index + 1, name, (height, width), length, tuple(f"{name}/{frame:05d}.jpg" for frame in range(length)))


def _write_frames(clip: Clip, video: Video, folder: Path) -> None:
    (folder / video.name).mkdir(parents=True)
    for name, frame in zip(video.file_names, clip.frames, strict=True):
        Image.fromarray(frame).save(folder / name, quality=95, subsampling=0)


def _tracks(asked: AskedClip, video: Video) -> tuple[tuple[Track, ...], ...]:
    return tuple(tuple(asked.clip.masklets([pair]).tracks(video.id, [0])) for pair in asked.pairs)


def _statistics(drawn: Sequence[_Annotated]) -> dict[str, Any]:
    tracks = [track for one in drawn for several in one.tracks for track in several]
    seen = [sum(mask is not None for mask in track.masks) / len(track.masks) for track in tracks]
    several = [pair for one in drawn for pair in one.pairs]
    negatives = sum(pair.negative is not None for pair in several)
    return {
        "clips": len(drawn),
        "frames": sum(one.video.length for one in drawn),
        "pairs": len(several),
        "negatives": negatives,
        "negative_share": negatives / len(several),
        "masklets": len(tracks),
        "masklets_with_a_gap": sum(_has_gap(track) for track in tracks),
        "seen_share": float(np.mean(seen)) if seen else 0.0,
    }


def _has_gap(track: Track) -> bool:
    """Whether the object is hidden between two frames in which it is seen."""
    seen = [frame for frame, mask in enumerate(track.masks) if mask is not None]
    return bool(seen) and seen[-1] - seen[0] + 1 > len(seen)
