"""`photo`: SAM3's detector over EfficientNet-Lite, and the text teacher that reads MiniLM's features.

A phrase is two kinds of token: the start token is a learned "nothing", all others hold what the phrase means. So a
detector that attends to the text weighs, at every place, "it is here" against "it is not". What a phrase means is a
point in the space of ImageNet's classifier rows, turned to the detector's width by their principal components; the
vision encoder's map starts in the same space. A thousand nouns work before the first step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Sam3Config

from ..mini.model import Mini, Vision, draw_detector_weights
from ..mini.small_sam3 import small_sam3_config
from ..segment.checkpoint import Sam3Detector
from ..segment.convention import DetectorConvention
from ..segment.lite import LiteConfig
from . import sentences

STRIDE = 16

CONVENTION = DetectorConvention("photo", "with boxes", None, "logits", suppression=0.5)
"""As `PhotoModel` is trained: masks are judged after their logits are enlarged. It finds most objects several times,
so what a better detection repeats is dropped."""


@dataclass(frozen=True, slots=True)
class PhotoShape:
    """The sizes of a photo model.

    Attributes:
        image_size: side of the square input in pixels.
        detector_width, detector_ffn, encoder_layers, decoder_layers, queries: of the detector.
        text_hidden: inner width of the teacher's projector.
    """

    image_size: int = 320
    detector_width: int = 64
    detector_ffn: int = 256
    encoder_layers: int = 2
    decoder_layers: int = 2
    queries: int = 24
    text_hidden: int = 512


def detector_config(shape: PhotoShape) -> Sam3Config:
    """Return the transformers configuration of the detector: `small_sam3_config` over EfficientNet-Lite."""
    backbone = LiteConfig(image_size=shape.image_size, patch_size=STRIDE).to_dict()
    return small_sam3_config(shape, shape.image_size // STRIDE, backbone, CONVENTION)


class TextTeacher(nn.Module):
    """From MiniLM's features of phrases to what they mean: points of length sqrt(D)."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(sentences.WIDTH, hidden)
        self.outer = nn.Linear(hidden, width)
        self.direct = nn.Linear(sentences.WIDTH, width, bias=False)
        self.nothing = nn.Parameter(torch.zeros(width))

    def meanings(self, embedded: Tensor) -> Tensor:
        """[P, 384] -> [P, D]."""
        found = self.outer(F.gelu(self.inner(embedded * sentences.WIDTH**0.5))) + self.direct(embedded)
        return F.normalize(found, dim=-1) * found.shape[-1] ** 0.5

    def forward(self, embedded: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens [P, L, D] of phrases and what is real of them [P, L] bool.

        Args:
            embedded: [P, 384].
            lengths: [P], of the phrases in CLIP's tokens, start and end included.
        """
        meanings = self.meanings(embedded)
        places = torch.arange(int(lengths.max()), device=embedded.device)
        tokens = torch.where((places > 0)[None, :, None], meanings[:, None], self.nothing)
        return tokens, places < lengths[:, None]


class PhotoModel(Mini):
    """Detector, teacher and the heads that only training uses; what `Mini` does with them is the same here."""

    def __init__(self, shape: PhotoShape) -> None:
        nn.Module.__init__(self)
        self.shape = shape  # type: ignore[assignment]
        self.detector = Sam3Detector(detector_config(shape))
        self.teacher = TextTeacher(shape.text_hidden, shape.detector_width)
        width = shape.detector_width
        # Only training uses what follows.
        self.dense_vision = nn.Linear(width, width)
        self.dense_text = nn.Linear(width, width)
        self.dense_scale = nn.Parameter(torch.tensor(2.5))  # the logarithm of the factor on a cosine
        self.dense_bias = nn.Parameter(torch.tensor(-4.0))
        self.encoded_head = nn.Linear(width, 1)
        self.box_head = nn.Linear(width, 4)
        self.center_head = nn.Linear(width, 2)
        draw_detector_weights(self.detector)
        nn.init.constant_(self.box_head.bias[2:], -1.2)
        self._start_as_comparison()

    @torch.no_grad()
    def _start_as_comparison(self) -> None:
        """Let the encoder compare places and text from the first step: queries and keys start as what they are."""
        width = self.shape.detector_width
        for linear in (self.dense_vision, self.dense_text):
            nn.init.eye_(linear.weight)
        layers: Any = self.detector.detr_encoder.layers
        attentions: list[Any] = [layer.cross_attn for layer in layers]
        for attention in (*attentions, self.detector.mask_decoder.prompt_cross_attn):
            for linear in (attention.q_proj, attention.k_proj):
                linear.weight.copy_(1.6 * torch.eye(width) + 0.3 * linear.weight)
        # The pyramid starts as the coarse map's meaning, copied to the finer levels.
        neck: Any = self.detector.vision_encoder.neck
        nn.init.zeros_(neck.coarse.weight)
        for pointwise in neck.pointwise:
            pointwise.weight.mul_(0.3)

    @torch.no_grad()
    def start_in_space(self, components: Tensor, mean: Tensor, spread: float) -> None:
        """Let the coarse map start as the principal components of what the classifier reads.

        Args:
            components: [D, 1280].
            mean: [1280], of what the network gives.
            spread: of the components over places.
        """
        meaning: Any = self.detector.vision_encoder.neck.meaning
        meaning.weight.copy_((components / spread)[:, :, None, None])
        meaning.bias.copy_(-(components @ mean) / spread)

    def encode_image(self, taps: tuple[Tensor, ...]) -> Vision:
        """Encode images given as what the frozen network gave of them."""
        output = self.detector.vision_encoder.from_taps(taps)
        return Vision(output.last_hidden_state, output.fpn_hidden_states[:-1], output.fpn_position_encoding[:-1])


class Space:
    """ImageNet's classifier rows in D principal components: where nouns that it knows are.

    Attributes:
        components: [D, 1280]. mean: [1280] of the rows.
        rows: [1000, D], of length sqrt(D).

    Args:
        weight: the classifier's [1000, 1280]. width: D.
    """

    def __init__(self, weight: Tensor, width: int) -> None:
        self.mean = weight.mean(0)
        _, _, axes = torch.linalg.svd(weight - self.mean, full_matrices=False)
        rotation, _ = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(0)))
        self.components = rotation @ axes[:width]  # turned, so that every head of an attention sees a like share
        self._raw = (weight - self.mean) @ self.components.T
        self.rows = F.normalize(self._raw, dim=-1) * width**0.5

    def point(self, rows: Sequence[int]) -> Tensor:
        """Return where a noun is that stands for several rows: [D], of length sqrt(D)."""
        return F.normalize(self._raw[list(rows)].mean(0), dim=-1) * self.rows.shape[1] ** 0.5
