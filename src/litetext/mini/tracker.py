"""The memory tracker of a mini: transformers' own class, over the feature maps of mini's frozen image encoder.

It reads the detector's maps as they are and has no neck of its own, so a frame is encoded once for both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import Sam3Config, Sam3TrackerVideoConfig, Sam3TrackerVideoModel

from ..track.memories import Memory, MemoryWindow, ObjectMemory
from ..track.memory_tracker import MemoryTracker, Propagated, TrackerFeatures
from .model import draw_narrow_weights

MEMORY_CHANNELS = 64
"""Channels of a memory: transformers' memory attention is written for exactly these."""


def tracker_config(detector: Sam3Config) -> Sam3TrackerVideoConfig:
    """Return the configuration of a tracker over the maps of a mini's detector."""
    vision: Any = detector.vision_config
    size, patch, width = vision.image_size, vision.backbone_config.patch_size, vision.fpn_hidden_size
    own: Any = Sam3TrackerVideoConfig  # typed without the image's size, which it takes
    config: Sam3TrackerVideoConfig = own(
        vision_config=vision.to_dict(),
        image_size=size,
        prompt_encoder_config={"hidden_size": width, "image_size": size, "patch_size": patch},
        mask_decoder_config={
            "hidden_size": width,
            "mlp_dim": 2 * width,
            "num_attention_heads": 4,
            "iou_head_hidden_dim": width,
            "dynamic_multimask_via_stability": False,
        },
        num_maskmem=5,
        multimask_output_for_tracking=False,
        memory_attention_hidden_size=width,
        memory_attention_num_layers=2,
        memory_attention_feed_forward_hidden_size=2 * width,
        memory_attention_rope_feat_sizes=[size // patch] * 2,
        memory_encoder_hidden_size=width,
        memory_encoder_output_channels=MEMORY_CHANNELS,
        mask_downsampler_embed_dim=width,
        mask_downsampler_stride=4,
        mask_downsampler_kernel_size=5,
        mask_downsampler_padding=2,
        memory_fuser_embed_dim=width,
        memory_fuser_intermediate_dim=2 * width,
    )
    return config


@dataclass(frozen=True, slots=True, eq=False)
class MapStatistics:
    """What the feature maps of a detector are like, for drawing weights that read them.

    Attributes:
        means: per level [C], of each channel.
        deviations: per level, of all values from the means of their channels.
    """

    means: tuple[Tensor, ...]
    deviations: tuple[float, ...]

    @classmethod
    def of(cls, maps: Sequence[Tensor]) -> MapStatistics:
        """Measure maps [B, C, h, w], one a level."""
        means = tuple(level.mean((0, 2, 3)) for level in maps)
        deviations = [float((level - mean[:, None, None]).std()) for level, mean in zip(maps, means, strict=True)]
        return cls(means, tuple(deviations))


def new_tracker(config: Sam3TrackerVideoConfig, statistics: MapStatistics) -> Sam3TrackerVideoModel:
    """Return a tracker in evaluation mode (nothing is dropped at random), its weights drawn for narrow layers.

    What reads the maps of the detector takes them as if their channels had mean 0 and deviation 1. Attention to memory
    starts as matching of like content near the same place, which random weights take hundreds of steps to find.
    """
    model: Any = Sam3TrackerVideoModel(config, remove_vision_encoder=True).eval()
    draw_narrow_weights(model)
    _draw_embeddings(model)
    _standardise_inputs(model, statistics)
    for layer in model.memory_attention.layers:
        _match_contents(layer, statistics)
    return model


@torch.no_grad()
def _draw_embeddings(model: Any) -> None:
    """Draw what transformers starts at zero, and let objects count as there until the tracker learns better."""
    for parameter in (
        model.no_memory_embedding,
        model.no_object_pointer,
        model.memory_temporal_positional_encoding,
        model.occlusion_spatial_embedding_parameter,
    ):
        nn.init.trunc_normal_(parameter, std=0.02)
    for layer in model.memory_encoder.memory_fuser.layers:
        nn.init.constant_(layer.scale, 0.1)
    nn.init.constant_(model.mask_decoder.pred_obj_score_head.proj_out.bias, 2.0)
    places = model.shared_image_embedding.positional_embedding  # SAM3 encodes places alike in both
    model.prompt_encoder.shared_embedding.positional_embedding.copy_(places)


@torch.no_grad()
def _standardise_inputs(model: Any, statistics: MapStatistics) -> None:
    """Let the layers that read the maps see channels of mean 0 and deviation 1; memories hold the frame as it is."""
    decoder, memory = model.mask_decoder, model.memory_encoder
    nn.init.dirac_(memory.feature_projection.weight)
    nn.init.dirac_(memory.projection.weight)
    readers = (decoder.conv_s0, decoder.conv_s1, memory.feature_projection)
    for reader, mean, deviation in zip(readers, statistics.means, statistics.deviations, strict=True):
        reader.weight.div_(deviation)
        reader.bias.copy_(-reader.weight.flatten(1) @ mean)


@torch.no_grad()
def _match_contents(layer: Any, statistics: MapStatistics) -> None:
    """Let a place of the frame attend to places of the memories that look alike: contents are queries and keys."""
    mean = statistics.means[-1]
    layer.self_attn.o_proj.weight.mul_(0.3)
    matching = layer.cross_attn_image
    for projection in (matching.q_proj, matching.k_proj):
        nn.init.eye_(projection.weight).mul_(_SHARPNESS)
    spread = (mean.var() + statistics.deviations[-1] ** 2).sqrt()  # what the norm before the queries divides by
    matching.q_proj.bias.copy_(-matching.q_proj.weight @ ((mean - mean.mean()) / spread))
    matching.o_proj.weight.mul_(2)


_SHARPNESS = 1.3


@dataclass(frozen=True, slots=True, eq=False)
class Cues:
    """What a tracker is told of n objects.

    Attributes:
        starts: the frame in which each object starts.
        masks: frame -> object -> mask [H, W] bool that is taken as what the object is, in its first frame and wherever
            else it is corrected.
    """

    starts: Sequence[int]
    masks: Mapping[int, Mapping[int, NDArray[np.bool_]]]


def follow(
    tracker: MemoryTracker, frames: Sequence[TrackerFeatures], cues: Cues
) -> Iterator[tuple[int, list[int], Propagated]]:
    """Track objects by memory alone; yield frame, objects and what the tracker says of them, before it is corrected.

    Args:
        tracker: gradients pass through it where they are recorded.
        frames: as the tracker reads them, each for all objects; or batches of one frame for each object, which then all
            start, and are corrected, together.
        cues: where the objects start.
    """
    objects = [ObjectMemory(_window(tracker)) for _ in cues.starts]
    for frame, features in enumerate(frames):
        rows = [row for row, start in enumerate(cues.starts) if start < frame]
        given = cues.masks.get(frame, {})
        if rows:
            found = tracker.propagate([objects[row] for row in rows], features, frame, tracker.greatest_pointers)
            yield frame, rows, found
            encoded = _tracked(tracker, features, found)
            for row, memory in zip(rows, encoded, strict=True):
                if row not in given:
                    objects[row].tracked[frame] = memory
        if given:
            encoded = _conditioned(tracker, features, list(given.values()))
            for row, memory in zip(given, encoded, strict=True):
                objects[row].conditioning[frame] = memory


def _window(tracker: MemoryTracker) -> MemoryWindow:
    config = tracker.model.config
    return MemoryWindow(config.num_maskmem - 1, config.max_object_pointers_in_encoder - 1, config.max_cond_frame_num)


def _tracked(tracker: MemoryTracker, features: TrackerFeatures, found: Propagated) -> list[Memory]:
    encoded = tracker.encode(tracker.enlarged(found.logits), found.presence_logits, features, binary=False)
    return [Memory(pointer, memory) for pointer, memory in zip(found.pointers, encoded, strict=True)]


def _conditioned(tracker: MemoryTracker, features: TrackerFeatures, given: Sequence[NDArray[np.bool_]]) -> list[Memory]:
    masks = torch.from_numpy(np.stack(given)).to(features.top.device)
    found = tracker.condition(masks, features)
    encoded = tracker.encode(tracker.mask_logits(masks), found.presence_logits, features, binary=True)
    return [Memory(pointer, memory) for pointer, memory in zip(found.pointers, encoded, strict=True)]
