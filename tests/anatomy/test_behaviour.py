"""Questions 6, 7 and 8 on encoders and detectors whose answer is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from litetext import Tokenizer
from litetext.anatomy.convention import convention_gap
from litetext.anatomy.gallery import GalleryImage, with_wrong_nouns
from litetext.anatomy.order import Edits, edits_of, order_sensitivity
from litetext.anatomy.robustness import STAGES, robustness, soft_overlap
from litetext.anatomy.subject import Subject
from litetext.encoders import TextFeatures
from litetext.errors import LitetextError
from litetext.ragged import Ragged

from .subjects import small_subject

torch = pytest.importorskip("torch")

WIDTH = 8


class _Attention(torch.nn.Module):
    """Cross-attention with the surface of transformers' Sam3Attention, one head."""

    def __init__(self, key: float = 1.0, value: float = 1.0) -> None:
        super().__init__()
        self.num_attention_heads, self.head_dim, self.scaling = 1, WIDTH, WIDTH**-0.5
        self.q_proj = torch.nn.Identity()
        self.k_proj = _Scale(key)
        self.value = value

    def forward(self, query: Any, key: Any, value: Any) -> tuple[Any, Any]:
        weights = torch.softmax(query @ self.k_proj(key).transpose(1, 2) * self.scaling, dim=-1)
        return self.value * weights @ value, weights


class _Scale(torch.nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Any) -> Any:
        return self.factor * x


class _Words:
    """A text encoder that gives each word (and padding) a fixed random vector; four slots."""

    def __init__(self, padding: int = 0) -> None:
        self.padding = padding

    def encode(self, prompts: Sequence[str]) -> TextFeatures:
        rows = [[*prompt.split(), *["-"] * 4][:4] for prompt in prompts]
        vector = {w: np.random.default_rng(sum(map(ord, w))).standard_normal(WIDTH) for row in rows for w in row}
        tokens = np.array([[vector[word] for word in row] for row in rows], dtype=np.float32)
        return TextFeatures(tokens, np.tile(np.arange(4) >= 4 - self.padding, (len(rows), 1)))


def scene_of(attention: _Attention, phrases: list[str], wrong: list[str]) -> GalleryImage:
    query = torch.randn(1, 5, WIDTH, generator=torch.Generator().manual_seed(1))

    def masks(text: TextFeatures) -> Any:
        out, _ = attention(query=query.expand(len(text), -1, -1), key=text.tokens, value=text.tokens)
        return out.sigmoid()

    return GalleryImage(phrases, wrong, masks)


def study(attention: _Attention, levels: tuple[float, ...] = (0.0, 0.1, 0.5), padding: int = 0) -> Any:
    detector = SimpleNamespace(detr_encoder=SimpleNamespace(layers=[SimpleNamespace(cross_attn=attention)]))
    scene = scene_of(attention, ["red dog on grass", "big cat in box"], ["old car by tree", "one cup of tea"])
    return robustness(detector, _Words(padding), [scene], levels)


def test_noise_has_the_size_asked_for_and_none_does_nothing() -> None:
    found = study(_Attention())
    assert (found.scenes, found.prompts) == (1, 2)
    for level, case in found.noise.items():
        assert case.stages["text features"].relative == pytest.approx(level, rel=1e-5)
        assert case.stages["text features"].attenuation == (None if level == 0 else 1)
    still = found.noise[0.0]
    assert all(error.relative == 0 and error.attenuation is None for error in still.stages.values())
    assert still.mask_overlap == 1
    assert found.wrong_noun.stages["masks"].relative > 0 and found.wrong_noun.mask_overlap < 1


def test_logits_are_linear_in_the_text_and_blind_keys_cut_the_path() -> None:
    small, large = study(_Attention(), (0.1,)), study(_Attention(key=7.0), (0.1,))
    logits = "attention logits"
    assert small.noise[0.1].stages[logits].relative == pytest.approx(large.noise[0.1].stages[logits].relative, rel=1e-4)
    assert large.noise[0.1].stages[logits].absolute == pytest.approx(7 * small.noise[0.1].stages[logits].absolute)
    blind = study(_Attention(key=0.0), (0.1,)).noise[0.1].stages
    assert blind["attention weights"].relative == 0 and blind[logits].relative == 0
    # equal weights: the output is the mean of the tokens, its noise that of a mean of four
    assert 0.2 < blind["attention output"].attenuation < 5


def test_relative_errors_ignore_the_scale_that_absolute_ones_depend_on() -> None:
    plain, scaled = study(_Attention(), (0.1,)).noise[0.1], study(_Attention(value=0.01), (0.1,)).noise[0.1]
    stage = "attention output"
    assert plain.stages[stage].attenuation == pytest.approx(scaled.stages[stage].attenuation, rel=1e-4)
    assert scaled.stages[stage].absolute_ratio == pytest.approx(100 * plain.stages[stage].absolute_ratio, rel=1e-4)


def test_padding_gets_no_noise_and_no_attention() -> None:
    found = study(_Attention(), (0.5,), padding=2).noise[0.5]
    assert found.stages["text features"].relative == pytest.approx(0.5, rel=1e-5)
    assert list(found.stages) == list(STAGES)
    assert all(math.isfinite(error.relative) for error in found.stages.values())


def test_hooks_are_gone_afterwards() -> None:
    attention = _Attention()
    study(attention)
    assert not attention._forward_hooks
    with pytest.raises(LitetextError, match="at least one scene"):
        robustness(SimpleNamespace(), _Words(), [])


def test_soft_overlap_of_known_masks() -> None:
    first = torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]], [[0.5, 0.5]]])
    second = torch.tensor([[[0.0, 1.0]], [[0.0, 0.0]], [[0.5, 0.5]]])
    assert soft_overlap(first, second) == [0, 1, 1]


def test_wrong_nouns_have_as_many_tokens_and_another_head() -> None:
    pool = ["red dog", "red dogs", "blue bus", "a stop sign", "the old wooden bench"]
    kept, wrong = with_wrong_nouns(["a red dog", "red dog", "x y z w v u"], pool, Tokenizer())
    assert kept == ["a red dog", "red dog"] and wrong == ["a stop sign", "blue bus"]


def test_edits_change_what_they_say() -> None:
    edits = edits_of(["a red sofa", "Sofa", "the big green BIKE", "a lonely tree", "bike bike"])
    assert edits.original == ["red sofa", "big green bike"]
    assert edits.reordered[0] == "sofa red" and sorted(edits.reordered[1].split()) == ["big", "bike", "green"]
    assert edits.reordered[1] != "big green bike"
    assert edits.synonym == ["red couch", "big green bicycle"]
    assert all(other.split()[:-1] == original.split()[:-1] for other, original in zip(
        edits.other_noun, edits.original, strict=True))  # fmt: skip
    assert not {other.split()[-1] for other in edits.other_noun} & {"sofa", "couch", "bike", "bicycle"}
    assert len(edits_of(["red sofa"] * 9, limit=4).original) == 4


def _bag(prompts: Sequence[str]) -> Ragged:
    """Features that are a bag of words: each word a fixed vector, wherever it stands."""
    rows = [[np.random.default_rng(sum(map(ord, w)) * 7).standard_normal(16) for w in p.split()] for p in prompts]
    return Ragged.of([np.array(row, np.float32) for row in rows], "float32")


def _last_word(prompts: Sequence[str]) -> Ragged:
    """Features that see the last place only."""
    tokens = [np.random.default_rng(sum(map(ord, p.split()[-1])) * 7).standard_normal(16) for p in prompts]
    return Ragged(np.array(tokens, np.float32), np.arange(len(prompts) + 1))


def test_a_bag_of_words_is_called_one_and_a_reader_of_places_is_not() -> None:
    edits = edits_of([f"{color} {noun}" for color in ("red", "blue", "green") for noun in ("sofa", "bike", "car")])
    bag = order_sensitivity(_bag, edits)
    assert bag.reordered.features == pytest.approx(0, abs=1e-6) and bag.bag_of_concepts
    assert bag.other_noun.low <= bag.other_noun.features <= bag.other_noun.high
    assert bag.other_noun.features > 0.3 and bag.reordered.mask_overlap is None
    reader = order_sensitivity(_last_word, edits)
    assert reader.reordered.features > 0.5 and not (reader.reordered.features < 0.1)
    with pytest.raises(LitetextError, match="at least two phrases"):
        order_sensitivity(_bag, Edits(["red sofa"], ["sofa red"], ["red couch"], ["red bike"]))


def test_masks_under_edits_are_compared_at_scenes() -> None:
    edits = edits_of(["red sofa", "blue bike"])
    scene = scene_of(_Attention(), edits.original, edits.other_noun)
    found = order_sensitivity(_bag, edits, encoder=_Words(), scenes=[(scene, edits)])
    assert found.scene_phrases == 2
    assert found.reordered.mask_overlap == pytest.approx(1, abs=1e-5)  # attention over a bag sees no order
    assert found.other_noun.mask_overlap is not None and found.other_noun.mask_overlap < 1


def test_the_convention_gap_is_zero_for_one_convention_and_not_for_two() -> None:
    subject = small_subject()
    found = convention_gap(subject, ["dog", "a red dog", "the big old red dog"])
    assert found is not None and found.prompts == 3
    assert set(found.by_length) == {3, 5, 7}
    assert -1 <= found.min_cosine <= found.mean_cosine < 0.999999
    assert (found.first.context_length, found.second.context_length) == (16, 32)
    foreign = Subject("x", subject.encoder, subject.tokenizer, subject.embedding, None)
    assert convention_gap(foreign, ["dog"]) is None
