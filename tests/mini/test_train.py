"""Training at a tiny size: it learns, it survives being killed, and nothing depends on where it was."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from litetext.errors import LitetextError
from litetext.mini.batches import Batches, trimmed_ids, vocabulary_texts
from litetext.mini.config import MiniTrainConfig, known_concepts, recipes
from litetext.mini.model import Mini, Shape, parameters_of
from litetext.mini.objective import losses_of, total_loss
from litetext.mini.task import MiniTask
from litetext.mini.train import train, train_in_turn
from litetext.tokenizer import Tokenizer
from litetext.training.checkpoint import CHECKPOINT, save_checkpoint

TINY = Shape(
    image_size=32,
    vision_width=32,
    vision_layers=2,
    detector_width=32,
    detector_ffn=32,
    encoder_layers=1,
    decoder_layers=2,
    queries=4,
    text_width=64,
    text_layers=1,
)
SHORT = MiniTrainConfig(
    shape=TINY,
    concepts=4,
    steps=(3, 2, 3),
    images=(2, 2, 2),
    phrases=(3, 3, 3),
    warmup_steps=2,
    report_every=2,
    checkpoint_every=2,
    evaluate_every=1000,
    workers=0,
)
POSITIONS = "detector.vision_encoder.backbone.embeddings.position_embeddings"
CPU = torch.device("cpu")


def _weights(task: MiniTask) -> dict[str, torch.Tensor]:
    return task.model.state_dict()


def test_batches_are_the_same_in_every_process_and_trimmed_exactly() -> None:
    tokenizer = Tokenizer().prune_vocabulary(vocabulary_texts())
    one, other = (Batches(tokenizer, 3, known_concepts(5), 32, 2, 3)[7] for _ in range(2))
    assert torch.equal(one.images, other.images) and torch.equal(one.ids, other.ids)
    assert one.truth.shape == (2, one.concept_of.shape[1], len(one.ids))
    for place in range(len(one.ids)):
        true = set((one.truth[one.image_of[place], :, place] == 1).nonzero().flatten().tolist())
        assert true == set(one.targets[place][one.targets[place] > 0].tolist())
    ids = trimmed_ids(tokenizer, ["banana", "the red banana on the left"])
    assert ids.shape[1] < 32 and (ids == tokenizer.eot_id).any(1).all()


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_every_loss_is_finite_and_every_part_learns(stage: int) -> None:
    task = MiniTask(SHORT, CPU)
    batch = Batches(task.tokenizer, 0, known_concepts(4), 32, 4, 4)[0]
    losses = losses_of(task.model, batch, stage, 4)
    assert all(torch.isfinite(value) for value in losses.values())
    total_loss(losses).backward()
    silent = {
        name.split(".")[1] if name.startswith("detector.") else name.split(".")[0]
        for name, parameter in task.model.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    }
    assert {"vision_encoder", "text"} <= silent
    if stage == 2:
        assert {"detr_encoder", "detr_decoder", "mask_decoder", "dot_product_scoring"} <= silent


def test_a_killed_run_ends_where_an_undisturbed_one_does(tmp_path: Path) -> None:
    whole = train(SHORT, tmp_path / "whole", device=CPU)
    script = (
        "import sys, time, torch; from pathlib import Path; from tests.mini.test_train import SHORT, train, CPU\n"
        "torch.set_num_threads(1)\n"
        "train(SHORT, Path(sys.argv[1]), device=CPU, on_report=lambda at: time.sleep(60 if at.step == 6 else 0))\n"
    )
    killed = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", script, str(killed)], cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not _has_reached(killed / "checkpoint.pt", 4):
        assert process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = train(SHORT, killed, device=CPU)
    for name, tensor in _weights(whole).items():
        assert torch.equal(tensor, _weights(again)[name]), name
    assert _losses(killed) == _losses(tmp_path / "whole")


def _losses(folder: Path) -> list[dict[str, str]]:
    """The rows of the run's curves, but for what time says."""
    with (folder / "losses.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [2, 4, 6, 8]
    return [{name: figure for name, figure in row.items() if "second" not in name} for row in rows]


def _has_reached(checkpoint: Path, step: int) -> bool:
    return checkpoint.exists() and torch.load(checkpoint, weights_only=True)["step"] >= step


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    train(SHORT, tmp_path, device=CPU)
    other = MiniTrainConfig(shape=TINY, concepts=5, workers=0)
    with pytest.raises(LitetextError, match=r"belongs to another run \(its concepts, .* differ\)"):
        train(other, tmp_path, device=CPU)


def test_unknown_presets_are_named() -> None:
    with pytest.raises(LitetextError, match="unknown training preset 'tpu'; choose one of: cpu, gpu"):
        recipes("tpu")


@pytest.mark.parametrize("preset", ["cpu", "gpu"])
def test_what_ships_is_within_its_limit_and_leaves_room_to_compress(preset: str) -> None:
    with torch.device("meta"):
        parameters = parameters_of(Mini(recipes(preset)[-1].shape, 915))
    assert 2 * sum(parameters.values()) <= 25e6
    assert parameters["text"] >= 4e6


def test_the_rate_rises_bends_and_ends_at_nothing() -> None:
    plan = recipes("cpu")[0]
    rates = [plan.learning_rate_at(step) for step in range(sum(plan.steps))]
    assert max(rates) == pytest.approx(plan.learning_rate, rel=1e-3)
    assert rates[0] < 0.01 * plan.learning_rate and rates[-1] < 0.01 * plan.learning_rate
    assert rates[int(0.88 * len(rates))] == pytest.approx(0.45 * plan.learning_rate, rel=1e-2)


def test_the_text_stays_as_it_is_after_its_steps(tmp_path: Path) -> None:
    plan = replace(SHORT, text_steps=0)
    drawn = MiniTask(plan, CPU).model.text.state_dict()
    trained = train(plan, tmp_path / "fixed", device=CPU).model.text.state_dict()
    assert all(torch.equal(drawn[name], trained[name]) for name in drawn)
    learning = train(SHORT, tmp_path / "learning", device=CPU).model.text.state_dict()
    assert not torch.equal(drawn["projector.weight"], learning["projector.weight"])


def test_a_second_recipe_goes_on_from_the_weights_of_the_first_on_a_larger_picture(tmp_path: Path) -> None:
    second = replace(SHORT, shape=replace(SHORT.shape, image_size=64), steps=(0, 0, 1), text_steps=0, seed=5)
    seen: list[int] = []
    last = train_in_turn([SHORT, second], tmp_path, device=CPU, on_report=lambda report: seen.append(report.step))
    assert seen == [2, 4, 6, 8, 9]
    first = MiniTask(SHORT, CPU)
    first.start_from(tmp_path / "1")
    before, after = first.model.text.state_dict(), last.model.text.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)  # the second recipe leaves the text alone
    train_in_turn([SHORT, second], tmp_path, device=CPU, on_report=lambda report: seen.append(report.step))
    assert seen == [2, 4, 6, 8, 9]  # nothing is done twice


def _save(task: MiniTask, folder: Path) -> None:
    save_checkpoint(folder / CHECKPOINT, task.identity(), {"task": task.state_dict()})


def test_weights_fit_another_picture_size(tmp_path: Path) -> None:
    first = MiniTask(SHORT, CPU)
    _save(first, tmp_path)
    larger = MiniTask(replace(SHORT, shape=replace(SHORT.shape, image_size=64), seed=5), CPU)
    larger.start_from(tmp_path)
    before, after = first.model.state_dict(), larger.model.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == {POSITIONS}
    was, now = (state[POSITIONS].unflatten(1, (side, side)) for state, side in ((before, 4), (after, 8)))
    coarse = torch.nn.functional.avg_pool2d(now.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
    likeness = torch.corrcoef(torch.stack([was.flatten(), coarse.flatten()]))[0, 1]
    assert likeness > 0.9  # the same picture on a finer grid


def test_weights_of_another_shape_are_refused_and_so_is_a_folder_without_a_run(tmp_path: Path) -> None:
    _save(MiniTask(SHORT, CPU), tmp_path)
    wider = MiniTask(replace(SHORT, shape=replace(SHORT.shape, vision_width=96)), CPU)
    with pytest.raises(LitetextError, match=r"does not fit the recipe that follows .*size mismatch"):
        wider.start_from(tmp_path)
    with pytest.raises(LitetextError, match="no run to start from"):
        wider.start_from(tmp_path / "nowhere")
