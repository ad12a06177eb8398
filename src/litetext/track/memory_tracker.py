"""`MemoryTracker`: SAM3's tracker, by transformers' own modules, over windowed memories and objects in batches.

A frame's features and an object's memories go through memory attention and the mask decoder (`propagate`); what comes
of the frame is encoded into the object's next memory (`encode`). A mask given from outside, by a detection or by the
user, is taken as it is (`condition`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Sam3TrackerVideoModel
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import get_1d_sine_pe

from ..segment.decode import FeaturePyramid
from .memories import Memory, ObjectMemory

_ABSENT = -1024.0
"""Mask logits where the tracker says that the object is not in the frame."""


@dataclass(frozen=True, slots=True, eq=False)
class TrackerFeatures:
    """One frame as the tracker reads it, for all objects; or, in training, a batch of B frames, one for each object.

    Attributes:
        fine: [B, C0, 4h, 4w] and [B, C1, 2h, 2w], as the mask decoder reads them; B is 1 for one frame.
        top: [h*w, B, C].
        positions: [h*w, 1, C], the position encoding of ``top``.
    """

    fine: tuple[Tensor, Tensor]
    top: Tensor
    positions: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Propagated:
    """n objects in a frame.

    Attributes:
        logits: [n, h, w] of their masks.
        presence_logits: [n] of being in the frame.
        pointers: [n, C].
        ious: [n] how good the decoder thinks each mask is.
    """

    logits: Tensor
    presence_logits: Tensor
    pointers: Tensor
    ious: Tensor

    @classmethod
    def concatenate(cls, parts: Sequence[Propagated]) -> Propagated:
        """Return several as one."""
        names = ("logits", "presence_logits", "pointers", "ious")
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))

    def __getitem__(self, rows: Sequence[int]) -> Propagated:
        index = torch.as_tensor(rows, dtype=torch.long, device=self.logits.device)
        return Propagated(self.logits[index], self.presence_logits[index], self.pointers[index], self.ious[index])

    @property
    def qualities(self) -> Tensor:
        """[n] 0..1: predicted IoU times how certain the object is there; 0 where it is not."""
        certain = (2 * self.presence_logits.sigmoid() - 1).clamp(min=0)
        return certain * self.ious


class MemoryTracker:
    """SAM3's memory tracker.

    Attributes:
        model: transformers' tracker without a vision encoder.
        neck: makes the tracker's maps of the vision encoder's hidden states; None: it reads the detector's maps.
        object_batch: objects that run together; 1 gives transformers' results to the bit.
        mask_side: height and width that masks from outside are resized to: the image's for transformers, the memory
            encoder's for Meta.
    """

    def __init__(
        self, model: Sam3TrackerVideoModel, neck: nn.Module | None, *, object_batch: int = 8, image_sized: bool = False
    ) -> None:
        self.model: Any = model
        self.neck: Any = neck
        self.object_batch = object_batch
        self.mask_side = model.image_size if image_sized else 4 * self.low_resolution[0]

    @property
    def greatest_pointers(self) -> int:
        """Frames whose object pointers are read, the tracked one counted."""
        return int(self.model.config.max_object_pointers_in_encoder)

    @property
    def low_resolution(self) -> tuple[int, int]:
        """Height and width of the mask logits."""
        height, width = self.model.prompt_encoder.mask_input_size
        return int(height), int(width)

    def features(self, pyramid: FeaturePyramid) -> TrackerFeatures:
        """Return a frame, encoded by the detector's vision encoder, as the tracker reads it."""
        maps, positions = self._maps(pyramid)
        decoder = self.model.mask_decoder
        return TrackerFeatures(
            (decoder.conv_s0(maps[0]), decoder.conv_s1(maps[1])),
            maps[2].flatten(2).permute(2, 0, 1),
            positions[2].flatten(2).permute(2, 0, 1),
        )

    def _maps(self, pyramid: FeaturePyramid) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        if self.neck is None:
            return pyramid.maps, pyramid.positions
        trunk = pyramid.trunk
        assert trunk is not None, "the backend was not told to keep the vision encoder's hidden states"
        height, width = self.model.prompt_encoder.image_embedding_size
        maps, positions = self.neck(trunk.view(1, height, width, -1).permute(0, 3, 1, 2))
        return maps, positions

    def propagate(
        self, objects: Sequence[ObjectMemory], features: TrackerFeatures, frame: int, pointers: int
    ) -> Propagated:
        """Find objects in a frame by their memories.

        Args:
            objects: at least one.
            features: of the frame.
            frame: its index.
            pointers: frames whose object pointers may be read, the tracked one counted.
        """
        read = [self._read(one, frame, pointers) for one in objects]
        found: dict[int, Propagated] = {}
        for rows in _alike([(len(one.memory), one.pointers) for one in read], self.object_batch):
            fused = self._fused([read[row] for row in rows], features)
            decoded = self._decoded(fused, features, multimask=self._multimask())
            found.update({row: decoded[[place]] for place, row in enumerate(rows)})
        return Propagated.concatenate([found[row] for row in range(len(objects))])

    def condition(self, masks: Tensor, features: TrackerFeatures) -> Propagated:
        """Take masks as what the objects are, and read off their pointers.

        Args:
            masks: [n, H, W] bool of any size.
            features: of their frame, or a batch of the n frames that they are in.
        """
        resized = self._resized(masks)[:, None]
        if features.top.shape[1] > 1:
            return self._conditioned(resized, features)
        return Propagated.concatenate([self._conditioned(mask[None], features) for mask in resized])

    def mask_logits(self, masks: Tensor) -> Tensor:
        """Return masks [n, H, W] bool as the logits [n, S, S] that memories are made of."""
        return 20 * self._resized(masks) - 10

    def _resized(self, masks: Tensor) -> Tensor:
        """Masks [n, H, W] bool as shares of pixels [n, S, S], S = `mask_side`."""
        dtype, size = self.model.dtype, (self.mask_side, self.mask_side)
        if masks.shape[-2:] == size:
            return masks.to(dtype)
        return _antialiased(masks[:, None].to(dtype), size, dtype)[:, 0]

    def in_boxes(self, boxes: Tensor, features: TrackerFeatures) -> Propagated:
        """Segment the objects in boxes, as SAM does.

        Args:
            boxes: [n, 4] x1, y1, x2, y2 as fractions of the image.
            features: of the image, or a batch of n images.
        """
        corners = (boxes * self.model.image_size)[:, None].to(features.top)
        top = (features.top + self.model.no_memory_embedding).expand(-1, len(boxes), -1)
        return self._decoded(_map(top, self._grid), features, boxes=corners, multimask=False)

    def encode(self, logits: Tensor, appearing: Tensor, features: TrackerFeatures, *, binary: bool) -> list[Tensor]:
        """Return the memory features [h*w, C_mem] of n objects in a frame.

        Args:
            logits: [n, H, W] of their masks, of any size.
            appearing: [n] above 0 where the object is there.
            features: of the frame.
            binary: whether the masks are cut at zero first.
        """
        # transformers repeats the frame for conditioning masks alone; rounding differs otherwise
        top = features.top.expand(-1, len(logits), -1) if binary else features.top
        encoded, _ = self.model._encode_new_memory(
            current_vision_feats=top,
            pred_masks_high_res=logits[:, None],
            object_score_logits=appearing[:, None, None],
            is_mask_from_pts=binary,
        )
        return [encoded[:, row].clone() for row in range(len(logits))]  # a view would keep the whole batch alive

    def enlarged(self, logits: Tensor) -> Tensor:
        """Return mask logits [n, h, w] at the model's image size, as its own memory is made of them."""
        side = self.model.image_size
        large = F.interpolate(logits[:, None].float(), size=(side, side), mode="bilinear", align_corners=False)
        return large[:, 0].to(logits.dtype)

    @property
    def _grid(self) -> tuple[int, int]:
        height, width = self.model.backbone_feature_sizes[-1]
        return int(height), int(width)

    def _multimask(self) -> bool:
        config = self.model.config
        return bool(
            config.multimask_output_in_sam
            and config.multimask_output_for_tracking
            and config.multimask_min_pt_num <= 0 <= config.multimask_max_pt_num
        )

    def _read(self, memory: ObjectMemory, frame: int, pointers: int) -> _Read:
        """What attention reads of an object: its memories, then its pointers."""
        spatial = list(memory.spatial(frame))
        features = [one.features for _, one in spatial if one.features is not None]
        places = self._memory_positions(features[0])
        times = self.model.memory_temporal_positional_encoding[:, 0, 0]
        tokens = [one.to(self.model.dtype) for one in features]
        positions = [places + times[back - 1] for back, _ in spatial]
        lent = list(memory.pointers(frame, pointers))
        if lent:
            tokens.append(self._split(torch.stack([pointer for _, pointer in lent])))
            positions.append(self._pointer_positions([back for back, _ in lent], pointers, len(tokens[-1])))
        return _Read(torch.cat(tokens), torch.cat(positions), len(tokens[-1]) if lent else 0)

    def _memory_positions(self, like: Tensor) -> Tensor:
        """[h*w, C_mem] position encoding of memory features, the same for every memory."""
        shape = torch.Size((1, like.shape[1], *self._grid))
        encoded = self.model.memory_encoder.position_encoding(shape, like.device, self.model.dtype)
        return torch.as_tensor(encoded).flatten(2)[0].T

    def _split(self, pointers: Tensor) -> Tensor:
        """Pointers [n, C] as memory tokens [n * splits, C_mem]."""
        return pointers.reshape(-1, self.model.mem_dim)

    def _pointer_positions(self, back: list[int], greatest: int, tokens: int) -> Tensor:
        model = self.model
        if not model.config.enable_temporal_pos_encoding_for_object_pointers:
            return model.no_object_pointer.new_zeros(tokens, model.mem_dim)
        times = torch.tensor(back, device=model.device, dtype=torch.float32) / float(greatest - 1)
        sines = get_1d_sine_pe(times, dim=model.hidden_dim).to(model.dtype)
        encoded: Tensor = model.temporal_positional_encoding_projection_layer(sines)
        return encoded.repeat_interleave(tokens // len(back), dim=0)

    def _fused(self, read: Sequence[_Read], features: TrackerFeatures) -> Tensor:
        """[n, C, h, w]: the frame as each of n objects sees it, whose memories are equally long."""
        count = len(read)
        fused = self.model.memory_attention(
            current_vision_features=features.top.expand(-1, count, -1),
            current_vision_position_embeddings=features.positions.expand(-1, count, -1),
            memory=torch.stack([one.memory for one in read], dim=1),
            memory_posision_embeddings=torch.stack([one.positions for one in read], dim=1),
            num_object_pointer_tokens=read[0].pointers,
        )
        return _map(fused[0].transpose(0, 1), self._grid)  # [1, n, h*w, C] of the attention

    def _conditioned(self, mask: Tensor, features: TrackerFeatures) -> Propagated:
        """Masks [n, 1, S, S], in shares of pixels, taken as they are."""
        model, dtype = self.model, features.top.dtype
        low = _antialiased(20 * mask - 10, model.prompt_encoder.mask_input_size, dtype)
        image = _map(features.top, self._grid)
        decoded = self._decoded(image, features, masks=model.mask_downsample(mask), multimask=True)
        there = torch.any(mask.flatten(1) > 0, dim=1).to(dtype)
        pointer = there[:, None] * decoded.pointers + (1 - there[:, None]) * model.no_object_pointer
        return Propagated(low[:, 0], 20 * there - 10, pointer, torch.ones_like(there))

    def _decoded(
        self,
        image: Tensor,
        features: TrackerFeatures,
        *,
        masks: Tensor | None = None,
        boxes: Tensor | None = None,
        multimask: bool,
    ) -> Propagated:
        """SAM's mask decoder on n maps ``image`` [n, C, h, w], with mask prompts [n, 1, H, W] or boxes [n, 1, 4]."""
        model, count = self.model, len(image)
        prompts = model.prompt_encoder(*self._point_prompts(image, boxes), *self._mask_prompts(masks))
        logits, ious, tokens, presence = model.mask_decoder(
            image_embeddings=image,
            image_positional_embeddings=model.get_image_wide_positional_embeddings().repeat(count, 1, 1, 1),
            sparse_prompt_embeddings=prompts[0],
            dense_prompt_embeddings=prompts[1],
            multimask_output=multimask,
            high_resolution_features=[level.expand(count, -1, -1, -1) for level in features.fine],
        )
        there = presence[:, 0] > 0
        best = ious[:, 0].argmax(-1) if multimask else ious.new_zeros(count, dtype=torch.long)
        rows = torch.arange(count, device=image.device)
        chosen = torch.where(there[:, :, None], logits[rows, 0, best], _ABSENT)
        certain = there.to(image.dtype)
        pointers = model.object_pointer_proj(tokens[rows, 0, best if tokens.shape[2] > 1 else 0])
        pointers = certain * pointers + (1 - certain) * model.no_object_pointer
        return Propagated(chosen, presence[:, 0, 0], pointers, ious[rows, 0, best])

    def _point_prompts(self, image: Tensor, boxes: Tensor | None) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Points, labels and boxes; where nothing is pointed at, SAM reads one point that is none."""
        if boxes is not None:
            return None, None, boxes
        count = len(image)
        labels = torch.full((count, 1, 1), -1, dtype=torch.int32, device=image.device)
        return image.new_zeros(count, 1, 1, 2), labels, None

    def _mask_prompts(self, masks: Tensor | None) -> tuple[Tensor | None]:
        size = self.model.prompt_encoder.mask_input_size
        if masks is not None and masks.shape[-2:] != size:
            masks = _antialiased(masks, size, masks.dtype)
        return (masks,)


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """What attention reads of one object: memory [T, C_mem], its positions, and how many rows are pointers."""

    memory: Tensor
    positions: Tensor
    pointers: int


def memory_of(found: Propagated, row: int) -> Memory:
    """Return the memory of one object in a frame, whose features come later."""
    return Memory(found.pointers[row].clone(), quality=float(found.qualities[row]))


def _alike(keys: Iterable[object], most: int) -> Iterator[list[int]]:
    """Groups of at most ``most`` places that have the same key."""
    groups: dict[object, list[int]] = {}
    for place, key in enumerate(keys):
        groups.setdefault(key, []).append(place)
    for group in groups.values():
        yield from (group[start : start + most] for start in range(0, len(group), most))


def _map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Tokens [h*w, n, C] as maps [n, C, h, w]."""
    return tokens.permute(1, 2, 0).reshape(tokens.shape[1], tokens.shape[2], *grid)


def _antialiased(maps: Tensor, size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    resized = F.interpolate(maps.float(), size=size, mode="bilinear", align_corners=False, antialias=True)
    return resized.to(dtype)
