"""Videos as jobs: progress, cancel, result, and nothing lost by a kill."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from litetext.data import samples
from litetext.serve import Limits, jobs
from litetext.serve.jobs import Jobs
from litetext.serve.serving import Serving

from ..videos.clips import write_clip
from .conftest import refusal
from .processes import started


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six frames of a shipped scene that drifts."""
    scene = np.asarray(Image.open(samples()[1].image).convert("RGB"))
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_clip(path, [np.roll(scene, 4 * number, axis=1) for number in range(6)])


def _track(client: Any, clip: Path, url: str = "", **fields: Any) -> Any:
    data = {"phrases": ["owl"], **fields}
    return client.post(f"{url}/v1/track", files={"video": (clip.name, clip.read_bytes())}, data=data)


def _over(get: Callable[[str], Any], id: str) -> Any:
    for _ in range(1000):
        job = get(f"/v1/track/{id}").json()
        if job["state"] in ("done", "failed", "cancelled"):
            return job
        time.sleep(0.1)
    raise AssertionError(job)


def test_a_video_is_tracked(client: TestClient, clip: Path) -> None:
    accepted = _track(client, clip, every=2)
    assert accepted.status_code == 202, accepted.text
    id = accepted.json()["id"]
    assert accepted.json() | {"id": ""} == {
        "id": "", "name": "clip.mp4", "model": "mini", "phrases": ["owl"], "state": "waiting", "frames": 0, "total": 3,
        "error": None,
    }  # fmt: skip
    early = client.get(f"/v1/track/{id}/result")
    assert early.status_code in (200, 409)
    job = _over(client.get, id)
    assert (job["state"], job["frames"]) == ("done", 3), job
    found = client.get(f"/v1/track/{id}/result").json()
    assert (found["video"], found["frames"], found["width"]) == ("clip.mp4", 3, 256)
    assert found["objects"] and {one["prompt"] for one in found["objects"]} == {"owl"}
    assert client.get(f"/v1/track/{id}/files/overlay.mp4").content[4:8] == b"ftyp"
    part = client.get(f"/v1/track/{id}/files/overlay.mp4", headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"ftyp")  # players seek
    assert client.get(f"/v1/track/{id}/files/coco_video.json").json()["videos"]
    assert "choose one of" in refusal(client.get(f"/v1/track/{id}/files/tracks.json"), 404)
    assert client.get(f"/v1/track/{id}/files/..%2f..%2fjob.json").status_code == 404
    kept = {path.name for path in client.app.state.serving.jobs._folder.glob(f"{id}/*")}  # type: ignore[attr-defined]
    assert kept == {"job.json", "tracks"}  # the video is gone
    assert client.delete(f"/v1/track/{id}").status_code == 204
    assert client.get("/v1/track").json() == {"jobs": []}


def test_what_is_refused(serve: Callable[..., TestClient], clip: Path, tmp_path: Path) -> None:
    client = serve(limits=Limits(video_seconds=1, jobs=1))
    long = write_clip(tmp_path / "long.mp4", rate=5)
    playlist = tmp_path / "list.mp4"
    playlist.write_text("#EXTM3U\n#EXTINF:1,\n/etc/passwd\n")
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(clip.read_bytes()[:200])
    assert "lasts 2 seconds, the limit is 1" in refusal(_track(client, long), 413)
    assert "MP4, MOV" in refusal(_track(client, playlist), 415)
    assert str(tmp_path) not in refusal(_track(client, damaged), 415)
    assert "phrases" in refusal(_track(client, clip, phrases=[]), 422)
    assert "empty" in refusal(_track(client, clip, phrases=[" "]), 422)
    assert "every" in refusal(_track(client, clip, every=0), 422)
    for answer in (client.get("/v1/track/x"), client.delete("/v1/track/x"), client.get("/v1/track/x/result")):
        assert "no such job" in refusal(answer, 404)
    assert not list(client.app.state.serving.jobs._folder.iterdir())  # type: ignore[attr-defined]
    assert _track(client, clip).status_code == 202
    assert "1 jobs are kept, which is the limit" in refusal(_track(client, clip), 429)


def test_a_video_that_does_not_say_how_long_it_is(
    serve: Callable[..., TestClient], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(limits=Limits(video_seconds=1))
    monkeypatch.setattr(jobs, "_checked_video", lambda *_: None)
    job = _over(client.get, _track(client, write_clip(tmp_path / "long.mp4", rate=5)).json()["id"])
    assert job["state"] == "failed" and "lasts more than 1 seconds" in job["error"] and job["frames"] <= 5


def test_jobs_are_cancelled(client: TestClient, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serving: Serving = client.app.state.serving  # type: ignore[attr-defined]
    load = serving.jobs._load
    entered, release = threading.Event(), threading.Event()

    def slow(model: str) -> Any:
        entered.set()
        release.wait(60)
        return load(model)

    monkeypatch.setattr(serving.jobs, "_load", slow)
    first, second = (_track(client, clip).json()["id"] for _ in range(2))
    entered.wait(60)
    assert client.get(f"/v1/track/{second}").json()["state"] == "waiting"
    for id in (second, first):
        assert client.delete(f"/v1/track/{id}").status_code == 204
        assert client.get(f"/v1/track/{id}").json()["state"] == "cancelled"
        assert "the job is cancelled" in refusal(client.get(f"/v1/track/{id}/result"), 409)
    release.set()
    third = _track(client, clip).json()["id"]
    assert _over(client.get, third)["state"] == "done"
    for id in (first, second):
        assert [path.name for path in (serving.jobs._folder / id).iterdir()] == ["job.json"]


def test_a_model_that_fails_fails_the_job_alone(
    client: TestClient, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = client.app.state.serving.jobs  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "_load", lambda model: 1 / 0)
        job = _over(client.get, _track(client, clip).json()["id"])
    assert job["state"] == "failed" and "log says what" in job["error"]
    assert _over(client.get, _track(client, clip).json()["id"])["state"] == "done"


def test_what_was_never_accepted_is_removed(tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "video").write_bytes(b"x")
    Jobs(tmp_path, 9, lambda model: None).close()  # type: ignore[arg-type, return-value]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_kill_loses_no_job(clip: Path, tmp_path: Path) -> None:
    scene = np.asarray(Image.open(samples()[1].image).convert("RGB"))
    long = write_clip(tmp_path / "long.mp4", [np.roll(scene, 2 * number, axis=1) for number in range(24)])
    ids: list[str] = []
    with started("--state", tmp_path / "state") as server:
        ids += [_track(httpx, long, server.url).json()["id"], _track(httpx, clip, server.url).json()["id"]]
        for _ in range(2000):
            if httpx.get(f"{server.url}/v1/track/{ids[0]}").json()["frames"] > 5:
                break
            time.sleep(0.02)
        server.end(signal.SIGKILL)
    assert json.loads((tmp_path / "state/jobs" / ids[0] / "job.json").read_text())["state"] == "waiting"
    with started("--state", tmp_path / "state") as server:
        jobs = [_over(lambda path: httpx.get(server.url + path), id) for id in ids]
        assert [(job["state"], job["frames"]) for job in jobs] == [("done", 24), ("done", 6)]
        results = [httpx.get(f"{server.url}/v1/track/{id}/result").json() for id in ids]
        assert server.end() == 0
    with started("--state", tmp_path / "fresh") as server:
        again = _track(httpx, long, server.url).json()["id"]
        _over(lambda path: httpx.get(server.url + path), again)
        assert httpx.get(f"{server.url}/v1/track/{again}/result").json() == results[0]
