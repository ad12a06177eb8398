"""The images of an audit, each encoded once by a segmenter, and the phrases to ask of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..anatomy.gallery import Gallery, GalleryImage, with_wrong_nouns
from ..anatomy.tokens import PromptTokenizer
from ..errors import LitetextError

if TYPE_CHECKING:
    from torch import Tensor

    from ..encoders import TextFeatures
    from ..images import ImageLike
    from ..segment.torch_backend import TorchBackend

PHRASES_AN_IMAGE = 4
_POOL = 2_000  # phrases among which another noun is looked for


def gallery_of(
    segmenter: str,
    images: Sequence[tuple[ImageLike, Sequence[str] | None]],
    phrases: Sequence[str],
    tokenizer: PromptTokenizer,
    seed: int,
    *,
    allow_nan: bool = False,
) -> Gallery:
    """Return images with phrases, encoded by the segmenter.

    Args:
        segmenter: mini, a folder or a hub name.
        images: each with the phrases to ask of it; None for phrases of the corpus, drawn at random, which need not be
            in the image.
        phrases: the corpus.
        tokenizer: whose tokens must be as many in a phrase and in its wrong counterpart.
        seed: of what is drawn.
        allow_nan: load weights that are NaN or infinite too.

    Raises:
        LitetextError: no image can be asked anything.
    """
    from ..segment.sources import locate
    from ..segment.torch_backend import TorchBackend

    model = TorchBackend.load(locate(segmenter).detector, device="cpu", allow_nan=allow_nan)
    draw = random.Random(seed)
    pool = draw.sample(list(phrases), min(_POOL, len(phrases)))
    scenes = []
    for image, asked in images:
        wanted = draw.sample(pool, min(PHRASES_AN_IMAGE, len(pool))) if asked is None else asked
        kept, wrong = with_wrong_nouns(wanted, pool, tokenizer, seed)
        if kept:
            scenes.append(GalleryImage(kept, wrong, _SoftMasks(model, image)))
    if not scenes:
        raise LitetextError("no image can be asked a phrase and another of the same length; give more prompts")
    return Gallery(segmenter, model.detector, model.dim, scenes)


class _SoftMasks:
    """One image, encoded once, and every pixel's probability of belonging to each prompt."""

    def __init__(self, model: TorchBackend, image: ImageLike) -> None:
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
            queries = torch.arange(found.logits.shape[1])[None]
            masks = [
                (found.scores[row][:, None, None] * logits.float().sigmoid()).amax(0)
                for row in range(len(found.logits))
                for logits in [decode.mask_logits(detector, self._image, found, [row], queries)[0]]
            ]
            return torch.stack(masks)
