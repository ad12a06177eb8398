"""docs/browser, built and run in Chromium: ids, scores and masks are Python's, and no request leaves its own host."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as rle

from litetext import Segmenter
from litetext.data import SHIPPED_ENCODERS, SHIPPED_PHRASES, Sample, photographs, resolve, samples
from litetext.encoders.runtime import read_export
from litetext.segment.resampling import resized_photo
from litetext.tokenizer import Tokenizer

from .accessibility import faults

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[1]
ODD = [
    "",
    "  ",
    "x" * 200,
    "Σίσυφος ΟΔΟΣ",
    "a<b>c",
    "&amp;lt;",
    "it's we'll",
    "ſ's",
    "０１２",
    "tab\x1fhere",
    "ﬀ ﬃ",
    "naïve—x",
    "\ufeffdog",
]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_browser", ROOT / "tools" / "build_browser.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def built(tool: ModuleType, browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("browser") / "page"
    tool.build(folder)
    return folder


@pytest.fixture(scope="module")
def host(tool: ModuleType, built: Path) -> Iterator[str]:
    """The page's address, at a host that lets it use threads."""
    with tool.served(built, tool.Isolated) as address:
        yield address


class _Page:
    """The page, opened, with what went wrong on it."""

    def __init__(self, browser: Any, host: str, **options: Any) -> None:
        self.problems: list[str] = []
        self.context = browser.new_context(**{"viewport": {"width": 1200, "height": 800}, **options})
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda said: said.type == "error" and self.problems.append(said.text))
        own = (host, f"blob:{host}")
        self.page.on("request", lambda request: request.url.startswith(own) or self.problems.append(request.url))
        self.page.goto(host)
        self.said("is ready")

    def said(self, words: str) -> str:
        self.page.locator("#status", has_text=words).wait_for()
        return str(self.page.locator("#status").inner_text())

    def ask(self, picture: Path, phrases: list[str]) -> dict[str, Any]:
        """The COCO document of what is found for phrases in a picture."""
        self.page.locator("#file").set_input_files(picture)
        self.said("The picture is encoded")
        for phrase in phrases:
            self.page.locator("#phrase").fill(phrase)
            self.page.locator("#phrase").press("Enter")
            self.said(f"{phrase}: ")
        with self.page.expect_download() as download:
            self.page.locator("#coco").click()
        document: dict[str, Any] = json.loads(Path(download.value.path()).read_text())
        return document


@pytest.fixture
def page(browser: Any, host: str) -> Iterator[_Page]:
    opened = _Page(browser, host)
    yield opened
    opened.context.close()
    assert not opened.problems


def test_ids_are_those_of_python(page: _Page) -> None:
    golden: dict[str, list[int]] = json.loads((ROOT / "tests/encoders/golden/tokens.json").read_text())
    texts = [*golden, *SHIPPED_PHRASES.read_text(encoding="utf-8").splitlines(), *ODD]
    for vocabulary in (None, _vocabulary("photo"), _vocabulary("mini")):
        found = _ids(page, texts, vocabulary)
        assert found == Tokenizer(vocabulary).encode_batch(texts)
        if vocabulary is None:
            assert found[: len(golden)] == list(golden.values())


def _ids(page: _Page, texts: list[str], vocabulary: list[int] | None = None) -> list[list[int]]:
    """What the page makes of texts."""
    script = """async ([texts, vocabulary]) => {
        const { Cleaner } = await import("/cleaning.js");
        const { Tokenizer } = await import("/tokenizer.js");
        window.cleaner ??= new Cleaner(await (await fetch("/models/text.json")).json());
        window.merges ??= new Uint16Array(await (await fetch("/models/merges.bin")).arrayBuffer());
        const tokenizer = new Tokenizer(window.cleaner, window.merges, vocabulary);
        return texts.map((text) => tokenizer.encode(text, 10000));
    }"""
    found: list[list[int]] = page.page.evaluate(script, [texts, vocabulary])
    return found


# Characters that Unicode assigned before the versions of both sides.
CHARACTERS = st.one_of(
    st.characters(max_codepoint=0x17F), st.characters(max_codepoint=0xFFFF, exclude_categories=["Cn", "Co", "Cs"])
)
PIECES = st.sampled_from(
    [
        *"<ﬁＦΣς½\n\x85\u0345",
        "&amp;",
        "&amp",
        "&#39;",
        "&EACUTE;",
        "&notit;",
        "&#x80;",
        "’s",
        "'ſ",
        "\x1b[3m",
        "Ã ",
        "â€™",
    ]
)


@st.composite
def _misread(draw: st.DrawFn) -> str:
    """UTF-8 that was read in another encoding."""
    text = draw(st.text(alphabet=st.sampled_from("aeé ßñ“”’—日本прив🙂ελ"), max_size=12))
    encodings = ("latin-1", "sloppy-windows-1252", "sloppy-windows-1251", "sloppy-windows-1253", "macroman", "cp437")
    return text.encode().decode(draw(st.sampled_from(encodings)), errors="replace")


TEXTS = st.one_of(st.text(alphabet=CHARACTERS, max_size=20), st.lists(PIECES, max_size=8).map("".join), _misread())


@pytest.mark.slow
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TEXTS, min_size=1, max_size=30))
def test_ids_of_odd_text_are_those_of_python(page: _Page, texts: list[str]) -> None:
    assert _ids(page, texts) == Tokenizer().encode_batch(texts)


def test_verbose_patterns_lose_their_spaces_and_comments(tool: ModuleType) -> None:
    found = tool.javascript("\n  [ a#] b \\s  # a comment [with] brackets\n | (?<! [c]) \\w{2}\n")
    assert found.startswith("[ a#]b[") and found.endswith(r"|(?<![c])[\p{L}\p{N}_]{2}") and "comment" not in found


def _vocabulary(model: str) -> list[int]:
    vocabulary = read_export(resolve(SHIPPED_ENCODERS[model])).vocabulary
    assert vocabulary is not None
    return vocabulary


def test_photographs_are_resized_as_in_python(page: _Page) -> None:
    rng = np.random.default_rng(0)
    for height, width, side in ((40, 61, 32), (9, 7, 24), (32, 50, 32)):
        photo = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        pixels = np.dstack([photo, np.full((height, width), 255, np.uint8)])
        script = """async ([data, width, height, side]) => {
            const { resizedPhoto } = await import("/picture.js");
            return [...resizedPhoto({ data, width, height }, side)];
        }"""
        found = page.page.evaluate(script, [pixels.ravel().tolist(), width, height, side])
        np.testing.assert_array_equal(np.reshape(found, (side, side, 3)), resized_photo(photo, (side, side)))


@pytest.mark.parametrize(
    ("model", "sample", "most_apart"),
    [("mini", samples()[1], 1e-4), pytest.param("photo", photographs()[1], 0.02, marks=pytest.mark.slow)],
)
def test_masks_and_scores_are_those_of_python(page: _Page, model: str, sample: Sample, most_apart: float) -> None:
    """A PNG is decoded to the same pixels everywhere, a JPEG nearly."""
    page.page.locator("#model").select_option(model)
    page.said(f"{model} is ready")
    found = page.ask(sample.image, list(sample.phrases))
    wanted = Segmenter.from_pretrained(model, backend="onnx").segment(sample.image, list(sample.phrases))
    names = {one["id"]: one["name"] for one in found["categories"]}
    ours = sorted(found["annotations"], key=lambda one: (names[one["category_id"]], -one["score"]))
    theirs = sorted(range(len(wanted)), key=lambda row: (wanted.labels[row], -wanted.scores[row]))
    assert [names[one["category_id"]] for one in ours] == [wanted.labels[row] for row in theirs] != []
    for one, row in zip(ours, theirs, strict=True):
        assert one["score"] == pytest.approx(float(wanted.scores[row]), abs=most_apart)
        mask, truth = rle.decode(one["segmentation"]).astype(bool), wanted.masks[row]
        assert one["area"] == mask.sum()
        assert (mask & truth).sum() / (mask | truth).sum() > 1 - 2 * most_apart


@pytest.mark.slow
def test_samples_thresholds_and_single_instances(page: _Page, tmp_path: Path) -> None:
    page.page.locator("#samples button").first.click()
    page.said("bicycle: none")
    listed = page.page.locator("#instances button")
    at_half = listed.count()
    assert page.page.locator("#phrases button").count() == len(photographs()[0].phrases) and at_half >= 1
    everything = page.page.evaluate("document.getElementById('canvas').toDataURL()")
    page.page.locator("#threshold").fill("0.95")
    assert listed.count() < at_half
    assert page.page.evaluate("document.getElementById('canvas').toDataURL()") != everything
    page.page.locator("#threshold").fill("0.1")
    assert listed.count() >= at_half
    listed.first.focus()
    page.page.locator("#phrases button").first.press("Enter")
    assert page.page.locator("#phrases button").count() == len(photographs()[0].phrases) - 1
    with page.page.expect_download() as download:
        page.page.locator("#png").click()
    with Image.open(download.value.path()) as saved, Image.open(photographs()[0].image) as photo:
        assert saved.size == photo.size and download.value.suggested_filename == "cat_masks.png"
    assert not faults(page.page)


@pytest.mark.slow
def test_an_instance_is_isolated_by_pointer_and_by_keyboard(page: _Page) -> None:
    page.page.locator("#model").select_option("mini")
    page.said("mini is ready")
    page.page.locator("#samples button").nth(1).click()
    page.said(f"{samples()[1].phrases[-1]}: ")
    page.page.locator("#threshold").fill("0.5")
    drawn = "document.getElementById('canvas').toDataURL()"
    everything, pressed = page.page.evaluate(drawn), page.page.locator("#instances button[aria-pressed=true]")
    assert page.page.locator("#instances button").count() > 1
    box = page.page.locator("#canvas").bounding_box()
    owl = {"x": 205 * box["width"] / 256, "y": 90 * box["height"] / 256}
    page.page.locator("#canvas").hover(position=owl)
    alone = page.page.evaluate(drawn)
    assert alone != everything and pressed.count() == 0
    page.page.locator("#canvas").click(position=owl)
    page.page.mouse.move(0, 0)
    assert pressed.count() == 1 and page.page.evaluate(drawn) == alone
    page.page.locator("#canvas").click(position=owl)
    page.page.mouse.move(0, 0)
    assert pressed.count() == 0 and page.page.evaluate(drawn) == everything
    page.page.locator("#instances button").first.press("Enter")
    assert pressed.count() == 1


@pytest.mark.slow
def test_what_is_no_picture_is_refused(page: _Page, tmp_path: Path) -> None:
    (tmp_path / "note.png").write_text("not a picture")
    page.page.locator("#phrase").fill("dog")
    page.page.locator("#phrase").press("Enter")
    page.said("choose a picture first")
    page.page.locator("#file").set_input_files(tmp_path / "note.png")
    assert "note.png is no picture" in page.said("no picture")


@pytest.mark.slow
def test_on_a_phone_in_the_dark(browser: Any, host: str, tmp_path: Path) -> None:
    page = _Page(browser, host, viewport={"width": 390, "height": 844}, color_scheme="dark")
    page.page.locator("#samples button").nth(1).click()
    page.said("laptop: none")
    assert page.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert not faults(page.page) and not page.problems
    page.context.close()


@pytest.mark.slow
def test_a_host_without_the_headers_for_threads(browser: Any, tool: ModuleType, built: Path) -> None:
    with tool.served(built, tool.Plain) as address:
        page = _Page(browser, address)
        assert "one thread" in page.said("is ready")
        found = page.ask(photographs()[0].image, ["cat"])
        assert len(found["annotations"]) == 1 and not page.problems
        page.context.close()
