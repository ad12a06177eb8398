"""Benchmarks, tools and examples: every name that they import from litetext exists."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(path for folder in ("benchmarks", "tools", "examples") for path in (ROOT / folder).glob("*.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_script_can_be_imported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(path.parent))  # scripts import their neighbors
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        if str(error.name).startswith("litetext"):
            raise
        pytest.skip(f"{error.name} is not installed")


def test_the_speed_of_exports_is_measured_into_a_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("script_deploy", ROOT / "benchmarks" / "deploy.py")
    assert spec is not None and spec.loader is not None
    deploy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(deploy)
    for name, value in {
        "export_all": lambda place, prompts: {"fp32": None},
        "COMPARED": ("fp32",),
        "agreement": lambda folder, checkpoint, prompts: [{"min_cosine": 0.5}],
        "speed": lambda place, names, prompts, threads, worst: worst,
    }.items():
        monkeypatch.setattr(deploy, name, value)
    (tmp_path / "p.txt").write_text("dog\n")
    given = ["deploy.py", "p.txt", "--speed-only", "--threads", "1", "--out", "new.json"]
    monkeypatch.setattr(sys, "argv", given)
    monkeypatch.chdir(tmp_path)
    deploy.main()
    assert json.loads((tmp_path / "new.json").read_text())["speed, 1 threads"] == {"fp32": 0.5}
