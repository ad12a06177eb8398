"""The floors of docs/architecture.md: a package imports only from lower ones, and the entry points stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Sequence
from graphlib import TopologicalSorter
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
    "serve": 4,
    "client": 2,
    "cvat": 3,
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
    for name, line in _names_and_lines(path):
        if name[0] == "litetext" and len(name) > 1 and name[1] in FLOORS:
            yield name[1], line


def _imported_names(path: Path) -> Iterator[list[str]]:
    """Every name that a file imports when it runs, in full and in parts."""
    return (name for name, _ in _names_and_lines(path, types=False))


def _names_and_lines(path: Path, *, types: bool = True) -> Iterator[tuple[list[str], int]]:
    """Every name that a file imports, and the line; without ``types``, not those that annotations alone need."""
    parents = ["litetext", *path.relative_to(SOURCE).with_suffix("").parts][:-1]
    for node in _nodes(ast.parse(path.read_text(encoding="utf-8")), types):
        names: list[list[str]] = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = parents[: len(parents) - node.level + 1] if node.level else []
            module = [*base, *(node.module.split(".") if node.module else [])]
            names = [[*module, alias.name] for alias in node.names]
        for name in names:
            yield name, node.lineno


def _nodes(tree: ast.AST, types: bool) -> Iterator[ast.AST]:
    """A tree's nodes; without ``types``, those below ``if TYPE_CHECKING:`` are left out."""
    yield tree
    if types or not (isinstance(tree, ast.If) and ast.unparse(tree.test) == "TYPE_CHECKING"):
        for child in ast.iter_child_nodes(tree):
            yield from _nodes(child, types)


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


def _module(parts: Sequence[str]) -> str | None:
    """The dotted name of the longest beginning of ``parts`` that is a file; packages are their ``__init__``."""
    for end in range(len(parts), 0, -1):
        path = SOURCE.joinpath(*parts[:end])
        if path.with_suffix(".py").is_file() or (path / "__init__.py").is_file():
            return ".".join(parts[:end])
    return None


def test_files_import_each_other_in_no_circle() -> None:
    imported: dict[str, set[str]] = {}
    for path in _files():
        parts = list(path.relative_to(SOURCE).with_suffix("").parts)
        own = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found = {_module(name[1:]) for name in _imported_names(path) if name[0] == "litetext"}
        imported[own] = {other for other in found if other is not None and not f"{own}.".startswith(f"{other}.")}
    TopologicalSorter(imported).prepare()


def test_public_classes_have_names_of_their_own() -> None:
    places: dict[str, list[str]] = {}
    for path in _files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(str(path.relative_to(SOURCE)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


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
