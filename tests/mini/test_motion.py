"""Clips are the same for everyone; their masks are exact, and an object is the same one in every frame."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litetext.mini.concepts import CONCEPTS
from litetext.mini.motion import FRAMES, LEAST_PIXELS, Clip, MotionWorld
from litetext.mini.world import World, generator

KNOWN = [concept.name for concept in CONCEPTS[:30]]


def world(size: int = 64) -> MotionWorld:
    return MotionWorld(World(KNOWN, size=size))


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [world(96).clip(generator(4, index)) for index in range(12)]


@given(seed=st.integers(0, 2**31), index=st.integers(0, 10_000), frames=st.integers(2, 30))
@settings(max_examples=15, deadline=None)
def test_a_clip_is_well_formed(seed: int, index: int, frames: int) -> None:
    clip = world().clip(generator(seed, index), np.linspace(0, 1, frames))
    assert clip.frames.shape == (frames, 64, 64, 3) and clip.frames.dtype == np.uint8
    assert clip.instances.shape == (frames, 64, 64) and clip.instances.dtype == np.uint8
    assert 1 <= len(clip.objects) <= 5
    assert clip.instances.max() <= len(clip.objects)
    for number in range(1, len(clip.objects) + 1):
        areas = (clip.instances == number).sum((1, 2))
        assert (areas > 0).mean() >= 1 / 6
        assert not ((areas > 0) & (areas < LEAST_PIXELS)).any()


@given(seed=st.integers(0, 2**31))
@settings(max_examples=10, deadline=None)
def test_a_clip_is_a_function_of_seed_and_index(seed: int) -> None:
    one, other = (world().clip(generator(seed, 0)) for _ in range(2))
    assert one.frames.tobytes() == other.frames.tobytes()
    assert one.instances.tobytes() == other.instances.tobytes()


def test_another_process_draws_the_same_clip() -> None:
    program = (
        "import hashlib; from litetext.mini.motion import MotionWorld\n"
        "from litetext.mini.world import World, generator\n"
        f"clip = MotionWorld(World({KNOWN!r}, size=64)).clip(generator(7, 3))\n"
        "print(hashlib.sha256(clip.frames.tobytes() + clip.instances.tobytes()).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    there = done.stdout.strip()
    here = world().clip(generator(7, 3))
    assert there == hashlib.sha256(here.frames.tobytes() + here.instances.tobytes()).hexdigest()


@given(seed=st.integers(0, 2**31))
@settings(max_examples=8, deadline=None)
def test_fewer_frames_are_the_same_play_seen_less_often(seed: int) -> None:
    """Masks at a time depend on nothing but the time (where the same objects are seen often enough to count)."""
    many = world().clip(generator(seed, 0), np.linspace(0, 1, 13))
    few = world().clip(generator(seed, 0), np.linspace(0, 1, 7))
    if len(many.objects) == len(few.objects):
        assert np.array_equal(many.instances[::2], few.instances)


def test_objects_move_hide_and_return(clips: list[Clip]) -> None:
    seen = [(clip.instances == row + 1).any((1, 2)) for clip in clips for row in range(len(clip.objects))]
    gaps = [one for one in seen if np.flatnonzero(one)[-1] - np.flatnonzero(one)[0] >= one.sum()]
    assert any(gap.sum() >= 3 for gap in gaps)
    assert any(one.all() for one in seen)
    moved = [
        (clip.instances[0] == row + 1) & (clip.instances[8] == row + 1)
        for clip in clips
        for row in range(len(clip.objects))
    ]
    assert np.mean([mask.any() for mask in moved]) < 0.9


def test_phrases_ask_for_nothing_that_changes(clips: list[Clip]) -> None:
    for index, clip in enumerate(clips):
        for pair in world().pairs(clip, generator(5, index), 6):
            assert pair.query.size is None and pair.query.place is None
            truths = [pair.query.truth(one.traits) for one in clip.objects]
            assert [row for row, truth in enumerate(truths) if truth] == list(pair.targets)
            assert None not in truths


def test_masklets_are_the_drawn_masks(clips: list[Clip]) -> None:
    for index, clip in enumerate(clips):
        pairs = world().pairs(clip, generator(6, index), 4)
        found = clip.masklets(pairs)
        assert found.frame_count == FRAMES and found.size == (96, 96)
        targets = [target for pair in pairs for target in pair.targets]
        by_id = dict(zip(found.object_ids.tolist(), range(len(found)), strict=True))
        for id, target in enumerate(targets):
            frames = found.frames[found.objects == by_id[id]].tolist()
            assert frames == np.flatnonzero((clip.instances == target + 1).any((1, 2))).tolist()
        for place in range(0, len(found.frames), 17):
            id = int(found.object_ids[found.objects[place]])
            assert np.array_equal(found.masks[place], clip.mask(int(found.frames[place]), targets[id]))


def test_hidden_objects_have_empty_masks(clips: list[Clip]) -> None:
    for clip in clips:
        for row in range(len(clip.objects)):
            hidden = np.flatnonzero(~(clip.instances == row + 1).any((1, 2)))
            assert not any(clip.mask(int(frame), row).any() for frame in hidden)
