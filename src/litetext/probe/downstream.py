"""What a detector makes of text features, as losses: its keys and values, or its answers over images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import LitetextError, choice_error

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..distill import Downstream
    from ..images import ImageLike
    from ..segment.torch_backend import TorchBackend

_READERS = (".cross_attn", ".text_cross_attn", ".prompt_cross_attn")
"""How the names of SAM3's attentions over text end, in the detector's encoder, its decoder and the mask decoder."""

_PROMPTS = 16  # of a batch that the detector is asked over one image


def downstream_of(
    segmenter: str,
    way: str,
    dim: int,
    device: torch.device,
    images: Sequence[ImageLike] = (),
    *,
    allow_nan: bool = False,
) -> Downstream:
    """Return a downstream loss through a segmenter's detector.

    Args:
        segmenter: mini, a folder or a hub name.
        way: ``reads``: the keys and values of its attentions over text, see `litetext.distill.ReadBy`; ``answers``:
            its presence and query scores over ``images``, whose vision features are computed once.
        dim: D of the features it is to read.
        device: where the student trains.
        images: for ``answers``.
        allow_nan: load weights that are NaN or infinite too.

    Raises:
        LitetextError: an unknown way, or a segmenter that reads features of another D.
    """
    if way not in ("reads", "answers"):
        raise choice_error("--through-way", way, ("reads", "answers"))
    from ..segment.sources import locate
    from ..segment.torch_backend import TorchBackend

    backend = TorchBackend.load(locate(segmenter).detector, device, allow_nan=allow_nan)
    backend.detector.requires_grad_(False)
    if backend.dim != dim:
        raise LitetextError(f"{segmenter} reads {backend.dim} numbers a token, the teacher gives {dim}")
    if way == "answers":
        return _Answers(backend, images)
    from ..distill import ReadBy

    return ReadBy(_reading_weights(backend.detector)).to(device)


def _reading_weights(detector: torch.nn.Module) -> list[Tensor]:
    """The key and value matrices of every attention of the detector that reads text."""
    return [
        projection.weight
        for name, module in detector.named_modules()
        if name.endswith(_READERS) and not name.startswith("geometry_encoder.")
        for projection in (module.k_proj, module.v_proj)
    ]


class _Answers:
    """How differently the detector answers student and teacher: mean squared difference of presence and query logits.

    Some prompts of every batch are asked over one of the images; which, follows from the batch alone, so a run that is
    resumed asks what it would have asked.
    """

    def __init__(self, backend: TorchBackend, images: Sequence[ImageLike]) -> None:
        import torch

        from ..distill.targets import weights_digest
        from ..segment import read_image

        self._backend = backend
        self.digest = weights_digest(backend.detector, "answers")
        with torch.no_grad():
            self._images = backend.encode_images([read_image(image) for image in images])

    def __call__(self, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        import torch

        from ..encoders import TextFeatures
        from ..segment import decode

        choice = int((~mask).sum())
        image = self._images[choice % len(self._images)]
        stride = max(1, len(mask) // _PROMPTS)
        rows = slice(choice % stride, None, stride)
        detector = self._backend.detector
        with torch.no_grad():
            wanted = decode.detect(detector, image, TextFeatures(teacher[rows], mask[rows]))
        found = decode.detect(detector, image, TextFeatures(student[rows], mask[rows]))
        presence = (found.presence - wanted.presence).square().mean()
        # Queries that no prompt wants say nothing; those the teacher is sure of count most.
        weights = 0.1 + wanted.scores
        queries = (weights * (found.logits - wanted.logits).square()).sum() / weights.sum()
        return presence + queries
