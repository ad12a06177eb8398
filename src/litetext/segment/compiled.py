"""The vision encoder and the detector, compiled by `torch.compile` for a few shapes.

A compiled function is made anew for every shape that it has not seen. So images and prompts are filled up to a power of
two by repeating the last one, and tokens to a multiple of eight by padding that the mask hides: what is repeated is cut
off again, and what is hidden is read by nothing. Another number of prompts then runs what is compiled already. On a GPU
each shape becomes one CUDA graph.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..encoders.features import TextFeatures
from ..errors import LitetextError
from . import decode

if TYPE_CHECKING:
    from .checkpoint import Detector

_TOKENS = 8


@dataclass(frozen=True, slots=True, eq=False)
class CompiledDetector:
    """`decode.encode_images` and `decode.detect` of one detector, compiled when they first see a shape.

    Attributes:
        detector: whose modules are run.
        vision: what `torch.compile` made of the first.
        prompts: what it made of the second.
    """

    detector: Detector
    vision: Callable[..., decode.FeaturePyramid]
    prompts: Callable[..., decode.DetectorOutput]

    @classmethod
    def of(cls, detector: Detector, compiler: Any = "inductor") -> CompiledDetector:
        """Return a detector's functions for ``compiler``, a backend of `torch.compile`.

        Raises:
            LitetextError: what ``inductor``, the default, compiles with is not here.
        """
        if compiler == "inductor":
            _check_compiler(detector.device)
        options: dict[str, Any] = {"dynamic": False, "backend": compiler}
        if compiler == "inductor" and detector.device.type == "cuda":
            options["mode"] = "reduce-overhead"  # CUDA graphs
        return cls(detector, torch.compile(decode.encode_images, **options), torch.compile(decode.detect, **options))

    def encode_images(self, pixels: Tensor, *, keep_trunk: bool) -> decode.FeaturePyramid:
        """Return what `decode.encode_images` returns."""
        count = len(pixels)
        pyramid = self.vision(self.detector, _repeated(pixels, _room(count)), keep_trunk=keep_trunk)
        return decode.FeaturePyramid(
            tuple(self._kept(level[:count]) for level in pyramid.maps),
            tuple(self._kept(level[:count]) for level in pyramid.positions),
            *(
                None if one is None else self._kept(one[:count])
                for one in (pyramid.cls_token, pyramid.attended, pyramid.trunk)
            ),
        )

    def detect(
        self, pyramid: decode.FeaturePyramid, text: TextFeatures[Tensor], geometry: Tensor | None
    ) -> decode.DetectorOutput:
        """Return what `decode.detect` returns; prompts have more padding behind them."""
        count = len(text.tokens)
        geometry = pyramid.cls_token if geometry is None else geometry
        text = decode.with_geometry(text, None if geometry is None else geometry.expand(count, -1, -1))
        missing = -text.tokens.shape[1] % _TOKENS
        tokens, mask = pad(text.tokens, (0, 0, 0, missing)), pad(text.mask, (0, missing), value=True)
        # Of the image only what the detector reads, and nothing behind the tokens: it is there already
        read = replace(pyramid, maps=pyramid.maps[-1:], positions=pyramid.positions[-1:], cls_token=None, trunk=None)
        padded = TextFeatures(_repeated(tokens, _room(count)), _repeated(mask, _room(count)))
        found = self.prompts(self.detector, read, padded)
        return decode.DetectorOutput(
            **{field.name: self._kept(getattr(found, field.name)[:count]) for field in fields(found)}
        )

    def _kept(self, tensor: Tensor) -> Tensor:
        """A result that stays as it is: the next run of a CUDA graph writes over its own."""
        return tensor.clone() if tensor.device.type == "cuda" else tensor


def _check_compiler(device: torch.device) -> None:
    compilers = (os.environ.get("CXX"), "g++", "clang++")
    if device.type == "cuda" and find_spec("triton") is None:
        raise LitetextError(
            "compiling for a GPU needs Triton, which is not here: pip install triton, or do not compile"
        )
    if not any(name and shutil.which(name) for name in compilers):
        raise LitetextError("compiling needs a C++ compiler, which is not here: install g++, or do not compile")


def _room(count: int) -> int:
    """The next power of two."""
    return 1 << (count - 1).bit_length()


def _repeated(rows: Tensor, count: int) -> Tensor:
    """``rows`` with the last one repeated until there are ``count``."""
    return torch.cat([rows, rows[-1:].expand(count - len(rows), *rows.shape[1:])]) if count > len(rows) else rows
