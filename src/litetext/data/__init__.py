"""What ships inside the package: weights, sample scenes and photographs with their phrases, the world's art.

Everything is resolved by name, so that ``"mini"`` can be given wherever a model's path can.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ..errors import LitetextError
from ..json_files import read_json

ROOT = Path(str(files(__package__)))

SHIPPED_ENCODERS = {
    "mini": "mini/text/student",
    "mini-student": "mini/text/student",
    "mini-teacher": "mini/text/teacher",
    "photo": "photo/text/student",
}
"""Text encoders that come with the package: name -> where they are kept."""

SHIPPED_PHRASES = ROOT / "phrases.txt"
"""163 noun phrases, for measuring where no prompts are given."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A shipped picture and phrases to ask of it, some of which are not there.

    Attributes:
        image: the path of the PNG or JPEG.
        phrases: noun phrases, present and absent ones.
    """

    image: Path
    phrases: tuple[str, ...]


def resolve(name: str) -> Path:
    """Return the path of a shipped folder or file, by its name relative to this package.

    ``"mini"`` holds ``segmenter/`` and ``text/<encoder>/``; a longer name goes deeper (``"mini/text/teacher"``).

    Raises:
        LitetextError: nothing of that name ships; the message lists the top-level names.
    """
    path = (ROOT / name).resolve()
    if not name or name.startswith((".", "/")) or ROOT not in path.parents or not path.exists():
        shipped = sorted(entry.name for entry in ROOT.iterdir() if entry.is_dir() and not entry.name.startswith("_"))
        raise LitetextError(f"nothing called {name!r} ships with litetext; choose one of: {', '.join(shipped)}")
    return path


def samples() -> list[Sample]:
    """Return the shipped sample scenes of ``mini``'s world, in a fixed order."""
    return _samples_in("samples")


def photographs() -> list[Sample]:
    """Return the shipped sample photographs, in a fixed order."""
    return _samples_in("samples/photographs")


def _samples_in(name: str) -> list[Sample]:
    folder = resolve(name)
    return [Sample(folder / entry["image"], tuple(entry["phrases"])) for entry in read_json(folder / "phrases.json")]
