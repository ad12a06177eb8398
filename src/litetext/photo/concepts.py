"""What `photo` is trained to find: the categories of its photographs, tied to WordNet's meanings, and their words.

A concept has a meaning in WordNet, and from that its synonyms and what it is a kind of. Words that WordNet lists but
nobody says of a photograph ("soul" for a person) are left out by naming the good ones here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .wordnet import WordNet

COCO = {
    "person": "person: human, human being",
    "bicycle": "bicycle: bike, cycle",
    "car": "car: automobile, auto",
    "motorcycle": "motorcycle: motorbike",
    "airplane": "airplane: plane, aeroplane, aircraft",
    "bus": "bus: coach, autobus",
    "train": "train: railroad train",
    "truck": "truck: lorry, motortruck",
    "boat": "vessel#2: ship, vessel",
    "traffic light": "traffic light: traffic signal, stoplight",
    "fire hydrant": "fire hydrant: hydrant, fireplug",
    "stop sign": "street sign: stop sign, traffic sign",
    "parking meter": "parking meter:",
    "bench": "bench: park bench",
    "bird": "bird:",
    "cat": "cat: kitty, kitten, pussycat",
    "dog": "dog: puppy, doggy, hound",
    "horse": "horse: pony",
    "sheep": "sheep: lamb",
    "cow": "cow: cattle, bull, ox",
    "elephant": "elephant:",
    "bear": "bear:",
    "zebra": "zebra:",
    "giraffe": "giraffe:",
    "backpack": "backpack: rucksack, knapsack",
    "umbrella": "umbrella: parasol",
    "handbag": "handbag: purse, bag",
    "tie": "tie: necktie",
    "suitcase": "suitcase: luggage, trunk",
    "frisbee": "frisbee: flying disc",
    "skis": "ski: skis, pair of skis",
    "snowboard": "snowboard:",
    "sports ball": "ball: sports ball, game ball",
    "kite": "kite#3:",
    "baseball bat": "baseball bat: bat",
    "baseball glove": "baseball glove: baseball mitt, mitt",
    "skateboard": "skateboard:",
    "surfboard": "surfboard:",
    "tennis racket": "tennis racket: tennis racquet, racket",
    "bottle": "bottle: flask",
    "wine glass": "wineglass: wine glass, glass, goblet",
    "cup": "cup: mug, coffee cup, teacup",
    "fork": "fork: table fork",
    "knife": "knife: table knife",
    "spoon": "spoon:",
    "bowl": "bowl: dish",
    "banana": "banana#2:",
    "apple": "apple:",
    "sandwich": "sandwich: burger",
    "orange": "orange: tangerine",
    "broccoli": "broccoli#2:",
    "carrot": "carrot:",
    "hot dog": "hot dog#2: hotdog, frankfurter",
    "pizza": "pizza:",
    "donut": "donut: doughnut",
    "cake": "cake#3: birthday cake, dessert",
    "chair": "chair: seat",
    "couch": "couch: sofa, settee",
    "potted plant": "pot plant: potted plant, houseplant, plant",
    "bed": "bed:",
    "dining table": "dining table: table, dinner table",
    "toilet": "toilet#2: lavatory",
    "tv": "television receiver: tv, television, monitor, screen",
    "laptop": "laptop: laptop computer, notebook computer",
    "mouse": "mouse#4: computer mouse",
    "remote": "remote: remote control",
    "keyboard": "computer keyboard: keyboard",
    "cell phone": "cellphone: cell phone, mobile phone, smartphone, phone",
    "microwave": "microwave#2: microwave oven",
    "oven": "oven: stove, cooker",
    "toaster": "toaster#2:",
    "sink": "sink: washbasin, basin",
    "refrigerator": "refrigerator: fridge, icebox",
    "book": "book#2:",
    "clock": "clock: wall clock",
    "vase": "vase: flower vase",
    "scissors": "scissors: pair of scissors",
    "teddy bear": "teddy bear: teddy, stuffed bear, plush bear",
    "hair drier": "hair drier: hair dryer, blow dryer",
    "toothbrush": "toothbrush:",
}
"""COCO's categories: WordNet's meaning, and words beside the category's own name."""

CALTECH = {
    "Leopards": "leopard#2",
    "Motorbikes": "motorcycle",
    "accordion": "accordion",
    "airplanes": "airplane",
    "anchor": "anchor",
    "ant": "ant",
    "barrel": "barrel#2",
    "bass": "bass#8",
    "beaver": "beaver#7",
    "binocular": "binoculars",
    "bonsai": "bonsai",
    "brain": "brain",
    "brontosaurus": "brontosaurus",
    "buddha": "buddha",
    "butterfly": "butterfly",
    "camera": "camera",
    "cannon": "cannon",
    "car_side": "car",
    "ceiling_fan": "electric fan",
    "cellphone": "cellphone",
    "chair": "chair",
    "chandelier": "chandelier",
    "cougar_body": "cougar",
    "cougar_face": "cougar",
    "crab": "crab",
    "crayfish": "crayfish#4",
    "crocodile": "crocodile",
    "crocodile_head": "crocodile",
    "cup": "cup",
    "dalmatian": "dalmatian#2",
    "dollar_bill": "dollar bill",
    "dolphin": "dolphin#2",
    "dragonfly": "dragonfly",
    "electric_guitar": "electric guitar",
    "elephant": "elephant",
    "emu": "emu#2",
    "euphonium": "euphonium",
    "ewer": "ewer",
    "ferry": "ferry",
    "flamingo": "flamingo",
    "flamingo_head": "flamingo",
    "gerenuk": "gerenuk",
    "gramophone": "gramophone",
    "grand_piano": "grand piano",
    "hawksbill": "hawksbill",
    "headphone": "headphone",
    "hedgehog": "hedgehog#2",
    "helicopter": "helicopter",
    "ibis": "ibis",
    "inline_skate": "rollerblade",
    "kangaroo": "kangaroo",
    "ketch": "ketch",
    "lamp": "lamp",
    "laptop": "laptop",
    "llama": "llama",
    "lobster": "lobster#2",
    "lotus": "sacred lotus",
    "mandolin": "mandolin",
    "mayfly": "mayfly",
    "menorah": "menorah",
    "metronome": "metronome",
    "minaret": "minaret",
    "nautilus": "nautilus#3",
    "octopus": "octopus#2",
    "okapi": "okapi",
    "pagoda": "pagoda",
    "panda": "panda",
    "pigeon": "pigeon",
    "pizza": "pizza",
    "platypus": "platypus",
    "pyramid": "pyramid#3",
    "revolver": "revolver",
    "rhino": "rhino",
    "rooster": "rooster",
    "saxophone": "saxophone",
    "schooner": "schooner#2",
    "scissors": "scissors",
    "scorpion": "scorpion#3",
    "sea_horse": "sea horse#2",
    "soccer_ball": "soccer ball",
    "stapler": "stapler",
    "starfish": "starfish",
    "stegosaurus": "stegosaurus",
    "stop_sign": "street sign",
    "strawberry": "strawberry",
    "sunflower": "sunflower",
    "tick": "tick#2",
    "trilobite": "trilobite",
    "umbrella": "umbrella",
    "watch": "watch",
    "water_lilly": "water lily",
    "wheelchair": "wheelchair",
    "wild_cat": "wildcat#3",
    "windsor_chair": "windsor chair",
    "wrench": "wrench#3",
}
"""Caltech-101's categories by folder: WordNet's meaning. Drawings and faces are left out."""

KINDS = (
    "animal", "mammal", "bird", "insect", "fish", "reptile", "dinosaur", "big cat", "crustacean", "vehicle",
    "motor vehicle", "aircraft", "sailing vessel", "musical instrument", "stringed instrument", "wind instrument",
    "fruit", "vegetable", "food", "furniture", "tableware", "cutlery", "home appliance",
    "kitchen appliance", "sports equipment", "timepiece", "weapon", "toy", "flower", "marsupial", "feline", "canine",
    "arthropod", "hand tool",
)  # fmt: skip
"""What people call things by kind; a phrase may be one of these where WordNet says that an object is one."""

ALSO = {
    "bus": ("vehicle", "motor vehicle"), "train": ("vehicle",), "carrot": ("vegetable",), "fork": ("cutlery",),
    "spoon": ("cutlery",), "apple": ("food",), "banana": ("food",), "orange": ("food",), "broccoli": ("food",),
    "cake": ("food",), "donut": ("food",), "hot dog": ("food",), "skis": ("sports equipment",),
    "snowboard": ("sports equipment",), "surfboard": ("sports equipment",), "tennis racket": ("sports equipment",),
    "sports ball": ("sports equipment",), "skateboard": ("sports equipment",),
}  # fmt: skip
"""Kinds that WordNet files elsewhere."""

OPEN = (("cougar", "cat"), ("wildcat", "cat"), ("okapi", "giraffe"), ("buddha", "person"), ("donut", "cake"),
        ("hot dog", "sandwich"), ("leopard", "cat"), ("teddy bear", "bear"), ("sacred lotus", "water lily"),
        ("watch", "clock"), ("lobster", "crayfish"), ("crayfish", "lobster"), ("wine glass", "cup"),
        ("bowl", "cup"), ("truck", "car"), ("bench", "chair"))  # fmt: skip
"""An object, and a word that one may or may not use of it: such a phrase is not asked of such a photograph."""

_IRREGULAR = {"person": "people", "mouse": "mice", "knife": "knives", "sheep": "sheep", "skis": "skis", "scissors":
              "scissors", "cattle": "cattle", "ox": "oxen", "goose": "geese", "fish": "fish", "leaf": "leaves", "fruit":
              "fruit", "tableware": "tableware", "cutlery": "cutlery", "furniture": "furniture", "broccoli": "broccoli",
              "food": "food", "footwear": "footwear", "luggage": "luggage", "aircraft": "aircraft", "baked goods":
              "baked goods", "binoculars": "binoculars", "human being": "human beings"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PhotoConcept:
    """One meaning that objects have or that is asked for.

    Attributes:
        name: of it, as people say it.
        offset: WordNet's number.
        words: names and synonyms, the name first.
    """

    name: str
    offset: int
    words: tuple[str, ...]


class Concepts:
    """All meanings: first those of objects (`labels`), then the kinds above them.

    Attributes:
        all: the concepts by number.
        number: from WordNet's number to ours.
        coco, caltech: from a category's name to a concept's number.
    """

    def __init__(self, wordnet: WordNet) -> None:
        self.wordnet = wordnet
        found: dict[int, PhotoConcept] = {}
        self.coco: dict[str, int] = {}
        self.caltech: dict[str, int] = {}
        offsets: dict[str, int] = {}
        for category, entry in COCO.items():
            sense, _, words = entry.partition(":")
            offset = offsets[category] = wordnet.sense(sense).offset
            listed = [category, *(word.strip() for word in words.split(",") if word.strip())]
            found[offset] = PhotoConcept(category, offset, tuple(dict.fromkeys(listed)))
        for folder, sense in CALTECH.items():
            synset = wordnet.sense(sense)
            offsets[folder] = synset.offset
            names = tuple(dict.fromkeys((sense.partition("#")[0], *synset.words[:3])))
            found.setdefault(synset.offset, PhotoConcept(names[0], synset.offset, names))
        self.labels = len(found)
        above = {ancestor for offset in found for ancestor in wordnet.ancestors(offset)}
        for kind in KINDS:
            for offset in wordnet.senses.get(kind, ()):
                if offset in above and offset not in found:
                    found[offset] = PhotoConcept(kind, offset, (kind,))
                    break
        self.all = tuple(found.values())
        self.number = {offset: number for number, offset in enumerate(found)}
        self.coco = {category: self.number[offsets[category]] for category in COCO}
        self.caltech = {folder: self.number[offsets[folder]] for folder in CALTECH}

    def __len__(self) -> int:
        return len(self.all)

    @cached_property
    def truth(self) -> NDArray[np.int8]:
        """Is a phrase for concept p true of an object labelled o? int8 [o, p]: 1, 0, or -1 where one cannot tell.

        A label says what an object is and so what it is a kind of; whether it is one of a kind *below*, it leaves open.
        """
        above = [set(self.wordnet.ancestors(concept.offset)) | {concept.offset} for concept in self.all]
        table = np.zeros((len(self), len(self)), np.int8)
        for thing, ancestors in enumerate(above):
            for asked, concept in enumerate(self.all):
                if concept.offset in ancestors:
                    table[thing, asked] = 1
                elif self.all[thing].offset in above[asked]:
                    table[thing, asked] = -1
        by_name = {concept.name: number for number, concept in reversed(list(enumerate(self.all)))}
        for name, kinds in ALSO.items():
            table[by_name[name], [by_name[kind] for kind in kinds if kind in by_name]] = 1
        for name, other in OPEN:
            table[by_name[name], by_name[other]] = -1
        return table


def plural(word: str) -> str:
    """Return the plural of a noun phrase (its last word's)."""
    head, space, last = word.rpartition(" ")
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if last in _IRREGULAR:
        return head + space + _IRREGULAR[last]
    if last.endswith(("s", "x", "ch", "sh")):
        return word + "es"
    if last.endswith("y") and last[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


def described(words: Sequence[str]) -> str:
    """Return words joined by spaces, without the empty ones."""
    return " ".join(word for word in words if word)
