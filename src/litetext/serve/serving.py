"""A server at work: what its routes, its page and the protocols of annotation tools all ask."""

from __future__ import annotations

import asyncio
import json
import math
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import LitetextError
from ..json_files import parse_json
from ..segment.questions import VISUAL
from .concepts import ConceptStore
from .jobs import Jobs
from .metrics import Metrics
from .model import Answer, Ask, Models, Photo, Wanted, video_segmenter, wanted
from .refusals import RefusalError
from .reports import LatestReports
from .settings import ServerSettings
from .tools.frame_sessions import FrameSessions
from .tools.label_studio_files import LabelStudio
from .uploads import Upload
from .worker import BatchWorker, ExpiredError

if TYPE_CHECKING:
    from ..track import VideoSegmenter

T = TypeVar("T")

BANK = "concepts.safetensors"
"""The file of concepts in a server's state folder."""

JOBS = "jobs"
"""The folder of jobs in it."""


class Serving:
    """The models of a server, the thread that runs them, and those that decode and draw beside it.

    Args:
        settings: of the server.
        models: loaded; by default those that the settings name.

    Raises:
        LitetextError: a model that cannot be loaded.
    """

    def __init__(self, settings: ServerSettings, models: Models | None = None) -> None:
        self.settings = settings
        self.limits = settings.limits
        self.models = models if models is not None else Models.load(settings)
        self.metrics = Metrics()
        self.concepts = ConceptStore(self.limits.concepts, None if settings.state is None else settings.state / BANK)
        self.worker: BatchWorker[Ask] = BatchWorker(
            self.models.answers, settings.batch, self.limits.seconds, lambda count, _: self.metrics.batch.observe(count)
        )
        self._scratch = tempfile.TemporaryDirectory() if settings.state is None else None
        kept = Path(self._scratch.name) if self._scratch is not None else settings.state
        self.jobs = Jobs(kept / JOBS, self.limits.jobs, self._tracker)  # type: ignore[operator]
        self.reports = LatestReports()
        self.frame_sessions = FrameSessions()
        self.label_studio = LabelStudio(settings.label_studio, settings.label_studio_token)
        self._pool = ThreadPoolExecutor(settings.workers, "litetext-image")
        self._watch()

    def close(self) -> None:
        """Finish what waits, and end the threads."""
        self.worker.close()
        self.jobs.close()
        self._pool.shutdown()
        if self._scratch is not None:
            self._scratch.cleanup()

    def model_name(self, name: str | None) -> str:
        """Return the name of a model that is served, the first where none is named.

        Raises:
            RefusalError: there is none of that name.
        """
        if not name:
            return self.models.default
        if name not in self.models.segmenters:
            served = ", ".join(self.models.segmenters)
            raise RefusalError(422, f"no model {name[:80]!r} is served; choose one of: {served}")
        return name

    def phrases(self, given: Sequence[str]) -> list[str]:
        """Return phrases without repeats, checked.

        Raises:
            RefusalError: too many or too long, empty, or no text.
        """
        if len(given) > self.limits.phrases:
            raise RefusalError(
                422, f"{len(given)} phrases are asked, the limit is {self.limits.phrases}", limit=self.limits.phrases
            )
        return list(dict.fromkeys(map(self.text, given)))

    def text(self, given: str) -> str:
        """Return a phrase or a name, checked.

        Raises:
            RefusalError: it is too long, empty, or no text.
        """
        if len(given) > self.limits.characters:
            raise RefusalError(
                422,
                f"a phrase of {len(given)} characters is asked, the limit is {self.limits.characters}",
                limit=self.limits.characters,
            )
        if not given.strip() or not _is_text(given):
            raise RefusalError(422, "a phrase is empty or no text; give a noun phrase such as 'white dog'")
        return given.strip()

    def boxes(self, boxes: str | None, labels: str | None) -> tuple[list[Any] | None, list[Any] | None]:
        """Return example boxes and their labels, as forms send them: JSON texts.

        Raises:
            RefusalError: no JSON list, or more boxes than the limit.
        """
        found, signs = _json_list("boxes", boxes), _json_list("box_labels", labels)
        self._count_boxes(found)
        if signs is not None and not all(type(sign) is int for sign in signs):
            raise RefusalError(422, "box_labels must be 1 or 0 for each box")
        return found or None, signs or None

    def wanted(
        self,
        size: tuple[int, int],
        phrases: Sequence[str],
        threshold: float,
        boxes: Sequence[Any] | None = None,
        labels: Sequence[Any] | None = None,
        concepts: Sequence[str] = (),
    ) -> tuple[Wanted, ...]:
        """Return what a request wants found in an image of a size (height, width), checked.

        Raises:
            RefusalError: nothing, more than the limits allow, or boxes that do not fit.
        """
        self._count_boxes(boxes)
        asked = self.phrases(phrases)
        kept = [self.concepts.get(name) for name in self.phrases(concepts)]
        if boxes is not None and (len(asked) > 1 or kept):
            raise RefusalError(422, "boxes go with one phrase or with none; ask for one thing at a time")
        if boxes is not None and not asked:
            asked = [VISUAL]
        if not asked and not kept:
            raise RefusalError(422, "nothing to find: send phrases, boxes or concepts")
        try:
            return (
                *(wanted(phrase, threshold, size, boxes, labels) for phrase in asked),
                *(wanted(one.prompt, threshold if one.threshold is None else one.threshold, size) for one in kept),
            )
        except LitetextError as error:
            raise RefusalError(422, str(error)) from None

    def _count_boxes(self, boxes: Sequence[Any] | None) -> None:
        if boxes is not None and len(boxes) > self.limits.boxes:
            raise RefusalError(
                422, f"{len(boxes)} boxes are given, the limit is {self.limits.boxes}", limit=self.limits.boxes
            )

    async def photo(self, model: str, content: bytes, name: str) -> Photo:
        """Return an image that was sent, decoded where a model has not kept its features.

        Args:
            model: that will be asked.
            content: of the file.
            name: of the file, as its sender calls it.

        Raises:
            RefusalError: no image, a damaged one, or one of too many pixels.
        """
        return await self.aside(lambda: self.models.photo(model, Upload.of(content, file_name(name), self.limits)))

    async def found(self, model: str, photo: Photo, asked: tuple[Wanted, ...]) -> Answer:
        """Return what is found in an image.

        Raises:
            RefusalError: the model refuses, or did not come to it in time.
        """
        answer: Answer = await self.awaited(self.worker.submit(Ask(model, photo, asked)))
        self.metrics.images.labels(str(answer.cached).lower()).inc()
        return answer

    async def call(self, call: Callable[[], T]) -> T:
        """Return what a function returns that runs in the model's thread."""
        found: T = await self.awaited(self.worker.call(call))
        return found

    async def aside(self, call: Callable[[], T]) -> T:
        """Return what a function returns that decodes or draws, in a thread for that."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    async def awaited(self, future: Future[Any]) -> Any:
        """Return what a future of the worker's holds.

        Raises:
            RefusalError: what the model refused, or that its turn did not come in time.
        """
        try:
            return await asyncio.wrap_future(future)
        except ExpiredError:
            seconds = self.limits.seconds
            message = f"the request waited longer than {seconds:g} seconds, which is the limit; ask again later"
            raise RefusalError(429, message, limit=seconds, retry_after=self.retry_after()) from None
        except LitetextError as error:
            raise RefusalError(422, str(error)) from None

    def retry_after(self) -> int:
        """Return seconds after which the queue will have shrunk."""
        return max(1, math.ceil(self.worker.seconds_left))

    def _tracker(self, model: str) -> VideoSegmenter:
        return video_segmenter(*self.models.sources[model], self.settings.device)

    def _watch(self) -> None:
        cache = self.models.cache
        self.metrics.watch("litetext_queue", "Requests that wait for the model.", lambda: self.worker.waiting)
        self.metrics.watch("litetext_jobs", "Videos that are not over.", lambda: self.jobs.open_count)
        self.metrics.watch("litetext_cache_bytes", "Bytes of image features that are kept.", lambda: cache.bytes)
        self.metrics.watch("litetext_cache_images", "Images whose features are kept.", lambda: len(cache))


def _is_text(value: str) -> bool:
    """Whether a text can be written at all: half a surrogate pair, as JSON may hold it, cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def file_name(name: str) -> str:
    """Return the last part of a file's name, as a sender calls it: a name alone, never a place."""
    last = Path(name.replace("\\", "/")).name.replace("\0", "")
    return last.encode(errors="replace").decode()[:200] or "image"


def _json_list(name: str, text: str | None) -> list[Any] | None:
    if text is None or not text.strip():
        return None
    try:
        found = parse_json(text, name)
    except LitetextError as error:
        raise RefusalError(422, str(error)) from None
    if not isinstance(found, list):
        raise RefusalError(422, f"{name} must be a JSON list such as {json.dumps([[10, 20, 80, 90]])}")
    return found
