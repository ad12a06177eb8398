"""The pictures of an audit: scenes of mini's world, or the user's own, seen once by a segmenter."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..anatomy.scenes import Gallery, Scene, with_wrong_nouns
from ..anatomy.tokens import PromptTokenizer
from ..errors import LitetextError

if TYPE_CHECKING:
    from torch import Tensor

    from ..encoders import TextFeatures
    from ..segment.torch_backend import TorchBackend

_PHRASES_A_PICTURE = 4
_DRAWN_SCENES = 8
_POOL = 2_000  # phrases among which another noun is looked for


def gallery_of(
    segmenter: str, images: Sequence[str], phrases: Sequence[str], tokenizer: PromptTokenizer, seed: int
) -> Gallery:
    """Return pictures with phrases, seen by the segmenter.

    Without ``images``, scenes of mini's world are drawn and asked what they show; pictures of the user's are asked
    phrases of the corpus, drawn at random: they need not be in the picture.
    """
    from ..segment.sources import locate
    from ..segment.torch_backend import TorchBackend

    model = TorchBackend.load(locate(segmenter).detector, device="cpu")
    draw = random.Random(seed)
    pool = draw.sample(list(phrases), min(_POOL, len(phrases)))
    asked = _pictures(images, pool, draw) if images else _world_scenes(seed)
    scenes = []
    for image, wanted in asked:
        kept, wrong = with_wrong_nouns(wanted, pool, tokenizer, seed)
        if kept:
            scenes.append(Scene(kept, wrong, _SoftMasks(model, image)))
    if not scenes:
        raise LitetextError("no picture can be asked a phrase and another of the same length; give more prompts")
    return Gallery(segmenter, model.detector, model.dim, scenes)


def _pictures(images: Sequence[str], pool: list[str], draw: random.Random) -> Iterator[tuple[Any, list[str]]]:
    for image in images:
        yield image, draw.sample(pool, min(_PHRASES_A_PICTURE, len(pool)))


def _world_scenes(seed: int) -> Iterator[tuple[Any, list[str]]]:
    """Scenes of mini's world with phrases that are true of them."""
    from ..mini.world import World, generator

    world = World()
    for index in range(_DRAWN_SCENES):
        rng = generator(seed, index)
        scene = world.scene(rng)
        pairs = world.pairs(scene, rng, 4 * _PHRASES_A_PICTURE)
        present = list(dict.fromkeys(pair.text for pair in pairs if pair.targets))
        if present:
            yield scene.image, present[:_PHRASES_A_PICTURE]


class _SoftMasks:
    """One picture, seen once, and every pixel's probability of belonging to each prompt."""

    def __init__(self, model: TorchBackend, image: Any) -> None:
        from ..segment import read_image

        self._model = model
        (self._image,) = model.encode_images([read_image(image)])

    def __call__(self, text: TextFeatures) -> Tensor:
        """[P, h, w]: over all queries, the largest of score times mask probability."""
        import torch

        from ..segment import decode

        detector = self._model.detector
        with torch.inference_mode():
            found = decode.detect(detector, self._image, self._model.prepare_text(text))
            queries = torch.arange(found.logits.shape[1])
            masks = [
                (found.scores[row][:, None, None] * logits.float().sigmoid()).amax(0)
                for row in range(len(found.logits))
                for logits in [decode.mask_logits(detector, self._image, found, row, queries)]
            ]
            return torch.stack(masks)
