"""Where the images of a job are: folders, patterns, lists, parquet, WebDataset shards, COCO files, object stores.

Every image is named by an `ImageRef`, a few words that can be sent to another process and written down; its bytes are
read when it is its turn.
"""

from __future__ import annotations

import glob
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import LitetextError, extras_named, failures_named
from ..files import checked_file, open_file, read_text
from ..images import LARGEST, SUFFIXES, fetch, is_link
from ..json_files import stream_json
from .disk_map import DiskMap

PLUGIN_SUFFIXES = (".avif", ".heic", ".heif", ".jxl")
"""Images that Pillow reads where it was built so, or has a plugin."""

IMAGE_SUFFIXES = (*SUFFIXES, *PLUGIN_SUFFIXES)
_BYTES_COLUMNS = ("image", "bytes", "image_bytes", "jpg", "png", "content")
_NAME_COLUMNS = ("file_name", "filename", "path", "name", "id", "__key__")
_LISTS = (".txt", ".lst")


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image that has not been read.

    Attributes:
        name: in the dataset; no two of a job have the same.
        path: of the file that holds it, or its address.
        offset: of its bytes in a tar file.
        length: of its bytes in a tar file.
        group: its row group in a parquet file.
        row: in that row group.
        column: that holds the bytes.
    """

    name: str
    path: str
    offset: int | None = None
    length: int | None = None
    group: int | None = None
    row: int | None = None
    column: str = ""

    def read(self) -> bytes:
        """Return the bytes of the image file.

        Raises:
            LitetextError: they cannot be read.
        """
        if self.offset is not None and self.length is not None:
            return _part(self.path, self.offset, self.length)
        if self.group is not None and self.row is not None:
            return _cell(self.path, self.group, self.row, self.column)
        if is_link(self.path):
            return fetch(self.path)
        if is_remote(self.path):
            return _remote_bytes(self.path)
        with open_file(self.path, "an image") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise LitetextError(f"{self.path} is larger than {LARGEST >> 20} MiB; scale the image down first")
        return content

    @property
    def is_file(self) -> bool:
        """Whether the image is a file of its own on this machine."""
        return self.offset is None and self.group is None and not is_remote(self.path)

    def to_json(self) -> dict[str, Any]:
        """Return what `ImageRef(**…)` makes the same of."""
        return {key: value for key, value in asdict(self).items() if value not in (None, "")}


def is_remote(path: str) -> bool:
    """Whether a path is an address, read through fsspec or by http."""
    return "://" in path


def image_refs(given: Sequence[str]) -> Iterator[ImageRef]:
    """Yield the images that arguments name, in their order.

    Images are called by their path in the folder that was given, or by their file's name; where two would have one
    name (suffix and case aside), the later ones are numbered.

    Args:
        given: folders; image files; patterns such as ``photos/**/*.jpg``; ``.txt`` lists, an image a line; ``.parquet``
            files with a column of bytes; ``.tar`` files (WebDataset); COCO ``.json`` files; addresses of images, or of
            folders and patterns that fsspec lists (``s3://bucket/photos/``).

    Raises:
        LitetextError: an argument that names no image, or a file of images that is malformed.
    """
    taken: DiskMap[int] = DiskMap()
    for argument in given:
        empty = True
        for ref in _refs(argument):
            empty = False
            yield _renamed(ref, taken)
        if empty:
            raise LitetextError(f"{argument} names no image ({', '.join(IMAGE_SUFFIXES)}); check the folder or pattern")


def count_images(given: Sequence[str]) -> int | None:
    """Return how many images arguments name; None where some are listed by an object store, which takes its time.

    Raises:
        LitetextError: see `image_refs`; so it is known before the work begins.
    """
    here = [one for one in given if not is_remote(one)]
    count = sum(1 for _ in image_refs(here))
    return count if len(here) == len(given) else None


def _renamed(ref: ImageRef, taken: DiskMap[int]) -> ImageRef:
    """The image under a name that no earlier one has."""
    path = PurePosixPath(_inside(ref.name))
    key = path.with_suffix("").as_posix().casefold()
    number = (taken.get(key) or 0) + 1
    taken[key] = number
    name = path.as_posix() if number == 1 else path.with_name(f"{path.stem}_{number}{path.suffix}").as_posix()
    values = asdict(ref)
    if number > 1:
        return _renamed(ImageRef(**{**values, "name": name}), taken)
    return ImageRef(**{**values, "name": name})


def _inside(name: str) -> str:
    """A name as a path that leads nowhere but down, in characters that every format can hold."""
    name = os.fsencode(name).decode(errors="replace")  # file names need not be UTF-8
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "..", ".")]
    return "/".join(part.replace("\0", "").replace(":", "_") for part in parts) or "image"


def _refs(argument: str) -> Iterator[ImageRef]:
    if is_remote(argument):
        return _remote(argument)
    path, suffix = Path(argument), Path(argument).suffix.lower()
    if path.is_dir():
        return _of_folder(path)
    if not os.path.lexists(path) and glob.has_magic(argument):
        return _of_pattern(argument)
    readers = {".parquet": _of_parquet, ".tar": _of_tar, ".json": _of_coco, **dict.fromkeys(_LISTS, _of_list)}
    if suffix in readers:
        return readers[suffix](checked_file(path))
    if argument.lower().endswith((".tar.gz", ".tgz", ".tar.zst", ".tar.bz2")):
        raise LitetextError(f"{argument} is a compressed tar, in which no image can be found again; unpack it to .tar")
    if suffix not in IMAGE_SUFFIXES:
        checked_file(path, f"a folder or file of images ({', '.join(IMAGE_SUFFIXES)}, .txt, .parquet, .tar, .json)")
    return iter([ImageRef(path.name, argument)])


def _of_folder(folder: Path) -> Iterator[ImageRef]:
    """The images of a folder and the folders in it, in the order of their names; one folder is listed at a time."""
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(IMAGE_SUFFIXES):
                path = Path(here) / name
                yield ImageRef(path.relative_to(folder).as_posix(), str(path))


def _of_pattern(pattern: str) -> Iterator[ImageRef]:
    root = _fixed_part(pattern)
    for name in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207  (pathlib takes no absolute pattern)
        path = Path(name)
        if path.suffix.lower() in (".tar", ".parquet"):
            yield from _refs(name)
        elif path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
            yield ImageRef(path.relative_to(root).as_posix(), name)


def _fixed_part(pattern: str) -> Path:
    """The folders of a pattern before its first wildcard."""
    parts: list[str] = []
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return Path(*parts)


def _of_list(path: Path) -> Iterator[ImageRef]:
    """A line an image: an address, or a path from the list's folder on."""
    for line in read_text(path, "a list of images").splitlines():
        name = line.strip()
        if not name or name.startswith("#"):
            continue
        place = name if is_remote(name) else str(path.parent / name)
        yield ImageRef(PurePosixPath(name).name if is_remote(name) or Path(name).is_absolute() else name, place)


def _of_coco(path: Path) -> Iterator[ImageRef]:
    """The images of a COCO file; they lie beside it, or in ``images`` there."""
    found = False
    for entry in stream_json(path):
        name = entry.value.get("file_name") if entry.key == "images" and isinstance(entry.value, dict) else None
        if isinstance(name, str):
            found = True
            places = [path.parent / name, path.parent / "images" / name, path.parent.parent / "images" / name]
            yield ImageRef(name, str(next((place for place in places if place.is_file()), places[0])))
    if not found:
        raise LitetextError(f"{path} lists no 'images' with a 'file_name'; give a COCO file")


def _of_tar(path: Path) -> Iterator[ImageRef]:
    """The images of an uncompressed tar, by where they lie in it: WebDataset's shards, and any other."""
    with failures_named(path, "is no tar file that can be read"), tarfile.open(path, "r:") as archive:
        for member in archive:
            if member.isfile() and not member.issparse() and member.name.lower().endswith(IMAGE_SUFFIXES):
                yield ImageRef(member.name, str(path), member.offset_data, member.size)
            archive.members = []  # type: ignore[attr-defined]  # or it would keep all of them


def _part(path: str, offset: int, length: int) -> bytes:
    if not 0 <= length <= LARGEST:
        raise LitetextError(f"{path}: an image of {length:,} bytes is larger than {LARGEST >> 20} MiB")
    with open_file(path, "a tar file") as file:
        file.seek(offset)
        content = file.read(length)
    if len(content) < length:
        raise LitetextError(f"{path} is cut short: an image from byte {offset:,} on is not all there")
    return content


def _parquet(path: str | Path) -> Any:
    with extras_named("label"):
        import pyarrow.parquet as parquet
    with failures_named(path, "is no parquet file that can be read"):
        return parquet.ParquetFile(path)


def _of_parquet(path: Path) -> Iterator[ImageRef]:
    """A row an image: its bytes in a column, or in the field ``bytes`` of a structure as `datasets` writes it."""
    import pyarrow as arrow

    file = _parquet(path)
    schema = file.schema_arrow
    column = next((name for name in _BYTES_COLUMNS if name in schema.names and _holds_bytes(schema, name)), None)
    if column is None:
        raise LitetextError(f"{path} has no column of image bytes (looked for: {', '.join(_BYTES_COLUMNS)})")
    named = next((name for name in _NAME_COLUMNS if name in schema.names), None)
    names_type = None if named is None else schema.field(named).type
    if names_type is None or not (arrow.types.is_string(names_type) or arrow.types.is_integer(names_type)):
        named = None
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        names = file.read_row_group(group, [named]).column(0).to_pylist() if named else [None] * rows
        for row, name in enumerate(names):
            given = str(name) if name is not None else f"{path.stem}_{group}_{row}"
            if not given.lower().endswith(IMAGE_SUFFIXES):
                given += ".png"
            yield ImageRef(given, str(path), group=group, row=row, column=column)


def _holds_bytes(schema: Any, name: str) -> bool:
    import pyarrow as arrow

    kind = schema.field(name).type
    if arrow.types.is_struct(kind):
        return any(kind.field(index).name == "bytes" for index in range(kind.num_fields))
    return bool(arrow.types.is_binary(kind) or arrow.types.is_large_binary(kind))


@lru_cache(maxsize=1)
def _group(path: str, group: int, column: str) -> Any:
    """One column of one row group: rows are read one after the other, and a group can only be read whole."""
    with failures_named(path, "cannot be read"):
        return _parquet(path).read_row_group(group, [column]).column(0)


def _cell(path: str, group: int, row: int, column: str) -> bytes:
    value = _group(path, group, column)[row].as_py()
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        raise LitetextError(f"{path}: row {row} of row group {group} holds no bytes in column {column!r}")
    return content


def _file_system(address: str) -> tuple[Any, str]:
    with extras_named("label"):
        import fsspec
    try:
        return fsspec.core.url_to_fs(address)  # type: ignore[no-any-return]
    except (ImportError, ValueError) as error:  # a protocol that is unknown, or whose package is not installed
        raise LitetextError(f"{address} cannot be opened: {' '.join(str(error).split())}") from None


def _remote(address: str) -> Iterator[ImageRef]:
    """What an address names: an image, or the images in a folder or behind a pattern."""
    if PurePosixPath(address).suffix.lower() in IMAGE_SUFFIXES and not glob.has_magic(address):
        yield ImageRef(PurePosixPath(address).name, address)
        return
    system, path = _file_system(address)
    with failures_named(address, "cannot be listed"):
        found: Iterable[str] = system.glob(path) if glob.has_magic(path) else system.find(path)
    root = path.rstrip("/") if not glob.has_magic(path) else str(_fixed_part(path))
    for name in sorted(found):
        if name.lower().endswith(IMAGE_SUFFIXES):
            inside = PurePosixPath(name).relative_to(root).as_posix() if name.startswith(root) else name
            yield ImageRef(inside, system.unstrip_protocol(name))


def _remote_bytes(address: str) -> bytes:
    system, path = _file_system(address)
    with failures_named(address, "cannot be read"), system.open(path, "rb") as file:
        content: bytes = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise LitetextError(f"{address} is larger than {LARGEST >> 20} MiB; scale the image down first")
    return content
