"""Results: masks as run lengths, what was found in an image or a video, and the file formats they come and go in."""

from __future__ import annotations

from .annotations import ImageAnnotations
from .instances import Instance, Instances
from .masklets import FrameResult, Masklets
from .masks import Masks

__all__ = ["FrameResult", "ImageAnnotations", "Instance", "Instances", "Masklets", "Masks"]
