"""From prompts to examples: token ids cut to the student's context, the teacher's features of exactly those ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..errors import LitetextError
from ..progress import Progress, no_progress
from ..prompts import split_by_stem
from ..ragged import Ragged
from ..tokenizer import Tokenizer, clean
from ..training.processes import Processes
from .examples import Examples
from .permute import PermutationMode, chunks_of
from .targets import Targets, TargetStore

IN_MEMORY = 4 << 30
"""Bytes of targets that are read into memory; more stay on disk and are memory-mapped."""


class BatchTokenizer(Protocol):
    """A tokenizer: prompts to ids with start and end tokens, neither padded nor cut."""

    def encode_batch(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return the ids of every prompt."""
        ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a run trains on and is held to.

    Attributes:
        train, held_out: no concept (stem) is in both; ``held_out`` is None where no share was asked for.
        unlike: prompts left out because the student's smaller vocabulary spells them otherwise than the teacher's.
    """

    train: Examples
    held_out: Examples | None
    unlike: int


def prompt_ids(prompts: Sequence[str], tokenizer: BatchTokenizer, context_length: int) -> Ragged:
    """Return the ids of prompts, each cut to ``context_length`` with its end token kept last."""
    if context_length < 2:
        raise LitetextError(f"context_length {context_length} has no room for start and end; give 2 or more")
    encoded = tokenizer.encode_batch(list(prompts))
    return Ragged.of([ids if len(ids) <= context_length else [*ids[: context_length - 1], ids[-1]] for ids in encoded])


def examples_of(
    prompts: Sequence[str],
    tokenizer: BatchTokenizer,
    store: TargetStore,
    context_length: int,
    *,
    mode: PermutationMode = "words",
    processes: Processes | None = None,
    progress: Progress = no_progress,
) -> Examples:
    """Return ids, targets and what may be permuted of ``prompts``; missing targets are computed and stored.

    Several processes share the computing; the targets are read into memory up to `IN_MEMORY`.
    """
    ids = prompt_ids(prompts, tokenizer, context_length)
    if processes is not None:
        store.fill(ids, part=(processes.rank, processes.count), progress=progress)
        processes.wait()
    stored = store.targets(ids, progress)
    targets: Targets = stored.load() if stored.nbytes <= IN_MEMORY else stored
    chunks = chunks_of([clean(prompt) for prompt in prompts], ids, tokenizer, mode)
    return Examples(ids, targets, chunks, store.teacher.digest)


def prepare(
    prompts: Sequence[str],
    teacher_tokenizer: Tokenizer,
    student_tokenizer: Tokenizer,
    store: TargetStore,
    context_length: int,
    *,
    held_out: float = 0.05,
    mode: PermutationMode = "words",
    split_seed: int = 0,
    processes: Processes | None = None,
    progress: Progress = no_progress,
) -> Prepared:
    """Split ``prompts`` by stem and return examples in the student's ids.

    Args:
        prompts: distinct noun phrases.
        teacher_tokenizer: the teacher's.
        student_tokenizer: the student's, whose tokens are a part of the teacher's; prompts that the two spell
            otherwise cannot be compared token by token and are left out.
        store: of the teacher's features.
        context_length: the student's.
        held_out: share of stems held out; 0 for none.
        mode: see `PermutationMode`.
        split_seed: another seed holds out others.
        processes: who shares the computing of targets.
        progress: see `TargetStore.fill`.

    Raises:
        LitetextError: no prompts, vocabularies that do not match, or a share that leaves nothing to learn from.
    """
    if not prompts:
        raise LitetextError("there are no prompts to learn from; give a file with one phrase a line")
    rows = student_tokenizer.rows_in(teacher_tokenizer)
    alike = _spelled_alike(prompts, teacher_tokenizer, student_tokenizer, rows, context_length)
    usable = [prompt for prompt, same in zip(prompts, alike, strict=True) if same]
    split = split_by_stem(usable, held_out, seed=split_seed)
    if not split.train:
        raise LitetextError(
            f"of {len(prompts)} prompts, {len(prompts) - len(usable)} are spelled otherwise by the student and "
            f"{len(split.test)} are held out, so none is left to learn from; give more prompts"
        )

    def examples(part: list[str]) -> Examples:
        of_teacher = examples_of(
            part, teacher_tokenizer, store, context_length, mode=mode, processes=processes, progress=progress
        )
        ids = prompt_ids(part, student_tokenizer, context_length)
        return Examples(ids, of_teacher.targets, of_teacher.chunks, of_teacher.teacher)

    return Prepared(examples(split.train), examples(split.test) if split.test else None, len(prompts) - len(usable))


def _spelled_alike(
    prompts: Sequence[str], teacher: Tokenizer, student: Tokenizer, rows: np.ndarray, context_length: int
) -> np.ndarray:
    """Return bool [N]: whether both tokenizers cut the prompt into the same tokens, as far as the context reaches."""
    theirs, ours = (prompt_ids(prompts, tokenizer, context_length) for tokenizer in (teacher, student))
    same: np.ndarray = theirs.lengths == ours.lengths
    comparable = np.flatnonzero(same)
    differs = theirs.take(comparable) != rows[ours.take(comparable)]
    owner = np.repeat(np.arange(len(comparable)), theirs.lengths[comparable])
    same[comparable] = np.bincount(owner, weights=differs, minlength=len(comparable)) == 0
    return same


__all__ = ["BatchTokenizer", "Prepared", "examples_of", "prepare", "prompt_ids"]
