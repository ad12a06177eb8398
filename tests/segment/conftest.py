"""Small random SAM3 models in transformers' own folders, whose every part moves the result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import Sam3Config, Sam3ImageProcessor, Sam3LiteTextConfig, Sam3LiteTextModel, Sam3Model

from litetext import Segmenter, Tokenizer

STRUCTURES = ("teacher", "s0", "s1", "l")
IMAGE_SIZE = 112
WIDTH = 32
CONTEXT = 32  # what transformers' processor pads prompts to
NOUNS = ("dog", "cat", "red car", "tree", "old man", "kite", "blue umbrella", "cup of tea", "horse", "zebra")
PROMPTS = tuple(f"{size} {noun}" for noun in NOUNS for size in ("small", "large", "white", "broken", "distant"))

_TEXT: dict[str, dict[str, Any]] = {
    "teacher": {"model_type": "clip_text_model", "num_hidden_layers": 2, "max_position_embeddings": 32},
    "s0": {"num_hidden_layers": 4, "max_position_embeddings": 16},
    "s1": {"num_hidden_layers": 3, "max_position_embeddings": 16, "use_repmixer_blocks": False},
    "l": {"num_hidden_layers": 2, "max_position_embeddings": 77, "use_repmixer_blocks": False},
}
_TEXT_WIDTHS = {"teacher": 64, "s0": 64, "s1": 64, "l": 128}  # heads are width / 64, as in every published encoder


def small_config(
    structure: str, image_size: int = IMAGE_SIZE, convention: str = "transformers", width: int = WIDTH
) -> Any:
    """A SAM3 with one of the four text towers, everything else tiny; ``width``: of the detector."""
    grid = image_size // 14
    text_width = _TEXT_WIDTHS[structure]
    text = {
        "vocab_size": 49408,
        "hidden_size": text_width,
        "num_attention_heads": text_width // 64,
        "intermediate_size": 2 * text_width,
        "projection_dim": 24 if structure == "teacher" else text_width,
        "hidden_act": "gelu",
    }
    vit = {
        "model_type": "sam3_vit_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": image_size,
        "window_size": 4,
        "global_attn_indexes": [1],
        "pretrain_image_size": 56,
    }
    block = {"hidden_size": width, "num_attention_heads": 4, "intermediate_size": 64}
    return (Sam3Config if structure == "teacher" else Sam3LiteTextConfig)(
        vision_config={
            "model_type": "sam3_vision_model",
            "backbone_config": vit,
            "fpn_hidden_size": width,
            "backbone_feature_sizes": [[4 * grid, 4 * grid], [2 * grid, 2 * grid], [grid, grid]],
        },
        text_config=text | _TEXT[structure],
        geometry_encoder_config=block | {"num_layers": 2, "roi_size": 3},
        detr_encoder_config=block | {"num_layers": 2},
        detr_decoder_config=block | {"num_layers": 3, "num_queries": 7},
        mask_decoder_config={"hidden_size": width, "num_attention_heads": 4},
        detector_convention=convention,
    )


def random_model(structure: str, seed: int = 0, convention: str = "transformers") -> Any:
    """A transformers model whose random weights are large enough for prompts, boxes and queries to differ."""
    torch.manual_seed(seed)
    model = (Sam3Model if structure == "teacher" else Sam3LiteTextModel)(
        small_config(structure, convention=convention)
    ).eval()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if tensor.dim() > 1:
                scale = 0.5 if "embed" in name else 1.2 * tensor[0].numel() ** -0.5
                tensor.normal_(std=scale)
            elif name.endswith("bias"):
                tensor.normal_(std=0.1)
    return model


@dataclass(frozen=True)
class Reference:
    """A saved model, and the plain transformers way of running it: one image, one prompt, one full forward."""

    folder: Path
    model: Any
    processor: Any

    def forward(self, photo: NDArray[np.uint8], prompt: str, boxes: Any = None, labels: Any = None) -> Any:
        """transformers' output for one prompt, tokenized as its own processor does (padded to 32 with EOT)."""
        ids = Tokenizer().encode_batch([prompt])[0]
        padding = CONTEXT - len(ids)
        inputs = {
            "pixel_values": self.processor(images=photo, return_tensors="pt")["pixel_values"],
            "input_ids": torch.tensor([ids + ids[-1:] * padding]),
            "attention_mask": torch.tensor([[1] * len(ids) + [0] * padding]),
        }
        if boxes is not None:
            height, width = photo.shape[:2]
            corners = torch.tensor(boxes, dtype=torch.float32) / torch.tensor([width, height, width, height])
            low, high = corners[:, :2], corners[:, 2:]
            inputs["input_boxes"] = torch.cat([(low + high) / 2, high - low], dim=1)[None]
            inputs["input_boxes_labels"] = torch.tensor([labels])
        with torch.no_grad():
            return self.model(**inputs)

    def detections(self, photo: NDArray[np.uint8], output: Any, threshold: float) -> dict[str, NDArray[Any]]:
        """transformers' own post-processing of `forward`, by falling score."""
        (found,) = self.processor.post_process_instance_segmentation(
            output, threshold=threshold, target_sizes=[photo.shape[:2]]
        )
        order = found["scores"].argsort(descending=True, stable=True)
        return {key: value[order].numpy() for key, value in found.items()}

    def spread_presence(self, photo: NDArray[np.uint8], prompts: tuple[str, ...], present: int) -> None:
        """Change the presence head so that exactly ``present`` of ``prompts`` are clearly there, and save again."""
        segmenter = Segmenter.from_pretrained(self.folder, device="cpu")
        text = segmenter.backend.prepare_text(segmenter.text.encode(prompts))
        detections = segmenter.backend.detect(segmenter.encode_image(photo).state, text)
        logits = torch.from_numpy(detections.presence_logits)
        ranked = logits.sort(descending=True).values
        middle = (ranked[present - 1] + ranked[present]) / 2
        gain = 4.0 / (ranked[present - 1] - ranked[present])
        head = self.model.detr_decoder.presence_head.layer3
        with torch.no_grad():
            head.weight.mul_(gain)
            head.bias.sub_(middle).mul_(gain)
        self.model.save_pretrained(self.folder)


def save_reference(structure: str, folder: Path, seed: int = 0, convention: str = "transformers") -> Reference:
    """A random model, whose folder says under which detector convention it is run, and its image processor."""
    model = random_model(structure, seed, convention)
    processor = Sam3ImageProcessor(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE})
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return Reference(folder, model, processor)


@pytest.fixture(scope="session")
def photo() -> NDArray[np.uint8]:
    """A picture with structure at several scales, [70, 90, 3]."""
    random = np.random.default_rng(3)
    coarse = random.integers(0, 256, (7, 9, 3)).repeat(10, axis=0).repeat(10, axis=1)
    return (0.7 * coarse + 0.3 * random.integers(0, 256, coarse.shape)).astype(np.uint8)


@pytest.fixture(scope="session", params=STRUCTURES)
def reference(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return save_reference(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """One model with SAM3's own text tower, for what does not depend on the tower."""
    return save_reference("teacher", tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="session")
def segmenter(teacher: Reference) -> Segmenter:
    return Segmenter.from_pretrained(teacher.folder, device="cpu")
