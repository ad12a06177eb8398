"""Whatever a file holds, it is read or refused in one line: no traceback, no hang, no stray file, bounded memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .readers import READERS
from .run import SECONDS

MOST_BYTES = 2_000_000_000
LEAST_FILES = {
    "prompts": 300, "images": 200, "annotations": 400, "formats": 170, "checkpoints": 300, "exports": 250,
    "recipes": 90, "models": 260, "minis": 180, "runs": 50, "videos": 200, "tracks": 200,
    "labels": 300,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_spoiled_files_are_read_or_refused(reader: str) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "tests.malformed.run", reader],
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)])},
        capture_output=True,
        text=True,
        timeout=1_200,
    )
    assert done.returncode == 0, done.stderr[-2_000:]  # its last line is the file that stopped the process
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["failures"] == {}
    assert report["files"] >= LEAST_FILES[reader]
    assert report["slowest"][0] < SECONDS and report["peak_bytes"] < MOST_BYTES


@pytest.mark.parametrize(
    ("name", "content", "command"),
    [
        ("p.json", b"[" * 100_000, ["audit", "FILE"]),
        ("p.json", b"[" + b"1" * 6_000 + b"]", ["embed", "mini", "FILE", "--out", "OUT"]),
        ("p.jsonl", b'"\\ud800"', ["audit", "FILE", "--out", "OUT"]),
        ("p.json", b"[" * 100_000, ["evaluate", "--check", "FILE"]),
        ("p.json", b'[{"image_id": 1, "category_id": 1, "score": 2}]', ["evaluate", "--check", "FILE"]),
        ("r.toml", b"[student]\nwidth = 1e30", ["distill", "--student", "FILE", "--out", "OUT"]),
        ("e.pt", b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00ls\x85R.", ["info", "FILE"]),
        ("i.png", b"\x89PNG\r\n\x1a\n", ["segment", "FILE", "-p", "dog", "--json"]),
    ],
)
def test_malformed_files_end_a_command_in_one_line(
    tmp_path: Path, name: str, content: bytes, command: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    from litetext.cli import main

    (tmp_path / name).write_bytes(content)
    places = {"FILE": str(tmp_path / name), "OUT": str(tmp_path / "out")}
    with pytest.raises(SystemExit) as ended:
        main([places.get(argument, argument) for argument in command])
    captured = capfd.readouterr()
    assert ended.value.code == 2 and captured.err.count("\n") == 1 and name in captured.err
    assert "Traceback" not in captured.err and [path.name for path in tmp_path.iterdir()] == [name]


def test_file_names_that_are_no_text(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    from litetext.cli import main

    image, phrases = tmp_path / "\udcff.png", tmp_path / "\udcfe.txt"
    Image.new("RGB", (30, 20)).save(image)
    phrases.write_text("dog\ncat\nbird\nhorse\n")
    for command in (
        ["segment", image, "-p", "dog", "--out", tmp_path / "segments"],
        ["segment", image, "-p", "dog", "--json"],
        ["audit", phrases, "--out", tmp_path / "audit"],
        ["embed", "mini", phrases, "--out", tmp_path / "f.safetensors"],
    ):
        with pytest.raises(SystemExit) as ended:
            main(list(map(str, command)))
        assert not ended.value.code, capfd.readouterr().err
    written = json.loads((tmp_path / "segments" / "instances.json").read_text())
    assert written["images"][0]["file_name"] == str(image)


@pytest.mark.parametrize("device", ["gpu", "foo", "cuda:99"])
@pytest.mark.parametrize(
    "command", [["distill", "--student", "xxs", "--out", "OUT"], ["bench", "text", "--row", "s0-16"]]
)
def test_devices_that_are_not_here_end_a_command_in_one_line(
    tmp_path: Path, command: list[str], device: str, capfd: pytest.CaptureFixture[str]
) -> None:
    from litetext.cli import main

    with pytest.raises(SystemExit) as ended:
        main([*(argument.replace("OUT", str(tmp_path / "out")) for argument in command), "--device", device])
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("litetext: ")]
    assert ended.value.code == 2 and len(said) == 1 and "cpu" in said[0] and not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [["audit"], ["embed", "mini"], ["evaluate", "--check"], ["info"], ["segment"]])
def test_a_pipe_ends_a_command_before_it_waits(
    tmp_path: Path, command: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    from litetext.cli import main

    pipe = tmp_path / {"segment": "i.png", "info": "e.safetensors"}.get(command[0], "p.json")
    os.mkfifo(pipe)
    more = {"segment": ["-p", "dog", "--json"], "embed": ["--out", str(tmp_path / "out")]}.get(command[0], [])
    with pytest.raises(SystemExit) as ended:
        main([*command, str(pipe), *more])
    assert ended.value.code == 2 and "is a pipe or a device" in capfd.readouterr().err
