"""From an image and text features to queries, and from chosen queries to masks.

The same steps as transformers' ``Sam3Model.forward``, by its own modules, cut where the savings are: an image is
encoded once (`encode_images`), all prompts are decoded over its features (`detect`), and the pixel decoder, which
costs more than the rest of a prompt together, runs only for prompts with something to show (`mask_logits`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.masking_utils import create_bidirectional_mask
from transformers.models.sam3.modeling_sam3 import Sam3DETREncoderOutput, box_cxcywh_to_xyxy, inverse_sigmoid

from ..encoders.features import TextFeatures

if TYPE_CHECKING:
    from .checkpoint import Detector


@dataclass(frozen=True, slots=True, eq=False)
class FeaturePyramid:
    """Images as the vision encoder encodes them, at the pyramid levels that the detector reads, fine to coarse.

    Attributes:
        maps: per level [B, C, h, w].
        positions: per level [B, C, h, w], their position encoding.
        cls_token: [B, 1, C], what stands behind the text of prompts without example boxes; None: nothing does.
        attended: [B, h*w, C], what the detector's first layer makes of the coarsest level before it meets a prompt;
            None: that is done prompt by prompt.
        trunk: [B, h*w, C_trunk], the vision encoder's hidden states before its neck, where they were asked for; a video
            tracker has a neck of its own.
    """

    maps: tuple[Tensor, ...]
    positions: tuple[Tensor, ...]
    cls_token: Tensor | None = None
    attended: Tensor | None = None
    trunk: Tensor | None = None

    def images(self) -> list[FeaturePyramid]:
        """Return the pyramid of each image alone (B = 1), without copying it."""
        return [
            FeaturePyramid(
                tuple(level[row : row + 1] for level in self.maps),
                tuple(level[row : row + 1] for level in self.positions),
                *(None if one is None else one[row : row + 1] for one in (self.cls_token, self.attended, self.trunk)),
            )
            for row in range(len(self.maps[0]))
        ]

    def expand(self, count: int) -> FeaturePyramid:
        """Return one image's pyramid (B = 1) for ``count`` prompts, without copying it."""
        return FeaturePyramid(
            tuple(level.expand(count, -1, -1, -1) for level in self.maps),
            tuple(level.expand(count, -1, -1, -1) for level in self.positions),
            *(None if one is None else one.expand(count, -1, -1) for one in (self.cls_token, self.attended)),
        )


@dataclass(frozen=True, slots=True, eq=False)
class DetectorOutput:
    """What the detector returns for P prompts with its Q queries each, before any pixel is decoded.

    Attributes:
        logits: [P, Q] how well each query fits the prompt.
        presence: [P] logit of the prompt being in the image at all.
        boxes: [P, Q, 4] x1, y1, x2, y2 as fractions of the image.
        decoder_hidden_states: [P, Q, C] the queries after the last decoder layer.
        encoder_hidden_states: [P, h*w, C] the image features after the detector's encoder, conditioned on the prompt.
        prompt: [P, T, C] text tokens, then the geometry encoder's.
        valid: [P, T] bool, True = a real token (transformers' sense of a mask).
    """

    logits: Tensor
    presence: Tensor
    boxes: Tensor
    decoder_hidden_states: Tensor
    encoder_hidden_states: Tensor
    prompt: Tensor
    valid: Tensor

    @property
    def scores(self) -> Tensor:
        """[P, Q] float32: presence times query score, as SAM3 defines a detection's score."""
        return self.logits.float().sigmoid() * self.presence.float().sigmoid()[:, None]


def encode_images(detector: Detector, pixels: Tensor, *, keep_trunk: bool = False) -> FeaturePyramid:
    """Run the vision encoder on B images, ``pixels`` [B, 3, S, S]; ``keep_trunk``: see `FeaturePyramid.trunk`."""
    encoded = detector.vision_encoder(pixels)
    # The last level of SAM3's pyramid is made but read by nobody.
    pyramid = FeaturePyramid(
        tuple(encoded.fpn_hidden_states[:-1]),
        tuple(encoded.fpn_position_encoding[:-1]),
        trunk=encoded.last_hidden_state if keep_trunk else None,
    )
    pyramid = replace(pyramid, attended=attended_image(detector, pyramid))
    if detector.convention.cls_token == "always":
        return replace(pyramid, cls_token=geometry_cls_token(detector, pyramid))
    return pyramid


def attended_image(detector: Detector, pyramid: FeaturePyramid) -> Tensor:
    """Return what the detector's first layer makes of B images, [B, h*w, C], before it meets a prompt.

    In every layer places look at places before they look at words. In the first they have seen no word yet, so this
    is the same for all prompts.
    """
    layer: Any = detector.detr_encoder.layers[0]
    places, positions = (one[-1].flatten(2).transpose(1, 2) for one in (pyramid.maps, pyramid.positions))
    normed = layer.layer_norm1(places)
    placed = normed + positions
    seen: Tensor = layer.self_attn(query=placed, key=placed, value=normed)[0]
    return places + seen


def geometry_cls_token(detector: Detector, pyramid: FeaturePyramid) -> Tensor:
    """Return the CLS token [B, 1, C] that the geometry encoder makes of B images where no example boxes are given."""
    encoder = detector.geometry_encoder
    level, positions = (one[-1].flatten(2).transpose(1, 2) for one in (pyramid.maps, pyramid.positions))
    token: Tensor = encoder.prompt_layer_norm(encoder.final_proj(encoder.cls_embed.weight))
    token = token.expand(level.shape[0], 1, -1)
    for layer in encoder.layers:
        token = layer(prompt_feats=token, vision_feats=level, vision_pos_encoding=positions, prompt_mask=None)
    token = encoder.output_layer_norm(token)
    return token


def detect(
    detector: Detector,
    pyramid: FeaturePyramid,
    text: TextFeatures[Tensor],
    geometry: Tensor | None = None,
) -> DetectorOutput:
    """Decode P prompts over one image.

    Args:
        detector: whose modules are run.
        pyramid: of one image.
        text: features of the P prompts, on the detector's device and of its dtype.
        geometry: [P, n, C] what stands behind each prompt's text, such as `example_tokens`; by default the CLS token,
            where the detector's convention says so.
    """
    # len() would fix an exported graph to the number of prompts it was traced with
    pyramid = pyramid.expand(text.tokens.shape[0])
    text = with_geometry(text, pyramid.cls_token if geometry is None else geometry)
    prompt, valid = text.tokens, ~text.mask
    encoded, decoded = run_detr(
        detector, pyramid.maps[-1], pyramid.positions[-1], prompt, valid, attended=pyramid.attended
    )
    states = decoded.intermediate_hidden_states[-1]
    offsets = detector.detr_decoder.box_head(states)
    refined = (inverse_sigmoid(decoded.reference_boxes[-1]) + offsets).sigmoid()
    logits = detector.dot_product_scoring(decoder_hidden_states=states[None], text_features=prompt, text_mask=valid)
    return DetectorOutput(
        logits=logits[0, :, :, 0],
        presence=decoded.presence_logits[-1, :, 0],
        boxes=box_cxcywh_to_xyxy(refined),
        decoder_hidden_states=states,
        encoder_hidden_states=encoded.last_hidden_state,
        prompt=prompt,
        valid=valid,
    )


def with_geometry(text: TextFeatures[Tensor], geometry: Tensor | None) -> TextFeatures[Tensor]:
    """Return features of P prompts with tokens [P, n, C] behind them, all of them real."""
    if geometry is None:
        return text
    mask = torch.cat([text.mask, text.mask.new_zeros(geometry.shape[:2])], dim=1)
    return TextFeatures(torch.cat([text.tokens, geometry], dim=1), mask)


def run_detr(
    detector: Detector,
    level: Tensor,
    positions: Tensor,
    prompt: Tensor,
    valid: Tensor,
    *,
    attended: Tensor | None = None,
) -> tuple[Any, Any]:
    """Run the detector's encoder and decoder on P coarsest maps, one for each prompt.

    Args:
        detector: whose modules are run.
        level: features [P, C, h, w].
        positions: their position encodings [P, C, h, w].
        prompt: [P, T, C].
        valid: [P, T] bool, True = a real token.
        attended: [P, h*w, C], of `attended_image`, where it is known.

    Returns:
        What transformers' modules return: the decoder's states, boxes and presence are those of all its layers.
    """
    if attended is None:
        encoded = detector.detr_encoder(
            vision_features=[level], text_features=prompt, vision_pos_embeds=[positions], text_mask=valid
        )
    else:
        encoded = _encoded_from(detector.detr_encoder, attended, positions, prompt, valid)
    decoded = detector.detr_decoder(
        vision_features=encoded.last_hidden_state,
        text_features=prompt,
        vision_pos_encoding=encoded.pos_embeds_flattened,
        text_mask=valid,
        spatial_shapes=_OneShape(*level.shape[-2:]),
    )
    return encoded, decoded


class _OneShape:
    """Height and width of one level, where transformers reads a tensor [1, 2].

    These are numbers: a traced graph cannot know what a tensor holds, and a GPU would be waited for.
    """

    shape = (1, 2)

    def __init__(self, height: int, width: int) -> None:
        self._sides = (height, width)

    def __getitem__(self, place: tuple[int, int]) -> int:
        return self._sides[place[1]]


def _encoded_from(encoder: Any, attended: Tensor, positions: Tensor, prompt: Tensor, valid: Tensor) -> Any:
    """What transformers' encoder returns, from where its first layer has looked at the image."""
    placed = positions.flatten(2).transpose(1, 2)
    mask = create_bidirectional_mask(
        config=encoder.config, inputs_embeds=attended, attention_mask=valid, encoder_hidden_states=prompt
    )
    first, *others = encoder.layers
    words = first.cross_attn(query=first.layer_norm2(attended), key=prompt, value=prompt, attention_mask=mask)[0]
    states = attended + words
    states = states + first.mlp(first.layer_norm3(states))
    for layer in others:
        states = layer(states, prompt_feats=prompt, vision_pos_encoding=placed, prompt_cross_attn_mask=mask)
    return Sam3DETREncoderOutput(last_hidden_state=states, pos_embeds_flattened=placed)


def example_tokens(detector: Detector, pyramid: FeaturePyramid, boxes: Tensor, labels: Tensor) -> Tensor:
    """Return the example boxes of P prompts in one image as tokens [P, n + 1, C], all of them real.

    Args:
        detector: whose modules are run.
        pyramid: of the image.
        boxes: [P, n, 4] center x, center y, width, height as fractions.
        labels: [P, n] int64: 1 for an example, 0 for a counterexample.
    """
    pyramid = pyramid.expand(len(boxes))
    examples: Tensor = detector.geometry_encoder(
        box_embeddings=boxes,
        box_mask=torch.ones_like(labels, dtype=torch.bool),
        box_labels=labels,
        img_feats=pyramid.maps,
        img_pos_embeds=pyramid.positions,
    ).last_hidden_state
    return examples


def mask_logits(
    detector: Detector, pyramid: FeaturePyramid, output: DetectorOutput, prompts: Sequence[int], queries: Tensor
) -> Tensor:
    """Return the mask logits [m, n, h, w] of chosen queries of m prompts.

    The pixel decoder's maps, m times as large as the pyramid's, are the largest tensors of the whole model.

    Args:
        detector: whose modules are run.
        pyramid: of one image.
        output: what `detect` returned for it.
        prompts: the m rows of ``output``.
        queries: [m, n] int64, of each of these prompts.
    """
    rows = torch.tensor(prompts, device=queries.device)
    return run_mask_decoder(
        detector,
        pyramid.expand(len(prompts)).maps,
        output.decoder_hidden_states[rows[:, None], queries],
        output.encoder_hidden_states[rows],
        output.prompt[rows],
        output.valid[rows],
    )


def run_mask_decoder(
    detector: Detector,
    maps: Sequence[Tensor],
    decoder_hidden_states: Tensor,
    encoder_hidden_states: Tensor,
    prompt: Tensor,
    valid: Tensor,
) -> Tensor:
    """Return the mask logits [m, n, h, w] of n queries of each of m prompts.

    Args:
        detector: whose modules are run.
        maps: the pyramid's levels, [m, C, h, w] each.
        decoder_hidden_states: [m, n, C].
        encoder_hidden_states: of m prompts, as in `DetectorOutput`.
        prompt: of the same prompts.
        valid: of the same prompts.
    """
    decoded = detector.mask_decoder(
        decoder_queries=decoder_hidden_states,
        backbone_features=list(maps),
        encoder_hidden_states=encoder_hidden_states,
        prompt_features=prompt,
        prompt_mask=valid,
    )
    masks: Tensor = decoded.pred_masks
    return masks
