"""The page, in a real browser: each tab's main act, no request to another machine, no serious accessibility fault."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from litetext.data import samples

from ..accessibility import faults
from ..videos.clips import write_clip
from .conftest import refusal
from .processes import Process, started


def test_the_page_and_its_files(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "http:" not in page.text and "https:" not in page.text and " style=" not in page.text
    for name in ("page.js", "page.css", "icon.svg"):
        assert client.get(f"/static/{name}").status_code == 200
    script = client.get("/static/page.js").text
    assert "http:" not in script and "https:" not in script
    refusal(client.get("/static/..%2f__init__.py"), 404)
    refusal(client.get("/static/conftest.py"), 404)
    refusal(client.get("/samples/..%2f..%2fmini"), 404)
    offered = client.get("/samples").json()["samples"]
    assert offered and client.get(offered[0]["url"]).headers["content-type"] == "image/png"


def test_audits(client: TestClient) -> None:
    found = client.post("/v1/audit", json={"phrases": ["white dog", "red car", "the dog", "white dog"]}).json()
    report = client.get(found["report"])
    assert "white dog" in report.text or "phrases" in report.text
    assert report.headers["content-security-policy"].startswith("sandbox;")
    assert "no such report" in refusal(client.get("/v1/audit/x"), 404)
    refusal(client.post("/v1/audit", json={"phrases": []}), 422)


def test_yolo(client: TestClient, scene: Path) -> None:
    files, data = {"image": scene.read_bytes()}, {"phrases": ["whale", "owl"], "format": "yolo"}
    lines = client.post("/v1/segment", files=files, data=data).text.splitlines()
    assert lines and {line.split()[0] for line in lines} == {"1"}
    assert all(0 <= float(number) <= 1 for line in lines for number in line.split()[1:])


@pytest.fixture(scope="module")
def server(browser: Any) -> Iterator[Process]:
    with started("--text", "mini-student", "--text", "mini-teacher") as running:
        yield running


class _Page:
    """A page that keeps what went wrong on it."""

    def __init__(self, browser: Any, server: Process, **options: Any) -> None:
        self.problems: list[str] = []
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.page = self.context.new_page()
        self.page.set_default_timeout(30_000)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", self._note)
        self.page.on("request", lambda request: self._check(request.url, server.url))
        self.page.goto(server.url)
        self.page.wait_for_selector("body[data-ready=yes]")

    def _note(self, said: Any) -> None:
        if said.type == "error" and "Blocked script execution" not in said.text:  # a report runs nothing
            self.problems.append(said.text)

    def _check(self, url: str, own: str) -> None:
        if not url.startswith((own, "data:", "blob:")):
            self.problems.append(url)

    def said(self, words: str) -> str:
        self.page.locator("#status", has_text=words).wait_for()
        return str(self.page.locator("#status").inner_text())

    def becomes(self, expression: str) -> None:
        """Wait until an expression is true; playwright's own way needs what the page's policy forbids."""
        for _ in range(300):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(expression)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the segmented image lies in the window."""
        left, top, scale = self.page.evaluate("""() => { const view = document.getElementById('segment-view');
            view.scrollIntoView(); const box = view.getBoundingClientRect();
            return [box.x, box.y, box.width / view.width]; }""")
        return left + x * scale, top + y * scale


@pytest.fixture
def page(browser: Any, server: Process) -> Iterator[_Page]:
    opened = _Page(browser, server)
    yield opened
    opened.context.close()
    assert not opened.problems


def _choose_sample(page: Any, panel: str, row: int = 1) -> None:
    page.locator(f"#{panel} .samples button").nth(row).click()


@pytest.mark.slow
@pytest.mark.browser
def test_segment(page: _Page, tmp_path: Path) -> None:
    _choose_sample(page.page, "segment")
    page.said("instances in")
    at_half = page.page.locator("#segment-list button").count()
    page.page.locator("#segment-level").fill("0.05")
    assert page.page.locator("#segment-list button").count() > at_half > 0
    page.page.locator("#segment-level").fill("0.5")
    first = page.page.locator("#segment-list button").first
    first.click()
    assert first.get_attribute("aria-pressed") == "true"
    page.page.screenshot(path=tmp_path / "isolated.png")
    first.press("Enter")
    assert first.get_attribute("aria-pressed") == "false"
    x, y = page.place(205, 90)  # an owl is there
    page.page.mouse.click(x, y)
    assert page.page.locator("#segment-list button[aria-pressed=true]").count() == 1
    page.page.mouse.click(x, y)
    page.page.locator("#segment .chips button").first.click()
    page.page.get_by_label("Phrases, each ended by Enter or a comma").first.fill("owl,")
    page.page.get_by_label("Phrases, each ended by Enter or a comma").first.press("Enter")
    while page.page.locator("#segment .chips button").count() > 1:
        page.page.locator("#segment .chips button").first.click()
    for name, kept in (("png", b"\x89PNG"), ("coco", b"{"), ("yolo", b"0 ")):
        with page.page.expect_download() as download:
            page.page.locator(f"[data-download={name}]").click()
        assert Path(download.value.path()).read_bytes().startswith(kept)
    page.page.get_by_text("draw an example box").first.click()
    page.page.mouse.move(*page.place(178, 50))
    page.page.mouse.down()
    page.page.mouse.move(*page.place(234, 128), steps=4)
    page.page.mouse.up()
    page.page.locator("#segment-run").click()
    page.said("features were kept")
    page.page.screenshot(path=tmp_path / "example.png", full_page=True)
    assert not faults(page.page)


@pytest.mark.slow
@pytest.mark.browser
def test_track(page: _Page, tmp_path: Path) -> None:
    scene = np.asarray(Image.open(samples()[1].image).convert("RGB"))
    clip = write_clip(tmp_path / "clip.mp4", [np.roll(scene, 4 * number, axis=1) for number in range(6)])
    page.page.locator("#tab-track").click()
    page.page.locator("#track-file").set_input_files(clip)
    page.page.locator("#track .chips input").fill("owl")
    page.page.locator("#track .chips input").press("Enter")
    page.page.locator("#track-run").click()
    page.said("in 6 frames")
    page.becomes("document.getElementById('track-video').videoWidth === 256")
    assert page.page.locator("#track-objects tbody tr").count() >= 1
    page.page.screenshot(path=tmp_path / "track.png", full_page=True)
    assert not faults(page.page)


@pytest.mark.slow
@pytest.mark.browser
def test_compare(page: _Page, tmp_path: Path) -> None:
    page.page.locator("#tab-segment").press("ArrowRight")
    page.page.keyboard.press("ArrowRight")
    assert page.page.locator("#compare").is_visible()
    _choose_sample(page.page, "compare")
    page.said(" and ")
    table = page.page.locator("#compare-table").inner_text()
    assert "462,544" in table and "4,208,192" in table and "milliseconds" in table
    page.page.screenshot(path=tmp_path / "compare.png", full_page=True)
    assert not faults(page.page)


@pytest.mark.slow
@pytest.mark.browser
def test_audit(page: _Page, tmp_path: Path) -> None:
    page.page.locator("#tab-audit").click()
    page.page.locator("#audit-phrases").fill("white dog\nred car\nthe dog\na man in a blue jacket")
    page.page.locator("#audit-run").click()
    page.said("4 phrases")
    heading = page.page.frame_locator("#audit-report").locator("h1")
    heading.wait_for()
    page.page.screenshot(path=tmp_path / "audit.png", full_page=True)


@pytest.mark.slow
@pytest.mark.browser
def test_concepts_are_kept_and_tried(page: _Page, tmp_path: Path) -> None:
    page.page.locator("#tab-concepts").click()
    page.page.locator("#concept-name").fill("owl")
    page.page.locator("#concept-threshold").fill("0.4")
    page.page.get_by_role("button", name="Keep").click()
    page.said("owl is kept")
    _choose_sample(page.page, "concepts")
    page.becomes("document.getElementById('concepts-view').width === 256")
    page.page.locator("#concepts-try").click()
    page.said("of 1 concepts")
    assert "0.4" in page.page.locator("#concepts-table").inner_text()
    page.page.screenshot(path=tmp_path / "concepts.png", full_page=True)
    assert not faults(page.page)
    page.page.get_by_role("button", name="Forget owl").click()
    page.becomes("!document.querySelector('#concepts-table tbody tr')")


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_light_and_dark_desktop_and_phone(
    browser: Any, server: Process, tmp_path: Path, scheme: str, width: int
) -> None:
    opened = _Page(browser, server, color_scheme=scheme, viewport={"width": width, "height": 844})
    _choose_sample(opened.page, "segment")
    opened.said("instances in")
    opened.page.screenshot(path=tmp_path / f"segment-{scheme}-{width}.png", full_page=True)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    for tab in ("segment", "track", "compare", "audit", "concepts"):
        opened.page.locator(f"#tab-{tab}").click()
        assert not faults(opened.page), tab
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width, tab
    opened.context.close()
    assert not opened.problems
