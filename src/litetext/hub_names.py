"""Names on the Hugging Face hub, as people write and copy them, taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

_TYPES = {"models": "model", "datasets": "dataset", "spaces": "space", "kernels": "kernel", "buckets": "bucket"}
_TYPE = rf"(?:(?P<type>{'|'.join(_TYPES)})/)?"
_REPOSITORY = rf"(?P<id>(?!(?:{'|'.join(_TYPES)})[/@])[^/@\s]+/[^/@\s]+)"
_REVISION = r"(?P<revision>refs/(?:pr/\d+|convert/[\w.-]+)(?=/|$)|[^/]+)"
_NAME = re.compile(rf"{_TYPE}{_REPOSITORY}(?:@{_REVISION})?(?:/(?P<path>[^/].*))?")
_PAGE = re.compile(
    rf"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/{_TYPE}{_REPOSITORY}"
    rf"(?:/(?:blame|blob|raw|resolve|tree)/{_REVISION}(?:/(?P<path>[^/].*))?)?/?"
)


@dataclass(frozen=True, slots=True)
class HubName:
    """What a name on the hub names.

    Attributes:
        type: model, dataset, space, kernel or bucket.
        id: of the repository, ``owner/name``.
        revision: a branch, tag, commit or ``refs/pr/N``; None: the newest.
        path_in_repo: of a file or folder in it; empty for the repository itself.
    """

    type: str
    id: str
    revision: str | None = None
    path_in_repo: str = ""


def parse_hub_name(text: str) -> HubName | None:
    """Return what a name names: ``[TYPE/]owner/name[@revision][/path]``, with ``hf://`` or without, or a page's link.

    Returns:
        None if it is no such name: its form says nothing of whether there is such a repository.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    is_link = text.startswith(("http://", "https://"))
    if is_link:
        found = _PAGE.fullmatch(re.split(r"[?#]", text)[0])
    else:
        found = _NAME.fullmatch(text.removeprefix("hf://").rstrip("/"))
    if found is None or "//" in (found["path"] or ""):
        return None
    try:
        validate_repo_id(found["id"])
    except HFValidationError:
        return None
    path = found["path"] or ""
    return HubName(
        type=_TYPES[found["type"] or "models"],
        id=found["id"],
        revision=None if found["revision"] is None else unquote(found["revision"]),
        path_in_repo=(unquote(path) if is_link else path).strip("/"),
    )
