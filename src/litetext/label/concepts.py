"""The concepts of a job: what to label, by which phrases and examples, from which score on.

A file of concepts is a list of phrases (``.txt``, one a line, or anything that `litetext.prompts.readers` reads), or
YAML::

    concepts:
      - dog
      - name: car
        synonyms: [automobile, "passenger car"]     # found under these words too, and labelled "car"
        negatives: [toy car, bus]                   # what looks like one of these more than like a car is none
        threshold: 0.6                              # lowest score that counts
        max_count: 20                               # at most so many an image, the best
        priority: 1                                 # of two concepts on one object, the higher stays
        examples:                                   # shown by boxes in reference images, in pixels
          - {image: refs/car.jpg, boxes: [[10, 20, 80, 90]], not_boxes: []}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..errors import LitetextError, short
from ..files import read_text
from ..prompts import normalise
from ..prompts.readers import read_prompts
from ..tokenizer import clean
from ..validation import check_ranges, from_values, ranged

DEFAULT_THRESHOLD = 0.5
_YAML = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Example:
    """Boxes in a reference image that show a concept.

    Attributes:
        image: path of the image; in a file, relative to it.
        boxes: [n, 4] x1, y1, x2, y2 in pixels of the upright image, of the concept.
        not_boxes: [n, 4] of what is not the concept.
    """

    image: str
    boxes: list[list[float]] = field(default_factory=list)
    not_boxes: list[list[float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Concept:
    """One class of the dataset.

    Attributes:
        name: of the class; asked as a phrase too, unless there are examples.
        synonyms: further phrases that are labelled as this concept.
        negatives: phrases that compete: where one of them scores higher on the same object, the concept is not there.
        threshold: lowest score that counts, in 0..1.
        max_count: most instances in an image, the best ones; None: all.
        priority: where two concepts are on one object, the higher priority stays; of equals, the better score.
        examples: boxes that show it. They are asked together with the word of ``name``.
        calibration: what is known of the threshold, see `litetext.label.calibration`; None: it was chosen by hand.
    """

    name: str
    synonyms: list[str] = field(default_factory=list)
    negatives: list[str] = field(default_factory=list)
    threshold: float = ranged(0, 1, DEFAULT_THRESHOLD)
    max_count: int | None = ranged(1, 1_000_000, None)
    priority: int = ranged(-1_000_000, 1_000_000, 0)
    examples: list[Example] = field(default_factory=list)
    calibration: str | None = None

    def __post_init__(self) -> None:
        check_ranges(self)
        for phrase in (self.name, *self.synonyms, *self.negatives):
            if not clean(phrase):
                raise LitetextError(f"concept {self.name!r} has the empty phrase {phrase!r}; give a noun phrase")

    @property
    def shown(self) -> list[str]:
        """What a bank calls each of its examples."""
        return [f"{normalise(self.name)} (example {number})" for number in range(1, len(self.examples) + 1)]

    @property
    def words(self) -> list[str]:
        """The phrases by which it is asked in words."""
        return [*([] if self.examples else [self.name]), *self.synonyms]

    @property
    def asked(self) -> list[str]:
        """Everything by which it is asked, words and examples."""
        return [*self.shown, *self.words]


def read_concepts(path: Path, threshold: float = DEFAULT_THRESHOLD) -> list[Concept]:
    """Return the concepts of a file.

    Args:
        path: see the module.
        threshold: of concepts that say none.

    Raises:
        LitetextError: a file that is malformed, two concepts of one name, or no concept; it names file and key.
    """
    if path.suffix.lower() not in _YAML:
        names = dict.fromkeys(filter(None, map(normalise, read_prompts(path))))
        return checked([Concept(name, threshold=threshold) for name in names], str(path))
    try:
        document: Any = yaml.safe_load(read_text(path, "a file of concepts"))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise LitetextError(f"{path} is not valid YAML ({' '.join(str(error).split())[:200]})") from None
    entries = document.get("concepts") if isinstance(document, Mapping) else document
    if not isinstance(entries, list):
        raise LitetextError(f"{path} holds no list of concepts; write them under 'concepts:', a line '- NAME' each")
    concepts = [_concept(entry, f"concepts[{row}]", path, threshold) for row, entry in enumerate(entries)]
    return checked(concepts, str(path))


def checked(concepts: Sequence[Concept], source: str) -> list[Concept]:
    """Return concepts that can be told apart.

    Raises:
        LitetextError: there are none, or two of one name; the message names ``source``.
    """
    if not concepts:
        raise LitetextError(f"{source} holds no concepts")
    seen: dict[str, str] = {}
    for concept in concepts:
        key = clean(concept.name)
        if key in seen:
            raise LitetextError(f"{source} has the concept {concept.name!r} twice; give each a name of its own")
        seen[key] = concept.name
    return list(concepts)


def document(concepts: Sequence[Concept]) -> dict[str, Any]:
    """Return concepts as a YAML file holds them, without what is as it is by default."""
    plain = Concept("-")
    entries = []
    for concept in concepts:
        values = asdict(concept)
        kept = {key: value for key, value in values.items() if value != getattr(plain, key) or key == "threshold"}
        entries.append({"name": concept.name, **kept})
    return {"concepts": entries}


def dumped(concepts: Sequence[Concept]) -> str:
    """Return the text of a YAML file of concepts."""
    return yaml.safe_dump(document(concepts), sort_keys=False, allow_unicode=True)


def _concept(entry: Any, place: str, path: Path, threshold: float) -> Concept:
    if isinstance(entry, str):
        entry = {"name": entry}
    if not isinstance(entry, Mapping):
        raise LitetextError(f"{path}: key {place!r} is {short(entry)}, where a name or a mapping should stand")
    values = {"threshold": threshold, **entry}
    examples = values.pop("examples", [])
    if not isinstance(examples, list):
        raise LitetextError(f"{path}: key '{place}.examples' is {short(examples)}, where a list should stand")
    found = [_example(one, f"{place}.examples[{row}]", path) for row, one in enumerate(examples)]
    for key in ("name", "synonyms", "negatives"):
        values = {name: _as_words(value) if name == key else value for name, value in values.items()}
    concept = from_values(Concept, values, str(path), place)
    return Concept(**{**asdict(concept), "examples": found, "name": normalise(concept.name)})


def _as_words(value: Any) -> Any:
    """Numbers and truth values as the words that stood there: YAML reads ``no`` and ``747`` as something else."""
    if isinstance(value, list):
        return [_as_words(one) for one in value]
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if isinstance(value, int | float) else value


def _example(entry: Any, place: str, path: Path) -> Example:
    values = {**entry} if isinstance(entry, Mapping) else entry
    for key in ("boxes", "not_boxes") if isinstance(values, dict) else ():
        boxes = values.pop(key, [])
        if not _are_boxes(boxes):
            raise LitetextError(
                f"{path}: key '{place}.{key}' is {short(boxes)}, where a list of [x1, y1, x2, y2] should stand"
            )
        values = {**values, key: [[float(side) for side in box] for box in boxes]}
    given = {} if not isinstance(values, dict) else {key: values.pop(key) for key in ("boxes", "not_boxes")}
    image = from_values(_ExampleImage, values, str(path), place).image
    if not given["boxes"]:
        raise LitetextError(f"{path}: key '{place}.boxes' names no box; give at least one example")
    return Example(str((path.parent / image).absolute()), **given)  # the job's folder keeps a copy of the list


@dataclass(frozen=True, slots=True)
class _ExampleImage:
    """The part of an example that is no box."""

    image: str


def _are_boxes(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(box, list) and len(box) == 4 and all(type(side) in (int, float) for side in box) for box in value
    )
