"""Clips are written as SA-Co VEval, and the ground truth scores 100 against itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from litetext.cli import app
from litetext.errors import LitetextError
from litetext.evaluate.video import evaluate_videos
from litetext.mini.clip_export import ANNOTATION, MEDIA
from litetext.mini.concepts import CONCEPTS
from litetext.mini.motion import MotionWorld
from litetext.mini.world import World, generator
from litetext.results.formats.veval import prediction, read_video_truth

OPTIONS = ("--video", "--concepts", "12", "--size", "48", "--seed", "3", "--count", "4", "--frames", "6")


def run(*options: str) -> str:
    result = CliRunner().invoke(app, ["mini", "world", *options])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips") / "world"
    run(*OPTIONS, "--out", str(folder))
    return folder


def test_ground_truth_scores_itself_at_100(drawn: Path, tmp_path: Path) -> None:
    truth = read_video_truth(drawn / ANNOTATION)
    assert truth.listed is not None and len(truth.listed) == 16
    assert 0 < len({track.pair for track in truth.tracks}) < 16
    predicted = tmp_path / "predictions.json"
    size_of = {video.id: video.size for video in truth.videos.values()}
    predicted.write_text(json.dumps([prediction(track, size_of[track.video]) for track in truth.tracks]))
    metrics = evaluate_videos(truth, predicted).to_dict()
    for name in ("cgF1", "pHOTA", "pDetA", "pAssA", "TETA"):
        assert metrics[name] == pytest.approx(100, abs=0.01), name


def test_frames_lie_where_the_file_says(drawn: Path) -> None:
    truth = read_video_truth(drawn / ANNOTATION)
    clip = MotionWorld(World([one.name for one in CONCEPTS[:12]], size=48)).clip(generator(3, 0), np.linspace(0, 1, 6))
    for video in truth.videos.values():
        assert video.length == 6 and video.size == (48, 48)
        assert all((drawn / MEDIA / name).is_file() for name in video.file_names)
    written = np.asarray(Image.open(drawn / MEDIA / truth.videos[1].file_names[2])).astype(int)
    assert np.abs(written - clip.frames[2]).mean() < 8


def test_statistics_say_what_was_drawn(drawn: Path) -> None:
    figures = json.loads((drawn / "stats.json").read_text())
    assert figures["clips"] == 4 and figures["frames"] == 24 and figures["pairs"] == 16
    assert figures["seed"] == 3 and 0 < figures["negative_share"] < 1


def test_the_same_command_draws_the_same_files(drawn: Path, tmp_path: Path) -> None:
    run(*OPTIONS, "--out", str(tmp_path / "again"), "--json")
    first, second = ((folder / ANNOTATION).read_bytes() for folder in (drawn, tmp_path / "again"))
    assert first == second


@pytest.mark.parametrize("other", [("--gold",), ("--combinations", "new")])
def test_video_excludes_what_is_for_scenes(tmp_path: Path, other: tuple[str, ...]) -> None:
    with pytest.raises(LitetextError, match="--video excludes"):
        CliRunner().invoke(
            app, ["mini", "world", "--video", *other, "-o", str(tmp_path / "world")], catch_exceptions=False
        )
    assert not (tmp_path / "world").exists()
