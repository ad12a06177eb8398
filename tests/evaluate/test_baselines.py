"""Baselines on small random weights: the machinery from words to masks, for every kind of detector and mask model."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from litetext.errors import LitetextError
from litetext.evaluate import evaluate_images, read_ground_truth
from litetext.evaluate.baselines import load_baseline
from litetext.evaluate.predict import BASELINES, predict

from .world import HEIGHT, WIDTH, WORDS, ground_truth


def save(folder, model, processor):
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def grounding(folder, kind):
    """A Grounding DINO or MM-Grounding-DINO a few numbers wide."""
    from transformers import (
        BertTokenizer,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessor,
        GroundingDinoProcessor,
        MMGroundingDinoConfig,
        MMGroundingDinoForObjectDetection,
        SwinConfig,
    )

    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", *WORDS])}
    config_class, model_class = {
        "grounding-dino": (GroundingDinoConfig, GroundingDinoForObjectDetection),
        "mm-grounding-dino": (MMGroundingDinoConfig, MMGroundingDinoForObjectDetection),
    }[kind]
    config = config_class(
        backbone_config=SwinConfig(
            image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4,
            out_features=["stage2", "stage3", "stage4"],
        ),
        text_config={
            "model_type": "bert", "vocab_size": len(vocabulary), "hidden_size": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "intermediate_size": 16,
        },
        d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, num_queries=6, max_text_len=16,
    )  # fmt: skip
    processor = GroundingDinoProcessor(
        GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96}), BertTokenizer(vocab=vocabulary)
    )
    return save(folder, model_class(config), processor)


def owl(folder, kind):
    """An OWL-ViT or OWLv2 a few numbers wide."""
    from transformers import (
        CLIPTokenizer,
        Owlv2Config,
        Owlv2ForObjectDetection,
        Owlv2ImageProcessor,
        Owlv2Processor,
        OwlViTConfig,
        OwlViTForObjectDetection,
        OwlViTImageProcessor,
        OwlViTProcessor,
    )

    letters = sorted(set("".join(WORDS)))
    tokens = ["!", "<|startoftext|>", "<|endoftext|>", *letters, *(letter + "</w>" for letter in letters)]
    tokenizer = CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[], model_max_length=16)
    config_class, model_class, image_processor, processor = {
        "owlvit": (OwlViTConfig, OwlViTForObjectDetection, OwlViTImageProcessor, OwlViTProcessor),
        "owlv2": (Owlv2Config, Owlv2ForObjectDetection, Owlv2ImageProcessor, Owlv2Processor),
    }[kind]
    width = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = config_class(
        text_config={**width, "vocab_size": len(tokens), "max_position_embeddings": 16, "eos_token_id": 2},
        vision_config={**width, "image_size": 32, "patch_size": 16},
        projection_dim=16,
    )
    return save(folder, model_class(config), processor(image_processor(size={"height": 32, "width": 32}), tokenizer))


def sam(folder):
    from transformers import SamConfig, SamImageProcessor, SamModel, SamProcessor

    config = SamConfig(
        vision_config={
            "hidden_size": 8, "output_channels": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "image_size": 64,
            "patch_size": 16, "mlp_dim": 8, "window_size": 2, "global_attn_indexes": [0], "num_pos_feats": 4,
        },
        prompt_encoder_config={
            "hidden_size": 8, "image_size": 64, "patch_size": 16, "mask_input_channels": 4, "image_embedding_size": 4,
        },
        mask_decoder_config={
            "hidden_size": 8, "mlp_dim": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "iou_head_hidden_dim": 8,
            "attention_downsample_rate": 1,
        },
    )  # fmt: skip
    image_processor = SamImageProcessor(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64})
    return save(folder, SamModel(config), SamProcessor(image_processor))


def sam2(folder):
    from transformers import Sam2Config, Sam2ImageProcessor, Sam2Model, Sam2Processor

    backbone = {
        "model_type": "sam2_hiera_det_model", "image_size": 64, "hidden_size": 8, "num_attention_heads": 1,
        "blocks_per_stage": [1, 2, 2, 1], "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 1, 1], "window_size_per_stage": [8, 4, 4, 4],
        "global_attention_blocks": [4], "window_positional_embedding_background_size": [4, 4],
    }  # fmt: skip
    config = Sam2Config(
        vision_config={
            "model_type": "sam2_vision_model", "backbone_config": backbone, "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]], "fpn_hidden_size": 16,
        },
        prompt_encoder_config={"hidden_size": 16, "image_size": 64, "patch_size": 16},
        mask_decoder_config={
            "hidden_size": 16, "mlp_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 1,
            "iou_head_hidden_dim": 16,
            "attention_downsample_rate": 1,
        },
    )  # fmt: skip
    image_processor = Sam2ImageProcessor(size={"height": 64, "width": 64}, mask_size={"height": 16, "width": 16})
    return save(folder, Sam2Model(config), Sam2Processor(image_processor))


DETECTORS = {"grounding-dino": grounding, "mm-grounding-dino": grounding, "owlvit": owl, "owlv2": owl}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("baselines")
    torch.manual_seed(0)
    found = {kind: make(folder / kind, kind) for kind, make in DETECTORS.items()}
    return {**found, "sam": sam(folder / "sam"), "sam2": sam2(folder / "sam2")}


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


@pytest.mark.parametrize(("kind", "masks"), [*((kind, "sam") for kind in DETECTORS), ("owlv2", "sam2")])
def test_boxes_become_masks_of_the_image_for_each_prompt(checkpoints, photo, kind, masks):
    system = load_baseline(checkpoints[kind], checkpoints[masks], device="cpu")
    found = system.segment(photo, ["red ball", "dog"], threshold=0.0001)
    assert len(found) > 0
    assert found.masks.shape == (len(found), HEIGHT, WIDTH)
    assert np.isnan(found.presence).all()
    for prompt in (0, 1):
        scores = found.scores[found.prompt_index == prompt]
        assert (np.diff(scores) <= 0).all()
    alone = system.segment(photo, ["dog"], threshold=0.0001)
    np.testing.assert_allclose(alone.scores, found["dog"].scores, rtol=1e-4)  # prompts do not disturb each other


def test_nothing_above_the_threshold_is_no_instance(checkpoints, photo):
    found = load_baseline(checkpoints["owlvit"], checkpoints["sam"], device="cpu").segment(
        photo, ["dog"], threshold=1.0
    )
    assert len(found) == 0
    assert found.masks.shape == (0, HEIGHT, WIDTH)


def test_a_baseline_is_a_system_that_can_be_scored(checkpoints, photo, tmp_path):
    document = ground_truth(0, boxes={0: [(2, 2, 9, 9)], 1: []})
    for image in document["images"]:
        image["file_name"] = photo.name
    (tmp_path / "truth.json").write_text(json.dumps(document))
    truth = read_ground_truth(tmp_path / "truth.json")
    system = load_baseline(checkpoints["grounding-dino"], checkpoints["sam"], device="cpu")
    path = predict(system, truth, photo.parent, tmp_path / "out.json", settings={"system": "test"})
    assert all("presence" not in result for result in json.loads(path.read_text()))
    assert len(evaluate_images(truth, path).scores) == 2


def test_what_cannot_be_loaded_is_named(tmp_path, checkpoints):
    with pytest.raises(LitetextError, match="is not a transformers checkpoint of the kind that is needed"):
        load_baseline(str(tmp_path), checkpoints["sam"])
    with pytest.raises(LitetextError, match="is not a transformers checkpoint of the kind that is needed"):
        load_baseline(checkpoints["sam"], checkpoints["sam"])  # no detector
    assert set(DETECTORS) < set(BASELINES)
