"""What padding may and may not do, under each convention."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from litetext.encoders import TRANSFORMERS, Convention, TorchTextEncoder
from litetext.encoders.modules import RepMixerBlock, after_first_eot
from litetext.errors import LitetextError
from litetext.tokenizer import Tokenizer

from .conftest import STRUCTURES, random_encoder, small_config

TOKENIZER = Tokenizer()
EVERYWHERE = Convention(16, 0, "everywhere", "slice")
MASKED = {name: random_encoder(small_config(name, EVERYWHERE)) for name in ("s0", "s1")}
PROMPTS = st.lists(st.text(st.characters(codec="utf-8"), max_size=12), min_size=1, max_size=4)


@settings(max_examples=25, deadline=None)
@given(PROMPTS, st.sampled_from(["s0", "s1"]), st.sampled_from([0, 5, 49407]))
@torch.inference_mode()
def test_masked_everywhere_means_padding_changes_nothing(prompts: list[str], name: str, pad_id: int) -> None:
    module = MASKED[name]
    ids = torch.from_numpy(TOKENIZER(prompts, 16, pad_id))
    tokens, mask = module(ids)
    for row in range(len(prompts)):
        length = int((~mask[row]).sum())
        alone, _ = module(ids[row : row + 1, :length])
        assert (tokens[row, :length] - alone[0]).abs().max() <= 1e-5


@torch.inference_mode()
def test_causal_encoders_may_be_trimmed() -> None:
    module = random_encoder(small_config("teacher"))
    ids = torch.from_numpy(TOKENIZER(["white dog"], 32))
    assert (module(ids)[0][:, :4] - module(ids[:, :4])[0]).abs().max() <= 1e-5


@torch.inference_mode()
def test_published_students_do_read_their_padding() -> None:
    for name in ("s0", "s1"):
        module = random_encoder(small_config(name))
        ids = torch.from_numpy(TOKENIZER(["white dog"], 16))
        assert (module(ids)[0][:, :4] - module(ids[:, :4])[0]).abs().max() > 1e-2


def test_mask_is_id_zero_for_the_authors_and_ends_at_eot_for_masked_encoders() -> None:
    ids = torch.from_numpy(TOKENIZER(["!~ graffiti"], 16))
    assert ids[0, 1] == 0  # a real token that carries the padding id
    assert random_encoder(small_config("s1")).padding_mask(ids)[0, 1]
    assert not MASKED["s1"].padding_mask(ids)[0, 1]
    assert torch.equal(after_first_eot(ids, 49407).sum(1), 16 - (ids != 0).sum(1) - 1)


@torch.inference_mode()
def test_folding_keeps_the_function_and_drops_every_batchnorm() -> None:
    for convention in (None, EVERYWHERE, TRANSFORMERS):
        module = random_encoder(small_config("s0", convention))
        ids = torch.from_numpy(TOKENIZER(["a very long purple umbrella", "dog"], 16))
        folded = module.folded()
        tokens, mask = module(ids)
        read = ~mask if convention is not None else torch.ones_like(mask)  # masked rows hold nothing anyone reads
        assert (folded(ids)[0] - tokens)[read].abs().max() <= 2e-5
        assert not any(isinstance(m, torch.nn.BatchNorm1d) for m in folded.modules())
        assert any(isinstance(m, RepMixerBlock) for m in module.modules())  # the original is untouched
        assert folded.unused_projection is None and module.unused_projection is not None


def test_batchnorm_statistics_come_from_real_tokens_only() -> None:
    short, padded = (torch.from_numpy(TOKENIZER(["white dog"], n)) for n in (4, 16))
    running = []
    for ids in (short, padded):
        module = random_encoder(small_config("s0", EVERYWHERE)).train()
        module(ids)
        running.append(module.layers[0].mixer.norm.running_mean.clone())
    torch.testing.assert_close(running[0], running[1])


@pytest.mark.parametrize("structure", STRUCTURES)
def test_encode_returns_rows_in_order_and_accepts_none_and_empty(structure: str) -> None:
    encoder = TorchTextEncoder(random_encoder(small_config(structure)), TOKENIZER)
    prompts = [f"thing number {i}" for i in range(300)]  # more than one inner batch
    features = encoder.encode(prompts)
    assert len(features) == 300 and features.dim == 32
    torch.testing.assert_close(encoder.encode(prompts[270:271]).tokens, features.tokens[270:271])
    assert tuple(encoder.encode([]).tokens.shape) == (0, encoder.config.convention.context_length, 32)
    assert not encoder.encode([""]).mask[0, :2].any()


def test_ids_and_lengths_outside_the_encoder_are_refused() -> None:
    encoder = TorchTextEncoder(random_encoder(small_config("s1", vocab_size=600)), TOKENIZER)
    with pytest.raises(LitetextError, match=r"outside the embedding's 600 rows"):
        encoder.encode(["dog"])
    for ids, culprit in (([-1, 2, 3], -1), ([1, 600, 3], 600)):
        with pytest.raises(LitetextError, match=f"token id {culprit} is outside"):
            encoder.encode_ids(torch.tensor([ids]))
    with pytest.raises(LitetextError, match="20 tokens need 20 position rows"):
        encoder.encode_ids(torch.zeros(1, 20, dtype=torch.long))
