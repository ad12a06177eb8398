"""A whole model's export: the torch pipeline's detections without torch, and one sentence for every damaged file."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from PIL import Image

from litetext import Instances, LitetextError, Segmenter
from litetext.encoders import read_checkpoint, runtime
from litetext.outputs import RECORD
from litetext.segment import export as exporting
from litetext.segment import int8_graphs, onnx_backend
from litetext.segment.convention import META
from litetext.segment.export import export_segmenter
from litetext.segment.int8_export import put_into_int8
from litetext.segment.whole_export import Agreement, Errors, WholeExport

from .conftest import IMAGE_SIZE, PROMPTS, Reference, save_reference

BOXES = [[10.0, 12.0, 40.0, 50.0], [50.0, 5.0, 85.0, 60.0]]
ABSENT = ("torch", "transformers", "supervision", "pycocotools", "scipy", "onnx")  # from a small device


@dataclass(frozen=True)
class Exported:
    reference: Reference
    folder: Path
    written: WholeExport


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, photo: NDArray[np.uint8]) -> Exported:
    reference = save_reference("s0", tmp_path_factory.mktemp("whole"), convention="meta")
    reference.spread_presence(photo, PROMPTS[:10], present=5)
    folder = tmp_path_factory.mktemp("export") / "device"
    return Exported(
        reference, folder, export_segmenter(reference.folder, read_checkpoint(reference.folder), folder, PROMPTS)
    )


@pytest.fixture
def quick(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> Exported:
    """Exporting without tracing again: the graphs are those of `exported`."""

    def copy(backend: Any, folder: Path, opset: int) -> None:
        for file in exported.folder.glob("*.onnx*"):
            shutil.copy(file, folder)

    monkeypatch.setattr(exporting, "write_graphs", copy)
    return exported


@pytest.fixture
def copied(exported: Exported, tmp_path: Path) -> Path:
    return shutil.copytree(exported.folder, tmp_path / "copied")


def _assert_same(found: Instances, wanted: Instances) -> None:
    assert found.prompts == wanted.prompts and len(wanted) > 0
    assert np.array_equal(found.prompt_index, wanted.prompt_index)
    np.testing.assert_allclose(found.presence, wanted.presence, atol=1e-3)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-3)
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=1e-3 * max(wanted.size))
    assert (found.masks != wanted.masks).mean() < 1e-4


def test_what_is_written(exported: Exported) -> None:
    names = {f"{graph}.onnx{data}" for graph in ("vision", "decoder", "pixels", "examples") for data in ("", ".data")}
    assert {path.name for path in exported.folder.iterdir()} == names | {RECORD, "README.md", "config.json", "text"}
    assert exported.written.agreement.worst < 1e-3 and exported.written.agreement.prompts == 4
    assert set(exported.written.bytes) == {"vision", "decoder", "pixels", "examples", "text"}
    for graph in exported.folder.glob("*.onnx"):
        assert str(Path(exporting.__file__).parent).encode() not in graph.read_bytes(), "tells where it was made"


@pytest.mark.parametrize(("count", "batch_size"), [(1, 8), (23, 8), (5, 1)])
def test_detections_equal_torch(exported: Exported, photo: NDArray[np.uint8], count: int, batch_size: int) -> None:
    pair = [Segmenter.from_pretrained(folder, device="cpu") for folder in (exported.folder, exported.reference.folder)]
    found, wanted = (one.segment(photo, PROMPTS[:count], threshold=0.0, batch_size=batch_size) for one in pair)
    _assert_same(found, wanted)
    assert len(found) == 7 * count


def test_the_convention_is_carried(exported: Exported, photo: NDArray[np.uint8]) -> None:
    values = json.loads((exported.folder / "config.json").read_text())
    assert values["version"] == 3 and values["detector_convention"]["name"] == "meta"
    assert Segmenter.from_pretrained(exported.folder).backend.convention == META
    other = Segmenter.from_pretrained(exported.reference.folder, device="cpu", convention="transformers")
    found, wanted = (
        one.segment(photo, PROMPTS[:3], threshold=0.0) for one in (Segmenter.from_pretrained(exported.folder), other)
    )
    assert np.abs(found.boxes - wanted.boxes).max() > 0.1, "the convention must matter in this test"


def test_large_models_decode_prompt_by_prompt(
    exported: Exported, photo: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = Segmenter.from_pretrained(exported.folder)
    runs, plain = [], segmenter.backend._sessions["decoder"].run
    decoder = SimpleNamespace(run=lambda names, feeds: runs.append(len(feeds["text"])) or plain(names, feeds))
    monkeypatch.setitem(segmenter.backend._sessions, "decoder", decoder)
    together = segmenter.segment(photo, PROMPTS[:3], threshold=0.0)
    monkeypatch.setattr(onnx_backend, "ATTENTION_ENTRIES", 1)
    _assert_same(segmenter.segment(photo, PROMPTS[:3], threshold=0.0), together)
    assert runs == [3, 1, 1, 1]


def test_example_boxes_equal_torch(exported: Exported, photo: NDArray[np.uint8]) -> None:
    pair = [Segmenter.from_pretrained(folder, device="cpu") for folder in (exported.folder, exported.reference.folder)]
    boxes, labels = [None, BOXES, BOXES[:1], BOXES], [None, [1, 0], None, [1, 1]]
    mixed = [one.segment(photo, PROMPTS[:4], boxes, labels, threshold=0.0) for one in pair]
    _assert_same(*mixed)
    alone = [one.segment(photo, boxes=BOXES[:1], threshold=0.0) for one in pair]
    _assert_same(*alone)
    plain = pair[0].segment(photo, PROMPTS[:4], threshold=0.0)
    assert np.abs(plain.presence - mixed[0].presence).max() > 1e-2, "the boxes must matter in this test"


def test_absent_prompts_decode_no_pixel(
    exported: Exported, photo: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = Segmenter.from_pretrained(exported.folder).freeze(PROMPTS[:10])
    drawn, plain = [], segmenter.backend.decode_masks
    monkeypatch.setattr(segmenter.backend, "decode_masks", lambda *a: drawn.append(a[2]) or plain(*a))
    found = segmenter.segment(photo, PROMPTS[:10], threshold=0.3)
    assert len(drawn) == len(set(found.labels)) <= 5


def _without(modules: tuple[str, ...], code: str, *arguments: object) -> str:
    """What a program prints where ``modules`` are not installed."""
    blocked = f"import sys\nfor name in {modules}: sys.modules[name] = None\n"
    command = [sys.executable, "-c", blocked + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_needs_no_torch(exported: Exported, photo: NDArray[np.uint8], tmp_path: Path) -> None:
    Image.fromarray(photo).save(tmp_path / "photo.png")
    code = "from litetext.cli import main\nmain(sys.argv[1:])"
    asked = ["-p", PROMPTS[0], "-p", PROMPTS[1], "--threshold", 0, "--json"]
    printed = json.loads(_without(ABSENT, code, "segment", tmp_path / "photo.png", "--model", exported.folder, *asked))
    wanted = Segmenter.from_pretrained(exported.reference.folder).segment(photo, PROMPTS[:2], threshold=0.0)
    assert [row["count"] for row in printed] == [7, 7]
    np.testing.assert_allclose(np.concatenate([row["scores"] for row in printed]), wanted.scores, atol=1e-3)


def test_arrays_need_no_pillow_either(exported: Exported, photo: NDArray[np.uint8], tmp_path: Path) -> None:
    np.save(tmp_path / "photo.npy", photo)
    code = """
import numpy
from litetext import LitetextError, Segmenter
segmenter = Segmenter.from_pretrained(sys.argv[1])
print(len(segmenter.segment(numpy.load(sys.argv[2]), ["dog", "cat"], threshold=0.0)))
try:
    segmenter.segment("photo.jpg", "dog")
except LitetextError as error:
    print(error)
try:
    Segmenter.from_pretrained(sys.argv[3])
except LitetextError as error:
    print(error)
"""
    said = _without((*ABSENT, "PIL"), code, exported.folder, tmp_path / "photo.npy", exported.reference.folder)
    count, pillow, torch = said.splitlines()
    assert count == "14"
    assert "litetext[images]" in pillow
    assert "litetext[sam3]" in torch


def test_the_program_of_the_readme_runs(exported: Exported, photo: NDArray[np.uint8], tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", (exported.folder / "README.md").read_text(), re.DOTALL)
    assert len(program.splitlines()) <= 22
    assert max(map(len, program.splitlines())) <= 120
    picture = Image.fromarray(photo).resize((IMAGE_SIZE, IMAGE_SIZE))  # so that Pillow's rounding plays no part
    picture.save(tmp_path / "photo.png")
    found = Segmenter.from_pretrained(exported.folder).segment(picture, PROMPTS[:10], threshold=0.5)
    prompt = found.labels[0]
    lines = _without((*ABSENT, "litetext"), program, exported.folder, tmp_path / "photo.png", prompt).splitlines()
    scores = np.sort([float(line.split()[0]) for line in lines])[::-1]
    np.testing.assert_allclose(scores, found[prompt].scores, atol=1e-3)


def test_smaller_text_encoders_are_measured_with_their_own_limit(quick: Exported, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(quick.reference.folder)
    written = export_segmenter(
        quick.reference.folder, checkpoint, tmp_path / "e", PROMPTS, precision="int8", tolerance=1.0
    )
    assert written.text.precision == "int8" and written.bytes["text"] < quick.written.bytes["text"] / 2
    assert 1e-5 < written.agreement.worst < 1
    assert written.text.folder == str(tmp_path / "e" / "text")


def _operators(folder: Path, graph: str) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(folder / f"{graph}.onnx", load_external_data=False).graph.node)


def test_attention_without_a_mask_is_one_operator(exported: Exported) -> None:
    vision, decoder = (_operators(exported.folder, graph) for graph in ("vision", "decoder"))
    assert vision["MultiHeadAttention"] >= 2 and vision["Softmax"] == 0
    assert decoder["MultiHeadAttention"] == 1 + 3  # the encoder's second layer, the decoder's queries


@pytest.fixture
def int8(quick: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, WholeExport]:
    monkeypatch.setattr(int8_graphs, "_LEAST", 512)  # the matrices of a small model are small
    folder = tmp_path / "int8"
    checkpoint = read_checkpoint(quick.reference.folder)
    written = export_segmenter(
        quick.reference.folder, checkpoint, folder, PROMPTS, graph_precision="int8", tolerance=1.0
    )
    return folder, written


def test_graphs_in_int8_are_smaller_and_nearly_the_same(
    quick: Exported, int8: tuple[Path, WholeExport], photo: NDArray[np.uint8]
) -> None:
    folder, written = int8
    assert written.int8 is not None and set(written.int8) == {"vision", "decoder", "pixels", "examples"}
    for graph, one in written.int8.items():
        assert one.matrices > 0 and one.worst <= int8_graphs.SENSITIVE
        operators = _operators(folder, graph)
        assert operators["DynamicQuantizeMatMul"] == one.matrices - one.sensitive
        assert operators["DequantizeLinear"] == one.sensitive
    assert written.bytes["decoder"] < quick.written.bytes["decoder"]
    rough, exact = (
        one.backend.feature_maps(one.encode_image(photo).state)
        for one in map(Segmenter.from_pretrained, (folder, quick.folder))
    )
    for one, other in zip(rough, exact, strict=True):
        assert 1e-5 < np.abs(one - other).mean() / np.abs(other).mean() < 0.05
    assert "int8" in (folder / "README.md").read_text()


def test_sensitive_matrices_are_multiplied_in_float32(
    quick: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8_graphs, "_LEAST", 512)
    graph = quick.folder / "pixels.onnx"
    names = int8_graphs.probe_graph(graph, tmp_path / "probe.onnx", 127)
    found = int8_graphs.write_int8(
        graph,
        tmp_path / "pixels.onnx",
        [Errors(1.0, 0.1), Errors(np.nan, np.nan), Errors(0.02, 0.02), *[Errors(0.01, 0.01)] * (len(names) // 2 - 3)],
        127,
    )
    assert (found.sensitive, found.worst) == (2, 0.02)
    assert _operators(tmp_path, "pixels")["DequantizeLinear"] == 2


def test_matrices_in_4_bits_are_smaller_and_no_further_off_than_allowed(
    quick: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8_graphs, "_LEAST", 512)
    words, photos = exporting.compared_on(PROMPTS)
    sizes = {}
    for name, coarse in (("int8", 0.0), ("int4", 0.15)):
        monkeypatch.setattr(int8_graphs, "COARSE", coarse)
        folder = shutil.copytree(quick.folder, tmp_path / name)
        text = runtime.OnnxTextEncoder(folder / "text").encode(words)
        found = put_into_int8(folder, text, photos[:1], 8, fours=True)["vision"]
        sizes[name] = (folder / "vision.onnx.data").stat().st_size
        operators = _operators(folder, "vision")
        assert operators["MatMulNBits"] == found.fours == (found.matrices if name == "int4" else 0)
        assert operators["DynamicQuantizeMatMul"] == found.matrices - found.fours - found.sensitive
        assert found.worst_four < 0.15
    assert sizes["int4"] < sizes["int8"]
    outputs = [
        one.backend.feature_maps(one.encode_image(photos[0]).state)[-1]
        for one in map(Segmenter.from_pretrained, (folder, quick.folder))
    ]
    assert 0.01 < np.abs(outputs[0] - outputs[1]).mean() / np.abs(outputs[1]).mean() < 0.5


@pytest.mark.parametrize("rows", [64, 40])  # whole blocks, and one filled up
def test_a_product_in_4_bits_is_that_of_the_rounded_matrix(rows: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    matrix = rng.integers(-8, 8, (rows, 16)).astype(np.float32) / 4
    matrix[::32] = -2  # the furthest of every block, so that all numbers are levels
    matrix[:, 3] = 0
    node = helper.make_node("MatMul", ["x", "matrix"], ["y"])
    ends = [helper.make_tensor_value_info(name, 1, [None, size]) for name, size in (("x", rows), ("y", 16))]
    graph = helper.make_graph([node], "one", ends[:1], ends[1:], [numpy_helper.from_array(matrix, "matrix")])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), tmp_path / "one.onnx"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8_graphs, "_LEAST", 1)
        written = int8_graphs.write_int8(tmp_path / "one.onnx", tmp_path / "four.onnx", [Errors(1, 1, 0.1)], 127)
    assert (written.fours, written.worst_four, written.sensitive) == (1, 0.1, 0)
    x = rng.normal(size=(5, rows)).astype(np.float32)
    found = runtime.open_session(tmp_path / "four.onnx", 1).run(None, {"x": x})[0]
    assert np.abs(found - x @ matrix).mean() < 0.01 * np.abs(x @ matrix).mean()
    np.testing.assert_allclose(found[:, 3], 0, atol=1e-4)


def test_int8_graphs_are_refused_where_they_would_overflow(
    int8: tuple[Path, WholeExport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "int8_weight_bits", lambda: 7)
    with pytest.raises(LitetextError, match="export it with --weight-bits 7"):
        Segmenter.from_pretrained(int8[0])


def test_what_differs_is_not_written(quick: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = read_checkpoint(quick.reference.folder)
    for agreement in (Agreement(2, 4, 0.0, 0.0, 0.0, 2e-3), Agreement(2, 4, float("nan"), 0.0, 0.0, 0.0)):
        monkeypatch.setattr(exporting, "measure_agreement", lambda *_, found=agreement: found)
        with pytest.raises(LitetextError, match="not written: against torch"):
            export_segmenter(quick.reference.folder, checkpoint, tmp_path / "e", PROMPTS)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(LitetextError, match="unknown graph precision 'int3'"):
        export_segmenter(quick.reference.folder, checkpoint, tmp_path / "e", PROMPTS, graph_precision="int3")


def _cut(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return damage


def _config(**values: Any) -> Callable[[Path], None]:
    return lambda folder: (folder / "config.json").write_text(json.dumps(values)) and None


def _foreign(folder: Path) -> None:
    shutil.copy(folder / "text" / "model.onnx", folder / "pixels.onnx")
    shutil.copy(folder / "text" / "model.onnx.data", folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut("vision.onnx"), "vision.onnx is not a readable ONNX model"),
        (_cut("decoder.onnx.data"), "decoder.onnx is not a readable ONNX model"),
        (
            lambda folder: (folder / "decoder.onnx").unlink(),
            "decoder.onnx: no such file; give a folder",
        ),
        (lambda folder: (folder / "pixels.onnx.data").unlink(), "pixels.onnx is not a readable ONNX model"),
        (_foreign, "pixels.onnx takes ids, padding and gives tokens"),
        (lambda folder: shutil.rmtree(folder / "text"), "text: no such file or folder"),
        (lambda folder: (folder / "config.json").unlink(), "config.json: no such file"),
        (_config(format="other"), "is not a whole model's export"),
        (_config(format="litetext-onnx-segmenter", version=4), "version 4; this litetext reads versions 1 to 3"),
        (
            _config(format="litetext-onnx-segmenter", version=3, detector_convention="sam"),
            "detector_convention: unknown",
        ),
        (
            _config(format="litetext-onnx-segmenter", version=3, detector_convention="transformers"),
            "vision.onnx takes image and gives features_0, features_1, features_2, cls_token, attended",
        ),
    ],
)
def test_damaged_exports_are_refused(copied: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(copied)
    with pytest.raises(LitetextError, match=re.escape(message)):
        Segmenter.from_pretrained(copied)


def test_what_an_export_cannot_do_is_said(exported: Exported, tmp_path: Path) -> None:
    for options in ({"device": "cuda"}, {"dtype": "bfloat16"}, {"convention": "meta"}, {"image_size": 56}):
        with pytest.raises(LitetextError, match="at the size and under the convention it was written in"):
            Segmenter.from_pretrained(exported.folder, **options)
    checkpoint = read_checkpoint(exported.reference.folder)
    with pytest.raises(LitetextError, match="is an export already"):
        export_segmenter(exported.folder, checkpoint, tmp_path / "again", PROMPTS)
    with pytest.raises(LitetextError, match="64 numbers a token, but .* reads 32"):
        export_segmenter(exported.reference.folder, read_checkpoint("mini"), tmp_path / "again", PROMPTS)
