"""Video annotation and prediction files (SA-Co VEval, YouTube-VIS layout), checked at the door.

The unit is the pair of a video and a noun phrase (a category id); every object is a `Track` with a mask and a box in
each frame where it is seen. ``video_np_pairs`` lists the pairs that were annotated, among them the negatives.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import LitetextError, short
from ...json_files import Entry, stream_json
from ..rle import Size, areas, bounding_boxes
from .checks import MaskCheck, fault, require, require_box, require_list, require_mask, require_score, require_size

Box = tuple[float, float, float, float]
_MOST_FRAMES = 1_000_000

VideoPairId = tuple[int | str, int]
"""(video id, category id)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Video:
    """``size`` is (height, width) in pixels, ``length`` the number of frames."""

    id: int | str
    name: str
    size: Size
    length: int
    file_names: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Track:
    """One object through a video: per frame its mask (compressed RLE) and box (x, y, width, height in pixels).

    None where the object is not seen. ``entry`` is its place in the file's list.
    """

    masks: tuple[bytes | None, ...]
    boxes: tuple[Box | None, ...]
    video: int | str
    category: int
    entry: int
    score: float = 1.0
    crowd: bool = False

    @property
    def pair(self) -> VideoPairId:
        """Video and phrase, by their ids."""
        return (self.video, self.category)


@dataclasses.dataclass(frozen=True)
class VideoTruth:
    """A VEval annotation file: ``listed`` pairs in file order, None where the file has no ``video_np_pairs``."""

    name: str
    videos: Mapping[int | str, Video]
    categories: Mapping[int, str]
    tracks: Sequence[Track]
    listed: Sequence[VideoPairId] | None


@dataclasses.dataclass(frozen=True)
class VideoPredictions:
    """A system's tracks, in file order (any score; each metric applies its own threshold)."""

    name: str
    tracks: Sequence[Track]


def described(video: Video) -> dict[str, Any]:
    """Return the entry of a video."""
    return {
        "id": video.id,
        "video_name": video.name,
        "height": video.size[0],
        "width": video.size[1],
        "length": video.length,
        "file_names": list(video.file_names),
    }


def prediction(track: Track, size: Size) -> dict[str, Any]:
    """Return the entry of a predicted track; ``size`` is (height, width) of its video.

    A track without boxes has those of its masks.
    """
    return {"video_id": track.video, "category_id": track.category, "score": track.score, **_frames(track, size)}


def document(
    videos: Iterable[Video],
    categories: Mapping[int, str],
    tracks: Iterable[Track],
    pairs: Iterable[VideoPairId],
    description: str = "",
) -> dict[str, Any]:
    """Return a VEval ground truth file.

    Args:
        videos: all of them.
        categories: the noun phrase of each id.
        tracks: the objects.
        pairs: the annotated (video, phrase) pairs, the negatives among them.
        description: of the data set.
    """
    listed = list(videos)
    sizes = {video.id: video.size for video in listed}
    return {
        "info": {"description": description},
        "videos": [described(video) for video in listed],
        "categories": [{"id": id, "name": name} for id, name in categories.items()],
        "annotations": [
            {
                "id": id,
                "video_id": track.video,
                "category_id": track.category,
                **_frames(track, sizes[track.video]),
                "iscrowd": int(track.crowd),
            }
            for id, track in enumerate(tracks, start=1)
        ],
        "video_np_pairs": [
            {"id": id, "video_id": video, "category_id": category, "noun_phrase": categories[category]}
            for id, (video, category) in enumerate(pairs, start=1)
        ],
    }


def read_video_truth(path: str | Path) -> VideoTruth:
    """Read a VEval annotation file; `LitetextError` names file, entry and key of what is wrong."""
    name = str(path)
    sections: dict[str, list[Entry]] = {"videos": [], "categories": [], "annotations": [], "video_np_pairs": []}
    listed = False
    for entry in stream_json(path):
        listed = listed or entry.key == "video_np_pairs"
        if entry.key in sections:
            sections[entry.key].append(entry)
    for key in ("videos", "categories"):
        if not sections[key]:
            raise LitetextError(f"{name}: key {key!r} is missing or empty; give a SA-Co VEval annotation file")
    videos = {video.id: video for video in _videos(name, sections["videos"])}
    categories = dict(_categories(name, sections["categories"]))
    _unique_ids(name, sections["annotations"])
    masks = MaskCheck(name)
    tracks = [
        _track(name, entry, videos, categories, masks, require_score(entry, name) if "score" in entry.value else 1.0)
        for entry in sections["annotations"]
    ]
    pairs = list(dict.fromkeys(_pair(name, entry, videos, categories) for entry in sections["video_np_pairs"]))
    return VideoTruth(name, videos, categories, tracks, pairs if listed else None)


def read_video_predictions(path: str | Path, truth: VideoTruth) -> VideoPredictions:
    """Read predicted tracks ({video_id, category_id, score, segmentations, bboxes, areas}) for a ground truth.

    ``bboxes`` and ``areas`` may be left out: they follow from the masks. A frame without the object holds None, or an
    empty RLE with box [0, 0, 0, 0].

    Args:
        path: the file.
        truth: what the tracks are to be scored on.

    Raises:
        LitetextError: malformed input; the message names file, entry and key.
    """
    name = str(path)
    masks = MaskCheck(name)
    tracks = []
    for entry in stream_json(path):
        if entry.key or entry.index is None:
            raise LitetextError(
                f"{name}: predictions are one list of tracks, but this file is an object with keys; "
                "is it a ground truth file?"
            )
        score = require_score(entry, name)
        tracks.append(_track(name, entry, truth.videos, truth.categories, masks, score))
    return VideoPredictions(name, tracks)


def _videos(name: str, entries: Iterable[Entry]) -> Iterator[Video]:
    seen = set()
    for entry in entries:
        id = require(entry, "id", (int, str), name)
        if id in seen:
            raise fault(name, entry, "id", f"is {short(id)}, which an earlier video has; ids occur once")
        seen.add(id)
        size = require_size(entry, name)
        length = require(entry, "length", int, name)
        if not 1 <= length <= _MOST_FRAMES:
            raise fault(name, entry, "length", f"is {length}, where 1 to {_MOST_FRAMES:,} frames should stand")
        files = require_list(entry, "file_names", str, name)
        if files and len(files) != length:
            raise fault(name, entry, "file_names", f"names {len(files)} frames, but 'length' is {length}")
        yield Video(id, str(entry.value.get("video_name", id)), size, length, tuple(files))


def _categories(name: str, entries: Iterable[Entry]) -> Iterator[tuple[int, str]]:
    seen = set()
    for entry in entries:
        id = require(entry, "id", int, name)
        if id in seen:
            raise fault(name, entry, "id", f"is {id}, which an earlier category has; ids occur once")
        seen.add(id)
        yield id, require(entry, "name", str, name)


def _unique_ids(name: str, entries: Iterable[Entry]) -> None:
    seen = set()
    for entry in entries:
        id = require(entry, "id", (int, str), name)
        if id in seen:
            raise fault(name, entry, "id", f"is {short(id)}, which an earlier annotation has; ids occur once")
        seen.add(id)


def _pair(name: str, entry: Entry, videos: Mapping[Any, Video], categories: Mapping[int, str]) -> VideoPairId:
    video = require(entry, "video_id", (int, str), name)
    if video not in videos:
        raise fault(name, entry, "video_id", f"is {short(video)}, which no video has")
    category = require(entry, "category_id", int, name)
    if category not in categories:
        raise fault(name, entry, "category_id", f"is {category}, which no category has")
    return (video, category)


def _track(
    name: str,
    entry: Entry,
    videos: Mapping[Any, Video],
    categories: Mapping[int, str],
    check: MaskCheck,
    score: float = 1.0,
) -> Track:
    video_id, category = _pair(name, entry, videos, categories)
    video = videos[video_id]
    masks = [
        _frame_mask(name, entry, t, mask, video.size, check)
        for t, mask in enumerate(_per_frame(name, entry, "segmentations", video))
    ]
    check.finish()  # only well-formed run lengths can be measured
    drawn = [t for t, mask in enumerate(masks) if mask is not None]
    strings = [mask for mask in masks if mask is not None]
    sizes: list[float | None] = [None] * video.length
    for t, pixels in zip(drawn, areas(strings).tolist(), strict=True):
        sizes[t] = pixels
    if "areas" in entry.value:
        for t, given in enumerate(_per_frame(name, entry, "areas", video)):
            if given is not None and type(given) not in (int, float):
                raise fault(name, entry, f"areas[{t}]", f"is {short(given)}, where a number or null should stand")
            sizes[t] = sizes[t] if given is None else given
    boxes: list[Box | None] = [None] * video.length
    for t, (x, y, width, height) in zip(drawn, bounding_boxes(strings, video.size).tolist(), strict=True):
        boxes[t] = (x, y, width, height)
    if "bboxes" in entry.value:
        given = _per_frame(name, entry, "bboxes", video)
        boxes = [None if box is None else require_box(entry, f"bboxes[{t}]", box, name) for t, box in enumerate(given)]
    seen = [_seen(mask, box, area) for mask, box, area in zip(masks, boxes, sizes, strict=True)]
    crowd = bool(entry.value.get("iscrowd", 0))
    return Track(
        tuple(mask if here else None for mask, here in zip(masks, seen, strict=True)),
        tuple(box if here else None for box, here in zip(boxes, seen, strict=True)),
        video_id,
        category,
        entry.index or 0,
        score,
        crowd,
    )


def _frames(track: Track, size: Size) -> dict[str, list[Any]]:
    """What both kinds of files say of a track, frame by frame; None where it is not seen."""
    drawn = [t for t, mask in enumerate(track.masks) if mask is not None]
    masks = [mask for mask in track.masks if mask is not None]
    around = bounding_boxes(masks, size).tolist()
    boxes = [list(track.boxes[t] or box) for t, box in zip(drawn, around, strict=True)]
    rles = [{"size": list(size), "counts": mask.decode("ascii")} for mask in masks]
    values = {"segmentations": rles, "bboxes": boxes, "areas": areas(masks).tolist()}
    found = {key: dict(zip(drawn, several, strict=True)) for key, several in values.items()}
    return {key: [of_frame.get(t) for t in range(len(track.masks))] for key, of_frame in found.items()}


def _seen(mask: bytes | None, box: Box | None, area: float | None) -> bool:
    return mask is not None and box is not None and any(box) and area is not None and area > 0


def _per_frame(name: str, entry: Entry, key: str, video: Video) -> list[Any]:
    values: list[Any] = require(entry, key, list, name)
    if len(values) != video.length:
        raise fault(name, entry, key, f"has {len(values)} frames, but video {video.id!r} has {video.length}")
    return values


def _frame_mask(name: str, entry: Entry, t: int, mask: Any, size: Size, check: MaskCheck) -> bytes | None:
    if mask is None:
        return None
    key = f"segmentations[{t}]"
    counts, own = require_mask(entry, key, mask, name, size)
    if own != size:
        raise fault(
            name, entry, key, f"has size {own[0]} x {own[1]} (height x width), but its video {size[0]} x {size[1]}"
        )
    check.add(counts, own, entry.place, key)
    return counts
