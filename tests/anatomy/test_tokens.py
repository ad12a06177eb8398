"""Questions 1 and 2 on token tables with known answers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litetext import Tokenizer
from litetext.anatomy.context import context_window, smallest_window, window_of
from litetext.anatomy.tokens import TokenTable, tokenize
from litetext.anatomy.vocabulary import vocabulary, with_words
from litetext.errors import LitetextError
from litetext.prompts import read_corpus
from litetext.ragged import Ragged

SOT, EOT = 8, 9
PROMPTS = st.lists(st.lists(st.integers(0, 7), max_size=9), min_size=1, max_size=40)


def table_of(prompts: list[list[int]]) -> TokenTable:
    rows = [[SOT, *ids, EOT] for ids in prompts]
    return TokenTable(Ragged.of(rows), 10, (SOT, EOT))


@given(PROMPTS, st.integers(2, 14))
def test_window_figures_equal_counting_slots_one_by_one(prompts: list[list[int]], length: int) -> None:
    lengths = table_of(prompts).ids.lengths
    window = window_of(lengths, length)
    slots = [slot < n for n in lengths for slot in range(length)]
    assert window.information_density == pytest.approx(np.mean(slots))
    assert window.padding_share == pytest.approx(1 - np.mean(slots))
    assert window.truncation_rate == pytest.approx(np.mean([n > length for n in lengths]))
    assert window.token_loss == pytest.approx(sum(max(0, n - length) for n in lengths) / lengths.sum(), abs=1e-12)


def test_equal_prompts_fill_their_window_exactly() -> None:
    result = context_window(np.full(7, 8), (16, 8, 4))
    assert list(result.windows) == [4, 8, 16]
    assert result.windows[8].information_density == 1.0 and result.windows[8].truncation_rate == 0.0
    assert result.windows[16].padding_share == 0.5
    assert result.windows[4].token_loss == 0.5 and result.windows[4].truncation_rate == 1.0
    assert (result.tokens.mean, result.tokens.p50, result.tokens.p99, result.tokens.max) == (8, 8, 8, 8)
    assert result.histogram == [0] * 8 + [7]


def test_sources_are_summarised_apart() -> None:
    result = context_window(np.array([3, 5, 9]), sources={"x": np.array([0, 1]), "none": np.array([], int)})
    assert {name: (s.prompts, s.mean, s.max) for name, s in result.sources.items()} == {"x": (2, 4.0, 5)}


@given(st.lists(st.integers(2, 40), min_size=1, max_size=60), st.sampled_from([0.0, 0.01, 0.1, 0.5]))
def test_the_smallest_window_keeps_the_bound_and_one_less_does_not(lengths: list[int], bound: float) -> None:
    best = smallest_window(np.array(lengths), bound)
    assert window_of(np.array(lengths), best).truncation_rate <= bound
    assert best == 2 or window_of(np.array(lengths), best - 1).truncation_rate > bound


def test_bad_questions_are_refused() -> None:
    with pytest.raises(LitetextError, match="at least one prompt"):
        context_window(np.array([], int))
    for windows in ((), (1,), (0, 8)):
        with pytest.raises(LitetextError, match="give 2 or more"):
            context_window(np.array([4]), windows)


@given(PROMPTS)
def test_vocabulary_equals_counting_by_hand(prompts: list[list[int]]) -> None:
    result = vocabulary(table_of(prompts))
    counts = Counter(i for ids in prompts for i in [SOT, *ids, EOT])
    assert result.used == len(counts) and result.tokens == counts.total()
    assert result.special_share == pytest.approx(2 * len(prompts) / counts.total())
    assert result.top_100_share == 1.0
    assert [(t.token_id, t.count) for t in result.top] == sorted(counts.items(), key=lambda x: (-x[1], x[0]))
    assert result.rows_for_tokens[1.0] == result.rows_for_prompts[1.0] == len(counts)
    assert result.coverage[-1] == (result.used, 1.0)
    # the smallest prefix of the frequency order that covers 99 % of prompts whole, by trying them all
    order = [t.token_id for t in result.top]
    whole = [np.mean([set(ids) | {SOT, EOT} <= set(order[:k]) for ids in prompts]) for k in range(1, len(order) + 1)]
    assert result.rows_for_prompts[0.99] == 1 + next(k for k, share in enumerate(whole) if share >= 0.99)
    held = np.cumsum([counts[i] for i in order]) / counts.total()
    assert result.rows_for_tokens[0.99] == 1 + next(k for k, share in enumerate(held) if share >= 0.99 - 1e-12)


def test_clip_tokens_are_counted_with_their_words() -> None:
    tokenizer = Tokenizer()
    phrases = ["red dog", "red cat", "a xylophonist"]
    table = tokenize(phrases, tokenizer)
    assert table.ids.lengths[:2].tolist() == [4, 4]
    assert table.ids.offsets[:-1].tolist() == [0, 4, 8]
    result = with_words(vocabulary(table), phrases, tokenizer)
    assert (result.top[0].text, result.top[1].text) == ("<start_of_text>", "<end_of_text>")
    assert (result.top[2].text, result.top[2].count, result.top[2].words) == ("red</w>", 2, ["red"])
    assert ["xylophonist"] in [token.words for token in result.top]
    assert result.size == 49408


@given(st.lists(st.text(alphabet="abZ é&;<>'-9 \t\x1f\u2019", max_size=12), min_size=1, max_size=12))
def test_word_by_word_gives_the_ids_of_whole_phrases(phrases: list[str]) -> None:
    table = tokenize(phrases, Tokenizer())
    ids = [list(map(int, part)) for part in np.split(table.ids.values, table.ids.offsets[1:-1])]
    assert ids == Tokenizer().encode_batch(phrases)


def test_real_phrases_word_by_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("litetext.anatomy.tokens._CACHED_WORDS", 3)
    phrases = [
        "person's hand",
        "t-shirt 100%",
        "rock &amp; roll",
        "na\u00efve caf\u00e9",
        "<end_of_text> x",
        "",
        "DON'T walk",
    ]
    for tokenizer in (Tokenizer(), Tokenizer().prune_vocabulary(["red dog"])):
        table = tokenize(phrases * 3, tokenizer)
        assert table.ids.values.tolist() == [i for ids in tokenizer.encode_batch(phrases * 3) for i in ids]


def test_progress_reaches_the_end() -> None:
    seen: list[int] = []
    tokenize(["dog"] * 20_000, Tokenizer(), lambda done, *_: seen.append(done))
    assert seen == [16_384, 20_000]


def test_lvis_as_the_file_stands() -> None:
    file = Path(__file__).parents[2].parent / "shared" / "prompts" / "lvis_v1.txt"
    if not file.is_file():
        pytest.skip("the shared phrase lists are not here")
    lengths = tokenize(read_corpus([file]).phrases, Tokenizer()).ids.lengths
    assert lengths.mean() == pytest.approx(3.889, abs=0.005)
