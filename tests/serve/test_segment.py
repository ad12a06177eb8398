"""POST /v1/segment answers what the segmenter finds."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from litetext import Masks, Segmenter
from litetext.data import samples
from litetext.serve.model import Models
from litetext.serve.waiting import WaitingPixels

from .conftest import refusal


def _asked(client: TestClient, image: Path, phrases: Any = (), **fields: Any) -> Any:
    data = {"phrases": list(phrases), **fields}
    return client.post("/v1/segment", files={"image": (image.name, image.read_bytes())}, data=data)


def _segmenter(mini: Models) -> Segmenter:
    return mini.segmenters[mini.default]


def test_the_answer_is_what_the_segmenter_finds(
    client: TestClient, mini: Models, scene: Path, phrases: tuple[str, ...]
) -> None:
    answer = _asked(client, scene, phrases, threshold=0.3)
    assert answer.status_code == 200, answer.text
    found, wanted = answer.json(), _segmenter(mini).segment(scene, list(phrases), threshold=0.3)
    assert len(wanted) and [one["phrase"] for one in found["phrases"]] == list(phrases)
    assert (found["width"], found["height"], found["image"]) == (*wanted.size[::-1], scene.name)
    assert [one["phrase"] for one in found["instances"]] == wanted.labels
    np.testing.assert_allclose([one["score"] for one in found["instances"]], wanted.scores, atol=1e-4)
    np.testing.assert_allclose([one["box"] for one in found["instances"]], wanted.boxes, atol=0.1)
    masks = Masks.from_rle([one["mask"] for one in found["instances"]])
    assert np.diag(masks.iou(wanted.masks)).min() > 0.999
    assert {one["phrase"]: one["count"] for one in found["phrases"]} == wanted.counts


def test_a_second_phrase_on_an_image_needs_no_vision_pass(client: TestClient, scene: Path) -> None:
    assert not _asked(client, scene, ["owl"]).json()["cached"]
    vision = client.app.state.serving.models.segmenters["mini"].backend  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vision, "encode_images", lambda images: pytest.fail("a vision pass") if images else [])
        assert _asked(client, scene, ["whale"]).json()["cached"]


def test_coco_and_png_come_back(client: TestClient, scene: Path) -> None:
    coco = _asked(client, scene, ["owl"], format="coco").json()
    assert coco["images"][0]["file_name"] == scene.name and coco["annotations"]
    answer = _asked(client, scene, ["owl"], format="png")
    assert answer.headers["content-type"] == "image/png"
    drawn = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))
    plain = np.asarray(Image.open(scene).convert("RGB").resize(drawn.shape[1::-1]))
    assert np.abs(drawn.astype(int) - plain).mean() > 1


def test_polygons_or_no_masks(client: TestClient, scene: Path) -> None:
    one = _asked(client, scene, ["owl"], masks="polygons").json()["instances"][0]
    assert "mask" not in one
    outline = np.array(one["polygons"][0])
    assert outline.shape[1] == 2 and len(outline) > 4
    assert not {"mask", "polygons"} & set(_asked(client, scene, ["owl"], masks="none").json()["instances"][0])


def test_example_boxes(client: TestClient, mini: Models, scene: Path) -> None:
    owl = _segmenter(mini).segment(scene, "owl")[0]
    boxes = json.dumps([owl.box.tolist()])
    found = _asked(client, scene, boxes=boxes).json()
    wanted = _segmenter(mini).segment(scene, boxes=[owl.box])
    assert [one["phrase"] for one in found["instances"]] == wanted.labels
    np.testing.assert_allclose([one["score"] for one in found["instances"]], wanted.scores, atol=1e-4)
    assert _asked(client, scene, ["owl"], boxes=boxes, box_labels="[1]").status_code == 200


def test_an_image_is_reduced_and_the_answer_is_in_its_own_pixels(
    serve: Callable[..., TestClient], scene: Path, tmp_path: Path
) -> None:
    large = tmp_path / "large.png"
    Image.open(scene).resize((1024, 1024), Image.Resampling.BILINEAR).save(large)
    plain, small = (_asked(serve(**more), large, ["owl"]).json() for more in ({}, {"max_side": 256}))
    assert (small["width"], small["height"]) == (1024, 1024)
    ours, theirs = (Masks.from_rle([one["mask"] for one in found["instances"]]) for found in (plain, small))
    assert ours.size == theirs.size == (1024, 1024) and ours.iou(theirs).max() > 0.9
    np.testing.assert_allclose(small["instances"][0]["box"], plain["instances"][0]["box"], atol=16)


def test_images_are_decoded_again_where_too_many_wait(serve: Callable[..., TestClient], scene: Path) -> None:
    plain, full = serve(), serve()
    full.app.state.serving.models.waiting = WaitingPixels(0)  # type: ignore[attr-defined]
    first, again = (_asked(client, scene, ["owl"]).json() for client in (plain, full))
    assert first["instances"] and first["instances"] == again["instances"]


def test_concurrent_requests_are_answered_together_and_each_with_its_own(
    serve: Callable[..., TestClient], mini: Models
) -> None:
    client = serve()
    several = [(sample.image, phrase) for sample in samples()[:4] for phrase in sample.phrases[:2]]
    alone = {pair: _segmenter(mini).segment(pair[0], pair[1], threshold=0.2) for pair in several}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda pair: _asked(client, pair[0], [pair[1]], threshold=0.2).json(), several * 2))
    for pair, found in zip(several * 2, answers, strict=True):
        assert [one["phrase"] for one in found["phrases"]] == [pair[1]]
        np.testing.assert_allclose([one["score"] for one in found["instances"]], alone[pair].scores, atol=1e-3)
    metrics = client.get("/metrics").text
    batches = float(metrics.partition("litetext_batch_size_count ")[2].split()[0])
    assert batches < len(answers)
    assert 'litetext_requests_total{route="/v1/segment",status="200"} 16.0' in metrics


def test_thresholds_of_requests_that_are_answered_together_are_their_own(mini: Models, scene: Path) -> None:
    from litetext.serve import Limits
    from litetext.serve.model import Ask, Photo, wanted
    from litetext.serve.uploads import Upload

    upload = Upload.of(scene.read_bytes(), "a.png", Limits())
    photo = Photo(upload, (256, 256), None)
    asks = [Ask("mini", photo, (wanted("owl", level, photo.size),)) for level in (0.0, 0.5, 0.99)]
    counts = [len(answer.found) for answer in mini.answers(asks)]
    singly = [len(_segmenter(mini).segment(scene, "owl", threshold=level)) for level in (0.0, 0.5, 0.99)]
    assert counts == singly and counts[0] > counts[1] > 0


def test_two_text_encoders_share_the_features_of_an_image(
    serve: Callable[..., TestClient], models: Models, scene: Path
) -> None:
    client = serve(models)
    named = [one["name"] for one in client.get("/v1/models").json()["models"]]
    assert named == ["mini with mini-student", "mini with mini-teacher"]
    first, second = (_asked(client, scene, ["owl"], model=name).json() for name in named)
    assert (first["cached"], second["cached"]) == (False, True)
    assert first["instances"][0]["score"] != second["instances"][0]["score"]
    assert "choose one of: mini with" in refusal(_asked(client, scene, ["owl"], model="nonsense"), 422)


def test_features_of_phrases(client: TestClient, mini: Models) -> None:
    found = client.post("/v1/embed", json={"phrases": ["owl", "the purple owl"]}).json()
    features = _segmenter(mini).text.encode(["owl", "the purple owl"]).numpy()
    assert found["dim"] == features.dim == 64
    np.testing.assert_allclose(found["features"][1]["tokens"], features.tokens[1][~features.mask[1]], atol=1e-4)
