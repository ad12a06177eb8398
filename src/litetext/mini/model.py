"""The small SAM3: transformers' own classes at a size that two cores can train, and our teacher before the seam.

The detector is `transformers.Sam3Model` without its text tower; every shape below is one of its configuration's.
It drops the last (coarsest) level of the pyramid, so that one is the cheap pooled one. As in SAM3 the finest level,
which masks are drawn on, has four times the side of the ViT's grid: half of the image's side at a patch of 8.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Sam3Config

from ..encoders.config import SAM3, EncoderConfig
from ..encoders.modules import build
from ..segment.checkpoint import Sam3Detector
from ..segment.convention import TRANSFORMERS
from ..segment.decode import FeaturePyramid, attended_image, run_detr
from .art import COLORS
from .concepts import CONCEPTS
from .small_sam3 import small_sam3_config

PATCH = 8

CONVENTION = replace(TRANSFORMERS, name="mini")
"""mini's own: its geometry encoder is never trained, so its CLS token must not stand behind text alone."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a mini: one set of numbers a preset.

    Attributes:
        image_size: side of the square input in pixels.
        vision_width, vision_layers: of the ViT.
        detector_width, detector_ffn, encoder_layers, decoder_layers, queries: of the detector.
        text_width, text_layers: of the teacher.
    """

    image_size: int = 128
    vision_width: int = 128
    vision_layers: int = 6
    detector_width: int = 64
    detector_ffn: int = 256
    encoder_layers: int = 2
    decoder_layers: int = 3
    queries: int = 25
    text_width: int = 256
    text_layers: int = 5


def detector_config(shape: Shape) -> Sam3Config:
    """Return the transformers configuration of the detector: `small_sam3_config` over a ViT."""
    grid = shape.image_size // PATCH
    backbone = {
        "model_type": "sam3_vit_model",
        "hidden_size": shape.vision_width,
        "intermediate_size": 4 * shape.vision_width,
        "num_hidden_layers": shape.vision_layers,
        "num_attention_heads": max(1, shape.vision_width // 32),
        "image_size": shape.image_size,
        "pretrain_image_size": shape.image_size,
        "patch_size": PATCH,
        "window_size": grid // 2,
        "global_attn_indexes": list(range(1, shape.vision_layers, 2)),
    }
    return small_sam3_config(shape, grid, backbone, CONVENTION)


def teacher_config(shape: Shape, vocabulary: int) -> EncoderConfig:
    """Return the configuration of the teacher: SAM3's own kind of text encoder under SAM3's convention."""
    return EncoderConfig(
        "mini-teacher",
        shape.text_width,
        max(1, shape.text_width // 64),
        4 * shape.text_width,
        shape.text_layers,
        causal=True,
        vocab_size=vocabulary,
        position_rows=32,
        output_dim=shape.detector_width,
        convention=SAM3,
    )


@dataclass(frozen=True, slots=True)
class Vision:
    """What the vision encoder makes of B images.

    Attributes:
        hidden: [B, h * w, W], the last layer of the ViT.
        maps: feature maps [B, D, H, W], from the fine one (half the image's side) to the coarse one (an eighth).
        positions: their position encodings, of the same shapes.
    """

    hidden: Tensor
    maps: tuple[Tensor, ...]
    positions: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the detector says of P prompts, from every decoder layer (S layers, Q queries).

    Attributes:
        presence: [S, P] logits.
        scores: [S, P, Q] logits.
        boxes: [S, P, Q, 4] centre x, y, width, height in 0 to 1.
        queries: [P, Q, D] of the last layer.
        encoded: [P, H * W, D], the vision features after they have seen the prompt.
    """

    presence: Tensor
    scores: Tensor
    boxes: Tensor
    queries: Tensor
    encoded: Tensor


class Mini(nn.Module):
    """Detector, teacher and the heads that only training uses.

    The vision encoder runs once an image, the detector once a prompt, the pixel decoder only where it is asked to.
    """

    def __init__(self, shape: Shape, vocabulary: int) -> None:
        super().__init__()
        self.shape = shape
        self.detector = Sam3Detector(detector_config(shape))
        self.text = build(teacher_config(shape, vocabulary))
        width = shape.detector_width
        # Only training uses what follows.
        self.concept_head = nn.Linear(shape.vision_width, len(CONCEPTS) + 1)
        self.color_head = nn.Linear(shape.vision_width, len(COLORS) + 1)
        self.dense_vision = nn.Linear(width, width)
        self.dense_text = nn.Linear(width, width)
        self.dense_scale = nn.Parameter(torch.tensor(3.4))  # the logarithm of the factor on a cosine
        self.dense_bias = nn.Parameter(torch.tensor(-4.0))
        self.encoded_head = nn.Linear(width, 1)
        self.box_head = nn.Linear(width, 4)
        self.center_head = nn.Linear(width, 2)
        self._draw_weights()

    @torch.no_grad()
    def _draw_weights(self) -> None:
        """Draw weights for narrow layers: transformers' and CLIP's 0.02 are meant for widths of 256 and more."""
        draw_detector_weights(self.detector)
        backbone: Any = self.detector.vision_encoder.backbone
        for layer in backbone.layers:
            layer.attention.o_proj.weight.mul_(0.4)
            layer.mlp.fc2.weight.mul_(0.4)
        self.box_head.bias.copy_(torch.tensor([0.0, 0.0, -1.2, -1.2]))
        nn.init.normal_(self.text.token_embedding.weight, std=0.3)
        nn.init.normal_(self.text.position_embedding, std=0.1)

    def texts(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens [P, L, D] of ids [P, L], and which of them are real, bool [P, L].

        Phrases of like length are encoded together: no real token of a causal encoder sees its padding.
        """
        real = ids != 0
        lengths = real.sum(1)
        tokens = self.dense_text.weight.new_zeros((*ids.shape, self.shape.detector_width))
        for rows in lengths.argsort().chunk(4):
            longest = int(lengths[rows].max())
            encoded, _ = self.text(ids[rows, :longest])
            tokens = tokens.index_put((rows,), F.pad(encoded, (0, 0, 0, ids.shape[1] - longest)).to(tokens.dtype))
        return tokens, real

    def vision(self, images: Tensor) -> Vision:
        """Encode images [B, 3, S, S] in -1 to 1, once whatever is asked of them."""
        output = self.detector.vision_encoder(images)
        positions = output.fpn_position_encoding[:-1]
        return Vision(
            output.last_hidden_state,
            output.fpn_hidden_states[:-1],
            tuple(position.expand(len(images), -1, -1, -1) for position in positions),
        )

    def dense_logits(self, level: Tensor, tokens: Tensor, real: Tensor) -> Tensor:
        """How true each of P phrases is at each place of a feature map [B, D, h, w]: logits [B, h, w, P]."""
        weights = real.unsqueeze(-1).to(tokens.dtype)
        pooled = (tokens * weights).sum(1) / weights.sum(1)
        asked = F.normalize(self.dense_text(pooled), dim=-1)
        seen = F.normalize(self.dense_vision(level.permute(0, 2, 3, 1)), dim=-1)
        return self.dense_scale.exp() * (seen @ asked.T) + self.dense_bias

    def dense_boxes(self, level: Tensor) -> Tensor:
        """The box of the object that each place of a map [B, D, h, w] shows: [B, h, w, 4], centre form."""
        seen = self.box_head(level.permute(0, 2, 3, 1)).float()
        return torch.cat([_beside_places(seen[..., :2]), seen[..., 2:].clamp(max=1).exp()], -1)

    def dense_centers(self, level: Tensor) -> Tensor:
        """Where the object that each place of a map [B, D, h, w] shows has its centre: [B, h, w, 2] x, y."""
        return _beside_places(self.center_head(level.permute(0, 2, 3, 1)).float())

    def detect(self, vision: Vision, image_of: Tensor, tokens: Tensor, real: Tensor) -> Prediction:
        """Run detector encoder and decoder for P prompts; ``image_of`` [P] says which image each belongs to."""
        model = self.detector
        level, positions = vision.maps[-1][image_of], vision.positions[-1][image_of]
        attended = attended_image(model, FeaturePyramid(vision.maps, vision.positions))[image_of]
        encoded, decoded = run_detr(model, level, positions, tokens, real, attended=attended)
        hidden = decoded.intermediate_hidden_states
        before = decoded.reference_boxes.float().clamp(1e-3, 1 - 1e-3)
        boxes = (torch.logit(before) + model.detr_decoder.box_head(hidden).float()).sigmoid()
        scores = model.dot_product_scoring(decoder_hidden_states=hidden, text_features=tokens, text_mask=real)
        return Prediction(
            decoded.presence_logits.squeeze(-1).float(),
            scores.squeeze(-1).float(),
            boxes,
            hidden[-1],
            encoded.last_hidden_state,
        )

    def pixels(
        self,
        vision: Vision,
        image_of: Tensor,
        tokens: Tensor,
        real: Tensor,
        prediction: Prediction,
        rows: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Masks for the prompts in ``rows`` [R]: logits [R, Q, h, w] and the semantic map's [R, h, w]."""
        images = image_of[rows]
        output = self.detector.mask_decoder(
            decoder_queries=prediction.queries[rows],
            backbone_features=[level[images] for level in vision.maps],
            encoder_hidden_states=prediction.encoded[rows],
            prompt_features=tokens[rows],
            prompt_mask=real[rows],
        )
        return output.pred_masks.float(), output.semantic_seg.squeeze(1).float()


@torch.no_grad()
def draw_detector_weights(detector: Sam3Detector) -> None:
    """Draw a narrow detector's weights, each by the number of its inputs, and spread the queries over the image."""
    draw_narrow_weights(detector)
    decoder = detector.detr_decoder
    nn.init.normal_(decoder.query_embed.weight)
    nn.init.normal_(decoder.presence_token.weight)
    nn.init.normal_(decoder.box_head.get_parameter("layer3.weight"), std=1e-2)
    decoder.reference_points.weight.copy_(_spread_boxes(len(decoder.reference_points.weight)))


@torch.no_grad()
def draw_narrow_weights(model: nn.Module) -> None:
    """Draw the weights of linear layers and convolutions by the number of their inputs; biases become 0."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            inputs = module.weight.shape[0] if isinstance(module, nn.ConvTranspose2d) else module.weight[0].numel()
            nn.init.trunc_normal_(module.weight, std=inputs**-0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _spread_boxes(queries: int) -> Tensor:
    """Where the queries start: a grid over the image, as logits of centre x, y, width, height."""
    side = int(queries**0.5 + 0.999)
    places = torch.arange(queries)
    centre = torch.stack([(places % side + 0.5) / side, (places // side + 0.5) / side], 1)
    return torch.logit(torch.cat([centre, torch.full((queries, 2), 0.28)], 1))


def _beside_places(offsets: Tensor) -> Tensor:
    """Offsets [B, h, w, 2] from the places of a square map, in quarters of the image, as x, y in 0 to 1."""
    side = offsets.shape[1]
    places = (torch.arange(side, device=offsets.device) + 0.5) / side
    x, y = offsets.unbind(-1)
    return torch.stack([places + x / 4, places[:, None] + y / 4], -1)


def on_grid(tensors: dict[str, Tensor], shape: Shape) -> dict[str, Tensor]:
    """Fit a detector's tensors to another input size: the ViT's position embedding is interpolated to its grid."""
    name = "vision_encoder.backbone.embeddings.position_embeddings"
    before, after = round(tensors[name].shape[1] ** 0.5), shape.image_size // PATCH
    if before == after:
        return tensors
    grid = tensors[name].unflatten(1, (before, before)).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(after, after), mode="bicubic", align_corners=False)
    return {**tensors, name: grid.flatten(2).mT.contiguous()}


def parameters_of(model: Mini) -> dict[str, int]:
    """Return the number of parameters that ship, by part."""

    def count(module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    vision, detector = count(model.detector.vision_encoder), count(model.detector)
    return {"vision": vision, "detector": detector - vision, "text": count(model.text)}
