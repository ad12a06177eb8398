"""Small random SAM3 video models in transformers' own folders, and clips in which things come and go."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Sam3ImageProcessor, Sam3VideoConfig, Sam3VideoModel
from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoInferenceSession
from transformers.models.sam3_video.processing_sam3_video import Sam3VideoProcessor

from litetext import Tokenizer

from ..segment.conftest import CONTEXT, IMAGE_SIZE, small_config

WIDTH = 128  # what transformers' memory attention works with, beside SAM3's own 256
GRID = IMAGE_SIZE // 14
FRAME_SIZE = (60, 84)


def tracker_config(vision: dict[str, Any]) -> dict[str, Any]:
    """SAM3's memory tracker, everything tiny but its memory width, which transformers writes down."""
    return {
        "model_type": "sam3_tracker_video",
        "vision_config": vision,
        "image_size": IMAGE_SIZE,
        "prompt_encoder_config": {"hidden_size": WIDTH, "image_size": IMAGE_SIZE, "patch_size": 14},
        "mask_decoder_config": {
            "hidden_size": WIDTH,
            "mlp_dim": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 8,  # as published: a file in Meta's layout does not say
            "iou_head_hidden_dim": WIDTH,
        },
        "memory_attention_hidden_size": WIDTH,
        "memory_attention_num_layers": 2,
        "memory_attention_feed_forward_hidden_size": 64,
        "memory_attention_rope_feat_sizes": [GRID, GRID],
        "memory_encoder_hidden_size": WIDTH,
        "memory_encoder_output_channels": 64,
        "mask_downsampler_embed_dim": WIDTH,
        "memory_fuser_embed_dim": WIDTH,
        "memory_fuser_intermediate_dim": 64,
    }


def video_model(structure: str, seed: int = 0, **policy: Any) -> Any:
    """A random Sam3VideoModel whose detections and tracks come, go and are corrected."""
    torch.manual_seed(seed)
    detector = small_config(structure, width=WIDTH).to_dict()
    numbers: dict[str, Any] = {
        "low_res_mask_size": 4 * GRID,
        "score_threshold_detection": 0.3,
        "new_det_thresh": 0.4,
        "high_conf_thresh": 0.35,
        "high_iou_thresh": 0.3,
        "recondition_every_nth_frame": 4,
        "hotstart_delay": 5,
        "hotstart_unmatch_thresh": 3,
        "hotstart_dup_thresh": 3,
        "trk_assoc_iou_thresh": 0.2,
    }
    config = Sam3VideoConfig(
        detector_config=detector,
        tracker_config=tracker_config(detector["vision_config"]),
        **(numbers | policy),
    )
    model = Sam3VideoModel(config).eval()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if tensor.dim() > 1:
                scale = 0.5 if "embed" in name else 1.2 * tensor[0].numel() ** -0.5
                tensor.normal_(std=scale)
            elif name.endswith("bias"):
                tensor.normal_(std=0.1)
        # random weights would say of most objects that they are not in the frame
        model.tracker_model.mask_decoder.pred_obj_score_head.proj_out.bias.add_(3.0)
    return model


@dataclass
class VideoReference:
    """A saved video model, and transformers' own way of running it."""

    folder: Path
    model: Any
    processor: Any
    outputs: list[Any] = field(default_factory=list)  # of `results`, before post-processing

    def session(self, frames: list[NDArray[np.uint8]], prompts: list[str], text: Any = None) -> Any:
        """transformers' session of a whole video.

        Prompts are tokenized as its processor does it, or come as ``text``: features of litetext's own encoder.
        """
        session = Sam3VideoInferenceSession(dtype=torch.float32, video_height=FRAME_SIZE[0], video_width=FRAME_SIZE[1])
        session.processed_frames = {
            index: self.processor(images=frame, return_tensors="pt")["pixel_values"][0]
            for index, frame in enumerate(frames)
        }
        for prompt in prompts:
            ids = Tokenizer().encode_batch([prompt])[0]
            padding = CONTEXT - len(ids)
            row = session.add_prompt(prompt)
            session.prompt_input_ids[row] = torch.tensor([ids + ids[-1:] * padding])
            session.prompt_attention_masks[row] = torch.tensor([[1] * len(ids) + [0] * padding])
            if text is not None:
                session.prompt_embeddings[row] = SimpleNamespace(pooler_output=text.tokens[row : row + 1])
                session.prompt_attention_masks[row] = (~text.mask[row : row + 1]).long()
        return session

    def results(self, frames: list[NDArray[np.uint8]], prompts: list[str], text: Any = None) -> list[dict[str, Any]]:
        """transformers' final results for every frame: ``object_ids``, ``masks``, ``scores`` and the rest."""
        session = self.session(frames, prompts, text)
        post = Sam3VideoProcessor.postprocess_outputs
        processor = Sam3VideoProcessor.__new__(Sam3VideoProcessor)
        results = []
        self.outputs = []
        for output in self.model.propagate_in_video_iterator(session):
            self.outputs.append(output)
            results.append(post(processor, session, output))
        return results


def save_video_reference(structure: str, folder: Path, seed: int = 0, **policy: Any) -> VideoReference:
    """A random video model in transformers' folder."""
    model = video_model(structure, seed, **policy)
    processor = Sam3ImageProcessor(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE})
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return VideoReference(folder, model, processor)


def clip(count: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Frames in which blots drift over a drifting background, some of them for a while only."""
    random = np.random.default_rng(seed)
    height, width = FRAME_SIZE
    ground = random.integers(0, 255, (height // 6, width // 6, 3)).repeat(6, 0).repeat(6, 1)
    blots = [
        (random.integers(0, 255, 3), random.uniform(0, 1, 2), random.normal(0, 0.03, 2), random.integers(8, 22),
         sorted(random.integers(0, count, 2)))
        for _ in range(6)
    ]  # fmt: skip
    frames = []
    for index in range(count):
        frame = np.roll(ground, index // 2, axis=1).astype(np.uint8)
        for color, place, speed, side, (first, last) in blots:
            if not first <= index <= last:
                continue
            y, x = ((place + speed * index) % 1 * (height - side, width - side)).astype(int)
            frame[y : y + side, x : x + side] = color
        frames.append(frame)
    return frames
