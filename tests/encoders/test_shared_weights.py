"""Graphs that point into a safetensors file give what graphs with weights of their own give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from litetext.encoders.shared_weights import share_weights


def test_a_graph_reads_half_precision_weights_straight_transposed_and_reshaped(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    stored = {name: rng.normal(size=shape).astype(np.float16) for name, shape in (("a", (16, 24)), ("b", (8, 2, 16)))}
    save_file(stored, tmp_path / "model.safetensors")
    transposed, reshaped = stored["a"].T.astype(np.float32), stored["b"].reshape(16, 16).astype(np.float32)
    own = rng.normal(size=(16, 16)).astype(np.float32)
    constants = [numpy_helper.from_array(value, name) for name, value in
                 (("t", np.ascontiguousarray(transposed)), ("r", reshaped), ("o", own))]  # fmt: skip
    nodes = [
        helper.make_node("MatMul", ["x", "t"], ["y"]),
        helper.make_node("MatMul", ["y", "r"], ["z"]),
        helper.make_node("MatMul", ["z", "o"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 24])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 16])], constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    saved = share_weights(model, tmp_path / "model.safetensors")
    assert saved == transposed.nbytes + reshaped.nbytes
    (tmp_path / "graph.onnx").write_bytes(model.SerializeToString())
    x = rng.normal(size=(1, 24)).astype(np.float32)
    found = onnxruntime.InferenceSession(str(tmp_path / "graph.onnx"), providers=["CPUExecutionProvider"])
    assert np.allclose(found.run(None, {"x": x})[0], x @ transposed @ reshaped @ own, atol=1e-4)
