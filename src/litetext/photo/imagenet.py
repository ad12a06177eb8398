"""ImageNet's thousand labels as WordNet's meanings, and the classifier's rows for any noun."""

from __future__ import annotations

from collections.abc import Sequence

from .concepts import Concepts
from .wordnet import WordNet

ALSO = {
    "train": ("passenger car", "electric locomotive", "steam locomotive", "freight car", "streetcar"),
    "motorcycle": ("motor scooter", "moped"),
    "airplane": ("warplane", "airliner", "wing"),
    "car": ("cab",),
    "boat": ("gondola", "schooner", "yawl", "canoe", "catamaran", "trimaran"),
    "bird": ("peacock", "crane bird"),
    "sheep": ("bighorn", "ram"),
    "cow": ("ox", "water buffalo", "bison"),
    "elephant": ("tusker",),
    "handbag": ("mailbag", "purse"),
    "tennis racket": ("racket",),
    "wine glass": ("goblet", "red wine"),
    "cup": ("coffee mug", "cup"),
    "bowl": ("soup bowl", "mixing bowl"),
    "banana": ("banana",),
    "broccoli": ("broccoli",),
    "hot dog": ("hotdog",),
    "donut": ("bagel",),
    "toilet": ("toilet seat",),
    "tv": ("monitor", "television", "screen"),
    "laptop": ("notebook",),
    "mouse": ("mouse",),
    "keyboard": ("typewriter keyboard", "computer keyboard"),
    "oven": ("stove",),
    "toaster": ("toaster",),
    "book": ("book jacket",),
    "potted plant": ("pot",),
    "saxophone": ("sax",),
    "hawksbill": ("loggerhead", "leatherback turtle"),
    "ketch": ("yawl",),
    "schooner": ("schooner",),
    "ewer": ("pitcher", "water jug"),
    "ibis": ("spoonbill", "limpkin"),
    "barrel": ("barrel", "rain barrel"),
}
"""Labels that stand for a concept as well, though WordNet's tree does not say so, or the label's meaning is another."""

ANIMALS = 398
"""Labels 0 to 397 are animals."""


def label_senses(wordnet: WordNet, labels: Sequence[str]) -> list[int | None]:
    """Return WordNet's number for each of ImageNet's labels (None where WordNet lacks the word).

    A word with several meanings stands for an animal among the first 398 labels, and for a thing among the others.
    """
    animal, thing = wordnet.sense("animal").offset, wordnet.sense("physical object").offset
    food = wordnet.sense("food").offset
    found: list[int | None] = []
    for number, label in enumerate(labels):
        wanted = {animal} if number < ANIMALS else {thing, food}
        senses = wordnet.senses.get(label.lower().split("  ")[0], ())
        fitting = [
            sense
            for sense in senses
            if wanted & set(wordnet.ancestors(sense)) and (number < ANIMALS or animal not in wordnet.ancestors(sense))
        ]
        found.append(next(iter([*fitting, *senses]), None))
    return found


def rows_of(wordnet: WordNet, senses: Sequence[int | None], offset: int) -> tuple[int, ...]:
    """Return the labels that are an ``offset`` or a kind of one."""
    return tuple(
        row
        for row, sense in enumerate(senses)
        if sense is not None and (sense == offset or offset in set(wordnet.ancestors(sense)))
    )


def concept_rows(concepts: Concepts, labels: Sequence[str]) -> list[tuple[int, ...]]:
    """Return for every concept the labels that are one, from WordNet and from `ALSO`."""
    senses = label_senses(concepts.wordnet, labels)
    number = {label: row for row, label in enumerate(labels)}
    return [
        tuple(
            sorted(
                {*rows_of(concepts.wordnet, senses, concept.offset)}
                | {number[label] for label in ALSO.get(concept.name, ()) if label in number}
            )
        )
        for concept in concepts.all
    ]


def label_names() -> list[str]:
    """Return ImageNet's labels in the classifier's order, as torchvision lists them."""
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    return [name.lower() for name in _IMAGENET_CATEGORIES]
