"""`VideoSession`: one video under way. Frames are given to it, prompts and objects come and go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import LitetextError, short
from ..images import ImageLike, read_image
from ..results import FrameResult
from ..segment.questions import Prompt
from ..segment.segmenter import EncodedPrompts, Segmenter

if TYPE_CHECKING:
    from ..segment.backend import ImageFeatures
    from .memory_tracks import MemoryTracks
    from .video_tracks import VideoTracks


class VideoSession:
    """The state of one video, see `VideoSegmenter.session`.

    Args:
        segmenter: the detector and the text encoder.
        tracks: of this video, none yet.
        prompts: noun phrases, or concepts shown by example.

    Attributes:
        prompts: that are asked of the next frame, by their ids; an id is never given twice.
        frame_index: of the last frame, or -1.
    """

    def __init__(self, segmenter: Segmenter, tracks: VideoTracks, prompts: Prompt | Sequence[Prompt]) -> None:
        self._segmenter = segmenter
        self._tracks = tracks
        self.frame_index = -1
        self.prompts: dict[int, str] = {}
        self._encoded = EncodedPrompts((), ())
        self._next_prompt = 0
        self._size: tuple[int, int] | None = None
        self._image: ImageFeatures | None = None
        self._add_prompts(prompts)

    def add_prompt(self, prompt: Prompt) -> int:
        """Ask for another prompt from the next frame on, and return its id; one that is asked already keeps its own.

        Raises:
            LitetextError: an empty prompt.
        """
        name = prompt if isinstance(prompt, str) else prompt.name
        known = {asked: id for id, asked in self.prompts.items()}
        if name not in known:
            self._add_prompts([prompt])
        return next(id for id, asked in self.prompts.items() if asked == name)

    def drop_prompt(self, prompt: str) -> None:
        """Ask for a prompt no more, and forget its tracks. The others keep their ids.

        Raises:
            LitetextError: a prompt that is not asked.
        """
        ids = [id for id, asked in self.prompts.items() if asked == prompt]
        if not ids:
            raise LitetextError(f"{prompt!r} is not asked of this video; asked are {', '.join(self.prompts.values())}")
        places = [place for place, asked in enumerate(self.prompts.values()) if asked != prompt]
        self._encoded = self._encoded[places]
        del self.prompts[ids[0]]
        self._tracks.drop(ids[0], prompt)

    def add_object(self, prompt: str, *, mask: ArrayLike | None = None, box: ArrayLike | None = None) -> int:
        """Start a track in the last frame that was given, and return its id.

        Args:
            prompt: what results call the object; it need not be asked.
            mask: [H, W] bool of the object.
            box: [4] x1, y1, x2, y2 in pixels around the object, in place of the mask.

        Raises:
            LitetextError: before the first frame, without a mask or box, with both, or with an empty one.
        """
        if self._image is None or self._size is None:
            raise LitetextError("give the frame first: an object is added to the last frame that was given")
        if (mask is None) == (box is None):
            raise LitetextError("give the object's mask or its box, one of the two")
        id = next((id for id, asked in self.prompts.items() if asked == prompt), None)
        if id is None:
            id = self._next_prompt
            self._next_prompt += 1
        if mask is not None:
            return self._tracks.add_mask(self._image, _checked_mask(mask, self._size), id, prompt)
        return self._tracks.add_box(self._image, _checked_box(box, self._size), id, prompt, self._encoded)

    def remove(self, object_id: int) -> None:
        """Forget an object; it is in no result from here on.

        Raises:
            LitetextError: an id that no object has.
        """
        self._tracks.remove(object_id)

    def step(self, image: ImageLike) -> list[FrameResult]:
        """Give the next frame; returned are the frames that are settled by it, which may be none.

        Raises:
            LitetextError: an unreadable image, or one of another size than the first.
        """
        photo = read_image(image)
        size = (photo.shape[0], photo.shape[1])
        if self._size is not None and size != self._size:
            raise LitetextError(
                f"frame {self.frame_index + 1} is {size[1]}x{size[0]}, the frames before are "
                f"{self._size[1]}x{self._size[0]}; give frames of one size"
            )
        self._size = size
        self.frame_index += 1
        self._image = self._segmenter.encode_image(photo)
        return self._tracks.step(self.frame_index, self._image, self._encoded, self.prompts)

    def finish(self) -> list[FrameResult]:
        """Return the frames that were not settled yet; no frame comes after."""
        return self._tracks.finish()

    def stream(self, frames: Iterable[ImageLike]) -> Iterator[FrameResult]:
        """Yield what is in each frame, while frames come in."""
        for frame in frames:
            yield from self.step(frame)
        yield from self.finish()

    def save(self, path: Path, run: Mapping[str, Any], settled: int) -> None:
        """Write to a file what frames to come depend on, where a memory tracker tracks.

        Args:
            path: of the file, which is replaced.
            run: JSON values that say what the session is of: model, video and prompts.
            settled: how many frames have come out, which `load` returns.
        """
        from .snapshot import save_state

        state = {"frame_index": self.frame_index, "size": self._size, "settled": settled}
        save_state(path, state | {"tracks": self._memory.state()}, run)

    def load(self, path: Path, run: Mapping[str, Any], most: int) -> int | None:
        """Go on from what `save` wrote in a session of the same prompts; frames come from behind its `frame_index`.

        Args:
            path: of the file.
            run: as it was given to `save`.
            most: how many frames' results are kept elsewhere: a state after more cannot be gone on from.

        Returns:
            How many frames had come out; None where the file is none of this run, or after more than ``most`` frames,
            and nothing has changed.
        """
        from .snapshot import load_state

        state = load_state(path, run, self._memory.session)
        if state is None or state["settled"] > most:
            return None
        self._memory.restore(state["tracks"])
        self.frame_index, self._size = state["frame_index"], state["size"]
        return int(state["settled"])

    @property
    def _memory(self) -> MemoryTracks:
        from .memory_tracks import MemoryTracks

        if not isinstance(self._tracks, MemoryTracks):
            raise LitetextError("only what a memory tracker remembers can be saved; link the detections anew instead")
        return self._tracks

    def _add_prompts(self, prompts: Prompt | Sequence[Prompt]) -> None:
        encoded = self._segmenter.encode_prompts(prompts)
        names = list(dict.fromkeys(encoded.names))
        self._encoded += encoded[[encoded.names.index(name) for name in names]]
        for name in names:
            self.prompts[self._next_prompt] = name
            self._next_prompt += 1


def _checked_mask(mask: ArrayLike, size: tuple[int, int]) -> NDArray[np.bool_]:
    array = np.asarray(mask)
    if array.shape != size:
        raise LitetextError(f"the mask is {array.shape}, the frame is {size} (height, width)")
    return array.astype(bool)


def _checked_box(box: ArrayLike | None, size: tuple[int, int]) -> NDArray[np.float32]:
    array = np.asarray(box, dtype=np.float32)
    height, width = size
    if array.shape != (4,) or not np.isfinite(array).all():
        raise LitetextError(f"a box must be x1, y1, x2, y2 in pixels, got {short(box)}")
    inside = array.clip(0, [width, height, width, height])
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        raise LitetextError(f"the box {array.tolist()} has no pixel of the frame ({width}x{height})")
    return inside.astype(np.float32)
