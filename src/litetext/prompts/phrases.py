"""What makes two noun phrases the same, nearly the same, or the same concept.

Three widening circles: equal after white space (`normalise`, always merged), equal but for case or a leading
article (`MERGES`, counted, merged on request), and one concept in another form (`stem`, kept on one side of
a train/test split).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import reduce

from ..errors import choice_error

_ARTICLE = re.compile(r"^(?:a|an|the) (?=\S)", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+")


def normalise(phrase: str) -> str:
    """Return ``phrase`` stripped, every run of white space one blank; nothing else is changed."""
    return " ".join(phrase.split())


def article_free(phrase: str) -> str:
    """Return a normalised phrase without its leading "a", "an" or "the" (a lone article stays)."""
    return _ARTICLE.sub("", phrase)


MERGES: dict[str, Callable[[str], str]] = {"case": str.casefold, "article": article_free}
"""The differences that can be merged away: name -> the key under which phrases count as one."""


def merge_key(merges: Iterable[str]) -> Callable[[str], str]:
    """Return the key under which phrases are one when all of ``merges`` (names in `MERGES`) are merged.

    Raises:
        LitetextError: for a name that is not in `MERGES`.
    """
    keys = []
    for name in merges:
        if name not in MERGES:
            raise choice_error("merge", name, tuple(MERGES))
        keys.append(MERGES[name])
    return lambda phrase: reduce(lambda text, key: key(text), keys, phrase)


def stem(phrase: str) -> str:
    """Return the concept of a phrase: case, punctuation, leading article and plural endings taken away.

    "A Dog", "the dog" and "dogs" share the stem "dog"; so no form of a concept seen in training is met in the
    test. Plurals are cut by Harman's S-stemmer (1991), which never touches a word of three letters or fewer
    nor endings in "us" and "ss". A phrase of punctuation alone is its own stem.
    """
    words = [_singular(word) for word in _WORD.findall(article_free(phrase.casefold()))]
    return " ".join(words) or phrase


def _singular(word: str) -> str:
    if len(word) <= 3 or not word.endswith("s"):
        return word
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return word[:-3] + "y"
    if word.endswith("es") and not word.endswith(("aes", "ees", "oes")):
        return word[:-1]
    return word if word.endswith(("us", "ss")) else word[:-1]
