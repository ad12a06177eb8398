"""The detector in torch: transformers' SAM3 without its text tower, on a CPU or a GPU."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..devices import floating_dtype, torch_device
from ..encoders.features import TextFeatures
from ..memory import return_freed_memory
from . import decode
from .backend import Detections
from .checkpoint import Detector, load_detector, load_image_processor
from .compiled import CompiledDetector
from .convention import ConventionLike, DetectorConvention
from .image_size import set_image_size
from .upload import device_pixels

_ENTRIES_TOGETHER = 2**24
"""Prompts share a run of the pixel decoder while its finest maps hold no more numbers than this (64 MB in float32).

Small maps are faster together; at SAM3's size the maps of one prompt are more, and a batch of them is no faster.
"""


class TorchBackend:
    """A `Backend` that runs transformers' own modules.

    Attributes:
        detector: transformers' SAM3 without its text tower.
        processor: its image processor.
        keep_trunk: whether encoded images hold what a video tracker reads, see `decode.FeaturePyramid.trunk`.
        compiled: the detector's compiled functions, where they are to be used.
    """

    def __init__(self, detector: Detector, processor: Any, *, keep_trunk: bool = False) -> None:
        self.detector = detector
        self.processor = processor
        self.keep_trunk = keep_trunk
        self.compiled: CompiledDetector | None = None

    def __repr__(self) -> str:
        parameters = sum(one.numel() for one in self.detector.parameters())
        dtype = str(self.dtype).removeprefix("torch.")
        return f"TorchBackend({parameters / 1e6:.1f} M parameters, {dtype}, {self.device}, as {self.convention.name})"

    @classmethod
    def load(
        cls,
        source: Path,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        convention: ConventionLike | None = None,
        *,
        allow_nan: bool = False,
        image_size: int | None = None,
        compile: bool = False,
    ) -> TorchBackend:
        """Load a detector (see `load_detector`), by default onto a GPU if there is one, in float32, at its own size."""
        where = torch_device(device)
        detector = load_detector(source, where, floating_dtype(dtype, where), convention, allow_nan=allow_nan)
        if where.type == "cpu" and detector.dtype == torch.bfloat16:
            # else oneDNN's convolutions rearrange all that they read and write, which takes most of their time; in
            # float32 they compute far longer, and gain a tenth that is not worth other roundings
            torch.nn.Module.to(detector, memory_format=torch.channels_last)
        processor = load_image_processor(source, detector.config.image_size)
        if image_size is not None:
            set_image_size(detector, processor, image_size)
        backend = cls(detector, processor)
        if compile:
            backend.compiled = CompiledDetector.of(detector)
        return backend

    @property
    def device(self) -> torch.device:
        """Where the detector is."""
        return self.detector.device

    @property
    def dtype(self) -> torch.dtype:
        """What the detector computes in."""
        return self.detector.dtype

    @property
    def image_size(self) -> int:
        """Side of the square that pictures are resized to, in pixels."""
        config: Any = self.detector.config
        return int(config.image_size)

    @property
    def dim(self) -> int:
        """D, the numbers a text token must have."""
        config: Any = self.detector.config
        return int(config.detr_encoder_config.hidden_size)

    @property
    def convention(self) -> DetectorConvention:
        """What the checkpoint expects of the code that runs it."""
        return self.detector.convention

    def prepare_text(self, text: TextFeatures) -> TextFeatures[Tensor]:
        """Return text features as `detect` reads them."""
        tensors = text.to_torch(self.device, self.dtype)
        return replace(tensors, tokens=tensors.tokens.detach())  # a graph would keep the encoder's weights alive

    @torch.inference_mode()
    def encode_images(self, images: Sequence[NDArray[np.uint8]]) -> list[decode.FeaturePyramid]:
        """Return the encoded state of each image, uint8 [H, W, 3]."""
        pixels = torch.cat([self.pixels(image) for image in images])
        if self.compiled is not None:
            return self.compiled.encode_images(pixels, keep_trunk=self.keep_trunk).images()
        return decode.encode_images(self.detector, pixels, keep_trunk=self.keep_trunk).images()

    def feature_maps(self, state: decode.FeaturePyramid) -> list[NDArray[np.float32]]:
        """Return the levels of one image's pyramid, fine to coarse, float32 [C, h, w] each."""
        return [_numpy(level[0]) for level in state.maps]

    @torch.inference_mode()
    def encode_boxes(
        self, state: decode.FeaturePyramid, boxes: NDArray[np.float32], labels: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return example boxes as tokens, see `Backend.encode_boxes`."""
        examples = torch.from_numpy(boxes).to(self.device, self.dtype), torch.from_numpy(labels).to(self.device)
        return _numpy(decode.example_tokens(self.detector, state, *examples))

    @torch.inference_mode()
    def detect(
        self, state: decode.FeaturePyramid, text: TextFeatures, geometry: NDArray[np.float32] | None = None
    ) -> Detections:
        """Decode P prompts over one image, see `Backend.detect`."""
        tokens = None if geometry is None else torch.from_numpy(geometry).to(self.device, self.dtype)
        if self.compiled is not None:
            output = self.compiled.detect(state, text.to_torch(), tokens)
        else:
            output = decode.detect(self.detector, state, text.to_torch(), tokens)
        return Detections(_numpy(output.logits), _numpy(output.presence), _numpy(output.boxes), output)

    def decode_masks(
        self, state: decode.FeaturePyramid, detections: Detections, prompt: int, queries: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return mask logits, float32 [n, h, w], of some queries of one prompt."""
        return next(self.decode_masks_together(state, detections, {prompt: queries}))

    @torch.inference_mode()
    def decode_masks_together(
        self, state: decode.FeaturePyramid, detections: Detections, queries: Mapping[int, NDArray[np.int64]]
    ) -> Iterator[NDArray[np.float32]]:
        """Yield the mask logits, float32 [n, h, w], of several prompts, see `Backend.decode_masks_together`."""
        prompts = list(queries)
        together = max(1, _ENTRIES_TOGETHER // state.maps[0].numel())
        for start in range(0, len(prompts), together):
            rows = prompts[start : start + together]
            chosen = _in_rows([queries[row] for row in rows])
            masks = decode.mask_logits(
                self.detector, state, detections.state, rows, torch.from_numpy(chosen).to(self.device)
            )
            for mask, row in zip(masks, rows, strict=True):
                yield _numpy(mask[: len(queries[row])])

    def pixels(self, image: NDArray[np.uint8]) -> Tensor:
        """Return an image [H, W, 3] as the vision encoder reads it: [1, 3, S, S], on its device and of its dtype."""
        if self.device.type == "cuda":
            pixels = device_pixels(self.processor, image, self.device)
        else:
            pixels = self.processor(images=Image.fromarray(image), return_tensors="pt", device=self.device)[
                "pixel_values"
            ]
        return pixels.to(self.device, self.dtype)

    def return_memory(self) -> None:
        """Return memory that a text encoder left free to the system."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return_freed_memory()


def _in_rows(queries: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Queries of several prompts as one array, the shorter rows filled up with the query 0."""
    filled = np.zeros((len(queries), max(map(len, queries))), np.int64)
    for row, chosen in zip(filled, queries, strict=True):
        row[: len(chosen)] = chosen
    return filled


def _numpy(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.float().cpu().numpy()
    return array
