"""A whole SAM3 in litetext's own layout: ``segmenter/`` without text beside ``text/`` with its encoder.

There an encoder keeps a convention of its own, which neither transformers' layout nor Meta's has a place for.
"""

from __future__ import annotations

import copy
import os
import shutil
from pathlib import Path

from ..encoders.checkpoints import write_encoder
from ..encoders.encoder_file import KINDS, EncoderFile
from ..encoders.tensor_writer import write_safetensors
from ..files import write_text
from ..outputs import atomic_folder
from ..progress import Progress, no_progress
from .checkpoint import quiet_transformers
from .sources import TRACKER
from .transformers_folder import image_processor, whole_config, write_unported
from .whole_model import WholeModel, Written, check_width


def write_litetext(
    model: WholeModel,
    text: EncoderFile,
    folder: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    allow_nan: bool = False,
    progress: Progress = no_progress,
) -> None:
    """Write a model and a text encoder as one folder, tensor by tensor.

    Args:
        model: the detector and, if it has one, the tracker.
        text: the text encoder; it goes to ``text/teacher`` if it is SAM3's own kind, else to ``text/student``.
        folder: where to write: a new folder, or with ``overwrite`` an earlier whole model of litetext's.
        overwrite: replace an earlier whole model.
        allow_nan: write weights that are NaN or infinite too.
        progress: told of bytes.

    Raises:
        LitetextError: an encoder of another width than the detector reads.
    """
    check_width(model, text)
    prefix = "" if model.video is None else "detector_model."
    tensors = {prefix + name: tensor for name, tensor in model.detector.items()} | dict(model.tracker)
    everything = tensors | dict(model.unported) | {f"text/{name}": one for name, one in text.state.items()}
    seen = Written(model, text, everything, allow_nan=allow_nan, progress=progress)
    with atomic_folder(folder, "whole model", overwrite=overwrite) as temporary, quiet_transformers():
        segmenter = temporary / "segmenter"
        segmenter.mkdir()
        whole_config(model, copy.deepcopy(model.config), "Sam3Model").save_pretrained(segmenter)
        image_processor(model).save_pretrained(segmenter)
        write_safetensors(segmenter / "model.safetensors", tensors, {"format": "pt"}, seen)
        write_unported(model, segmenter, seen)
        encoder = temporary / "text" / KINDS[int(text.config.causal)]
        encoder.mkdir(parents=True)
        write_encoder(text, encoder, seen=seen)
        if model.tracker_folder is not None:
            shutil.copytree(model.tracker_folder, temporary / TRACKER)
        write_text(temporary / "README.md", _card(model, encoder))


def _card(model: WholeModel, encoder: Path) -> str:
    lines = [
        "---",
        "library_name: litetext",
        "tags: [promptable-segmentation, sam3]",
        "---",
        "# A whole promptable segmenter",
        "",
        "```",
        'litetext segment photo.jpg -p "white dog" --model path/to/this/folder',
        "```",
        "",
        f"`segmenter/` is a SAM3 without its text encoder, run under the convention `{model.convention.name}`; "
        f"`text/{encoder.name}/` is the encoder, with a card of its own.",
    ]
    return "\n".join(lines) + "\n"
