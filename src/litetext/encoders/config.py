"""What an encoder is made of, under which convention it runs, and the presets by name.

The **convention** is part of the model: the same weights give other features under another padding rule (on
random S1 weights the token cosine between the authors' convention and transformers' is 0.35). So it is stored with the
weights, never guessed by the code that runs them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from ..errors import LitetextError, choice_error
from ..tokenizer import Tokenizer
from ..validation import check_ranges, from_values, ranged

MaskPadding = Literal["none", "attention", "everywhere"]
Positions = Literal["slice", "interpolate"]

LONGEST_CONTEXT = 4096
"""The most tokens a prompt, and rows a position table, can have; published encoders have 16, 32 and 77."""

MOST_PARAMETERS = 4_000_000_000
"""Of an encoder; SAM3's has 354 million."""


@dataclass(frozen=True, slots=True)
class Convention:
    """How prompts are laid out for an encoder, and what its layers see of the padding.

    Attributes:
        context_length: tokens a prompt, SOT and EOT included; longer prompts are cut, EOT put last.
        pad_id: the id that fills the rest.
        mask_padding: ``none``: padding is read like any token (the authors' students) or lies behind a causal mask
            (the teacher), and the mask handed on is ``id == pad_id``; ``attention``: attention cannot see it
            (transformers' port); ``everywhere``: neither attention nor convolution can, so a prompt's features do
            not depend on its padding. In the last two the mask handed on begins after the first EOT.
        positions: how a position table with another number of rows than the context is read: its first rows
            (``slice``) or all of them, resized bilinearly (``interpolate``).
    """

    context_length: int = ranged(2, LONGEST_CONTEXT, 16)
    pad_id: int = ranged(0, 10**6, 0)
    mask_padding: MaskPadding = "none"
    positions: Positions = "slice"

    def __post_init__(self) -> None:
        check_ranges(self)


AUTHORS = Convention(16, 0, "none", "slice")
"""How SAM3-LiteText's authors run their students."""

SAM3 = Convention(32, 0, "none", "slice")
"""How Meta runs the teacher."""

LONGEST_TRAINED = 32
"""The longest context that a published encoder of SAM3 was trained at; a longer table is CLIP's, of 77 rows."""

TRANSFORMERS = Convention(32, 49407, "attention", "interpolate")
"""How transformers' processor and model run either: padded to 32 with EOT under an attention mask."""


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """The shape of a text encoder. Dimensions are numbers of channels; ``layers`` counts RepMixer blocks too.

    Attributes:
        variant: a preset's name, or a name of your own.
        vocab_size: rows of the token embedding.
        width, heads, ffn: channels, attention heads, hidden channels of the feed-forward.
        layers: blocks in all; with ``repmixer`` the first and the last are RepMixer blocks.
        causal: attention sees only earlier tokens (the teacher).
        position_rows: rows of the position table in the file.
        output_dim: D of the features (256 for SAM3).
        unused_projection: columns of the projection matrix that published files carry and nothing reads; 0 for none.
        convention: see `Convention`.
    """

    variant: str
    width: int = ranged(1, 16_384)
    heads: int = ranged(1, 1_024)
    ffn: int = ranged(1, 65_536)
    layers: int = ranged(1, 256)
    repmixer: bool = False
    causal: bool = False
    vocab_size: int = ranged(1, 10**6, 49_408)
    position_rows: int = ranged(1, LONGEST_CONTEXT, 16)
    output_dim: int = ranged(1, 16_384, 256)
    unused_projection: int = ranged(0, 16_384, 0)
    repmixer_kernel: int = ranged(1, 255, 11)
    convention: Convention = AUTHORS

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.width % self.heads:
            raise LitetextError(f"width {self.width} is not divisible by heads {self.heads}; give --heads a divisor")
        if self.repmixer and self.layers < 2:
            raise LitetextError(
                f"a RepMixer encoder needs 2 layers or more (the first and the last), got {self.layers}"
            )
        if self.repmixer_kernel % 2 == 0:
            raise LitetextError(f"repmixer_kernel is {self.repmixer_kernel}, where an odd number should stand")
        if self.convention.pad_id >= self.vocab_size:
            raise LitetextError(f"pad_id {self.convention.pad_id} is outside the {self.vocab_size} rows of vocab_size")
        if self.parameters() > MOST_PARAMETERS:
            raise LitetextError(
                f"these sizes make an encoder of {self.parameters():,} parameters, more than {MOST_PARAMETERS:,}; "
                "give smaller ones"
            )
        if self.convention.positions == "slice" and self.convention.context_length > self.position_rows:
            raise LitetextError(
                f"context_length {self.convention.context_length} is longer than the position table "
                f"({self.position_rows} rows); use --context {self.position_rows} or --positions interpolate"
            )

    def table_is_cut(self) -> bool:
        """Whether the position table is longer than any context the encoder was trained at, and so not all read."""
        return not self.causal and self.position_rows > LONGEST_TRAINED

    def with_convention(self, **changes: Any) -> EncoderConfig:
        """Return the same encoder under a convention with some fields changed."""
        return replace(self, convention=replace(self.convention, **changes))

    def repmixer_layers(self) -> frozenset[int]:
        """The indices of the RepMixer blocks."""
        return frozenset({0, self.layers - 1}) if self.repmixer else frozenset()

    def parameters(self) -> int:
        """Parameters as published: every tensor in the file but BatchNorm's running statistics."""
        return self.live_parameters() + self.width * self.unused_projection

    def live_parameters(self) -> int:
        """Parameters that the output depends on: without the projection that nothing reads (unfolded)."""
        norm = 2 * self.width
        ffn = 2 * self.width * self.ffn + self.ffn + self.width
        attention = 4 * self.width * self.width + 4 * self.width
        # depthwise kernels of the token mixer and of the feed-forward, four BatchNorms, two layer scales
        repmixer = 2 * self.repmixer_kernel * self.width + 4 * norm + 2 * self.width + ffn
        mixers = len(self.repmixer_layers())
        return (
            self.vocab_size * self.width
            + self.position_rows * self.width
            + mixers * repmixer
            + (self.layers - mixers) * (2 * norm + attention + ffn)
            + norm
            + self.width * self.output_dim
            + self.output_dim
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the config as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any, source: str = "config.json", place: str = "") -> EncoderConfig:
        """Read what `to_dict` wrote; unknown, missing and unfit keys are an error that names them and ``source``."""
        return from_values(cls, values, source, place)


PRESETS: dict[str, EncoderConfig] = {
    "teacher": EncoderConfig(
        "teacher", 1024, 16, 4096, 24, causal=True, position_rows=32, unused_projection=512, convention=SAM3
    ),
    "s0": EncoderConfig("s0", 512, 8, 2048, 6, repmixer=True, unused_projection=512),
    "s1": EncoderConfig("s1", 512, 8, 2048, 12, unused_projection=512),
    "l": EncoderConfig("l", 768, 12, 3072, 12, unused_projection=768),
    # smaller than anything published: RepMixer's shape at widths that a microcontroller-class device can hold
    "xs": EncoderConfig("xs", 256, 4, 1024, 4, repmixer=True),
    "xxs": EncoderConfig("xxs", 128, 2, 512, 4, repmixer=True),
}


def check_student_context(student: EncoderConfig, teacher: EncoderConfig) -> None:
    """Refuse a student that reads longer prompts than the teacher it learns from."""
    longest = teacher.convention.context_length
    if student.convention.context_length > longest:
        raise LitetextError(
            f"a context of {student.convention.context_length} is longer than the teacher's {longest}; "
            f"give --context {longest} or less"
        )


def own_context(convention: Convention, rows: int) -> int:
    """Return the context of an encoder whose file has ``rows`` position rows and says no more.

    A table that is sliced was trained as long as it is, unless it is CLIP's 77, of which the convention reads a part.
    """
    if convention.positions == "slice" and rows <= LONGEST_TRAINED:
        return rows
    return convention.context_length


def preset(name: str) -> EncoderConfig:
    """Return a preset's config by name; an unknown name is an error that lists the names."""
    if name not in PRESETS:
        raise choice_error("encoder preset", name, tuple(PRESETS))
    return PRESETS[name]


def tokenizer_of(kept: Any, config: EncoderConfig, source: str) -> Tokenizer:
    """Return the tokenizer of a config's ``vocabulary``, which must have as many rows as the embedding."""
    try:
        tokenizer = Tokenizer(kept)
    except LitetextError as error:
        raise LitetextError(f"{source}: key 'vocabulary': {error}") from None
    if config.vocab_size != tokenizer.vocab_size:
        raise LitetextError(
            f"{source}: the embedding has {config.vocab_size} rows, its vocabulary {tokenizer.vocab_size}"
        )
    return tokenizer
