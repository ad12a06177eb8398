"""What an encoder is made of, under which convention it runs, and the presets by name.

The **convention** is part of the model: the same weights give other features under another padding rule (on
random S1 weights the token cosine between the authors' convention and transformers' is 0.35). So it is stored with the
weights, never guessed by the code that runs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from ..errors import LitetextError, choice_error

MaskPadding = Literal["none", "attention", "everywhere"]
Positions = Literal["slice", "interpolate"]


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

    context_length: int = 16
    pad_id: int = 0
    mask_padding: MaskPadding = "none"
    positions: Positions = "slice"

    def __post_init__(self) -> None:
        if self.context_length < 2:
            raise LitetextError(f"context_length must be 2 or more, got {self.context_length}")
        if self.mask_padding not in get_args(MaskPadding):
            raise choice_error("mask_padding", self.mask_padding, get_args(MaskPadding))
        if self.positions not in get_args(Positions):
            raise choice_error("positions", self.positions, get_args(Positions))


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
    width: int
    heads: int
    ffn: int
    layers: int
    repmixer: bool = False
    causal: bool = False
    vocab_size: int = 49408
    position_rows: int = 16
    output_dim: int = 256
    unused_projection: int = 0
    repmixer_kernel: int = 11
    convention: Convention = AUTHORS

    def __post_init__(self) -> None:
        for name in ("width", "heads", "ffn", "layers", "vocab_size", "position_rows", "output_dim"):
            if getattr(self, name) < 1:
                raise LitetextError(f"encoder {name} must be 1 or more, got {getattr(self, name)}")
        if self.width % self.heads:
            raise LitetextError(f"width {self.width} is not divisible by heads {self.heads}; give --heads a divisor")
        if self.repmixer and self.layers < 2:
            raise LitetextError(
                f"a RepMixer encoder needs 2 layers or more (the first and the last), got {self.layers}"
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
    def from_dict(cls, values: Mapping[str, Any], source: str = "config.json") -> EncoderConfig:
        """Read what `to_dict` wrote; unknown or missing keys are an error that names them and ``source``."""
        values = dict(values)
        convention = values.pop("convention", {})
        for given, known in ((values, cls), (convention, Convention)):
            unknown = set(given) - {field.name for field in fields(known)}
            if unknown:
                raise LitetextError(f"{source}: unknown key {sorted(unknown)[0]!r} in the encoder's config")
        try:
            return cls(**values, convention=Convention(**convention))
        except TypeError as error:
            raise LitetextError(f"{source}: the encoder's config is incomplete ({error})") from None


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
