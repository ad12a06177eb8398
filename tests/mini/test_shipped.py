"""The shipped mini works through the public pieces, and its figures are above a floor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from litetext.data import resolve, samples
from litetext.encoders.checkpoints import read_checkpoint
from litetext.mini.config import recipes
from litetext.mini.evaluation import evaluate_segmenter
from litetext.mini.export import draw_pairs
from litetext.mini.facts import facts_of, shipped_concepts
from litetext.mini.model import Mini, parameters_of
from litetext.mini.ship import load_weights, write_mini
from litetext.mini.world import World
from litetext.segment import Segmenter


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.from_pretrained("mini", device="cpu")


def test_knows_at_least_sixty_concepts() -> None:
    assert len(shipped_concepts()) >= 60


def test_finds_and_misses_in_the_samples(segmenter: Segmenter) -> None:
    found = absent = 0
    for sample in samples():
        instances = segmenter.segment(sample.image, list(sample.phrases))
        per_phrase = [int((instances.prompt_index == row).sum()) for row in range(len(sample.phrases))]
        found += sum(count > 0 for count in per_phrase)
        absent += sum(count == 0 for count in per_phrase)
    assert found >= 3 and absent >= 2


def test_held_out_scenes(segmenter: Segmenter) -> None:
    result = evaluate_segmenter(
        segmenter, draw_pairs(World(shipped_concepts(), size=facts_of()["image_size"]), 41, 120), 41
    )
    assert result.metrics.IL_MCC > 0.7
    assert result.metrics.pmF1 > 45
    assert abs(result.permuted.IL_MCC) < 0.25


def test_weights_load_back_and_write_again_bit_for_bit(tmp_path: Path) -> None:
    facts = facts_of()
    tokenizer = read_checkpoint(resolve("mini/text/teacher")).tokenizer
    torch.manual_seed(0)
    model = Mini(replace(recipes("cpu")[-1].shape, image_size=facts["image_size"]), tokenizer.vocab_size)
    load_weights(model, resolve("mini"))
    shipped = dict(facts["parameters"])
    assert 0 < shipped.pop("student") <= 0.12 * shipped["text"]
    assert parameters_of(model) == shipped
    write_mini(model, tokenizer, tmp_path / "mini", facts)
    for name in ("segmenter/model.safetensors", "text/teacher/model.safetensors"):
        assert (tmp_path / "mini" / name).read_bytes() == resolve(f"mini/{name}").read_bytes()
