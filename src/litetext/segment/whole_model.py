"""A whole SAM3 opened in any layout, to be written in another: names, shapes and configuration; no number is read yet.

What the layouts have in common is transformers' names for the detector and for SAM3's tracker. What transformers has no
place for (Meta's point encoder of the detector, SAM 3.1's tracker) stays under Meta's names: it goes into a file of its
own beside the weights, `UNPORTED`, and back from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..encoders.checkpoints import check_finite
from ..encoders.encoder_file import EncoderFile
from ..encoders.layouts import TRANSFORMERS_STUDENT
from ..encoders.tensorfile import LazyTensor, cast, open_tensors
from ..errors import LitetextError
from ..json_files import read_json
from ..progress import Progress, no_progress
from .checkpoint import UNPORTED, folder_config
from .convention import KEY, META, DetectorConvention, convention_of
from .meta_layout import POSITIONS, MetaFile, detector_config, has_geometry
from .sources import TRACKER, is_checkpoint_file, is_exported, is_meta_layout
from .tracker_layout import MODEL, NECK, once, tracker_config, tracker_from_meta

_RELEASED = 1 << 26
"""After how many bytes that were read their memory is given back."""


@dataclass(frozen=True)
class WholeModel:
    """A SAM3 without its text encoder.

    Attributes:
        source: the file or folder, for messages.
        config: transformers' config of the detector; of its text it says nothing that counts.
        convention: under which the detector is run.
        detector: its tensors by transformers' names.
        preprocessor: settings of the image processor.
        video: what `Sam3VideoConfig` says beside the detector; None where there is no tracker.
        tracker: its tensors by transformers' names, and those of its neck.
        unported: tensors that transformers has no place for, by Meta's names, ``detector.`` left out.
        release: gives back the memory of what was read.
        tracker_folder: a tracker of litetext's own, which only its own layout has a place for, or None.
    """

    source: str
    config: Any
    convention: DetectorConvention
    detector: Mapping[str, LazyTensor]
    preprocessor: Mapping[str, Any]
    video: Mapping[str, Any] | None
    tracker: Mapping[str, LazyTensor]
    unported: Mapping[str, LazyTensor]
    release: Callable[[], None]
    tracker_folder: Path | None = None

    def cast(self, dtype: torch.dtype) -> WholeModel:
        """Return the same with its floating-point numbers in another dtype."""
        parts = {name: cast(getattr(self, name), dtype) for name in ("detector", "tracker", "unported")}
        return replace(self, **parts)  # type: ignore[arg-type]


def open_model(path: Path) -> WholeModel:
    """Open a SAM3 in any layout.

    Args:
        path: a file in Meta's layout, or a folder of transformers' (`Sam3Model`, `Sam3LiteTextModel`,
            `Sam3VideoModel`) or of litetext's (``segmenter/`` inside).

    Raises:
        LitetextError: no whole model, or a file that is malformed or holds a key without a place.
    """
    if is_checkpoint_file(path):
        return _from_meta(path)
    if is_exported(path):
        raise LitetextError(f"{path} is an export, whose weights are in graphs; convert the model it was made from")
    inside = (path / "segmenter").is_dir()
    return replace(_from_folder(path / "segmenter" if inside else path), tracker_folder=_tracker_folder(path))


def _from_meta(path: Path) -> WholeModel:
    file = open_tensors(path)
    if not is_meta_layout(file):
        raise LitetextError(f"{path} holds no detector; name the SAM3 whose detector goes with it (--model)")
    meta = MetaFile(file)
    config, detector = detector_config(file), meta.detector()
    tracker, unported = tracker_from_meta(meta.rest())
    if POSITIONS[1] in detector:
        unported[POSITIONS[0]] = meta.lazy(POSITIONS[0])  # for the row that transformers leaves out
    size = config.image_size
    return WholeModel(
        source=str(path),
        config=config,
        convention=META if meta.has_geometry else META.without_geometry(),
        detector=detector,
        preprocessor={"size": {"height": size, "width": size}},
        video={"tracker_config": tracker_config(tracker, config).to_dict()} if tracker else None,
        tracker=tracker,
        unported=unported,
        release=file.release,
    )


def _from_folder(folder: Path) -> WholeModel:
    whole, config = folder_config(folder)
    file = open_tensors(folder)
    prefix = "detector_model." if any(key.startswith("detector_model.") for key in file) else ""
    text = tuple(prefix + scope for scope in TRANSFORMERS_STUDENT.scope)
    keys = [key for key in file if key.startswith(prefix) and not key.startswith((*text, MODEL, NECK))]
    tracker = {once(key): file.lazy(key) for key in file if key.startswith((MODEL, NECK))} if prefix else {}
    stored = convention_of(getattr(config, KEY, None), f"{folder}/config.json")
    unported = open_tensors(folder / UNPORTED) if (folder / UNPORTED).is_file() else None
    video = {key: value for key, value in whole.to_dict().items() if key != "detector_config"} if tracker else None

    def release() -> None:
        file.release()
        if unported is not None:
            unported.release()

    return WholeModel(
        source=str(folder),
        config=config,
        convention=stored if has_geometry(key.removeprefix(prefix) for key in keys) else stored.without_geometry(),
        detector={key.removeprefix(prefix): file.lazy(key) for key in keys},
        preprocessor=_preprocessor(folder),
        video=video,
        tracker=tracker,
        unported={} if unported is None else {key: unported.lazy(key) for key in unported},
        release=release,
    )


def _tracker_folder(path: Path) -> Path | None:
    return path / TRACKER if (path / TRACKER / "config.json").is_file() else None


def _preprocessor(folder: Path) -> dict[str, Any]:
    names = ("preprocessor_config.json", "processor_config.json")
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    settings = {} if path is None else read_json(path)
    if not isinstance(settings, dict):
        raise LitetextError(f"{path} is no object with keys, as an image processor's settings are")
    return dict(settings.get("image_processor", settings))


def check_width(model: WholeModel, text: EncoderFile) -> None:
    """Raise unless the detector reads tokens as wide as the text encoder gives."""
    width = model.config.detr_encoder_config.hidden_size
    if width != text.config.output_dim:
        raise LitetextError(
            f"{text.source} gives {text.config.output_dim} numbers a token, "
            f"the detector in {model.source} reads {width}"
        )


class Written:
    """What watches a model's tensors as they are written: they must be numbers, their memory goes back, a bar moves.

    Args:
        model: whose they are.
        text: its text encoder.
        tensors: all that will be written.
        allow_nan: let numbers pass that are NaN or infinite.
        progress: told of bytes.
    """

    def __init__(
        self,
        model: WholeModel,
        text: EncoderFile,
        tensors: Mapping[str, LazyTensor],
        *,
        allow_nan: bool = False,
        progress: Progress = no_progress,
    ) -> None:
        self._model, self._text = model, text
        self._allow_nan, self._progress = allow_nan, progress
        self._total = sum(tensor.bytes for tensor in tensors.values())
        self._done = self._held = 0

    def __call__(self, name: str, tensor: Tensor) -> None:
        """Take note of a tensor."""
        if not self._allow_nan:
            check_finite({name: tensor}, self._model.source)
        size = tensor.numel() * tensor.element_size()
        self._done, self._held = self._done + size, self._held + size
        if self._held > _RELEASED:
            self._model.release()
            self._text.release()
            self._held = 0
        self._progress(self._done, self._total)
