"""Pictures made ready for the vision encoder where it is: uploaded as bytes, resized there.

On a CPU the image processor resizes in 16-bit integers, in two passes that both round. Here it is done in float32 and
rounded once, the same on every device, so pixels may differ by one of 255 levels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate


def device_pixels(processor: Any, image: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Return an image [H, W, 3] as the vision encoder reads it, float32 [1, 3, S, S], on a device.

    Args:
        processor: transformers' image processor, which says the size and normalizes.
        image: uint8, RGB.
        device: where it is uploaded to, from pinned memory where that is a GPU.
    """
    size = (processor.size["height"], processor.size["width"])
    picture = resized(uploaded(image, device), size)
    pixels: Tensor = processor(images=picture, return_tensors="pt", device=device)["pixel_values"]
    return pixels


def uploaded(image: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Return an image [H, W, 3] as a tensor [3, H, W] on a device; a GPU copies it while the program goes on."""
    picture = torch.from_numpy(np.ascontiguousarray(image))
    if device.type == "cuda":
        picture = picture.pin_memory()
    return picture.to(device, non_blocking=True).permute(2, 0, 1)


def resized(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a picture, uint8 [3, H, W], at ``size`` (height, width): bilinear, antialiased."""
    if picture.shape[1:] == size:
        return picture
    levels = interpolate(picture[None].float(), size, mode="bilinear", antialias=True)[0]
    return levels.round().clamp(0, 255).to(torch.uint8)
