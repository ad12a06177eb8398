"""Reading corpora: every format, bad input, duplicates, sources, bounded memory."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litetext.errors import LitetextError
from litetext.progress import no_progress
from litetext.prompts import corpus_of, normalise, read_corpus, read_prompts
from litetext.prompts.corpus import _collect
from litetext.prompts.sources import SOURCES, stream_source

PHRASES = ["a red dog", "stop sign", "naïve café", "person's hand"]


def _gold() -> dict[str, object]:
    images = [{"id": n, "text_input": phrase, "width": 4} for n, phrase in enumerate(PHRASES)]
    return {"images": images, "annotations": [], "categories": [{"id": 1, "name": "object"}]}


def _veval() -> dict[str, object]:
    pairs = [{"id": n, "noun_phrase": phrase, "num_masklets": 0} for n, phrase in enumerate(PHRASES)]
    return {"videos": [], "categories": [{"id": 1, "name": "dropped"}], "video_np_pairs": pairs}


def _lvis() -> dict[str, object]:
    return {
        "images": [{"id": 1}],
        "categories": [{"id": n, "name": p.replace(" ", "_")} for n, p in enumerate(PHRASES)],
    }


def _refcoco() -> list[dict[str, object]]:
    return [{"ref_id": n, "sentences": [{"sent": phrase, "raw": "x"}]} for n, phrase in enumerate(PHRASES)]


def _parquet(path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"id": range(5), "phrase": [*PHRASES, None]}), path)


WRITERS = {
    "lines.txt": lambda p: p.write_text("\n".join(PHRASES), encoding="utf-8-sig"),
    "one.csv": lambda p: p.write_text("\n".join(PHRASES), encoding="utf-8"),
    "named.csv": lambda p: p.write_text("id,Phrase\n" + "".join(f'1,"{x}"\n' for x in PHRASES), encoding="utf-8"),
    "tabs.tsv": lambda p: p.write_text("id\tname\n" + "".join(f"1\t{x}\n" for x in PHRASES), encoding="utf-8"),
    "rows.jsonl": lambda p: p.write_text("\n\n".join(json.dumps({"n": 1, "text": x}) for x in PHRASES)),
    "strings.jsonl": lambda p: p.write_text("\n".join(json.dumps(x) for x in PHRASES)),
    "list.json": lambda p: p.write_text(json.dumps(PHRASES)),
    "records.json": lambda p: p.write_text(json.dumps([{"id": 1, "noun_phrase": x} for x in PHRASES])),
    "prompts.json": lambda p: p.write_text(json.dumps({"version": "1", "prompts": PHRASES})),
    "gold.json": lambda p: p.write_text(json.dumps(_gold())),
    "veval.json": lambda p: p.write_text(json.dumps(_veval())),
    "lvis.json": lambda p: p.write_text(json.dumps(_lvis())),
    "refs(unc).p": lambda p: p.write_bytes(pickle.dumps(_refcoco(), protocol=2)),
    "table.parquet": _parquet,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_phrases(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    corpus = read_corpus([tmp_path / name])
    assert corpus.phrases == PHRASES
    assert corpus.read == 4 and corpus.duplicates.exact == 0


def test_a_folder_is_read_whole_and_remembers_sources(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "one.txt").write_text("dog\ncat\n")
    (tmp_path / "sub" / "two.txt").write_text("cat\n  bird \n\n")
    (tmp_path / "README.md").write_text("not a phrase list")
    corpus = read_corpus([tmp_path])
    assert corpus.phrases == ["dog", "cat", "bird"]
    assert corpus.sources == ["one", "sub/two"]
    assert corpus.sources_of(1) == ["one", "sub/two"]
    assert corpus.rows_of("sub/two").tolist() == [1, 2]
    assert corpus.duplicates.exact == 1


def test_near_duplicates_are_counted_and_merged_only_on_request(tmp_path: Path) -> None:
    file = tmp_path / "p.txt"
    file.write_text("a dog\nthe dog\nThe dog\ndog\na  dog\ncat\n")
    plain = read_corpus([file])
    assert len(plain) == 5
    assert (plain.duplicates.exact, plain.duplicates.case, plain.duplicates.article) == (1, 1, 3)
    merged = read_corpus([file], merge=["case", "article"])
    assert merged.phrases == ["a dog", "cat"]
    assert (merged.duplicates.exact, merged.duplicates.merged) == (1, 3)
    assert read_corpus([file], merge=["case"]).phrases == ["a dog", "the dog", "dog", "cat"]


@given(st.lists(st.text(alphabet="ab ÀA\t", max_size=6), min_size=1, max_size=40))
def test_a_corpus_is_the_set_of_normalised_phrases(raw: list[str]) -> None:
    wanted = list(dict.fromkeys(filter(None, map(normalise, raw))))
    if not wanted:
        with pytest.raises(LitetextError, match="no phrases"):
            corpus_of(raw)
        return
    corpus = corpus_of(raw)
    assert corpus.phrases == wanted
    assert corpus.read == len(corpus) + corpus.duplicates.exact
    assert corpus.duplicates.case == len(wanted) - len({p.casefold() for p in wanted})


def test_sample_is_distinct_ordered_and_reproducible() -> None:
    corpus = corpus_of(f"thing {n}" for n in range(500))
    sample = corpus.sample(50, seed=3)
    assert len(set(sample)) == 50 and sample == corpus.sample(50, seed=3) != corpus.sample(50, seed=4)
    assert [corpus.phrases.index(p) for p in sample] == sorted(corpus.phrases.index(p) for p in sample)
    assert corpus.sample(1000) == corpus.phrases


def _repeating(distinct: int, total: int) -> Iterator[str]:
    return (f"phrase {n % distinct}" for n in range(total))


def test_memory_follows_the_distinct_phrases_not_the_length() -> None:
    def peak(total: int) -> int:
        tracemalloc.start()
        _collect([("stream", _repeating(300, total))], (), None, no_progress)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    assert peak(100_000) < 2 * peak(1_000)


def test_a_limit_stops_an_endless_stream() -> None:
    endless = (f"phrase {n}" for n in itertools.count())
    assert len(_collect([("stream", endless)], (), 100, no_progress)) == 100
    with pytest.raises(LitetextError, match="limit"):
        read_corpus(["x.txt"], limit=0)


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("ran code",)


BAD = {
    "empty.txt": (b"\n \n", "no phrases in empty"),
    "binary.txt": (b"dog\n\x00\x01\x02", "is binary"),
    "latin.txt": ("dog\ncafé\n".encode("latin1"), r"not UTF-8 \(line 2, byte 3\)"),
    "long.txt": (b"x" * 1_000_000, "line 1 is longer than 10,000"),
    "long_multibyte.txt": ("€".encode() * 400_000, "line 1 is longer than 10,000"),
    "long.json": (json.dumps(["x" * 20_000]).encode(), "phrase of 20,000 characters"),
    "cut.json": (b'{"images": [{"text_input": "do', "not valid JSON"),
    "number.json": (b"3", "start of the file: '3' stands where"),
    "numbers.json": (b"[1, 2]", "should be a string, found"),
    "other.json": (b'{"a": 1, "b": []}', "no phrases under its keys a; expected"),
    "digits.json": (b"[" + b"1" * 6_000 + b"]", "more than 64 bits"),
    "deep.json": (b"[" * 100_000, "more than 64 deep"),
    "deep.jsonl": (b'"dog"\n' + b"[" * 5_000, "line 2 nests lists and objects more than 64 deep"),
    "surrogate.jsonl": (b'"dog"\n"\\ud800"', "line 2 holds half of a surrogate pair"),
    "bad.jsonl": (b'"dog"\n{"text": \n', "line 2 is not valid JSON"),
    "which.csv": (b"left,right\n1,2\n", r"which column holds the phrase\? Name one of: left, right"),
    "short.csv": (b"id,phrase\n1,dog\n2\n", "line 3 has 1 of 2 columns"),
    "evil.p": (pickle.dumps(_Evil()), "asks for builtins.print"),
    "broken.p": (b"\x80\x02garbage", "not a RefCOCO"),
    "shape.p": (pickle.dumps({"a": 1}), "not a RefCOCO"),
    "memo.p": (b"\x80\x02]r\xff\xff\xff\x7f.", "numbers an object 2,147,483,647, more than there can be"),
    "broken.parquet": (b"PAR1 no", "not a readable parquet"),
    "corrupt.parquet": (b"PAR1" + b"\x15\xff" * 40 + b"\x50\0\0\0PAR1", "not a readable parquet"),
    "file.docx": (b"x", "cannot read phrases from .docx"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named_with_a_remedy(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    content, message = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LitetextError, match=message) as caught:
        read_corpus([tmp_path / name])
    assert name.split(".")[0] in str(caught.value) and "\n" not in str(caught.value)
    assert "ran code" not in capsys.readouterr().out


def test_a_list_of_prompts_keeps_every_row(tmp_path: Path) -> None:
    for name, write in WRITERS.items():
        write(tmp_path / name)
        assert read_prompts(tmp_path / name) == [p.replace("_", " ") for p in PHRASES], name
    (tmp_path / "rows").write_bytes(b"dog\r\n\n dog\n")
    assert read_prompts(tmp_path / "rows") == ["dog", "", " dog"]
    for name, message in (("p.yaml", "cannot read phrases from .yaml"), ("p.txt", "holds no prompts")):
        (tmp_path / name).write_text("\n\n")
        with pytest.raises(LitetextError, match=message):
            read_prompts(tmp_path / name)


def test_a_pipe_is_refused_unopened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.txt")
    with pytest.raises(LitetextError, match="is a pipe or a device"):
        read_corpus([tmp_path / "p.txt"])


def test_missing_and_unknown_inputs_are_named(tmp_path: Path) -> None:
    with pytest.raises(LitetextError, match=r"nowhere\.txt: no such file"):
        read_corpus([tmp_path / "nowhere.txt"])
    with pytest.raises(LitetextError, match=r"nothing: no such file, folder or named source.*refcoco"):
        read_corpus(["nothing"])
    with pytest.raises(LitetextError, match="holds no phrase files"):
        read_corpus([tmp_path])


def test_a_column_can_be_named(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("left,text\nwanted,other\n")
    assert read_corpus([file], column="left").phrases == ["wanted"]
    with pytest.raises(LitetextError, match="no column 'up'; it has: left, text"):
        read_corpus([file], column="up")


def test_named_sources_stream_their_field(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    asked: list[tuple[str, dict[str, object]]] = []
    records = {
        "refcoco": [{"captions": ["left dog", "the dog"]}, {"captions": ["man"]}],
        "lvis": [{"id": 1, "name": "aerosol_can"}],
        "saco-gold": [{"text_input": "a dog"}],
        "saco-veval": [{"noun_phrase": "a cat"}],
        "rf100-vl": [{"objects": {"category": ["bishop", "rook"], "bbox": []}}],
    }

    def load(loader: str, **options: object) -> list[dict[str, object]]:
        asked.append((loader, options))
        return records[current]

    monkeypatch.setattr(datasets, "load_dataset", load)
    found = {}
    for current in records:
        found[current] = list(stream_source(current))
    assert found == {
        "refcoco": ["left dog", "the dog", "man"],
        "lvis": ["aerosol can"],
        "saco-gold": ["a dog"],
        "saco-veval": ["a cat"],
        "rf100-vl": ["bishop", "rook"],
    }
    assert asked[0] == ("jxu124/refcoco", {"split": "train", "streaming": True})
    assert asked[2][1]["field"] == "images"


@pytest.mark.parametrize("name", SOURCES)
def test_without_network_the_error_says_which_file_to_pass(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")

    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach\nthe hub")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(LitetextError, match=f"cannot stream .*the hub.*pass its path instead of '{name[:4]}") as caught:
        read_corpus([name])
    assert "\n" not in str(caught.value)


def test_shared_lists_hold_what_their_readme_says(shared_prompts: Path) -> None:
    corpus = read_corpus([shared_prompts])
    assert corpus.read == 155_606
    assert len(corpus) == 142_321
    assert np.isclose(len(corpus.rows_of("saco_sav")), 43_195)
