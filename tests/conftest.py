"""Settings for every test: no deadlines, since these machines are shared, and no hub, since tests need no network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.pop("COLUMNS", None)  # processes of pytest-xdist have it, and tables would be as narrow as that

settings.register_profile("litetext", deadline=None)
settings.load_profile("litetext")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium through playwright; tests that ask for it are skipped where either is not installed."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as tools:
        yield tools.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
