"""What an object remembers, frame by frame."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from litetext.track.memories import Memory, MemoryWindow, ObjectMemory

WINDOW = {"memories": 3, "pointers": 5, "conditioning": 2}


def _memory(quality: float = 1.0) -> Memory:
    return Memory(torch.zeros(2), torch.zeros(4, 2), quality)


frames = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 1.0])), min_size=1, max_size=40)


@given(frames, st.booleans(), st.booleans())
def test_forgetting_changes_nothing_that_is_read(
    frames: list[tuple[bool, float]], selection: bool, everything: bool
) -> None:
    window = MemoryWindow(**WINDOW, selection=selection, all_conditioning_pointers=everything)
    pruned, whole = ObjectMemory(window), ObjectMemory(window)
    for index, (conditioning, quality) in enumerate(frames):
        memory = _memory(quality)
        for one in (pruned, whole):
            copy = Memory(memory.pointer, memory.features, quality)
            (one.conditioning if conditioning or index == 0 else one.tracked)[index] = copy
        pruned.forget(index)
        read = [(back, memory.features is None) for back, memory in pruned.spatial(index + 1)]
        assert read == [(back, memory.features is None) for back, memory in whole.spatial(index + 1)]
        assert not any(missing for _, missing in read)
        pointers = [back for back, _ in pruned.pointers(index + 1, 6)]
        assert pointers == [back for back, _ in whole.pointers(index + 1, 6)]


def test_memory_is_flat() -> None:
    for selection in (False, True):
        memory = ObjectMemory(MemoryWindow(**WINDOW, selection=selection))
        held = []
        for index in range(200):
            (memory.tracked if index % 16 else memory.conditioning)[index] = _memory()
            memory.forget(index)
            held.append(memory.bytes())
        assert max(held[48:]) == max(held[48:96])


def test_the_nearest_conditioning_frames_are_read() -> None:
    memory = ObjectMemory(MemoryWindow(**WINDOW))
    for index in (0, 4, 8):
        memory.conditioning[index] = _memory()
    assert [back for back, _ in memory.spatial(9)] == [0, 0]
    assert [back for back, _ in memory.pointers(9, 6)] == [5, 1]


def test_badly_seen_frames_are_passed_over() -> None:
    memory = ObjectMemory(MemoryWindow(**WINDOW, selection=True))
    memory.conditioning[0] = _memory()
    for index, quality in enumerate((1.0, 1.0, 1.0, 0.0, 0.0), start=1):
        memory.tracked[index] = _memory(quality)
    # the last frame is always read, the ones before only where the object was seen
    assert [back for back, _ in memory.spatial(6)] == [0, 3, 2, 1]
    pointers = {back: id(pointer) for back, pointer in memory.pointers(6, 6)}
    assert pointers[1] == id(memory.tracked[5].pointer) and pointers[2] == id(memory.tracked[3].pointer)
