"""Images, phrases and boxes, however the command line names them."""

from __future__ import annotations

import functools
import io
import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import load_file

import litetext.segment
from litetext import Segmenter
from litetext.cli.inputs import ImageInput, box_inputs, image_inputs, phrase_inputs
from litetext.data import samples
from litetext.errors import LitetextError
from litetext.outputs import RECORD

from .conftest import Result

Run = Callable[..., Result]

SCENE, (PHRASE, *_) = samples()[0].image, samples()[0].phrases


def _save(path: Path, color: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), color).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with images in two folders, one name twice, and what is no image."""
    monkeypatch.chdir(tmp_path)
    for name in ("a/cat.png", "a/deep/dog.jpg", "b/cat.jpg", "b/[1].png"):
        _save(tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("no image")
    return tmp_path


def _stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))


@pytest.fixture
def named(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[list[ImageInput], list[str]]]:
    """The images that arguments name, and the lines of what they do not."""

    def call(*arguments: str) -> tuple[list[ImageInput], list[str]]:
        refused: list[str] = []
        found = image_inputs(arguments, tmp_path_factory.mktemp("fetched"), lambda error: refused.append(str(error)))
        return found, refused

    return call


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["a/cat.png"], ["a/cat.png"]),
        (["a"], ["a/cat.png", "a/deep/dog.jpg"]),
        (["b", "a/cat.png"], ["b/[1].png", "b/cat.jpg", "a/cat.png"]),
        (["*/cat.*"], ["a/cat.png", "b/cat.jpg"]),
        (["**/*.jpg"], ["a/deep/dog.jpg", "b/cat.jpg"]),
        (["a/*"], ["a/cat.png"]),
        (["b/[1].png"], ["b/[1].png"]),
        (["a/cat.png", "a", "./a/cat.png"], ["a/cat.png", "a/deep/dog.jpg"]),
    ],
)
def test_files_folders_and_patterns_name_images(
    photos: Path, named: Callable[..., Any], arguments: list[str], wanted: list[str]
) -> None:
    found, refused = named(*arguments)
    assert [one.name for one in found] == wanted and not refused
    assert [one.stem for one in found] == [Path(name).stem for name in wanted]


def test_what_is_no_image_is_told_and_the_others_are_taken(photos: Path, named: Callable[..., Any]) -> None:
    (photos / "a" / "torn.png").write_bytes(b"\x89PNG\r\n")
    (photos / "empty").mkdir()
    found, refused = named("gone.png", "a", "x*.png", "empty", "a/notes.txt")
    assert [one.name for one in found] == ["a/cat.png", "a/deep/dog.jpg"]
    for line, message in zip(
        refused,
        (
            "gone.png: no such file; give an image",
            "a/torn.png is not an image",
            "x*.png names no image",
            "empty holds no image",
            "a/notes.txt is not an image",
        ),
        strict=True,
    ):
        assert line.startswith(message)


def test_overlays_of_an_earlier_run_are_no_photos(photos: Path, litetext: Run, named: Callable[..., Any]) -> None:
    before = [one.name for one in named("a")[0]]
    assert litetext("segment", "a", "-p", "owl", "--out", "a").code == 0
    assert (photos / "a" / "cat_masks.png").is_file()
    assert [one.name for one in named("a")[0]] == [one.name for one in named("a/**/*")[0]] == before
    assert [one.name for one in named("a/cat_masks.png")[0]] == ["a/cat_masks.png"]


@pytest.fixture
def server(photos: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    handler = functools.partial(SimpleHTTPRequestHandler, directory=photos)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_links_are_fetched_once_and_named_as_given(server: str, named: Callable[..., Any]) -> None:
    links = [f"{server}/a/cat.png?size=full", f"{server}/b/%5B1%5D.png"]
    found, refused = named(*links, links[0], f"{server}/none.png", f"{server}/a/notes.txt")
    assert [(one.name, one.stem) for one in found] == list(zip(links, ("cat", "[1]"), strict=True))
    assert all(Image.open(one.image).size == (8, 6) for one in found)
    assert ["cannot be fetched (404)" in refused[0], "is not an image" in refused[1]] == [True, True]


def test_standard_input_is_an_image(monkeypatch: pytest.MonkeyPatch, litetext: Run, tmp_path: Path) -> None:
    _stdin(monkeypatch, SCENE.read_bytes())
    piped = litetext("segment", "-", "-p", "owl", "--json", "--out", tmp_path / "out")
    named = litetext("segment", SCENE, "-p", "owl", "--json")
    assert piped.json == [{**row, "image": "-"} for row in named.json]
    assert (tmp_path / "out" / "stdin_masks.png").is_file()
    _stdin(monkeypatch, b"words")
    assert litetext("segment", "-", "-p", "owl").err.startswith("litetext: standard input is not an image")


def test_a_name_that_is_nearly_too_long_gets_a_shorter_overlay(photos: Path, litetext: Run) -> None:
    _save(photos / f"{'é' * 120}.png")
    assert litetext("segment", f"{'é' * 120}.png", "-p", "owl", "-o", "out").code == 0
    assert (photos / "out" / f"{'é' * 100}_masks.png").is_file()


def test_images_of_one_name_do_not_share_an_overlay(photos: Path, litetext: Run) -> None:
    _save(photos / "c" / "CAT.webp")
    assert litetext("segment", "a/cat.png", "b/cat.jpg", "c", "-p", "owl", "-o", "out").code == 0
    files = {path.name for path in (photos / "out").iterdir()}
    assert files == {RECORD, "instances.json", "cat_masks.png", "cat_masks_2.png", "CAT_masks_3.png"}
    document = json.loads((photos / "out" / "instances.json").read_text())
    assert [image["file_name"] for image in document["images"]] == ["a/cat.png", "b/cat.jpg", "c/CAT.webp"]


def test_images_that_are_not_there_are_told_before_the_model_is_loaded(
    photos: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litetext.segment, "Segmenter", None)
    for image in ("gone.png", "a/notes.txt", "gone", "gone*"):
        assert image in refused("segment", image, "-p", "owl", "--out", "out")
    assert not (photos / "out").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.txt", "white dog \n\nred  car\nwhite dog\n"),
        ("p.csv", "id,phrase\n1,white dog\n2,red car\n"),
        ("p.json", '["white dog", "red car", ""]'),
        ("p.jsonl", '{"phrase": "white dog"}\n{"phrase": "red car"}\n'),
    ],
)
def test_phrases_come_out_of_files(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert phrase_inputs([" owl ", "red  car"], [tmp_path / name]) == ["owl", "red car", "white dog"]


def test_phrases_come_out_of_standard_input(monkeypatch: pytest.MonkeyPatch, litetext: Run, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("fox\n")
    _stdin(monkeypatch, b"owl\r\n\n a purple  owl\n")
    found = litetext("segment", SCENE, "-p", "cat", "-p", "-", "--prompt-file", tmp_path / "p.txt", "--json")
    assert [row["prompt"] for row in found.json] == ["cat", "owl", "a purple owl", "fox"]
    for content, message in ((b"\n", "standard input holds no prompts"), (b"a\0b", "standard input is binary")):
        _stdin(monkeypatch, content)
        with pytest.raises(LitetextError, match=message):
            phrase_inputs(["-"], [])


def test_other_commands_take_phrases_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, litetext: Run, tmp_path: Path
) -> None:
    for command in (("embed", "mini", "-"), ("bank", "build", "-", "--text", "mini")):
        _stdin(monkeypatch, b"owl\nred car\n")
        out = tmp_path / f"{command[0]}.safetensors"
        assert litetext(*command, "--out", out).code == 0
        assert load_file(out)
    _stdin(monkeypatch, b"owl\nred car\nowl\n")
    report = litetext("audit", "-", "--out", tmp_path / "audit", "--json").json
    assert (report["prompts"]["unique"], report["prompts"]["sources"]) == (2, {"standard input": 2})


def test_example_boxes_ask_what_they_ask_in_python(litetext: Run) -> None:
    def scores(*arguments: object) -> list[float]:
        (row,) = litetext("segment", SCENE, *arguments, "--threshold", 0, "--json").json
        assert row["prompt"] == (PHRASE if "-p" in arguments else "visual")
        return row["scores"]

    model = Segmenter.from_pretrained("mini", backend="onnx")
    boxes = [[56.5, 117, 133, 194.5], [116, 136, 187.5, 215]]
    first, second = (",".join(map(str, box)) for box in boxes)
    ask = functools.partial(model.segment, SCENE, threshold=0.0)
    assert scores("--box", first) == ask(boxes=boxes[:1]).scores.tolist()
    assert scores("-p", PHRASE, "--box", first) == ask([PHRASE], boxes[:1]).scores.tolist()
    both = ask([PHRASE], boxes, [1, 0]).scores.tolist()
    assert scores("-p", PHRASE, "--not-box", second, "--box", first) == both != scores("-p", PHRASE)


def test_a_box_outside_the_image_is_told(refused: Callable[..., str]) -> None:
    assert "the box 900, 900, 950, 950 of prompt 'visual' lies outside" in refused(
        "segment", SCENE, "--box", "900,900,950,950"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to find: give -p PHRASE, --prompt-file FILE or --box X1,Y1,X2,Y2"),
        (["--box", "1,2,3"], "--box '1,2,3' must read X1,Y1,X2,Y2"),
        (["-p", "owl", "--not-box", "5,5,1,9"], "--not-box '5,5,1,9' must read"),
        (["--box", "1,2,nan,4"], "--box '1,2,nan,4' must read"),
        (["--not-box", "1,2,3,4"], "--not-box alone does not say what to find"),
        (["-p", "owl", "-p", "cat", "--box", "1,2,3,4"], "--box goes with one prompt or with none, but 2 are given"),
        ([SCENE.parent, "--box", "1,2,3,4"], "--box is in pixels of one image, but"),
        (["-", "-p", "-"], "which can be read once"),
        (["-p", "-", "--prompt-file", "-"], "which can be read once"),
        (["--prompt-file", "none.txt"], "none.txt: no such file"),
        (["-p", "owl", "--device", "gpu"], "unknown device 'gpu'"),
    ],
)
def test_what_contradicts_itself_is_refused(
    refused: Callable[..., str], arguments: list[object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stdin(monkeypatch, b"owl\n")
    assert message in refused("segment", SCENE, *arguments)


@given(
    st.lists(st.tuples(*[st.floats(0, 100, width=32)] * 2, *[st.floats(101, 200, width=32)] * 2), max_size=3),
    st.lists(st.tuples(*[st.floats(0, 100, width=32)] * 2, *[st.floats(101, 200, width=32)] * 2), max_size=3),
)
def test_boxes_are_read_as_they_are_written(examples: list[Any], counterexamples: list[Any]) -> None:
    written = [[",".join(map(repr, box)) for box in boxes] for boxes in (examples, counterexamples)]
    found = box_inputs(*written)
    if not examples and not counterexamples:
        assert found is None
        return
    assert found is not None
    np.testing.assert_array_equal(found[0], np.array([*examples, *counterexamples], np.float32))
    assert found[1].tolist() == [1] * len(examples) + [0] * len(counterexamples)
