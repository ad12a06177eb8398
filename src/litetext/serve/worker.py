"""One thread that runs the model: what waits is taken together, so that concurrent requests become batches."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

AskT = TypeVar("AskT")


class ExpiredError(Exception):
    """Work that waited longer than it may."""


@dataclass(slots=True)
class _Task:
    """Work with what its asker waits for; ``call`` runs alone, ``ask`` together with others."""

    deadline: float
    ask: Any = None
    call: Callable[[], Any] | None = None
    future: Future[Any] = field(default_factory=Future)


class BatchWorker(Generic[AskT]):
    """A thread that answers asks in batches.

    Args:
        answer: returns the answers to several asks, in their order. Where it fails over several, each is asked alone,
            so that one spoils no other.
        batch: asks that are taken together.
        seconds: that work may wait.
        seen: told how many asks were taken together and how many seconds they took.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[AskT]], Sequence[Any]],
        batch: int,
        seconds: float,
        seen: Callable[[int, float], None] = lambda count, seconds: None,
    ) -> None:
        self._answer, self._batch, self._seconds, self._seen = answer, batch, seconds, seen
        self._waiting: deque[_Task] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._each = 0.05  # seconds that one ask takes, as it was lately
        self._thread = threading.Thread(target=self._run, name="litetext-model", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether work is taken."""
        return self._thread.is_alive() and not self._closed

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def seconds_left(self) -> float:
        """About how long what waits will take."""
        return (len(self._waiting) + 1) * self._each

    def submit(self, ask: AskT) -> Future[Any]:
        """Return the answer to an ask, once it is there."""
        return self._add(_Task(time.monotonic() + self._seconds, ask=ask))

    def call(self, call: Callable[[], Any]) -> Future[Any]:
        """Return what a function returns that runs alone in the model's thread."""
        return self._add(_Task(time.monotonic() + self._seconds, call=call))

    def close(self) -> None:
        """Take no more work, and end once what waits is done."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _add(self, task: _Task) -> Future[Any]:
        with self._changed:
            if self._closed:
                task.future.set_exception(ExpiredError())
            else:
                self._waiting.append(task)
                self._changed.notify()
        return task.future

    def _run(self) -> None:
        while tasks := self._taken():
            alive = [task for task in tasks if task.future.set_running_or_notify_cancel()]
            self._settle([task for task in alive if not _expired(task)])

    def _taken(self) -> list[_Task]:
        """What is done next: a call, or the asks that wait; nothing once the worker is closed and all is done."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            taken: list[_Task] = []
            while self._waiting and len(taken) < self._batch:
                if taken and (self._waiting[0].call is not None or taken[0].call is not None):
                    break
                taken.append(self._waiting.popleft())
            return taken

    def _settle(self, tasks: list[_Task]) -> None:
        if not tasks:
            return
        begun = time.monotonic()
        try:
            found = [tasks[0].call()] if tasks[0].call is not None else self._answer([task.ask for task in tasks])
        except Exception as error:  # it belongs to whoever asked, and the thread goes on
            self._settle_alone(tasks, error)
            return
        for task, one in zip(tasks, found, strict=True):
            task.future.set_result(one)
        taken = time.monotonic() - begun
        self._each += 0.2 * (taken / len(tasks) - self._each)
        if tasks[0].call is None:
            self._seen(len(tasks), taken)

    def _settle_alone(self, tasks: list[_Task], error: Exception) -> None:
        if len(tasks) == 1:
            tasks[0].future.set_exception(error)
            return
        for task in tasks:
            self._settle([task])


def _expired(task: _Task) -> bool:
    """Whether a task waited too long, which its asker is told then."""
    expired = time.monotonic() > task.deadline
    if expired:
        task.future.set_exception(ExpiredError())
    return expired
