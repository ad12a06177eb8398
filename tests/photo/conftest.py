"""A WordNet small enough to draw up here: every meaning the concepts name, under the kinds that tests ask about."""

from __future__ import annotations

import numpy as np
import pytest

from litetext.photo.concepts import ALSO, CALTECH, COCO, Concepts
from litetext.photo.photographs import Photograph
from litetext.photo.wordnet import WordNet

_ABOVE = {
    "animal": "physical object",
    "food": "physical object",
    "vehicle": "physical object",
    "bird": "animal",
    "dog": "animal",
    "cat": "animal",
    "cow": "animal",
    "flamingo": "bird",
    "dalmatian": "dog",
    "motor vehicle": "vehicle",
    "car": "motor vehicle",
    **dict.fromkeys(("ketch", "schooner"), "sailing vessel"),
    "sailing vessel": "vehicle",
    "carrot": "vegetable",
    "fork": "cutlery",
    "apple": "fruit",
    **dict.fromkeys(("baseball bat", "soccer ball"), "sports equipment"),
}


@pytest.fixture(scope="session")
def wordnet(tmp_path_factory: pytest.TempPathFactory) -> WordNet:
    folder = tmp_path_factory.mktemp("wordnet")
    counts: dict[str, int] = {}
    kinds = {kind for several in ALSO.values() for kind in several}
    senses = [entry.partition(":")[0] for entry in COCO.values()] + list(CALTECH.values())
    for sense in [*senses, *_ABOVE, *_ABOVE.values(), *kinds]:
        word, _, number = sense.partition("#")
        counts[word] = max(counts.get(word, 0), int(number or 1))
    offsets: dict[str, list[int]] = {}
    for word, count in sorted(counts.items()):
        start = sum(map(len, offsets.values())) + 1
        offsets[word] = list(range(start, start + count))
    wanted = {sense.partition("#")[0]: int(sense.partition("#")[2] or 1) for sense in [*_ABOVE, *senses]}
    data, index = ["  1 the licence"], ["  1 the licence"]
    for word, several in offsets.items():
        spelled = word.replace(" ", "_")
        for number, offset in enumerate(several, start=1):
            parent = _ABOVE.get(word, "physical object") if number == wanted.get(word, 1) else "physical object"
            above = offsets[parent][wanted.get(parent, 1) - 1]
            pointers = "000" if word == "physical object" else f"001 @ {above:08d} n 0000"
            data.append(f"{offset:08d} 03 n 01 {spelled} 0 {pointers} | what a {word} is")
        listed = " ".join(f"{offset:08d}" for offset in several)
        index.append(f"{spelled} n {len(several)} 1 @ {len(several)} 0 {listed}")
    (folder / "data.noun").write_text("\n".join(data) + "\n", encoding="utf-8")
    (folder / "index.noun").write_text("\n".join(index) + "\n", encoding="utf-8")
    return WordNet(folder)


@pytest.fixture(scope="session")
def concepts(wordnet: WordNet) -> Concepts:
    return Concepts(wordnet)


def disc_photograph(concept: int, seed: int = 0, size: int = 120) -> Photograph:
    """A red disc on noise."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(80, 160, (size, size, 3)).astype(np.uint8)
    y, x = np.mgrid[0:size, 0:size]
    mask = (y - size / 2) ** 2 + (x - size / 2) ** 2 < (size / 4) ** 2
    pixels[mask] = (220, 30, 30)
    return Photograph(f"{seed}.jpg", pixels, mask[None], (concept,), frozenset())
