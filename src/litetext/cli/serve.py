"""``litetext serve``: a model behind HTTP."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import typer

from ..errors import EXTRAS, LitetextError, require
from ..serve.settings import Limits, ServerSettings
from .command import add
from .encoder_options import DEVICE
from .output import notes

_LIMITS = Limits()


def register(app: typer.Typer) -> None:
    """Add the command."""
    add(
        app,
        serve,
        "serve",
        "litetext serve",
        "litetext serve --model photo --port 9000 --max-side 1600",
        "litetext serve --host 0.0.0.0 --api-key KEY --state served",
        extra="serve",
    )


def serve(
    models: list[str] = typer.Option(
        ["mini"], "--model", help="mini, photo, a folder, or a hub name of a SAM3 model; repeat it to serve several."
    ),
    texts: list[str] = typer.Option(
        [], "--text", help="Another text encoder; repeat it to serve every model with each of them."
    ),
    device: str = DEVICE,
    host: str = typer.Option("127.0.0.1", help="Address to listen on; 0.0.0.0 lets other machines in."),
    port: int = typer.Option(8000, min=0, max=65535, help="Port to listen on; 0 for any that is free."),
    api_keys: list[str] = typer.Option(
        [], "--api-key", envvar="LITETEXT_API_KEY", help="Answer only requests with this key; repeat it for more keys."
    ),
    origins: list[str] = typer.Option(
        [], "--allow-origin", help="A web site whose pages may ask this server, such as https://example.org (CORS)."
    ),
    state: Path = typer.Option(None, help="Folder that keeps concepts and video jobs over restarts."),
    label_studio: str = typer.Option(
        None, "--label-studio", metavar="URL", help="The Label Studio whose images are fetched for predictions."
    ),
    label_studio_token: str = typer.Option(
        None, "--label-studio-token", envvar="LABEL_STUDIO_API_KEY", help="Of one of its users."
    ),
    max_side: int = typer.Option(
        None, "--max-side", min=32, help="Reduce larger images to this longer side, in pixels, before they are seen."
    ),
    workers: int = typer.Option(2, min=1, max=256, help="Threads that decode images and draw answers."),
    batch: int = typer.Option(8, min=1, max=1024, help="Requests that the model answers together."),
    cache_mb: int = typer.Option(512, "--cache-mb", min=0, help="Megabytes of image features to keep."),
    max_mb: int = typer.Option(_LIMITS.megabytes, "--max-mb", min=1, max=4096, help="Megabytes of a request."),
    max_megapixels: int = typer.Option(
        _LIMITS.megapixels, "--max-megapixels", min=1, max=178, help="Megapixels of an image."
    ),
    max_phrases: int = typer.Option(_LIMITS.phrases, "--max-phrases", min=1, help="Phrases of a request."),
    max_queue: int = typer.Option(_LIMITS.queue, "--max-queue", min=1, help="Requests at the same time."),
    max_seconds: float = typer.Option(
        _LIMITS.seconds, "--max-seconds", min=0.1, max=3600, help="Seconds that a request may take to come and wait."
    ),
) -> None:
    """Answer over HTTP: POST an image and phrases to /v1/segment, masks come back.

    /openapi.json describes the API. Ctrl-C ends the server after the requests in progress.
    """
    require(*EXTRAS["serve"])
    from ..serve.running import bound_socket, run

    limits = Limits(
        megabytes=max_mb, megapixels=max_megapixels, phrases=max_phrases, queue=max_queue, seconds=max_seconds
    )
    settings = ServerSettings(
        models=tuple(models),
        texts=tuple(texts),
        device=device,
        api_keys=tuple(api_keys),
        origins=tuple(origins),
        state=None if state is None else _folder(state),
        label_studio=label_studio,
        label_studio_token=label_studio_token,
        max_side=max_side,
        workers=workers,
        batch=batch,
        cache_megabytes=cache_mb,
        limits=limits,
    )
    with contextlib.closing(bound_socket(host, port)) as bound:
        with notes.status(f"loading {', '.join(models)}"):
            from ..serve.app import create_app

            app = create_app(settings)
        bound.listen()  # so that whoever reads the address can connect at once
        shown = bound.getsockname()[1]
        notes.print(f"litetext serves {', '.join(models)} at http://{host}:{shown}", highlight=False, soft_wrap=True)
        with contextlib.suppress(KeyboardInterrupt):
            run(app, bound, limits)


def _folder(state: Path) -> Path:
    if state.exists() and not state.is_dir():
        raise LitetextError(f"{state} is a file; give --state a folder")
    if not os.access(state if state.exists() else state.parent.resolve(), os.W_OK):
        raise LitetextError(f"{state} cannot be written; give --state a folder that can")
    return state
