"""Labelling in bulk: many images and a list of concepts in, datasets with a stated precision out."""

from __future__ import annotations

from .concepts import Concept, Example, read_concepts
from .job import Job, Outcome, Settings

__all__ = ["Concept", "Example", "Job", "Outcome", "Settings", "read_concepts"]
