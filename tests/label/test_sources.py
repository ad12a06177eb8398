"""Every way to name images gives the same bytes under names of their own."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from pathlib import Path

import pyarrow as arrow
import pyarrow.parquet
import pytest

from litetext.errors import LitetextError
from litetext.label.sources import ImageRef, image_refs

from .conftest import picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    picture(tmp_path / "in" / "a.png", "red")
    picture(tmp_path / "in" / "deep" / "b.png", "green")
    (tmp_path / "in" / "notes.md").write_text("no image")
    return tmp_path / "in"


def _contents(*given: object) -> dict[str, bytes]:
    refs = [pickle.loads(pickle.dumps(ref)) for ref in image_refs([str(one) for one in given])]
    assert [ImageRef(**ref.to_json()) for ref in refs] == refs
    return {ref.name: ref.read() for ref in refs}


def _whole(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("a.png", "deep/b.png")}


def test_folders_and_patterns(folder: Path) -> None:
    assert _contents(folder) == _whole(folder)
    assert _contents(folder / "**" / "*.png") == _whole(folder)
    assert _contents(folder / "deep" / "b.png") == {"b.png": _whole(folder)["deep/b.png"]}


def test_a_list_reads_from_its_folder(folder: Path) -> None:
    (folder / "list.txt").write_text(f"# mine\na.png\n\n{folder}/deep/b.png\n")
    assert list(_contents(folder / "list.txt")) == ["a.png", "b.png"]


def test_tar_shards(folder: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        for name, content in _whole(folder).items():
            for member, text in ((name, content), (name.replace(".png", ".json"), b"{}")):
                entry = tarfile.TarInfo(member)
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text))
    assert _contents(tmp_path / "s.tar") == _whole(folder)
    (tmp_path / "cut.tar").write_bytes((tmp_path / "s.tar").read_bytes()[:700])
    with pytest.raises(LitetextError, match="cut.tar"):
        _contents(tmp_path / "cut.tar")


@pytest.mark.parametrize("nested", [False, True])
def test_parquet(folder: Path, tmp_path: Path, nested: bool) -> None:
    contents = list(_whole(folder).values())
    column = [{"bytes": one, "path": None} for one in contents] if nested else contents
    table = arrow.table({"image": column, "file_name": ["x.png", "y.png"]})
    arrow.parquet.write_table(table, tmp_path / "t.parquet", row_group_size=1)
    assert list(_contents(tmp_path / "t.parquet").values()) == contents


def test_a_coco_file_names_images_beside_it(folder: Path) -> None:
    images = [{"id": 1, "file_name": "a.png", "width": 32, "height": 24}]
    (folder / "instances.json").write_text(json.dumps({"images": images, "categories": [], "annotations": []}))
    assert _contents(folder / "instances.json") == {"a.png": _whole(folder)["a.png"]}


def test_addresses_go_through_fsspec(folder: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for name, content in _whole(folder).items():
        memory.pipe(f"/bucket/{name}", content)
    assert _contents("memory://bucket/") == _whole(folder)
    assert _contents("memory://bucket/*.png") == {"a.png": _whole(folder)["a.png"]}
    assert _contents("memory://bucket/a.png") == {"a.png": _whole(folder)["a.png"]}
    with pytest.raises(LitetextError, match="nonsense"):
        _contents("nonsense://bucket/")


def test_two_images_of_one_name_are_told_apart(folder: Path, tmp_path: Path) -> None:
    picture(tmp_path / "more" / "A.jpg", "blue")
    picture(tmp_path / "more" / "a_2.png", "blue")
    assert list(_contents(folder, tmp_path / "more")) == ["a.png", "deep/b.png", "A_2.jpg", "a_2_2.png"]


@pytest.mark.parametrize("name", ["../x.png", "/etc/x.png", "a/../../x.png", "..\\x.png"])
def test_names_lead_nowhere_else(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    (ref,) = image_refs([str(tmp_path / "s.tar")])
    assert not ref.name.startswith("/") and ".." not in ref.name


@pytest.mark.parametrize("name", ["none", "none/*.png", "s.tar.gz", "empty"])
def test_what_names_no_image_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "s.tar.gz").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    with pytest.raises(LitetextError, match=name.split("/")[0]):
        _contents(tmp_path / name)
