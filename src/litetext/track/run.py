"""A video tracked from its file to the files of its tracks, so that a killed run goes on where it stopped.

Everything is written to a folder that is there whole or not at all. Until then a journal beside it, ``NAME.partial``,
holds what was found so far, and ``NAME.state`` what a memory tracker remembers; given the same command again, only the
other frames go through the model, and the pictures are drawn anew, which takes little time beside it.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import LitetextError
from ..files import write_json
from ..journal import Journal, check_journal, open_journal
from ..json_files import read_json
from ..outputs import Kind, OutputFolder, atomic_folder, check_folder, check_place
from ..progress import Progress, no_progress
from ..results import FrameResult, Masklets
from ..results.masklets import object_number
from ..videos import VideoFrame, VideoReader
from .files import FILES, Pictures, drawn_pictures, write_documents
from .resuming import ResumedTracker
from .video_segmenter import VideoSegmenter

SUMMARY = "tracks.json"
"""The file that says what a folder of tracks is of, and what was found."""

_KIND: Kind = "tracks"


class Tracker(Protocol):
    """What finds the objects of a video; `litetext.track.VideoSegmenter` is one."""

    def stream(
        self, frames: Iterable[NDArray[np.uint8]], prompts: Sequence[str], *, frame_count: int | None
    ) -> Iterator[FrameResult]:
        """Yield what is in each frame, in order, maybe some frames late."""
        ...


@dataclass(slots=True)
class Tracking:
    """One pass over a video.

    Attributes:
        video: to be read.
        prompts: noun phrases.
        load: returns what tracks.
        progress: counts frames, and tells how many objects there are.
        stopped: asked before every frame whether to end there, as if the video ended.
        damage: what was wrong with the video, once that is known.
    """

    video: VideoReader
    prompts: Sequence[str]
    load: Callable[[], VideoSegmenter]
    progress: Progress = no_progress
    stopped: Callable[[], bool] = bool
    damage: str | None = None
    _times: list[float] = field(default_factory=list)
    _found: list[FrameResult] = field(default_factory=list)

    def into(self, pictures: Sequence[Pictures], kept: Callable[[VideoSegmenter], Tracker] | None = None) -> Masklets:
        """Track the video, draw every frame, and return the tracks.

        A video that is damaged is tracked as far as it can be read.

        Args:
            pictures: to draw.
            kept: makes of what was loaded a tracker that goes on where a run was killed.

        Raises:
            LitetextError: not a frame could be read.
        """
        loaded = self.load()
        tracker: Tracker = loaded if kept is None else kept(loaded)
        waiting: deque[VideoFrame] = deque()
        images = self._images(waiting)
        for found in tracker.stream(images, self.prompts, frame_count=self.video.frame_count):
            frame = waiting.popleft()
            for picture in pictures:
                picture.add(frame, found)
            self._keep(frame, found)
        if not self._found:
            raise LitetextError(self.damage or f"{self.video.name} has no frame")
        return Masklets.collect(self._found, frame_count=len(self._times))

    def summary(self, tracks: Masklets) -> dict[str, Any]:
        """Return what was found as JSON values, times in seconds from the beginning of the video."""
        return {
            "video": self.video.name,
            "width": tracks.size[1],
            "height": tracks.size[0],
            "frames": tracks.frame_count,
            "start": self._times[0],
            "end": self._times[-1],
            "damage": self.damage,
            "objects": [self._object(tracks, row) for row in range(len(tracks))],
        }

    def _images(self, waiting: deque[VideoFrame]) -> Iterator[NDArray[np.uint8]]:
        """The images of the frames, which wait for what is found in them; damage ends them."""
        try:
            for frame in self.video:
                if self.stopped():
                    return
                waiting.append(frame)
                yield frame.image
        except LitetextError as error:
            self.damage = str(error)

    def _keep(self, frame: VideoFrame, found: FrameResult) -> None:
        self._times.append(frame.time)
        self._found.append(replace(found, instances=replace(found.instances, image=None)))
        count = len(found.object_ids)
        self.progress(len(self._times), self.video.frame_count, f"{count} object{'s' if count != 1 else ''}")

    def _object(self, tracks: Masklets, row: int) -> dict[str, Any]:
        frames = tracks.frames[tracks.objects == row]
        return {
            "number": object_number(int(tracks.object_ids[row])),
            "prompt": tracks.labels[row],
            "score": round(float(tracks.scores[row]), 4),
            "frames": len(frames),
            "first": self._times[int(frames[0])],
            "last": self._times[int(frames[-1])],
        }


def track_to_folder(
    tracking: Tracking,
    out: Path,
    run: Mapping[str, Any],
    *,
    kinds: Collection[str] = tuple(FILES),
    overwrite: bool = False,
) -> dict[str, Any]:
    """Track a video and write its tracks into a folder of their own.

    Args:
        tracking: what to do.
        out: the folder; new, empty, or of an earlier run that ``overwrite`` replaces.
        run: JSON values that say what the run is; the same run goes on where it was killed.
        kinds: what to write, of `litetext.track.files.FILES`.
        overwrite: replace the tracks of another run.

    Returns:
        See `Tracking.summary`; it is in the folder, as `SUMMARY`.
    """
    busy = f"{out} is being written by another process"
    with contextlib.nullcontext() if tracking.video.is_live else open_journal(_journal(out), run, busy) as journal:
        kept = None if journal is None else partial(ResumedTracker, journal=journal, state=_state(out), run=run)
        with atomic_folder(out, _KIND, overwrite=overwrite) as folder:
            with _saved_told(journal, _journal(out)), drawn_pictures(folder, tracking.video, kinds) as pictures:
                tracks = tracking.into(pictures, kept)
            write_documents(folder, Path(tracking.video.name).name, tracks, kinds)
            summary = tracking.summary(tracks)
            write_json(folder / SUMMARY, {**summary, "run": run})
        _remove_kept(out)
    return summary


@contextlib.contextmanager
def _saved_told(journal: Journal | None, path: Path) -> Iterator[None]:
    """Let whoever interrupts the block be told what is saved."""
    try:
        yield
    except KeyboardInterrupt as stop:
        if journal is not None and journal.count:
            stop.args = (f"{journal.count:,} frames are saved in {path}; give the same command again to go on",)
        raise


def check_out(out: Path, run: Mapping[str, Any], inputs: Sequence[Path], *, overwrite: bool) -> dict[str, Any] | None:
    """Return the summary of this very run, where it is finished; refuse a folder that it may not write.

    Args:
        out: the folder.
        run: what the run is.
        inputs: what is read.
        overwrite: replace the tracks of another run.

    Raises:
        LitetextError: naming the folder and the remedy.
    """
    check_place(_journal(out))
    check_journal(_journal(out), run, overwrite=overwrite)
    if os.path.lexists(_state(out)):
        from .snapshot import check_state  # which imports torch

        check_state(_state(out))
    found = _finished(out)
    if found is not None and found.pop("run", None) == run:
        _remove_kept(out)  # a kill may have come just before
        return found
    check_folder(out, _KIND, overwrite=overwrite, inputs=inputs)
    return None


def _journal(out: Path) -> Path:
    return out.with_name(out.name + ".partial")


def _state(out: Path) -> Path:
    return out.with_name(out.name + ".state")


def _remove_kept(out: Path) -> None:
    for path in (_state(out), _journal(out)):
        path.unlink(missing_ok=True)


def _finished(out: Path) -> dict[str, Any] | None:
    """What a folder of tracks says of itself, if it is one, unchanged."""
    if not (out / SUMMARY).is_file():
        return None
    with contextlib.suppress(LitetextError):
        OutputFolder(out, _KIND).check([SUMMARY])
        found = read_json(out / SUMMARY)
        return found if isinstance(found, dict) else None
    return None
