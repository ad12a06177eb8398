"""How long the page of docs/browser takes, in Debian's Chromium on this machine, headless.

    python benchmarks/browser.py

Seconds on the clock, medians of rounds: from the page's address until `photo` is ready (files from this machine), and
those that the page states: to encode a photograph of 451 x 300 pixels, and from a phrase to its masks, drawn; with
threads and with one. They want an idle machine; the load is recorded. Results go to benchmarks/browser.json.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter as clock
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from litetext.data import photographs

sys.path.append(str(Path(__file__).parents[1] / "tools"))
from build_browser import RUNTIME, Isolated, Plain, build, served

RESULTS = Path(__file__).with_suffix(".json")
ROUNDS = 5


def measured(browser: Browser, address: str) -> dict[str, float]:
    """Medians of one way to serve the page."""
    seconds: dict[str, list[float]] = {"ready": [], "picture": [], "first phrase": [], "another phrase": []}
    for _ in range(ROUNDS):
        page = browser.new_page()
        start = clock()
        page.goto(address)
        page.locator("#status", has_text="is ready").wait_for(timeout=120_000)
        seconds["ready"].append(clock() - start)
        page.locator("#file").set_input_files(photographs()[0].image)
        seconds["picture"].append(_said(page, "encoded"))
        for name, phrase in (("first phrase", "cat"), ("another phrase", "an animal")):
            page.locator("#phrase").fill(phrase)
            page.locator("#phrase").press("Enter")
            seconds[name].append(_said(page, f"{phrase}: "))
        page.close()
    return {name: round(statistics.median(each), 2) for name, each in seconds.items()}


def _said(page: Page, words: str) -> float:
    """The seconds that the page itself states, from asking to drawing."""
    status = page.locator("#status", has_text=words)
    status.wait_for(timeout=120_000)
    found = re.search(r"([0-9.]+) s\)", status.inner_text())
    assert found is not None
    return float(found[1])


def main() -> None:
    figures: dict[str, Any] = {"runtime": RUNTIME, "load_average": round(os.getloadavg()[0], 2)}
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as tools:
        folder = Path(scratch) / "page"
        build(folder)
        browser = tools.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        figures["chromium"] = browser.version
        for name, handler in (("threads", Isolated), ("one thread", Plain)):
            with served(folder, handler) as address:
                figures[name] = measured(browser, address)
    figures |= {"machine": platform.machine(), "cores": os.cpu_count()}
    RESULTS.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
