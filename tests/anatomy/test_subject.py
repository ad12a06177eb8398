"""The adapter: one surface over litetext's encoders and transformers' text models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from litetext.anatomy.subject import load_subject
from litetext.anatomy.tokens import tokenize
from litetext.errors import LitetextError

from .subjects import small_subject

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


@pytest.fixture
def bert_folder(tmp_path: Path) -> Path:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "dog", "##s", "cat"]
    transformers.BertTokenizer(vocab={word: row for row, word in enumerate(words)}).save_pretrained(tmp_path)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=12,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(tmp_path)
    return tmp_path


def test_a_litetext_encoder_gives_its_tables_and_real_tokens() -> None:
    subject = small_subject()
    assert subject.embedding.shape == (49408, 32) and subject.positions is not None
    assert subject.positions.shape == (16, 32)
    features = subject.features(["dog", "a red dog", "!;", " ".join(["dog"] * 30)])
    assert features.lengths.tolist() == [3, 5, 4, 16]  # "!;" has id 0, the padding's, inside; the last is cut
    assert features.values.shape == (28, 16)
    whole = subject.encoder.encode(["a red dog"]).numpy().tokens[0, :5]
    np.testing.assert_allclose(features.values[3:8], whole, atol=1e-5)


def test_a_transformers_text_model_comes_with_its_own_tokenizer(bert_folder: Path) -> None:
    subject = load_subject(bert_folder)
    assert subject.embedding.shape == (10, 24)
    assert subject.positions is not None and subject.positions.shape == (12, 24)
    table = tokenize(["a red dog", "dogs"], subject.tokenizer)
    assert table.ids.values.tolist() == [2, 5, 6, 7, 3, 2, 7, 8, 3]
    assert (table.special_ids, table.vocab_size) == ((2, 3), 10)
    assert subject.tokenizer.decode_token(8) == "##s"
    together, alone = subject.features(["a red dog", "dogs"]), subject.features(["dogs"])
    assert together.lengths.tolist() == [5, 4]
    np.testing.assert_allclose(together.values[5:], alone.values, atol=1e-5)  # padding is masked


def test_what_is_no_text_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(LitetextError, match="is not a transformers text model that loads here"):
        load_subject(tmp_path)
