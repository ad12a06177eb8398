"""Each extra alone: every command works, or ends in one line that names the extra it needs."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from litetext.data import samples
from litetext.errors import EXTRAS

from ..cli.test_command_line import COMMANDS
from .hidden import TRAINING, canonical
from .test_metadata import PROJECT, tomllib

ALONE = (
    "",
    "images",
    "openvino",
    "evaluate",
    "anatomy",
    "sam3",
    "export",
    "mini",
    "video",
    "label",
    "distill",
    "photo",
    "serve",
)
"""No extra, and each one."""

MODULES = (".py", ".so", ".pyd")
TORCH = {"sam3", "export", "mini", "video", "label", "distill", "photo"}
WORKS: dict[str, set[str]] = {
    "audit phrases.txt --out OUT": {"anatomy"},
    "audit phrases.txt --encoder mini --out OUT": set(),
    "audit --limit 60 --out OUT": set(),
    "bank build phrases.txt --text mini --out OUT/bank.safetensors": set(ALONE),
    "bench text --row s0-16 --batch 1 --rounds 1 --no-memory": TORCH,
    "convert mini OUT --to litetext": TORCH,
    "convert plain OUT/e.pt --to authors": TORCH,
    "convert plain OUT --to transformers --model mini": TORCH,
    "distill --student xxs --steps 1 --limit 60 --out OUT": {"distill", "photo"},
    "embed mini phrases.txt --out OUT/f.safetensors": set(ALONE),
    "embed exported phrases.txt --out OUT/f.safetensors": set(ALONE),
    "evaluate --gt drawn/gold_mini.json --pred none.json": {"evaluate"} | TORCH,
    "evaluate --gt drawn/gold_mini.json --pred none.json --html OUT/r.html": {"evaluate"},
    "evaluate --gt drawn/gold_mini.json --images drawn/images --model mini --no-cache": {"evaluate"} | TORCH,
    "evaluate --check none.json": set(ALONE),
    "export mini OUT": {"export"},
    "export mini OUT --whole": {"export"},
    "info mini": set(ALONE),
    "label drawn/images --concepts phrases.txt --out OUT": {"label"},
    "mini evaluate --pairs 4": {"evaluate", "mini"},
    "mini train --out OUT": {"mini", "distill", "photo"},
    "mini world --pairs 4 --out OUT": {"images", "openvino", "evaluate"} | TORCH,
    "models": set(ALONE),
    "parity mini": TORCH,
    "parity mini --against onnx": {"export"},
    "parity mini --against transformers": TORCH,
    "review labels --out OUT/r.html": {"label"},
    "segment scene.png -p owl --out OUT": {"images", "evaluate", "serve"} | TORCH,
    "segment scene.png -p owl --model photo --out OUT": {"images", "evaluate", "serve"} | TORCH,
    "segment scene.png -p owl --backend torch --out OUT": TORCH,
    "segment scene.png -p owl --backend openvino --json": {"openvino"},
    "bench segment --rounds 1 --prompts 1 --json": {"images", "openvino", "evaluate"} | TORCH,
    "segment scene.png -p owl --model whole --text bank.safetensors --json": {"images", "openvino", "evaluate"} | TORCH,
    "track drawn/images -p owl --out OUT": {"video"},
}
"""Command lines, and the extras with each of which alone they work; with another they may."""

ELSE: dict[str, str] = {
    "audit phrases.txt --encoder exported --out OUT": "exported is an exported encoder, without weights to look into",
    "evaluate --gt drawn/gold_mini.json --images drawn/images --system owlvit --no-cache": "owlvit",
    "mini train-tracker --model absent --out OUT": "absent/mini.json: no such file",
    "photo distill --data data --out OUT": "checkpoint.pt does not exist",
    "serve --host 192.0.2.1": "192.0.2.1 port 8000 cannot be listened on",
    "photo train --data data --out OUT": "data/wordnet holds no data.noun",
    "photo tune --data data --out OUT": "data/wordnet holds no data.noun",
}
"""Command lines that end in another line where every module is there."""

PYTHON = {
    "Instances(*EMPTY).to_supervision()": "sam3",
    "Instances(*EMPTY).plot()": "images",
    "Instances(*EMPTY).save_png('a.png')": "images",
    "litetext.Segmenter.from_pretrained('plain')": "sam3",
    "litetext.Segmenter.from_pretrained('mini').segment('scene.png', 'owl')": "images",
    "litetext.load_encoder('plain')": "sam3",
    "litetext.encoders.read_checkpoint('mini')": "sam3",
    "litetext.distill.train": "sam3",
    "import litetext.evaluate": "evaluate",
    "from litetext.prompts import read_corpus; read_corpus(['lvis'])": "anatomy",
    "from litetext.encoders import export_onnx": "sam3",
}
"""What Python users get in the base install: the extra to install."""
_BEFORE = """
import numpy as np
import litetext, litetext.encoders, litetext.distill
from litetext import Instances, Masks
EMPTY = (4, 4), ("dog",), np.zeros(1, "f"), np.zeros((0, 4), "f"), Masks((4, 4)), np.zeros(0, "f"), np.zeros(0, int)
"""


def _declared(extra: str) -> list[Requirement]:
    """What ``pyproject.toml`` asks for in the base install and in an extra."""
    with (PROJECT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    listed = project["dependencies"] + (project["optional-dependencies"][extra] if extra else [])
    return [Requirement(one) for one in listed]


def _brought(extra: str) -> set[str]:
    """The distributions that the base install with an extra brings, what they need included."""
    found: set[str] = set()
    waiting = [("litetext", extra)]
    seen = set(waiting)
    while waiting:
        name, own_extra = waiting.pop()
        found.add(name)
        for needed in _needed(name, own_extra):
            more = {(canonical(needed.name), one) for one in ("", *needed.extras)} - seen
            seen |= more
            waiting += more
    return found


def _needed(name: str, extra: str) -> Iterator[Requirement]:
    try:
        needed = _declared(extra) if name == "litetext" else map(Requirement, importlib.metadata.requires(name) or ())
    except importlib.metadata.PackageNotFoundError:
        return
    yield from (one for one in needed if one.marker is None or one.marker.evaluate({"extra": extra}))


@lru_cache
def _owners() -> dict[str, set[str]]:
    """The distributions that each module comes with; importlib.metadata's own table lacks some before Python 3.11."""
    owners: dict[str, set[str]] = {}
    for one in importlib.metadata.distributions():
        for file in one.files or ():
            module = file.parts[0] if len(file.parts) > 1 else file.name.split(".")[0] if file.suffix in MODULES else ""
            if module.isidentifier():
                owners.setdefault(module, set()).add(canonical(one.metadata["Name"]))
    return owners


def _hidden(extra: str) -> dict[str, list[str]]:
    """The modules and distributions of this environment that an extra does not bring."""
    brought = _brought(extra)
    return {
        "modules": [module for module, names in _owners().items() if not brought & names],
        "distributions": sorted(
            {canonical(one.metadata["Name"]) for one in importlib.metadata.distributions()} - brought
        ),
    }


def _results(extra: str, runs: Sequence[Sequence[str]], folder: Path) -> list[dict[str, Any]]:
    (folder / "runs.json").write_text(json.dumps({**_hidden(extra), "runs": runs}))
    paths = f"{PROJECT / 'src'}{os.pathsep}{PROJECT}"
    allocator = "" if extra == "openvino" else os.environ.get("LD_PRELOAD", "")  # OpenVINO dies under tcmalloc
    done = subprocess.run(
        [sys.executable, "-m", "tests.install.hidden", str(folder / "runs.json")],
        cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "LD_PRELOAD": allocator},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, exports: Path) -> Path:
    """A folder with what the commands read."""
    from litetext.encoders import save_encoder
    from litetext.tokenizer import Tokenizer

    from ..encoders.conftest import random_encoder, small_config

    folder = tmp_path_factory.mktemp("extras")
    (folder / "phrases.txt").write_text("owl\nred car\na whale\npurple owl\nthe car\n")
    (folder / "none.json").write_text("[]")
    (folder / "data").mkdir()
    shutil.copy(samples()[1].image, folder / "scene.png")
    shutil.copytree(exports / "fp32", folder / "exported")
    shutil.copytree(exports / "whole", folder / "whole")
    save_encoder(random_encoder(small_config("s1", output_dim=64)), Tokenizer(), folder / "plain")
    for command in (
        "mini world --out drawn --pairs 8 --size 64",
        "bank build phrases.txt --text mini --out bank.safetensors",
        "label drawn/images --concepts phrases.txt --keep 0 --threshold 0 --out labels",
    ):
        subprocess.run(
            [sys.executable, "-m", "litetext", *command.split()], cwd=folder, check=True, capture_output=True
        )
    return folder


def test_every_command_is_run() -> None:
    lines = [*WORKS, *ELSE]
    missing = [command for command in COMMANDS if not any(line.split()[: len(command)] == [*command] for line in lines)]
    assert not missing, f"say in WORKS with which extras these work: {missing}"


@pytest.mark.slow
@pytest.mark.parametrize("extra", ALONE, ids=lambda extra: extra or "base")
def test_a_command_works_or_names_the_extra(extra: str, workspace: Path, tmp_path: Path) -> None:
    lines = [*WORKS, *ELSE]
    runs = [line.replace("OUT", str(tmp_path / str(number))).split() for number, line in enumerate(lines)]
    (tmp_path / "x").mkdir()
    for run in runs:
        for argument in run:
            if argument.startswith(str(tmp_path)) and "." in Path(argument).name:
                Path(argument).parent.mkdir(exist_ok=True)
    wrong = []
    for line, run, ended in zip(lines, runs, _results(extra, runs, workspace), strict=True):
        said = ended["err"].strip()
        works = ended["code"] == (143 if tuple(run[:2]) == TRAINING else 0)
        named = ended["code"] == 2 and said.count("\n") == 0 and re.search(r"pip install 'litetext\[\w+\]'$", said)
        other = ended["code"] == 2 and said.count("\n") == 0 and line in ELSE and ELSE[line] in said
        if not (works or named or other) or (extra in WORKS.get(line, ()) and not works):
            wrong.append((line, ended))
    assert not wrong


@pytest.mark.slow
def test_python_names_the_extra_too(workspace: Path) -> None:
    runs = [["-c", f"{_BEFORE}{code}"] for code in PYTHON]
    for (code, extra), ended in zip(PYTHON.items(), _results("", runs, workspace), strict=True):
        last = ended["err"].strip().splitlines()[-1]
        assert last.startswith("litetext.errors.MissingExtraError") and f"'litetext[{extra}]'" in last, (code, ended)


@pytest.mark.slow
def test_with_images_alone_results_are_drawn(workspace: Path) -> None:
    code = "litetext.Segmenter.from_pretrained('mini').segment('scene.png', 'owl').plot().save('drawn.png')"
    assert [ended["code"] for ended in _results("images", [["-c", f"{_BEFORE}{code}"]], workspace)] == [0]


@pytest.mark.parametrize("extra", [extra for extra in ALONE if extra])
def test_the_table_of_extras_is_that_of_the_project(extra: str) -> None:
    def named(extra: str) -> set[str]:
        base = {canonical(one.name) for one in _declared("")}  # an extra may ask for a newer one
        own = [one for one in _declared(extra) if canonical(one.name) not in base]
        nested = [named(more) for one in own if canonical(one.name) == "litetext" for more in one.extras]
        return {canonical(one.name) for one in own if canonical(one.name) != "litetext"}.union(*nested)

    ours = [_owners()[module] for module in EXTRAS[extra]]  # cv2 has two
    assert all(names & named(extra) for names in ours)
    assert named(extra) <= set[str]().union(*ours)


def test_every_extra_is_tried_alone() -> None:
    with (PROJECT / "pyproject.toml").open("rb") as file:
        extras = set(tomllib.load(file)["project"]["optional-dependencies"])
    assert extras - {"all", "dev"} == set(EXTRAS) == set(ALONE) - {""}
    small = ["images", "evaluate", "anatomy", "sam3"]
    sizes = [len(_brought(extra)) for extra in small]
    assert sizes == sorted(sizes) and [name for name in EXTRAS if name in small] == small
