"""`VideoSegmenter`: noun phrases through time.

Frames come in one after the other, from a file, a camera or any iterable, and what is in them goes out as
`FrameResult`: every object with an id that it keeps. The detector is a `Segmenter`, whose text encoder runs once for
the whole video; a `TrackingPolicy` says how its detections become tracks.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..encoders.features import TextEncoder
from ..errors import LitetextError
from ..images import ImageLike
from ..results import FrameResult, Masklets
from ..segment import Segmenter
from ..segment.convention import ConventionLike, named_convention
from ..segment.questions import Prompt
from .policy import PolicyLike, named_policy
from .video_tracks import LinkedDetections

if TYPE_CHECKING:
    import torch

    from .memory_tracker import MemoryTracker
    from .video_session import VideoSession
    from .video_tracks import VideoTracks


class VideoSegmenter:
    """SAM3 on video, with a text encoder plugged in.

    Attributes:
        segmenter: the detector and the text encoder.
        policy: how detections become tracks.
        tracker: the memory tracker, or None where the policy links detections alone.
        prompt_batch: prompts that the detector decodes together.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        policy: PolicyLike = "full",
        tracker: MemoryTracker | None = None,
        *,
        prompt_batch: int = 8,
    ) -> None:
        self.segmenter = segmenter
        self.prompt_batch = prompt_batch
        self.policy = named_policy(policy)
        self.tracker = tracker
        if self.policy.memory and tracker is None:
            raise LitetextError(
                f"the policy {self.policy.name} needs a memory tracker, which this model lacks; use by-detection"
            )

    def __repr__(self) -> str:
        return f"VideoSegmenter({self.segmenter!r}, policy={self.policy.name!r})"

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        text: TextEncoder | str | os.PathLike[str] | None = None,
        policy: PolicyLike | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        *,
        tracker: str | os.PathLike[str] | None = None,
        convention: ConventionLike | None = None,
        backend: str | None = None,
        threads: int | None = None,
        allow_nan: bool = False,
        image_size: int | None = None,
        compile: bool = False,
        prompt_batch: int = 8,
        object_batch: int = 8,
    ) -> VideoSegmenter:
        """Load a video segmenter.

        Args:
            name_or_path: what `Segmenter.from_pretrained` takes. Folders of transformers' ``Sam3VideoModel`` and Meta's
                ``sam3.pt`` come with a memory tracker.
            text: the text encoder, or what `litetext.load_encoder` takes; by default the model's own.
            policy: ``"full"``, ``"no-temporal"``, ``"by-detection"`` or a `TrackingPolicy`; by default ``"full"`` for a
                model with a memory tracker, ``"by-detection"`` for any other.
            device: ``"cpu"``, ``"cuda"``, …; by default a GPU if there is one.
            dtype: of the weights and the computing, such as ``"bfloat16"``; float32 by default.
            tracker: the model whose memory tracker it is, where the detector's has none: SAM3's tracker reads
                the hidden states of the vision encoder, which SAM3-LiteText shares with SAM3.
            convention: ``"meta"`` or ``"transformers"``: whose details detector and tracker follow; by default as the
                checkpoint says, and where that says nothing Meta's.
            backend: ``"torch"`` or ``"onnx"`` for a model that runs in both; memory trackers run in torch.
            threads: CPU threads of an export.
            allow_nan: load weights that are NaN or infinite too.
            image_size: side of the square that frames are resized to, in pixels; by default the model's own.
            compile: run the detector through `torch.compile`, see `Segmenter.from_pretrained`; a memory tracker is not.
            prompt_batch: prompts that the detector decodes together.
            object_batch: objects that the tracker runs together. With both at 1 results are transformers' to the bit.

        Raises:
            LitetextError: as `Segmenter.from_pretrained`, or a policy that needs a tracker which the model lacks.
        """
        from . import loading

        remembered = name_or_path if tracker is None else tracker
        has_tracker = loading.has_tracker(remembered)
        chosen = named_policy(policy if policy is not None else ("full" if has_tracker else "by-detection"))
        if chosen.memory and not has_tracker:
            raise loading.no_tracker(remembered, chosen.name)
        segmenter = Segmenter.from_pretrained(
            name_or_path,
            text,
            device,
            dtype,
            threads,
            convention,
            "torch" if chosen.memory else backend,
            allow_nan,
            image_size=image_size,
            compile=compile,
        )
        if not chosen.memory:
            return cls(segmenter, chosen, prompt_batch=prompt_batch)
        named = segmenter.backend.convention if convention is None else named_convention(convention)
        loaded, chosen = loading.load_tracker(
            remembered, segmenter, chosen, named.name, object_batch=object_batch, allow_nan=allow_nan
        )
        return cls(segmenter, chosen, loaded, prompt_batch=prompt_batch)

    def session(self, prompts: Prompt | Sequence[Prompt], *, frame_count: int | None = None) -> VideoSession:
        """Return the state of one video, to which frames are given one by one.

        Args:
            prompts: noun phrases, or concepts shown by example.
            frame_count: frames of the video, where it is known. One shorter than the tracker's window (16 frames) is
                then tracked exactly as transformers tracks a whole video.
        """
        from .video_session import VideoSession

        return VideoSession(self.segmenter, self._tracks(frame_count), prompts)

    def stream(
        self,
        frames: Iterable[ImageLike],
        prompts: Prompt | Sequence[Prompt],
        *,
        frame_count: int | None = None,
    ) -> Iterator[FrameResult]:
        """Yield what is in each frame, while frames come in.

        With a hotstart delay the first result comes after as many frames, and the last ones after the last frame.

        Args:
            frames: uint8 [H, W, 3], or whatever `Segmenter.segment` takes as an image; all of one size.
            prompts: noun phrases, or concepts shown by example.
            frame_count: see `session`.
        """
        return self.session(prompts, frame_count=frame_count).stream(frames)

    def track(self, frames: Iterable[ImageLike], prompts: Prompt | Sequence[Prompt]) -> Masklets:
        """Return all tracks of a video: `stream`, collected.

        Args:
            frames: as in `stream`.
            prompts: noun phrases, or concepts shown by example.
        """
        count = len(frames) if isinstance(frames, Sequence | np.ndarray) else None
        return Masklets.collect(self.stream(frames, prompts, frame_count=count))

    def _tracks(self, frame_count: int | None) -> VideoTracks:
        """Return the tracks of a new video, made as the policy says."""
        if self.policy.memory:
            from .memory_tracks import MemoryTracks

            assert self.tracker is not None  # checked where it was given
            return MemoryTracks(self.segmenter, self.tracker, self.policy, self.prompt_batch, frame_count)
        return LinkedDetections(self.segmenter, self.policy, self.prompt_batch)
