"""All questions asked of one corpus and any number of encoders: the study from end to end, as one value."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ..errors import LitetextError
from ..progress import Progress, described, no_progress
from ..prompts import PromptCorpus
from ..tokenizer import Tokenizer
from .context import DEFAULT_WINDOWS, ContextWindow, context_window
from .convention import convention_gap
from .embedding import token_embedding
from .gallery import Gallery
from .manifold import DEFAULT_SAMPLE, manifold
from .order import SYNONYMS, OrderSensitivity, edits_of, order_sensitivity
from .positions import positions
from .recipe import TRUNCATION_BOUND, Recipe, recommend
from .robustness import robustness
from .study import EncoderStudy
from .subject import Subject
from .tokens import TokenTable, tokenize
from .vocabulary import Vocabulary, vocabulary, with_words

_CONVENTION_SAMPLE = 500


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
    gallery: Gallery | None = None,
    synonyms: Sequence[tuple[str, ...]] = SYNONYMS,
    progress: Progress = no_progress,
) -> Audit:
    """Answer every question that applies.

    Args:
        corpus: the prompts.
        subjects: encoders to study. The first one's tokenizer is used for questions 1 and 2; without any, CLIP's
            full vocabulary is.
        windows: context lengths to examine.
        sample: prompts encoded.
        seed: of everything that is drawn.
        truncation_bound: the share of prompts that the recommended context may cut.
        gallery: pictures and a segmenter, for what errors and edits do to masks.
        synonyms: groups of nouns of one meaning, for order sensitivity.
        progress: its descriptions say what is being done.
    """
    if not 0 <= truncation_bound < 1:
        raise LitetextError(f"the truncation bound is {truncation_bound}; give a share from 0 to below 1")
    if sample < 4:
        raise LitetextError(f"the sample is {sample}; a manifold needs at least 4 prompts")
    tokenizer = subjects[0].tokenizer if subjects else Tokenizer()
    table = tokenize(corpus.phrases, tokenizer, described(progress, "tokenizing"))
    context = context_window(table.ids.lengths, windows, {name: corpus.rows_of(name) for name in corpus.sources})
    words = with_words(vocabulary(table), corpus.phrases, tokenizer)
    studies = []
    for subject in subjects:
        own = table if subject is subjects[0] else tokenize(corpus.phrases, subject.tokenizer)
        studies.append(_Student(subject, corpus, sample, seed, progress).study(own, gallery, synonyms))
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


@dataclass(frozen=True, slots=True)
class _Student:
    """Asks one encoder everything."""

    subject: Subject
    corpus: PromptCorpus
    sample: int
    seed: int
    progress: Progress

    def study(self, table: TokenTable, gallery: Gallery | None, synonyms: Sequence[tuple[str, ...]]) -> EncoderStudy:
        subject = self.subject
        with self._doing("embedding and positions"):
            embedding = token_embedding(subject.embedding, np.unique(table.ids.values))
            rows = None if subject.positions is None else positions(subject.positions[: max(DEFAULT_WINDOWS)])
        prompts = self.corpus.sample(self.sample, self.seed)
        features = subject.features(prompts, described(self.progress, f"{subject.name}: encoding"))
        with self._doing("manifold"):
            shape = manifold(features, sample=self.sample, seed=self.seed)
        if gallery is not None and gallery.dim != features.values.shape[1]:
            gallery = None  # another segmenter's encoder: its features mean nothing there
        with self._doing("robustness"):
            robust = robustness(gallery.detector, subject.encoder, gallery.scenes, seed=self.seed) if gallery else None
        with self._doing("word order"):
            order = self._order(gallery, synonyms)
        with self._doing("convention"):
            gap = convention_gap(subject, self.corpus.sample(_CONVENTION_SAMPLE, self.seed))
        config = subject.module.config if subject.module is not None else None
        return EncoderStudy(subject.name, config, embedding, rows, shape, robust, order, gap)

    def _order(self, gallery: Gallery | None, synonyms: Sequence[tuple[str, ...]]) -> OrderSensitivity | None:
        shuffled = self.corpus.sample(len(self.corpus), self.seed)
        random.Random(self.seed).shuffle(shuffled)
        edits = edits_of(shuffled, synonyms, seed=self.seed)
        if len(edits.original) < 2:
            return None
        scenes = [(scene, edits_of(scene.phrases, synonyms)) for scene in gallery.scenes] if gallery else []
        return order_sensitivity(
            self.subject.features,
            edits,
            encoder=self.subject.encoder,
            scenes=[pair for pair in scenes if pair[1].original],
        )

    @contextmanager
    def _doing(self, what: str) -> Iterator[None]:
        self.progress(0, 1, f"{self.subject.name}: {what}")
        yield
        self.progress(1, 1, f"{self.subject.name}: {what}")
