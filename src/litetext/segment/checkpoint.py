"""Load SAM3's vision encoder, detector and mask decoder, and nothing of its text encoder.

transformers' own classes are built, minus the text tower: it exists on the meta device for the moment of
construction and is never given memory, nor are its weights read into any. What is loaded is loaded exactly:
a key that is missing, left over or of another shape is an error that names it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, Sam3Config, Sam3ImageProcessor, Sam3LiteTextConfig, Sam3LiteTextModel, Sam3Model
from transformers.models.sam3.modeling_sam3 import Sam3ViTModel
from transformers.utils import logging as transformers_logging

from ..encoders.checkpoints import check_finite
from ..encoders.safetensors_file import is_floating
from ..encoders.tensorfile import open_tensors, read_all
from ..encoders.transformers_config import read_model_config
from ..errors import LitetextError, failures_named, short
from ..json_files import read_json
from .convention import KEY, ConventionLike, DetectorConvention, convention_of, named_convention
from .lite import LITE, LiteVisionModel
from .meta_layout import MetaFile, detector_config, has_geometry
from .sources import PUBLISHED, is_checkpoint_file, is_meta_layout

# SAM3's sessions of training leave parts in a checkpoint that image segmentation does not read: the text tower
# (ours comes through the seam) and the video tracker.
_NOT_OURS = [r"^(detector_model\.)?text_(encoder|projection)\.", r"^tracker_(model|neck)\."]


UNPORTED = "unported.safetensors"
"""What of a model in Meta's layout transformers has no place for; `litetext convert` puts it beside the weights."""


class _TextFree:
    """Mixed into a transformers SAM3 class: the same model without its text tower, under its checkpoint's convention.

    Attributes:
        convention: what the configuration says under `litetext.segment.convention.KEY`.
    """

    base_model_prefix = "detector_model"  # as a `Sam3VideoModel` calls the detector inside it
    _keys_to_ignore_on_load_unexpected: Any = _NOT_OURS

    def __init__(self, config: Any) -> None:
        super().__init__(config)  # type: ignore[call-arg]
        if config.vision_config.backbone_config.model_type == LITE:
            self.vision_encoder: Any = LiteVisionModel(config.vision_config)
        del self.text_encoder, self.text_projection  # type: ignore[attr-defined]
        self.convention = convention_of(getattr(config, KEY, None), "config.json")
        if not self.convention.takes_boxes:
            del self.geometry_encoder  # type: ignore[attr-defined]
        self._set_vit_layer_norm_eps(self.convention.vit_layer_norm_eps)
        for embedding in (self.detr_decoder.box_rpb_embed_x, self.detr_decoder.box_rpb_embed_y):  # type: ignore[attr-defined]
            embedding.register_forward_hook(_heads_first)

    def _set_vit_layer_norm_eps(self, eps: float | None) -> None:
        backbone: Any = self.vision_encoder.backbone  # type: ignore[attr-defined]
        if eps is None or not isinstance(backbone, Sam3ViTModel):
            return
        for module in backbone.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = eps


def _heads_first(module: nn.Module, given: Any, found: Tensor) -> Tensor:
    """The same numbers [B, Q, side, heads], a head's beside each other in memory.

    The decoder adds rows and columns of them to a bias of every query at every place, head by head: the same sums,
    taken over long rows in place of rows of eight, and already where attention reads them.
    """
    return found.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)


class Sam3Detector(_TextFree, Sam3Model):
    """`transformers.Sam3Model` without its text tower."""


class Sam3LiteTextDetector(_TextFree, Sam3LiteTextModel):
    """`transformers.Sam3LiteTextModel` without its text tower."""


Detector: TypeAlias = "Sam3Detector | Sam3LiteTextDetector"
_DETECTORS = {Sam3Config: Sam3Detector, Sam3LiteTextConfig: Sam3LiteTextDetector}


def load_detector(
    source: Path,
    device: torch.device,
    dtype: torch.dtype,
    convention: ConventionLike | None = None,
    *,
    allow_nan: bool = False,
) -> Detector:
    """Return the detector of a model, in evaluation mode.

    Args:
        source: a folder with ``config.json`` and ``*.safetensors`` (one file or shards) of a ``Sam3Model``,
            ``Sam3LiteTextModel`` or ``Sam3VideoModel``, with or without the weights of its text encoder; or a whole
            SAM3 checkpoint file in Meta's layout, as SAM3-LiteText's authors publish it.
        device: where the weights go.
        dtype: what they are converted to.
        convention: another than the one stored with the weights (see `litetext.segment.convention`).
        allow_nan: load weights that are NaN or infinite too.

    Raises:
        LitetextError: another kind of model, no weights, keys that do not fit, or weights that are no numbers, by name.
    """
    read = _from_meta_file if is_checkpoint_file(source) else _from_folder
    detector: Any = read(source, dtype, convention)
    if not allow_nan:
        check_finite(detector.state_dict(), str(source))
    loaded: Detector = detector.to(device).eval().requires_grad_(False)
    return loaded


def load_image_processor(source: Path, image_size: int) -> Sam3ImageProcessor:
    """Return the image processor of a model; it must resize to the ``image_size`` the model was built for."""
    if is_checkpoint_file(source):
        return Sam3ImageProcessor(size={"height": image_size, "width": image_size})
    names = ("preprocessor_config.json", "processor_config.json")
    path = next((source / name for name in names if (source / name).is_file()), None)
    if path is None:
        raise LitetextError(f"{source} has no preprocessor_config.json; save the model's image processor there")
    with quiet_transformers(), failures_named(path, "is not an image processor's configuration"):
        read_json(path)
        processor = Sam3ImageProcessor.from_pretrained(str(source))
        size = (processor.size["height"], processor.size["width"])
        if size != (image_size, image_size):
            raise LitetextError(
                f"{source}: the image processor resizes to {size[1]}x{size[0]}, but the model sees "
                f"{image_size}x{image_size}; make preprocessor_config.json and config.json agree"
            )
        pixels = processor(images=np.zeros((2, 2, 3), np.uint8), return_tensors="pt")["pixel_values"]
        if pixels.shape != (1, 3, image_size, image_size) or not pixels.isfinite().all():
            raise LitetextError(f"{path} makes images that are no finite numbers of shape [3, {size[0]}, {size[1]}]")
    return processor


def _from_folder(folder: Path, dtype: torch.dtype, convention: ConventionLike | None) -> Detector:
    _, config = folder_config(folder)
    files = sorted(file for file in folder.glob("*.safetensors") if file.name != UNPORTED)
    if not files:
        raise LitetextError(f"{folder} holds no *.safetensors; save the model there with save_pretrained")
    opened = [open_tensors(file) for file in files]
    for file in opened:
        for key in file:
            if not is_floating(file.dtype(key)) and not key.endswith(_COUNTS):
                raise LitetextError(
                    f"{file.source}: key {key!r} is stored as {file.dtype(key)}, expected floating-point numbers"
                )
    held = sum(math.prod(file.shape(key)) for file in opened for key in file)
    keys = (key.removeprefix("detector_model.") for file in opened for key in file)
    chosen = _chosen(config, convention, has_geometry(keys), str(folder))
    source: dict[str, Any] = {"pretrained_model_name_or_path": str(folder), "use_safetensors": True}
    return _build(config, chosen, held, str(folder), dtype, **source)


def _from_meta_file(path: Path, dtype: torch.dtype, convention: ConventionLike | None) -> Detector:
    file = open_tensors(path)
    if not is_meta_layout(file):
        raise LitetextError(
            f"{path} holds no whole SAM3 under Meta's names (detector.*); give a model's folder, or a hub name such as "
            f"{PUBLISHED}"
        )
    held = sum(math.prod(file.shape(key)) for key in file)
    with failures_named(path, "is not a SAM3 in Meta's layout"):
        config, tensors = detector_config(file), read_all(MetaFile(file).detector())
    chosen = _chosen(config, convention, has_geometry(tensors), str(path))
    source: dict[str, Any] = {"pretrained_model_name_or_path": None, "state_dict": tensors}
    return _build(config, chosen, held, str(path), dtype, **source)


def folder_config(folder: Path) -> tuple[Any, Any]:
    """Return transformers' config of a model's folder, and that of the detector in it, which may be the same.

    Raises:
        LitetextError: it is missing or malformed, or of another kind of model.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise LitetextError(f"{folder} has no config.json; give the folder of a saved transformers SAM3 model")
    read_model_config(path)
    with quiet_transformers(), failures_named(path, "is not a model's configuration"):
        whole = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    config = getattr(whole, "detector_config", whole)
    if type(config) not in _DETECTORS:
        raise LitetextError(
            f"{path} describes a {short(config.model_type)} model; "
            "litetext segments with sam3, sam3_lite_text and sam3_video"
        )
    return whole, config


_COUNTS = ("position_ids", "num_batches_tracked")
"""How the names of tensors end that hold whole numbers."""


def _chosen(config: Any, convention: ConventionLike | None, with_geometry: bool, name: str) -> DetectorConvention:
    """The convention asked for, or else the stored one; the weights say whether there is a geometry encoder."""
    stored = convention_of(getattr(config, KEY, None), f"{name}/config.json")
    chosen = stored if convention is None else named_convention(convention)
    if with_geometry and not chosen.takes_boxes:
        raise LitetextError(
            f"{name}/config.json: {KEY}: {chosen.name!r} never reads a geometry encoder, but the weights hold one; "
            "say --as meta"
        )
    return chosen if with_geometry else chosen.without_geometry()


def _build(
    config: Any, convention: DetectorConvention, held: int, name: str, dtype: torch.dtype, **source: Any
) -> Detector:
    setattr(config, KEY, convention.to_dict())
    detector_class: Any = _DETECTORS[type(config)]
    with quiet_transformers(), failures_named(name, "cannot be read: its weights do not fit its configuration"):
        with torch.device("meta"):
            described = sum(parameter.numel() for parameter in detector_class(config).parameters())
        if described > 2 * held:
            raise LitetextError(
                f"{name} describes {described:,} parameters and holds {held:,}; use the weights that belong to its "
                "config.json"
            )
        detector, report = detector_class.from_pretrained(
            config=config,
            dtype=dtype,
            weights_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they come in the report, by name, with the others
            **source,
        )
    _refuse_misfits(name, report)
    return detector


def _refuse_misfits(name: str, report: Mapping[str, Iterable[Any]]) -> None:
    misshaped = [f"{key} {tuple(given)} instead of {tuple(wanted)}" for key, given, wanted in report["mismatched_keys"]]
    for what, misfits in (
        ("lacks the keys", report["missing_keys"]),
        ("has unexpected keys", report["unexpected_keys"]),
        ("has keys of another shape than config.json says", misshaped),
        ("cannot be read", report["error_msgs"]),
    ):
        keys = sorted(misfits)
        if keys:
            shown = ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
            raise LitetextError(f"{name} {what}: {shown}; use the checkpoint that belongs to its config.json")


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Loading says nothing of its own: what matters of it is in `_refuse_misfits`."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
