import gzip
import json
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litetext import json_files
from litetext.errors import LitetextError
from litetext.json_files import read_json, stream_json

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.floats(allow_nan=False) | st.text(),
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
        patch.setattr(json_files, "_CHUNK", 3)
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


BEYOND = {
    "deep lists": ("[" * 100_000, "more than 64 deep"),
    "deep lists, closed": ("[" * 70 + "]" * 70, "more than 64 deep"),
    "deep objects": ('{"a": ' * 100_000, "more than 64 deep"),
    "long integer": ("[" + "1" * 6_000 + "]", "more than 64 bits"),
    "65-bit integer": ('{"a": [18446744073709551616]}', "integer 18446744073709551616, which has more than 64 bits"),
    "half a surrogate pair": (r'["\ud800 dog"]', "half of a surrogate pair"),
    "half a surrogate pair in a key": (r'{"a": [{"\uDC00": 1}]}', "half of a surrogate pair"),
}


@pytest.mark.parametrize("name", BEYOND)
def test_values_out_of_bounds_are_named(tmp_path, name):
    text, message = BEYOND[name]
    path = tmp_path / "file.json"
    path.write_text(text)
    for read in (read_json, lambda path: list(stream_json(path))):
        with pytest.raises(LitetextError, match=f"file.json.*{message}") as caught:
            read(path)
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "value", [[[[1]] * 40] * 40, {"a": "😀", "b": "\\ud800"}, [-(1 << 63), (1 << 63) - 1], "\u2028"]
)
def test_values_within_bounds_pass(tmp_path, value):
    path = tmp_path / "file.json"
    path.write_text(json.dumps(value))
    assert read_json(path) == value
    path.write_text("\ufeff" + json.dumps([value]), encoding="utf-8")
    assert [entry.value for entry in stream_json(path)] == [value] == read_json(path)


def test_white_space_without_end_takes_no_time(tmp_path):
    path = tmp_path / "file.json"
    path.write_text(" " * 50_000_000)
    start = time.perf_counter()
    with pytest.raises(LitetextError, match="start of the file"):
        list(stream_json(path))
    assert time.perf_counter() - start < 2


def test_a_document_too_large_to_be_read_whole_is_not_read(tmp_path):
    path = tmp_path / "file.json"
    with path.open("wb") as file:
        file.truncate(1 << 33)
    with pytest.raises(LitetextError, match="larger than 67 MB"):
        read_json(path)


def test_what_may_never_end_is_refused_unopened(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    for path in (tmp_path / "pipe.json", "/dev/zero"):
        for read in (read_json, lambda path: list(stream_json(path))):
            with pytest.raises(LitetextError, match="is a pipe or a device"):
                read(path)


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "\ud800"])
def test_names_that_no_file_can_have(tmp_path, name):
    with pytest.raises(LitetextError, match="cannot be opened"):
        read_json(tmp_path / name)


def test_paths_that_are_no_text_file(tmp_path):
    with pytest.raises(LitetextError, match="no such file"):
        list(stream_json(tmp_path / "absent.json"))
    with pytest.raises(LitetextError, match="is a folder"):
        list(stream_json(tmp_path))
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe[]")
    with pytest.raises(LitetextError, match="not UTF-8"):
        list(stream_json(tmp_path / "binary.json"))


@pytest.mark.parametrize("kept", [12, 40, 10_000])
def test_gzip_is_read_and_its_damage_is_named(tmp_path, kept):
    packed = gzip.compress(json.dumps({"images": [{"id": n} for n in range(2000)]}).encode())
    path = tmp_path / "a.json"
    path.write_bytes(packed)
    assert [entry.value["id"] for entry in stream_json(path)] == list(range(2000))
    path.write_bytes(packed[:kept] if kept < len(packed) else packed[:-9] + b"damaged..")
    with pytest.raises(LitetextError, match=r"a\.json is not"):
        list(stream_json(path))
