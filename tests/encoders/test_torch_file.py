"""A ``.pt`` read without torch's own reader: the same tensors, described first and mapped when asked for."""

from __future__ import annotations

import collections
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litetext.encoders import Checkpoint, write_authors
from litetext.encoders.tensor_writer import write_safetensors, write_torch
from litetext.encoders.tensorfile import lazily, open_tensors
from litetext.encoders.torch_file import NotPlainError, TorchFile
from litetext.errors import LitetextError
from litetext.tokenizer import Tokenizer

from .conftest import random_encoder, small_config

_BASE = torch.arange(24.0).reshape(4, 6)
TENSORS = {
    "rows": _BASE,
    "column": _BASE[:, 2],
    "transposed": _BASE.t(),
    "part": _BASE[1:3, 2:5],
    "bfloat16": torch.randn(3, 5).bfloat16(),
    "half": torch.randn(7).half(),
    "whole numbers": torch.tensor([[1, -2], [3, 4]]),
    "count": torch.tensor(9),
    "truth": torch.tensor([True, False, True]),
    "complex": torch.randn(2, 3, dtype=torch.complex64),
    "none": torch.zeros(0, 4),
    "repeated": torch.ones(3, 1).expand(3, 1),
    "parameter": torch.nn.Parameter(torch.randn(4)),
}


def _assert_read(path: Path, wanted: dict[str, torch.Tensor]) -> None:
    file = open_tensors(path)
    assert list(file) == list(wanted)
    for _ in range(2):
        for key, tensor in wanted.items():
            found = file.get(key)
            assert file.shape(key) == tuple(tensor.shape) and found.dtype == tensor.dtype
            assert torch.equal(found, tensor.detach())
        file.release()  # and everything can be read once more


@pytest.mark.parametrize("wrap", [lambda given: given, lambda given: {"model": given}, collections.OrderedDict])
def test_what_torch_saved_is_read_as_it_is(tmp_path: Path, wrap: Any) -> None:
    torch.save(wrap(TENSORS), tmp_path / "a.pt")
    assert TorchFile(tmp_path / "a.pt").content
    _assert_read(tmp_path / "a.pt", TENSORS)


def test_a_trainings_checkpoint_is_plain_too(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    content = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "loss": 0.5}
    torch.save(content, tmp_path / "a.pt")
    assert TorchFile(tmp_path / "a.pt").content["epoch"] == 3
    _assert_read(tmp_path / "a.pt", model.state_dict())


def test_the_oldest_files_are_read_by_torch(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(NotPlainError):
        TorchFile(tmp_path / "old.pt")
    _assert_read(tmp_path / "old.pt", TENSORS)


@pytest.mark.parametrize(
    "content",
    [
        {"a": torch.eye(3).to_sparse()},
        {"a": np.float64(3)},
        {"a": Path("x")},
        {"a": torch.ones(1).expand(1 << 40)},
        {"a": torch.nn.Linear(1, 1)},
    ],
)
def test_what_is_not_plain_is_left_to_torch(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(NotPlainError):
        TorchFile(tmp_path / "odd.pt")


@pytest.mark.parametrize("damage", ["other size", "compressed", "big-endian", "no entry"])
def test_a_damaged_archive_is_left_to_torch(tmp_path: Path, damage: str) -> None:
    torch.save({"a": torch.arange(100.0)}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as good, zipfile.ZipFile(tmp_path / "b.pt", "w") as bad:
        for entry in good.infolist():
            content = good.read(entry)
            if entry.filename.endswith("data/0"):
                if damage == "no entry":
                    continue
                content = content[:-4] if damage == "other size" else content
                entry.compress_type = zipfile.ZIP_DEFLATED if damage == "compressed" else entry.compress_type
            if entry.filename.endswith("byteorder") and damage == "big-endian":
                content = b"big"
            bad.writestr(entry, content)
    with pytest.raises((NotPlainError, LitetextError)):
        file = TorchFile(tmp_path / "b.pt")
        file.check(file.content["a"])


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8),
        st.tuples(
            st.lists(st.integers(0, 4), max_size=3),
            st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.complex64]),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_what_we_write_torch_and_safetensors_read(
    tmp_path_factory: pytest.TempPathFactory, drawn: dict[str, tuple[list[int], torch.dtype]]
) -> None:
    folder = tmp_path_factory.mktemp("written")
    tensors = {
        name: (torch.randn(shape) * 3).to(dtype) if dtype != torch.bool else torch.rand(shape) > 0.5
        for name, (shape, dtype) in drawn.items()
    }
    write_torch(folder / "a.pt", lazily(tensors), "a comment")
    write_safetensors(folder / "a.safetensors", lazily(tensors), {"format": "pt"})
    loaded = torch.load(folder / "a.pt", weights_only=True, mmap=True)["model"]
    assert list(loaded) == list(tensors)
    assert all(torch.equal(loaded[key], one) and loaded[key].dtype == one.dtype for key, one in tensors.items())
    _assert_read(folder / "a.pt", tensors)
    file = open_tensors(folder / "a.safetensors")
    assert set(file) == set(tensors) and all(torch.equal(file.get(key), one) for key, one in tensors.items())
    with zipfile.ZipFile(folder / "a.pt") as archive:
        assert archive.testzip() is None and archive.comment == b"a comment"
    assert all(one.data_ptr() % 64 == 0 for one in loaded.values() if one.numel())


def test_the_same_model_is_the_same_file(tmp_path: Path) -> None:
    for name in ("a.pt", "b.pt"):
        write_torch(tmp_path / name, lazily({"a": torch.arange(5)}), "")
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


def test_info_needs_no_torch(tmp_path: Path) -> None:
    module = random_encoder(small_config("teacher"))
    write_authors(
        Checkpoint(module.config, module.state_dict(), Tokenizer(), "litetext", "made up"), tmp_path / "text.pt"
    )
    code = (
        "import sys; from litetext.encoders.encoder_file import open_checkpoint; "
        f"print(open_checkpoint({str(tmp_path / 'text.pt')!r}, heads=4).config.variant, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [module.config.variant, "False"]
