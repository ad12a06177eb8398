"""A function for CVAT's auto-annotation: ``cvat-cli task auto-annotate ID --function-module litetext.cvat -p …``.

`create` makes it, of a model here; ``pip install cvat-sdk`` brings what it needs of CVAT.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import LitetextError, choice_error

if TYPE_CHECKING:
    from PIL import Image

    from .segment import Segmenter

_SHAPES = ("mask", "polygon", "rectangle")


class CvatFunction:
    """Finds the instances of some labels in CVAT's images.

    Args:
        segmenter: that finds them.
        labels: noun phrases; CVAT's labels must have these names.
        shape: of annotations: ``"mask"``, ``"polygon"`` or ``"rectangle"``.
        threshold: lowest score, where CVAT's user gives none.

    Raises:
        LitetextError: no label, or another shape.
    """

    def __init__(self, segmenter: Segmenter, labels: Sequence[str], shape: str, threshold: float) -> None:
        if shape not in _SHAPES:
            raise choice_error("shape", shape, _SHAPES)
        if not labels:
            raise LitetextError("CVAT's function needs labels: -p labels=str:dog,cat")
        self._segmenter = segmenter.freeze(labels)
        self._labels, self._shape, self._threshold = list(labels), shape, threshold

    @property
    def spec(self) -> Any:
        """What it annotates, as ``cvat_sdk.auto_annotation.DetectionFunctionSpec``."""
        import cvat_sdk.auto_annotation as cvat

        return cvat.DetectionFunctionSpec(
            labels=[cvat.label_spec(label, row, type=self._shape) for row, label in enumerate(self._labels)]
        )

    def detect(self, context: Any, image: Image.Image) -> list[Any]:
        """Return the shapes of what is found in an image.

        Args:
            context: from CVAT; its ``conf_threshold`` and ``conv_mask_to_poly`` are followed.
            image: of the frame.
        """
        asked = getattr(context, "conf_threshold", None)
        found = self._segmenter.segment(image, self._labels, threshold=self._threshold if asked is None else asked)
        as_polygon = self._shape == "polygon" or (self._shape == "mask" and bool(context.conv_mask_to_poly))
        shapes: list[Any] = []
        for row, label in enumerate(found.prompt_index.tolist()):
            mask = found.masks[[row]]
            if mask.areas[0]:
                shapes += _polygons(label, mask) if as_polygon else [_shape(self._shape, label, mask)]
        return shapes


def create(model: str = "mini", labels: str = "", shape: str = "mask", threshold: float = 0.5) -> CvatFunction:
    """Return the function, as ``cvat-cli`` asks for it.

    Args:
        model: what `litetext.Segmenter.from_pretrained` takes.
        labels: separated by commas.
        shape: ``"mask"``, ``"polygon"`` or ``"rectangle"``.
        threshold: lowest score.

    Raises:
        LitetextError: as `CvatFunction`, or as `litetext.Segmenter.from_pretrained`.
    """
    from .segment import Segmenter

    named = [label.strip() for label in labels.split(",") if label.strip()]
    return CvatFunction(Segmenter.from_pretrained(model), named, shape, threshold)


def _polygons(label: int, mask: Any) -> list[Any]:
    """A polygon for each part of a mask."""
    import cvat_sdk.auto_annotation as cvat

    (parts,) = mask.to_polygons(0.7)
    return [cvat.polygon(label, part.ravel().tolist()) for part in parts if len(part) > 2]


def _shape(shape: str, label: int, mask: Any) -> Any:
    import cvat_sdk.auto_annotation as cvat
    from cvat_sdk.masks import encode_mask

    if shape == "rectangle":
        return cvat.rectangle(label, mask.boxes[0].tolist())
    return cvat.mask(label, encode_mask(np.asarray(mask[0])))
