"""The memory tracker of a model, if it has one: from a transformers folder, or from Meta's file.

transformers' ``Sam3VideoModel`` holds it as ``tracker_model`` and ``tracker_neck``; Meta's ``sam3.pt`` as ``tracker``
and ``sam2_convs``. Models with a tracker over the detector's own maps keep it in a folder ``tracker/`` beside the
detector.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..encoders.checkpoints import check_finite
from ..encoders.tensorfile import TensorFile, open_tensors, read_all
from ..errors import LitetextError, failures_named
from ..json_files import read_json
from ..segment import Segmenter
from ..segment.sources import TRACKER, locate
from ..segment.tracker_names import tracker_among
from .policy import TrackingPolicy, as_transformers, with_numbers_of

VIDEO = "sam3_video"
"""What transformers calls a detector with a memory tracker in ``config.json``."""


def has_tracker(name_or_path: str | os.PathLike[str]) -> bool:
    """Whether a model comes with a memory tracker, told without loading it."""
    detector = locate(name_or_path).detector
    if (detector.parent / TRACKER / "config.json").is_file():
        return True
    config = detector / "config.json"
    if config.is_file():
        described = read_json(config)
        return isinstance(described, dict) and described.get("model_type") == VIDEO
    return detector.is_file() and tracker_among(open_tensors(detector)) == "memory"


def no_tracker(name_or_path: str | os.PathLike[str], policy: str) -> LitetextError:
    """Return the error that a model cannot be tracked under a policy with a memory.

    Raises:
        LitetextError: SAM 3.1's tracker is there, but damaged.
    """
    name, detector = os.fspath(name_or_path), locate(name_or_path).detector
    if detector.is_file():
        from .multiplex import check_multiplex_tracker

        file = open_tensors(detector)
        if tracker_among(file) == "multiplex":
            check_multiplex_tracker(file)
            return LitetextError(
                f"{name} holds SAM 3.1's multiplex tracker, whole, which litetext does not run; use by-detection, or "
                "give the tracker of a SAM3"
            )
    return LitetextError(f"{name} has no memory tracker, which the policy {policy} needs; use by-detection")


def load_tracker(
    name_or_path: str | os.PathLike[str],
    segmenter: Segmenter,
    policy: TrackingPolicy,
    convention: str,
    *,
    object_batch: int = 8,
    allow_nan: bool = False,
) -> tuple[Any, TrackingPolicy]:
    """Return a model's `MemoryTracker`, on its segmenter's device and in its dtype, and the policy in its numbers.

    Args:
        name_or_path: a model for which `has_tracker` holds.
        segmenter: of the same model, in torch; it is told to keep what the tracker reads.
        policy: to fill in.
        convention: ``transformers``, or anything else for Meta's.
        object_batch: objects that run together.
        allow_nan: load weights that are NaN or infinite too.

    Raises:
        LitetextError: weights that do not fit their configuration, by name.
    """
    from .memory_tracker import MemoryTracker

    backend: Any = segmenter.backend
    detector = locate(name_or_path).detector
    if (detector.parent / TRACKER / "config.json").is_file():
        model, neck, described = _beside(detector.parent / TRACKER, backend.image_size, allow_nan)
    elif detector.is_dir():
        model, neck, described = _from_folder(detector, backend.detector.config.vision_config, allow_nan)
    else:
        model, neck, described = _from_meta_file(detector, backend.detector.config.vision_config, allow_nan)
    backend.keep_trunk = neck is not None
    for part in (model, neck):
        if part is not None:
            part.to(backend.device, backend.dtype).eval().requires_grad_(False)
    policy = with_numbers_of(policy, described)
    ported = convention == "transformers"
    if ported:
        on_tracks = described.get("recondition_on_trk_masks", True)
        policy = as_transformers(policy, recondition_with="tracks" if on_tracks else "detections")
    return MemoryTracker(model, neck, object_batch=object_batch, image_sized=ported), policy


_Loaded = tuple[Any, "nn.Module | None", Mapping[str, Any]]


def _from_folder(folder: Path, vision: Any, allow_nan: bool) -> _Loaded:
    from transformers import AutoConfig

    from ..segment.tracker_layout import MODEL, NECK, once

    path = folder / "config.json"
    with failures_named(path, "is not a video model's configuration"):
        config: Any = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    file = open_tensors(folder)
    tensors = {once(key): file.get(key) for key in file if key.startswith((MODEL, NECK))}
    model, neck = _built(config.tracker_config, vision, tensors, file.source, allow_nan)
    return model, neck, config.to_dict()


def _from_meta_file(path: Path, vision: Any, allow_nan: bool) -> _Loaded:
    from ..segment.meta_layout import MetaFile, detector_config
    from ..segment.tracker_layout import tracker_config, tracker_from_meta

    file = open_tensors(path)
    with failures_named(path, "is not a SAM3 with a memory tracker in Meta's layout"):
        tracker, _ = tracker_from_meta(MetaFile(file).rest())
        config, tensors = tracker_config(tracker, detector_config(file)), read_all(tracker)
    model, neck = _built(config, vision, tensors, file.source, allow_nan)
    return model, neck, {}


def _beside(folder: Path, image_size: int, allow_nan: bool) -> _Loaded:
    from transformers import Sam3TrackerVideoConfig

    path = folder / "config.json"
    described = read_json(path)
    with failures_named(path, "is not a tracker's configuration"):
        config = Sam3TrackerVideoConfig(**described)
    file: TensorFile = open_tensors(folder)
    model = _tracker_model(config, image_size)
    _load(model, {key: file.get(key) for key in file}, file.source, allow_nan)
    return model, None, described.get("policy", {})


def _built(
    config: Any, vision: Any, tensors: Mapping[str, Tensor], source: str, allow_nan: bool
) -> tuple[Any, nn.Module]:
    from transformers.models.sam3.modeling_sam3 import Sam3VisionNeck

    from ..segment.tracker_layout import MODEL, NECK

    with failures_named(source, "cannot be read: its tracker does not fit its configuration"):
        model, neck = _tracker_model(config, vision.image_size), Sam3VisionNeck(vision)
    for part, prefix in ((model, MODEL), (neck, NECK)):
        own = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        _load(part, own, source, allow_nan)
    return model, neck


def _tracker_model(config: Any, image_size: int) -> Any:
    from transformers import Sam3TrackerVideoModel

    if config.image_size != image_size:  # the detector's, which the tracker shares
        config.image_size = image_size
    return Sam3TrackerVideoModel(config, remove_vision_encoder=True)


def _load(part: nn.Module, tensors: Mapping[str, Tensor], source: str, allow_nan: bool) -> None:
    wanted = {key: tuple(value.shape) for key, value in part.state_dict().items()}
    for what, keys in (
        ("lacks the tracker's keys", set(wanted) - set(tensors)),
        ("has unexpected tracker keys", set(tensors) - set(wanted)),
        (
            "has tracker keys of another shape than its configuration says",
            {key for key in set(wanted) & set(tensors) if tuple(tensors[key].shape) != wanted[key]},
        ),
    ):
        if keys:
            shown = ", ".join(sorted(keys)[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
            raise LitetextError(f"{source} {what}: {shown}; use the checkpoint that belongs to its config.json")
    with torch.no_grad():
        part.load_state_dict(dict(tensors), assign=False)
    if not allow_nan:
        check_finite(part.state_dict(), source)
