"""The published checkpoints: their names on the hub, what they are, their size and their terms."""

from __future__ import annotations

from dataclasses import dataclass

SAM = "SAM License"
"""Meta's terms for SAM3's weights, which are in every model made from it."""

_AUTHORS = f"Apache-2.0 and {SAM}"
_SEE_PAGE = f"see its page, and {SAM}"
_ZOO = "Simon7108528/EfficientSAM3"


@dataclass(frozen=True, slots=True)
class Published:
    """A checkpoint on the hub.

    Attributes:
        name: what commands take.
        holds: what it is.
        gigabytes: of its tensors, about what is to be fetched.
        licence: the terms that its page names, and those of what it was made from.
        gated: whether its terms must be accepted on its page before it can be fetched.
    """

    name: str
    holds: str
    gigabytes: float
    licence: str = _AUTHORS
    gated: bool = False


def _sam3() -> list[Published]:
    video = "SAM3 with its video tracker, in {} layout"
    return [
        Published("facebook/sam3", video.format("transformers'"), 3.44, SAM, gated=True),
        Published("facebook/sam3/sam3.pt", video.format("Meta's"), 3.45, SAM, gated=True),
        Published("facebook/sam3.1/sam3.1_multiplex.pt", "SAM 3.1 with its video tracker", 3.50, SAM, gated=True),
    ]


def _lite_text() -> list[Published]:
    """SAM3 and SAM 3.1 with a student in the text encoder's place."""
    ported = "SAM3-LiteText, in transformers' layout"
    sizes = {"s0": 2.12, "s1": 2.20, "l": 2.44}
    files = [
        ("SAM3", "sam3_litetext/sam3_litetext_mobileclip", {"_s0": 2.20, "_s1": 2.29, "2_l": 2.53}),
        ("SAM 3.1", "sam3p1_litetext/efficient_sam3p1_litetext_mobileclip", {"_s0": 2.26, "_s1": 2.34, "_l": 2.58}),
    ]
    return [
        *(Published(f"vil-uob/sam3-litetext-{size}", ported, gigabytes) for size, gigabytes in sizes.items()),
        Published("yonigozlan/sam3-litetext-s0", ported, 2.12, _SEE_PAGE),
        Published("Simon7108528/sam3-litetext-s0", ported, 2.12, _SEE_PAGE),
        *(
            Published(f"{_ZOO}/{file}{size}_ctx{context}.pt", f"{base}-LiteText, in its authors' layout", gigabytes)
            for base, file, students in files
            for size, gigabytes in students.items()
            for context in (16, 32)
        ),
    ]


def _efficient() -> list[Published]:
    """SAM3 and SAM 3.1 with a student in the image encoder's place too, and LiteText-S0 in the text encoder's."""
    tuned = "EfficientSAM3: small image encoder and LiteText-S0, fine-tuned; no example boxes"
    distilled = "EfficientSAM 3.1: small image encoder and LiteText-S0, distilled only"
    trunks = {
        "efficientvit": (0.36, {"s": 0.50, "m": 0.52, "l": 0.56}),
        "repvit": (0.37, {"s": 0.52, "m": 0.53, "l": 0.59}),
        "tinyvit": (0.38, {"s": 0.52, "m": 0.55, "l": 0.59}),
    }
    stage1 = f"{_ZOO}/stage1_sam3p1/efficient_sam3p1_{{}}_{{}}_mobileclip_s0_ctx16.pt"
    return [
        *(
            Published(f"{_ZOO}/efficientsam3_ft/efficientsam3_{trunk}.pt", tuned, gigabytes)
            for trunk, (gigabytes, _) in trunks.items()
        ),
        *(
            Published(stage1.format(trunk, size), distilled, gigabytes)
            for trunk, (_, sizes) in trunks.items()
            for size, gigabytes in sizes.items()
        ),
    ]


PUBLISHED_CHECKPOINTS = (*_sam3(), *_lite_text(), *_efficient())
"""Every published SAM3, SAM3-LiteText and EfficientSAM3 that is known by name."""
