"""What the package says of itself agrees with itself."""

from __future__ import annotations

import re
import sys
from importlib import resources
from pathlib import Path

import pytest

import litetext

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = Path(__file__).parents[2]


def test_one_version_everywhere() -> None:
    with (PROJECT / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    (cited,) = re.findall(r"^version: (\S+)$", (PROJECT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert litetext.__version__ == version == cited
    assert f"## [{version}]" in (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_type_checkers_read_our_types() -> None:
    assert resources.files("litetext").joinpath("py.typed").is_file()


@pytest.mark.parametrize("name", [".github/workflows/ci.yml", ".pre-commit-config.yaml", "CITATION.cff"])
def test_configuration_files_are_yaml(name: str) -> None:
    yaml = pytest.importorskip("yaml")
    assert isinstance(yaml.safe_load((PROJECT / name).read_text(encoding="utf-8")), dict)
