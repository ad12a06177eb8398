"""Exports for tests of installs without torch."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that ``LITETEXT_TEST_EXPORTS`` names, where there is no torch to export with; else a new one."""
    if given := os.environ.get("LITETEXT_TEST_EXPORTS"):
        return Path(given)
    pytest.importorskip("onnxscript", reason="exports are written with the extra [export]")
    from .exports import write

    folder = tmp_path_factory.mktemp("exports")
    write(folder)
    return folder
