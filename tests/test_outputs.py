"""Nothing that litetext did not write is replaced or removed, whatever a destination is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litetext.errors import LitetextError
from litetext.files import atomic_path, write_text
from litetext.outputs import (
    RECORD,
    OutputFolder,
    atomic_folder,
    blank_seal,
    check_file,
    check_folder,
    claim_folder,
    sealed_file,
)


def _write(folder: Path, content: str = "new", **options: Any) -> None:
    with atomic_folder(folder, "encoder", **options) as staged:
        (staged / "text").mkdir()
        (staged / "config.json").write_text(content)
        (staged / "text" / "model.bin").write_text(content)


def _tree(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder: files with their bytes, folders and links with None."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in folder.rglob("*")
    }


def test_a_new_folder_holds_its_files_and_a_record_of_them(tmp_path: Path) -> None:
    _write(tmp_path / "deep" / "e")
    assert set(_tree(tmp_path / "deep")) == {"e", "e/config.json", "e/text", "e/text/model.bin", f"e/{RECORD}"}


def test_an_empty_folder_is_as_good_as_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    _write(tmp_path / "e")
    assert (tmp_path / "e" / "config.json").read_text() == "new"


def test_an_earlier_output_is_replaced_only_if_asked(tmp_path: Path) -> None:
    _write(tmp_path / "e", "old")
    (tmp_path / "e" / "text").joinpath("model.bin").touch()  # another time of change is no change
    with pytest.raises(LitetextError, match="e holds the encoder of an earlier run; replace it with --overwrite"):
        _write(tmp_path / "e")
    assert (tmp_path / "e" / "config.json").read_text() == "old"
    _write(tmp_path / "e", overwrite=True)
    assert (tmp_path / "e" / "config.json").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["e"]


def _project(path: Path) -> None:
    path.mkdir()
    (path / "thesis.tex").write_text("years of work")


def _unrecorded(path: Path) -> None:
    _write(path)
    (path / RECORD).unlink()


def _other_kind(path: Path) -> None:
    with atomic_folder(path, "exported encoder") as staged:
        (staged / "config.json").write_text("x")


def _added(name: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        _write(path)
        (path / name).write_text("mine")

    return make


def _added_folder(path: Path) -> None:
    _write(path)
    (path / "drafts").mkdir()


def _linked_inside(path: Path) -> None:
    _project(path.with_name("project"))
    _write(path)
    (path / "link").symlink_to(path.with_name("project"))


def _replaced_by_a_link(path: Path) -> None:
    _write(path)
    (path / "config.json").rename(path.with_name("config.json"))
    (path / "config.json").symlink_to(path.with_name("config.json"))


def _link_to_output(path: Path) -> None:
    _write(path.with_name("real"))
    path.symlink_to(path.with_name("real"))


def _dangling_link(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def _file(path: Path) -> None:
    path.write_text("a file")


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _lying_record(path: Path) -> None:
    """A folder whose record claims, without the right sums, that litetext wrote the user's files."""
    _project(path)
    (path / RECORD).write_text('{"kind": "encoder", "file": "thesis.tex", "sha256": "00"}\n[]\n{"kind"\n\xff')


FOREIGN = [
    _project,
    _unrecorded,
    _other_kind,
    _added("notes.txt"),
    _added("config.json"),
    _added("text/model.bin"),
    _added_folder,
    _linked_inside,
    _replaced_by_a_link,
    _link_to_output,
    _dangling_link,
    _file,
    _fifo,
    _lying_record,
]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("make", FOREIGN)
def test_what_is_not_ours_is_refused_and_stays(make: Callable[[Path], None], overwrite: bool, tmp_path: Path) -> None:
    make(tmp_path / "proj")
    before = _tree(tmp_path)
    with pytest.raises(LitetextError, match="proj"):
        _write(tmp_path / "proj", overwrite=overwrite)
    assert _tree(tmp_path) == before


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", [".", "..", "../here", "sub/.."])
def test_the_current_folder_is_refused(
    name: str, overwrite: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path / "here")
    (tmp_path / "here" / "sub").mkdir()
    (tmp_path / "here" / "sub").rmdir() if "sub" not in name else None
    monkeypatch.chdir(tmp_path / "here")
    before = _tree(tmp_path)
    with pytest.raises(LitetextError, match="current folder|holds no encoder"):
        _write(Path(name), overwrite=overwrite)
    assert _tree(tmp_path) == before


def test_a_failed_write_leaves_everything_as_it_was(tmp_path: Path) -> None:
    _write(tmp_path / "e", "old")
    before = _tree(tmp_path)
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "e", "encoder", overwrite=True) as staged:
        (staged / "config.json").write_text("half")
        raise RuntimeError
    assert _tree(tmp_path) == before


def test_a_folder_that_comes_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(LitetextError, match="holds no encoder"), atomic_folder(tmp_path / "e", "encoder") as staged:
        (staged / "config.json").write_text("new")
        _project(tmp_path / "e")
    assert (tmp_path / "e" / "thesis.tex").read_text() == "years of work"


def test_places_that_cannot_be_written_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LitetextError, match="file is not a folder, so .*file/e cannot be written"):
        _write(tmp_path / "file" / "e")
    monkeypatch.setattr(os, "access", lambda *_: False)
    for check in (check_file, check_folder):
        with pytest.raises(LitetextError, match="no permission to write in"):
            check(tmp_path / "deep" / "e", "encoder")


def _sealed(path: Path, content: str = "content") -> None:
    with sealed_file(path, "feature file") as temporary:
        temporary.write_text(f"head {blank_seal('feature file')} {content}")


def test_a_file_alone_is_replaced_only_with_its_seal_unbroken_and_if_asked(tmp_path: Path) -> None:
    path = tmp_path / "features.bin"
    check_file(path, "feature file")
    for mine in ("mine", f"head {blank_seal('feature file')}"):
        write_text(path, mine)
        for overwrite in (False, True):
            with pytest.raises(LitetextError, match="exists and is no feature file that litetext wrote"):
                check_file(path, "feature file", overwrite=overwrite)
    _sealed(path)
    with pytest.raises(LitetextError, match="of an earlier run; replace it with --overwrite"):
        check_file(path, "feature file")
    check_file(path, "feature file", overwrite=True)
    with pytest.raises(LitetextError, match="no concept bank"):
        check_file(path, "concept bank", overwrite=True)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(LitetextError, match="exists and is no feature file"):
        check_file(tmp_path / "link", "feature file", overwrite=True)
    with pytest.raises(LitetextError, match="is a folder"):
        check_file(tmp_path, "feature file", overwrite=True)
    write_text(path, path.read_text().replace("content", "comment"))
    with pytest.raises(LitetextError, match="exists and is no feature file"):
        check_file(path, "feature file", overwrite=True)


def test_an_output_is_no_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "in.txt"
    _sealed(path)
    (tmp_path / "link").symlink_to(path)
    os.link(path, tmp_path / "hard")
    monkeypatch.chdir(tmp_path)
    for output in (path, Path("in.txt"), Path("../") / tmp_path.name / "in.txt", Path("link"), Path("hard")):
        with pytest.raises(LitetextError, match="is the input"):
            check_file(output, "feature file", overwrite=True, inputs=[path])
    _write(tmp_path / "e")
    with pytest.raises(LitetextError, match="e is the input"):
        check_folder(tmp_path / "e", "encoder", overwrite=True, inputs=[tmp_path / "e"])
    with pytest.raises(LitetextError, match="e holds the input"):
        check_folder(tmp_path / "e", "encoder", overwrite=True, inputs=[tmp_path / "e" / "text" / "model.bin"])


def test_an_output_folder_keeps_what_it_finds(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "a.png").write_text("mine too")
    folder = OutputFolder(tmp_path, "segmentation")
    before = _tree(tmp_path)
    with pytest.raises(LitetextError, match=r"a\.png exists and is not as litetext wrote it"):
        folder.check(["b.png", "a.png"])
    with pytest.raises(LitetextError, match=r"a\.png"), folder.staged() as staged:
        (staged / "b.png").write_text("ours")
        (staged / "a.png").write_text("ours")
    assert _tree(tmp_path) == before
    for content in ("first", "second"):
        with OutputFolder(tmp_path, "segmentation").staged() as staged:
            (staged / "sub").mkdir()
            (staged / "b.png").write_text(content)
            (staged / "sub" / "c.png").write_text(content)
    assert set(_tree(tmp_path)) == {"mine.txt", "a.png", "b.png", "sub", "sub/c.png", RECORD}
    assert (tmp_path / "b.png").read_text() == (tmp_path / "sub" / "c.png").read_text() == "second"
    (tmp_path / "b.png").write_text("edited by hand")
    with pytest.raises(LitetextError, match=r"b\.png exists and is not as litetext wrote it"):
        OutputFolder(tmp_path, "segmentation").check(["b.png"])
    with pytest.raises(LitetextError, match=r"c\.png"):
        OutputFolder(tmp_path, "audit").check(["sub/c.png"])
    with pytest.raises(LitetextError, match="is a file; give the path of a folder"):
        OutputFolder(tmp_path / "mine.txt", "audit")


def test_an_output_folder_is_cleared_of_what_a_killed_process_left_in_it(tmp_path: Path) -> None:
    (tmp_path / ".litetext-ab12cd34").mkdir()
    (tmp_path / ".litetext-kept").mkdir()  # no name that we give
    OutputFolder(tmp_path, "training run")
    assert [path.name for path in tmp_path.iterdir()] == [".litetext-kept"]


def test_a_folder_is_claimed_once_and_only_if_nothing_is_in_it(tmp_path: Path) -> None:
    for _ in range(2):
        claim_folder(tmp_path / "scenes", "scenes to train on")
        (tmp_path / "scenes" / "tap0.npy").write_text("ours")
    with pytest.raises(LitetextError, match="holds no training run"):
        claim_folder(tmp_path / "scenes", "training run")
    _project(tmp_path / "proj")
    before = _tree(tmp_path)
    with pytest.raises(LitetextError, match="proj exists and holds no scenes to train on"):
        claim_folder(tmp_path / "proj", "scenes to train on")
    with pytest.raises(LitetextError, match="is a file or a link"):
        claim_folder(tmp_path / "proj" / "thesis.tex", "scenes to train on")
    assert _tree(tmp_path) == before


def test_permissions_are_those_of_new_files(tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        with atomic_folder(tmp_path / "e", "encoder") as staged:
            (staged / "model.bin").touch(0o600)
        with atomic_path(tmp_path / "f") as path:
            path.write_text("x")
    finally:
        os.umask(umask)
    assert {oct(path.stat().st_mode & 0o777) for path in (tmp_path / "e" / "model.bin", tmp_path / "f")} == {"0o644"}
    assert (tmp_path / "e").stat().st_mode & 0o777 == 0o755
