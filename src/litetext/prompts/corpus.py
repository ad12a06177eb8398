"""A corpus: the distinct phrases of any number of files and sources, and where each was seen."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import LitetextError
from ..files import StrPath
from ..progress import Progress, no_progress
from .phrases import MERGES, merge_key, normalise
from .readers import READERS, read_phrases, read_prompt_lines
from .sources import SOURCES, stream_source


@dataclass(frozen=True, slots=True)
class Duplicates:
    """How many phrases repeat another one.

    Attributes:
        exact: lines removed because the same phrase (after white space) had come before.
        case: distinct phrases that equal an earlier one but for case; still there unless merged.
        article: distinct phrases that equal an earlier one but for a leading article; likewise.
        merged: phrases removed by ``merge``.
    """

    exact: int
    case: int
    article: int
    merged: int


@dataclass(frozen=True, slots=True)
class PromptCorpus:
    """N distinct phrases in the order of their first appearance.

    Attributes:
        phrases: the N phrases, normalised.
        sources: names of the S inputs.
        membership: N integers; bit s is set where the phrase occurs in ``sources[s]``.
        read: non-empty phrases read, duplicates included.
        duplicates: what was and what could be merged.
    """

    phrases: list[str]
    sources: list[str]
    membership: list[int]
    read: int
    duplicates: Duplicates

    def __len__(self) -> int:
        return len(self.phrases)

    def sources_of(self, index: int) -> list[str]:
        """The names of the sources in which phrase ``index`` occurs."""
        return [name for bit, name in enumerate(self.sources) if self.membership[index] >> bit & 1]

    def rows_of(self, source: str) -> np.ndarray:
        """The indices (int64, rising) of the phrases that occur in ``source``."""
        bit = 1 << self.sources.index(source)
        return np.flatnonzero(np.fromiter((bool(mask & bit) for mask in self.membership), bool, len(self)))

    def sample(self, size: int, seed: int = 0) -> list[str]:
        """``size`` distinct phrases drawn evenly and reproducibly (all of them, in order, where N <= size)."""
        if len(self) <= size:
            return list(self.phrases)
        rows = np.random.default_rng(seed).choice(len(self), size, replace=False)
        return [self.phrases[row] for row in np.sort(rows)]


def corpus_of(phrases: Iterable[str], name: str = "prompts", *, merge: Sequence[str] = ()) -> PromptCorpus:
    """Return the corpus of phrases at hand (see `read_corpus`)."""
    return _collect([(name, phrases)], merge, None, no_progress)


def read_corpus(
    inputs: Sequence[StrPath | BinaryIO],
    *,
    merge: Sequence[str] = (),
    column: str | None = None,
    limit: int | None = None,
    progress: Progress = no_progress,
) -> PromptCorpus:
    """Read the distinct phrases of files, folders and named sources.

    Phrases are stripped and their white space collapsed; empty ones are dropped, exact repeats removed. Memory
    grows with the distinct phrases only, however long the inputs are.

    Args:
        inputs: paths of files (see `litetext.prompts.readers.read_phrases`) or of folders of them, or names
            in `litetext.prompts.sources.SOURCES`; or open texts, such as standard input, with one phrase a line.
        merge: which near-duplicates to remove too: "case", "article" (the first form seen stays).
        column: the column or field of the phrase, where it is not one of the usual names.
        limit: stop as soon as this many distinct phrases were found.
        progress: counts the phrases read, now and then.

    Raises:
        LitetextError: for unreadable inputs, unknown names, and inputs without a single phrase.
    """
    if limit is not None and limit < 1:
        raise LitetextError(f"limit is {limit}; ask for at least one phrase")
    return _collect(list(_streams(inputs, column)), merge, limit, progress)


def _streams(inputs: Sequence[StrPath | BinaryIO], column: str | None) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield (source name, its phrases) of every file and named source; nothing is opened yet."""
    for given in inputs:
        if not isinstance(given, str | os.PathLike):
            yield "standard input", read_prompt_lines(given, "standard input")
            continue
        path = Path(given)
        if path.is_dir():
            files = [file for file in sorted(path.rglob("*")) if file.is_file() and file.suffix.lower() in READERS]
            if not files:
                raise LitetextError(f"{path} holds no phrase files; expected files ending in {', '.join(READERS)}")
            for file in files:
                yield file.relative_to(path).with_suffix("").as_posix(), read_phrases(file, column)
        elif path.exists() or os.fspath(given) not in SOURCES:
            if not path.exists() and not path.suffix:
                raise LitetextError(
                    f"{given}: no such file, folder or named source; the sources are: {', '.join(SOURCES)}"
                )
            yield path.stem, read_phrases(path, column)
        else:
            yield os.fspath(given), stream_source(os.fspath(given))


def _collect(
    streams: Sequence[tuple[str, Iterable[str]]],
    merge: Sequence[str],
    limit: int | None,
    progress: Progress,
) -> PromptCorpus:
    key_of = merge_key(merge)
    phrases: list[str] = []
    membership: list[int] = []
    sources = _distinct([name for name, _ in streams])
    row_of: dict[str, int] = {}
    read = merged = 0
    for bit, (_, stream) in enumerate(streams):
        for raw in stream:
            phrase = normalise(raw)
            if not phrase:
                continue
            read += 1
            if read % 4096 == 0:
                progress(read)
            key = key_of(phrase) if merge else phrase
            row = row_of.get(key)
            if row is None:
                row_of[key] = len(phrases)
                phrases.append(phrase)
                membership.append(1 << bit)
                if len(phrases) == limit:
                    break
            else:
                membership[row] |= 1 << bit
                merged += phrase != phrases[row]
        if len(phrases) == limit:
            break
    if not phrases:
        raise LitetextError(f"no phrases in {', '.join(sources) or 'no input'}; give a file with one phrase a line")
    row_of.clear()
    duplicates = Duplicates(
        read - len(phrases) - merged, _repeats(phrases, "case"), _repeats(phrases, "article"), merged
    )
    return PromptCorpus(phrases, sources, membership, read, duplicates)


def _repeats(phrases: list[str], merge: str) -> int:
    """How many phrases equal an earlier one under the merge (compared by 64-bit hash, to spare memory)."""
    key_of = MERGES[merge]
    hashes = np.fromiter((hash(key_of(phrase)) for phrase in phrases), np.int64, len(phrases))
    return len(phrases) - len(np.unique(hashes))


def _distinct(names: list[str]) -> list[str]:
    """The same names, repeated ones numbered: "refs", "refs (2)"."""
    seen: dict[str, int] = {}
    distinct = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        distinct.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return distinct
