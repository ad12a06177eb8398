"""The store: computes what is missing, keeps what it has, and says what is wrong."""

from __future__ import annotations

import errno
import mmap
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from litetext.distill import targets as targets_module
from litetext.distill.preparation import prompt_ids
from litetext.distill.targets import EncoderTeacher, TargetStore
from litetext.encoders import build
from litetext.encoders.config import Convention
from litetext.errors import LitetextError
from litetext.ragged import Ragged
from litetext.tokenizer import Tokenizer

from ..encoders.conftest import random_encoder, small_config
from .conftest import PHRASES, teacher, teacher_module, tokenizer


class Counting:
    """A teacher whose features tell the id, and which counts the prompts it is asked for."""

    dim = 3
    digest = "0123456789abcdef"

    def __init__(self) -> None:
        self.asked = 0

    def features(self, ids: Ragged) -> np.ndarray:
        self.asked += len(ids)
        return np.repeat(ids.values[:, None].astype(np.float32), 3, axis=1)


A = Ragged.of([[1, 7, 2], [1, 8, 2], [1, 9, 9, 2]])
B = Ragged.of([[1, 9, 9, 2], [1, 5, 2], [1, 8, 2], [1, 7, 2]])


def says_the_ids(store: TargetStore, ids: Ragged) -> bool:
    """Whether every token's features are its own."""
    return bool((store.read(ids).load().values == ids.values[:, None]).all())


def test_adding_editing_and_reordering_computes_only_what_is_new(tmp_path: Path) -> None:
    teacher = Counting()
    assert TargetStore(tmp_path, teacher).fill(A) == 3
    store = TargetStore(tmp_path, teacher)  # another day
    assert store.fill(B) == 1 and teacher.asked == 4
    assert says_the_ids(store, B) and says_the_ids(store, A)
    assert store.fill(B) == 0 and len(store) == 4
    shard: object = store.read(B).shards[0]
    while isinstance(shard, np.ndarray):
        shard = shard.base
    assert isinstance(shard, mmap.mmap)
    assert store.read(B).nbytes == store.read(B).load().values.nbytes


def test_the_same_prompt_twice_is_computed_once(tmp_path: Path) -> None:
    twice = Ragged.joined([A, A])
    store = TargetStore(tmp_path, Counting())
    assert store.fill(twice) == 3 and says_the_ids(store, twice)


def test_processes_share_the_work_and_see_each_others(tmp_path: Path) -> None:
    one, two = TargetStore(tmp_path, Counting()), TargetStore(tmp_path, Counting())
    missing = one._missing(B)
    assert len(missing) == 4
    done = one.fill(B, part=(0, 2), shard_tokens=4)
    two._read.update(path.name for path in two.folder.glob("*"))  # as if both had looked before either wrote
    done += two.fill(B, part=(1, 2), shard_tokens=4)
    assert done == 4 and says_the_ids(one, B)


def test_what_was_not_filled_is_refused(tmp_path: Path) -> None:
    store = TargetStore(tmp_path, Counting())
    store.fill(A)
    with pytest.raises(LitetextError, match="lacks the features of 1 of 4 prompts; fill the store"):
        store.read(B)


@pytest.mark.parametrize("damage", ["flipped", "cut", "emptied", "header"])
def test_a_damaged_shard_is_named_and_its_removal_mends_it(tmp_path: Path, damage: str) -> None:
    TargetStore(tmp_path, Counting()).fill(A)
    (shard,) = tmp_path.rglob("*.safetensors")
    content = bytearray(shard.read_bytes())
    if damage == "flipped":
        content[-3] ^= 1
    elif damage == "header":
        content[9] = 0xFF
    shard.write_bytes(content[: {"cut": len(content) - 8, "emptied": 0}.get(damage, len(content))])
    with pytest.raises(LitetextError, match="is damaged .*; delete this file: its prompts are computed anew") as error:
        TargetStore(tmp_path, Counting()).targets(A)
    assert str(shard) in str(error.value)
    shard.unlink()
    store = TargetStore(tmp_path, Counting())
    assert store.fill(A) == 3 and says_the_ids(store, A)


@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("I/O error: No space left on device")]
)
def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    write, written = targets_module.save_file, []

    def full_after_one(arrays: Any, path: str, **options: Any) -> None:
        if written:
            Path(path).write_bytes(b"half a shard")
            raise failure
        written.append(path)
        write(arrays, path, **options)

    monkeypatch.setattr(targets_module, "save_file", full_after_one)
    with pytest.raises(LitetextError, match="the disk is full; free .* MB .*: the 1 prompts stored so far are kept"):
        TargetStore(tmp_path, Counting()).fill(A, shard_tokens=3)
    monkeypatch.undo()
    assert len(list((tmp_path / "0123456789abcdef").iterdir())) == 1
    store = TargetStore(tmp_path, Counting())
    assert store.fill(A) == 2 and says_the_ids(store, A)


_SLOW = """
import sys, time
import numpy as np
from litetext.ragged import Ragged
from litetext.distill.targets import TargetStore
class Slow:
    dim, digest = 3, "0123456789abcdef"
    def features(self, ids):
        print("shard", flush=True)
        time.sleep(0.05)
        return np.repeat(ids.values[:, None].astype(np.float32), 3, axis=1)
ids = Ragged.of([[1, n, 2] for n in range(400)])
TargetStore(sys.argv[1], Slow()).fill(ids, shard_tokens=3)
"""


def test_a_kill_loses_at_most_the_shard_in_the_making(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", _SLOW, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    begun = sum(1 for _, line in zip(range(5), process.stdout, strict=False) if line)
    time.sleep(0.02)
    process.kill()
    begun += len(process.stdout.readlines())
    process.wait()
    store = TargetStore(tmp_path, Counting())
    kept = len(store)
    assert begun - 1 <= kept <= begun
    ids = Ragged.of([[1, n, 2] for n in range(400)])
    assert store.fill(ids) == 400 - kept and says_the_ids(store, ids)


def test_another_teacher_or_convention_has_a_folder_of_its_own(tmp_path: Path) -> None:
    module = teacher_module()
    retrained = random_encoder(module.config, seed=1)
    convention = build(module.config.with_convention(pad_id=1))
    convention.load_state_dict(module.state_dict())
    digests = {EncoderTeacher(each).digest for each in (module, retrained, convention)}
    assert len(digests) == 3
    store = TargetStore(tmp_path, EncoderTeacher(module))
    ids = prompt_ids(PHRASES, tokenizer(), 8)
    store.fill(ids)
    assert len(TargetStore(tmp_path, EncoderTeacher(retrained))) == 0
    assert len(TargetStore(tmp_path, EncoderTeacher(module))) == len(PHRASES)


@torch.inference_mode()
def test_features_are_the_teachers_own_on_real_tokens() -> None:
    ids = prompt_ids(PHRASES, tokenizer(), 8)
    features = Ragged(teacher().features(ids), ids.offsets)
    for row, phrase in enumerate(PHRASES):
        tokens, _ = teacher_module()(torch.from_numpy(tokenizer()([phrase], 32)))
        count = min(len(ids[row]), 8)
        if ids[row][-1] == tokenizer().eot_id and len(tokenizer().encode_batch([phrase])[0]) <= 8:
            np.testing.assert_allclose(features[row], tokens[0, :count], atol=2e-5)


@torch.inference_mode()
def test_a_teacher_that_reads_its_padding_is_given_it() -> None:
    module = random_encoder(small_config("s0", Convention(16, 0, "none", "slice")))
    ids = prompt_ids(["white dog", "a very long purple umbrella"], Tokenizer(), 16)
    features = Ragged(EncoderTeacher(module).features(ids), ids.offsets)
    tokens, _ = module(torch.from_numpy(Tokenizer()(["white dog"], 16)))
    np.testing.assert_allclose(features[0], tokens[0, :4], atol=2e-5)


def test_what_fp16_cannot_hold_is_refused(tmp_path: Path) -> None:
    class Broken(Counting):
        def features(self, ids: Ragged) -> np.ndarray:
            return np.full((len(ids.values), 3), np.nan, np.float32)

    with pytest.raises(LitetextError, match="hold NaN or exceed fp16's 65,504"):
        TargetStore(tmp_path, Broken()).fill(A)
