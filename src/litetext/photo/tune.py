"""Tune a finished `photo` further: at another input size, and the network's last stages along with the detector.

The text encoder that ships with a model stays as it is, so phrases are its tokens here. Of the last stages only the
pointwise convolutions learn, at a fraction of the rate, and are held to what the network as published sees: the
classifier's space is what phrases were placed in. What is kept is a moving average of the weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..encoders import load_encoder
from ..encoders.features import TextEncoder
from ..json_files import read_json
from ..mini.objective import dense_box_losses, detector_losses, total_loss
from ..mini.staged import UpdatedTask
from ..progress import Progress, no_progress
from ..segment.beside import WEIGHTS as WEIGHTS_FILE
from ..segment.lite import TAPS, LiteModel
from ..tokenizer import Tokenizer
from ..training.processes import Processes
from ..training.schedule import trapezoid
from ..training.trainer import Trainer, TrainReport
from .batches import PhotoBatch, PhotoBatches, Phrases, mirrored_maps
from .evaluation import evaluate
from .imagenet import label_names
from .model import PhotoModel, PhotoShape
from .objective import WEIGHTS, Knowledge, dense_phrases, knowledge_loss
from .pool import Pool
from .questions import Questions
from .ship import FACTS, raise_scores, write_photo
from .task import PhotoTrainConfig
from .train import PhotoData, prepare

_HELD_PLACES = 96
"""Places of a map at which the network is held to what it saw as published."""

_MAY_CHANGE = ("steps", "cooldown_steps", "learning_rate")


@dataclass(frozen=True, slots=True)
class TuneConfig:
    """How a finished model is tuned.

    Attributes:
        image_size: side of the input in pixels.
        head_steps: the first steps, in which only the heads learn that a finished model comes without.
        steps: all steps.
        images, phrases: scenes a step and phrases a scene.
        mask_rows: phrases a step, at most, whose masks are computed.
        learning_rate: after its rise; it falls to nothing over the last ``cooldown_steps``.
        last_rate: of the network's last stages, as a share of it; 0 leaves them as they are.
        average: how much of the averaged weights a step keeps.
        bfloat16: whether products are taken in bfloat16, which is faster on processors that have it.
        weight_decay, warmup_steps, max_grad_norm: as in mini's training.
        scenes: in the pool. paste: share of them with pasted cut-outs.
        seed: of scenes and phrases.
    """

    image_size: int
    head_steps: int = 80
    steps: int = 180
    images: int = 8
    phrases: int = 4
    mask_rows: int = 12
    learning_rate: float = 4e-4
    cooldown_steps: int = 60
    last_rate: float = 0.1
    average: float = 0.99
    bfloat16: bool = False
    weight_decay: float = 0.02
    warmup_steps: int = 20
    max_grad_norm: float = 2.0
    scenes: int = 1536
    paste: float = 0.5
    seed: int = 10

    @property
    def total_steps(self) -> int:
        """All steps."""
        return self.steps

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of ``step``."""
        return trapezoid(self, step)


class StudentText(nn.Module):
    """In the teacher's place, where phrases come as the tokens of a text encoder that stays as it is."""

    def forward(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens [P, L, D] and what is real of them [P, L] bool."""
        return tokens, torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]

    def meanings(self, tokens: Tensor) -> Tensor:
        """[P, L, D] -> [P, D]."""
        return tokens[:, 1]


class StudentBatches(PhotoBatches):
    """Batches whose phrases are a text encoder's tokens; ``sentences`` is that encoder."""

    def __init__(self, pool: Pool, questions: Questions, encoder: TextEncoder, images: int, phrases: int, seed: int):
        super().__init__(pool, questions, encoder, Tokenizer(), images, phrases, seed)  # type: ignore[arg-type]
        self._kept: dict[str, Tensor] = {}

    def embedded(self, texts: Sequence[str]) -> Phrases:
        """Return phrases as tokens [P, L, D]."""
        encoder: Any = self.sentences
        if missing := [text for text in dict.fromkeys(texts) if text not in self._kept]:
            features = encoder.encode(missing).to_torch("cpu", torch.float32)
            for text, tokens, padding in zip(missing, features.tokens, features.mask, strict=True):
                self._kept[text] = tokens[~padding].clone()
        tokens = [self._kept[text] for text in texts]
        lengths = torch.tensor([len(one) for one in tokens])
        return Phrases(nn.utils.rnn.pad_sequence(tokens, batch_first=True), lengths)


class _Filter(torch.autograd.Function):
    """A depthwise convolution that does not learn: its gradient in its input is such a convolution too.

    torch's own takes seconds where the filter is dilated.
    """

    @staticmethod
    def forward(context: Any, maps: Tensor, weight: Tensor, bias: Tensor, dilation: int) -> Tensor:
        context.save_for_backward(weight)
        context.options = {"padding": "same", "dilation": dilation, "groups": len(weight)}
        return F.conv2d(maps, weight, bias, **context.options)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = context.saved_tensors
        return F.conv2d(gradients[0], weight.flip(-1, -2), **context.options), None, None, None


def last_stages(network: LiteModel, maps: Tensor) -> Tensor:
    """Return what `LiteModel.last` does of maps at stride 16, so that its pointwise convolutions can learn."""
    stages: Any = network.stages[TAPS[-1] + 1 :]
    for block in chain(*stages):
        depthwise = block.depthwise
        inner = F.relu6(block.expand(maps))
        weight, bias = depthwise.weight.to(inner.dtype), depthwise.bias.to(inner.dtype)
        inner = _Filter.apply(inner, weight, bias, depthwise.dilation[0])  # type: ignore[no-untyped-call]
        out = block.project(F.relu6(inner))
        maps = maps + out if block.shortcut else out
    return maps


@torch.inference_mode()
def seen_by(network: LiteModel, pool: Pool) -> Pool:
    """Return the scenes of a pool with their last maps made again by a network that has changed."""
    last = [network.last(pool.features(np.array([row]))[2])[0].half().numpy() for row in range(len(pool))]
    return replace(pool, taps=(*pool.taps[:3], np.stack(last)))


class TuneTask(UpdatedTask):
    """A `litetext.training.trainer.TrainTask`.

    Attributes:
        average: the averaged model, which is what is kept.

    Args:
        config: how to tune.
        model: finished, but for the heads that only training uses.
        batches: to train on. held_out: to measure on.
        knowledge: what ImageNet's classifier knows, the labels as tokens.
        published: the network that the pools were filled by.
        finish: what is done to the averaged model, or a copy of it, before it is measured or kept.
    """

    config: TuneConfig
    model: PhotoModel

    def __init__(
        self,
        config: TuneConfig,
        model: PhotoModel,
        batches: StudentBatches,
        held_out: StudentBatches,
        knowledge: Knowledge,
        published: LiteModel,
        finish: Callable[[PhotoModel], object] = lambda _: None,
    ) -> None:
        self._batches, self._held_out, self._knowledge, self._finish = batches, held_out, knowledge, finish
        network: Any = model.detector.vision_encoder.backbone
        self._network, self._published = network, published
        network.requires_grad_(False)
        model.detector.geometry_encoder.requires_grad_(False)
        super().__init__(config, model)
        self._finished = [one for one in model.detector.parameters() if one.requires_grad]
        learning = [network.stages[TAPS[-1] + 1 :], network.head] if config.last_rate else []
        self._last = [one for part in learning for name, one in part.named_parameters() if "depthwise" not in name]
        self._slow = torch.optim.AdamW(
            self._last or [torch.zeros(1)], betas=(0.9, 0.98), weight_decay=config.weight_decay, foreach=True
        )
        self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.average))

    @property
    def samples_per_step(self) -> float:
        """Scenes a step."""
        return self.config.images

    def train_step(self, step: int) -> dict[str, Tensor]:
        """Update the weights once and return the losses."""
        warm = step >= self.config.head_steps
        for one in self._finished + self._last:
            one.requires_grad_(warm)
        self.model.train()
        batch = self._batches.batch(step)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.bfloat16):
            losses = self._losses(batch, warm)
        self._slow.zero_grad()
        for group in self._slow.param_groups:
            group["lr"] = self.learning_rate_at(step) * self.config.last_rate
        losses = self._update(step, losses, total_loss(losses, WEIGHTS))
        self._slow.step()
        self.average.update_parameters(self.model)
        return losses

    def _losses(self, batch: PhotoBatch, warm: bool) -> dict[str, Tensor]:
        model = self.model
        published = self._published.seen(batch.taps[-1]).flatten(2).transpose(1, 2)
        vision = model.encode_image(self._taps(batch))
        some = torch.randperm(published.shape[1])[:_HELD_PLACES]
        tokens, real = model.teacher(batch.phrases.embedded, batch.phrases.lengths)
        losses = {
            "phrases": dense_phrases(model, vision, tokens, real, batch),
            "knowledge": knowledge_loss(model, vision, published, self._knowledge),
            "published": (1 - F.cosine_similarity(vision.hidden[:, some].float(), published[:, some], dim=-1)).mean(),
        }
        losses |= dense_box_losses(model, vision, batch)  # type: ignore[arg-type]
        if warm:
            losses |= detector_losses(model, batch, vision, tokens, real, True, self.config.mask_rows)  # type: ignore[arg-type]
        return losses

    def _taps(self, batch: PhotoBatch) -> tuple[Tensor, ...]:
        """The batch's maps, the last of them as the network sees it now: before it is mirrored."""
        middle = mirrored_maps(batch.taps[2], batch.mirrored)
        return (*batch.taps[:3], mirrored_maps(last_stages(self._network, middle), batch.mirrored))

    def evaluate(self) -> dict[str, float]:
        """Return the finished model's figures on held-out photographs."""
        model: Any = self.finished()
        held_out = copy.copy(self._held_out)
        held_out.pool = seen_by(model.detector.vision_encoder.backbone, self._held_out.pool)
        return evaluate(model, held_out)

    def finished(self) -> PhotoModel:
        """Return a copy of the averaged model as it is kept."""
        average: Any = self.average.module
        model: PhotoModel = copy.deepcopy(average)
        self._finish(model)
        return model

    def identity(self) -> dict[str, Any]:
        """Return what two runs must share for one to continue the other."""
        return {name: value for name, value in asdict(self.config).items() if name not in _MAY_CHANGE}

    def state_dict(self) -> dict[str, Any]:
        """Return weights, their average and optimizers."""
        return {**super().state_dict(), "average": self.average.state_dict(), "slow": self._slow.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state that `state_dict` gave."""
        super().load_state_dict(state)
        self.average.load_state_dict(state["average"])
        self._slow.load_state_dict(state["slow"])


def finished_model(folder: Path, image_size: int) -> PhotoModel:
    """Return a model that was written, phrases as its text encoder's tokens; heads for training are new.

    Args:
        folder: of a `photo`.
        image_size: side of the input in pixels.
    """
    model = PhotoModel(PhotoShape(image_size=image_size))
    model.teacher = StudentText()  # type: ignore[assignment]
    tensors = load_file(folder / "segmenter" / WEIGHTS_FILE)
    model.detector.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return model


def tune(
    data: Path,
    model: Path,
    out: Path,
    config: TuneConfig,
    *,
    resume: bool = True,
    on_report: Callable[[TrainReport], None] | None = None,
    on_preparation: Progress = no_progress,
) -> None:
    """Tune a finished model, and leave checkpoint and curves in ``out`` and the tuned one in ``out/photo``.

    Args:
        data: the data folder (see `litetext.photo.train`).
        model: the folder of a finished `photo`.
        out: a folder; with ``resume`` a checkpoint in it is continued.
        config: what to do.
        resume: go on from a checkpoint in ``out``.
        on_report: called with every report.
        on_preparation: called while scenes are made.
    """
    source, facts = PhotoData(data), read_json(model / FACTS)
    scenes, held_out = prepare(source, _of_scenes(config), out, on_preparation)
    torch.manual_seed(config.seed)
    student = model / "text" / "student"
    encoder, tuned = load_encoder(student), finished_model(model, config.image_size)
    words = encoder.encode(sorted({word for concept in source.concepts.all for word in concept.words}))
    offset = facts.get("score_offset", 0.0)
    raise_scores(tuned, words, -offset)
    questions = Questions(source.concepts, scenes.facts)

    def batches(pool: Pool) -> StudentBatches:
        return StudentBatches(pool, questions, encoder, config.images, config.phrases, 100 * config.seed)

    learned, held = batches(scenes), batches(held_out)
    labels = learned.embedded(label_names()).embedded
    knowledge = Knowledge(source.weights["_fc.weight"], source.weights["_fc.bias"], labels, labels, labels)
    finish = partial(raise_scores, text=words, by=offset)
    task = TuneTask(config, tuned, learned, held, knowledge, source.network, finish)
    Trainer(task, Processes(torch.device("cpu")), out, resume=resume).fit(on_report)
    write_photo(task.finished(), student, out / "photo", facts, overwrite=True)


def _of_scenes(config: TuneConfig) -> PhotoTrainConfig:
    """What `prepare` makes scenes by."""
    shape = PhotoShape(image_size=config.image_size)
    return PhotoTrainConfig(shape=shape, scenes=config.scenes, paste=config.paste, seed=config.seed)
