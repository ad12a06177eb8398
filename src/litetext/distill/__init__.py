"""Distillation: a teacher's features on disk, a student, losses, and a trainer for one CPU or many GPUs.

Importing this package is light; the names below are looked up, torch with them, when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .config import LossWeights, TrainConfig
    from .examples import Examples
    from .losses import Downstream, ReadBy
    from .metrics import EvalMetrics, measure
    from .permute import PermutationMode, chunks_of
    from .preparation import Prepared, examples_of, prepare, prompt_ids
    from .student import (
        fitted,
        fresh_student,
        load_student,
        student_config,
        student_vocabulary,
        take_embedding,
    )
    from .targets import EncoderTeacher, StoredTargets, Targets, TargetStore, Teacher
    from .trainer import TrainResult, train

_NAMES = {
    "config": ("LossWeights", "TrainConfig"),
    "examples": ("Examples",),
    "losses": ("Downstream", "ReadBy"),
    "metrics": ("EvalMetrics", "measure"),
    "permute": ("PermutationMode", "chunks_of"),
    "preparation": ("Prepared", "examples_of", "prepare", "prompt_ids"),
    "student": (
        "fitted",
        "fresh_student",
        "load_student",
        "student_config",
        "student_vocabulary",
        "take_embedding",
    ),
    "targets": ("EncoderTeacher", "StoredTargets", "TargetStore", "Targets", "Teacher"),
    "trainer": ("TrainResult", "train"),
}
_HOMES = {name: f".{module}" for module, names in _NAMES.items() for name in names}

__all__ = [
    "Downstream",
    "EncoderTeacher",
    "EvalMetrics",
    "Examples",
    "LossWeights",
    "PermutationMode",
    "Prepared",
    "ReadBy",
    "StoredTargets",
    "TargetStore",
    "Targets",
    "Teacher",
    "TrainConfig",
    "TrainResult",
    "chunks_of",
    "examples_of",
    "fitted",
    "fresh_student",
    "load_student",
    "measure",
    "prepare",
    "prompt_ids",
    "student_config",
    "student_vocabulary",
    "take_embedding",
    "train",
]


__getattr__ = lazy_names(__name__, _HOMES)
