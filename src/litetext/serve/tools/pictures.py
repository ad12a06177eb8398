"""Images in JSON: as base64 text, with or without the head of a data URI."""

from __future__ import annotations

import base64
import binascii

from ..refusals import RefusalError


def picture_of(text: str) -> bytes:
    """Return the bytes of an image that JSON holds.

    Raises:
        RefusalError: the text is no base64.
    """
    head, comma, rest = text.partition(",")
    content = rest if comma and head.startswith("data:") else text
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise RefusalError(422, "the image is no base64 text; send the file's bytes, as a data URI or plain") from None
