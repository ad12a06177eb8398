"""PyTorch's own files, read without running what they hold."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import LitetextError
from .files import checked_file

if TYPE_CHECKING:
    import torch


def read_pickle(path: Path, device: str | torch.device = "cpu") -> Any:
    """Return what a file that ``torch.save`` wrote holds; on the CPU, tensors are mapped into memory where they can be.

    Raises:
        LitetextError: it is missing or damaged, would unpack to more than it is, or holds anything but tensors and
            plain containers, which the message names.
    """
    import torch

    checked_file(path, "a file that torch.save wrote")
    try:
        zipped = is_archive(path)
        if zipped:
            check_unpacked_size(path)
        return torch.load(path, map_location=device, weights_only=True, mmap=zipped and str(device) == "cpu")
    except LitetextError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way at all
        message = str(error).rpartition("WeightsUnpickler error:")[2].strip() or type(error).__name__
        reason = message.splitlines()[0].partition(". ")[0][:160]
        asked = re.search(r"\bGLOBAL (\S+)", message)
        if asked is None:
            raise LitetextError(f"{path} is not a readable PyTorch checkpoint ({reason}); is it cut short?") from None
        raise LitetextError(
            f"{path} holds a Python object, {asked[1]}, beside its tensors, which could run code when loaded; "
            "save it again as a plain dictionary of tensors or as safetensors"
        ) from None


def is_archive(path: Path) -> bool:
    """Whether a file is an archive, as ``torch.save`` writes them since version 1.6."""
    return zipfile.is_zipfile(path)


def check_unpacked_size(path: Path) -> None:
    """Refuse an archive whose entries are compressed or lie over one another, which torch never writes.

    Raises:
        LitetextError: it would unpack to more than it is.
        zipfile.BadZipFile: it is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    unpacked, size = sum(entry.file_size for entry in entries), path.stat().st_size
    if unpacked > size:
        raise LitetextError(f"{path} would unpack to {unpacked:,} bytes from {size:,}; save it again with torch.save")
