import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litetext.errors import LitetextError
from litetext.evaluate import stream
from litetext.evaluate.stream import stream_json

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
documents = st.lists(values, max_size=5) | st.dictionaries(st.text(), st.lists(values, max_size=4) | values, max_size=4)


def rebuilt(path, like):
    """The document put together from its entries (empty lists leave no entry, an empty object is one)."""
    if isinstance(like, list):
        return [entry.value for entry in stream_json(path)]
    document = {key: [] for key, value in like.items() if value == []}
    for entry in stream_json(path):
        if not like:
            return entry.value
        if entry.index is None:
            document[entry.key] = entry.value
        else:
            document.setdefault(entry.key, []).append(entry.value)
    return document


@given(document=documents, indent=st.sampled_from([None, 2]))
def test_a_document_read_in_tiny_chunks_is_the_document(tmp_path_factory, document, indent):
    path = tmp_path_factory.mktemp("stream") / "document.json"
    path.write_text(json.dumps(document, indent=indent), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "_CHUNK", 3)
        assert rebuilt(path, document) == document


@given(data=st.data())
def test_a_file_cut_anywhere_is_an_error_that_names_it(tmp_path_factory, data):
    text = json.dumps({"images": [{"id": 1}, {"id": 2}], "annotations": [{"id": 3, "counts": "abc"}]})
    path = tmp_path_factory.mktemp("stream") / "cut.json"
    path.write_text(text[: data.draw(st.integers(0, len(text) - 1))])
    with pytest.raises(LitetextError, match=r"cut\.json is not valid JSON at .*cut short"):
        list(stream_json(path))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('[{"a": 1}, {"b": ', "entry 1"),
        ('{"images": [], "annotations": [{"id": 1}, {"id": 2', r"annotations\[1\]"),
        ('{"info": {"x": ', "info"),
        ("[1 2]", "end of entry 0"),
        ('{"a": 1, "a": 2}', "'a' occurs twice"),
        ("[1] 2", "text follows the end"),
        ("", "start of the file"),
        ("3", "start of the file"),
    ],
)
def test_malformed_files_say_where(tmp_path, text, place):
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(LitetextError, match=place):
        list(stream_json(path))


def test_paths_that_are_no_text_file(tmp_path):
    with pytest.raises(LitetextError, match="no such file"):
        list(stream_json(tmp_path / "absent.json"))
    with pytest.raises(LitetextError, match="is a folder"):
        list(stream_json(tmp_path))
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe[]")
    with pytest.raises(LitetextError, match="not UTF-8"):
        list(stream_json(tmp_path / "binary.json"))
