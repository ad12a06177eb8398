"""Training batches drawn on the spot: batch ``i`` of a seed is always the same, in whichever process it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..tokenizer import Tokenizer
from .art import COLORS
from .concepts import CONCEPTS
from .language import WORDS
from .world import CROWDS, MAX_COUNT, MAX_OBJECTS, NEGATIVES, DrawnPair, Scene, SceneObject, World, generator

CONTEXT = 32


@dataclass(frozen=True, slots=True)
class Batch:
    """B scenes and P phrases asked of them.

    Attributes:
        images: [B, 3, S, S] uint8.
        instances: [B, S, S] uint8, as in `Scene`.
        concept_of: [B, 1 + MAX_OBJECTS] int64: every object number's place in `CONCEPTS`, from 1; 0 for background.
        box_of: [B, 1 + MAX_OBJECTS, 4] float32: its box, centre x, y, width, height in 0 to 1.
        color_of: [B, 1 + MAX_OBJECTS] int64: its colour's place in `COLORS`, from 1; 0 where it has no one colour.
        truth: [B, 1 + MAX_OBJECTS, P] int8: is the phrase true of the object? 1, 0, or -1 where one could argue.
        ids: [P, L] int64, trimmed to the longest phrase, padded with 0.
        image_of: [P] int64.
        targets: [P, MAX_COUNT] int64: object numbers (from 1) the phrase is true of, 0 for none.
        boxes: [P, MAX_COUNT, 4] float32: centre x, y, width, height of those, in 0 to 1.
    """

    images: Tensor
    instances: Tensor
    concept_of: Tensor
    box_of: Tensor
    color_of: Tensor
    truth: Tensor
    ids: Tensor
    image_of: Tensor
    targets: Tensor
    boxes: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch on ``device``."""
        return Batch(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))


class Batches(Dataset[Batch]):
    """A map from step to batch.

    Args:
        tokenizer: the model's.
        seed: of the scenes; training and evaluation use different ones.
        concepts: names of the concepts in the world.
        images, phrases: scenes a batch and phrases a scene.
        crowds, negatives, hold_out: as `World` takes them.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        seed: int,
        concepts: Sequence[str],
        size: int,
        images: int,
        phrases: int,
        crowds: float = CROWDS,
        negatives: float = NEGATIVES,
        hold_out: bool = False,
    ) -> None:
        self.tokenizer, self.seed, self.concepts = tokenizer, seed, tuple(concepts)
        self.size, self.images, self.phrases = size, images, phrases
        self.crowds, self.negatives, self.hold_out = crowds, negatives, hold_out
        self._world: World | None = None

    @property
    def world(self) -> World:
        """The world, made where it is first needed (in the worker)."""
        if self._world is None:
            self._world = World(
                self.concepts,
                size=self.size,
                crowds=self.crowds,
                negatives=self.negatives,
                hold_out=self.hold_out,
            )
        return self._world

    def __getitem__(self, step: int) -> Batch:
        scenes, asked = [], []
        for index in range(self.images):
            rng = generator(self.seed, step * self.images + index)
            scene = self.world.scene(rng)
            while not scene.objects:
                scene = self.world.scene(rng)
            scenes.append(scene)
            asked.append(self.world.pairs(scene, rng, self.phrases))
        return collate(scenes, asked, self.world, self.tokenizer)

    def __len__(self) -> int:
        return 1 << 40


def collate(scenes: Sequence[Scene], asked: Sequence[Sequence[DrawnPair]], world: World, tokenizer: Tokenizer) -> Batch:
    """Put scenes and their phrases into arrays."""
    number = {concept: index for index, concept in enumerate(CONCEPTS, start=1)}
    flat = [(row, pair) for row, pairs in enumerate(asked) for pair in pairs]
    concept_of = np.zeros((len(scenes), 1 + MAX_OBJECTS), np.int64)
    color_of = np.zeros_like(concept_of)
    box_of = np.zeros((*concept_of.shape, 4), np.float32)
    truth = np.zeros((*concept_of.shape, len(flat)), np.int8)
    for row, scene in enumerate(scenes):
        for index, thing in enumerate(scene.objects, start=1):
            concept_of[row, index] = number[thing.traits.concept]
            color_of[row, index] = _color_number(thing)
            x0, y0, x1, y1 = np.array(thing.box) / world.size
            box_of[row, index] = (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0
            for place, (_, pair) in enumerate(flat):
                if pair.query.concept is thing.traits.concept:
                    said = pair.query.truth(thing.traits)
                    truth[row, index, place] = -1 if said is None else said
    targets = np.zeros((len(flat), MAX_COUNT), np.int64)
    boxes = np.zeros((len(flat), MAX_COUNT, 4), np.float32)
    for place, (row, pair) in enumerate(flat):
        for slot, index in enumerate(pair.targets[:MAX_COUNT]):
            targets[place, slot] = index + 1
            boxes[place, slot] = box_of[row, index + 1]
    return Batch(
        images=torch.from_numpy(np.stack([scene.image for scene in scenes]).transpose(0, 3, 1, 2).copy()),
        instances=torch.from_numpy(np.stack([scene.instances for scene in scenes])),
        concept_of=torch.from_numpy(concept_of),
        box_of=torch.from_numpy(box_of),
        color_of=torch.from_numpy(color_of),
        truth=torch.from_numpy(truth),
        ids=trimmed_ids(tokenizer, [pair.text for _, pair in flat]),
        image_of=torch.tensor([row for row, _ in flat]),
        targets=torch.from_numpy(targets),
        boxes=torch.from_numpy(boxes),
    )


def _color_number(thing: SceneObject) -> int:
    true = [index for index, color in enumerate(COLORS, start=1) if thing.traits.truths[color]]
    return true[0] if len(true) == 1 else 0


def trimmed_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> Tensor:
    """Return ids int64 [B, L], cut to the longest text, which is exact for a causal encoder."""
    ids = tokenizer(list(texts), CONTEXT)
    longest = int((ids == tokenizer.eot_id).argmax(1).max()) + 1
    return torch.from_numpy(ids[:, :longest].astype(np.int64))


def pixels_of(images: Tensor) -> Tensor:
    """uint8 images -> what the vision encoder reads: (x / 255 - 0.5) / 0.5."""
    return images.float() / 127.5 - 1


def vocabulary_texts() -> list[str]:
    """Every word the world's language can use, so that a pruned vocabulary keeps them whole."""
    return [*(word for concept in CONCEPTS for word in concept.words), WORDS]
