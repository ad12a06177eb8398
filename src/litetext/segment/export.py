"""Exporting a whole model for `OnnxBackend`: written, run, compared with torch, and only then put in place.

The detector is traced from `decode`, the very steps that run in torch, by torch's own exporter. Everything that depends
on the size of the picture alone (positions, the grid) becomes a constant, since that size is the model's. The text
encoder is written by `litetext.encoders.export`.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim

from ..data import samples
from ..encoders.checkpoints import Checkpoint
from ..encoders.export import export_onnx
from ..encoders.features import TextFeatures
from ..encoders.graph import OPSETS, GraphPrecision
from ..encoders.openvino_session import openvino_here
from ..encoders.runtime import OnnxTextEncoder, int8_weight_bits
from ..encoders.torch_encoder import TorchTextEncoder
from ..encoders.trimming import trims_exactly
from ..errors import LitetextError, choice_error, require
from ..files import write_json, write_text
from ..images import ImageLike, read_image
from ..outputs import atomic_folder
from . import decode
from .backend import sigmoid
from .card import whole_model_card
from .convention import KEY, ConventionLike
from .fused_attention import TRANSLATION
from .int8_export import put_into_int8
from .nncf_export import calibrate_graphs
from .onnx_backend import ATTENDED, CLS_TOKEN, DECODER_OUTPUTS, FORMAT, MASK_LOGITS, VERSION, WEIGHT_BITS, graphs_of
from .segmenter import Segmenter
from .sources import is_exported
from .torch_backend import TorchBackend
from .whole_export import Agreement, WholeExport

TOLERANCES: dict[GraphPrecision, float] = {"fp32": 1e-3, "fp16": 1e-2, "int8": 0.15}
"""By precision of the text encoder: how far a score, presence, box (as fractions) or mask probability may be off."""

_PHOTOS, _PROMPTS, _QUERIES = 2, 4, 3  # how many are compared: a photo takes a full-size model minutes
_BOXES = np.array([[0.4, 0.5, 0.3, 0.4], [0.7, 0.3, 0.2, 0.2]], dtype=np.float32)
_LABELS = np.array([1, 0])


def export_segmenter(
    detector: Path,
    text: Checkpoint,
    folder: str | os.PathLike[str],
    prompts: Sequence[str],
    *,
    precision: GraphPrecision = "fp32",
    weight_bits: int | None = None,
    opset: int = OPSETS[0],
    trim: bool = False,
    tolerance: float | None = None,
    overwrite: bool = False,
    convention: ConventionLike | None = None,
    allow_nan: bool = False,
    image_size: int | None = None,
    graph_precision: str = "fp32",
    calibration: Sequence[ImageLike] = (),
) -> WholeExport:
    """Write a detector and a text encoder as a directory for `Segmenter.from_pretrained`, atomically.

    Args:
        detector: what `load_detector` takes.
        text: the text encoder.
        folder: the directory; new, or an earlier export where ``overwrite`` says so.
        prompts: what the result is compared with torch on, over the scenes that ship, before it is put in place.
        precision: of the text encoder, see `litetext.encoders.export_onnx`.
        weight_bits: of what is int8: 8 needs VNNI, 7 runs on all CPUs; by default as this one.
        opset: the ONNX operator set.
        trim: of the text encoder.
        tolerance: how far any number of `Agreement` may be off; `TOLERANCES` by default.
        overwrite: replace an earlier export.
        convention: another than the detector's own, see `load_detector`.
        allow_nan: export weights that are NaN or infinite too.
        image_size: side of the square input in pixels; by default the detector's own.
        graph_precision: of the other graphs, ``"fp32"``, ``"int8"`` or ``"int4"`` (see `int8_graphs`), or
            ``"nncf-int8"``, for OpenVINO alone (see `nncf_export`). Of the integers scores and presence must be within
            ``tolerance`` (0.15 by default); boxes and masks of queries that nobody draws are not.
        calibration: images to measure the ranges of ``"nncf-int8"`` on, such as those that it will see. The result is
            compared with torch on the first of them instead of scenes that ship.

    Raises:
        LitetextError: an unknown precision or opset, a text encoder of another width than the detector reads, images
            without need of them or none where they are needed, or a result that differs more than ``tolerance`` allows.
    """
    require("onnxscript")  # which torch's exporter needs
    if is_exported(detector):
        raise LitetextError(f"{detector} is an export already; give the model it was made from")
    if precision not in TOLERANCES:
        raise choice_error("precision", precision, get_args(GraphPrecision))
    if graph_precision not in _GRAPH_PRECISIONS:
        raise choice_error("graph precision", graph_precision, _GRAPH_PRECISIONS)
    check_calibration(graph_precision, calibration)
    backend = TorchBackend.load(detector, "cpu", convention=convention, allow_nan=allow_nan, image_size=image_size)
    if text.config.output_dim != backend.dim:
        raise LitetextError(
            f"the text encoder gives {text.config.output_dim} numbers a token, but {detector} reads {backend.dim}; "
            "use an encoder made for this model"
        )
    with atomic_folder(folder, "exported model", overwrite=overwrite) as temporary:
        written = export_onnx(
            text, temporary / "text", prompts, precision=precision, weight_bits=weight_bits, opset=opset, trim=trim
        )
        write_graphs(backend, temporary, opset)
        config: dict[str, Any] = {"format": FORMAT, "version": VERSION, "opset": opset}
        bits = None if graph_precision == "fp32" else weight_bits or int8_weight_bits()
        config |= {KEY: backend.convention.to_dict(), WEIGHT_BITS: bits}
        write_json(temporary / "config.json", config)
        integers = {} if bits is None else _in_integers(temporary, prompts, bits, graph_precision, calibration)
        encoder = TorchTextEncoder(text.module(), text.tokenizer, trim=trim or trims_exactly(text.config))
        exported = Segmenter.from_pretrained(temporary, threads=1)
        agreement = measure_agreement(exported, Segmenter(backend, encoder), prompts, calibration)
        limit = TOLERANCES["int8" if integers else precision] if tolerance is None else tolerance
        if not (agreement.worst if not integers else max(agreement.score, agreement.presence)) <= limit:
            raise LitetextError(
                f"not written: against torch a score is off by {agreement.score:.2g}, a presence by "
                f"{agreement.presence:.2g}, a box by {agreement.box:.2g} of the photo, a mask's probability by "
                f"{agreement.mask:.2g}; {limit:g} is allowed: use a higher precision, or allow more with --tolerance"
            )
        export = WholeExport(
            folder=str(folder),
            image_size=backend.image_size,
            opset=opset,
            bytes={graph: _graph_bytes(temporary, graph) for graph in graphs_of(backend.convention)}
            | {"text": written.bytes},
            convention=backend.convention,
            text=replace(written, folder=str(Path(folder) / "text")),
            agreement=agreement,
            **integers,
        )
        write_text(temporary / "README.md", whole_model_card(export, text))
    return export


CALIBRATED_INT8 = "nncf-int8"
_GRAPH_PRECISIONS = ("fp32", "int8", "int4", CALIBRATED_INT8)


def check_calibration(graph_precision: str, images: Sequence[object]) -> None:
    """Raise unless there are images to calibrate on just where they are needed, and what calibrates."""
    if graph_precision != CALIBRATED_INT8:
        if images:
            raise LitetextError(f"images to calibrate on are of the graph precision {CALIBRATED_INT8}; leave them out")
        return
    if not images:
        raise LitetextError(
            f"{CALIBRATED_INT8} measures ranges on images like those that the model will see: give --calibrate PHOTOS"
        )
    openvino_here()
    require("nncf")


def _in_integers(
    folder: Path, prompts: Sequence[str], weight_bits: int, graph_precision: str, calibration: Sequence[ImageLike]
) -> dict[str, Any]:
    """Put an export's graphs into integers, measured on what `measure_agreement` compares.

    Returns:
        What became of them, by the attribute of `WholeExport` that holds it.
    """
    words, photos = compared_on(prompts)
    features = OnnxTextEncoder(folder / "text").encode(words)
    if graph_precision == CALIBRATED_INT8:
        return {"calibrated": calibrate_graphs(folder, features, calibration, weight_bits)}
    return {"int8": put_into_int8(folder, features, photos, weight_bits, fours=graph_precision == "int4")}


def compared_on(prompts: Sequence[str], images: Sequence[ImageLike] = ()) -> tuple[list[str], list[NDArray[np.uint8]]]:
    """Return what exports are measured and compared on: a few prompts, spread over all, and pictures.

    Args:
        prompts: one or more.
        images: the first of them are taken; scenes that ship where there are none.
    """
    words = list(dict.fromkeys(prompts))
    chosen = images or [sample.image for sample in samples()]
    return words[:: -(-len(words) // _PROMPTS)], [read_image(image) for image in chosen[:_PHOTOS]]


def measure_agreement(
    ours: Segmenter, reference: Segmenter, prompts: Sequence[str], images: Sequence[ImageLike] = ()
) -> Agreement:
    """Compare two segmenters on a few of ``prompts`` and ``images``, see `compared_on`.

    Prompts are decoded together and alone, with and without example boxes, so that free dimensions are seen to be free.
    """
    words, photos = compared_on(prompts, images)
    texts = [one.backend.prepare_text(one.text.encode(words)) for one in (ours, reference)]
    examples = (_BOXES[None], _LABELS[None])
    worst = dict.fromkeys(("score", "presence", "box", "mask"), 0.0)
    for photo in photos:
        states = [one.backend.encode_images([photo])[0] for one in (ours, reference)]
        pairs = list(zip((ours.backend, reference.backend), states, texts, strict=True))
        asked: list[tuple[slice, list[Any]]] = [(slice(None), [None, None]), (slice(1), [None, None])]
        if ours.backend.convention.takes_boxes:
            asked.append((slice(1), [backend.encode_boxes(state, *examples) for backend, state, _ in pairs]))
        for rows, geometry in asked:
            a, b = (
                backend.detect(state, text[rows], tokens)
                for (backend, state, text), tokens in zip(pairs, geometry, strict=True)
            )
            found = {"score": (a.scores, b.scores), "presence": (a.presence, b.presence), "box": (a.boxes, b.boxes)}
            best = np.argsort(-b.scores[0], kind="stable")[:_QUERIES]
            drawn = [
                sigmoid(backend.decode_masks(state, one, 0, best))
                for (backend, state, _), one in zip(pairs, (a, b), strict=True)
            ]
            for name, (one, other) in (found | {"mask": tuple(drawn)}).items():
                worst[name] = float(np.maximum(worst[name], np.abs(one - other).max()))  # which keeps NaN
    return Agreement(len(photos), len(words), **worst)


class _Graph(nn.Module):
    """A part of the detector as a function of named tensors, as the exported graph is one."""

    def __init__(self, backend: TorchBackend, pyramid: decode.FeaturePyramid) -> None:
        super().__init__()
        self.detector = backend.detector
        self.positions = nn.Buffer(pyramid.positions[-1])
        self.grid = pyramid.maps[-1].shape

    def pyramid(self, coarsest: Tensor) -> decode.FeaturePyramid:
        """The coarsest level alone: all that detection reads of an image."""
        return decode.FeaturePyramid((coarsest,), (self.positions,))


class _Vision(_Graph):
    """``image`` uint8 [S, S, 3] to all that is read of it, in the order of `onnx_backend`.

    The image processor's arithmetic is in it.
    """

    def __init__(self, backend: TorchBackend, pyramid: decode.FeaturePyramid) -> None:
        super().__init__(backend, pyramid)
        scale, shift = _normalization(backend.processor)
        self.scale, self.shift = nn.Buffer(scale), nn.Buffer(shift)

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
        pixels = inputs["image"].float() * self.scale + self.shift
        pyramid = decode.encode_images(self.detector, pixels.permute(2, 0, 1)[None])
        return *pyramid.maps, *(one for one in (pyramid.cls_token, pyramid.attended) if one is not None)


class _Decoder(_Graph):
    """Queries of all prompts: `decode.detect`, whose text has the geometry encoder's tokens behind it already.

    Of the coarsest level it reads nothing but the shape, which the positions have too.
    """

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
        text = TextFeatures(inputs["text"], inputs["mask"])
        pyramid = replace(self.pyramid(self.positions), attended=inputs[ATTENDED])
        output = decode.detect(self.detector, pyramid, text)
        states = output.decoder_hidden_states, output.encoder_hidden_states
        return output.logits, output.presence, output.boxes, *states


class _Pixels(_Graph):
    """Mask logits of n queries of one prompt.

    Of the coarsest level the pixel decoder reads nothing but the shape: ``encoder_hidden_states`` take its place.
    """

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        *finer, decoder, encoder, text, mask = inputs.values()
        coarsest = encoder.transpose(1, 2).reshape(self.grid)
        return decode.run_mask_decoder(self.detector, [*finer, coarsest], decoder, encoder, text, ~mask)[0]


class _Examples(_Graph):
    """Example boxes of one prompt as tokens."""

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return decode.example_tokens(self.detector, self.pyramid(inputs["features"]), inputs["boxes"], inputs["labels"])


def _normalization(processor: Any) -> tuple[Tensor, Tensor]:
    """Return what the image processor multiplies a channel by, and then adds to it: [3] each."""
    factor = processor.rescale_factor if processor.do_rescale else 1.0
    if not processor.do_normalize:
        return torch.full((3,), factor), torch.zeros(3)
    mean, std = torch.tensor(processor.image_mean), torch.tensor(processor.image_std)
    return factor / std, -mean / std


def write_graphs(backend: TorchBackend, folder: Path, opset: int) -> None:
    """Trace the graphs one by one and write each with its weights beside it."""
    size = backend.image_size
    with torch.no_grad():
        pyramid = decode.encode_images(backend.detector, torch.zeros(1, 3, size, size))
    levels = {f"features_{level}": features for level, features in enumerate(pyramid.maps)}
    finer, coarsest = dict(list(levels.items())[:-1]), {"features": pyramid.maps[-1]}
    image = {"image": torch.zeros(size, size, 3, dtype=torch.uint8)}
    text = {"text": torch.zeros(3, 5, backend.dim), "mask": torch.zeros(3, 5, dtype=torch.bool)}
    prompt = {name: tensor[:1] for name, tensor in text.items()}
    zeros, flat = torch.zeros(1, 4, backend.dim), pyramid.maps[-1].flatten(2).transpose(1, 2)
    seen = [*levels, *([] if pyramid.cls_token is None else [CLS_TOKEN]), ATTENDED]
    hidden = dict(zip(DECODER_OUTPUTS[3:], (zeros, flat), strict=True))
    boxes = {"boxes": torch.from_numpy(_BOXES)[None], "labels": torch.from_numpy(_LABELS)[None]}
    tokens = Dim("tokens")
    rows, columns = {0: Dim("prompts"), 1: tokens}, {1: tokens}
    queries, examples = {1: Dim("queries")}, {1: Dim("boxes")}
    masked = {DECODER_OUTPUTS[3]: queries, "text": columns, "mask": columns}
    for graph, kind, inputs, outputs, free in (
        ("vision", _Vision, image, seen, {}),
        ("decoder", _Decoder, {ATTENDED: flat} | text, DECODER_OUTPUTS, {"text": rows, "mask": rows}),
        ("pixels", _Pixels, finer | hidden | prompt, [MASK_LOGITS], masked),
        ("examples", _Examples, coarsest | boxes, ["tokens"], {"boxes": examples, "labels": examples}),
    ):
        if graph not in graphs_of(backend.convention):
            continue
        with _quiet_exporter(), torch.no_grad():
            program: Any = torch.onnx.export(
                kind(backend, pyramid).eval(),
                kwargs={"inputs": inputs},
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes={"inputs": {name: free.get(name, {}) for name in inputs}},
                opset_version=opset,
                custom_translation_table=TRANSLATION,
                verbose=False,
            )
        _forget_tracing(program.model)
        program.save(folder / f"{graph}.onnx", external_data=True)


def _forget_tracing(model: Any) -> None:
    """Drop the tracer's notes on every node and value: half the file, and the paths of this machine's sources."""
    graph = model.graph
    nodes = list(graph.all_nodes())
    values = [*graph.inputs, *graph.initializers.values(), *(value for node in nodes for value in node.outputs)]
    for noted in (model, graph, *nodes, *values):
        noted.metadata_props.clear()
        noted.doc_string = None


def _graph_bytes(folder: Path, graph: str) -> int:
    return sum(file.stat().st_size for file in folder.glob(f"{graph}.*"))


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
