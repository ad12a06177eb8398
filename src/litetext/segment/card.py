"""The README of a whole model's export: what is in it, how it agrees with torch, and a program that runs it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..encoders.checkpoints import Checkpoint
    from .whole_export import CalibratedGraph, WholeExport

_PROGRAM = """\
import json, sys, numpy as np, onnxruntime, tokenizers
from PIL import Image
folder, photo, prompt = sys.argv[1:]
vision, text, decoder, pixels = (
    onnxruntime.InferenceSession(f"{folder}/{name}.onnx") for name in ("vision", "text/model", "decoder", "pixels"))
photo = Image.open(photo).convert("RGB")
*features, attended = vision.run(None, {"image": np.asarray(photo.resize((SIZE, SIZE), Image.Resampling.BILINEAR))})
ids = tokenizers.Tokenizer.from_file(f"{folder}/text/tokenizer.json").encode(prompt).ids
TOKENS
asked = {"text": tokens, "mask": mask}
logits, presence, boxes, queries, encoded = decoder.run(None, {"attended": attended} | asked)
scores = 1 / (1 + np.exp(-logits)) / (1 + np.exp(-presence[:, None]))
found = np.flatnonzero(scores[0] >= 0.5)
inputs = asked | {"decoder_hidden_states": queries[:, found], "encoder_hidden_states": encoded}
inputs |= {f"features_{level}": one for level, one in enumerate(features[:-1])}
boxes = boxes[0, found] * [*photo.size, *photo.size]
for score, box, mask in zip(scores[0, found], boxes, pixels.run(None, inputs)[0]):
    pixels = np.asarray(Image.fromarray(MASK).resize(photo.size, Image.Resampling.BILINEAR)) > CUT
    print(f"{score:.3f}", *box.round(1), pixels.sum(), "pixels")
"""


def whole_model_card(export: WholeExport, text: Checkpoint) -> str:
    """Return the README (Markdown); its ``python`` blocks run as they stand."""
    worst, config = export.agreement, text.config
    calibrated = export.calibrated or {}
    forms = {name: "xml" if name in calibrated else "onnx" for name in export.bytes if name != "text"}
    rows = [f"| `{name}.{form}` | {export.bytes[name]:,} |" for name, form in forms.items()]
    runtime, extra = ("OpenVINO", "openvino") if calibrated else ("ONNX Runtime", "images")
    lines = [
        "---",
        "library_name: litetext",
        f"tags: [promptable-segmentation, sam3, {'openvino' if calibrated else 'onnx'}]",
        "---",
        "# A whole promptable segmenter without torch",
        "",
        f"Noun phrases and a photo in; boxes, masks and scores out, by {runtime} on a CPU.",
        "",
        "```",
        f"pip install 'litetext[{extra}]'",
        'litetext segment photo.jpg -p "white dog" --model path/to/this/folder --json',
        "```",
        "",
        'From Python it is `Segmenter.from_pretrained("path/to/this/folder").segment("photo.jpg", ["white dog"])`, as',
        "for any other model.",
        "",
        "| with its weights | bytes |",
        "|---|---|",
        *rows,
        f"| `text/` ({config.variant}, {export.text.precision}) | {export.bytes['text']:,} |",
        "",
        f"Pictures are seen at {export.image_size} x {export.image_size}; operator set {export.opset}; the graphs",
        f"compute in {_computing(export)}, under the detector convention `{export.convention.name}`.",
        "",
        f"Against torch, over all queries of {worst.prompts} prompts on {worst.photos} pictures, a score is off",
        f"by at most {worst.score:.1e}, a box by {worst.box:.1e} of the picture, a mask's probability by",
        f"{worst.mask:.1e}.",
        *([] if calibrated else _without_litetext(export, text)),
    ]
    return "\n".join(lines) + "\n"


def _without_litetext(export: WholeExport, text: Checkpoint) -> list[str]:
    """The lines about a program that needs ONNX Runtime alone."""
    return [
        "",
        "## Without litetext",
        "",
        "One prompt on one photo, with numpy, onnxruntime, tokenizers and pillow; save it as `run.py` and call",
        '`python run.py path/to/this/folder photo.jpg "white dog"`. It resizes with Pillow, whose rounding differs a',
        "little from torch's; litetext follows torch.",
        "",
        "```python",
        _program(export, text).rstrip(),
        "```",
        "",
        "`decoder` takes any number of prompts at once (`text` [P, T, C]; `mask` [P, T], True = padding); `pixels`",
        "draws any of one prompt's queries; `examples` turns example boxes (center and size as fractions; label 1, or",
        "0 for a counterexample) into tokens that stand behind the prompt's text.",
    ]


def _computing(export: WholeExport) -> str:
    if export.calibrated is not None:
        return _calibrated(export.calibrated)
    if export.int8 is None:
        return "float32"
    matrices, sensitive = (
        sum(getattr(one, name) for one in export.int8.values()) for name in ("matrices", "sensitive")
    )
    fours = sum(one.fours for one in export.int8.values())
    stored = f"; {fours} of them are stored in 4 bits" if fours else ""
    return f"int8 ({matrices} matrices; {sensitive} are stored in int8 and multiplied in float32{stored})"


def _calibrated(graphs: dict[str, CalibratedGraph]) -> str:
    counts = " and ".join(f"{one.int8} of {one.products} products of {name}" for name, one in graphs.items())
    return f"float32 and int8 (NNCF: {counts}; ranges from {graphs['vision'].runs} images)"


def _program(export: WholeExport, text: Checkpoint) -> str:
    """The program for this encoder: its rows, its padding, its mask."""
    convention = text.config.convention
    pad, hidden = convention.pad_id, convention.mask_padding != "none"
    padding = f"({convention.context_length} - len(ids))"
    lines, feeds = [], '{"ids": ids}'
    if text.tokenizer.kept is not None:
        lines.append('kept = json.load(open(f"{folder}/text/config.json"))["vocabulary"]')
        lines.append("ids = [kept.index(clip) for clip in ids]")
    if export.text.trim:
        lines += ["ids = np.array([ids])", "mask = np.zeros(ids.shape, bool)" if hidden else f"mask = ids == {pad}"]
    elif hidden:
        lines.append(f"mask = np.array([[False] * len(ids) + [True] * {padding}])")
        lines.append(f"ids = np.array([ids + [{pad}] * {padding}])")
        feeds = '{"ids": ids, "padding": mask}' if convention.mask_padding == "attention" else feeds
    else:
        lines += [f"ids = np.array([ids + [{pad}] * {padding}])", f"mask = ids == {pad}"]
    lines.append(f"tokens = text.run(None, {feeds})[0]")
    if export.convention.cls_token == "always":
        lines.append("tokens, mask = np.concatenate([tokens, features.pop()], 1), np.pad(mask, ((0, 0), (0, 1)))")
    as_logits = export.convention.mask_resampling == "logits"
    parts = {
        "SIZE": str(export.image_size),
        "TOKENS": "\n".join(lines),
        "MASK": "mask" if as_logits else "1 / (1 + np.exp(-mask))",
        "CUT": "0" if as_logits else "0.5",
    }
    return re.sub("|".join(parts), lambda part: parts[part[0]], _PROGRAM)
