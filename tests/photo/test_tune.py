"""Tuning a finished model: the last stages learn as they should, the rest of the network and the text stay."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from litetext.encoders.features import TextFeatures
from litetext.photo.concepts import Concepts
from litetext.photo.model import PhotoModel
from litetext.photo.objective import Knowledge
from litetext.photo.pool import Pool
from litetext.photo.questions import Questions
from litetext.photo.tune import StudentBatches, StudentText, TuneConfig, TuneTask, last_stages, seen_by
from litetext.segment.lite import LiteModel
from litetext.training.processes import Processes
from litetext.training.trainer import Trainer

from .test_task import SHAPE, SIZE, network, pool  # noqa: F401

CONFIG = TuneConfig(
    image_size=SIZE, head_steps=1, steps=4, images=2, phrases=3, cooldown_steps=2, warmup_steps=1, average=0.5
)


class _Encoder:
    """Random tokens, the same for the same phrase."""

    def encode(self, texts: Sequence[str]) -> TextFeatures[Tensor]:
        seeds = [torch.Generator().manual_seed(zlib.crc32(text.encode())) for text in texts]
        tokens = torch.stack([torch.randn(4, SHAPE.detector_width, generator=seed) for seed in seeds])
        mask = torch.zeros(len(texts), 4, dtype=torch.bool)
        mask[:, 3] = torch.tensor([" " not in text for text in texts])
        return TextFeatures(tokens, mask)


def _task(
    pool: Pool,  # noqa: F811
    network: LiteModel,  # noqa: F811
    concepts: Concepts,
    config: TuneConfig = CONFIG,
    finish: Callable[[PhotoModel], object] = lambda _: None,
) -> TuneTask:
    torch.manual_seed(config.seed)
    model = PhotoModel(SHAPE)
    model.teacher = StudentText()  # type: ignore[assignment]
    model.detector.vision_encoder.backbone.load_state_dict(network.state_dict())
    batches = StudentBatches(pool, Questions(concepts, pool.facts), _Encoder(), 2, 3, 0)  # type: ignore[arg-type]
    labels = batches.embedded([str(number) for number in range(1000)]).embedded
    knowledge = Knowledge(torch.randn(1000, 1280), torch.zeros(1000), labels, labels, labels)
    return TuneTask(config, model, batches, batches, knowledge, network, finish)


def test_the_last_stages_give_what_the_network_gives_and_learn_the_same(network: LiteModel) -> None:  # noqa: F811
    maps = torch.randn(1, 120, 6, 6, requires_grad=True)
    weights = [maps, network.stages[5][0].expand.weight]  # type: ignore[index,union-attr]
    weights[1].requires_grad_(True)
    ours, theirs = last_stages(network, maps), network.last(maps)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    one, other = (torch.autograd.grad(out.square().sum(), weights) for out in (ours, theirs))
    for first, second in zip(one, other, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-4)


def test_the_last_map_of_a_mirrored_scene_is_made_before_it_is_mirrored(
    pool: Pool,  # noqa: F811
    network: LiteModel,  # noqa: F811
    concepts: Concepts,
) -> None:
    task = _task(pool, network, concepts)
    batch = next(batch for batch in map(task._batches.batch, range(20)) if batch.mirrored.any())
    made, kept = task._taps(batch)[-1], batch.taps[-1]
    assert float((made - kept).norm() / kept.norm()) < 0.01
    np.testing.assert_allclose(seen_by(network, pool).taps[-1], pool.taps[-1], atol=0.01)


@pytest.mark.parametrize("last_rate", [0.0, 0.5])
def test_a_run_tunes_what_it_should_and_goes_on_where_it_was(
    pool: Pool,  # noqa: F811
    network: LiteModel,  # noqa: F811
    concepts: Concepts,
    tmp_path: Path,
    last_rate: float,
) -> None:
    config = replace(CONFIG, last_rate=last_rate)
    task = _task(pool, network, concepts, config)
    before = {name: weight.clone() for name, weight in task.model.state_dict().items()}
    options = {"report_every": 2, "evaluate_every": 4, "checkpoint_every": 3}
    Trainer(task, Processes(torch.device("cpu")), tmp_path, **options).fit()  # type: ignore[arg-type]
    after = task.model.state_dict()
    moved = {name for name, weight in before.items() if not torch.equal(weight, after[name])}
    in_network = {name for name in moved if ".backbone." in name}
    assert any("mask_decoder" in name for name in moved)
    assert all("stages.5" in name or "stages.6" in name or "head" in name for name in in_network)
    assert not any("depthwise" in name for name in in_network) and bool(in_network) == (last_rate > 0)
    again = _task(pool, network, concepts, config)
    again.load_state_dict(task.state_dict())
    ours, theirs = again.average.state_dict(), task.average.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert "held_out_semantic_iou" in (tmp_path / "losses.csv").read_text()


def test_what_is_kept_is_finished_and_the_average_goes_on_as_it_was(
    pool: Pool,  # noqa: F811
    network: LiteModel,  # noqa: F811
    concepts: Concepts,
) -> None:
    def finish(model: PhotoModel) -> None:
        model.detector.dot_product_scoring.query_proj.bias.data.add_(1)

    task = _task(pool, network, concepts, finish=finish)
    before = task.average.module.detector.dot_product_scoring.query_proj.bias.clone()
    for _ in range(2):
        torch.testing.assert_close(task.finished().detector.dot_product_scoring.query_proj.bias, before + 1)
    torch.testing.assert_close(task.average.module.detector.dot_product_scoring.query_proj.bias, before)


def test_bfloat16_gives_nearly_the_same_losses(
    pool: Pool,  # noqa: F811
    network: LiteModel,  # noqa: F811
    concepts: Concepts,
) -> None:
    losses = []
    for bfloat16 in (False, True):
        torch.manual_seed(0)
        task = _task(pool, network, concepts, replace(CONFIG, bfloat16=bfloat16))
        torch.manual_seed(1)
        losses.append(task.train_step(2))
    exact, rounded = losses
    assert exact.keys() == rounded.keys()
    for name, value in exact.items():
        assert 0 < abs(float(rounded[name]) - float(value)) < 0.1 * abs(float(value)) + 0.02, name
