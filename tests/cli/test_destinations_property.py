"""Whatever a destination is, no command deletes or replaces a file that it did not write, or leaves a stray one."""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from litetext.cli import main
from litetext.data import samples
from litetext.encoders import save_encoder
from litetext.mini import config as mini_config
from litetext.outputs import RECORD
from litetext.tokenizer import Tokenizer

from ..encoders.conftest import random_encoder, small_config
from ..mini.test_train import SHORT

CHEAP = {
    "embed": "embed mini p.txt --out OUT.safetensors",
    "bank": "bank build p.txt --text mini --out OUT.safetensors",
    "convert": "convert mini OUT --to litetext --prompts p.txt",
    "authors": "convert whole OUT.safetensors --to authors --prompts p.txt",
    "world": "mini world --out OUT --pairs 1 --size 32",
}
OTHERS = {
    "authors.pt": "convert whole OUT.pt --to authors --prompts p.txt",
    "transformers": "convert whole OUT --to transformers --model mini --prompts p.txt",
    "export": "export mini OUT --prompts p.txt",
    "gold": "mini world --gold --out OUT --pairs 1 --size 32",
    "predictions": "evaluate --gt w/gold_mini.json --images w/images --model mini --save-predictions OUT.json",
    "page": "evaluate --gt w/gold_mini.json --pred none.json --html OUT.html",
    "mini evaluate": "mini evaluate --pairs 2 --save-predictions OUT.json",
    "segment": "segment s.png -p penguin --out OUT",
    "audit": "audit p.txt --out OUT",
    "distill": "distill --student xxs --limit 30 --steps 1 --out OUT",
    "train": "mini train --preset tiny --out OUT",
    "record": "parity mini --record OUT",
}
ALWAYS_NEW = {"segment", "audit", "distill", "train"}
"""Commands without --overwrite: what they wrote themselves they replace, or go on with."""

_NAMES = st.sampled_from(
    ["notes.txt", "config.json", "model.safetensors", "README.md", "s_masks.png", "instances.json", "report.html",
     "figures/a.png", "checkpoint.pt", "losses.csv", "student/config.json", "1/checkpoint.pt", "mini/mini.json",
     "images/000000.png", "stats.json", "text/a", ".partial", ".run.json"]
)  # fmt: skip


@dataclass(frozen=True)
class Situation:
    """What a command meets.

    Attributes:
        spelling: how the destination is written; OUT is its own name.
        earlier: the command ran there before.
        foreign: files of the user's in it, or beside it under its name.
        changed: how many files of the earlier run the user changed since.
        link: the destination is a link to a folder or file of the user's.
        overwrite: --overwrite is given.
    """

    spelling: str
    earlier: bool
    foreign: tuple[str, ...]
    changed: int
    link: bool
    overwrite: bool


situations = st.builds(
    Situation,
    st.sampled_from(["OUT", "./OUT", "sub/../OUT", "ABSOLUTE/OUT", ".", "sub/..", ".."]),
    st.booleans(),
    st.lists(_NAMES, max_size=3, unique=True).map(tuple),
    st.integers(0, 2),
    st.booleans(),
    st.booleans(),
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands read."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "p.txt").write_text("white dog\nred car\n")
    (folder / "none.json").write_text("[]")
    (folder / "s.png").write_bytes(samples()[0].image.read_bytes())
    save_encoder(random_encoder(small_config("s1", output_dim=64)), Tokenizer(), folder / "whole")
    with _in(folder):
        assert _run("mini world --out w --pairs 1 --size 32") == 0
    return folder


@contextlib.contextmanager
def _in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _run(command: str) -> int:
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said), pytest.raises(SystemExit) as end:
        main(command.split())
    assert end.value.code in (0, 2, None), said.getvalue()
    return int(end.value.code or 0)


def _files(folder: Path) -> dict[Path, bytes]:
    """Every file and link below a folder, and what is in it; records are not the user's whatever is in them."""
    return {
        path: str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.name != RECORD and (path.is_symlink() or path.is_file())
    }


def _check(command: str, inputs: Path, situation: Situation, name: str) -> None:
    with tempfile.TemporaryDirectory() as outside, _in(Path(outside).resolve()):
        root = Path.cwd()
        (root / "here" / "sub").mkdir(parents=True)
        os.chdir(root / "here")
        for path in inputs.iterdir():  # links, so that the inputs are not copied for every example
            (root / "here" / path.name).symlink_to(path)
        suffix = re.search(r"OUT(\.\w+)?", command).group(1) or ""  # type: ignore[union-attr]
        own = "out" + suffix
        destination = root / "here" / own
        given = situation.spelling.replace("OUT", own).replace("ABSOLUTE", str(root / "here"))
        asked = re.sub(r"OUT(\.\w+)?", given, command)
        before = _files(root)
        if situation.earlier:
            assert _run(asked) == 0 or situation.spelling in (".", "sub/..", "..")
        ours = {path: content for path, content in _files(root).items() if path not in before}
        for path in sorted(ours)[: situation.changed]:
            path.write_bytes(path.read_bytes() + b" changed by the user")
        for number, foreign in enumerate(situation.foreign):
            path = destination.with_name(own + foreign.replace("/", "_")) if suffix else destination / foreign
            if situation.spelling in (".", "sub/..") and not suffix:
                path = root / "here" / foreign
            if suffix and number == 0:
                path = destination
            with contextlib.suppress(OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"the user's own")
        if situation.link and not os.path.lexists(destination):
            (root / "target").mkdir()
            (root / "target" / "thesis.tex").write_bytes(b"years of work")
            destination.symlink_to(root / "target")
        now = _files(root)
        users = {path: content for path, content in now.items() if ours.get(path) != content}
        _run(asked + (" --overwrite" if situation.overwrite and name not in ALWAYS_NEW else ""))
        after = _files(root)
        lost = [path for path, content in users.items() if after.get(path) != content]
        assert not lost, f"lost: {lost}"
        stray = [path for path in root.rglob("*") if ".litetext-" in path.name]
        assert not stray, f"stray: {stray}"


@pytest.mark.parametrize("name", CHEAP)
@settings(max_examples=8, suppress_health_check=list(HealthCheck))
@given(situation=situations)
def test_cheap_commands_lose_nothing(name: str, inputs: Path, situation: Situation) -> None:
    _check(CHEAP[name], inputs, situation, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CHEAP, *OTHERS])
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(situation=situations)
def test_no_command_loses_anything(name: str, inputs: Path, situation: Situation) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(mini_config.PRESETS, "tiny", (replace(SHORT, steps=(1, 1, 1)),))
        _check((CHEAP | OTHERS)[name], inputs, situation, name)


@pytest.mark.slow
@settings(max_examples=4, suppress_health_check=list(HealthCheck))
@given(situation=situations)
def test_the_export_of_a_whole_model_loses_nothing(inputs: Path, situation: Situation) -> None:
    _check("export mini OUT --whole --prompts p.txt", inputs, situation, "whole")
