"""``--image-size N`` or ``auto:MS`` of the commands that know what they will ask."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import typer

from ..errors import LitetextError
from .output import notes

if TYPE_CHECKING:
    from ..segment import Segmenter

IMAGE_SIZE_OR_BUDGET: Any = typer.Option(
    None,
    "--image-size",
    metavar="N|auto:MS",
    help="Side that pictures are resized to, a multiple of the model's patch; as trained unless said. auto:500 is the "
    "largest at which an image takes 500 ms here.",
)


def chosen_image_size(
    given: str | None, load: Callable[[], Segmenter], prompts: Callable[[], Sequence[str]]
) -> int | None:
    """Return the size that ``--image-size`` names, or measure which one fits its budget and say so.

    Args:
        given: what the user gave.
        load: loads the segmenter in torch, at its own size, where sizes are to be measured.
        prompts: returns those that will be asked of an image, where sizes are to be measured.

    Raises:
        LitetextError: neither a number nor a budget, or a budget that no size fits.
    """
    if given is None:
        return None
    budget = time_budget(given)
    if budget is None:
        return int(given)
    from ..segment.time_budget import fit_image_size

    with notes.status("measuring image sizes"):
        fitted = fit_image_size(load(), budget, prompts())
    print(f"litetext: {fitted}", file=sys.stderr)
    return fitted.image_size


def time_budget(given: str) -> float | None:
    """Return the milliseconds of ``auto:MS``; None of a size in pixels.

    Raises:
        LitetextError: neither of both.
    """
    word, colon, milliseconds = given.partition(":")
    if word == "auto" and colon and milliseconds.replace(".", "", 1).isdecimal() and float(milliseconds) > 0:
        return float(milliseconds)
    if given.isdecimal() and int(given) > 0:
        return None
    raise LitetextError(
        f"--image-size takes a side in pixels, such as 672, or milliseconds that an image may take, such as auto:500; "
        f"got {given!r}"
    )
