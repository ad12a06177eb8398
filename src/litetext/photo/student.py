"""The text encoder of `photo` that ships: a student of MiniLM and projector on CLIP's tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from ..distill import LossWeights, TargetStore, TrainConfig, TrainResult, prepare, train
from ..distill.student import fitted, fresh_student, student_vocabulary
from ..encoders.checkpoints import save_encoder
from ..encoders.config import EncoderConfig
from ..mini.art import COLORS
from ..progress import Progress, no_progress
from ..tokenizer import Tokenizer
from ..training.trainer import TrainReport
from .concepts import Concepts, plural
from .imagenet import label_names, label_senses
from .questions import PLACES, SIZES
from .teacher import CONTEXT, PhotoTeacher

ROWS = 9000
SHAPE = EncoderConfig("photo-student", 128, 4, 512, 4, vocab_size=ROWS, position_rows=CONTEXT, output_dim=64)


def phrases(concepts: Concepts, seed: int = 0, nouns: int = 16_000, described: int = 16_000) -> list[str]:
    """Return what a student learns from.

    That is every word training uses, ImageNet's names, thousands of WordNet's nouns, and those with articles, colors,
    sizes and places.

    Args:
        concepts: what `photo` is trained to find.
        seed: of what is drawn.
        nouns: physical things from WordNet, at most.
        described: phrases with more than a noun.
    """
    rng = np.random.default_rng(seed)
    wordnet, labels = concepts.wordnet, label_names()
    ours = [word for concept in concepts.all for word in concept.words]
    senses = [sense for sense in label_senses(wordnet, labels) if sense is not None]
    known = [*labels, *(word for sense in senses for word in wordnet.synsets[sense].words[:3])]
    thing = {wordnet.sense("physical object").offset, wordnet.sense("food").offset}
    others = [
        word
        for word, offsets in wordnet.senses.items()
        if word.replace(" ", "").isalpha() and word.count(" ") < 2 and thing & set(wordnet.ancestors(offsets[0]))
    ]
    others = [others[index] for index in rng.permutation(len(others))[:nouns]]
    found = [*ours, *known, *map(plural, ours), *map(plural, known), *others, *map(plural, others[: nouns // 4])]
    for _ in range(described):
        word = str(rng.choice(ours if rng.random() < 0.7 else known))
        found.append(_described(plural(word) if rng.random() < 0.3 else word, rng))
    return list(dict.fromkeys(found))


def _described(word: str, rng: np.random.Generator) -> str:
    """Return a noun with an article, a colour, a size or a place."""
    article = str(rng.choice(["", "a ", "the ", "all ", "every "], p=[0.4, 0.2, 0.3, 0.05, 0.05]))
    kind = rng.random()
    if kind < 0.45:
        return f"{article}{rng.choice(COLORS)} {word}"
    if kind < 0.6:
        return f"{article}{rng.choice([form for forms in SIZES.values() for form in forms])} {word}"
    if kind < 0.75:
        return f"{article}{word} {rng.choice(list(PLACES.values()))}"
    return f"{article or 'the '}{word}"


def distill(
    teacher: PhotoTeacher,
    prompts: Iterable[str],
    out: Path,
    *,
    steps: int = 8000,
    seed: int = 0,
    resume: bool = True,
    on_report: Callable[[TrainReport], None] | None = None,
    progress: Progress = no_progress,
) -> TrainResult:
    """Distil a student in ``out`` and write it to ``out/student``, which an earlier one makes room for."""
    listed, tokenizer = list(prompts), Tokenizer()
    teacher.learn_spelling(listed)
    vocabulary = student_vocabulary(tokenizer, listed, ROWS)
    config = fitted(
        SHAPE, output_dim=teacher.dim, vocab_size=vocabulary.vocab_size, context_length=teacher.context_length
    )
    student = fresh_student(config, seed)
    prepared = prepare(
        listed, tokenizer, vocabulary, TargetStore(out / "targets", teacher), CONTEXT, held_out=0.03, progress=progress
    )
    settings = TrainConfig(
        steps=steps, batch_size=128, losses=LossWeights(1.0, 2.0, 0.0, 0.0, 0.0), seed=seed, pad_id=0, pad_to=None
    )
    result = train(
        student, prepared.train, settings, held_out=prepared.held_out, out=out, resume=resume, on_report=on_report
    )
    save_encoder(student.cpu().half(), vocabulary, out / "student", overwrite=True)
    return result
