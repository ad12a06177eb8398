"""Every command that takes time is killed twenty times at random moments: the same results, and no stray file."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from litetext.data import samples
from litetext.files import sweep
from litetext.images import read_image
from litetext.mini import config as mini_config
from litetext.videos import write_video

from ..killing import check_same_files, run_command, survive_kills
from ..mini.test_train import SHORT

COMMANDS = {
    "convert": "convert mini out --to litetext",
    "authors": "convert INPUTS/whole out.pt --to authors",
    "transformers": "convert INPUTS/whole out --to transformers --model mini",
    "export": "export mini out",
    "embed": "embed mini INPUTS/p.txt --out out.safetensors",
    "bank": "bank build INPUTS/p.txt --text mini --out out.safetensors",
    "world": "mini world --out out --pairs 40 --size 64",
    "gold": "mini world --gold --out out --pairs 4 --size 64",
    "segment": "segment INPUTS/a.png INPUTS/b.png INPUTS/c.png -p penguin -p car --out out",
    "track": "track INPUTS/clip.mp4 -p penguin -p car --out out",
    "audit": "audit INPUTS/p.txt --encoder mini --segmenter mini --sample 12 --out out",
    "evaluate": "evaluate --gt INPUTS/w/gold_mini.json --images INPUTS/w/images --model mini "
    "--save-predictions out.json --html out.html --overwrite",
}
"""By name; a killed run is given again as it is, and a finished one is refused without --overwrite."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands read."""
    from litetext.encoders import save_encoder
    from litetext.tokenizer import Tokenizer

    from ..encoders.conftest import random_encoder, small_config

    torch.set_num_threads(1)  # a forked child has no other threads to wait for
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "p.txt").write_text("".join(f"{color} {noun}\n" for color in ("red", "blue") for noun in NOUNS))
    for name, sample in zip("abc", samples(), strict=False):
        (folder / f"{name}.png").write_bytes(sample.image.read_bytes())
    save_encoder(random_encoder(small_config("s1", output_dim=64)), Tokenizer(), folder / "whole")
    with write_video(folder / "clip.mp4", (256, 256), 6) as video:
        for number in range(8):
            video.write(np.roll(read_image(folder / "a.png"), 4 * number, axis=1))
    run_command(folder, "mini", "world", "--out", "w", "--pairs", 48, "--size", 128, "--seed", 3)
    return folder


NOUNS = ("car", "banana", "guitar", "penguin", "whale", "apple", "bus", "tree", "boat", "cat")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_survives_twenty_kills(name: str, inputs: Path, tmp_path: Path) -> None:
    command = COMMANDS[name].replace("INPUTS", str(inputs)).split()

    def run(folder: Path) -> None:
        run_command(folder, *command, done=(0, 2) if any(folder.glob("out*")) else (0,))

    survive_kills(run, tmp_path, check_same_files, earliest=0.0, latest=1.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["convert", "world", "embed"])
def test_an_output_that_is_replaced_survives_twenty_kills(name: str, inputs: Path, tmp_path: Path) -> None:
    command = COMMANDS[name].replace("INPUTS", str(inputs)).split()

    def run(folder: Path) -> None:
        for _ in range(6):
            run_command(folder, *command, "--overwrite")

    survive_kills(run, tmp_path, check_same_files, earliest=0.0, latest=1.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    ["distill --student xxs --limit 60 --steps 12 --batch-size 20 --out out", "mini train --preset tiny --out out"],
)
def test_a_training_command_survives_twenty_kills(
    command: str, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(SHORT, steps=(4, 2, 4), checkpoint_every=1, report_every=2)
    larger = replace(small, shape=replace(small.shape, image_size=64), steps=(0, 0, 2), text_steps=0)
    monkeypatch.setitem(mini_config.PRESETS, "tiny", (small, larger))

    def check(killed: Path, whole: Path) -> None:
        model = "student" if "distill" in command else "mini"
        check_same_files(killed / "out" / model, whole / "out" / model, ignored=("README.md",))  # it tells the time
        left = [{path.name for path in (folder / "out").iterdir()} for folder in (killed, whole)]
        assert left[0] == left[1]
        assert not [path for path in killed.rglob("*") if ".litetext-" in path.name]

    survive_kills(lambda folder: run_command(folder, *command.split()), tmp_path, check, latest=0.7)


def test_a_kill_between_two_renames_is_undone(tmp_path: Path) -> None:
    command = ("convert", "mini", "out", "--to", "litetext")
    run_command(tmp_path, *command)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    replace_path, moves = Path.replace, []

    def dies_at_the_second(self: Path, target: Path) -> Path:
        if Path(target).name == "out" or self.name == "out":
            moves.append(self)
            if len(moves) == 2:
                os._exit(9)  # as a kill: nothing is tidied up
        return replace_path(self, target)

    child = os.fork()
    if not child:
        Path.replace = dies_at_the_second  # type: ignore[assignment, method-assign]
        run_command(tmp_path, *command, "--overwrite")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not (tmp_path / "out").exists()
    sweep.cache_clear()  # as in a process of its own
    run_command(tmp_path, *command, done=(2,))  # the earlier output is back, and refused
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
