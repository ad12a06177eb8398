"""CLIP ids as SAM3's own tokenizer gives them, and a vocabulary that can shrink without losing a string."""

from __future__ import annotations

import hashlib
import html
import json
from pathlib import Path

import ftfy
import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

import litetext
from litetext.errors import LitetextError
from litetext.tokenizer import BYTE_SYMBOLS, CLIP_VOCABULARY_SIZE, Tokenizer, clean, vocabulary_and_merges

GOLDEN = Path(__file__).parent / "encoders" / "golden"
FULL = Tokenizer()
SPELLING = list(vocabulary_and_merges()[0])


@pytest.mark.parametrize("length", [8, 16, 32])
def test_ids_equal_the_reference_at_every_context(length: int) -> None:
    prompts = json.loads((GOLDEN / "prompts.json").read_text())["prompts"]
    expected = load_file(GOLDEN / "ids.safetensors")[f"ids.T{length}"]
    np.testing.assert_array_equal(FULL(prompts, length), expected)


def test_untruncated_ids_equal_the_reference() -> None:
    expected: dict[str, list[int]] = json.loads((GOLDEN / "tokens.json").read_text())
    assert len(expected) == 300
    assert FULL.encode_batch(list(expected)) == list(expected.values())


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=60))
def test_plain_ascii_may_skip_ftfy_and_unescaping(text: str) -> None:
    slow = " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()).lower()
    assert FULL.encode_batch([clean(text)]) == FULL.encode_batch([slow])
    if "&" not in text:
        assert clean(text) == slow


@given(st.lists(st.text(max_size=40), max_size=6), st.integers(2, 20))
def test_rows_are_padded_and_cut_with_eot_last(prompts: list[str], length: int) -> None:
    rows = FULL(prompts, length, pad_id=7)
    assert rows.shape == (len(prompts), length) and rows.dtype == np.int64
    for row, ids in zip(rows, FULL.encode_batch(prompts), strict=True):
        assert row[0] == FULL.sot_id and FULL.eot_id in row
        if len(ids) > length:
            assert row.tolist() == [*ids[: length - 1], FULL.eot_id]
        else:
            assert row.tolist() == ids + [7] * (length - len(ids))


def test_special_words_typed_by_a_user_are_the_special_tokens() -> None:
    # SimpleTokenizer reads them so, but not inside a run of symbols
    assert FULL.encode_batch(["a <end_of_text> b"]) == [[49406, 320, 49407, 321, 49407]]
    assert 49406 not in FULL.encode_batch(["!<start_of_text>"])[0][1:]


def test_the_merges_are_clips() -> None:
    vocabulary, merges = vocabulary_and_merges()
    assert list(vocabulary.values()) == list(range(CLIP_VOCABULARY_SIZE))
    written = "".join(f"{left} {right}\n" for left, right in merges)  # as in open_clip's bpe_simple_vocab_16e6.txt.gz
    digest = "d308b7377a8ceaa9707a21614fe8c831b9196e197b7aeb69833359362907af02"
    assert hashlib.sha256(written.encode()).hexdigest() == digest


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> tokenizers.Tokenizer:
    """The same model in the ``tokenizers`` library, which merges by itself."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    FULL.save(path)
    cleaned_elsewhere = json.loads(path.read_text(encoding="utf-8")) | {"normalizer": None}
    return tokenizers.Tokenizer.from_str(json.dumps(cleaned_elsewhere))


WORDY = st.text(alphabet=st.sampled_from("aeinorst'_ -09é日ſ"), max_size=60)


@given(st.one_of(st.text(max_size=60), WORDY))
def test_ids_are_those_of_the_tokenizers_library(library: tokenizers.Tokenizer, text: str) -> None:
    assert FULL.encode_batch([text])[0] == library.encode(clean(text)).ids


def test_the_words_of_the_shipped_phrases_merge_as_in_the_library(library: tokenizers.Tokenizer) -> None:
    phrases = (Path(litetext.__file__).parent / "data" / "phrases.txt").read_text(encoding="utf-8").splitlines()
    wanted = [encoding.ids for encoding in library.encode_batch([clean(phrase) for phrase in phrases])]
    assert FULL.encode_batch(phrases) == wanted


def test_a_very_long_word_takes_no_more_than_its_share() -> None:
    ids = FULL.encode_batch(["ab" * 20_000])[0]
    assert "".join(SPELLING[i] for i in ids[1:-1]) == "ab" * 20_000 + "</w>"


CORPUS = ["white dog", "man in blue jacket", "striped umbrella", "café crème", "left-most player's number 23 jersey"]
PRUNED = FULL.prune_vocabulary(CORPUS)


def test_pruning_keeps_bytes_and_what_the_corpus_needs() -> None:
    assert PRUNED.kept is not None
    assert set(range(BYTE_SYMBOLS)) <= set(PRUNED.kept)
    assert PRUNED.vocab_size < BYTE_SYMBOLS + 40
    assert (PRUNED.sot_id, PRUNED.eot_id) == (PRUNED.vocab_size - 2, PRUNED.vocab_size - 1)
    for full, pruned in zip(FULL.encode_batch(CORPUS), PRUNED.encode_batch(CORPUS), strict=True):
        assert [PRUNED.kept[i] for i in pruned] == full


@given(st.text(max_size=40))
def test_every_string_still_encodes_to_the_same_bytes(text: str) -> None:
    def spelled(tokenizer: Tokenizer) -> str:
        ids = tokenizer.encode_batch([text])[0][1:-1]
        clip_ids = [tokenizer.kept[i] if tokenizer.kept else i for i in ids]
        return "".join(SPELLING[i] for i in clip_ids)

    assert spelled(PRUNED) == spelled(FULL)


def test_pruning_to_a_number_of_rows_keeps_the_first_merges() -> None:
    pruned = FULL.prune_vocabulary(8000)
    assert pruned.vocab_size == 8000
    assert pruned.kept is not None and pruned.kept[:7998] == tuple(range(7998))
    assert FULL.prune_vocabulary(CORPUS, rows=520).vocab_size == 520


def test_a_frequent_token_survives_a_tight_budget() -> None:
    pruned = FULL.prune_vocabulary(["zebra", "zebra", "umbrella"], rows=BYTE_SYMBOLS + 3)
    assert len(pruned.encode_batch(["zebra"])[0]) == 3
    assert len(pruned.encode_batch(["umbrella"])[0]) > 3


def test_a_pruned_vocabulary_can_be_pruned_further() -> None:
    once, twice = FULL.prune_vocabulary(CORPUS), FULL.prune_vocabulary(CORPUS).prune_vocabulary(CORPUS[:1])
    assert twice.kept == FULL.prune_vocabulary(CORPUS[:1]).kept
    assert [once.decode_token(int(row)) for row in twice.rows_in(once)] == [
        twice.decode_token(row) for row in range(twice.vocab_size)
    ]


def test_rows_beyond_the_corpus_are_the_ones_that_clip_merged_first() -> None:
    pruned = FULL.prune_vocabulary(["zebra"], rows=BYTE_SYMBOLS + 4)
    assert pruned.kept is not None and pruned.kept[: BYTE_SYMBOLS + 1] == tuple(range(BYTE_SYMBOLS + 1))
    assert len(pruned.encode_batch(["zebra"])[0]) == 3


def test_bad_vocabularies_are_refused() -> None:
    with pytest.raises(LitetextError, match="lacks id 7"):
        Tokenizer([i for i in range(CLIP_VOCABULARY_SIZE) if i != 7])
    with pytest.raises(LitetextError, match="rows 100"):
        FULL.prune_vocabulary(100)
    with pytest.raises(LitetextError, match="do not match"):
        FULL.rows_in(PRUNED)
    with pytest.raises(LitetextError, match="context_length 1"):
        FULL(["dog"], 1)


def test_decode_token_names_words_pieces_and_specials() -> None:
    ids = FULL.encode_batch(["café"])[0]
    assert [FULL.decode_token(i) for i in ids] == ["<start_of_text>", "café</w>", "<end_of_text>"]
    assert PRUNED.decode_token(PRUNED.eot_id) == "<end_of_text>"
    with pytest.raises(LitetextError, match="outside"):
        FULL.decode_token(CLIP_VOCABULARY_SIZE)


def test_saved_tokenizer_json_serves_others(tmp_path: Path) -> None:
    FULL.save(tmp_path / "tokenizer.json")
    standalone = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for prompt in ("White  Dog", "left-most player's jersey", "日本の傘"):
        assert standalone.encode(prompt).ids == FULL.encode_batch([prompt])[0]


def test_a_text_is_one_prompt_and_what_is_none_is_refused() -> None:
    encode = litetext.load_encoder("mini").encode
    assert np.array_equal(encode("white dog").numpy().tokens, encode(["white dog"]).numpy().tokens)
    assert len(encode(("a", "b")).tokens) == 2 and len(encode([]).tokens) == 0
    for prompts in ([1], [None], 5, None, {"animal": "whale"}, {"dog"}, b"dog", [["dog"]]):
        with pytest.raises(LitetextError, match=r"prompts are a list of noun phrases, got|a prompt is a text, got"):
            encode(prompts)  # type: ignore[arg-type]
