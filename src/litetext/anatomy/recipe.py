"""What the figures recommend for a student encoder, with the reasons, as a ``recipe.toml`` that distillation takes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..encoders.config import PRESETS, Convention, EncoderConfig, check_student_context
from .context import smallest_window, window_of
from .tokens import TokenTable

if TYPE_CHECKING:
    from .study import EncoderStudy

TRUNCATION_BOUND = 0.01
PROMPT_COVERAGE = 0.999
FEW_PROMPTS = 1_000
"""Below so many prompts a recipe says that it is drawn from few."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A student's shape and the reason for each choice.

    Attributes:
        student: the configuration recommended; ``vocab_size`` counts the rows to keep.
        reasons: choice -> one sentence.
        warnings: sentences about what the recipe cannot be trusted for.
    """

    student: EncoderConfig
    reasons: dict[str, str]
    warnings: tuple[str, ...] = ()

    def to_toml(self) -> str:
        """Return the recipe as TOML; the table ``student`` holds the fields of `litetext.encoders.EncoderConfig`."""
        student = self.student.to_dict()
        convention = student.pop("convention")
        lines = ["# Written by `litetext audit`; `litetext distill --student recipe.toml` takes it as it is."]
        lines += [*(f"# Warning: {warning}." for warning in self.warnings), ""]
        for title, table in (("student", student), ("student.convention", convention), ("reasons", self.reasons)):
            lines += [
                f"[{title}]",
                *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()),
                "",
            ]
        return "\n".join(lines)


def recommend(
    table: TokenTable, studies: Sequence[EncoderStudy] = (), *, truncation_bound: float = TRUNCATION_BOUND
) -> Recipe:
    """Return the student that these prompts, and the encoder studied first, call for.

    Distillation takes it with that encoder as the teacher: it reads no longer prompts, has no token that the encoder
    lacks, and is smaller.

    Args:
        table: the tokens of all prompts.
        studies: what was found out about encoders; the first is taken as the teacher.
        truncation_bound: the share of prompts that may be cut.
    """
    teacher = studies[0].config if studies else None
    context, context_reason = _context(table, truncation_bound, teacher)
    rows, kept = vocabulary_rows(table, PROMPT_COVERAGE)
    shape, shape_reason = _shape(studies, rows, context)
    student = replace(shape, variant=f"{shape.variant}-recipe")
    if teacher is not None:
        check_student_context(student, teacher)
    reasons = {
        "context_length": context_reason,
        "vocab_size": (
            f"{rows:,} of {table.vocab_size:,} rows hold every token of {PROMPT_COVERAGE:.1%} of the prompts"
            f" ({kept:,} by frequency; {rows - kept:,} are kept in any case: "
            + ("byte symbols, " if table.byte_rows else "")
            + "SOT and EOT)"
            + "; the rest is spelled in smaller pieces"
        ),
        "shape": shape_reason,
        "mask_padding": "padding hidden from attention and convolution, so that only real tokens need to be run",
    }
    count, warnings = len(table.ids), []
    if count < FEW_PROMPTS:
        warnings.append(
            f"{count:,} prompts are few: the vocabulary and the context fit these and perhaps no others; "
            f"give {FEW_PROMPTS:,} or more"
        )
    return Recipe(student, reasons, tuple(warnings))


def _context(table: TokenTable, truncation_bound: float, teacher: EncoderConfig | None) -> tuple[int, str]:
    """The smallest context that cuts few enough prompts, but no longer than the teacher's; and why."""
    wanted = smallest_window(table.ids.lengths, truncation_bound)
    longest = teacher.convention.context_length if teacher is not None else wanted
    context = min(wanted, longest)
    cut = window_of(table.ids.lengths, context)
    cost = f"it cuts {cut.truncation_rate:.2%} of them and loses {cut.token_loss:.3%} of the tokens"
    if wanted > longest:
        return context, (
            f"{context} is the context of the encoder itself, which a student of it cannot exceed; at most "
            f"{truncation_bound:.1%} of the prompts would be cut from {wanted} on: {cost}"
        )
    return context, f"{context} is the smallest context that cuts at most {truncation_bound:.1%} of the prompts: {cost}"


def vocabulary_rows(table: TokenTable, coverage: float) -> tuple[int, int]:
    """Return the rows that hold ``coverage`` of the prompts whole, and how many of them were chosen by frequency.

    The others, SOT, EOT and the byte symbols of CLIP's vocabulary, are kept in any case, as a pruned vocabulary does.
    """
    counts = np.bincount(table.ids.values, minlength=table.vocab_size)
    always = np.zeros(table.vocab_size, bool)
    always[list(table.special_ids)] = True
    always[: table.byte_rows] = True
    order = np.argsort(np.where(always, -np.inf, -counts), kind="stable")
    rank = np.empty(table.vocab_size, np.int64)
    rank[order] = np.arange(table.vocab_size)
    needed = np.maximum.reduceat(rank[table.ids.values], table.ids.offsets[:-1]) + 1
    rows = max(int(np.quantile(needed, coverage, method="inverted_cdf")), int(always.sum()))
    return rows, rows - int(always.sum())


def _shape(studies: Sequence[EncoderStudy], rows: int, context: int) -> tuple[EncoderConfig, str]:
    """The smallest shape as wide as the teacher's features need, and why; S0 where no teacher was studied."""
    output_dim = studies[0].manifold.tokens.spectrum.dimensions if studies else PRESETS["s0"].output_dim
    convention = Convention(context, 0, "everywhere", "slice")
    fitted = [
        replace(
            shape,
            vocab_size=rows,
            position_rows=context,
            unused_projection=0,
            output_dim=output_dim,
            convention=convention,
        )
        for shape in PRESETS.values()
        if not shape.causal
    ]
    students = sorted(fitted, key=EncoderConfig.live_parameters)
    if not studies:
        return next(shape for shape in students if shape.variant == "s0"), (
            "s0, the smallest published student (the paper: 95.9 % of the teacher's cgF1); name the teacher with "
            "--encoder to have the shape measured"
        )
    study = studies[0]
    needed = study.manifold.tokens.spectrum.dimensions_95
    variance = (
        f"the {needed} dimensions that hold 95 % of the variance of {study.name}'s token features ({output_dim} wide)"
    )
    size = study.config.live_parameters() if study.config is not None else math.inf
    smaller = [shape for shape in students if shape.live_parameters() < size]
    if not smaller:
        shape = _narrowed(students[0], size)
        return shape, (
            f"{shape.layers} layers of width {shape.width}: {students[0].variant} with fewer channels, since no preset "
            f"is smaller than {study.name} ({size:,} parameters)"
        )
    wide = [shape for shape in smaller if shape.width >= needed]
    shape = wide[0] if wide else max(smaller, key=lambda shape: shape.width)
    named = f"{shape.variant} ({shape.layers} layers of width {shape.width})"
    if not wide:
        return shape, f"{named} is the widest preset that is smaller than {study.name}; it is narrower than {variance}"
    return shape, f"{named} is the smallest preset at least as wide as {variance}"


def _narrowed(shape: EncoderConfig, size: float) -> EncoderConfig:
    """The shape with half its channels until it has fewer than ``size`` parameters, or four channels."""
    while shape.live_parameters() >= size and shape.width > 4:
        heads = max(1, shape.heads // 2)
        shape = replace(shape, width=shape.width // 2, heads=heads, ffn=max(1, shape.ffn // 2))
    return replace(shape, variant="narrow")
