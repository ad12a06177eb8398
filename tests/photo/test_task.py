"""Training: batches that are what the scenes and phrases say, steps that learn, runs that go on where they were."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from litetext.photo.batches import PhotoBatches
from litetext.photo.concepts import Concepts
from litetext.photo.evaluation import category_pairs, evaluate
from litetext.photo.model import PhotoModel, PhotoShape, Space
from litetext.photo.objective import Knowledge
from litetext.photo.pool import Pool, fill_pool, make_pool
from litetext.photo.questions import Questions
from litetext.photo.scenes import Studio, whole
from litetext.photo.task import PhotoTask, PhotoTrainConfig
from litetext.segment.lite import LiteConfig, LiteModel
from litetext.tokenizer import Tokenizer
from litetext.training.processes import Processes
from litetext.training.trainer import Trainer

from .conftest import disc_photograph

SIZE = 96
SHAPE = PhotoShape(SIZE, detector_width=32, detector_ffn=32, encoder_layers=1, queries=6, text_hidden=16)
CONFIG = PhotoTrainConfig(
    shape=SHAPE, steps=(2, 2, 4), images=(2, 2, 2), phrases=(3, 3, 3), warmup_steps=2, cooldown_steps=2, scenes=6,
    text_steps=5, many_steps=6, report_every=2, evaluate_every=8, checkpoint_every=4,
)  # fmt: skip


class _Sentences:
    """Random features, the same for the same phrase."""

    def embed(self, texts: Sequence[str]) -> Tensor:
        seeds = [torch.Generator().manual_seed(zlib.crc32(text.encode())) for text in texts]
        return F.normalize(torch.stack([torch.randn(384, generator=seed) for seed in seeds]), dim=-1)


@pytest.fixture(scope="module")
def network() -> LiteModel:
    torch.manual_seed(0)
    return LiteModel(LiteConfig(image_size=SIZE)).eval()


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, concepts: Concepts, network: LiteModel) -> Pool:
    folder = tmp_path_factory.mktemp("pool")
    dog, cup = concepts.coco["dog"], concepts.coco["cup"]
    studio = Studio([disc_photograph(dog, 0)], [disc_photograph(cup, 1)], SIZE)
    make_pool(folder, 6, SIZE)
    fill_pool(folder, 0, (studio.scene(0, index) for index in range(3)), network)
    fill_pool(folder, 3, (studio.scene(0, index) for index in range(3, 6)), network)
    return Pool.open(folder)


def _task(pool: Pool, concepts: Concepts, config: PhotoTrainConfig = CONFIG) -> PhotoTask:
    torch.manual_seed(config.seed)
    questions = Questions(concepts, pool.facts)
    batches = PhotoBatches(pool, questions, _Sentences(), Tokenizer(), 2, 3, 0)  # type: ignore[arg-type]
    weight = torch.randn(1000, 1280, generator=torch.Generator().manual_seed(1))
    space = Space(weight, SHAPE.detector_width)
    labels = _Sentences().embed([str(number) for number in range(1000)])
    knowledge = Knowledge(weight, torch.zeros(1000), labels, labels, space.rows)
    return PhotoTask(config, PhotoModel(SHAPE), (batches, batches, batches), batches, knowledge)


def test_a_pool_holds_what_was_written(pool: Pool, network: LiteModel, concepts: Concepts) -> None:
    assert len(pool) == 6
    features = pool.features(np.array([4, 1]))
    assert [tuple(tap.shape) for tap in features] == [
        (2, 24, SIZE // 4, SIZE // 4), (2, 48, SIZE // 8, SIZE // 8), (2, 120, SIZE // 16, SIZE // 16),
        (2, 352, SIZE // 16, SIZE // 16),
    ]  # fmt: skip
    assert set(np.unique(pool.instances[4])) <= set(range(len(pool.facts[4]["things"]) + 1))


def test_a_batch_is_the_same_every_time_and_mirrors_boxes_with_pixels(pool: Pool, concepts: Concepts) -> None:
    batches = _task(pool, concepts)._batches[0]
    batch, again = batches.batch(3), batches.batch(3)
    assert (batch.targets == again.targets).all() and (batch.instances == again.instances).all()
    rows, columns = np.nonzero(batch.targets[:, :1].numpy() > 0)
    assert len(rows)
    for row, column in zip(rows, columns, strict=True):
        mask = batch.instances[batch.image_of[row]] == batch.targets[row, column]
        where = mask.any(0).nonzero().squeeze(1)
        middle = (int(where[0]) + int(where[-1]) + 1) / 2 / SIZE
        assert float(batch.boxes[row, column, 0]) == pytest.approx(middle, abs=1e-3)
        assert batch.truth[batch.image_of[row], batch.targets[row, column], row] == 1


def test_a_run_goes_on_where_it_was_and_ends_with_the_same_weights(
    pool: Pool, concepts: Concepts, tmp_path: Path
) -> None:
    def trained(folder: Path, config: PhotoTrainConfig) -> PhotoTask:
        task = _task(pool, concepts, config)
        options = {"report_every": 2, "evaluate_every": 8, "checkpoint_every": 4}
        Trainer(task, Processes(torch.device("cpu")), folder, **options).fit()  # type: ignore[arg-type]
        return task

    straight = trained(tmp_path / "a", replace(CONFIG, cooldown_steps=1))
    trained(tmp_path / "b", replace(CONFIG, steps=(2, 2, 0), cooldown_steps=0))
    resumed = trained(tmp_path / "b", replace(CONFIG, cooldown_steps=1))
    ours, theirs = resumed.model.state_dict(), straight.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    losses = (tmp_path / "a" / "losses.csv").read_text().splitlines()
    assert len(losses) == 5 and "knowledge" in losses[0]


def test_the_backbone_and_after_a_while_the_text_stay_as_they_are(pool: Pool, concepts: Concepts) -> None:
    task = _task(pool, concepts)
    stem = task.model.detector.vision_encoder.backbone.stem.weight.clone()
    before = task.model.teacher.outer.weight.clone()
    task.train_step(0)
    after = task.model.teacher.outer.weight.clone()
    task.train_step(5)
    assert torch.equal(task.model.detector.vision_encoder.backbone.stem.weight, stem)
    assert not torch.equal(before, after)
    assert torch.equal(task.model.teacher.outer.weight, after)


def test_figures_on_held_out_photographs(concepts: Concepts, network: LiteModel, pool: Pool, tmp_path: Path) -> None:
    photographs = [disc_photograph(concepts.coco["dog"], seed) for seed in range(2)]
    make_pool(tmp_path, 2, SIZE)
    fill_pool(tmp_path, 0, (whole(one, SIZE) for one in photographs), network)
    held = Pool.open(tmp_path)
    pairs = category_pairs(held.facts, concepts)
    assert [len(asked) for asked in pairs] == [2, 2]
    assert all(asked[0] == concepts.coco["dog"] and asked[1] != concepts.coco["dog"] for asked in pairs)
    task = _task(pool, concepts)
    batches = replace_pool(task._batches[0], held)
    figures = evaluate(task.model, batches)
    assert 0 <= figures["semantic_iou"] <= 1
    assert set(figures) >= {"presence_auc", "pmF1", "IL_MCC", "person_mcc"}


def replace_pool(batches: PhotoBatches, pool: Pool) -> PhotoBatches:
    return PhotoBatches(pool, batches.questions, batches.sentences, batches.tokenizer, 1, 1, 0)
