"""What a tracked object remembers of past frames: a window, and nothing outside it.

SAM3's tracker looks at six past frames, the object pointers of fifteen, and four frames in which it was corrected
(conditioning frames). What no later frame can read is dropped as soon as that is known, so an object takes the same
memory after ten thousand frames as after sixteen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(slots=True, eq=False)
class Memory:
    """One object in one past frame.

    Attributes:
        pointer: [C] what the mask decoder made of the object.
        features: [h*w, C_mem] the mask and the image encoded together; None once no later frame reads it.
        quality: predicted IoU times how certain the object is there, 0..1; memory selection goes by it.
    """

    pointer: Tensor
    features: Tensor | None = None
    quality: float = 1.0

    def bytes(self) -> int:
        """Return what the tensors take."""
        return sum(one.numel() * one.element_size() for one in (self.pointer, self.features) if one is not None)


@dataclass(frozen=True, slots=True)
class MemoryWindow:
    """How far an object's memory reaches.

    Attributes:
        memories: past frames whose features are read.
        pointers: past frames whose pointers are read.
        conditioning: conditioning frames whose features are read.
        selection: whether frames are chosen by quality, see `TrackingPolicy.memory_selection`.
        all_conditioning_pointers: whether every conditioning frame lends its pointer, as transformers has
            it, or those of the chosen ones do.
        least_quality: a frame may be chosen above this.
    """

    memories: int = 6
    pointers: int = 15
    conditioning: int = 4
    selection: bool = False
    all_conditioning_pointers: bool = False
    least_quality: float = 0.01


@dataclass(slots=True, eq=False)
class ObjectMemory:
    """The past frames of one object, rising.

    Attributes:
        window: how far they reach.
        conditioning: frames in which a detection or the user said where the object is.
        tracked: frames in which it was tracked.
    """

    window: MemoryWindow
    conditioning: dict[int, Memory] = field(default_factory=dict)
    tracked: dict[int, Memory] = field(default_factory=dict)

    def spatial(self, frame: int) -> Iterator[tuple[int, Memory]]:
        """Yield the memories that ``frame`` reads, with how far back each counts as; conditioning frames count as 0."""
        chosen = self._chosen_conditioning(frame)
        yield from ((0, self.conditioning[index]) for index in chosen)
        recent = self._recent(frame)
        for back in range(self.window.memories, 0, -1):
            past = recent.get(back)
            if past is None:
                continue
            memory = self.tracked.get(past)
            if memory is None and past not in chosen:
                memory = self.conditioning.get(past)
            if memory is not None:
                yield back, memory

    def pointers(self, frame: int, greatest: int) -> Iterator[tuple[int, Tensor]]:
        """Yield the object pointers that ``frame`` reads, with how far back each counts as.

        Args:
            frame: that is tracked.
            greatest: how many frames back count at most, exclusive.
        """
        chosen = self._chosen_conditioning(frame)
        for index in self.conditioning if self.window.all_conditioning_pointers else chosen:
            yield frame - index, self.conditioning[index].pointer
        recent = self._recent(frame)
        for back in range(1, greatest):
            past = recent.get(back)
            memory = None if past is None else self.tracked.get(past)
            if memory is None and past is not None and self._lends_as_tracked(past, chosen):
                memory = self.conditioning.get(past)
            if memory is not None:
                yield back, memory.pointer

    def forget(self, frame: int) -> None:
        """Drop what no frame after ``frame`` reads."""
        following = frame + 1
        recent = self._recent(following)
        read = {index for back, index in recent.items() if back <= self.window.memories}
        kept = set(recent.values())
        for index in list(self.tracked):
            if index not in kept:
                del self.tracked[index]
            elif index not in read:
                self.tracked[index].features = None
        chosen = set(self._chosen_conditioning(following))
        for index in list(self.conditioning):
            if index in chosen:
                continue
            if index not in kept and not self.window.all_conditioning_pointers:
                del self.conditioning[index]
            elif index not in read:
                self.conditioning[index].features = None

    def bytes(self) -> int:
        """Return what all memories take."""
        return sum(memory.bytes() for part in (self.conditioning, self.tracked) for memory in part.values())

    def _lends_as_tracked(self, index: int, chosen: list[int]) -> bool:
        return not self.window.all_conditioning_pointers and index not in chosen

    def _chosen_conditioning(self, frame: int) -> list[int]:
        """The conditioning frames nearest to ``frame``."""
        frames = sorted(index for index in self.conditioning if index <= frame)
        if len(frames) <= self.window.conditioning:
            return frames
        nearest = frames[-self.window.conditioning :]
        return nearest[::-1] if self.window.all_conditioning_pointers else nearest  # as transformers orders them

    def _recent(self, frame: int) -> dict[int, int]:
        """How far back a past frame counts as -> the frame."""
        if not self.window.selection:
            return {back: frame - back for back in range(1, self.window.pointers + 1)}
        good = [index for index, memory in self.tracked.items() if memory.quality > self.window.least_quality]
        good = sorted(index for index in good if index < frame)[-self.window.pointers :]
        if frame - 1 not in good:
            good.append(frame - 1)
        return dict(enumerate(reversed(good), start=1))
