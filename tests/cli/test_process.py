"""Signals and encodings, in processes of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from litetext.data import samples

# A shell lets what it starts in the background ignore SIGINT, and children inherit that.
_CODE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from litetext.cli import main; main()"
_COMMAND = [sys.executable, "-c", _CODE]


def _started(*arguments: object, cwd: Path) -> subprocess.Popen[str]:
    command = [*_COMMAND, *map(str, arguments)]
    return subprocess.Popen(command, cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_evaluation_says_what_is_saved_and_goes_on(tmp_path: Path, number: int, code: int) -> None:
    world = _started("mini", "world", "--out", "w", "--pairs", 40, "--size", 64, cwd=tmp_path)
    assert world.wait() == 0
    arguments = ("evaluate", "--gt", "w/gold_mini.json", "--images", "w/images", "--model", "mini",
                 "--save-predictions", "p.json", "--json")  # fmt: skip
    process = _started(*arguments, cwd=tmp_path)
    journal = tmp_path / "p.json.partial"
    _wait_for(lambda: journal.exists() and journal.read_text().count("\n") > 2, process)
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == code
    assert re.search(r"litetext: interrupted; \d+ of \d+ are saved in p\.json\.partial; give the same command", said)
    assert "Traceback" not in said
    again = _started(*arguments, cwd=tmp_path)
    printed, _ = again.communicate()
    assert again.returncode == 0 and json.loads(printed)["pairs"] == 40
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".") or "partial" in path.name]


def test_names_that_the_terminal_cannot_write_are_escaped(tmp_path: Path) -> None:
    shutil.copy(samples()[0].image, tmp_path / "café 🦉 猫.png")
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    for option in ([], ["--json"]):
        done = subprocess.run(
            [*_COMMAND, "segment", "café 🦉 猫.png", "-p", "penguin", *option],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["image"] == "café 🦉 猫.png"


def test_one_unreadable_image_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no picture")
    Image.new("RGB", (32, 32)).save(tmp_path / "good.png")
    process = _started("segment", "bad.png", "good.png", "-p", "dog", "--out", "o", cwd=tmp_path)
    _, said = process.communicate()
    assert process.returncode == 2 and "bad.png" in said
    assert {path.name for path in (tmp_path / "o").glob("*.*")} >= {"instances.json", "good_masks.png"}


@pytest.mark.parametrize(
    "command",
    [
        "embed mini many.txt --out DIR/e.safetensors",
        "convert mini DIR/c --to litetext",
        "bank build many.txt --text mini --out DIR/b.safetensors",
        "mini world --out DIR/w --pairs 60",
        "segment scene.png -p dog --out DIR/s",
        "audit many.txt --out DIR/a",
    ],
)
def test_a_full_disk_is_one_line_that_names_the_path(command: str, tmp_path: Path) -> None:
    (tmp_path / "many.txt").write_text("".join(f"phrase number {number}\n" for number in range(200)))
    shutil.copy(samples()[0].image, tmp_path / "scene.png")
    small = tmp_path / "small"
    small.mkdir()
    done = subprocess.run(
        ["bash", "-c", f"mount -t tmpfs -o size=16k tmpfs {small} && exec \"$@\"", "bash", *_COMMAND,
         *command.replace("DIR", str(small)).split()],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    left = [path for path in small.rglob("*") if path.name.startswith(".") and path.name != ".litetext.jsonl"]
    subprocess.run(["umount", small], check=False, capture_output=True)
    if "mount:" in done.stderr:
        pytest.skip("no file system can be mounted here")
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert str(small) in last and "no space left" in last.lower() and "Traceback" not in done.stderr
    assert ".litetext-" not in last and not left
