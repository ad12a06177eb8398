"""A gradio 6 page in the process of `litetext serve`, for places that expect one, such as Hugging Face's Spaces.

    pip install 'litetext[serve]' 'gradio>=6'
    python examples/gradio_page.py [--model mini] [--host 127.0.0.1] [--port 8000]

The page is at /gradio/; everything else is what `litetext serve` answers: its own page, /v1/segment and the rest. Both
ask the same model, in the same queue. gradio's analytics are switched off, so nothing leaves the machine. The page asks
for no API key: leave that to whatever stands before it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio
import numpy as np
from fastapi import FastAPI
from numpy.typing import NDArray

from litetext.data import samples
from litetext.errors import LitetextError
from litetext.serve import ServerSettings, create_app
from litetext.serve.running import bound_socket, run
from litetext.serve.serving import Serving


def page(serving: Serving) -> gradio.Blocks:
    """Return a page that asks the first model of a server: an image and phrases in, masks and their scores out."""
    segmenter = serving.models.segmenters[serving.models.default]

    def segment(image: NDArray[np.uint8], text: str, threshold: float) -> tuple[Any, list[list[Any]]]:
        if image is None:
            raise gradio.Error("Choose an image first.")
        phrases = [phrase.strip() for phrase in text.split(",") if phrase.strip()]
        try:
            asked = serving.phrases(phrases)
            found = serving.worker.call(lambda: segmenter.segment(image, asked, threshold=threshold)).result()
        except LitetextError as error:
            raise gradio.Error(str(error)) from None
        masks = [(instance.mask, instance.label) for instance in found]
        return (image, masks), [[instance.label, round(instance.score, 3)] for instance in found]

    scenes = [[str(sample.image), ", ".join(sample.phrases)] for sample in samples()]
    with gradio.Blocks(title="litetext") as blocks:
        gradio.Markdown("# litetext\nEverything that noun phrases name in an image.")
        with gradio.Row():
            with gradio.Column():
                image = gradio.Image(label="Image", type="numpy")
                phrases = gradio.Textbox(label="Phrases, separated by commas")
                threshold = gradio.Slider(0.05, 0.95, value=0.5, step=0.05, label="Lowest score")
                button = gradio.Button("Segment", variant="primary")
                gradio.Examples(scenes, [image, phrases])
            with gradio.Column():
                masks = gradio.AnnotatedImage(label="Found")
                table = gradio.Dataframe(headers=["phrase", "score"], label="Scores")
        gradio.on(
            [button.click, phrases.submit, threshold.release], segment, [image, phrases, threshold], [masks, table]
        )
    return blocks


def application(settings: ServerSettings) -> FastAPI:
    """Return `litetext serve`'s application with the page mounted at /gradio."""
    serving = Serving(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        serving.close()

    app = FastAPI(lifespan=lifespan, openapi_url=None)
    app = gradio.mount_gradio_app(app, page(serving), path="/gradio", root_path="/gradio")
    app.mount("/", create_app(serving=serving))
    return app


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    given = parser.parse_args()
    settings = ServerSettings(models=(given.model,))
    bound = bound_socket(given.host, given.port)
    served = application(settings)
    print(f"The page is at http://{given.host}:{bound.getsockname()[1]}/gradio/", file=sys.stderr, flush=True)
    run(served, bound, settings.limits)


if __name__ == "__main__":
    main()
