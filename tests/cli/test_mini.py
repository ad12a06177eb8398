"""`litetext mini`: exit codes, one JSON document, files."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from litetext.cli import main
from litetext.data import samples
from litetext.mini import config

from ..mini.test_train import SHORT


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(["mini", *arguments])
    printed = capsys.readouterr()
    return int(end.value.code or 0), printed.out, printed.err


def test_world_prints_one_document_and_is_reproducible(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    documents = []
    for name in ("one", "two"):
        arguments = ("--seed", "3", "--pairs", "12", "--size", "64", "--concepts", "12", "--json")
        code, out, _ = _run(capsys, "world", "--out", str(tmp_path / name), *arguments)
        assert code == 0
        documents.append(json.loads(out))
    assert documents[0] == documents[1]
    assert documents[0]["pairs"] == 12 and documents[0]["world_concepts"] == 12
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert [(tmp_path / "one" / file).read_bytes() for file in files] == [
        (tmp_path / "two" / file).read_bytes() for file in files
    ]


def test_the_new_look_is_another_style(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _run(
        capsys, "world", "--out", str(tmp_path / "w"), "--pairs", "4", "--style", "new-look", "--size", "64", "--json"
    )
    assert code == 0
    assert json.loads(out)["world_concepts"] >= 100


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("world", "--out", "x", "--style", "oil"), "oil"),
        (("world", "--out", "x", "--concepts", "many"), "many"),
        (("train", "--out", "x", "--preset", "tpu"), "tpu"),
        (("train", "--out", "x", "--resume", "maybe"), "maybe"),
        (("evaluate", "--model", "nowhere"), "nowhere"),
        (("evaluate", "--combinations", "odd"), "odd"),
        (("world", "--out", "x", "--gold", "--combinations", "new"), "--combinations"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(
    arguments: tuple[str, ...],
    named: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = _run(capsys, *arguments)
    assert code == 2 and not out
    assert named in err and len(err.strip().splitlines()) == 1


def test_evaluate_scores_the_shipped_mini(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictions = tmp_path / "p.json"
    code, out, _ = _run(
        capsys, "evaluate", "--pairs", "24", "--seed", "5", "--save-predictions", str(predictions), "--json"
    )
    assert code == 0
    document = json.loads(out)
    assert document["pairs"] == 24 and document["concepts"] >= 20
    assert {"cgF1", "pmF1", "IL_MCC", "permuted_IL_MCC"} <= set(document)
    assert all({"image_id", "segmentation", "score"} <= set(entry) for entry in json.loads(predictions.read_text()))


def test_what_evaluate_says_is_what_any_evaluator_says_of_the_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = ("--seed", "11", "--pairs", "24", "--size", "96")
    assert _run(capsys, "world", "--out", str(tmp_path / "world"), "--concepts", "known", *drawn)[0] == 0
    code, out, _ = _run(capsys, "evaluate", *drawn, "--save-predictions", str(tmp_path / "p.json"), "--json")
    assert code == 0
    own = json.loads(out)
    truth = tmp_path / "world" / "gold_mini.json"
    packed = tmp_path / "packed.json.gz"
    packed.write_bytes(gzip.compress(truth.read_bytes()))
    for given in (truth, truth.parent, packed):
        with pytest.raises(SystemExit):
            main(["evaluate", "--gt", str(given), "--pred", str(tmp_path / "p.json"), "--json"])
        other = json.loads(capsys.readouterr().out)
        for name in ("cgF1", "pmF1", "IL_MCC"):
            assert own[name] == pytest.approx(other[name], abs=1e-9)


def test_gold_is_seven_subsets_that_evaluate_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _run(
        capsys, "world", "--gold", "--out", str(tmp_path), "--pairs", "4", "--size", "64", "--concepts", "40", "--json"
    )
    assert code == 0 and len(json.loads(out)["subsets"]) == 7
    assert len(list((tmp_path / "annotations").glob("gold_*_merged_[abc]_release_test.json"))) == 21
    tmp_path.with_name("none.json").write_text("[]")
    for truth in (tmp_path / "annotations", tmp_path):
        with pytest.raises(SystemExit) as end:
            main(["evaluate", "--gt", str(truth), "--pred", str(tmp_path.with_name("none.json")), "--json"])
        assert not end.value.code
        assert len(json.loads(capsys.readouterr().out)["subsets"]) == 7


def test_train_leaves_a_model_that_evaluate_and_segment_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(SHORT, steps=(1, 1, 1))
    larger = replace(small, shape=replace(small.shape, image_size=64), steps=(0, 0, 1), text_steps=0)
    monkeypatch.setitem(config.PRESETS, "tiny", (small, larger))
    out = tmp_path / "run"
    for _ in range(2):  # the second time there is nothing left to do
        code, printed, _ = _run(capsys, "train", "--preset", "tiny", "--out", str(out), "--seed", "3")
        assert code == 0 and str(out / "mini") in printed
    assert {path.name for path in out.iterdir()} == {"1", "2", "mini"}
    facts = json.loads((out / "mini" / "mini.json").read_text())
    assert (facts["preset"], facts["steps"], facts["seed"], facts["image_size"]) == ("tiny", 4, 3, 64)
    code, printed, _ = _run(capsys, "evaluate", "--model", str(out / "mini"), "--pairs", "4", "--json")
    document = json.loads(printed)
    assert code == 0 and (document["size"], document["concepts"]) == (64, 4)
    with pytest.raises(SystemExit) as end:
        main(["segment", str(samples()[0].image), "-p", "car", "--model", str(out / "mini"), "--json"])
    assert not end.value.code and json.loads(capsys.readouterr().out)[0]["prompt"] == "car"
