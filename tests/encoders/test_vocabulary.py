"""Fewer embedding rows: the same features where all tokens are kept, an honest account where they are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from litetext.encoders import PRESETS, TRANSFORMERS, Checkpoint, TorchTextEncoder, load_encoder, write_checkpoint
from litetext.encoders.vocabulary import measure_effect, prune_checkpoint, touched_prompts
from litetext.errors import LitetextError
from litetext.tokenizer import Tokenizer

from .conftest import STRUCTURES, random_encoder, small_config

KEPT = ["white dog", "a red car", "", "man in blue jacket!"]
OTHERS = ["an armadillo", "white dog", "zucchini 日本"]
FULL = Tokenizer()


def checkpoint_of(structure: str, **changes: object) -> Checkpoint:
    config = small_config(structure, **changes)
    return Checkpoint(config, random_encoder(config).state_dict(), Tokenizer(), "litetext", "memory")


def encoder_of(checkpoint: Checkpoint) -> TorchTextEncoder:
    return TorchTextEncoder(checkpoint.module(), checkpoint.tokenizer)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_kept_prompts_are_bit_identical(structure: str, tmp_path: Path) -> None:
    whole = checkpoint_of(structure)
    write_checkpoint(prune_checkpoint(whole, FULL.prune_vocabulary(KEPT)), tmp_path / "pruned")
    before, after = encoder_of(whole).encode(KEPT), load_encoder(tmp_path / "pruned").encode(KEPT)
    assert torch.equal(before.tokens, after.tokens) and torch.equal(before.mask, after.mask)


def test_the_pad_id_moves_with_its_row() -> None:
    whole = checkpoint_of("s1", convention=replace(TRANSFORMERS, context_length=12))
    pruned = prune_checkpoint(whole, FULL.prune_vocabulary(KEPT))
    assert pruned.config.convention.pad_id == pruned.config.vocab_size - 1
    before, after = encoder_of(whole).encode(KEPT), encoder_of(pruned).encode(KEPT)
    assert torch.equal(before.tokens, after.tokens) and torch.equal(before.mask, after.mask)


def test_effect_counts_the_touched_and_measures_them() -> None:
    whole = checkpoint_of("s1")
    tokenizer = FULL.prune_vocabulary(KEPT)
    pruned = prune_checkpoint(whole, tokenizer)
    assert touched_prompts(FULL, tokenizer, OTHERS) == ["an armadillo", "zucchini 日本"]
    effect = measure_effect(encoder_of(whole), encoder_of(pruned), (FULL, tokenizer), [*KEPT, *OTHERS])
    assert (effect.rows, effect.prompts, effect.touched) == (tokenizer.vocab_size, 7, 2)
    assert effect.min_cosine <= effect.mean_cosine < 0.9999
    means = [
        features.tokens[~features.mask].double().mean(0).numpy()
        for features in (encoder_of(one).encode(["an armadillo"]) for one in (whole, pruned))
    ]
    alone = measure_effect(encoder_of(whole), encoder_of(pruned), (FULL, tokenizer), ["an armadillo"])
    assert alone.mean_cosine == pytest.approx(
        float(means[0] @ means[1] / np.linalg.norm(means[0]) / np.linalg.norm(means[1]))
    )
    assert alone.worst_prompt == "an armadillo"
    none = measure_effect(encoder_of(whole), encoder_of(pruned), (FULL, tokenizer), KEPT)
    assert (none.touched, none.min_cosine, none.worst_prompt) == (0, 1.0, None)


def test_a_pruned_checkpoint_can_be_pruned_further() -> None:
    whole = checkpoint_of("s1")
    once = prune_checkpoint(whole, FULL.prune_vocabulary([*KEPT, *OTHERS]))
    twice = prune_checkpoint(once, once.tokenizer.prune_vocabulary(KEPT))
    before, after = encoder_of(whole).encode(KEPT), encoder_of(twice).encode(KEPT)
    assert torch.equal(before.tokens, after.tokens) and torch.equal(before.mask, after.mask)
    vocabularies = (once.tokenizer, twice.tokenizer)
    assert measure_effect(encoder_of(once), encoder_of(twice), vocabularies, OTHERS).touched == 2


@pytest.mark.parametrize(("rows", "millions"), [(17_300, 25.84), (8_000, 21.08)])
def test_live_parameters_of_pruned_s0(rows: int, millions: float) -> None:
    assert replace(PRESETS["s0"], vocab_size=rows).live_parameters() / 1e6 == pytest.approx(millions, abs=0.005)
    assert FULL.prune_vocabulary(rows).vocab_size == rows


def test_refusals() -> None:
    whole = checkpoint_of("s1")
    tokenizer = FULL.prune_vocabulary(600)
    with pytest.raises(LitetextError, match="the vocabularies do not match"):
        prune_checkpoint(prune_checkpoint(whole, tokenizer), FULL.prune_vocabulary(700))
    with pytest.raises(LitetextError, match="lacks id 30000"):
        prune_checkpoint(replace(whole, config=whole.config.with_convention(pad_id=30_000)), tokenizer)
    with pytest.raises(LitetextError, match="only CLIP's and parts of it can be pruned"):
        prune_checkpoint(checkpoint_of("s1", vocab_size=600), tokenizer)
