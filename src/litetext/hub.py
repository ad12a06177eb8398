"""From a name to files: a path on disk, or a repository on the Hugging Face hub, fetched once and cached."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .errors import LitetextError

MODEL_FILES = ("*.json", "*.safetensors", "*.pt", "*.txt")


def local_path(name_or_path: str | os.PathLike[str], patterns: Sequence[str] = MODEL_FILES) -> Path:
    """Return the file or folder that ``name_or_path`` names; ``owner/name`` is fetched from the hub.

    Args:
        name_or_path: a path that exists, or a hub repository's name.
        patterns: which of the repository's files to fetch.

    Raises:
        LitetextError: nothing of that name on disk, no such repository, a gated one, or no network.
    """
    path = Path(name_or_path)
    if path.exists():
        return path
    name = str(name_or_path)
    if (
        name.count("/") != 1
        or name.startswith((".", "/", "~"))
        or name.endswith("/")
        or path.suffix in (".pt", ".safetensors")
    ):
        raise LitetextError(f"{name}: no such file or folder, and not a hub name of the form owner/name")
    return _fetched(name, patterns)


def _fetched(name: str, patterns: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns)))
    except GatedRepoError:
        raise LitetextError(
            f"{name} is gated: accept its licence on its hub page, then log in with: hf auth login"
        ) from None
    except RepositoryNotFoundError:
        raise LitetextError(
            f"{name}: no such path here and no such repository on the hub; check the spelling"
        ) from None
    except HFValidationError:
        raise LitetextError(f"{name}: no such path here and not a valid hub name (owner/name)") from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError):
        raise LitetextError(
            f"{name} is not on this machine and the hub cannot be reached; "
            "check the network, or give the path of a folder that holds it"
        ) from None
