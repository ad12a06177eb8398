"""The page to review on: what is on it, what it saves, and what becomes of the decisions."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from litetext.errors import LitetextError
from litetext.label import Job
from litetext.label.calibration import Decision
from litetext.label.review import decisions_document, decisions_from_annotations, sampled, write_page
from litetext.label.review_server import HOST, ReviewServer
from litetext.results.formats import label_studio

from ..cli.conftest import litetext, refused  # noqa: F401  (fixtures)
from ..reports.pages import Page
from .conftest import ColorSegmenter, job, picture

Run = Callable[..., Any]


@pytest.fixture
def labelled(segmenter: ColorSegmenter, photos: Path, tmp_path: Path) -> Job:
    one = job(tmp_path / "out")
    one.run([str(photos)])
    return one


def test_a_sample_is_of_each_concept_and_the_nearest_to_the_threshold_come_first(labelled: Job) -> None:
    chosen = sampled(labelled, 2)
    assert sorted(one.concept for one in chosen) == [0, 0, 1, 1, 2, 2]
    margins = [abs(one.score - 0.5) for one in chosen]
    assert margins == sorted(margins)
    nearest = sampled(labelled, 1, sample="margin")
    assert [round(one.score, 1) for one in nearest] == [0.5, 0.6, 0.6]
    assert len(sampled(labelled, 100)) == 10 and len(sampled(labelled, 100, lowest=0.3)) == 12
    with pytest.raises(LitetextError, match=r"scores below 0\.3 were not kept"):
        sampled(labelled, lowest=0.1)


def test_a_random_sample_is_the_same_whatever_the_order(labelled: Job, photos: Path) -> None:
    before = {(one.entry.sha256, one.concept) for one in sampled(labelled, 2)}
    assert before != {(one.entry.sha256, one.concept) for one in sampled(labelled, 2, seed=1)}
    (photos / "a").rename(photos / "z")
    labelled.run([str(photos)])
    assert {(one.entry.sha256, one.concept) for one in sampled(labelled, 2)} == before


def test_the_page_needs_nothing_else(labelled: Job, photos: Path, tmp_path: Path) -> None:
    shutil.move(photos / "b" / "11.png", tmp_path / "gone.png")  # cannot be drawn any more
    picture(photos / "b" / "10.png", "red", seed=40)  # is another picture by now
    chosen = sampled(labelled)
    assert write_page(labelled, chosen, tmp_path / "r.html", sample="random") == len(chosen) - 2
    page = Page()
    page.feed((tmp_path / "r.html").read_text())
    assert not page.open and len(page.addresses) == len(chosen) - 2
    assert all(address.startswith("data:image/jpeg;base64,") for address in page.addresses)


def test_names_cannot_break_the_page(segmenter: ColorSegmenter, tmp_path: Path) -> None:
    picture(tmp_path / "p" / "<script>alert(1)</script>&'.png".replace("/", "_"), "red", 0.9)
    one = job(tmp_path / "out", "red</script><b>")
    one.run([str(tmp_path / "p")])
    write_page(one, sampled(one), tmp_path / "r.html", sample="random")
    text = (tmp_path / "r.html").read_text()
    assert "<script>alert" not in text and "</script><b>" not in text


def test_decisions_come_from_label_studio_too(labelled: Job, tmp_path: Path) -> None:
    chosen, store = sampled(labelled), labelled.store()
    images = {one.entry.name: one.entry for one in chosen}
    found = {name: labelled.settled(store.instances(entry.sha256)) for name, entry in images.items()}
    label_studio.write(
        [one.annotations(name) for name, one in found.items()], tmp_path / "tasks.json", url_prefix="/data/?d="
    )
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    for task in tasks:
        task["annotations"] = [{"result": task["predictions"][0]["result"]}]
    tasks[0]["annotations"] = [{"result": []}]  # a person removed it
    removed = tasks[0]["data"]["image"].rpartition("=")[2]
    unseen = tasks.pop()["data"]["image"].rpartition("=")[2]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    decisions = decisions_from_annotations(labelled, chosen, label_studio.read(tmp_path / "export.json"))
    assert {one.image: one.accepted for one in decisions} == {
        name: None if name == unseen else name != removed for name in images
    }


def test_a_task_that_nobody_annotated_decides_nothing(labelled: Job, tmp_path: Path) -> None:
    store, (one, *_) = labelled.store(), sampled(labelled)
    found = labelled.settled(store.instances(one.entry.sha256)).annotations(one.entry.name)
    label_studio.write([found], tmp_path / "tasks.json")
    (task,) = json.loads((tmp_path / "tasks.json").read_text())
    skipped = task | {"annotations": [{"was_cancelled": True, "result": []}]}
    for left in (task, skipped):
        (tmp_path / "export.json").write_text(json.dumps([left]))
        assert not list(label_studio.read(tmp_path / "export.json", predictions=False))
        assert len(next(label_studio.read(tmp_path / "export.json"))) == len(found)


def test_the_image_of_a_decision_is_that_of_the_whole_name(labelled: Job) -> None:
    (one, *_), store = sampled(labelled), labelled.store()
    name = one.entry.name
    found = labelled.settled(store.instances(one.entry.sha256))
    right = found.annotations(f"/data/?d={name}")
    wrong = replace(
        right, file_name=f"/data/?d=other/{name}", categories=tuple(f"no {one}" for one in right.categories)
    )
    for several in ([right, wrong], [wrong, right]):
        assert decisions_from_annotations(labelled, [one], several)[0].accepted is True
    two = [replace(right, file_name=f"{folder}/{name}") for folder in "xy"]
    assert decisions_from_annotations(labelled, [one], two)[0].accepted is None


def test_the_commands_go_from_labels_to_a_stated_precision(
    litetext: Run,  # noqa: F811
    refused: Run,  # noqa: F811
    segmenter: ColorSegmenter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in range(80):
        picture(tmp_path / "photos" / f"{number:02}.png", "red", 0.4 + number / 140, seed=number)
    (tmp_path / "c.txt").write_text("red\n")
    out = tmp_path / "out"
    command = ("label", tmp_path / "photos", "--concepts", tmp_path / "c.txt", "--out", out, "--backend", "torch")
    assert litetext(*command, "--model", "mini", "-f", "csv").code == 0
    result = litetext("review", out, "--from", 0.35, "--json")
    assert result.code == 0 and result.json["count"] == 80
    assert "review.html is the review page of an earlier run" in refused("review", out)
    page = (out / "review.html").read_text()
    head = json.loads(page.partition('id="head">')[2].partition("</script>")[0])
    items = json.loads(page.partition('id="items">')[2].partition("</script>")[0])
    decided = [{**item, "accepted": item["score"] > 0.45} for item in items]
    (tmp_path / "d.json").write_text(json.dumps({**head, "decisions": decided}))
    calibrate = ("label", "--calibrate", tmp_path / "d.json", "--out", out)
    result = litetext(*calibrate, "--precision", 0.95)
    assert result.code == 0, result.err
    assert "at least 95% with 95% confidence (73 of 73 reviewed are right)" in " ".join(result.err.split())
    assert "73 of 73 reviewed are right" in (out / "README.md").read_text()
    rows = [row for split in ("train", "val") for row in (out / "csv" / f"{split}.csv").read_text().splitlines()[1:]]
    assert sum(",red," in row for row in rows) == 73  # the formats that were there are written anew
    assert "calibration: at least 95%" in (out / "concepts.yaml").read_text()
    assert Job.open(out).concepts[0].threshold == pytest.approx(0.45, abs=0.02)
    assert "leave out INPUT" in refused(*calibrate, tmp_path / "photos")
    assert "it takes 299 right ones at least" in litetext(*calibrate, "--precision", 0.99).err


@pytest.mark.browser
def test_keys_decide_and_the_decisions_are_saved(browser: Any, labelled: Job, tmp_path: Path) -> None:
    chosen = sampled(labelled)
    write_page(labelled, chosen, tmp_path / "r.html", sample="random")
    page = browser.new_page(viewport={"width": 1100, "height": 700})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: problems.append(request.url) if request.url.startswith("http") else None)
    page.goto(f"file://{tmp_path}/r.html")
    for key in ("a", "r", "ArrowRight", "a", "ArrowLeft", "u"):
        page.keyboard.press(key)
    assert page.locator("#count").inner_text() == f"2 of {len(chosen)} decided"
    page.reload()  # the browser remembers
    assert page.locator(".item.accepted").count() == 1 == page.locator(".item.rejected").count()
    page.select_option("#concept", "green")
    assert page.locator(".item:visible").count() == sum(one.concept == 1 for one in chosen)
    with page.expect_download() as download:
        page.keyboard.press("s")
    saved = json.loads(Path(download.value.path()).read_text())
    page.screenshot(path=str(tmp_path / "page.png"))
    assert not problems
    assert [one["accepted"] for one in saved["decisions"][:3]] == [True, False, None]
    assert saved["sample"] == "random" and len(saved["decisions"]) == len(chosen)


@pytest.fixture
def server(labelled: Job, tmp_path: Path) -> Iterator[ReviewServer]:
    write_page(labelled, sampled(labelled), tmp_path / "r.html", sample="random")
    with ReviewServer(tmp_path / "r.html", tmp_path / "decisions.json", labelled.shards.name) as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield running
        running.shutdown()


def _sent(server: ReviewServer, content: bytes, path: str = "/decisions", **headers: str) -> int:
    connection = HTTPConnection(HOST, server.server_port, timeout=5)
    connection.request("POST", path, content, {"Content-Type": "application/json", **headers})
    return connection.getresponse().status


def test_only_decisions_of_the_job_from_pages_of_the_server_are_saved(server: ReviewServer, labelled: Job) -> None:
    own = json.dumps(decisions_document(labelled, [Decision("a.png", "red", 0.5, True)], "random")).encode()
    foreign = json.dumps({**json.loads(own), "job": "another"}).encode()
    assert [_sent(server, content) for content in (foreign, b"[1]", b"[" * 5000, b"")] == [422] * 4
    assert _sent(server, own, "/other") == 403
    assert _sent(server, own, Origin="http://evil.example") == 403
    assert _sent(server, own, Host="evil.example") == 403
    assert _sent(server, own, **{"Content-Type": "text/plain"}) == 403
    assert _sent(server, own, **{"Content-Length": "9" * 20}) == 413
    assert not server.decisions.exists()
    assert _sent(server, own, Origin=server.address.rstrip("/")) == 204
    assert json.loads(server.decisions.read_text()) == json.loads(own)
    with pytest.raises(LitetextError, match=r"holds no decisions of this job"):
        ReviewServer(server.page, server.decisions, "another")
    with pytest.raises(LitetextError, match=r"cannot be listened on"):
        ReviewServer(server.page, server.decisions, server.job, server.server_port)


@pytest.mark.browser
def test_a_served_page_saves_each_decision_and_goes_on_with_them(browser: Any, server: ReviewServer) -> None:
    page = browser.new_page()
    page.goto(server.address)
    for key in "ar":
        with page.expect_response("**/decisions"):
            page.keyboard.press(key)
    page.wait_for_function("document.getElementById('saved').textContent === 'saved'")
    other = browser.new_context().new_page()  # a browser that remembers nothing
    other.goto(server.address)
    other.wait_for_selector(".item.rejected")
    assert other.locator(".item.accepted").count() == 1 == other.locator(".item.rejected").count()
    saved = json.loads(server.decisions.read_text())["decisions"]
    assert [one["accepted"] for one in saved[:3]] == [True, False, None]
