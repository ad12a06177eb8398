"""What a detector's weights expect of the code around them: where Meta's SAM3 and transformers' port part.

The same weights give other boxes, scores and masks under another convention: on full-size weights boxes move by up to
23 pixels. So the convention is stored with the weights, under `KEY` in their ``config.json``. Where nothing is stored
it is `META`: every published SAM3 was trained under it, whatever its layout, and published figures come from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any, Literal, TypeAlias, get_args

from ..errors import LitetextError, choice_error, short

KEY = "detector_convention"
"""Where ``config.json`` holds it: the name of one of `CONVENTIONS`, or all fields of a `DetectorConvention`."""

ClsToken = Literal["always", "with boxes", "never"]
MaskResampling = Literal["logits", "probabilities"]


@dataclass(frozen=True, slots=True)
class DetectorConvention:
    """How a detector is run.

    Attributes:
        name: what messages and tables call it.
        cls_token: when the geometry encoder's CLS token stands behind the prompt's text: ``always``; only
            ``with boxes``, behind their tokens; or ``never``, of a detector without a geometry encoder.
        vit_layer_norm_eps: of the ViT's LayerNorms; None: what the model's configuration says.
        mask_resampling: what is resized to the image's size before it is cut at a half: ``logits`` or
            ``probabilities``.
        suppression: of an image's detections of one prompt, those of whose mask more than this share lies inside a
            better one are dropped; None: all stay, as in SAM3. A video tracker has a rule of its own.
    """

    name: str
    cls_token: ClsToken
    vit_layer_norm_eps: float | None
    mask_resampling: MaskResampling
    suppression: float | None = None

    def __post_init__(self) -> None:
        if self.cls_token not in get_args(ClsToken):
            raise choice_error("cls_token", self.cls_token, get_args(ClsToken))
        if not isinstance(self.vit_layer_norm_eps, float | None):
            raise LitetextError(f"vit_layer_norm_eps must be a number or null, got {short(self.vit_layer_norm_eps)}")
        if self.mask_resampling not in get_args(MaskResampling):
            raise choice_error("mask_resampling", self.mask_resampling, get_args(MaskResampling))
        if self.suppression is not None and not (
            isinstance(self.suppression, int | float) and 0 < self.suppression <= 1
        ):
            raise LitetextError(f"suppression must be a share above 0, or null, got {short(self.suppression)}")

    @property
    def takes_boxes(self) -> bool:
        """Whether the detector has a geometry encoder, and so can be shown example boxes."""
        return self.cls_token != "never"

    def without_geometry(self) -> DetectorConvention:
        """Return the same for a detector without a geometry encoder."""
        return replace(self, name=f"{self.name}, text alone", cls_token="never") if self.takes_boxes else self

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values, as `convention_of` reads them."""
        return asdict(self)


META = DetectorConvention("meta", "always", 1e-5, "logits")
"""How Meta runs SAM3, and its authors SAM3-LiteText."""

TRANSFORMERS = DetectorConvention("transformers", "with boxes", None, "probabilities")
"""How transformers' port runs it."""

CONVENTIONS = {convention.name: convention for convention in (META, TRANSFORMERS)}
"""What ``--as`` and a ``config.json`` may name."""

ConventionLike: TypeAlias = "DetectorConvention | str"
"""A convention, or the name of one of `CONVENTIONS`."""


def named_convention(convention: ConventionLike) -> DetectorConvention:
    """Return a convention by its name.

    Raises:
        LitetextError: an unknown name.
    """
    if isinstance(convention, DetectorConvention):
        return convention
    if convention not in CONVENTIONS:
        raise choice_error("detector convention", convention, tuple(CONVENTIONS))
    return CONVENTIONS[convention]


def convention_of(stored: Any, source: str) -> DetectorConvention:
    """Return the convention that a ``config.json`` holds under `KEY`, `META` where it holds none.

    Args:
        stored: the value there, or None.
        source: the file, for messages.

    Raises:
        LitetextError: an unknown name, or fields that are missing, unknown or of another value.
    """
    if stored is None:
        return META
    try:
        if isinstance(stored, str):
            return named_convention(stored)
        needed = [field.name for field in fields(DetectorConvention) if field.default is MISSING]
        if not isinstance(stored, Mapping) or not set(needed) <= set(stored) <= {*needed, "suppression"}:
            names = ", ".join(needed)
            raise LitetextError(f"give {' or '.join(CONVENTIONS)}, or the fields {names} and, if you will, suppression")
        return DetectorConvention(**stored)
    except LitetextError as error:
        raise LitetextError(f"{source}: {KEY}: {error}") from None
