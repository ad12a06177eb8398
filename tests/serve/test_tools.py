"""Annotation tools' protocols, with requests as the tools send them."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from litetext import Instances, LitetextError, Masks
from litetext.results.formats.label_studio import unpacked
from litetext.results.polygons import filled
from litetext.serve.model import Models

from .conftest import refusal

CONFIG = (
    '<View><Image name="img" value="$picture"/><{0}Labels name="tag" toName="img"><Label value="whale"/>'
    '<Label value="owl"/></{0}Labels><TextArea name="prompt" toName="img"/></View>'
)


@pytest.fixture(scope="module")
def wanted(mini: Models, scene: Path) -> Instances:
    return mini.segmenters["mini"].segment(scene, "owl")


def _data_uri(scene: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(scene.read_bytes()).decode()}"


def _iou(polygons: list[Any], wanted: Instances, row: int) -> float:
    return float(Masks(wanted.size, (filled(polygons, wanted.size),)).iou(wanted.masks[[row]])[0, 0])


def test_xanylabeling(client: TestClient, scene: Path, wanted: Instances) -> None:
    listed = client.get("/v1/models", headers={"Token": ""}).json()
    assert listed["success"] and listed["data"]["mini"]["batch_processing_mode"] == "text_prompt"
    params = {"conf_threshold": 0.0, "iou_threshold": 0.0, "epsilon_factor": 0.001, "text_prompt": "owl"}
    body = {"model": "mini", "image": _data_uri(scene), "params": params}
    shapes = client.post("/v1/predict", json=body, headers={"Token": ""}).json()["data"]["shapes"]
    assert {shape["label"] for shape in shapes} == {"owl"} and {shape["shape_type"] for shape in shapes} == {"polygon"}
    assert len({shape["score"] for shape in shapes}) == len(wanted)
    alone = [shape for shape in shapes if shape["group_id"] is None]
    for shape in alone:
        row = int(np.abs(wanted.scores - shape["score"]).argmin())
        assert shape["points"][0] == shape["points"][-1] and _iou([shape["points"]], wanted, row) > 0.95
    box = wanted.boxes[0].tolist()
    marks = {"marks": [{"type": "rectangle", "data": box, "label": 1}], "conf_threshold": 0.01, "reset_tracker": True}
    assert client.post("/v1/predict", json=body | {"params": marks}).json()["data"]["shapes"]
    points = {"marks": [{"type": "point", "data": [5, 5], "label": 1}]}
    assert "draw rectangles" in refusal(client.post("/v1/predict", json=body | {"params": points}), 422)
    assert "no model" in refusal(client.post("/v1/predict", json=body | {"model": "x"}), 422)
    assert "base64" in refusal(client.post("/v1/predict", json=body | {"image": "data:image/png;base64,%%"}), 422)


def test_xanylabeling_follows_a_prompt_through_frames(client: TestClient, scene: Path) -> None:
    assert client.get("/v1/models").json()["data"]["mini (video)"]["batch_processing_mode"] == "video"
    image = np.asarray(Image.open(scene).convert("RGB"))
    frames = [_png(np.roll(image, 4 * number, axis=1)) for number in range(4)]
    begun = client.post("/v1/video/init", json={"model": "mini (video)", "frames": frames, "start_frame_index": 0})
    session = begun.json()["data"]["session_id"]
    asked = {"session_id": session, "model": "mini (video)", "frame_index": 1, "params": {"conf_threshold": 0.0}}
    early = client.post("/v1/video/propagate/stream", json={"session_id": session})
    assert "send a text prompt first" in refusal(early, 409)
    masks = client.post("/v1/video/prompt", json=asked | {"text_prompt": "owl"}).json()["data"]["masks"]
    assert masks and {one["label"] for one in masks} == {"owl"}
    stream = client.post("/v1/video/propagate/stream", json={"session_id": session, "start_frame": 1})
    events = [json.loads(line[6:]) for line in stream.text.splitlines() if line.startswith("data: ")]
    assert [one["type"] for one in events] == ["started", *["progress"] * 3, "completed"]
    results = events[-1]["results"]
    assert sorted(results) == ["1", "2", "3"]
    groups = [{one["group_id"] for one in results[frame]["masks"]} for frame in sorted(results)]
    assert groups[0] and groups[0] == groups[1] == groups[2]
    points = asked | {"points": [[0.5, 0.5]], "point_labels": [1]}
    assert "not what points touch" in refusal(client.post("/v1/video/prompt", json=points), 422)
    assert "4 frames" in refusal(client.post("/v1/video/prompt", json=asked | {"frame_index": 4}), 422)
    assert client.post(f"/v1/video/cleanup/{session}", params={"model": "mini"}).json()["success"]
    assert "no such video session" in refusal(client.post("/v1/video/prompt", json=asked), 404)
    broken = {"model": "mini", "frames": ["data:image/png;base64,AAAA"]}
    assert "PNG, JPEG" in refusal(client.post("/v1/video/init", json=broken), 415)


def _png(image: Any) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def test_roboflow(serve: Callable[..., TestClient], scene: Path, wanted: Instances) -> None:
    client = serve(api_keys=("k",))
    image = {"type": "base64", "value": base64.b64encode(scene.read_bytes()).decode()}
    x1, y1, x2, y2 = wanted.boxes[0].tolist()
    prompts = [
        {"type": "text", "text": "owl"},
        {"type": "text", "text": "whale"},
        {"type": "visual", "boxes": [{"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1}], "box_labels": [1]},
        {"boxes": [{"x0": x1, "y0": y1, "x1": x2, "y1": y2}], "text": "owl"},
    ]
    body = {"image": image, "prompts": prompts, "output_prob_thresh": 0.5, "format": "polygon", "model_id": "sam3/x"}
    answer = client.post("/sam3/concept_segment?api_key=k", json=body).json()
    results = answer["prompt_results"]
    assert [one["echo"]["text"] for one in results] == ["owl", "whale", "visual", "owl"]
    assert len(results[0]["predictions"]) == len(wanted) and answer["time"] > 0
    for row, found in enumerate(results[0]["predictions"]):
        assert found["confidence"] == pytest.approx(float(wanted.scores[row]), abs=1e-3)
        assert _iou(found["masks"], wanted, row) > 0.95
    rle = client.post("/sam3/concept_segment?api_key=k", json=body | {"format": "rle"}).json()
    masks = Masks.from_rle([one["masks"] for one in rle["prompt_results"][0]["predictions"]])
    assert np.diag(masks.iou(wanted.masks)).min() > 0.999
    only = client.post("/sam3/concept_segment?api_key=k", json=body | {"nms_iou_threshold": 0.5}).json()
    kept = sum(len(one["predictions"]) for one in only["prompt_results"])
    assert 0 < kept < sum(len(one["predictions"]) for one in results)
    linked = body | {"image": {"type": "url", "value": "http://example.org/a.jpg"}}
    assert "follows no links" in refusal(client.post("/sam3/concept_segment?api_key=k", json=linked), 422)
    assert "prompts" in refusal(
        client.post("/sam3/concept_segment?api_key=k", json=body | {"prompts": prompts * 5}), 422
    )
    refusal(client.post("/sam3/concept_segment?api_key=x", json=body), 401)


def _predicted(client: TestClient, place: str, kind: str, **more: Any) -> Any:
    body = {
        "tasks": [{"id": 7, "data": {"picture": place}, "annotations": []}],
        "project": "1.1",
        "label_config": CONFIG.format(kind),
        "params": {"login": None, "password": None, "context": None},
    }
    return client.post("/predict", json=body | more)


def test_label_studio(client: TestClient, scene: Path, wanted: Instances) -> None:
    assert client.get("/health").json()["status"] == "UP"
    setup = {"project": "1.1", "schema": CONFIG.format("Polygon"), "hostname": "http://a", "access_token": "t"}
    version = client.post("/setup", json=setup | {"extra_params": None, "force_reload": False}).json()["model_version"]
    for kind in ("Polygon", "Brush", "Rectangle"):
        (found,) = _predicted(client, _data_uri(scene), kind).json()["results"]
        regions = found["result"]
        assert found["model_version"] == version and 0 < found["score"] <= 1
        assert {one["type"] for one in regions} == {f"{kind.lower()}labels"}
        assert {(one["from_name"], one["to_name"]) for one in regions} == {("tag", "img")}
        assert {one["value"][f"{kind.lower()}labels"][0] for one in regions} == {"owl"}
        first = next(one for one in regions if one["score"] == pytest.approx(float(wanted.scores[0]), abs=1e-3))
        if kind == "Polygon":
            assert _iou([np.array(first["value"]["points"]) * 2.56], wanted, 0) > 0.95
        elif kind == "Brush":
            assert np.array_equal(unpacked(first["value"]["rle"], wanted.size), wanted.masks[0])
        else:
            value = first["value"]
            corners = [value["x"], value["y"], value["x"] + value["width"], value["y"] + value["height"]]
            np.testing.assert_allclose(np.array(corners) * 2.56, wanted.masks.boxes[0], atol=1e-3)
    assert client.post("/webhook", json={"action": "PROJECT_UPDATED"}).status_code == 201
    assert client.get("/versions").json() == {"versions": [version]}


def test_label_studio_reads_a_text_area(client: TestClient, scene: Path) -> None:
    region = {"type": "textarea", "from_name": "prompt", "value": {"text": ["the purple owl"]}}
    context = {"params": {"context": {"result": [region]}}}
    (found,) = _predicted(client, _data_uri(scene), "Polygon", **context).json()["results"]
    assert len(found["result"]) == 1 and found["result"][0]["value"]["polygonlabels"] == ["whale"]


@pytest.fixture
def studio(scene: Path) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Something that holds an image as Label Studio does."""
    seen: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append({"path": self.path, "token": self.headers.get("Authorization", "")})
            redirect = self.path == "/away"
            self.send_response(302 if redirect else 200 if self.path.endswith(".png") else 404)
            if redirect:
                self.send_header("Location", "http://example.org/")
            self.end_headers()
            self.wfile.write(scene.read_bytes() if self.path.endswith(".png") else b"")

        def do_POST(self) -> None:
            refresh = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["refresh"]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>" if refresh.endswith("odd") else json.dumps({"access": "short"}).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    server.server_close()


def test_label_studio_images_are_fetched_from_it_alone(
    serve: Callable[..., TestClient], studio: tuple[str, list[dict[str, str]]]
) -> None:
    url, seen = studio
    assert "--label-studio URL" in refusal(_predicted(serve(), "/data/upload/1/a.png", "Polygon"), 422)
    client = serve(label_studio=url)
    client.post("/setup", json={"hostname": "http://elsewhere", "access_token": "stolen"})
    client.post("/setup", json={"hostname": url, "access_token": "legacy"})
    assert _predicted(client, "/data/upload/1/a.png", "Polygon").json()["results"][0]["result"]
    middle = base64.urlsafe_b64encode(json.dumps({"token_type": "refresh"}).encode()).decode().rstrip("=")
    personal = serve(label_studio=url, label_studio_token=f"a.{middle}.c")
    assert _predicted(personal, f"{url}/data/upload/1/a.png", "Polygon").status_code == 200
    assert [one["token"] for one in seen] == ["Token legacy", "Bearer short"]
    odd = serve(label_studio=url, label_studio_token=f"a.{middle}.odd")
    assert "--label-studio-token" in refusal(_predicted(odd, "/a.png", "Polygon"), 422)
    assert client.post("/setup", json={"hostname": "http://[x", "access_token": "none"}).status_code == 200
    for place in ("http://169.254.169.254/a.png", "//example.org/a.png", "file:///etc/passwd", "http://[x", "//[x/a"):
        assert "are fetched from" in refusal(_predicted(client, place, "Polygon"), 422)
    assert "not followed" in refusal(_predicted(client, "/away", "Polygon"), 422)
    assert "answers 404" in refusal(_predicted(client, "/data/none", "Polygon"), 422)


@pytest.mark.parametrize(
    "config", ["", "<View/>", "<View", '<!DOCTYPE a [<!ENTITY b "c">]><View/>', '<View><Image name="i"/></View>']
)
def test_label_studio_interfaces_that_are_none(client: TestClient, config: str) -> None:
    body = {"tasks": [{"data": {"picture": "x"}}], "label_config": config}
    assert "label_config" in refusal(client.post("/predict", json=body), 422)


@pytest.mark.slow
def test_cvat(scene: Path, wanted: Instances) -> None:
    pytest.importorskip("cvat_sdk")
    from litetext.cvat import create

    image = Image.open(scene)
    context = SimpleNamespace(frame_name="a.png", conf_threshold=None, conv_mask_to_poly=False)
    function = create("mini", labels="owl, whale")
    assert [label.name for label in function.spec.labels] == ["owl", "whale"]
    shapes = function.detect(context, image)
    assert [shape.type.value for shape in shapes] == ["mask"] * len(wanted)
    x1, y1, x2, y2 = (int(number) for number in shapes[0].points[-4:])
    lengths = [int(number) for number in shapes[0].points[:-4]]
    pixels = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(y2 - y1 + 1, x2 - x1 + 1)
    assert np.array_equal(pixels, wanted.masks[0][y1 : y2 + 1, x1 : x2 + 1])
    context.conv_mask_to_poly = True
    assert {shape.type.value for shape in function.detect(context, image)} == {"polygon"}
    assert {shape.type.value for shape in create("mini", "owl", "rectangle").detect(context, image)} == {"rectangle"}
    context.conf_threshold = 0.999
    assert not function.detect(context, image)
    with pytest.raises(LitetextError, match="needs labels"):
        create("mini")
    with pytest.raises(LitetextError, match="unknown shape"):
        create("mini", "owl", "circle")
