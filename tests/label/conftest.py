"""A model that answers at once, by the colors of small pictures, and folders of such pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from litetext.encoders import TextFeatures
from litetext.images import read_image
from litetext.label import Concept, Job, Settings
from litetext.label.labeler import Model
from litetext.results import Instances, Masks

COLORS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}


class ColorSegmenter:
    """Finds one block for each color that it is asked for, with the score that its brightness tells (0..1)."""

    def __init__(self) -> None:
        self.seen = 0
        self.text = self

    def encode(self, prompts: Sequence[str]) -> TextFeatures:
        tokens = np.stack([np.frombuffer(prompt.ljust(8)[:8].encode(), np.uint8) for prompt in prompts])
        return TextFeatures(
            np.repeat(tokens[:, None].astype(np.float32) / 128, 2, axis=1), np.zeros((len(prompts), 2), bool)
        )

    def encode_prompts(self, prompts: Sequence[str]) -> list[str]:
        return list(prompts)

    def encode_images(self, images: Sequence[NDArray[np.uint8]], *, image_batch: int = 1) -> list[NDArray[np.uint8]]:
        self.seen += len(images)
        photos = [read_image(image) for image in images]
        if any(photo.shape[0] == 13 for photo in photos):
            raise RuntimeError("thirteen rows are too many")
        return photos

    def detect(self, photo: NDArray[np.uint8], prompts: list[str], *, threshold: float, batch_size: int) -> Instances:
        size = (photo.shape[0], photo.shape[1])
        masks, scores, index = [], [], []
        for row, prompt in enumerate(prompts):
            channel = {"r": 0, "g": 1, "b": 2}.get(prompt[0])
            if channel is None:
                continue
            strength = photo[:, :, channel].astype(int) - np.delete(photo, channel, 2).max(2)
            mask = strength > 20
            score = float(strength.max(initial=0)) / 255 * (0.9 if len(prompt.split()) > 1 else 1)
            if mask.any() and score >= threshold:
                masks.append(mask)
                scores.append(score)
                index.append(row)
        found = Masks.from_dense(masks, size)
        return Instances(
            size,
            tuple(prompts),
            np.full(len(prompts), 0.5, np.float32),
            found.boxes,
            found,
            np.array(scores, np.float32),
            np.array(index, np.int64),
        )


@pytest.fixture
def segmenter(monkeypatch: pytest.MonkeyPatch) -> ColorSegmenter:
    """The model that every job of the test loads."""
    found = ColorSegmenter()
    monkeypatch.setattr(Model, "load", lambda self, text=None: found)
    monkeypatch.setattr(Model, "identity", lambda self: [self.name])
    return found


def picture(path: Path, color: str, score: float = 0.8, size: tuple[int, int] = (24, 32), seed: int = 0) -> Path:
    """A picture with a block of a color that scores so; ``seed`` makes contents differ."""
    photo = np.full((*size, 3), 10, np.uint8)
    photo[0, 0] = seed % 7, seed // 7 % 7, seed // 49 % 7
    channel = list(COLORS).index(color)
    photo[6 : size[0] // 2 + 4, 8:20] = 0
    photo[6 : size[0] // 2 + 4, 8:20, channel] = round(score * 255)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve pictures in two folders, and one without anything."""
    folder = tmp_path / "photos"
    for number in range(12):
        color = list(COLORS)[number % 3]
        picture(folder / ("a" if number < 6 else "b") / f"{number:02}.png", color, 0.45 + number / 24, seed=number)
    Image.new("RGB", (20, 20), "gray").save(folder / "empty.png")
    return folder


def job(folder: Path, *names: str | Concept, **settings: Any) -> Job:
    """A job for concepts, or names of such."""
    concepts = [name if isinstance(name, Concept) else Concept(name) for name in names or ("red", "green", "blue")]
    return Job(folder, concepts, Settings(**{"model": Model("colors"), "shard_size": 4, **settings}))
