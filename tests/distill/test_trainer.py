"""The trainer: it learns, its steps do not depend on how they are computed, and nothing stops it for good."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from litetext.distill import Examples, LossWeights, ReadBy, TrainConfig, measure, train
from litetext.encoders.modules import TextTransformer
from litetext.errors import LitetextError
from litetext.ragged import Ragged
from litetext.training import checkpoint as checkpoints
from litetext.training.trainer import TrainReport

from .conftest import CONTEXT, PHRASES, examples, student, tokenizer, weights
from .runs import LONG, SHARED

ROOT = Path(__file__).parents[2]
QUICK = TrainConfig(steps=6, batch_size=8)


@settings(max_examples=20)
@given(st.lists(st.sampled_from(PHRASES), min_size=1, max_size=5), st.booleans(), st.sampled_from([0, 5, 513]))
@torch.inference_mode()
def test_trimmed_ragged_and_padded_runs_agree(phrases: list[str], repmixer: bool, pad_id: int) -> None:
    module = _students[repmixer]
    ids = torch.from_numpy(tokenizer()(phrases, CONTEXT, pad_id))
    ragged, mask = module(ids)
    full = module.encode_embeddings(module.embed(ids), mask)
    for row in range(len(phrases)):
        length = int((~mask[row]).sum())
        alone = ids[row : row + 1, :length]
        trimmed = module.encode_embeddings(module.embed(alone), torch.zeros_like(alone, dtype=torch.bool))
        assert (trimmed[0] - ragged[row, :length]).abs().max() <= 1e-5
        assert (trimmed[0] - full[row, :length]).abs().max() <= 1e-5
        assert not ragged[row, length:].any()


def _shaken(repmixer: bool) -> TextTransformer:
    """A student whose every part matters, statistics of the BatchNorms included."""
    module = student(repmixer)
    torch.manual_seed(0)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if name.endswith(("running_var", "scale")) else tensor.normal_(std=0.5)
    return module.eval()


_students = {repmixer: _shaken(repmixer) for repmixer in (False, True)}


@pytest.mark.parametrize("repmixer", [False, True])
def test_gradients_of_ragged_runs_are_those_of_padded_ones(repmixer: bool) -> None:
    module = _students[repmixer]
    ids = torch.from_numpy(tokenizer()(["red dog", "cup"], CONTEXT))
    gradients = []
    for ragged in (True, False):
        module.zero_grad()
        mask = module.padding_mask(ids)
        tokens = module(ids)[0] if ragged else module.encode_embeddings(module.embed(ids), mask)
        tokens[~mask].square().sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None]))
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)
    module.zero_grad()


def test_it_learns_and_reports() -> None:
    reports: list[TrainReport] = []
    before = measure(student(), examples())
    config = TrainConfig(steps=250, batch_size=24, learning_rate=2e-2, losses=LossWeights(relational=0.5))
    result = train(student(), examples(), config, held_out=examples(), on_report=reports.append)
    assert result.held_out is not None and result.held_out.mean_cosine > max(0.95, before.mean_cosine)
    assert result.held_out == measure(result.student, examples())
    assert result.held_out.p5_cosine < result.held_out.mean_cosine <= 1
    assert reports[-1].step == 250 and set(reports[-1].losses) == {
        "mse",
        "cosine",
        "consistency",
        "relational",
        "total",
    }
    assert reports[-1].losses["total"] < 0.2 * reports[0].losses["total"]
    assert not result.student.training and result.history[-1]["held_out_mean_cosine"] == result.held_out.mean_cosine


def test_the_learning_rate_rises_then_falls_to_nothing() -> None:
    config = TrainConfig(epochs=10, batch_size=10, learning_rate=1.0, warmup_ratio=0.2)
    assert config.total_steps(96) == 100
    rates = [config.learning_rate_at(step, 100) for step in range(100)]
    assert rates[0] == 0.05 and rates[19] == 1.0 == max(rates) and rates[-1] < 1e-3
    assert rates[20:] == sorted(rates[20:], reverse=True)


def apart(one: Tensor, other: Tensor) -> float:
    """How far two students ended from each other, in units of the way they came (AdamW magnifies rounding)."""
    return float((one - other).norm() / (one - weights(student())).norm())


def test_parts_of_a_step_add_up_to_it() -> None:
    whole, parts = (
        train(
            student(),
            examples(),
            replace(QUICK, gradient_accumulation_steps=parts, losses=LossWeights(consistency=1.0)),
        ).student
        for parts in (1, 3)
    )
    assert apart(weights(whole), weights(parts)) < 0.01


def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    one = train(student(), examples(), replace(SHARED, gradient_accumulation_steps=1)).student
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0", "--standalone",
         "-m", "tests.distill.runs", "shared", tmp_path],
        check=False, cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    both = [torch.load(tmp_path / f"shared-{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert torch.equal(*both)
    assert apart(both[0], weights(one)) < 0.01


def test_a_killed_run_ends_with_the_weights_it_would_have_had(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-m", "tests.distill.runs", "long", tmp_path / "killed"], cwd=ROOT)
    while not (tmp_path / "killed" / checkpoints.CHECKPOINT).exists():
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = torch.load(tmp_path / "killed" / checkpoints.CHECKPOINT, weights_only=True)["step"]
    assert 5 <= left < 60
    resumed = train(
        student(repmixer=True, seed=9), examples(), LONG, held_out=examples(["cup"]), out=tmp_path / "killed"
    )
    through = train(student(repmixer=True), examples(), LONG, held_out=examples(["cup"]))
    assert torch.equal(weights(resumed.student), weights(through.student))
    assert resumed.held_out == through.held_out
    rows = list(csv.DictReader((tmp_path / "killed" / "losses.csv").open()))
    assert [int(row["step"]) for row in rows] == list(range(10, 61, 10))
    losses = [[row[name] for name in ("mse", "total")] for row in rows]
    assert losses == [[f"{row[name]:.7g}" for name in ("mse", "total")] for row in through.history]
    assert list((tmp_path / "killed" / "tensorboard").iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_first(tmp_path: Path, number: int) -> None:
    def stop(report: TrainReport) -> None:
        if report.step == 2:
            os.kill(os.getpid(), number)

    handler = signal.getsignal(signal.SIGINT)
    config = replace(QUICK, report_every=1, checkpoint_every=100)
    with pytest.raises(KeyboardInterrupt):
        train(student(), examples(), config, out=tmp_path, on_report=stop)
    assert signal.getsignal(signal.SIGINT) is handler
    assert torch.load(tmp_path / checkpoints.CHECKPOINT, weights_only=True)["step"] == 3
    resumed = train(student(seed=5), examples(), config, out=tmp_path)
    assert torch.equal(weights(resumed.student), weights(train(student(), examples(), config).student))


def test_an_interrupted_checkpoint_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, saved = torch.save, []

    def full_after_one(state: Any, path: Path) -> None:
        if saved:
            Path(path).write_bytes(b"half")
            raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")
        saved.append(path)
        save(state, path)

    monkeypatch.setattr(checkpoints.torch, "save", full_after_one)
    config = replace(QUICK, checkpoint_every=2)
    with pytest.raises(LitetextError, match="checkpoint.pt could not be written .* the last checkpoint is kept"):
        train(student(), examples(), config, out=tmp_path)
    monkeypatch.undo()
    resumed = train(student(seed=5), examples(), config, out=tmp_path)
    assert torch.equal(weights(resumed.student), weights(train(student(), examples(), config).student))


def test_a_damaged_or_foreign_checkpoint_is_named(tmp_path: Path) -> None:
    train(student(), examples(), QUICK, out=tmp_path)
    with pytest.raises(LitetextError, match=r"belongs to another run \(its learning_rate differ\); start anew"):
        train(student(), examples(), replace(QUICK, learning_rate=1.0), out=tmp_path)
    with pytest.raises(LitetextError, match=r"belongs to another run \(its prompts differ\)"):
        train(student(), examples(PHRASES[1:]), QUICK, out=tmp_path)
    path = tmp_path / checkpoints.CHECKPOINT
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(
        LitetextError, match=r"checkpoint.pt is not a readable PyTorch checkpoint \(.*delete it to start anew"
    ):
        train(student(), examples(), QUICK, out=tmp_path)
    with pytest.raises(LitetextError, match=r"checkpoint.pt exists and is not as litetext wrote it"):
        train(student(), examples(), QUICK, out=tmp_path, resume=False)
    path.unlink()
    assert train(student(), examples(), QUICK, out=tmp_path, resume=False).steps == 6


def test_a_run_goes_on_only_with_its_teacher_its_reader_and_its_first_student(tmp_path: Path) -> None:
    config = replace(QUICK, losses=LossWeights(downstream=1.0))
    taught = replace(examples(), teacher="one")

    def run(of: Examples, reader: Tensor, initial_student: str) -> int:
        return train(
            student(), of, config, downstream=ReadBy([reader]), out=tmp_path, initial_student=initial_student
        ).steps

    assert run(taught, torch.eye(12), "drawn") == run(taught, torch.eye(12), "drawn") == 6
    with pytest.raises(LitetextError, match=r"belongs to another run \(its teacher differ\)"):
        run(replace(taught, teacher="two"), torch.eye(12), "drawn")
    with pytest.raises(LitetextError, match=r"belongs to another run \(its through differ\)"):
        run(taught, 2 * torch.eye(12), "drawn")
    with pytest.raises(LitetextError, match=r"belongs to another run \(its initial_student differ\)"):
        run(taught, torch.eye(12), "pca")
    path = tmp_path / checkpoints.CHECKPOINT
    state = torch.load(path, weights_only=True)
    for key in ("teacher", "through", "initial_student"):  # as runs were identified before
        del state["run"][key]
    with pytest.raises(LitetextError, match=r"belongs to another run \(its initial_student, teacher, through differ\)"):
        torch.save(state, path)
        run(taught, torch.eye(12), "drawn")


class Watched(nn.Module):
    """A student with a BatchNorm that says with which prompts it was run."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = student(repmixer=True)
        self.seen: list[Tensor] = []

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        self.seen.append(ids)
        tokens: tuple[Tensor, Tensor] = self.inner(ids)
        return tokens


@pytest.mark.parametrize("stop_gradient", [False, True])
def test_the_permuted_pass_leaves_batchnorm_alone(stop_gradient: bool) -> None:
    runs = {}
    for weight in (0.0, 1e-12):  # so small that the weights stay the same: only statistics could differ
        module = Watched()
        config = TrainConfig(
            steps=1, batch_size=24, stop_gradient=stop_gradient, losses=LossWeights(consistency=weight)
        )
        train(module, examples(), config)
        runs[weight] = module
    assert len(runs[0.0].seen) == 1 and len(runs[1e-12].seen) == 2
    plain, permuted = runs[1e-12].seen
    moved = [phrase for phrase in PHRASES if len(phrase.split()) > 1]
    assert len(permuted) == len(moved) < len(plain)
    rows = {tuple(row.tolist()) for row in plain}
    assert not rows & {tuple(row.tolist()) for row in permuted}  # no permutation reads as any prompt here does
    for (name, one), two in zip(runs[0.0].named_buffers(), runs[1e-12].buffers(), strict=True):
        torch.testing.assert_close(one, two, msg=name)


def test_consistency_makes_order_matter_less_to_students() -> None:
    def order_matters(weight: float) -> float:
        config = TrainConfig(steps=80, batch_size=24, learning_rate=1e-2, losses=LossWeights(consistency=weight))
        result = train(student(), examples(), config)
        with torch.no_grad():
            red_dog, dog_red = result.student(torch.from_numpy(tokenizer()(["red dog", "dog red"], CONTEXT)))[0]
        return float((red_dog[[1, 2]] - dog_red[[2, 1]]).square().mean())

    assert order_matters(10.0) < 0.5 * order_matters(0.0)


def test_averaged_weights_lag_behind() -> None:
    last = train(student(), examples(), replace(QUICK, learning_rate=1e-2))
    averaged = train(student(), examples(), replace(QUICK, learning_rate=1e-2, ema_decay=0.99), held_out=examples())
    start = weights(student())
    assert 0 < (weights(averaged.student) - start).norm() < (weights(last.student) - start).norm()
    assert averaged.held_out == measure(averaged.student, examples())


def test_a_downstream_loss_sees_features_and_padding() -> None:
    def downstream(ours: Tensor, theirs: Tensor, mask: Tensor) -> Tensor:
        assert ours.shape == theirs.shape == (*mask.shape, 12)
        assert not ours[mask].any() and not theirs[mask].any() and theirs[~mask].any(-1).all()
        return (ours - theirs).square().sum() / len(ours)

    config = replace(QUICK, losses=LossWeights(mse=0, cosine=0, consistency=0, downstream=1.0))
    history = train(student(), examples(), replace(config, steps=40, learning_rate=1e-2), downstream=downstream).history
    assert history[-1]["downstream"] < history[0]["downstream"]
    with pytest.raises(LitetextError, match="the downstream loss has a weight but nothing to look through"):
        train(student(), examples(), config)


def test_bf16_runs_the_student_and_keeps_float32_weights() -> None:
    result = train(student(), examples(), replace(QUICK, precision="bf16"))
    assert all(parameter.dtype == torch.float32 for parameter in result.student.parameters())
    assert not torch.equal(weights(result.student), weights(train(student(), examples(), QUICK).student))


def test_what_does_not_fit_is_refused() -> None:
    whole = examples()
    none = Ragged.of([])
    with pytest.raises(LitetextError, match="there are no prompts to learn from"):
        Examples(none, none)
    with pytest.raises(LitetextError, match="do not belong to these prompts"):
        Examples(whole.ids, examples(PHRASES[:3]).targets)
    with pytest.raises(LitetextError, match="the consistency loss needs to know what may move"):
        train(student(), Examples(whole.ids, whole.targets), QUICK)
    narrow = Examples(whole.ids, Ragged(whole.targets.values[:, :7], whole.ids.offsets))  # type: ignore[attr-defined]
    with pytest.raises(
        LitetextError, match="features are 12 wide, the teacher's 7; give the student an output_dim of 7"
    ):
        train(student(), narrow, replace(QUICK, losses=LossWeights(consistency=0)))
    with pytest.raises(
        LitetextError, match=r"the \w+ loss is not finite at step [1-6] of 6 \(learning rate 1e\+30\); give a lower"
    ):
        train(student(), whole, replace(QUICK, learning_rate=1e30, max_grad_norm=1e30, warmup_ratio=0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0; give more than 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"steps": 0}, "steps is 0; give 1 or more"),
        ({"warmup_ratio": 1.0}, "warmup_ratio is 1.0; give 0 or more and less than 1"),
        ({"precision": "fp8"}, "unknown precision 'fp8'; choose one of: bf16, fp32"),
    ],
)
def test_configs_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(LitetextError, match=message):
        TrainConfig(**changes)
