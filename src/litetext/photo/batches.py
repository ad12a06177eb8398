"""Training batches: scenes of a pool, phrases asked of them, and everything a loss wants to know about both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..tokenizer import Tokenizer
from .pool import Pool
from .questions import MOST_TARGETS, Asked, Questions, boxes_of
from .sentences import Sentences


@dataclass(frozen=True, slots=True)
class Phrases:
    """P phrases as the text teacher reads them.

    Attributes:
        embedded: [P, 384], MiniLM's features.
        lengths: int64 [P], in CLIP's tokens, start and end included.
    """

    embedded: Tensor
    lengths: Tensor


@dataclass(frozen=True, slots=True)
class PhotoBatch:
    """B scenes and P phrases asked of them; names as in mini's `Batch`, whose losses read it.

    Attributes:
        taps: what the frozen network gave of the scenes.
        instances: [B, S, S] uint8. images: the same (for its length and device).
        box_of: [B, 1 + M, 4] float32, every thing's box: centre x, y, width, height in 0 to 1.
        truth: [B, 1 + M, P + V] int8: is the phrase (one asked, or one of the vocabulary) true of the thing, or (first
            row) of the background? 1, 0, or -1 where one could argue.
        phrases: those asked. vocabulary: one word for each of V concepts.
        image_of: [P] int64.
        targets: [P, T] int64: the things a phrase is true of, 0 for none.
        boxes: [P, T, 4] float32: theirs.
        mirrored: [B] bool, which scenes (their maps too) were mirrored.
    """

    taps: tuple[Tensor, ...]
    instances: Tensor
    box_of: Tensor
    truth: Tensor
    phrases: Phrases
    vocabulary: Phrases
    image_of: Tensor
    targets: Tensor
    boxes: Tensor
    mirrored: Tensor

    @property
    def images(self) -> Tensor:
        """The instance maps, which stand for the images."""
        return self.instances


class PhotoBatches:
    """A map from step to batch: batch i of a seed is always the same.

    Args:
        pool: the scenes. questions: draws phrases.
        sentences: embeds them. tokenizer: CLIP's, for their lengths.
        images, phrases: scenes a batch and phrases a scene.
        seed: of what is drawn.
    """

    def __init__(
        self,
        pool: Pool,
        questions: Questions,
        sentences: Sentences,
        tokenizer: Tokenizer,
        images: int,
        phrases: int,
        seed: int,
    ) -> None:
        self.pool, self.questions, self.sentences, self.tokenizer = pool, questions, sentences, tokenizer
        self.images, self.phrases, self.seed = images, phrases, seed

    def batch(self, step: int) -> PhotoBatch:
        """Return the batch of a step."""
        rng = np.random.default_rng([self.seed, step])
        rows = rng.integers(len(self.pool), size=self.images)
        flipped = rng.random(self.images) < 0.5
        asked = [
            self.questions.draw(self.pool.facts[row], rng, self.phrases, bool(mirror))
            for row, mirror in zip(rows, flipped, strict=True)
        ]
        return self.collated(rows, flipped, asked, rng)

    def embedded(self, texts: Sequence[str]) -> Phrases:
        """Return phrases as the text teacher reads them."""
        lengths = [len(ids) for ids in self.tokenizer.encode_batch(list(texts))]
        return Phrases(self.sentences.embed(texts), torch.tensor(lengths))

    def collated(
        self, rows: np.ndarray, flipped: np.ndarray, asked: list[list[Asked]], rng: np.random.Generator
    ) -> PhotoBatch:
        """Put scenes and their phrases into arrays."""
        facts = [self.pool.facts[row] for row in rows]
        flat = [(image, one) for image, several in enumerate(asked) for one in several]
        most = max(len(one["things"]) for one in facts)
        concepts = self.questions.concepts
        words = [self.questions.words(number, rng) for number in range(len(concepts))]
        box_of = np.zeros((len(rows), 1 + most, 4), np.float32)
        truth = np.zeros((len(rows), 1 + most, len(flat) + len(words)), np.int8)
        named = np.array([one.concept for _, one in flat] + list(range(len(words))))
        plain = np.array([one.plain for _, one in flat] + [True] * len(words))
        for image, one in enumerate(facts):
            labels = [thing["concept"] for thing in one["things"]]
            box_of[image, 1 : 1 + len(labels)] = boxes_of(one, bool(flipped[image]))
            table = concepts.truth[np.array(labels, int)][:, named]
            table = np.where((table == 1) & ~plain, -1, table)
            truth[image, 1 : 1 + len(labels)] = table
            truth[image, :, [not self.questions.possible(one, number) for number in named]] = -1
            if not one["exhaustive"]:
                truth[image, 0, self.questions.common[named]] = -1
        targets = np.zeros((len(flat), MOST_TARGETS), np.int64)
        boxes = np.zeros((len(flat), MOST_TARGETS, 4), np.float32)
        for place, (image, one) in enumerate(flat):
            truth[image, 1 : 1 + len(one.truth), place] = one.truth
            targets[place, : len(one.targets)] = one.targets
            boxes[place, : len(one.targets)] = box_of[image, list(one.targets)]
        widest = max(1, int((targets > 0).sum(1).max(initial=1)))
        mirrored = torch.from_numpy(flipped)
        taps = tuple(mirrored_maps(tap, mirrored) for tap in self.pool.features(rows))
        instances = torch.from_numpy(np.ascontiguousarray(self.pool.instances[rows]))
        return PhotoBatch(
            taps,
            mirrored_maps(instances, mirrored),
            torch.from_numpy(box_of),
            torch.from_numpy(truth),
            self.embedded([one.text for _, one in flat]),
            self.embedded(words),
            torch.tensor([image for image, _ in flat]),
            torch.from_numpy(targets[:, :widest].copy()),
            torch.from_numpy(boxes[:, :widest].copy()),
            mirrored,
        )


def mirrored_maps(maps: Tensor, which: Tensor) -> Tensor:
    """Mirror some of the maps [B, ..., W]; the network's maps of a mirrored image are nearly these."""
    shape = (len(maps), *[1] * (maps.ndim - 1))
    return torch.where(which.view(shape), maps.flip(-1), maps)
