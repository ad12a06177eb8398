"""Where a segmenter's parts are: a shipped name, a folder, a hub name.

litetext's own layout is a folder with ``segmenter/`` (a transformers SAM3 without text) and ``text/`` (encoders: the
default is ``student/``, where there is one, else ``teacher/``); a transformers folder holds both in one checkpoint; an
export holds graphs and ``text/``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ..data import resolve
from ..encoders.encoder_file import KINDS
from ..encoders.tensorfile import TensorFile, open_tensors
from ..errors import LitetextError, short
from ..hub import local_path
from ..json_files import read_json

SHIPPED = ("mini", "photo")
"""Models that come inside the package."""

PUBLISHED = "Simon7108528/sam3-litetext-s0"
"""The published model to name where a user wants the real thing."""

ENCODERS = {f"mini-{kind}": kind for kind in KINDS}
"""Encoders that a mini carries, by name, and their folders in its ``text/``; the first that is there is its default."""

TRACKER = "tracker"
"""The folder, beside the detector's, of a tracker that reads the detector's own maps."""

GRAPHS_BESIDE = "graphs.json"
"""Says that the graphs in a model's folder read their weights from the model's own file (see `beside`)."""

T = TypeVar("T")

GRAPHS = ("vision", "decoder", "pixels", "examples")
"""The graphs of an export, ``NAME.onnx`` each, beside the text encoder's folder ``text/`` (see `onnx_backend`)."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The two halves of a model on disk.

    Attributes:
        detector: folder of a transformers SAM3 model or of an export, or a checkpoint file in Meta's layout.
        text: what `litetext.encoders.load_encoder` is given when the caller names no encoder.
    """

    detector: Path
    text: Path

    def encoder(self, text: T) -> T | Path:
        """Return ``text``, or where it names one of `ENCODERS` that the model itself carries, that one's folder."""
        own = self.text.parent / ENCODERS[text] if isinstance(text, str) and text in ENCODERS else None
        return own if own is not None and own.is_dir() else text


def is_exported(path: Path) -> bool:
    """Whether ``path`` is a whole model's export, be it damaged."""
    return not has_graphs(path) and any((path / f"{graph}.onnx").is_file() for graph in GRAPHS)


def in_openvino_form(graph: Path) -> Path:
    """Return where an export keeps a graph, ``NAME.onnx``, if it is in OpenVINO's own form (see `nncf_export`)."""
    return graph.with_suffix(".xml")


def is_for_openvino(path: Path) -> bool:
    """Whether ``path`` is an export with graphs that OpenVINO alone runs."""
    return any(in_openvino_form(path / f"{graph}.onnx").is_file() for graph in GRAPHS)


def has_graphs(path: Path) -> bool:
    """Whether ``path`` holds a model's weights with graphs beside them, so that it runs with torch or without."""
    return (path / GRAPHS_BESIDE).is_file()


def quickest_backend(name_or_path: str | os.PathLike[str], device: object = None, *choices: object) -> str | None:
    """Return ``"onnx"``, which starts quickest, for a model with graphs where nothing asks for torch; else None.

    Args:
        name_or_path: of the model.
        device: where to compute; graphs run on the CPU.
        choices: values of the options that torch alone takes; None where they were not given.
    """
    asks_for_torch = device not in (None, "cpu") or any(one is not None for one in choices)
    return "onnx" if not asks_for_torch and has_graphs(locate(name_or_path).detector) else None


def locate(name_or_path: str | os.PathLike[str]) -> Parts:
    """Return where the parts of a model are, fetching it first if it is a hub name.

    A shipped name wins over a folder of the same name here (``./mini`` is the folder).

    Raises:
        LitetextError: an unknown name; a hub name that is gated, not there or out of reach.
    """
    if not isinstance(name_or_path, str | os.PathLike):
        raise LitetextError(f"a model is named by a text or a path, got {short(name_or_path)}")
    name = os.fspath(name_or_path)
    if name in SHIPPED:
        path = resolve(name)
    elif Path(name).exists() or "/" in name:
        path = local_path(name)
    else:
        raise LitetextError(
            f"unknown model {name!r}; give {' or '.join(SHIPPED)}, a model's folder, or a hub name such as {PUBLISHED}"
        )
    if is_exported(path):
        return Parts(path, path / "text")
    if (path / "segmenter").is_dir():
        own = [path / "text" / name for name in ENCODERS.values()]
        return Parts(path / "segmenter", next((folder for folder in own if folder.is_dir()), own[-1]))
    return Parts(path, path)


def is_checkpoint_file(source: Path) -> bool:
    """Whether a model is a checkpoint file, or a folder that holds one (or its shards) and no configuration."""
    if source.is_file():
        return True
    weights = [file for pattern in ("*.safetensors", "*.pt") for file in source.glob(pattern)]
    configured = any((source / name).is_file() for name in ("config.json", "preprocessor_config.json"))
    return bool(weights) and not configured


def is_meta_layout(file: TensorFile) -> bool:
    """Whether ``file`` holds a whole SAM3 under Meta's names, at ``detector.`` or at the root."""
    return any(key.removeprefix("detector.").startswith("transformer.decoder.") for key in file)


def holds_detector(path: Path) -> bool:
    """Whether a file or folder holds a whole SAM3, and not a text encoder alone.

    Raises:
        LitetextError: a malformed file.
    """
    if is_checkpoint_file(path):
        return is_meta_layout(open_tensors(path))
    folder = path / "segmenter" if (path / "segmenter").is_dir() else path
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    config = config.get("detector_config") or config if isinstance(config, dict) else {}
    return isinstance(config, dict) and "vision_config" in config
