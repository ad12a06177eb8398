"""Accessibility of pages, as axe-core judges it."""

from __future__ import annotations

from typing import Any

import pytest


def faults(page: Any) -> list[str]:
    """Return the serious faults of a page that playwright has open."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(page).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in ("serious", "critical")]
