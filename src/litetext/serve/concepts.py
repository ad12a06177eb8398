"""The concepts of a server: phrases and what example boxes show, each with a threshold, kept as a concept bank."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from ..encoders.bank import ConceptBank, build_bank
from ..encoders.exemplar import ExemplarConcept
from ..encoders.features import TextEncoder
from ..errors import LitetextError
from ..outputs import check_file
from ..tokenizer import clean
from .refusals import RefusalError


@dataclass(frozen=True, slots=True, eq=False)
class StoredConcept:
    """A concept that requests name.

    Attributes:
        name: of it, as the tokenizer cleans it: that is how banks know it.
        prompt: its phrase, or what boxes show.
        threshold: lowest score that counts; None: the request's.
    """

    name: str
    prompt: str | ExemplarConcept
    threshold: float | None

    @property
    def by_example(self) -> bool:
        """Whether boxes say what it is."""
        return not isinstance(self.prompt, str)


class ConceptStore:
    """The concepts of a server, of its first model; threads may share them.

    Args:
        most: how many there may be.
        path: of the bank (safetensors) that keeps them over restarts, or None.
    """

    def __init__(self, most: int, path: Path | None = None) -> None:
        self._most, self._path = most, path
        self._concepts: dict[str, StoredConcept] = {}
        self._lock = Lock()
        if path is not None:
            check_file(path, "concept bank", overwrite=True)
            if path.exists():
                self._concepts = {concept.name: concept for concept in _read(path)}

    def __iter__(self) -> Iterator[StoredConcept]:
        return iter(list(self._concepts.values()))

    def __len__(self) -> int:
        return len(self._concepts)

    def get(self, name: str) -> StoredConcept:
        """Return a concept.

        Raises:
            RefusalError: there is none of that name.
        """
        found = self._concepts.get(clean(name))
        if found is None:
            raise RefusalError(404, f"there is no concept {name[:80]!r}; GET /v1/concepts lists those that are kept")
        return found

    def put(self, concept: StoredConcept, text: TextEncoder) -> None:
        """Keep a concept, in place of one of the same name.

        Args:
            concept: to keep.
            text: the encoder of its model.

        Raises:
            RefusalError: there are as many as there may be.
        """
        with self._lock:
            if concept.name not in self._concepts and len(self._concepts) >= self._most:
                raise RefusalError(422, f"{self._most} concepts are kept, which is the limit", limit=self._most)
            self._replace({**self._concepts, concept.name: concept}, text)

    def remove(self, name: str, text: TextEncoder) -> None:
        """Forget a concept.

        Raises:
            RefusalError: there is none of that name.
        """
        with self._lock:
            forgotten = self.get(name).name
            self._replace({key: one for key, one in self._concepts.items() if key != forgotten}, text)

    def write(self, path: Path, text: TextEncoder) -> None:
        """Write the concepts as a bank, which `litetext segment --text` and this server read."""
        _write(self._concepts, path, text)

    def _replace(self, concepts: dict[str, StoredConcept], text: TextEncoder) -> None:
        if self._path is not None:
            if concepts:
                _write(concepts, self._path, text)
            else:
                self._path.unlink(missing_ok=True)
        self._concepts = concepts


def _write(concepts: dict[str, StoredConcept], path: Path, text: TextEncoder) -> None:
    phrases = [one for one in concepts.values() if isinstance(one.prompt, str)]
    build_bank(
        [one.name for one in phrases],
        text,
        path,
        encoder_name="litetext serve",
        concepts=[one.prompt for one in concepts.values() if isinstance(one.prompt, ExemplarConcept)],
        thresholds={one.name: one.threshold for one in phrases if one.threshold is not None},
    )


def _read(path: Path) -> Iterator[StoredConcept]:
    bank = ConceptBank(path)
    for name in bank.concepts():
        try:
            shown = bank.concept(name)
        except LitetextError:  # a phrase
            own = bank.encode([name]).thresholds
            threshold = None if own is None or own[0] != own[0] else float(own[0])
            yield StoredConcept(name, name, threshold)
        else:
            yield StoredConcept(name, shown, shown.threshold)
