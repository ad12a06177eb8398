"""The detector without torch: a whole model's export, run by ONNX Runtime.

Imports nothing but the base install. The export (`litetext export MODEL DIR --whole`, see `export`) holds the text
encoder in ``text/`` (`litetext.encoders.runtime`) and four graphs with their weights beside them, which share no
weight:

- ``vision``: ``image`` uint8 [S, S, 3] to ``features_0`` … [1, C, h, w], fine to coarse; where the checkpoint's
  convention has the geometry encoder's CLS token always, to ``cls_token`` [1, 1, C], which stands behind the text of
  prompts without example boxes; and to ``attended`` [1, h*w, C], what the detector's first layer makes of the coarsest
  level before it meets a prompt;
- ``decoder``: ``attended``, ``text`` [P, T, C] and ``mask`` [P, T] (True = padding) to ``logits`` [P, Q],
  ``presence_logits`` [P], ``boxes`` [P, Q, 4], and what masks are made of: ``decoder_hidden_states`` [P, Q, C] and
  ``encoder_hidden_states`` [P, h*w, C];
- ``pixels``: the finer features and the rows of one prompt, of whose decoder states any n, to ``mask_logits``
  [n, h, w];
- ``examples``: the coarsest ``features`` and example ``boxes`` [1, n, 4] with ``labels`` [1, n] to ``tokens``
  [1, n + 1, C], which stand behind the prompt's text; a detector without a geometry encoder has no such graph.

``config.json`` holds the convention (see `convention`). Exports of version 1 hold none and are run as they were
written, as transformers' port; theirs give probabilities: ``scores``, ``presence``, ``masks``. In those of versions 1
and 2 the decoder reads the coarsest ``features`` and does prompt by prompt what ``attended`` holds.

Where vision and pixels were put into OpenVINO's int8 (see `nncf_export`), ``.xml`` and ``.bin`` stand in place of their
``.onnx``, and `OpenVinoBackend` alone runs the export.

Pixels are a graph of their own because they cost the most and most prompts have none: one graph would decode every
query of every prompt. Example boxes are one because most prompts have none.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..encoders.features import TextFeatures
from ..encoders.runtime import Opened, check_weight_bits, open_session, run_session
from ..errors import LitetextError, short
from ..json_files import read_json
from ..memory import return_freed_memory
from .backend import Detections, logit
from .convention import KEY, TRANSFORMERS, DetectorConvention, convention_of
from .resampling import resized_photo
from .sources import GRAPHS, GRAPHS_BESIDE, has_graphs, is_for_openvino

FORMAT = "litetext-onnx-segmenter"

VERSION = 3
CLS_TOKEN = "cls_token"
ATTENDED = "attended"
MASK_LOGITS = "mask_logits"
WEIGHT_BITS = "weight_bits"
"""In config.json: the bits of an int8 weight where graphs are in int8 or int4, else null."""
DECODER_OUTPUTS = ("logits", "presence_logits", "boxes", "decoder_hidden_states", "encoder_hidden_states")
_OLD_NAMES = {
    "scores": "logits",
    "presence": "presence_logits",
    "masks": MASK_LOGITS,
    "states": "decoder_hidden_states",
    "seen": "encoder_hidden_states",
}
"""What exports of version 1 call these, or what stands there in their place."""

ATTENTION_ENTRIES = 2**25
"""Prompts share a run of the decoder while all places looking at all places make no more numbers than this (a head).

Graphs written before attention was one operator (see `fused_attention`) write them all down: at SAM3's size 1.7 GB a
prompt. Large prompts run alone, which is no slower and takes the least memory.
"""


def _opened(path: Path, threads: int | None) -> Any:
    if is_for_openvino(path.parent):
        raise LitetextError(
            f"{path.parent} is in OpenVINO's int8, which ONNX Runtime does not run; give --backend openvino"
        )
    return open_session(path, threads, keep_memory=False)


@dataclass(frozen=True, slots=True, eq=False)
class _DecoderState:
    """What masks are made of, for P prompts; ``text`` is [P, T, C], ``mask`` [P, T], the others as in the module."""

    decoder_hidden_states: NDArray[np.float32]
    encoder_hidden_states: NDArray[np.float32]
    text: NDArray[np.float32]
    mask: NDArray[np.bool_]


class OnnxBackend:
    """A `Backend` that needs no torch; threads may share one.

    Args:
        folder: the export.
        threads: CPU threads of one call; by default as many as there are cores.
        opened: what opens a graph with that many threads; ONNX Runtime by default.

    Raises:
        LitetextError: a file that is missing, cut short, or not of this export.
    """

    def __init__(self, folder: Path, *, threads: int | None = None, opened: Opened | None = None) -> None:
        self._version, self._convention, weight_bits = _config(folder)
        check_weight_bits(weight_bits, folder)
        sessions = {
            graph: (opened or _opened)(folder / f"{graph}.onnx", threads) for graph in graphs_of(self._convention)
        }
        _check_signatures(folder, sessions, self._convention, self._version)
        self._folder, self._sessions = folder, sessions
        self._levels = [name for name in _names(sessions["vision"].get_outputs()) if name not in (CLS_TOKEN, ATTENDED)]
        self._decoded = _names(sessions["decoder"].get_inputs())[0]
        self._image_size = int(sessions["vision"].get_inputs()[0].shape[0])
        self._dim = int(sessions["decoder"].get_inputs()[1].shape[2])
        self._mask_inputs = _names(sessions["pixels"].get_inputs())[len(self._levels) - 1 :]
        return_freed_memory()

    def __repr__(self) -> str:
        return f"OnnxBackend({str(self._folder)!r}, as {self._convention.name})"

    @property
    def image_size(self) -> int:
        """Side of the square that pictures are resized to, in pixels."""
        return self._image_size

    @property
    def dim(self) -> int:
        """D, the numbers a text token must have."""
        return self._dim

    @property
    def convention(self) -> DetectorConvention:
        """What the checkpoint expects of the code that runs it."""
        return self._convention

    def prepare_text(self, text: TextFeatures) -> TextFeatures:
        """Return text features as `detect` reads them."""
        return text.numpy()

    def encode_images(self, images: Sequence[NDArray[np.uint8]]) -> list[dict[str, NDArray[np.float32]]]:
        """Return what the vision graph gives of each image, by name; it takes one at a time."""
        size = (self._image_size, self._image_size)
        names = _names(self._sessions["vision"].get_outputs())
        runs = (self._run("vision", {"image": resized_photo(image, size)}) for image in images)
        return [dict(zip(names, outputs, strict=True)) for outputs in runs]

    def feature_maps(self, state: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Return the levels of one image's pyramid, fine to coarse, float32 [C, h, w] each."""
        return [state[level][0] for level in self._levels]

    def encode_boxes(
        self, state: dict[str, NDArray[np.float32]], boxes: NDArray[np.float32], labels: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return example boxes as tokens, see `Backend.encode_boxes`; the graph takes one prompt's at a time."""
        coarsest = state[self._levels[-1]]
        rows = [
            self._run("examples", {"features": coarsest, "boxes": boxes[row], "labels": labels[row]})[0]
            for row in np.arange(len(boxes))[:, None]
        ]
        return np.concatenate(rows)

    def detect(
        self,
        state: dict[str, NDArray[np.float32]],
        text: TextFeatures,
        geometry: NDArray[np.float32] | None = None,
    ) -> Detections:
        """Decode P prompts over one image, see `Backend.detect`."""
        arrays = text.numpy()
        tokens, mask = arrays.tokens, arrays.mask
        coarsest = state[self._levels[-1]]
        if geometry is None and CLS_TOKEN in state:
            geometry = state[CLS_TOKEN].repeat(len(tokens), 0)
        if geometry is not None:
            tokens = np.concatenate([tokens, geometry], axis=1)
            mask = np.concatenate([mask, np.zeros(geometry.shape[:2], dtype=bool)], axis=1)
        together = max(1, ATTENTION_ENTRIES // (coarsest.shape[-2] * coarsest.shape[-1]) ** 2)
        image = state[ATTENDED] if self._decoded == ATTENDED else coarsest
        parts = [
            self._run("decoder", {self._decoded: image, "text": tokens[rows], "mask": mask[rows]})
            for rows in (slice(start, start + together) for start in range(0, len(tokens), together))
        ]
        logits, presence, found, decoder, encoder = (np.concatenate(part) for part in zip(*parts, strict=True))
        if self._version == 1:
            logits, presence = logit(logits / presence[:, None]), logit(presence)
        return Detections(logits, presence, found, _DecoderState(decoder, encoder, tokens, mask))

    def decode_masks(
        self, state: dict[str, NDArray[np.float32]], detections: Detections, prompt: int, queries: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return mask probabilities, float32 [n, h, w], of some queries of one prompt."""
        decoded: _DecoderState = detections.state
        row = slice(prompt, prompt + 1)
        of_prompt = (
            decoded.decoder_hidden_states[row, queries],
            decoded.encoder_hidden_states[row],
            decoded.text[row],
            decoded.mask[row],
        )
        feeds: dict[str, Any] = {name: state[name] for name in self._levels[:-1]}
        feeds |= dict(zip(self._mask_inputs, of_prompt, strict=True))
        masks: NDArray[np.float32] = self._run("pixels", feeds)[0]
        return logit(masks) if self._version == 1 else masks

    def decode_masks_together(
        self,
        state: dict[str, NDArray[np.float32]],
        detections: Detections,
        queries: Mapping[int, NDArray[np.int64]],
    ) -> Iterator[NDArray[np.float32]]:
        """Yield the mask logits of several prompts; the graph takes one prompt's at a time."""
        for prompt, chosen in queries.items():
            yield self.decode_masks(state, detections, prompt, chosen)

    def _run(self, graph: str, feeds: Mapping[str, Any]) -> list[Any]:
        return run_session(self._sessions[graph], None, feeds, self._folder / f"{graph}.onnx")

    def return_memory(self) -> None:
        """Return memory that a text encoder left free to the system."""
        gc.collect()
        return_freed_memory()


def graphs_of(convention: DetectorConvention) -> tuple[str, ...]:
    """Return the names of an export's graphs; a detector without a geometry encoder has none of example boxes."""
    return GRAPHS if convention.takes_boxes else tuple(graph for graph in GRAPHS if graph != "examples")


def _config(folder: Path) -> tuple[int, DetectorConvention, int | None]:
    """The version of an export, its convention, and the bits of its weights where they are integers."""
    name = GRAPHS_BESIDE if has_graphs(folder) else "config.json"
    values = read_json(folder / name)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise LitetextError(
            f"{folder} is not a whole model's export; write one with: litetext export MODEL DIR --whole"
        )
    version = values.get("version")
    if version == 1:
        return 1, TRANSFORMERS, None
    if version not in (2, VERSION):
        raise LitetextError(
            f"{folder}: {name} is of version {short(version)}; this litetext reads versions 1 to {VERSION}"
        )
    bits = values.get(WEIGHT_BITS)
    if bits not in (None, 7, 8):
        raise LitetextError(f"{folder}: {name}: {WEIGHT_BITS} is {short(bits)}, where 7, 8 or null should stand")
    return version, convention_of(values.get(KEY), f"{folder}/{name}"), bits


def _check_signatures(folder: Path, sessions: dict[str, Any], convention: DetectorConvention, version: int) -> None:
    """Refuse graphs that are not of this kind, or not of one export: their inputs and outputs do not fit."""
    levels = {one.name: one.shape for one in sessions["vision"].get_outputs()}
    attended = {name: shape for name, shape in levels.items() if name == ATTENDED}
    levels = {name: shape for name, shape in levels.items() if name not in (CLS_TOKEN, ATTENDED)}
    *finer, coarsest = levels or [""]
    seen = [f"features_{level}" for level in range(len(levels))]
    seen += [CLS_TOKEN] if convention.cls_token == "always" else []
    seen += [ATTENDED] if version >= 3 else []
    names = {
        "vision": (["image"], seen),
        "decoder": ([ATTENDED if version >= 3 else "features", "text", "mask"], list(DECODER_OUTPUTS)),
        "pixels": ([*finer, *DECODER_OUTPUTS[3:], "text", "mask"], [MASK_LOGITS]),
        "examples": (["features", "boxes", "labels"], ["tokens"]),
    }
    for graph, session in sessions.items():
        inputs, outputs = _names(session.get_inputs()), _names(session.get_outputs())
        if tuple([_OLD_NAMES.get(name, name) for name in side] for side in (inputs, outputs)) != names[graph]:
            raise LitetextError(
                f"{folder / graph}.onnx takes {', '.join(inputs)} and gives {', '.join(outputs)}, which is not "
                "what a whole model's export has there; export the model again"
            )
        read = {one.name: one.shape for one in session.get_inputs()}
        name, at = {"vision": ("image", 0), "decoder": ("text", 2)}.get(graph, ("", 0))
        if name and (len(read[name]) != 3 or type(read[name][at]) is not int):
            raise LitetextError(f"{folder / graph}.onnx reads {name} of shape {read[name]}; export the model again")
        for name, shape in (levels | attended | {"features": levels[coarsest]}).items():
            if name in read and read[name] != shape:
                raise LitetextError(
                    f"{folder / graph}.onnx reads {name} of shape {read[name]}, but vision.onnx gives {shape}: "
                    "they are of different models; export the model again"
                )


def _names(values: Any) -> list[str]:
    return [one.name for one in values]
