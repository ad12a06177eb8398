"""The concept bank: what it stores is what the encoder says, and nothing else gets in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from litetext.encoders import (
    Checkpoint,
    ConceptBank,
    ExemplarConcept,
    TextFeatures,
    TorchTextEncoder,
    build_bank,
    export_onnx,
    load_encoder,
)
from litetext.encoders.bank import _own_thresholds as own_thresholds
from litetext.errors import LitetextError
from litetext.tokenizer import Tokenizer, clean

from .conftest import random_encoder, small_config

CONCEPTS = ["white dog", "a red car", "White  DOG", "日本の車", "!; !", "", "man in a blue jacket"]


class Counting:
    """A text encoder that notes what it was asked."""

    def __init__(self, seed: int = 0) -> None:
        module = random_encoder(small_config("s1", vocab_size=900), seed)
        self._encoder = TorchTextEncoder(module, Tokenizer().prune_vocabulary(900))
        self.asked: list[str] = []

    def encode(self, prompts: Sequence[str]) -> TextFeatures:
        self.asked += prompts
        return self._encoder.encode(prompts)


@pytest.fixture(scope="module")
def encoder() -> Counting:
    return Counting()


@pytest.fixture(scope="module")
def bank(encoder: Counting, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bank") / "bank.safetensors"
    build_bank(CONCEPTS, encoder, path, encoder_name="small s1")
    return path


def test_features_are_the_encoders_in_half_precision(encoder: Counting, bank: Path) -> None:
    opened = load_encoder(bank)
    assert isinstance(opened, ConceptBank) and len(opened) == 6 and "WHITE dog " in opened and "cat" not in opened
    asked = [CONCEPTS[i] for i in (3, 0, 5, 4, 0, 2)]
    found, expected = opened.encode(asked), encoder.encode(asked).numpy()
    assert np.array_equal(found.mask, expected.mask)
    real = ~expected.mask
    assert np.array_equal(found.tokens[real], expected.tokens[real].astype(np.float16).astype(np.float32))
    assert opened.concepts() == [clean(CONCEPTS[i]) for i in (0, 1, 3, 4, 5, 6)]


def test_unknown_phrases_are_named(bank: Path) -> None:
    with pytest.raises(LitetextError, match="does not know 'cat', 'cow', 'elk' and 1 more; .*small s1"):
        ConceptBank(bank).encode(["white dog", "cat", "cow", "elk", "cat", "fox"])


def test_the_fallback_is_asked_once_and_remembered_within_bounds(bank: Path) -> None:
    fallback = Counting()
    opened = ConceptBank(bank, fallback, remember=2)
    fallback.asked.clear()
    mixed = ["cat", "white dog", "Cat", "cow"]
    found, expected = opened.encode(mixed), Counting().encode(mixed).numpy()
    assert fallback.asked == ["cat", "cow"]
    real = ~expected.mask
    assert np.abs(found.tokens - expected.tokens)[real].max() < 0.02 and np.array_equal(found.mask, expected.mask)
    opened.encode(["cat"])
    opened.encode(["elk"])  # the third: cow, the least recently used, goes
    opened.encode(["cat", "elk"])
    assert fallback.asked == ["cat", "cow", "elk"]
    opened.encode(["cow"])
    assert fallback.asked == ["cat", "cow", "elk", "cow"]


def test_a_bank_of_examples_alone_has_a_fallback_too(tmp_path: Path) -> None:
    encoder = Counting()
    dim = encoder.encode(["owl"]).tokens.shape[2]
    widget = ExemplarConcept("widget", np.ones((4, dim), np.float32))
    build_bank([], encoder, tmp_path / "ex.safetensors", encoder_name="small s1", concepts=[widget])
    opened = ConceptBank(tmp_path / "ex.safetensors", fallback=encoder)
    for _ in range(2):  # asked, then remembered
        found, wanted = opened.encode(["widget", "owl"]), encoder.encode(["owl"]).numpy()
        assert np.array_equal(found.tokens[1], wanted.tokens[0]) and np.array_equal(found.mask[1], wanted.mask[0])
        assert (found.tokens[0, :4] == 1).all() and found.mask[0].tolist() == [False] * 4 + [True] * 12
    assert opened.encode(["widget"]).tokens.shape == (1, 4, dim)


def test_another_encoder_is_no_fallback(bank: Path) -> None:
    with pytest.raises(LitetextError, match="made with another encoder"):
        ConceptBank(bank, Counting(seed=1))


def test_an_int8_export_of_the_encoder_is_a_fallback(tmp_path: Path) -> None:
    tokenizer = Tokenizer().prune_vocabulary(900)
    config = small_config("s1", vocab_size=900)
    checkpoint = Checkpoint(config, random_encoder(config).state_dict(), tokenizer, "litetext", "memory")
    export_onnx(checkpoint, tmp_path / "e", CONCEPTS, precision="int8", weight_bits=7)
    build_bank(CONCEPTS, TorchTextEncoder(checkpoint.module(), tokenizer), tmp_path / "b.safetensors", encoder_name="x")
    assert len(ConceptBank(tmp_path / "b.safetensors", load_encoder(tmp_path / "e")).encode(["cat", "a red car"])) == 2


class Lengths:
    """A text encoder whose features say which phrase they belong to."""

    def encode(self, prompts: Sequence[str]) -> TextFeatures:
        tokens = torch.tensor([[[float(len(p)), float(sum(p.encode()) % 997)]] * 4 for p in prompts])
        return TextFeatures(
            tokens, torch.tensor([[False] * (2 + len(p) % 2) + [True] * (2 - len(p) % 2) for p in prompts])
        )


@settings(max_examples=25)
@given(phrases=st.lists(st.text(max_size=12), min_size=1, max_size=30))
def test_every_phrase_finds_itself(phrases: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("any") / "bank.safetensors"
    phrases = [p for p in (clean(p.encode(errors="ignore").decode()) for p in phrases) if clean(p) == p] or ["dog"]
    build_bank(phrases, Lengths(), path, encoder_name="lengths")
    opened = ConceptBank(path)
    found, expected = opened.encode(phrases), Lengths().encode(phrases).numpy()
    assert np.array_equal(found.mask, expected.mask)
    assert np.array_equal(found.tokens[~found.mask], expected.tokens[~expected.mask])
    assert all(phrase in opened for phrase in phrases) and len(opened) == len(set(phrases))


def test_malformed_banks_are_named(bank: Path, tmp_path: Path) -> None:
    whole = bank.read_bytes()
    for name, content in (("cut", whole[: len(whole) - 40]), ("tiny", whole[:5]), ("header", whole[:60])):
        (tmp_path / f"{name}.safetensors").write_bytes(content)
        with pytest.raises(LitetextError, match=r"cut short|damaged"):
            ConceptBank(tmp_path / f"{name}.safetensors")
    arrays = load_file(bank)
    save_file(arrays, tmp_path / "foreign.safetensors")
    with pytest.raises(LitetextError, match="not a concept bank"):
        ConceptBank(tmp_path / "foreign.safetensors")
    metadata = {"format": "litetext-bank", "version": "1", "encoder": "x", "context_length": "16"}
    for broken in (
        {"keys": arrays["keys"][:-1]},
        {"tokens": arrays["tokens"].astype(np.float32)},
        {"starts": arrays["rows"]},
    ):
        save_file(arrays | broken, tmp_path / "broken.safetensors", metadata=metadata)
        with pytest.raises(LitetextError, match="damaged concept bank"):
            ConceptBank(tmp_path / "broken.safetensors")
    with pytest.raises(LitetextError, match="no such file"):
        ConceptBank(tmp_path / "nowhere.safetensors")
    with pytest.raises(LitetextError, match="whose context_length is fixed"):
        load_encoder(bank, context_length=8)


def test_builds_are_checked(encoder: Counting, tmp_path: Path) -> None:
    with pytest.raises(LitetextError, match="one phrase or more"):
        build_bank([], encoder, tmp_path / "b.safetensors", encoder_name="x")
    with pytest.raises(LitetextError, match=r"ending in .safetensors"):
        build_bank(CONCEPTS, encoder, tmp_path / "bank", encoder_name="x")

    class Broken:
        def encode(self, prompts: Sequence[str]) -> TextFeatures:
            return TextFeatures(torch.full((len(prompts), 4, 2), 1e9), torch.zeros(len(prompts), 4, dtype=torch.bool))

    with pytest.raises(LitetextError, match="do not fit float16"):
        build_bank(CONCEPTS, Broken(), tmp_path / "b.safetensors", encoder_name="x")
    assert list(tmp_path.iterdir()) == []


def test_thresholds_are_looked_up_not_searched_for() -> None:
    class Unsearched(list[str]):
        def __contains__(self, phrase: object) -> bool:
            raise AssertionError("a search per threshold takes time that grows with the square of the phrases")

    assert own_thresholds(Unsearched(["dog", "cat"]), {"Dog": 0.5}) == [0.5, None]
    with pytest.raises(LitetextError, match="'owl', which is not among the phrases"):
        own_thresholds(Unsearched(["dog"]), {"owl": 0.5})
