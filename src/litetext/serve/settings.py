"""What a server is started with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..errors import LitetextError
from ..validation import check_ranges, ranged


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one request, and all of them together, may ask; beyond it the answer names the limit.

    Attributes:
        megabytes: of a request's body.
        megapixels: of an image, by its header, before it is decoded.
        phrases: of one request.
        boxes: example boxes of one request.
        characters: of one phrase or name.
        header_seconds: for a request's headers to arrive.
        seconds: for a body to arrive, for a request to wait until the model takes it, and for a client to read on in an
            answer.
        queue: requests that are worked on or wait at the same time.
        concepts: that the server keeps.
        jobs: videos that wait or are kept with their results.
        video_seconds: length of a video.
    """

    megabytes: int = ranged(1, 4096, 32)
    megapixels: int = ranged(1, 178, 50)
    phrases: int = ranged(1, 100_000, 256)
    boxes: int = ranged(1, 10_000, 64)
    characters: int = ranged(1, 10_000, 512)
    header_seconds: float = ranged(0.1, 3600, 10.0)
    seconds: float = ranged(0.1, 3600, 60.0)
    queue: int = ranged(1, 100_000, 128)
    concepts: int = ranged(1, 1_000_000, 1000)
    jobs: int = ranged(1, 100_000, 64)
    video_seconds: float = ranged(1, 86_400, 600.0)

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """A server's settings.

    Attributes:
        models: each is what `litetext.Segmenter.from_pretrained` takes; the first answers where a request names none.
        texts: text encoders; each model is served with each of them. None: each with its own.
        device: ``"cpu"``, ``"cuda"``, …, or None for what is there.
        api_keys: any of which a request must carry; none: no key is asked for.
        origins: other web sites whose pages may ask this server (CORS); none by default.
        state: folder that keeps concepts and jobs over restarts, or None.
        max_side: longer side in pixels that larger images are reduced to before the model sees them; answers stay in
            the image's own pixels. None: no image is reduced.
        workers: threads that decode images and draw answers.
        batch: requests that the model answers together.
        cache_megabytes: of image features that are kept.
        label_studio: URL of the one Label Studio whose images are fetched, or None.
        label_studio_token: of one of its users; None: what it says itself.
        limits: of requests.
    """

    models: tuple[str, ...] = ("mini",)
    texts: tuple[str, ...] = ()
    device: str | None = None
    api_keys: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    state: Path | None = None
    max_side: int | None = None
    workers: int = ranged(1, 256, 2)
    batch: int = ranged(1, 1024, 8)
    cache_megabytes: int = ranged(0, 1 << 20, 512)
    label_studio: str | None = None
    label_studio_token: str | None = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not self.models or not all(self.api_keys):
            raise LitetextError("a server needs a model, and API keys that are not empty")
