"""Where formats with a file an image put that file."""

from __future__ import annotations

from pathlib import Path, PurePath

from ...errors import LitetextError


def file_beside(folder: Path, file_name: str, suffix: str, written: set[Path]) -> Path:
    """Return the file for an image, whose folder is made: the image's own path in ``folder``, with another suffix.

    An image whose path leads elsewhere (absolute, or with ``..``) goes by its name alone.

    Args:
        folder: of the files.
        file_name: of the image.
        suffix: of the file.
        written: the files of earlier images; the new one is added.

    Raises:
        LitetextError: the image has no name, or two images would have the same file.
    """
    name = PurePath(file_name)
    if not name.name:
        raise LitetextError("an image has no name to call its file by; name it, as in annotations('photo.jpg')")
    inside = not name.is_absolute() and ".." not in name.parts
    path = (folder / (name if inside else name.name)).with_suffix(suffix)
    if path in written:
        raise LitetextError(f"two images would have the file {path}; give them different names")
    written.add(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
