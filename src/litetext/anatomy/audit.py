"""All questions asked of one corpus and any number of encoders: the study from end to end, as one value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import LitetextError
from ..prompts import PromptCorpus
from ..tokenizer import Tokenizer
from .context import DEFAULT_WINDOWS, ContextWindow, context_window
from .embedding import TokenEmbedding, token_embedding
from .manifold import DEFAULT_SAMPLE, Manifold, manifold
from .positions import Positions, positions
from .recipe import TRUNCATION_BOUND, Recipe, recommend
from .subject import Subject
from .tokens import TokenTable, tokenize
from .vocabulary import Vocabulary, vocabulary, with_words

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class EncoderStudy:
    """Questions 3 to 5 (and those beyond that apply) answered for one encoder; None where one does not apply."""

    name: str
    token_embedding: TokenEmbedding
    positions: Positions | None
    manifold: Manifold


@dataclass(frozen=True, slots=True)
class Audit:
    """The study of a corpus.

    Attributes:
        corpus: the prompts.
        tokenizer: whose tokens were counted.
        context: question 1.
        vocabulary: question 2.
        encoders: questions 3 and up, an entry an encoder, in the order asked for.
        recipe: what it all recommends.
        sample, seed: prompts encoded for questions 5 and up, and the seed they were drawn with.
    """

    corpus: PromptCorpus
    tokenizer: str
    context: ContextWindow
    vocabulary: Vocabulary
    encoders: list[EncoderStudy]
    recipe: Recipe
    sample: int
    seed: int


def audit(
    corpus: PromptCorpus,
    subjects: Sequence[Subject] = (),
    *,
    windows: Sequence[int] = DEFAULT_WINDOWS,
    sample: int = DEFAULT_SAMPLE,
    seed: int = 0,
    truncation_bound: float = TRUNCATION_BOUND,
    on_progress: Progress | None = None,
) -> Audit:
    """Answer every question that applies.

    Args:
        corpus: the prompts.
        subjects: encoders to study. The first one's tokenizer is used for questions 1 and 2; without any, CLIP's
            full vocabulary is.
        windows: context lengths to examine.
        sample: prompts encoded (drawn with ``seed``).
        truncation_bound: the share of prompts that the recommended context may cut.
        on_progress: see `Progress`.
    """
    if not 0 <= truncation_bound < 1:
        raise LitetextError(f"the truncation bound is {truncation_bound}; give a share from 0 to below 1")
    if sample < 4:
        raise LitetextError(f"the sample is {sample}; a manifold needs at least 4 prompts")
    tell = on_progress or (lambda what, done, total: None)
    tokenizer = subjects[0].tokenizer if subjects else Tokenizer()
    table = tokenize(corpus.phrases, tokenizer, lambda done: tell("tokenizing", done, len(corpus)))
    context = context_window(table.lengths, windows, {name: corpus.rows_of(name) for name in corpus.sources})
    words = with_words(vocabulary(table), corpus.phrases, tokenizer)
    studies = [_study(subject, corpus, table, subject is subjects[0], sample, seed, tell) for subject in subjects]
    return Audit(
        corpus=corpus,
        tokenizer=f"the tokenizer of {subjects[0].name}" if subjects else "CLIP's byte-level BPE",
        context=context,
        vocabulary=words,
        encoders=studies,
        recipe=recommend(table, studies, truncation_bound=truncation_bound),
        sample=min(sample, len(corpus)),
        seed=seed,
    )


def _study(
    subject: Subject, corpus: PromptCorpus, table: TokenTable, owns_table: bool, sample: int, seed: int, tell: Progress
) -> EncoderStudy:
    """Answer questions 3 to 5 for one encoder."""
    if not owns_table:
        table = tokenize(corpus.phrases, subject.tokenizer)
    prompts = corpus.sample(sample, seed)
    tell(f"{subject.name}: embedding", 0, 1)
    embedding = token_embedding(subject.embedding, np.unique(table.ids))
    rows = None if subject.positions is None else positions(subject.positions[: max(DEFAULT_WINDOWS)])
    tell(f"{subject.name}: embedding", 1, 1)
    features = subject.features(prompts, lambda done: tell(f"{subject.name}: encoding", done, len(prompts)))
    tell(f"{subject.name}: manifold", 0, 1)
    shape = manifold(features, sample=sample, seed=seed)
    tell(f"{subject.name}: manifold", 1, 1)
    return EncoderStudy(subject.name, embedding, rows, shape)
