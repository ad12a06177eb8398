"""``litetext track``, from the shell's side."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from litetext.cli.track import _seconds, _stem
from litetext.data import samples
from litetext.track import VideoSegmenter
from litetext.videos import open_video, write_video

from .conftest import Result

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene with three owls that drifts to the left, six frames a second."""
    scene = np.asarray(Image.open(samples()[1].image).convert("RGB"))
    path = tmp_path_factory.mktemp("clip") / "owls.mp4"
    with write_video(path, (scene.shape[0], scene.shape[1]), 6) as video:
        for number in range(4):
            video.write(np.roll(scene, -3 * number, axis=1))
    return path


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where a model would be loaded."""

    def load(*_: Any, **__: Any) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(VideoSegmenter, "from_pretrained", load)


def test_a_folder_of_everything_and_a_table(
    litetext: Run, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = litetext("track", clip, "-p", "owl", "-p", "whale")
    assert result.code == 0, result.err
    out = tmp_path / "owls_tracks"
    names = {"overlay.mp4", "veval.json", "coco_video.json", "mot.csv", "masks", "objects.png", "tracks.json"}
    assert {path.name for path in out.iterdir() if not path.name.startswith(".")} == names
    assert len(list(open_video(out / "overlay.mp4"))) == 4
    document = json.loads((out / "coco_video.json").read_text())
    assert [one["name"] for one in document["categories"]] == ["owl", "whale"]
    assert len(document["annotations"]) >= 2 and all(one["category_id"] == 1 for one in document["annotations"])
    assert "#1" in result.out and "owl" in result.out and "written: owls_tracks/" in result.out
    assert "mini" in result.out and "--model" in result.out
    monkeypatch.setattr(VideoSegmenter, "from_pretrained", None)
    again = litetext("track", clip, "-p", "owl", "-p", "whale", "--json", "--out", "owls_tracks")
    assert again.code == 0 and len(again.json["objects"]) == len(document["annotations"]), "what is done is not redone"
    refused = litetext("track", clip, "-p", "whale")
    assert refused.code == 2 and "holds the tracks of an earlier run; replace it with --overwrite" in refused.err


def test_one_json_document_and_no_file(
    litetext: Run, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = litetext("track", clip, "-p", "owl", "--json", "--every", 2, "--start", "0:00.1", "--max-side", 200)
    assert result.code == 0, result.err
    found = result.json
    assert (found["frames"], found["width"], found["height"]) == (2, 200, 200)
    assert (found["start"], found["end"]) == (pytest.approx(1 / 6), pytest.approx(3 / 6))
    assert found["damage"] is None and found["objects"][0]["prompt"] == "owl"
    assert not list(tmp_path.iterdir()) and "mini" in result.err


def test_some_of_the_files(litetext: Run, clip: Path, tmp_path: Path) -> None:
    result = litetext("track", clip, "-p", "owl", "--save", "mot", "--end", "0.1", "--out", tmp_path / "out", "-q")
    assert result.code == 0 and result.err == ""
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".litetext.jsonl", "mot.csv", "tracks.json"]
    assert all(line.startswith("1,") for line in (tmp_path / "out" / "mot.csv").read_text().splitlines())
    high = litetext("track", clip, "-p", "owl", "--end", "0.1", "--threshold", "0.99", "--json")
    assert high.json["objects"] == []


def test_standard_input(litetext: Run, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(clip.read_bytes())))
    assert litetext("track", "-", "-p", "owl", "--json", "--end", 0.3).json["frames"] == 2


def test_a_damaged_video_is_told_in_the_end(litetext: Run, clip: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    with av.open(str(clip)) as file:
        place = sorted(packet.pos for packet in file.demux(video=0) if packet.size)[2]
    cut.write_bytes(clip.read_bytes()[: place + 10])
    result = litetext("track", cut, "-p", "owl", "--out", tmp_path / "out")
    assert result.code == 2 and "written:" in result.out
    (line,) = [line for line in result.err.splitlines() if line.startswith("litetext: ")]
    assert "cut.mp4 is cut short or damaged after frame" in line
    frames = json.loads((tmp_path / "out" / "tracks.json").read_text())["frames"]
    assert 0 < frames < 4 and len(list(open_video(tmp_path / "out" / "overlay.mp4"))) == frames
    again = litetext("track", cut, "-p", "owl", "--out", tmp_path / "out")
    assert again.code == 2 and line in again.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.mp4", "-p", "owl"], "gone.mp4: no such file; give a video"),
        (["CLIP"], "nothing to find: give -p PHRASE"),
        (["CLIP", "-p", " "], "the prompt ' ' is empty"),
        (["CLIP", "-p", "owl", "--save", "gif"], "unknown --save 'gif'; choose one of: coco, masks, mot"),
        (["CLIP", "-p", "owl", "--policy", "best"], "unknown --policy 'best'"),
        (["CLIP", "-p", "owl", "--start", "soon"], "--start 'soon' is no time; give seconds, M:SS or H:MM:SS"),
        (["CLIP", "-p", "owl", "--start", "5", "--end", "4"], "are no times"),
        (["CLIP", "-p", "owl", "--start", "100"], "has no frame from 100 s on"),
        (["CLIP", "-p", "owl", "--every", "0"], "every"),
        (["-", "-p", "-"], "- stands for standard input, which can be read once: as a video or as phrases"),
        (["CLIP", "-p", "owl", "--out", "CLIP"], "is the input"),
        pytest.param(
            ["97", "-p", "owl"],
            "camera 97 (/dev/video97) cannot be read as a video (no such file or directory); is it connected",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="names Linux's device"),
        ),
    ],
)
def test_bad_questions_are_one_line_before_a_model_is_loaded(
    refused: Callable[..., str], clip: Path, tmp_path: Path, no_model: None, monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert message in refused("track", *(str(clip) if one == "CLIP" else one for one in arguments))
    assert not list(tmp_path.iterdir())


def test_a_link_that_refuses_the_connection_is_one_line(
    refused: Callable[..., str], no_model: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    message = refused("track", "rtsp://127.0.0.1:1/door", "-p", "owl")
    assert message.endswith("cannot be read as a video (connection refused); does a player open the link?")


def test_a_model_without_a_memory_is_told(refused: Callable[..., str], clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    message = refused("track", clip, "-p", "owl", "--policy", "full", "--out", out)
    assert "mini has no memory tracker" in message and "by-detection" in message and not out.exists()


@pytest.mark.parametrize(
    ("text", "seconds"), [(None, None), ("90", 90), ("1.5", 1.5), ("1:30", 90), ("1:02:03.25", 3723.25), ("0:05", 5)]
)
def test_times(text: str | None, seconds: float | None) -> None:
    assert _seconds("--start", text) == seconds


def test_folders_are_called_after_the_video(tmp_path: Path) -> None:
    names = {"-": "stdin", "0": "camera0", "a/clip.mp4": "clip", "frames/": "frames", "a/*.jpg": "a",
             "frame*.png": "frame", "rtsp://host/live/yard.sdp?x=1": "yard", "http://host/": "host"}  # fmt: skip
    assert {video: _stem(video) for video in names} == names
