"""The floors of docs/architecture.md: a package imports only from lower ones, and the entry points stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "litetext"

FLOORS = {
    "errors": 0,
    "files": 0,
    "images": 0,
    "outputs": 0,
    "journal": 0,
    "json_files": 0,
    "hub": 0,
    "hub_names": 0,
    "memory": 0,
    "validation": 0,
    "devices": 0,
    "pickles": 0,
    "lazy": 0,
    "progress": 0,
    "ragged": 0,
    "videos": 0,
    "data": 0,
    "prompts": 0,
    "tokenizer": 0,
    "encoders": 1,
    "reports": 1,
    "results": 1,
    "training": 1,
    "anatomy": 2,
    "distill": 2,
    "segment": 2,
    "evaluate": 3,
    "track": 3,
    "probe": 3,
    "mini": 4,
    "photo": 5,
    "bench": 4,
    "label": 4,
    "cli": 6,
}
GROUND = {
    "errors",
    "files",
    "images",
    "outputs",
    "journal",
    "json_files",
    "hub",
    "hub_names",
    "memory",
    "validation",
    "devices",
    "pickles",
    "lazy",
    "progress",
    "ragged",
    "videos",
    "data",
}
"""What every package on the lowest floor may share."""


def _package(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every package of litetext that a file imports, at the top or inside functions, and the line."""
    parents = ["litetext", *path.relative_to(SOURCE).with_suffix("").parts][:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[list[str]] = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = parents[: len(parents) - node.level + 1] if node.level else []
            module = [*base, *(node.module.split(".") if node.module else [])]
            names = [[*module, alias.name] for alias in node.names]
        for name in names:
            if name[0] == "litetext" and len(name) > 1 and name[1] in FLOORS:
                yield name[1], node.lineno


def _files() -> list[Path]:
    return [path for path in sorted(SOURCE.rglob("*.py")) if _package(path) not in ("__init__", "__main__")]


@pytest.mark.parametrize("path", _files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_packages_import_only_from_lower_floors(path: Path) -> None:
    package = _package(path)
    assert package in FLOORS, f"{package} has no floor; give it one here and in docs/architecture.md"
    for imported, line in _imports(path):
        if imported == package or imported in GROUND:
            continue
        assert FLOORS[imported] < FLOORS[package], (
            f"{path.name}:{line}: {package} imports {imported} of the same or a higher floor"
        )


HEAVY = ("torch", "transformers", "scipy", "matplotlib", "pycocotools", "supervision", "onnxruntime", "av", "ray")


@pytest.mark.parametrize("module", ["litetext", "litetext.encoders", "litetext.tokenizer", "litetext.cli"])
def test_entry_points_are_light(module: str) -> None:
    code = f"import sys, {module}; print(*[m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_public_names_resolve() -> None:
    import litetext

    for name in litetext.__all__:
        assert getattr(litetext, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = litetext.nonsense


def test_the_top_shows_public_names_alone() -> None:
    import litetext

    assert set(dir(litetext)) == {*litetext.__all__, "__version__"}
