"""The transformers configuration of a small SAM3 detector over any image encoder: `mini` and `photo` share it."""

from __future__ import annotations

from typing import Any, Protocol

from transformers import CLIPTextConfig, Sam3Config

from ..segment.convention import KEY, DetectorConvention


class DetectorShape(Protocol):
    """The sizes of a small detector."""

    @property
    def detector_width(self) -> int:
        """Channels D of the detector."""
        ...

    @property
    def detector_ffn(self) -> int:
        """Inner width of its feed-forward layers."""
        ...

    @property
    def encoder_layers(self) -> int:
        """Layers of the DETR encoder."""
        ...

    @property
    def decoder_layers(self) -> int:
        """Layers of the DETR decoder."""
        ...

    @property
    def queries(self) -> int:
        """Object queries of the decoder."""
        ...


def small_sam3_config(
    shape: DetectorShape, grid: int, backbone: dict[str, Any], convention: DetectorConvention
) -> Sam3Config:
    """Return the configuration of a detector; its text tower is a stub that is never built.

    Args:
        shape: its sizes; an attention head has 16 channels.
        grid: side of the image encoder's map in tokens.
        backbone: the image encoder's own configuration.
        convention: what the checkpoint will say of the code around it.
    """
    width = shape.detector_width
    heads = max(1, width // 16)
    layer = {"hidden_size": width, "num_attention_heads": heads, "dropout": 0.0}
    ffn = {"intermediate_size": shape.detector_ffn}
    own: dict[str, Any] = {KEY: convention.to_dict()}
    return Sam3Config(
        vision_config={
            "model_type": "sam3_vision_model",
            "fpn_hidden_size": width,
            "scale_factors": [4.0, 2.0, 1.0, 0.5],
            "backbone_feature_sizes": [[4 * grid] * 2, [2 * grid] * 2, [grid] * 2, [grid // 2] * 2],
            "backbone_config": backbone,
        },
        text_config=_text_stub(),
        geometry_encoder_config={**layer, **ffn, "num_layers": 1, "roi_size": 3},
        detr_encoder_config={**layer, **ffn, "num_layers": shape.encoder_layers},
        detr_decoder_config={**layer, **ffn, "num_layers": shape.decoder_layers, "num_queries": shape.queries},
        mask_decoder_config={"hidden_size": width, "num_attention_heads": heads, "num_upsampling_stages": 2},
        **own,
    )


def _text_stub() -> dict[str, Any]:
    """The smallest text tower that a configuration accepts."""
    return CLIPTextConfig(
        vocab_size=8,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        bos_token_id=1,
        eos_token_id=2,
    ).to_dict()
