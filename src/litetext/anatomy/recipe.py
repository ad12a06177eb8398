"""What the figures recommend for a student encoder, with the reasons, as a ``recipe.toml`` that distillation takes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..encoders.config import PRESETS, Convention, EncoderConfig
from .context import smallest_window, window_of
from .tokens import TokenTable

if TYPE_CHECKING:
    from .study import EncoderStudy

TRUNCATION_BOUND = 0.01
PROMPT_COVERAGE = 0.999
_CLIP_BYTES = 512  # rows of CLIP's vocabulary for single bytes: kept always, so that every string still encodes
_CLIP_SIZE = 49_408


@dataclass(frozen=True, slots=True)
class Recipe:
    """A student's shape and the reason for each choice.

    Attributes:
        student: the configuration recommended; ``vocab_size`` counts the rows to keep.
        reasons: choice -> one sentence.
    """

    student: EncoderConfig
    reasons: dict[str, str]

    def to_toml(self) -> str:
        """Return the recipe as TOML; the table ``student`` holds the fields of `litetext.encoders.EncoderConfig`."""
        student = self.student.to_dict()
        convention = student.pop("convention")
        lines = ["# Written by `litetext audit`; `litetext distill --student recipe.toml` takes it as it is.", ""]
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

    Args:
        table: the tokens of all prompts.
        studies: what was found out about encoders; the first is taken as the teacher.
        truncation_bound: the share of prompts that may be cut.
    """
    context = smallest_window(table.ids.lengths, truncation_bound)
    cut = window_of(table.ids.lengths, context)
    rows, kept = vocabulary_rows(table, PROMPT_COVERAGE)
    shape, shape_reason = _shape(studies)
    student = replace(
        shape, variant=f"{shape.variant}-recipe", vocab_size=rows, position_rows=context, unused_projection=0,
        convention=Convention(context, 0, "everywhere", "slice"),
    )  # fmt: skip
    reasons = {
        "context_length": (
            f"{context} is the smallest context that cuts at most {truncation_bound:.1%} of the prompts: it cuts "
            f"{cut.truncation_rate:.2%} of them and loses {cut.token_loss:.3%} of the tokens"
        ),
        "vocab_size": (
            f"{rows:,} of {table.vocab_size:,} rows hold every token of {PROMPT_COVERAGE:.1%} of the prompts"
            f" ({kept:,} by frequency; {rows - kept:,} are kept in any case: "
            + ("byte symbols, " if rows - kept > len(table.special_ids) else "")
            + "SOT and EOT)"
            + "; the rest is spelled in smaller pieces"
        ),
        "shape": shape_reason,
        "mask_padding": "padding hidden from attention and convolution, so that only real tokens need to be run",
    }
    return Recipe(student, reasons)


def vocabulary_rows(table: TokenTable, coverage: float) -> tuple[int, int]:
    """Return the rows that hold ``coverage`` of the prompts whole, and how many of them were chosen by frequency.

    The others, CLIP's byte symbols, SOT and EOT, are kept in any case.
    """
    counts = np.bincount(table.ids.values, minlength=table.vocab_size)
    always = np.zeros(table.vocab_size, bool)
    always[list(table.special_ids)] = True
    if table.vocab_size == _CLIP_SIZE:
        always[:_CLIP_BYTES] = True
    order = np.argsort(np.where(always, -np.inf, -counts), kind="stable")
    rank = np.empty(table.vocab_size, np.int64)
    rank[order] = np.arange(table.vocab_size)
    needed = np.maximum.reduceat(rank[table.ids.values], table.ids.offsets[:-1]) + 1
    rows = max(int(np.quantile(needed, coverage, method="inverted_cdf")), int(always.sum()))
    return rows, rows - int(always.sum())


def _shape(studies: Sequence[EncoderStudy]) -> tuple[EncoderConfig, str]:
    """The smallest preset as wide as the teacher's features need; S0 where no teacher was studied."""
    students = sorted((shape for shape in PRESETS.values() if not shape.causal), key=EncoderConfig.live_parameters)
    if not studies:
        return PRESETS["s0"], (
            "s0, the smallest published student (the paper: 95.9 % of the teacher's cgF1); name the teacher with "
            "--encoder to have the shape measured"
        )
    study = studies[0]
    output = study.manifold.tokens.spectrum
    needed = output.dimensions_95
    shape = next((shape for shape in students if shape.width >= needed), students[-1])
    return replace(shape, output_dim=output.dimensions), (
        f"{shape.variant} ({shape.layers} layers of width {shape.width}) is the smallest preset at least as wide as "
        f"the {needed} dimensions that hold 95 % of the variance of {study.name}'s token features "
        f"({output.dimensions} wide)"
    )
