"""Frames that X-AnyLabeling sent, kept until they were tracked; the oldest session goes where there are too many."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Event, Lock

from ..refusals import RefusalError

_MOST = 4


@dataclass(slots=True)
class FrameSession:
    """A video as files of its frames, and what is to be followed through it.

    Attributes:
        model: by its name.
        frames: files of images, in order.
        phrases: that were asked last.
        stopped: set where it is cancelled.
    """

    model: str
    frames: list[bytes]
    phrases: list[str] = field(default_factory=list)
    stopped: Event = field(default_factory=Event)


class FrameSessions:
    """The latest sessions, by names that nobody guesses; threads may share them."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, FrameSession] = OrderedDict()
        self._lock = Lock()

    def add(self, session: FrameSession) -> str:
        """Keep a session, and return its name."""
        name = secrets.token_hex(12)
        with self._lock:
            self._kept[name] = session
            while len(self._kept) > _MOST:
                self._kept.popitem(last=False)[1].stopped.set()
        return name

    def get(self, name: str) -> FrameSession:
        """Return a session.

        Raises:
            RefusalError: there is none of that name, or no longer.
        """
        with self._lock:
            if name not in self._kept:
                raise RefusalError(404, "there is no such video session; begin it again")
            return self._kept[name]

    def stop(self, name: str, *, forget: bool) -> None:
        """Cancel a session, and forget it where that is asked; one that is gone already may be stopped too."""
        with self._lock:
            session = self._kept.pop(name, None) if forget else self._kept.get(name)
        if session is not None:
            session.stopped.set()
