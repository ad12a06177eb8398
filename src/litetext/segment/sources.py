"""Where a segmenter's parts are: a shipped name, a folder, a hub name.

litetext's own layout is a folder with ``segmenter/`` (a transformers SAM3 without text) and ``text/teacher/``
(an encoder); a transformers folder holds both in one checkpoint.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ..errors import LitetextError

SHIPPED = ("mini",)
"""Models that come inside the package."""

PUBLISHED = "Simon7108528/sam3-litetext-s0"
"""The published model to name where a user wants the real thing."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The two halves of a model on disk.

    Attributes:
        detector: folder of a transformers SAM3 model.
        text: what `litetext.encoders.load_encoder` is given when the caller names no encoder.
    """

    detector: Path
    text: Path


def locate(name_or_path: str | os.PathLike[str]) -> Parts:
    """Return where the parts of a model are, downloading it first if it is a hub name.

    Raises:
        LitetextError: an unknown name; a hub name that is gated, not there or out of reach.
    """
    path = Path(name_or_path)
    if path.is_dir():
        return _parts_of(path)
    name = os.fspath(name_or_path)
    if name in SHIPPED:
        return _parts_of(Path(str(resources.files("litetext.data"))) / name)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        return _parts_of(_download(name))
    raise LitetextError(
        f"unknown model {name!r}; give {', '.join(SHIPPED)}, a folder, or a hub name such as {PUBLISHED}"
    )


def _parts_of(folder: Path) -> Parts:
    if (folder / "segmenter").is_dir():
        return Parts(folder / "segmenter", folder / "text" / "teacher")
    return Parts(folder, folder)


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        # Weights as safetensors only: the authors' .pt beside them would double the download.
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.txt"]))
    except GatedRepoError:
        raise LitetextError(
            f"{name} is gated: ask for access at https://huggingface.co/{name}, then run: hf auth login"
        ) from None
    except RepositoryNotFoundError:
        raise LitetextError(
            f"{name} is neither a folder here nor a model on the Hugging Face hub that you may see; check the name"
        ) from None
    except HFValidationError as error:
        raise LitetextError(f"{name} is no valid hub name: {error}") from None
    except LocalEntryNotFoundError:
        raise LitetextError(
            f"{name} is not on this machine and the Hugging Face hub cannot be reached; "
            "connect to the network once, or give a local folder"
        ) from None
    except (HfHubHTTPError, OSError) as error:
        raise LitetextError(f"{name} cannot be downloaded: {error}") from None
