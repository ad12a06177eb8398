"""What annotation files say of one image, whatever their format."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .masks import Masks
from .rle import Size


@dataclass(frozen=True, slots=True, eq=False)
class ImageAnnotations:
    """The N objects of one image and the categories that were looked for, as every module of `formats` takes them.

    Attributes:
        file_name: of the image.
        size: height and width of the image in pixels.
        categories: names, of objects that are there or not; one that occurs twice is one category.
        category_index: [N] int64, row of ``categories`` of each object.
        boxes: [N, 4] float32, x1, y1, x2, y2 in pixels.
        masks: N masks of ``size``.
        scores: [N] float32 in 0..1, or None where people drew the objects.
    """

    file_name: str
    size: Size
    categories: tuple[str, ...]
    category_index: NDArray[np.int64]
    boxes: NDArray[np.float32]
    masks: Masks
    scores: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.category_index)

    @property
    def labels(self) -> list[str]:
        """The category of each object."""
        return [self.categories[index] for index in self.category_index.tolist()]

    @property
    def xywh(self) -> NDArray[np.float64]:
        """[N, 4] the boxes as x, y, width, height in pixels."""
        corners = self.boxes.astype(np.float64)
        return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
