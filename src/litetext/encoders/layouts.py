"""The same tensors under four names: how each published checkpoint spells an encoder.

Every layout is a table from our names to theirs. From a file's keys and shapes alone a layout finds the encoder in it
(anywhere in a full SAM3 checkpoint), infers its config, and checks that every tensor it must have is there with the
right shape and that nothing else lies beside it. Nothing loads "mostly".

Our names are `modules.TextTransformer`'s own; theirs differ in spelling, in trailing singleton dimensions (their
RepMixer works on [B, C, 1, L]), in transposed projections and in q, k, v standing apart (transformers).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from ..errors import LitetextError
from .config import AUTHORS, PRESETS, SAM3, TRANSFORMERS, Convention, EncoderConfig, own_context
from .safetensors_file import is_floating, itemsize
from .state_shapes import our_shapes
from .tensorfile import LazyTensor, TensorFile

if TYPE_CHECKING:
    from torch import Tensor


class Shapes(Protocol):
    """What a layout needs to know of a file: its keys, and the shape and dtype of each."""

    def __iter__(self) -> Iterator[str]: ...
    def __contains__(self, key: object) -> bool: ...

    def shape(self, key: str) -> tuple[int, ...]:
        """Return the shape of the tensor under ``key``."""
        ...

    def dtype(self, key: str) -> str:
        """Return the dtype of the tensor under ``key``, as safetensors calls it (``F32``)."""
        ...


@dataclass(frozen=True)
class Layout:
    """How one family of checkpoints spells an encoder.

    Attributes:
        name: as ``litetext info`` prints it.
        top: our name -> theirs, for the tensors outside the blocks.
        block_prefix: what stands before a block's names; ``{i}`` is its index.
        block, mixer: our prefix inside a block -> theirs (transformer block, RepMixer block).
        scope: the prefixes that belong to the text encoder in a file of this layout.
        shares_file: whether a bare prefix may hold other parts of SAM3 beside the encoder.
        causal: whether this layout is the teacher's.
        table_4d: whether the position table is [1, 1, R, W] rather than [R, W].
        transposed_projection: whether the unused projection stands as a linear's weight.
        split_qkv: whether q, k and v are three tensors.
    """

    name: str
    top: Mapping[str, str]
    block_prefix: str
    block: Mapping[str, str]
    mixer: Mapping[str, str] = field(default_factory=dict)
    scope: tuple[str, ...] = ("",)
    shares_file: bool = False
    causal: bool = False
    table_4d: bool = False
    transposed_projection: bool = False
    split_qkv: bool = False
    convention: Convention = AUTHORS

    def find(self, keys: Shapes) -> list[str]:
        """Return every prefix under which a file holds an encoder of this layout."""
        tail = self.top["token_embedding.weight"]
        heads = [key[: -len(tail)] for key in keys if key.endswith(tail)]
        return [head for head in heads if head == "" or head.endswith(".")]

    def infer(self, file: Shapes, prefix: str, heads: int | None, source: str) -> EncoderConfig:
        """Read the encoder's config off the shapes; the number of heads is width / 64 unless given."""

        def shape(ours: str, dimensions: int, mixer: bool = False) -> tuple[int, ...]:
            key = prefix + self.their_name(ours, mixer)
            if key not in file:
                raise LitetextError(f"{source}: key {key!r} is missing ({self.name} layout)")
            if len(file.shape(key)) != dimensions:
                raise LitetextError(f"{source}: {key!r} has shape {file.shape(key)}, expected {dimensions} dimensions")
            return file.shape(key)

        vocabulary, width = shape("token_embedding.weight", 2)
        table = shape("position_embedding", 4 if self.table_4d else 2)
        layers = self._count_layers(file, prefix, source)
        mixes = bool(self.mixer) and prefix + self.their_name("layers.0.scale", mixer=True) in file
        if mixes:
            ffn = shape("layers.0.ffn.up.bias", 1, mixer=True)[0]
            kernel = shape("layers.0.mixer.conv.weight", 4 if self.table_4d else 3, mixer=True)[-1]
        else:
            ffn, kernel = shape("layers.0.ffn.up.bias", 1)[0], 11
        unused = 0
        if prefix + self.their_name("unused_projection") in file:
            unused = shape("unused_projection", 2)[0 if self.transposed_projection else 1]
        if heads is None and width % 64:
            raise LitetextError(
                f"{source}: width {width} is not a multiple of 64, so the number of heads is unknown; give it (--heads)"
            )
        output_dim = shape("projector.bias", 1)[0]
        try:
            config = EncoderConfig(
                variant="custom",
                width=width,
                heads=heads or width // 64,
                ffn=ffn,
                layers=layers,
                repmixer=mixes,
                causal=self.causal,
                vocab_size=vocabulary,
                position_rows=table[-2],
                output_dim=output_dim,
                unused_projection=unused,
                repmixer_kernel=kernel,
                convention=_default_convention(self.convention, table[-2], vocabulary),
            )
        except LitetextError as error:
            raise LitetextError(f"{source}: {error}") from None
        return replace(config, variant=variant_of(config))

    def check(self, file: Shapes, prefix: str, config: EncoderConfig, source: str) -> None:
        """Raise unless the file holds every tensor of ``config`` in its right shape, and nothing beside it."""
        expected = {prefix + name: shape for name, shape in self.expected(config)}
        check_tensors(file, expected, self.name, source)
        unexpected = [key for key in file if self._in_scope(key, prefix) and key not in expected]
        if unexpected:
            raise LitetextError(f"{source}: unexpected key {unexpected[0]!r} beside the encoder ({self.name} layout)")

    def read(self, file: TensorFile, prefix: str, config: EncoderConfig) -> dict[str, LazyTensor]:
        """Return the encoder's tensors under our names and shapes, dtypes as stored, to be read later."""
        ours = {}
        for name, shape in our_shapes(config):
            parts = [file.lazy(prefix + key) for key in self._their_keys(name, config)]
            dtype = max((part.dtype for part in parts), key=itemsize)  # as torch joins parts of several
            ours[name] = LazyTensor(shape, dtype, partial(_joined, parts, shape, self._is_transposed(name)))
        return ours

    def write(self, ours: Mapping[str, LazyTensor], config: EncoderConfig) -> dict[str, LazyTensor]:
        """Return the encoder's tensors under this layout's names and shapes (no prefix), dtypes kept."""
        theirs = {}
        for name, shape in our_shapes(config):
            keys, tensor = self._their_keys(name, config), ours[name]
            their_shape = self._their_shape(name, shape, config)
            for row, key in enumerate(keys):
                read = partial(_part, tensor, row, len(keys), their_shape, self._is_transposed(name))
                theirs[key] = LazyTensor(their_shape, tensor.dtype, read)
        return theirs

    def _is_transposed(self, ours: str) -> bool:
        return ours == "unused_projection" and self.transposed_projection

    def expected(self, config: EncoderConfig) -> list[tuple[str, tuple[int, ...]]]:
        """Return every key (no prefix) and shape that a file of this layout has for ``config``."""
        return [
            (key, self._their_shape(name, shape, config))
            for name, shape in our_shapes(config)
            for key in self._their_keys(name, config)
        ]

    def their_name(self, ours: str, mixer: bool = False) -> str:
        """Return this layout's spelling of one of our names (``mixer``: inside a RepMixer block)."""
        match = re.fullmatch(r"layers\.(\d+)\.(.+)", ours)
        if match is None:
            return _renamed(ours, self.top)
        return self.block_prefix.format(i=match[1]) + _renamed(match[2], self.mixer if mixer else self.block)

    def _their_keys(self, ours: str, config: EncoderConfig) -> list[str]:
        name = self.their_name(ours, _is_mixer(ours, config))
        return [name.replace("{qkv}", part) for part in "qkv"] if "{qkv}" in name else [name]

    def _their_shape(self, ours: str, shape: tuple[int, ...], config: EncoderConfig) -> tuple[int, ...]:
        if ours == "position_embedding" and self.table_4d:
            return (1, 1, *shape)
        if self._is_transposed(ours):
            return shape[::-1]
        if ".attention.qkv." in ours and self.split_qkv:
            return (shape[0] // 3, *shape[1:])
        if not _is_mixer(ours, config):
            return shape
        if ours.endswith("scale") or re.search(r"ffn\.(up|down)\.weight$", ours):
            return (*shape, 1, 1)
        if ours.endswith("conv.weight"):
            return (shape[0], shape[1], 1, shape[2])
        return shape

    def _count_layers(self, file: Shapes, prefix: str, source: str) -> int:
        pattern = re.compile(re.escape(prefix + self.block_prefix).replace(r"\{i\}", r"(\d{1,4})"))
        found = {int(match[1]) for key in file if (match := pattern.match(key))}
        if found != set(range(len(found))) or not found:
            raise LitetextError(f"{source}: the blocks {sorted(found)} are not numbered 0, 1, 2 … ({self.name} layout)")
        return len(found)

    def _in_scope(self, key: str, prefix: str) -> bool:
        if prefix == "" and not self.shares_file:
            return True
        return any(key.startswith(prefix + part) for part in self.scope)


_TRANSFORMERS_BLOCK = {
    "norm1.": "layer_norm1.",
    "attention.qkv.": "self_attn.{qkv}_proj.",
    "attention.out.": "self_attn.out_proj.",
    "norm2.": "layer_norm2.",
    "ffn.up.": "mlp.fc1.",
    "ffn.down.": "mlp.fc2.",
}

STUDENT = Layout(
    name="authors",
    top={
        "token_embedding.weight": "encoder.embedding_layer.weight",
        "position_embedding": "encoder.positional_embedding.pos_embed.pos_embed",
        "final_norm.": "encoder.final_layer_norm.",
        "unused_projection": "encoder.projection_layer",
        "projector.": "projector.",
    },
    block_prefix="encoder.transformer.{i}.",
    block={
        "norm1.": "pre_norm_mha.0.",
        "attention.qkv.": "pre_norm_mha.1.qkv_proj.",
        "attention.out.": "pre_norm_mha.1.out_proj.",
        "norm2.": "pre_norm_ffn.0.",
        "ffn.up.": "pre_norm_ffn.1.",
        "ffn.down.": "pre_norm_ffn.4.",
    },
    mixer={
        "mixer.norm.": "token_mixer.norm.rbr_skip.",
        "mixer.skip.": "token_mixer.mixer.rbr_skip.",
        "mixer.conv.": "token_mixer.mixer.rbr_conv.0.conv.",
        "mixer.conv_norm.": "token_mixer.mixer.rbr_conv.0.bn.",
        "mixer.scale": "token_mixer.layer_scale",
        "ffn.conv.": "convffn.conv.conv.",
        "ffn.conv_norm.": "convffn.conv.bn.",
        "ffn.up.": "convffn.fc1.",
        "ffn.down.": "convffn.fc2.",
        "scale": "layer_scale",
    },
    table_4d=True,
)

TEACHER = Layout(
    name="sam3",
    top={
        "token_embedding.weight": "encoder.token_embedding.weight",
        "position_embedding": "encoder.positional_embedding",
        "final_norm.": "encoder.ln_final.",
        "unused_projection": "encoder.text_projection",
        "projector.": "resizer.",
    },
    block_prefix="encoder.transformer.resblocks.{i}.",
    block={
        "norm1.": "ln_1.",
        "attention.qkv.": "attn.in_proj_",
        "attention.out.": "attn.out_proj.",
        "norm2.": "ln_2.",
        "ffn.up.": "mlp.c_fc.",
        "ffn.down.": "mlp.c_proj.",
    },
    causal=True,
    convention=SAM3,
)

TRANSFORMERS_STUDENT = Layout(
    name="transformers-litetext",
    top={
        "token_embedding.weight": "text_encoder.embeddings.token_embedding.weight",
        "position_embedding": "text_encoder.embeddings.position_embedding.position_embedding",
        "final_norm.": "text_encoder.final_layer_norm.",
        "unused_projection": "text_encoder.projection.weight",
        "projector.": "text_projection.",
    },
    block_prefix="text_encoder.layers.{i}.",
    block=_TRANSFORMERS_BLOCK,
    mixer={
        "mixer.norm.": "token_mixer.reference_batchnorm.",
        "mixer.skip.": "token_mixer.mixer.batchnorm_skip.",
        "mixer.conv.": "token_mixer.mixer.conv.",
        "mixer.conv_norm.": "token_mixer.mixer.batchnorm_conv.",
        "mixer.scale": "token_mixer.layer_scale",
        "ffn.conv.": "conv_feed_forward.depthwise_conv.",
        "ffn.conv_norm.": "conv_feed_forward.depthwise_batchnorm.",
        "ffn.up.": "conv_feed_forward.mlp.fc1.",
        "ffn.down.": "conv_feed_forward.mlp.fc2.",
        "scale": "layer_scale",
    },
    scope=("text_encoder.", "text_projection."),
    shares_file=True,
    table_4d=True,
    transposed_projection=True,
    split_qkv=True,
    convention=TRANSFORMERS,
)

TRANSFORMERS_TEACHER = Layout(
    name="transformers-sam3",
    top={
        "token_embedding.weight": "text_encoder.text_model.embeddings.token_embedding.weight",
        "position_embedding": "text_encoder.text_model.embeddings.position_embedding.weight",
        "final_norm.": "text_encoder.text_model.final_layer_norm.",
        "unused_projection": "text_encoder.text_projection.weight",
        "projector.": "text_projection.",
    },
    block_prefix="text_encoder.text_model.encoder.layers.{i}.",
    block=_TRANSFORMERS_BLOCK,
    scope=("text_encoder.", "text_projection."),
    shares_file=True,
    causal=True,
    transposed_projection=True,
    split_qkv=True,
    convention=replace(TRANSFORMERS, positions="slice"),
)

FOREIGN_LAYOUTS = (STUDENT, TEACHER, TRANSFORMERS_STUDENT, TRANSFORMERS_TEACHER)

FULL_CHECKPOINT_PREFIX = "detector.backbone.language_backbone."
"""Where the authors' and Meta's full SAM3 files keep the text encoder."""


def find_layout(file: Shapes, source: str) -> tuple[Layout, str]:
    """Return the one layout, and the prefix, under which ``file`` holds a text encoder."""
    found = [(layout, prefix) for layout in FOREIGN_LAYOUTS for prefix in layout.find(file)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise LitetextError(
            f"{source}: no text encoder in it; a key ending in one of these was looked for: "
            + ", ".join(layout.top["token_embedding.weight"] for layout in FOREIGN_LAYOUTS)
        )
    places = ", ".join(repr(prefix + layout.top["token_embedding.weight"]) for layout, prefix in found)
    raise LitetextError(f"{source}: more than one text encoder in it ({places}); give a file that holds one")


def check_tensors(file: Shapes, expected: Mapping[str, tuple[int, ...]], layout: str, source: str) -> None:
    """Raise unless the file holds every tensor that is expected, in its shape and as floating-point numbers."""
    for key, shape in expected.items():
        if key not in file:
            raise LitetextError(f"{source}: key {key!r} is missing ({layout} layout)")
        if file.shape(key) != shape:
            raise LitetextError(f"{source}: key {key!r} has shape {file.shape(key)}, expected {shape}")
        counts = key.endswith("num_batches_tracked")  # BatchNorm's, which nothing reads
        if is_floating(file.dtype(key)) == counts:
            wanted = "whole" if counts else "floating-point"
            raise LitetextError(f"{source}: key {key!r} is stored as {file.dtype(key)}, expected {wanted} numbers")


def variant_of(config: EncoderConfig) -> str:
    """Return the preset that has this config's blocks, or ``custom``."""
    shape = ("width", "heads", "ffn", "layers", "repmixer", "causal")
    for name, known in PRESETS.items():
        if all(getattr(known, key) == getattr(config, key) for key in shape):
            return name
    return "custom"


def _default_convention(convention: Convention, rows: int, vocabulary: int) -> Convention:
    """The source's convention at the context that the position table says, its pad id within the vocabulary."""
    return replace(
        convention, context_length=own_context(convention, rows), pad_id=min(convention.pad_id, vocabulary - 1)
    )


def _joined(parts: Sequence[LazyTensor], shape: tuple[int, ...], transposed: bool) -> Tensor:
    """Our tensor of one of theirs, or of several one above the other."""
    import torch

    tensor = parts[0].read() if len(parts) == 1 else torch.cat([part.read() for part in parts])
    return (tensor.t() if transposed else tensor).reshape(shape).contiguous()


def _part(ours: LazyTensor, row: int, count: int, shape: tuple[int, ...], transposed: bool) -> Tensor:
    """Their tensor of ours, of which it may be one part of several."""
    tensor = ours.read().t() if transposed else ours.read()
    return (tensor.chunk(count)[row] if count > 1 else tensor).reshape(shape).contiguous()


def _is_mixer(ours: str, config: EncoderConfig) -> bool:
    match = re.match(r"layers\.(\d+)\.", ours)
    return match is not None and int(match[1]) in config.repmixer_layers()


def _renamed(name: str, table: Mapping[str, str]) -> str:
    for ours, theirs in table.items():
        if name.startswith(ours):
            return theirs + name[len(ours) :]
    raise KeyError(name)
