"""The one reader of safetensors: it opens what was saved and refuses what does not describe its file."""

from __future__ import annotations

import json
import os
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from litetext.encoders.safetensors_file import SafetensorsFile
from litetext.encoders.tensorfile import open_tensors
from litetext.errors import LitetextError

TENSORS = {
    "half": torch.arange(6, dtype=torch.float16).reshape(2, 3),
    "brain": torch.arange(5, dtype=torch.bfloat16),
    "bits": torch.tensor([True, False, True]),
    "empty": torch.zeros(0, 4),
    "scalar": torch.tensor(7),
    "double": torch.arange(3, dtype=torch.float64),
    "small": torch.arange(3, dtype=torch.float32).to(torch.float8_e4m3fn),
}


def test_tensors_come_back_as_saved(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "t.safetensors", metadata={"format": "x"})
    file = open_tensors(tmp_path / "t.safetensors")
    assert set(file) == set(TENSORS) and SafetensorsFile(tmp_path / "t.safetensors").metadata == {"format": "x"}
    stored = SafetensorsFile(tmp_path / "t.safetensors").tensors
    assert (stored["brain"].dtype, stored["small"].dtype, stored["bits"].dtype) == ("BF16", "F8_E4M3", "BOOL")
    for name, tensor in TENSORS.items():
        found = file.get(name)
        assert (
            found.dtype == tensor.dtype
            and file.dtype(name) == stored[name].dtype
            and file.shape(name) == tuple(tensor.shape)
        )
        assert torch.equal(found.float(), tensor.float()) and file.bytes(name) == tensor.nbytes
    array = SafetensorsFile(tmp_path / "t.safetensors").array("half")
    assert np.array_equal(array, TENSORS["half"].numpy()) and not array.flags.writeable
    with pytest.raises(LitetextError, match="'brain' is stored as BF16"):
        SafetensorsFile(tmp_path / "t.safetensors").array("brain")


def test_what_is_written_to_a_tensor_stays_in_memory(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "t.safetensors")
    open_tensors(tmp_path / "t.safetensors").get("half").zero_()
    assert torch.equal(open_tensors(tmp_path / "t.safetensors").get("half"), TENSORS["half"])


def test_no_handle_outlives_its_tensors(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "t.safetensors")
    torch.save(TENSORS, tmp_path / "t.pt")

    def handles() -> list[str]:
        links = list(Path("/proc/self/fd").iterdir())
        return [str(link.readlink()) for link in links if link.is_symlink() and str(tmp_path) in str(link.readlink())]

    for name in ("t.safetensors", "t.pt"):
        file = open_tensors(tmp_path / name)
        file.get("half")
        del file
        assert handles() == []


def written(path: Path, header: Any, content: bytes = b"\0" * 16, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + content)
    return path


def entry(start: Any, end: Any, shape: Any = (2,), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


BAD: dict[str, tuple[Any, str]] = {
    "overlap": ({"a": entry(0, 8), "b": entry(4, 12), "c": entry(12, 16, [1])}, "'a' and 'b' overlap"),
    "same place": ({"a": entry(0, 8), "b": entry(0, 8), "c": entry(8, 16)}, "'a' and 'b' overlap"),
    "hole": ({"a": entry(0, 8), "b": entry(12, 16, [1])}, "4 bytes before 'b' belong to no tensor"),
    "left over": ({"a": entry(0, 8)}, "8 bytes after its last tensor belong to none"),
    "beyond": ({"a": entry(0, 8), "b": entry(8, 24, [4])}, "'b' ends at byte .* cut short"),
    "far beyond": ({"a": entry(0, 2**62, [2**60])}, "'a' ends at byte .* cut short"),
    "negative": ({"a": entry(-8, 0)}, "'a' has shape"),
    "backwards": ({"a": entry(8, 0)}, "'a' has -8 bytes"),
    "shape": ({"a": entry(0, 16, [3])}, "'a' has 16 bytes, its shape .* takes 12"),
    "product": ({"a": entry(0, 16, [2**40, 2**40])}, "'a' has 16 bytes"),
    "shape is text": ({"a": entry(0, 16, "4")}, "'a' has shape '4'"),
    "fraction": ({"a": entry(0, 16, [4.0])}, "'a' has shape"),
    "three offsets": ({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8, 16]}}, "offsets"),
    "dtype": ({"a": entry(0, 16, [4], "F31")}, "dtype 'F31'; known are F64"),
    "dtype is a list": ({"a": entry(0, 16, [4], ["F32"])}, "dtype"),
    "no object": ({"a": 5}, "'a' is 5, where dtype"),
    "list": ([], "its header is"),
    "metadata": ({"__metadata__": {"a": 1}, "a": entry(0, 16, [4])}, "its metadata"),
    "not json": (b"{'a'", "not valid JSON"),
    "not text": (b"\xff\xfe", "not UTF-8"),
    "deep": (b"[" * 10_000, "more than 64 deep"),
}


@pytest.mark.parametrize("name", BAD)
def test_headers_that_do_not_describe_their_file_are_refused(tmp_path: Path, name: str) -> None:
    header, message = BAD[name]
    with pytest.raises(LitetextError, match=rf"bad.safetensors.*{message}"):
        open_tensors(written(tmp_path / "bad.safetensors", header))


@pytest.mark.parametrize("length", [2**63, 2**40, 25, 1 << 25])
def test_lengths_of_headers_are_checked(tmp_path: Path, length: int) -> None:
    path = written(tmp_path / "bad.safetensors", {}, length=length)
    if length == 1 << 25:
        os.truncate(path, 1 << 30)
    with pytest.raises(LitetextError, match=r"its header (would end at byte|has 33,554,432 bytes)"):
        open_tensors(path)


@given(cut=st.integers(1, 200))
def test_a_file_cut_anywhere_is_named(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "cut.safetensors"
    save_file({"a": torch.zeros(20), "b": torch.zeros(2, 2)}, path)
    os.truncate(path, max(0, path.stat().st_size - cut))
    with pytest.raises(LitetextError, match=r"cut.safetensors.*cut short"):
        open_tensors(path)


@given(st.data())
def test_any_header_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("any") / "any.safetensors"
    save_file({"a": torch.zeros(20), "b": torch.zeros(2, 2)}, path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        file = open_tensors(path)
        for name in file:
            file.get(name)
    except LitetextError as error:
        assert "any.safetensors" in str(error) and "\n" not in str(error)


def test_a_pipe_is_refused_unopened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(LitetextError, match="is a pipe or a device"):
        open_tensors(tmp_path / "pipe.safetensors")


def test_two_gigabytes_are_opened_by_their_header(tmp_path: Path) -> None:
    size = 2 << 30
    path = written(tmp_path / "large.safetensors", {"a": entry(0, size, [size // 4])}, b"")
    os.truncate(path, path.stat().st_size + size)  # a hole: takes no room on the disk
    start = time.perf_counter()
    file = open_tensors(path)
    assert file.bytes("a") == size and file.get("a")[-1] == 0
    assert time.perf_counter() - start < 1
