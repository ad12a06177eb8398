"""The cache, the worker and the keys, each alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litetext.segment.backend import ImageFeatures
from litetext.serve.cache import FeatureCache, Kept, size_of
from litetext.serve.keys import ApiKeys
from litetext.serve.waiting import WaitingPixels
from litetext.serve.worker import BatchWorker, ExpiredError


def _kept(kilobytes: int) -> Kept:
    return Kept(ImageFeatures((1, 1), None, None, {"a": np.zeros(kilobytes << 10, np.uint8)}), (1, 1))  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 1500)), max_size=30))
def test_the_cache_never_holds_more_than_its_limit(puts: list[tuple[str, int]]) -> None:
    cache = FeatureCache(1)
    for key, kilobytes in puts:
        cache.put(key, _kept(kilobytes))
        assert cache.bytes <= 1 << 20
        assert cache.bytes == sum(size_of(cache.get(key).features.state) for key in "abcdef" if cache.get(key))  # type: ignore[union-attr]
        assert (cache.get(key) is not None) == (kilobytes <= 1024)


def test_what_was_used_last_stays() -> None:
    cache = FeatureCache(1)
    for key in "ab":
        cache.put(key, _kept(400))
    cache.get("a")
    cache.put("c", _kept(400))
    assert cache.get("a") and cache.get("c") and cache.get("b") is None


def test_tensors_and_dataclasses_are_counted() -> None:
    import torch

    from litetext.segment.backend import Detections

    found = Detections(np.zeros(10, np.float32), np.zeros(0), np.zeros(0), (torch.zeros(5), [torch.zeros(3)]))  # type: ignore[arg-type]
    assert size_of(found) == 40 + 20 + 12


@given(st.lists(st.one_of(st.integers(1, 60), st.none()), max_size=30))
def test_pixels_that_wait_never_take_more_than_the_limit(events: list[int | None]) -> None:
    waiting, held = WaitingPixels(100), []
    for size in events:  # a new array of that size, or the oldest one is done with
        if size is None:
            del held[:1]
            continue
        fits = sum(len(one) for one in held) + size <= 100
        kept = waiting.kept(np.zeros(size, np.uint8))
        assert (kept is not None) == fits
        held += [] if kept is None else [kept]
        del kept
        assert waiting.bytes == sum(len(one) for one in held) <= 100


def _blocked(worker: BatchWorker[int]) -> threading.Event:
    """Let the worker wait, so that what is asked meanwhile waits together."""
    release = threading.Event()
    worker.call(release.wait)
    time.sleep(0.05)
    return release


def test_what_waits_is_answered_together() -> None:
    seen: list[list[int]] = []

    def answer(asks: Sequence[int]) -> list[int]:
        seen.append(list(asks))
        return [ask * 2 for ask in asks]

    worker = BatchWorker(answer, batch=4, seconds=9)
    release = _blocked(worker)
    futures = [worker.submit(number) for number in range(6)]
    release.set()
    assert [future.result(5) for future in futures] == [0, 2, 4, 6, 8, 10]
    assert seen == [[0, 1, 2, 3], [4, 5]]
    worker.close()
    assert not worker.is_alive


def test_one_that_fails_spoils_no_other() -> None:
    def answer(asks: Sequence[int]) -> list[float]:
        return [1 / ask for ask in asks]

    worker = BatchWorker(answer, batch=4, seconds=9)
    release = _blocked(worker)
    futures = [worker.submit(number) for number in (1, 0, 2)]
    release.set()
    assert futures[0].result(5) == 1 and futures[2].result(5) == 0.5
    with pytest.raises(ZeroDivisionError):
        futures[1].result(5)
    assert worker.submit(4).result(5) == 0.25
    worker.close()


def test_work_expires_is_cancelled_or_comes_too_late() -> None:
    worker: BatchWorker[Any] = BatchWorker(lambda asks: list(asks), batch=4, seconds=0.1)
    release = _blocked(worker)
    late, cancelled = worker.submit(1), worker.submit(2)
    cancelled.cancel()
    time.sleep(0.2)
    release.set()
    with pytest.raises(ExpiredError):
        late.result(5)
    with pytest.raises(CancelledError):
        cancelled.result(5)
    worker.close()
    with pytest.raises(ExpiredError):
        worker.submit(3).result(5)


@given(st.text(min_size=1), st.text())
def test_only_the_key_itself_opens(key: str, other: str) -> None:
    keys = ApiKeys([key])
    assert keys.allow({"x-api-key": key})
    assert keys.allow({"x-api-key": other}) == (other == key)
    assert not keys.allow({}) and not keys.allow({"authorization": "Basic !!"}) and not keys.allow({"token": ""})
    assert key not in repr(vars(keys)) or len(key) < 8
