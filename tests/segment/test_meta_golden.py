"""SAM3 as Meta runs it, at full size: the numbers that Meta's own code gave for weights that anyone can make again.

``golden/meta_full.safetensors`` holds them; every parameter is drawn from a generator seeded by its name.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import Tensor

from litetext import Segmenter
from litetext.segment import ImageFeatures
from litetext.segment.backend import Detections

GOLDEN = Path(__file__).parent / "golden"
PROMPTS = {"a": "man in blue jacket", "b": "white dog"}
HEIGHT, WIDTH = 480, 640


def _parameter(name: str, shape: list[int]) -> Tensor:
    """The value of one parameter, by its name in ``sam3.pt``."""
    drawn = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, dtype=np.float32)
    last = name.rpartition(".")[2]
    if len(shape) <= 1:
        return torch.from_numpy(0.05 * drawn + (last == "weight"))
    if "embed" in name and not any(part in name for part in ("bbox_embed", "patch_embed", "boxRPB")):
        return torch.from_numpy((0.02 if "pos" in last or "token_embedding" in name else 0.1) * drawn)
    return torch.from_numpy(drawn * np.float32(0.5 / math.sqrt(math.prod(shape[1:]))))


def _write_checkpoint(path: Path) -> None:
    layout = json.loads(gzip.decompress((GOLDEN / "meta_sam3_image.json.gz").read_bytes()))
    tensors = {}
    for key, (shape, dtype) in layout.items():
        name = f"detector.{key}"
        computed = dtype == "torch.complex64"  # rotary tables, which nobody reads from a file
        tensors[name] = torch.ones(shape, dtype=torch.complex64) if computed else _parameter(name, shape)
    torch.save({"model": tensors}, path)


def _photo() -> NDArray[np.uint8]:
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    waves = (x / 37 + y / 91, x / 53 - y / 41 + 1, (x - 320) * (y - 240) / 9000)
    return np.round(np.stack([127 + 120 * np.sin(wave) for wave in waves], -1)).astype(np.uint8)


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    path = tmp_path_factory.mktemp("full") / "sam3.pt"
    _write_checkpoint(path)
    loaded = Segmenter.from_pretrained(path, device="cpu")
    path.unlink()
    return loaded.freeze(list(PROMPTS.values()))


@pytest.fixture(scope="module")
def features(segmenter: Segmenter) -> ImageFeatures:
    return segmenter.encode_image(_photo())


@pytest.fixture(scope="module")
def golden() -> dict[str, NDArray[np.float32]]:
    return load_file(GOLDEN / "meta_full.safetensors")


def _detect(segmenter: Segmenter, features: ImageFeatures, prompt: str, *examples: NDArray[np.generic]) -> Detections:
    text = segmenter.backend.prepare_text(segmenter.text.encode([prompt]))
    geometry = segmenter.backend.encode_boxes(features.state, *examples) if examples else None
    return segmenter.backend.detect(features.state, text, geometry)


def _assert_detections(found: Detections, golden: dict[str, NDArray[np.float32]], name: str) -> None:
    np.testing.assert_allclose(found.scores[0], golden[f"{name}.scores"], atol=1e-5, rtol=0)
    pixels = found.boxes[0] * np.array([WIDTH, HEIGHT, WIDTH, HEIGHT], np.float32)
    np.testing.assert_allclose(pixels, golden[f"{name}.boxes"], atol=1e-2, rtol=0)


@pytest.mark.slow
def test_image_features(features: ImageFeatures, golden: dict[str, NDArray[np.float32]]) -> None:
    for level, step in enumerate((8, 8, 4)):
        found = features.state.maps[level][0, ::16, ::step, ::step].numpy()
        np.testing.assert_allclose(found, golden[f"fpn.{level}"], atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROMPTS)
def test_text_alone(
    segmenter: Segmenter, features: ImageFeatures, golden: dict[str, NDArray[np.float32]], name: str
) -> None:
    found = _detect(segmenter, features, PROMPTS[name])
    _assert_detections(found, golden, f"text.{name}")
    top = golden[f"text.{name}.top"]
    masks = segmenter.backend.decode_masks(features.state, found, 0, top)
    np.testing.assert_allclose(masks[:, ::2, ::2], golden[f"text.{name}.mask_logits"], atol=1e-3, rtol=0)
    instances = segmenter.detect(features, PROMPTS[name], threshold=float(found.scores[0, top].min()))
    areas = np.sort(instances.masks.areas)
    # a pixel whose logit is 0 but for the last bits may fall to either side
    np.testing.assert_allclose(areas, np.sort(golden[f"text.{name}.mask_area"]), atol=8)


@pytest.mark.slow
def test_text_with_an_example_box(
    segmenter: Segmenter, features: ImageFeatures, golden: dict[str, NDArray[np.float32]]
) -> None:
    box = np.array([[[0.5, 0.4, 0.3, 0.5]]], np.float32)
    _assert_detections(_detect(segmenter, features, PROMPTS["b"], box, np.array([[1]])), golden, "textbox.b")
