"""Corpora of noun phrases: read from files or the hub, normalise, de-duplicate, split, permute.

The lowest package: plain strings in, plain strings out; no tokens, no encoders.
"""

from .corpus import Duplicates, PromptCorpus, corpus_of, read_corpus
from .permute import permute_words
from .phrases import MERGES, article_free, normalise, stem
from .readers import read_prompts
from .split import Split, split_by_stem

__all__ = [
    "MERGES",
    "Duplicates",
    "PromptCorpus",
    "Split",
    "article_free",
    "corpus_of",
    "normalise",
    "permute_words",
    "read_corpus",
    "read_prompts",
    "split_by_stem",
    "stem",
]
