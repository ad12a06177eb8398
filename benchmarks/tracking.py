"""What tracking costs: memory over long videos, state at real size, text calls, speed. Writes to ``video.json``.

    python benchmarks/tracking.py flat [--frames 10000]   # mini on a long video: memory of the process over the frames
    python benchmarks/tracking.py state                   # what one object's memory takes at real size
    python benchmarks/tracking.py prompts                 # 8 prompts against transformers' video session
    python benchmarks/tracking.py mini [--threads 2]      # mini, 4 prompts, a clip of 256 px, end to end

`state` runs SAM3's tracker at its published size with random weights in float32. Its memory attention, which takes ten
seconds an object and frame here and changes no shape, is left out. `prompts` draws a small random video model in which
the vision encoder takes most of a frame, and compares with one session of transformers that holds all 8 prompts, and
with 8 sessions of one prompt each, as systems that take one prompt a session need. Both find the same objects with the
same masks, which is checked. Seconds are processor seconds on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from time import process_time as clock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    Sam3ImageProcessor,
    Sam3TrackerVideoConfig,
    Sam3TrackerVideoModel,
    Sam3VideoConfig,
    Sam3VideoModel,
)
from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoInferenceSession
from transformers.utils import logging

from litetext import Tokenizer, VideoSegmenter
from litetext.data import samples
from litetext.images import read_image
from litetext.track import NO_TEMPORAL
from litetext.track.fusion import Detected
from litetext.track.memory_session import MemorySession
from litetext.track.memory_tracker import MemoryTracker, TrackerFeatures

RESULTS = Path(__file__).with_name("video.json")
ROUNDS = 9
PROMPTS = ["red car", "white dog", "old tree", "green bus", "blue kite", "black cup", "small horse", "apple"]
OWLS = samples()[1]


def resident() -> float:
    """MB that the process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def flat(frames: int) -> dict[str, Any]:
    """Memory of the process while mini tracks a video of many frames."""
    image = read_image(OWLS.image)
    clip = [np.roll(image, 2 * index, axis=1) for index in range(64)]
    session = VideoSegmenter.from_pretrained("mini", device="cpu").session(["an owl"])
    held: dict[int, float] = {}
    for index in range(frames):
        session.step(clip[index % len(clip)])
        if index + 1 in (500, 1000, 2000, 5000, frames):
            held[index + 1] = round(resident(), 1)
    return {"prompts": 1, "frames": frames, "resident_mb": held, "growth": round(held[frames] / held[500] - 1, 4)}


def state() -> dict[str, Any]:
    """MB that an object's memory takes at SAM3's size, frame by frame."""
    torch.manual_seed(0)
    model = Sam3TrackerVideoModel(Sam3TrackerVideoConfig(), remove_vision_encoder=True).eval()
    with torch.no_grad():
        model.mask_decoder.pred_obj_score_head.proj_out.bias.add_(10.0)
    model.memory_attention.forward = _attention_left_out
    session = MemorySession(MemoryTracker(model, None), NO_TEMPORAL)
    held = []
    with torch.inference_mode():
        for frame in range(24):
            detected = _none()
            if frame == 0:
                mask = torch.full((1, 288, 288), -10.0)
                mask[:, 80:200, 90:180] = 10.0
                detected = Detected(mask, torch.ones(1), torch.zeros(1, dtype=torch.long))
            features = _features()
            session.step(frame, features, detected)
            assert len(session.tracks.objects) == 1
            held.append(session.bytes() / 2**20)
    # transformers' session holds, of an object and a frame: two masks, the memory, its positions, a pointer and a score
    side, low, grid = 1008, 288, 72
    theirs = 4 * (side**2 + low**2) + grid**2 * 64 * (2 + 4) + 256 * 4 + 4
    return {
        "dtype": "float32, memory features in bfloat16",
        "mb_an_object": {str(frame): round(held[frame], 3) for frame in (0, 4, 8, 12, 15, 16, 17, 20, 23)},
        "constant_from_frame_16": len({round(one, 6) for one in held[16:]}) == 1,
        "transformers_mb_an_object_and_frame": round(theirs / 2**20, 2),
    }


def _attention_left_out(current_vision_features: torch.Tensor, **_: Any) -> torch.Tensor:
    return current_vision_features.transpose(0, 1)[None]


def _none() -> Detected:
    return Detected(torch.zeros(0, 288, 288), torch.zeros(0), torch.zeros(0, dtype=torch.long))


def _features() -> TrackerFeatures:
    fine = torch.randn(1, 32, 288, 288), torch.randn(1, 64, 144, 144)
    return TrackerFeatures(fine, torch.randn(5184, 1, 256), torch.randn(5184, 1, 256))


def vision_heavy_model() -> Sam3VideoModel:
    """A random video model whose vision encoder takes most of a frame."""
    torch.manual_seed(0)
    side, patch, width = 252, 14, 128
    grid = side // patch
    vit = {
        "model_type": "sam3_vit_model",
        "hidden_size": 384,
        "intermediate_size": 1536,
        "num_hidden_layers": 12,
        "num_attention_heads": 6,
        "image_size": side,
        "window_size": 9,
        "global_attn_indexes": [5, 11],
        "pretrain_image_size": 126,
    }
    vision = {
        "model_type": "sam3_vision_model",
        "backbone_config": vit,
        "fpn_hidden_size": width,
        "backbone_feature_sizes": [[4 * grid, 4 * grid], [2 * grid, 2 * grid], [grid, grid]],
    }
    block = {"hidden_size": width, "num_attention_heads": 4, "intermediate_size": 256}
    text = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2}
    detector = {
        "model_type": "sam3",
        "vision_config": vision,
        "text_config": {"model_type": "clip_text_model", "max_position_embeddings": 32, "projection_dim": 128} | text,
        "geometry_encoder_config": block | {"num_layers": 1, "roi_size": 3},
        "detr_encoder_config": block | {"num_layers": 2},
        "detr_decoder_config": block | {"num_layers": 2, "num_queries": 50},
        "mask_decoder_config": {"hidden_size": width, "num_attention_heads": 4},
        "detector_convention": "transformers",
    }
    tracker = {
        "model_type": "sam3_tracker_video",
        "vision_config": vision,
        "image_size": side,
        "prompt_encoder_config": {"hidden_size": width, "image_size": side, "patch_size": patch},
        "mask_decoder_config": {"hidden_size": width, "mlp_dim": 128, "iou_head_hidden_dim": width},
        "memory_attention_hidden_size": width,
        "memory_attention_num_layers": 2,
        "memory_attention_feed_forward_hidden_size": 128,
        "memory_attention_rope_feat_sizes": [grid, grid],
        "memory_encoder_hidden_size": width,
        "mask_downsampler_embed_dim": width,
        "memory_fuser_embed_dim": width,
        "memory_fuser_intermediate_dim": 128,
    }
    config = Sam3VideoConfig(
        detector_config=detector,
        tracker_config=tracker,
        low_res_mask_size=4 * grid,
        score_threshold_detection=0.5,
        max_num_objects=8,
        hotstart_delay=0,
        hotstart_unmatch_thresh=0,
        hotstart_dup_thresh=0,
        recondition_every_nth_frame=0,
    )
    model = Sam3VideoModel(config).eval()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if tensor.dim() > 1:
                tensor.normal_(std=0.5 if "embed" in name else 1.2 * tensor[0].numel() ** -0.5)
        model.tracker_model.mask_decoder.pred_obj_score_head.proj_out.bias.add_(3.0)
    return model


def prompts() -> dict[str, Any]:
    """8 prompts on the same frames, ours and transformers' way."""
    frames = _clip(8)
    with tempfile.TemporaryDirectory() as folder:
        model = vision_heavy_model()
        processor = Sam3ImageProcessor(size={"height": 252, "width": 252})
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        segmenter = VideoSegmenter.from_pretrained(folder, convention="transformers", device="cpu")
        pixels = [processor(images=frame, return_tensors="pt")["pixel_values"][0] for frame in frames]
        runs: dict[str, Callable[[], list[set[int]]]] = {
            "litetext": lambda: _ours(segmenter, frames),
            "transformers, one session": lambda: _theirs(model, pixels, [PROMPTS]),
            "transformers, a session a prompt": lambda: _theirs(model, pixels, [[prompt] for prompt in PROMPTS]),
        }
        seconds, found = {}, {}
        for name, run in runs.items():
            start = clock()
            found[name] = run()
            seconds[name] = round((clock() - start) / len(frames), 3)
        start = clock()
        with torch.inference_mode():
            model.detector_model.get_vision_features(pixel_values=pixels[0][None])
        vision = clock() - start
    assert found["litetext"] == found["transformers, one session"], "the same objects must be found"
    ours = seconds["litetext"]
    return {
        "frames": len(frames),
        "prompts": len(PROMPTS),
        "objects": max(len(ids) for ids in found["litetext"]),
        "vision_seconds": round(vision, 3),
        "seconds_a_frame": seconds,
        "ratio": {name: round(taken / ours, 2) for name, taken in seconds.items() if name != "litetext"},
    }


def _clip(count: int) -> list[NDArray[np.uint8]]:
    image = read_image(OWLS.image)
    return [np.roll(image, 4 * index, axis=1) for index in range(count)]


def _ours(segmenter: VideoSegmenter, frames: list[NDArray[np.uint8]]) -> list[set[int]]:
    return [set(frame.object_ids.tolist()) for frame in segmenter.stream(frames, PROMPTS, frame_count=len(frames))]


def _theirs(model: Any, pixels: list[torch.Tensor], groups: list[list[str]]) -> list[set[int]]:
    found: list[set[int]] = [set() for _ in pixels]
    for group in groups:
        session = Sam3VideoInferenceSession(dtype=torch.float32)
        session.processed_frames = dict(enumerate(pixels))
        for prompt in group:
            ids = Tokenizer().encode_batch([prompt])[0]
            row = session.add_prompt(prompt)
            session.prompt_input_ids[row] = torch.tensor([ids + ids[-1:] * (32 - len(ids))])
            session.prompt_attention_masks[row] = torch.tensor([[1] * len(ids) + [0] * (32 - len(ids))])
        for frame in range(len(pixels)):
            masks = model(session, frame_idx=frame).obj_id_to_mask
            found[frame] |= {id for id, mask in masks.items() if bool((mask > 0).any())}
    return found


def mini(threads: int) -> dict[str, Any]:
    """Frames a second of mini, 4 prompts, a clip of 256 px, by one thread's processor or the clock."""
    torch.set_num_threads(threads)
    name, now = ("processor_second", clock) if threads == 1 else ("second", perf_counter)
    frames = _clip(30)
    segmenter = VideoSegmenter.from_pretrained("mini", device="cpu")
    asked = ["an owl", "the purple owl", "fire truck", "a gray fire truck"]
    list(segmenter.stream(frames[:5], asked))
    calls = _counted(segmenter)
    load, speeds = os.getloadavg()[0], []
    for _ in range(ROUNDS):
        start = now()
        found = segmenter.track(frames, asked)
        speeds.append(len(frames) / (now() - start))
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {threads} thread{'s' * (threads > 1)}",
        "programs_running_before": round(load, 1),
        "policy": segmenter.policy.name,
        "frames": len(frames),
        "objects": len(found),
        "text_encoder_calls_a_video": len(calls) / ROUNDS,
        f"frames_a_{name}": round(statistics.median(speeds), 1),
        f"frames_a_{name}_at_best": round(max(speeds), 1),
    }


def _counted(segmenter: VideoSegmenter) -> list[int]:
    """Calls of the text encoder from here on."""
    calls: list[int] = []
    encoder = segmenter.segmenter.text

    class Counted:
        def encode(self, prompts: Any) -> Any:
            calls.append(len(prompts))
            return encoder.encode(prompts)

    segmenter.segmenter.text = Counted()
    return calls


def save(key: str, figures: dict[str, Any]) -> None:
    """Put figures beside the others."""
    document = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    document[key] = {"machine": f"{platform.machine()}, 1 thread"} | figures | {"torch": torch.__version__}
    RESULTS.write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["flat", "state", "prompts", "mini"])
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=1, help="of mini")
    given = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    runs: dict[str, Callable[[], dict[str, Any]]] = {
        "flat": lambda: flat(given.frames),
        "state": state,
        "prompts": prompts,
        "mini": lambda: mini(given.threads),
    }
    name = f"tracking {given.what}" + (f", {given.threads} threads" if given.threads > 1 else "")
    save(name, runs[given.what]())


if __name__ == "__main__":
    main()
