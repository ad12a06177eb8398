"""The memory tracker against transformers' own video session, frame by frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from litetext.results import FrameResult
from litetext.segment.torch_backend import TorchBackend
from litetext.track import VideoSegmenter
from litetext.track.memories import ObjectMemory
from litetext.track.memory_session import MemorySession, TrackedFrame
from litetext.track.tracks import TrackedObject

from .conftest import VideoReference, clip, save_video_reference

PROMPTS = ["white dog", "red car", "old man"]
CASES = (("teacher", 5), ("s0", 3))  # seeds under which tracks come, go, are corrected and removed


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case[0])
def reference(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VideoReference:
    structure, seed = request.param
    return save_video_reference(structure, tmp_path_factory.mktemp("video"), seed)


def _load(reference: VideoReference, batch: int = 1, **options: Any) -> VideoSegmenter:
    return VideoSegmenter.from_pretrained(
        reference.folder, convention="transformers", device="cpu", prompt_batch=batch, object_batch=batch, **options
    )


@pytest.fixture
def all_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode the masks of every query, as transformers does; the chosen ones alone round differently."""
    chosen = TorchBackend.decode_masks_together

    def every(self: Any, state: Any, detections: Any, queries: Any) -> Any:
        of_all = chosen(self, state, detections, dict.fromkeys(queries, np.arange(detections.logits.shape[1])))
        return (masks[rows] for masks, rows in zip(of_all, queries.values(), strict=True))

    monkeypatch.setattr(TorchBackend, "decode_masks_together", every)


def _by_id(frame: FrameResult) -> dict[int, Any]:
    masks = frame.instances.masks
    return {int(id): masks[row] for row, id in enumerate(frame.object_ids)}


@pytest.fixture
def tracked(monkeypatch: pytest.MonkeyPatch) -> list[TrackedFrame]:
    """What the memory tracker says of each frame, before masks are enlarged."""
    frames: list[TrackedFrame] = []
    step = MemorySession.step

    def noted(self: MemorySession, *arguments: Any) -> TrackedFrame:
        frames.append(step(self, *arguments))
        return frames[-1]

    monkeypatch.setattr(MemorySession, "step", noted)
    return frames


@pytest.fixture
def corrections(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ids of tracks whose memory a detection corrects, as it does."""
    ids: list[int] = []
    correct = MemorySession._correct

    def noted(self: MemorySession, track: TrackedObject, *arguments: Any) -> None:
        ids.append(track.object_id)
        correct(self, track, *arguments)

    monkeypatch.setattr(MemorySession, "_correct", noted)
    return ids


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 3])
def test_same_ids_and_masks_as_transformers(
    reference: VideoReference, all_queries: None, tracked: list[TrackedFrame], corrections: list[int], seed: int
) -> None:
    segmenter = _load(reference)
    frames = clip(60, seed)
    text = segmenter.segmenter.backend.prepare_text(segmenter.segmenter.text.encode(PROMPTS))
    theirs, outputs = reference.results(frames, PROMPTS, text), reference.outputs
    ours = list(segmenter.stream(frames, PROMPTS, frame_count=60))

    assert [frame.frame_index for frame in ours] == list(range(60))
    assert sum(len(frame.object_ids) for frame in ours) > 5
    assert any(frame.removed for frame in tracked)
    assert corrections or seed == 3  # with which one of the two models has none
    for frame, output in zip(tracked, outputs, strict=True):
        kept = {id: row for row, id in enumerate(frame.object_ids) if id not in frame.removed}
        assert sorted(kept) == sorted(output.obj_id_to_mask), frame.frame
        for id, row in kept.items():
            assert torch.equal(frame.logits[row], output.obj_id_to_mask[id][0]), f"frame {frame.frame}, object {id}"
    for one, other in zip(ours, theirs, strict=True):
        masks = _by_id(one)
        assert sorted(masks) == other["object_ids"].tolist(), one.frame_index
        for id, mask in zip(other["object_ids"].tolist(), other["masks"].numpy(), strict=True):
            # equal logits, enlarged by numpy and by torch: a pixel at zero may round either way
            assert (masks[id] ^ mask).sum() <= 1, f"frame {one.frame_index}, object {id}"
        scores = dict(zip(other["object_ids"].tolist(), other["scores"].tolist(), strict=True))
        for id, score in zip(one.object_ids.tolist(), one.instances.scores.tolist(), strict=True):
            assert score == pytest.approx(scores[id], abs=1e-6)


def test_batches_and_our_own_text_change_nothing_that_counts(reference: VideoReference) -> None:
    frames = clip(20, seed=1)  # random weights let rounding grow: over more frames masks drift apart
    theirs = reference.results(frames, PROMPTS)
    ours = list(_load(reference, batch=8).stream(frames, PROMPTS, frame_count=20))
    for one, other in zip(ours, theirs, strict=True):
        masks = _by_id(one)
        assert sorted(masks) == other["object_ids"].tolist(), one.frame_index
        for id, mask in zip(other["object_ids"].tolist(), other["masks"].numpy(), strict=True):
            assert (masks[id] ^ mask).mean() < 2e-3, (one.frame_index, id)


@pytest.mark.slow
@pytest.mark.parametrize("convention", ["meta", "transformers"])
def test_forgetting_changes_no_bit(
    convention: str, tmp_path: Path, corrections: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = clip(240, seed=2)
    folder = save_video_reference("s0", tmp_path, seed=1).folder
    segmenter = VideoSegmenter.from_pretrained(folder, convention=convention, device="cpu")
    session = segmenter.session(PROMPTS)
    pruned, held = [], []
    for frame in frames:
        pruned += session.step(frame)
        held.append(session._tracks.session.bytes())  # type: ignore[attr-defined]
    monkeypatch.setattr(ObjectMemory, "forget", lambda self, frame: None)
    whole = list(segmenter.session(PROMPTS).stream(frames))
    assert any(len(frame.object_ids) for frame in whole) and corrections
    for one, other in zip([*pruned, *session.finish()], whole, strict=True):
        assert one.object_ids.tolist() == other.object_ids.tolist(), one.frame_index
        assert one.instances.masks.counts == other.instances.masks.counts, one.frame_index


def test_a_stream_is_the_whole_video(reference: VideoReference) -> None:
    segmenter = _load(reference)
    frames = clip(12, seed=1)
    streamed = list(segmenter.stream(iter(frames), PROMPTS, frame_count=len(frames)))
    whole = segmenter.track(frames, PROMPTS)
    for frame in streamed:
        other = whole.frame(frame.frame_index)
        assert sorted(frame.object_ids.tolist()) == sorted(other.object_ids.tolist())
    assert whole.frame_count == len(frames)


def test_the_text_encoder_runs_once(reference: VideoReference, monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter = _load(reference)
    calls = []
    encode = segmenter.segmenter.text.encode

    class Counted:
        def encode(self, prompts: Any) -> Any:
            calls.append(list(prompts))
            return encode(prompts)

    segmenter.segmenter.text = Counted()
    list(segmenter.stream(clip(4), PROMPTS))
    assert calls == [PROMPTS]


def test_tracker_weights_that_do_not_fit_are_named(reference: VideoReference, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    from litetext import LitetextError

    folder = tmp_path / "model"
    shutil.copytree(reference.folder, folder)
    tensors = load_file(folder / "model.safetensors")
    key = next(key for key in tensors if key.endswith("tracker_model.no_object_pointer"))
    tensors[key] = torch.zeros(1, 3)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LitetextError, match="no_object_pointer"):
        VideoSegmenter.from_pretrained(folder, device="cpu")
