"""Videos that are tracked as jobs, one after the other; every job is a folder, so that a restart loses none.

What a job is stands in ``job.json``, written atomically: a job was accepted once it is there. After a restart those
that waited wait again, and the one that was worked on goes on at the frame that its journal reached (see
`litetext.track.run`). The video itself is removed when its job is over.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import LitetextError
from ..files import write_json
from ..json_files import read_json
from ..validation import from_values
from .refusals import RefusalError

if TYPE_CHECKING:
    from ..track import VideoSegmenter
    from ..videos import VideoReader

_log = logging.getLogger("litetext.serve")

State = Literal["waiting", "running", "done", "failed", "cancelled"]

FILES = {
    "overlay.mp4": ("video", "video/mp4"),
    "objects.png": ("sheet", "image/png"),
    "coco_video.json": ("coco", "application/json"),
    "veval.json": ("veval", "application/json"),
    "mot.csv": ("mot", "text/csv"),
}
"""The files of a job's result: what `litetext.track.files.FILES` calls each, and its media type."""

_CONTAINERS = {b"\x1a\x45\xdf\xa3": 0, b"ftyp": 4, b"AVI ": 8, b"GIF8": 0}
"""How files of videos begin, and where; playlists, which lead FFmpeg to other files, begin otherwise."""

_JOB, _VIDEO, _TRACKS = "job.json", "video", "tracks"


@dataclass(frozen=True, slots=True)
class TrackJob:
    """A video to track.

    Attributes:
        id: of the job.
        model: by its name.
        name: of the video's file, as its sender calls it.
        phrases: to follow.
        every: take every N-th frame.
        max_side: pixels that the longer side of frames is reduced to, or None.
        longest: seconds that the video may last, since not every one says how long it is; None: no limit.
        state: of the job.
        frames: that are done.
        total: frames in all, where that is known.
        error: why it failed.
    """

    id: str
    model: str
    name: str
    phrases: list[str]
    every: int = 1
    max_side: int | None = None
    longest: float | None = None
    state: State = "waiting"
    frames: int = 0
    total: int | None = None
    error: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ("done", "failed", "cancelled")


class _CancelledError(Exception):
    """The job that is worked on was cancelled."""


class Jobs:
    """The jobs of a server, and the thread that works on them.

    Args:
        folder: that holds them; made if it is not there.
        most: jobs that are kept, those that are over too.
        load: returns what tracks videos with a model of some name.
    """

    def __init__(self, folder: Path, most: int, load: Callable[[str], VideoSegmenter]) -> None:
        self._folder, self._most, self._load = folder, most, load
        self._changed = threading.Condition()
        self._loaded: tuple[str, VideoSegmenter] | None = None
        self._loading = threading.Lock()
        self._closed = False
        folder.mkdir(parents=True, exist_ok=True)
        self._jobs = {job.id: job for job in map(_read, sorted(folder.glob(f"*/{_JOB}")))}
        for job in self._jobs.values():
            if not job.is_over:
                self._jobs[job.id] = replace(job, state="waiting")
        self._remove_unaccepted()
        self._thread = threading.Thread(target=self._run, name="litetext-jobs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; what is not over goes on when these jobs are opened again."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def all(self) -> list[TrackJob]:
        """Return every job, the oldest first."""
        return list(self._jobs.values())

    @property
    def open_count(self) -> int:
        """How many jobs are not over."""
        return sum(not job.is_over for job in self.all())

    def get(self, id: str) -> TrackJob:
        """Return a job.

        Raises:
            RefusalError: there is none of that name.
        """
        if id not in self._jobs:
            raise RefusalError(404, "there is no such job; a server that is started without --state forgets its jobs")
        return self._jobs[id]

    def add(self, content: bytes, job: TrackJob, longest: float) -> TrackJob:
        """Accept a video: once this returns, a restart does not lose it.

        Args:
            content: of its file.
            job: what to do; it is given a name.
            longest: seconds that it may last.

        Raises:
            RefusalError: no video, one that is too long, or more jobs than are kept.
        """
        job = replace(job, id=f"{time.time_ns():016x}{secrets.token_hex(8)}")  # sorted by name, they are by age
        place = self._folder / job.id
        try:
            with self._changed:
                self._check_room()
                place.mkdir()
            (place / _VIDEO).write_bytes(content)
            total = _checked_video(place / _VIDEO, content, job, longest)
            accepted = replace(job, total=total, longest=longest)
            self._save(accepted)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        return accepted

    def cancel(self, id: str) -> TrackJob | None:
        """Cancel a job, or forget it where it is over already; return it as it is then."""
        with self._changed:
            job = self.get(id)
            if job.is_over:
                del self._jobs[id]
                shutil.rmtree(self._folder / id, ignore_errors=True)
                return None
            self._save(replace(job, state="cancelled"))
        if job.state == "waiting":
            self._tidy(job)
        return self._jobs[id]

    def result(self, id: str) -> dict[str, Any]:
        """Return what was found in a video, see `litetext.track.run.Tracking.summary`.

        Raises:
            RefusalError: the job is not done.
        """
        found: dict[str, Any] = read_json(self._done(id) / "tracks.json")
        return {key: value for key, value in found.items() if key != "run"} | {"video": self.get(id).name}

    def file(self, id: str, name: str) -> Path:
        """Return the path of a file of a job's result.

        Raises:
            RefusalError: the job is not done, or there is no such file.
        """
        if name not in FILES:
            raise RefusalError(404, f"a result has no such file; choose one of: {', '.join(FILES)}")
        return self._done(id) / name

    def tracker(self, model: str) -> VideoSegmenter:
        """Return what tracks with a model; the last one is kept."""
        with self._loading:
            if self._loaded is None or self._loaded[0] != model:
                self._loaded = model, self._load(model)
            return self._loaded[1]

    def _done(self, id: str) -> Path:
        job = self.get(id)
        if job.state != "done":
            raise RefusalError(409, f"the job is {job.state}{': ' + job.error if job.error else ''}; it has no result")
        return self._folder / id / _TRACKS

    def _check_room(self) -> None:
        if len(self._jobs) >= self._most:
            raise RefusalError(
                429, f"{self._most} jobs are kept, which is the limit; DELETE those that are over",
                limit=self._most, retry_after=30,
            )  # fmt: skip

    def _save(self, job: TrackJob) -> None:
        """Write how a job is, and let the thread see it."""
        write_json(self._folder / job.id / _JOB, asdict(job))
        with self._changed:
            self._jobs[job.id] = job
            self._changed.notify()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                self._work(job)
            except _CancelledError:
                pass  # it is cancelled, or waits for the next start
            except LitetextError as error:
                self._end(job, "failed", str(error))
            except Exception:
                _log.exception("job %s failed", job.id)
                self._end(job, "failed", "something went wrong here; the server's log says what")
            if self._jobs.get(job.id, job).is_over:
                self._tidy(job)

    def _next(self) -> TrackJob | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting() is not None)
            return None if self._closed else self._waiting()

    def _waiting(self) -> TrackJob | None:
        return next((job for job in self._jobs.values() if job.state == "waiting"), None)

    def _work(self, job: TrackJob) -> None:
        from ..track.run import Tracking, check_out, track_to_folder
        from ..videos import open_video

        self._advance(job, state="running")
        place = self._folder / job.id
        run = {"job": job.id, "phrases": job.phrases}
        kinds = [kind for kind, _ in FILES.values()]
        if check_out(place / _TRACKS, run, [place / _VIDEO], overwrite=True) is None:
            with open_video(place / _VIDEO, every=job.every, max_side=job.max_side) as video:
                tracking = Tracking(video, job.phrases, lambda: self.tracker(job.model), self._progress(job, video))
                track_to_folder(tracking, place / _TRACKS, run, kinds=kinds, overwrite=True)
        self._end(job, "done")

    def _progress(self, job: TrackJob, video: VideoReader) -> Any:
        def show(completed: int, total: int | None = None, description: str | None = None) -> None:
            if job.longest is not None and completed > job.longest * video.frame_rate:
                raise LitetextError(f"the video lasts more than {job.longest:g} seconds, which is the limit")
            self._advance(job, frames=completed)
            if self._closed:
                raise _CancelledError

        return show

    def _advance(self, job: TrackJob, **changes: Any) -> None:
        """Say how far a job is, in memory alone: its journal keeps the frames.

        Raises:
            _CancelledError: it was cancelled.
        """
        with self._changed:
            now = self._jobs.get(job.id)
            if now is None or now.is_over:
                raise _CancelledError
            self._jobs[job.id] = replace(now, **changes)

    def _end(self, job: TrackJob, state: State, error: str | None = None) -> None:
        with self._changed:
            now = self._jobs.get(job.id)
            if now is not None and not now.is_over:
                self._save(replace(now, state=state, error=error))

    def _tidy(self, job: TrackJob) -> None:
        """Remove the video of a job that is over, and what an unfinished one leaves."""
        for path in (self._folder / job.id).glob("*"):
            if path.name not in (_JOB, _TRACKS):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def _remove_unaccepted(self) -> None:
        """Remove the folders of videos that were never accepted, since a kill came before."""
        for place in self._folder.iterdir():
            if place.is_dir() and place.name not in self._jobs:
                shutil.rmtree(place, ignore_errors=True)


def can_track() -> bool:
    """Return whether what reads and tracks videos is installed."""
    return find_spec("av") is not None and find_spec("trackers") is not None


def check_tracking() -> None:
    """Refuse videos where what reads them is not installed.

    Raises:
        RefusalError: 501.
    """
    if not can_track():
        raise RefusalError(501, "this server tracks no videos; install on it: pip install 'litetext[serve,video]'")


def _read(path: Path) -> TrackJob:
    return from_values(TrackJob, read_json(path), str(path))


def _checked_video(path: Path, content: bytes, job: TrackJob, longest: float) -> int | None:
    """How many frames a video has, where it says so."""
    from ..videos import open_video

    if not any(content[at : at + len(mark)] == mark for mark, at in _CONTAINERS.items()):
        raise RefusalError(415, "the file is no video that can be read here; send MP4, MOV, WebM, MKV, AVI or GIF")
    try:
        with contextlib.closing(open_video(path, every=job.every, max_side=job.max_side)) as video:
            count, rate = video.frame_count, video.frame_rate
    except LitetextError as error:
        raise RefusalError(415, str(error).replace(str(path), "the video")) from None
    if count is not None and count / rate > longest:
        message = f"the video lasts {count / rate:.0f} seconds, the limit is {longest:g}"
        raise RefusalError(413, message, limit=longest)
    return count
