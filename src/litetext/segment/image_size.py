"""A detector run at another input size than the one it was trained at.

Nothing in SAM3's weights depends on the number of patches: the ViT tiles its position table over the grid, its rotary
positions are stretched over the window they were trained in, and detector and pixel decoder read maps of any size. What
a size changes is computed anew here, as transformers computes it from a config of that size.
"""

from __future__ import annotations

from typing import Any

from transformers.models.sam3.modeling_sam3 import Sam3ViTLayer

from ..errors import LitetextError, short

_FEWEST_PATCHES, _LARGEST = 2, 4096


def set_image_size(detector: Any, processor: Any, image_size: int) -> None:
    """Make a detector and its image processor see pictures of another size.

    Args:
        detector: what `load_detector` returned; it is changed.
        processor: its image processor, which is changed too.
        image_size: side of the square input in pixels.

    Raises:
        LitetextError: a size that is no whole number of patches; the message names the nearest that are.
    """
    vision = detector.config.vision_config
    check_image_size(image_size, vision.backbone_config.patch_size, vision.image_size)
    vision.image_size = image_size
    grid = image_size // vision.backbone_config.patch_size
    vision.backbone_feature_sizes = [[int(grid * scale)] * 2 for scale in vision.scale_factors[:-1]]
    for module in detector.modules():
        if isinstance(module, Sam3ViTLayer):
            positions = module.precompute_positions(module.config, module.window_size)
            module.position_ids = positions.to(module.position_ids)
    processor.size = type(processor.size)(height=image_size, width=image_size)


def check_image_size(image_size: Any, patch: int, own: int) -> None:
    """Raise unless ``image_size`` is a whole number of patches.

    Args:
        image_size: in pixels.
        patch: side of a patch in pixels.
        own: the size that the model was trained at, for the message.
    """
    least, most = _FEWEST_PATCHES * patch, _LARGEST // patch * patch
    whole = isinstance(image_size, int) and not isinstance(image_size, bool)
    if whole and not image_size % patch and least <= image_size <= most:
        return
    nearest = ""
    if whole and least < image_size < most:
        below = image_size // patch * patch
        nearest = f"; the nearest are {below} and {below + patch}"
    raise LitetextError(
        f"image_size must be a multiple of {patch} from {least} to {most} for this model (its own is {own}), "
        f"got {short(image_size)}{nearest}"
    )
