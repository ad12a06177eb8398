"""Fixtures of the prompts tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def shared_prompts() -> Path:
    """The folder of real phrase lists beside the checkout; tests that want it skip where it is absent."""
    folder = Path(__file__).parents[2].parent / "shared" / "prompts"
    if not folder.is_dir():
        pytest.skip("the shared phrase lists are not here")
    return folder
