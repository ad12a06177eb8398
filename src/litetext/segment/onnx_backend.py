"""The detector without torch: a whole model's export, run by ONNX Runtime.

Imports nothing but the base install. The export (`litetext export MODEL DIR --whole`, see `export`) holds the text
encoder in ``text/`` (`litetext.encoders.runtime`) and four graphs with their weights beside them, which share no
weight:

- ``vision``: ``image`` uint8 [S, S, 3] to ``features_0`` … [1, C, h, w], fine to coarse;
- ``decoder``: the coarsest ``features``, ``text`` [P, T, C] and ``mask`` [P, T] (True = padding) to ``scores`` [P, Q],
  ``presence`` [P], ``boxes`` [P, Q, 4], and what pixels are made of: ``states`` [P, Q, C] and ``seen`` [P, h*w, C];
- ``pixels``: the finer features and the rows of one prompt, of whose ``states`` any n, to ``masks`` [n, h, w];
- ``examples``: the coarsest ``features`` and example ``boxes`` [1, n, 4] with ``labels`` [1, n] to ``tokens``
  [1, n + 1, C], which stand behind the prompt's text.

Pixels are a graph of their own because they cost the most and most prompts have none: one graph would decode every
query of every prompt. Example boxes are one because a prompt without them must not meet that encoder at all.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..encoders.features import TextFeatures
from ..encoders.runtime import open_session
from ..errors import LitetextError
from ..files import read_json
from ..memory import return_freed_memory
from .backend import Answers
from .resampling import resized_photo
from .sources import GRAPHS

FORMAT = "litetext-onnx-segmenter"

DECODER_OUTPUTS = ("scores", "presence", "boxes", "states", "seen")


ATTENTION_ENTRIES = 2**25
"""Prompts share a run of the decoder while all places looking at all places make no more numbers than this (a head).

ONNX Runtime writes them all down: at SAM3's size 1.7 GB a prompt, which then run alone and no slower.
"""


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """What pixels are made of, for P prompts: states [P, Q, C], seen [P, h*w, C], text [P, T, C], mask [P, T]."""

    states: NDArray[np.float32]
    seen: NDArray[np.float32]
    text: NDArray[np.float32]
    mask: NDArray[np.bool_]


class OnnxBackend:
    """A `Backend` that needs no torch; threads may share one.

    Args:
        folder: the export.
        threads: CPU threads of one call; by default as many as there are cores.

    Raises:
        LitetextError: a file that is missing, cut short, or not of this export.
    """

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        _check_config(folder)
        sessions = {graph: open_session(folder / f"{graph}.onnx", threads, keep_memory=False) for graph in GRAPHS}
        _check_signatures(folder, sessions)
        self._vision, self._decoder, self._pixels, self._examples = (sessions[graph] for graph in GRAPHS)
        self._levels = _names(self._vision.get_outputs())
        self._image_size = int(self._vision.get_inputs()[0].shape[0])
        self._width = int(self._decoder.get_inputs()[1].shape[2])
        return_freed_memory()

    @property
    def width(self) -> int:
        return self._width

    def features(self, text: TextFeatures) -> TextFeatures:
        return text.numpy()

    def see(self, photo: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Return the image's features by their names in the graphs, fine to coarse."""
        image = resized_photo(photo, (self._image_size, self._image_size))
        return dict(zip(self._levels, self._vision.run(self._levels, {"image": image}), strict=True))

    def find(
        self,
        sight: dict[str, NDArray[np.float32]],
        text: TextFeatures,
        boxes: NDArray[np.float32] | None = None,
        labels: NDArray[np.int64] | None = None,
    ) -> Answers:
        tokens, mask = text.tokens, text.mask
        coarsest = sight[self._levels[-1]]
        if boxes is not None and labels is not None:
            rows = [
                self._examples.run(None, {"features": coarsest, "boxes": boxes[row], "labels": labels[row]})[0]
                for row in np.arange(len(boxes))[:, None]
            ]
            examples = np.concatenate(rows)
            tokens = np.concatenate([tokens, examples], axis=1)
            mask = np.concatenate([mask, np.zeros(examples.shape[:2], dtype=bool)], axis=1)
        together = max(1, ATTENTION_ENTRIES // (coarsest.shape[-2] * coarsest.shape[-1]) ** 2)
        parts = [
            self._decoder.run(DECODER_OUTPUTS, {"features": coarsest, "text": tokens[rows], "mask": mask[rows]})
            for rows in (slice(start, start + together) for start in range(0, len(tokens), together))
        ]
        scores, presence, found, states, seen = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Answers(scores, presence, found, _Found(states, seen, tokens, mask))

    def probabilities(
        self, sight: dict[str, NDArray[np.float32]], answers: Answers, prompt: int, queries: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        found: _Found = answers.state
        row = slice(prompt, prompt + 1)
        feeds: dict[str, Any] = {name: sight[name] for name in self._levels[:-1]}
        feeds |= {"states": found.states[row, queries], "seen": found.seen[row]}
        feeds |= {"text": found.text[row], "mask": found.mask[row]}
        masks: NDArray[np.float32] = self._pixels.run(["masks"], feeds)[0]
        return masks

    def return_memory(self) -> None:
        gc.collect()
        return_freed_memory()


def _check_config(folder: Path) -> None:
    values = read_json(folder / "config.json")
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise LitetextError(
            f"{folder} is not a whole model's export; write one with: litetext export MODEL DIR --whole"
        )
    if values.get("version") != 1:
        raise LitetextError(
            f"{folder}: config.json is of version {values.get('version')!r}; this litetext reads version 1"
        )


def _check_signatures(folder: Path, sessions: dict[str, Any]) -> None:
    """Refuse graphs that are not of this kind, or not of one export: their inputs and outputs do not fit."""
    levels = {one.name: one.shape for one in sessions["vision"].get_outputs()}
    *finer, coarsest = levels
    names = {
        "vision": (["image"], [f"features_{level}" for level in range(len(levels))]),
        "decoder": (["features", "text", "mask"], list(DECODER_OUTPUTS)),
        "pixels": ([*finer, "states", "seen", "text", "mask"], ["masks"]),
        "examples": (["features", "boxes", "labels"], ["tokens"]),
    }
    for graph, session in sessions.items():
        if (_names(session.get_inputs()), _names(session.get_outputs())) != names[graph]:
            raise LitetextError(
                f"{folder / graph}.onnx takes {', '.join(_names(session.get_inputs()))} and gives "
                f"{', '.join(_names(session.get_outputs()))}, which is not what a whole model's export has there; "
                "export the model again"
            )
        read = {one.name: one.shape for one in session.get_inputs()}
        for name, shape in (levels | {"features": levels[coarsest]}).items():
            if name in read and read[name] != shape:
                raise LitetextError(
                    f"{folder / graph}.onnx reads {name} of shape {read[name]}, but vision.onnx gives {shape}: "
                    "they are of different models; export the model again"
                )


def _names(values: Any) -> list[str]:
    return [one.name for one in values]
