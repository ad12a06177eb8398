"""COCO for videos, as YouTube-VIS has it: ``videos``, ``categories`` and ``annotations`` in one JSON document.

An annotation is an object through a video: one run-length mask, box and area a frame, null where it is not seen. SA-Co
VEval has the same layout (see `litetext.results.formats.veval`), and reads these files too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ...files import StrPath, write_json
from ..masklets import Masklets, object_number
from .veval import Track, Video, described, prediction, read_video_truth


def document(videos: Iterable[tuple[Video, Masklets]]) -> dict[str, Any]:
    """Return one document of several videos.

    Every annotation carries the ``score`` of its object and, as ``track_id``, the number by which pictures and other
    formats call it.

    Args:
        videos: each with its objects; the ids of the videos differ. Prompts of the same text are one category.
    """
    category_ids: dict[str, int] = {}
    listed: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for video, found in videos:
        listed.append(described(video))
        ids = [category_ids.setdefault(prompt, len(category_ids) + 1) for prompt in found.prompts]
        for track, object_id in zip(found.tracks(video.id, ids), found.object_ids.tolist(), strict=True):
            place = {"id": len(annotations) + 1, "track_id": object_number(object_id)}
            annotations.append({**place, **prediction(track, video.size), "iscrowd": 0})
    return {
        "videos": listed,
        "categories": [{"id": id, "name": name} for name, id in category_ids.items()],
        "annotations": annotations,
    }


def write(videos: Iterable[tuple[Video, Masklets]], path: StrPath) -> None:
    """Write several videos as one file, atomically."""
    write_json(path, document(videos), indent=None)


def read(path: StrPath) -> Iterator[tuple[Video, Masklets]]:
    """Read a file, video by video in its order; an object's id is its place among the objects of its video.

    Raises:
        LitetextError: malformed input; the message names file, entry and key.
    """
    truth = read_video_truth(Path(path))
    tracks: dict[int | str, list[Track]] = {id: [] for id in truth.videos}
    for track in truth.tracks:
        tracks[track.video].append(track)
    for video in truth.videos.values():
        yield video, Masklets.from_tracks(tracks[video.id], video.size, video.length, truth.categories)
