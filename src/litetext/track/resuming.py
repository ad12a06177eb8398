"""What was found in a video before a run was killed is not looked for again.

Where tracks are made of detections, these are what takes time: they are kept in the run's journal, and a run that goes
on links them again from the first frame, in the same way. A memory tracker goes on from its own state, which is saved
once a minute; what it found is in the journal. Either way the results are those of an unbroken run.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..images import ImageLike, read_image
from ..journal import Journal
from ..results import FrameResult, Instances
from ..segment import Segmenter
from .records import frame_of, frame_record, instances_of, instances_record
from .video_segmenter import VideoSegmenter
from .video_session import VideoSession

SAVE_SECONDS = 60.0
"""How often the state of a memory tracker is saved."""


class ResumedTracker:
    """A tracker for one video that goes on where a run was killed.

    Args:
        tracker: that finds.
        journal: of what was found.
        state: the file of a memory tracker's state; there may be none yet.
        run: what is run, JSON values.
    """

    def __init__(self, tracker: VideoSegmenter, journal: Journal, state: Path, run: Mapping[str, Any]) -> None:
        self._tracker = tracker
        self._journal = journal
        self._path = state
        self._run = run
        self._saved = time.monotonic()

    def stream(
        self, frames: Iterable[NDArray[np.uint8]], prompts: Sequence[str], *, frame_count: int | None = None
    ) -> Iterator[FrameResult]:
        """Yield what is in each frame, as `VideoSegmenter.stream` does; all frames are given, from the first."""
        if not self._tracker.policy.memory:
            remembered: Any = _RememberedDetector(self._tracker.segmenter, self._journal)
            tracker = VideoSegmenter(remembered, self._tracker.policy, prompt_batch=self._tracker.prompt_batch)
            return tracker.stream(frames, prompts, frame_count=frame_count)
        return self._remembered(frames, self._tracker.session(prompts, frame_count=frame_count))

    def _remembered(self, frames: Iterable[NDArray[np.uint8]], session: VideoSession) -> Iterator[FrameResult]:
        known = self._restored(session)
        seen, settled = session.frame_index + 1, len(known)
        for index, image in enumerate(frames):
            if index < seen:
                yield from known[index : index + 1]
                continue
            for found in session.step(image):
                yield self._noted(found)
                settled += 1
            self._save_now_and_then(session, settled)
        for found in session.finish():
            yield self._noted(found)

    def _restored(self, session: VideoSession) -> list[FrameResult]:
        """Bring a session to where its state was saved; what it had found by then."""
        results = [frame_of(record) for _, (record,) in self._journal.entries()]
        saved = session.load(self._path, self._run, len(results))
        return [] if saved is None else results[:saved]

    def _noted(self, found: FrameResult) -> FrameResult:
        if found.frame_index >= self._journal.count:
            self._journal.append(str(found.frame_index), [frame_record(found)])
        return found

    def _save_now_and_then(self, session: VideoSession, settled: int) -> None:
        if time.monotonic() - self._saved >= SAVE_SECONDS:
            session.save(self._path, self._run, settled)
            self._saved = time.monotonic()


class _RememberedDetector:
    """A detector of frames, given in order; what the journal knows of a frame is taken from there."""

    def __init__(self, segmenter: Segmenter, journal: Journal) -> None:
        self._segmenter = segmenter
        self._journal = journal
        self._known = deque(record for _, (record,) in journal.entries())
        self.encode_prompts = segmenter.encode_prompts

    def encode_image(self, image: ImageLike) -> Any:
        """Return the features of a frame; of one that is known, which needs none, the frame itself."""
        return read_image(image) if self._known else self._segmenter.encode_image(image)

    def detect(self, image: Any, prompts: Any, **options: Any) -> Instances:
        """Return what the journal says of the frame, or else what is found in it."""
        if self._known:
            return instances_of(self._known.popleft())
        found = self._segmenter.detect(image, prompts, **options)
        self._journal.append(str(self._journal.count), [instances_record(found)])
        return found
