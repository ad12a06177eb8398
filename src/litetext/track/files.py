"""The files of a tracked video: pictures of it, written as frames come, and its tracks in formats that tools read."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..files import write_json
from ..results import FrameResult, Masklets
from ..results.formats import coco_video, mask_pictures, mot, veval
from ..results.masklets import object_number
from ..videos import VideoFrame, VideoReader, VideoWriter, write_video

FILES = {
    "video": "overlay.mp4",
    "veval": "veval.json",
    "coco": "coco_video.json",
    "mot": "mot.csv",
    "masks": "masks",
    "sheet": "objects.png",
}
"""What can be written of a video, and the names of the files; ``masks`` is a folder with a PNG a frame."""


class Pictures(Protocol):
    """Something that is drawn frame by frame."""

    def add(self, frame: VideoFrame, found: FrameResult) -> None:
        """Draw a frame."""
        ...


@contextlib.contextmanager
def drawn_pictures(folder: Path, video: VideoReader, kinds: Collection[str]) -> Iterator[list[Pictures]]:
    """Yield what draws the frames of a video; the files are there when the block has ended well.

    Args:
        folder: to write into.
        video: whose frames come; its sound goes into the overlay.
        kinds: of `FILES`; those that are no pictures are passed over.
    """
    pictures: list[Pictures] = []
    with contextlib.ExitStack() as stack:
        if "video" in kinds:
            path = folder / FILES["video"]
            writer = write_video(path, video.size, video.frame_rate, sound=video.sound())
            pictures.append(_Overlay(stack.enter_context(writer)))
        if "masks" in kinds:
            pictures.append(_MaskFolder(folder / FILES["masks"]))
        if "sheet" in kinds:
            sheet = _Sheet()
            pictures.append(sheet)
        yield pictures
        if "sheet" in kinds:
            sheet.save(folder / FILES["sheet"])


def write_documents(folder: Path, video: str, found: Masklets, kinds: Collection[str]) -> None:
    """Write the tracks of a video in the formats among ``kinds`` (of `FILES`) that hold a whole video.

    Args:
        folder: to write into.
        video: what files call the video.
        found: its tracks.
        kinds: of `FILES`; pictures are passed over.
    """
    described = veval.Video(video, video, found.size, found.frame_count)
    if "coco" in kinds:
        coco_video.write([(described, found)], folder / FILES["coco"])
    if "mot" in kinds:
        mot.write(found, folder / FILES["mot"])
    if "veval" in kinds:
        names = dict(enumerate(found.prompts, start=1))
        pairs = [(video, category) for category in names]
        document = veval.document([described], names, found.tracks(video, list(names)), pairs)
        write_json(folder / FILES["veval"], document, indent=None)


def overlay(image: NDArray[np.uint8], found: FrameResult) -> NDArray[np.uint8]:
    """Return a frame with its objects drawn on it, each in the color that it keeps, with number, prompt and score.

    Args:
        image: of the frame, uint8 [H, W, 3].
        found: what is in it.
    """
    from ..results import drawing

    instances = found.instances
    rows = zip(found.object_ids.tolist(), instances.labels, instances.scores.tolist(), strict=True)
    labels = [f"#{object_number(id)} {label} {score:.2f}" for id, label, score in rows]
    longest = max(image.shape[:2])
    return np.asarray(
        drawing.overlay(image, instances.masks, instances.boxes, found.object_ids, labels, longest_side=longest)
    )


class _Overlay:
    """The video with its objects drawn on it."""

    def __init__(self, writer: VideoWriter) -> None:
        self._writer = writer

    def add(self, frame: VideoFrame, found: FrameResult) -> None:
        """Draw a frame."""
        self._writer.write(overlay(frame.image, found), frame.time)


class _MaskFolder:
    """A PNG a frame, see `litetext.results.formats.mask_pictures`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()

    def add(self, frame: VideoFrame, found: FrameResult) -> None:
        """Write a frame's numbers."""
        mask_pictures.write(found, self._folder / f"{frame.index:05d}.png")


class _Sheet:
    """A picture of every object, see `litetext.results.contact_sheet`."""

    def __init__(self) -> None:
        from ..results.contact_sheet import ContactSheet

        self._sheet = ContactSheet()

    def add(self, frame: VideoFrame, found: FrameResult) -> None:
        """Look for objects that are seen better here."""
        self._sheet.add(frame.image, found)

    def save(self, path: Path) -> None:
        """Write the sheet."""
        self._sheet.save(path)
