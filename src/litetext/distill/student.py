"""Students: their shape from a name or a recipe, their vocabulary from the teacher, their first weights from wherever.

A new student masks padding everywhere, attention and convolution, so a prompt's features never depend on what it was
batched with. A student that starts from published weights keeps the convention those were trained under, unless asked
otherwise. Teacher and student are compared token by token, so they must spell prompts alike: the student takes the
teacher's vocabulary, or a part of it and then learns from the prompts that both spell the same.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..encoders.checkpoints import read_checkpoint
from ..encoders.config import PRESETS, Convention, EncoderConfig
from ..encoders.encoder_file import find_checkpoint
from ..encoders.layouts import STUDENT, TEACHER, Layout
from ..encoders.modules import TextTransformer, build
from ..encoders.tensorfile import TensorFile, lazily, open_tensors, read_all
from ..errors import LitetextError, choice_error, short
from ..files import read_text
from ..tokenizer import BYTE_SYMBOLS, Tokenizer

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def student_config(name_or_path: str | os.PathLike[str]) -> EncoderConfig:
    """Return the shape of a student by a preset's name, or from the table ``[student]`` of a recipe.toml.

    Raises:
        LitetextError: an unknown name; a recipe that is missing, malformed or incomplete, naming the key.
    """
    name = os.fspath(name_or_path)
    if not name.endswith(".toml"):
        if name not in PRESETS or PRESETS[name].causal:
            raise choice_error(
                "student", name, (*(key for key, shape in PRESETS.items() if not shape.causal), "a .toml")
            )
        return replace(PRESETS[name], unused_projection=0)
    try:
        values = tomllib.loads(read_text(name, "a recipe.toml, as `litetext audit` writes one", 1 << 20))
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:  # ValueError: an integer of 4,301 digits
        if isinstance(error, LitetextError):
            raise
        raise LitetextError(f"{name} is not valid TOML ({short(str(error))[1:-1]})") from None
    if not isinstance(values.get("student"), dict):
        raise LitetextError(f"{name} has no table [student]; `litetext audit` writes one")
    return EncoderConfig.from_dict(values["student"], name, "student")


def fitted(config: EncoderConfig, *, output_dim: int, vocab_size: int, context_length: int) -> EncoderConfig:
    """Return ``config`` for a teacher's features: their width, a vocabulary, a context; padding masked everywhere."""
    return replace(
        config,
        output_dim=output_dim,
        vocab_size=vocab_size,
        position_rows=context_length,
        convention=Convention(context_length, 0, "everywhere", "slice"),
    )


def fresh_student(config: EncoderConfig, seed: int = 0) -> TextTransformer:
    """Return a student with weights drawn from ``seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(config)


@torch.no_grad()
def take_embedding(student: TextTransformer, table: Tensor) -> None:
    """Start the student's token embedding from the teacher's, through its principal components.

    The components that the student has room for are turned by a random rotation, so that every channel holds a like
    share of them, and scaled to the spread the student was drawn with. A wider student keeps its own draw beside them.

    Args:
        student: changed in place.
        table: [V, W] rows of the teacher's embedding, in the student's order.

    Raises:
        LitetextError: the number of rows is not the student's.
    """
    weight = student.token_embedding.weight
    if len(table) != len(weight):
        raise LitetextError(f"the teacher's embedding has {len(table)} rows for a student of {len(weight)}")
    centred = table.detach().to(weight.device).float()
    centred = centred - centred.mean(0)
    room = min(weight.shape[1], table.shape[1])
    _, axes = torch.linalg.eigh(centred.T @ centred)  # rising eigenvalues
    kept = centred @ axes[:, -room:]
    rotation, _ = torch.linalg.qr(torch.randn(room, room, generator=torch.Generator().manual_seed(0)))
    kept = kept @ rotation.to(kept)
    weight[:, :room] = kept * (weight.std() / kept.std())


def student_vocabulary(teacher: Tokenizer, prompts: Sequence[str], rows: int) -> Tokenizer:
    """Return the teacher's vocabulary cut to ``rows``, or to what every string needs if that is more.

    Raises:
        LitetextError: more rows than the teacher has.
    """
    if rows > teacher.vocab_size:
        raise LitetextError(
            f"the student asks for {rows} vocabulary rows, the teacher has {teacher.vocab_size}; "
            f"give vocab_size = {teacher.vocab_size} or fewer"
        )
    if rows == teacher.vocab_size:
        return teacher
    return teacher.prune_vocabulary(prompts, max(rows, BYTE_SYMBOLS + 2))


def load_student(
    name_or_path: str | os.PathLike[str],
    *,
    output_dim: int,
    context_length: int | None = None,
    seed: int = 0,
    allow_nan: bool = False,
) -> tuple[TextTransformer, Tokenizer]:
    """Start from trained weights: a litetext or SAM3 checkpoint of any layout, or a MobileCLIP's text encoder.

    MobileCLIP checkpoints (Apple's names or open_clip's) have no projector to SAM3's features: that one is drawn from
    ``seed``, and of their 77 position rows the first ``context_length`` (16) are kept. Their vocabulary is CLIP's.

    Args:
        name_or_path: the checkpoint, see `read_checkpoint`.
        output_dim: D, the numbers a token that the student is to give.
        context_length: tokens a prompt is padded to, where not the stored ones.
        seed: of a projector that is drawn.
        allow_nan: start from weights that are NaN or infinite too.

    Raises:
        LitetextError: no encoder in it, or one whose features have another width than ``output_dim``.
    """
    path = find_checkpoint(name_or_path)
    file = open_tensors(path)
    layout = _mobileclip_layout(file)
    if layout is None:
        checkpoint = read_checkpoint(name_or_path, context_length=context_length, allow_nan=allow_nan)
        if checkpoint.config.output_dim != output_dim:
            raise LitetextError(
                f"{name_or_path} gives {checkpoint.config.output_dim} numbers a token, the teacher {output_dim}"
            )
        return checkpoint.module(), checkpoint.tokenizer
    return _from_mobileclip(file, layout, output_dim, context_length or 16, seed), Tokenizer()


# Apple's names are those SAM3-LiteText's authors took over, under another prefix and without their projector.
_APPLE = replace(
    STUDENT,
    name="mobileclip",
    top={ours: theirs.replace("encoder.", "text_encoder.") for ours, theirs in STUDENT.top.items()},
    block_prefix="text_encoder.transformer.{i}.",
    scope=("text_encoder.", "projector."),
    shares_file=True,
)
_OPEN_CLIP = replace(
    TEACHER,
    name="open_clip",
    top={
        "token_embedding.weight": "text.token_embedding.weight",
        "position_embedding": "text.positional_embedding",
        "final_norm.": "text.ln_final.",
        "unused_projection": "text.text_projection",
        "projector.": "projector.",
    },
    block_prefix="text.transformer.resblocks.{i}.",
    scope=("text.", "projector."),
    shares_file=True,
    causal=False,
)


def _mobileclip_layout(file: TensorFile) -> Layout | None:
    for layout in (_APPLE, _OPEN_CLIP):
        if layout.top["token_embedding.weight"] in file:
            return layout
    return None


def _with_projector(file: TensorFile, projector: Mapping[str, Tensor]) -> TensorFile:
    """A MobileCLIP file as if it held a projector, which it does not, and without what is not the text encoder's."""
    own = {key: file.lazy(key) for key in file if key != "text.attn_mask"}
    return TensorFile(file.source, own | lazily(projector))


def _from_mobileclip(
    file: TensorFile, layout: Layout, output_dim: int, context_length: int, seed: int
) -> TextTransformer:
    width = file.shape(layout.top["token_embedding.weight"])[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        projector = torch.nn.Linear(width, output_dim)
    drawn = {f"projector.{name}": tensor.detach() for name, tensor in projector.state_dict().items()}
    source = _with_projector(file, drawn)
    found = layout.infer(source, "", None, file.source)
    layout.check(source, "", found, file.source)
    state = read_all(layout.read(source, "", found))
    if found.position_rows < context_length:
        raise LitetextError(
            f"{file.source} has {found.position_rows} position rows; --context {context_length} is more"
        )
    config = replace(
        fitted(found, output_dim=output_dim, vocab_size=found.vocab_size, context_length=context_length),
        unused_projection=0,
        causal=False,
    )
    del state["unused_projection"]
    state["position_embedding"] = state["position_embedding"][:context_length].clone()
    module = build(config)
    module.load_state_dict(
        {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    )
    return module.eval()


__all__ = [
    "fitted",
    "fresh_student",
    "load_student",
    "student_config",
    "student_vocabulary",
    "take_embedding",
]
