"""The graphs in OpenVINO: what ONNX Runtime finds with them, in float32 and in bfloat16."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litetext import LitetextError, Segmenter
from litetext.bench.text import bench_text, candidates
from litetext.data import resolve, samples
from litetext.encoders import export_onnx, read_checkpoint, save_encoder
from litetext.tokenizer import Tokenizer

from ..encoders.conftest import random_encoder, small_config

pytest.importorskip("openvino")

PRELOADED = "tcmalloc" in os.environ.get("LD_PRELOAD", "")
alone = pytest.mark.skipif(PRELOADED, reason="OpenVINO crashes where tcmalloc is preloaded; the last test goes without")

PROMPTS = ["owl", "red car", "white dog"]
BOXES: list[Any] = [None, [[20.0, 20.0, 60.0, 60.0]], None]


@alone
@pytest.mark.parametrize(("dtype", "error"), [(None, 1e-4), ("bfloat16", 0.02)])
def test_openvino_finds_what_onnx_runtime_finds(dtype: str | None, error: float) -> None:
    wanted = Segmenter.from_pretrained("mini", backend="onnx")
    found = Segmenter.from_pretrained("mini", backend="openvino", dtype=dtype, threads=1)
    assert "openvino" in repr(found).lower() and (dtype or "float32") in repr(found)
    for sample in samples()[:2]:
        one, other = (
            each.segment(sample.image, PROMPTS, BOXES, threshold=0.0, batch_size=2) for each in (found, wanted)
        )
        assert len(one) == len(other) > 0
        np.testing.assert_allclose(one.presence, other.presence, atol=error)
        best = one.scores > 0.5
        assert np.array_equal(best, other.scores > 0.5)
        np.testing.assert_allclose(one.scores[best], other.scores[best], atol=error)
        assert (one.masks[best] != other.masks[best]).mean() < error if best.any() else True


@alone
def test_float32_is_float32_though_the_cpu_could_do_less() -> None:
    image = samples()[0].image
    maps = [
        Segmenter.from_pretrained("mini", backend=backend).backend.feature_maps(
            Segmenter.from_pretrained("mini", backend=backend).encode_image(image).state
        )
        for backend in ("openvino", "onnx")
    ]
    for one, other in zip(*maps, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


@alone
def test_text_in_int8_has_a_row_of_its_own(tmp_path: Path) -> None:
    tokenizer = Tokenizer().prune_vocabulary(600)
    save_encoder(random_encoder(small_config("s1", vocab_size=600)), tokenizer, tmp_path / "torch")
    export_onnx(read_checkpoint(tmp_path / "torch"), tmp_path / "int8", PROMPTS, precision="int8")
    names = [str(tmp_path / "torch"), str(tmp_path / "int8")]
    rows = candidates(["s0-16"], names)[1:]
    assert [row.name for row in rows] == [*names, f"{names[1]} (OpenVINO)"]
    found = bench_text(rows, PROMPTS, batches=[2], threads=1, rounds=1, reference=names[0])
    assert [row.bytes for row in found[1:]] == [found[1].bytes] * 2
    assert found[1].min_cosine != found[2].min_cosine and all(0.9 < (row.min_cosine or 0) < 1 for row in found[1:])
    assert all(10 < row.peak_mb < 300 for row in found[1:]), "without torch"


@alone
def test_what_openvino_cannot_do_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for options, said in (
        ({"dtype": "int8"}, "unknown dtype of OpenVINO 'int8'"),
        ({"device": "cuda"}, "it runs on the CPU"),
        ({"image_size": 96}, "at the size"),
        ({"threads": 0}, "threads must be 1 or more"),
    ):
        with pytest.raises(LitetextError, match=re.escape(said)):
            Segmenter.from_pretrained("mini", backend="openvino", **options)  # type: ignore[arg-type]
    folder = shutil.copytree(resolve("mini"), tmp_path / "mini")
    graph = folder / "segmenter" / "decoder.onnx"
    graph.write_bytes(graph.read_bytes()[:1000])
    with pytest.raises(LitetextError, match=r"decoder\.onnx is not a graph that OpenVINO can run"):
        Segmenter.from_pretrained(folder, backend="openvino")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(LitetextError, match=re.escape("pip install 'litetext[openvino]'")):
        Segmenter.from_pretrained("mini", backend="openvino")


@pytest.mark.skipif(not PRELOADED, reason="the tests above ran")
def test_all_of_it_without_tcmalloc() -> None:
    with pytest.raises(LitetextError, match="OpenVINO crashes where tcmalloc is preloaded"):
        Segmenter.from_pretrained("mini", backend="openvino")
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", __file__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
