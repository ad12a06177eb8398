"""Equal to transformers' text towers under both conventions; folders that transformers itself can read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModel,
    AutoProcessor,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    Sam3Config,
    Sam3ImageProcessor,
    Sam3LiteTextTextConfig,
    Sam3Model,
    Sam3VideoConfig,
    Sam3VideoModel,
)
from transformers.models.sam3_lite_text.modeling_sam3_lite_text import Sam3LiteTextTextModel

from litetext.encoders import (
    AUTHORS,
    TRANSFORMERS,
    Convention,
    TextTransformer,
    load_encoder,
    measure_parity,
    open_checkpoint,
    read_checkpoint,
    save_encoder,
)
from litetext.encoders.layouts import TRANSFORMERS_STUDENT, TRANSFORMERS_TEACHER
from litetext.encoders.tensorfile import lazily, read_all
from litetext.errors import LitetextError
from litetext.segment.transformers_folder import write_transformers
from litetext.segment.whole_model import open_model
from litetext.tokenizer import Tokenizer

from .conftest import random_encoder, small_config

PROMPTS = ["white dog", "man in blue jacket", "a cat", "50% off tag", "café crème", ""]
TOKENIZER = Tokenizer()


def _tower(module: TextTransformer) -> torch.nn.Module:
    """transformers' own class with the same weights."""
    config = module.config
    text = {
        "hidden_size": config.width,
        "intermediate_size": config.ffn,
        "projection_dim": config.unused_projection,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "max_position_embeddings": config.position_rows,
        "hidden_act": "gelu",
    }
    if config.causal:
        tower: torch.nn.Module = CLIPTextModelWithProjection(CLIPTextConfig(**text, vocab_size=49408))
        layout = TRANSFORMERS_TEACHER
    else:
        tower = Sam3LiteTextTextModel(Sam3LiteTextTextConfig(**text, use_repmixer_blocks=config.repmixer))
        layout = TRANSFORMERS_STUDENT
    state = read_all(layout.write(lazily(module.state_dict()), config))
    tower.load_state_dict(
        {k.removeprefix("text_encoder."): v for k, v in state.items() if k.startswith("text_encoder.")}
    )
    return tower.eval()


@pytest.mark.parametrize("structure", ["s0", "s1", "teacher"])
@pytest.mark.parametrize("name", ["authors", "transformers"])
@torch.inference_mode()
def test_same_numbers_as_transformers_under_both_conventions(structure: str, name: str) -> None:
    positions = "slice" if structure == "teacher" else "interpolate"
    convention = AUTHORS if name == "authors" else Convention(32, 49407, "attention", positions)
    module = random_encoder(small_config(structure, convention))
    ids = torch.from_numpy(TOKENIZER(PROMPTS, convention.context_length, convention.pad_id))
    tokens, mask = module(ids)
    attention_mask = None if name == "authors" else (~mask).long()
    theirs = module.projector(_tower(module)(input_ids=ids, attention_mask=attention_mask).last_hidden_state)
    real = ~mask if name == "transformers" else torch.ones_like(mask)
    assert (tokens - theirs)[real].abs().max() <= 1e-5


def test_parity_finds_the_gap_where_there_is_one() -> None:
    student = measure_parity(random_encoder(small_config("s1")), TOKENIZER, PROMPTS)
    assert student.first == AUTHORS and student.second == TRANSFORMERS
    assert student.mean_cosine < 0.99 and student.min_cosine <= student.worst_prompt_cosine
    assert student.worst_prompt in PROMPTS and sum(student.by_length) > 0
    teacher = measure_parity(random_encoder(small_config("teacher")), TOKENIZER, PROMPTS)
    assert teacher.max_abs <= 1e-5


def tiny_sam3() -> Sam3Config:
    """A SAM3 of a few thousand parameters, 56 pixels wide."""
    backbone = {
        "model_type": "sam3_vit_model",
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56,
        "patch_size": 14, "window_size": 2, "global_attn_indexes": [1], "pretrain_image_size": 56,
    }  # fmt: skip
    vision = {
        "backbone_config": backbone, "fpn_hidden_size": 32, "scale_factors": [4.0, 2.0, 1.0, 0.5],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
    }  # fmt: skip
    shape = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    tower = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "max_position_embeddings": 32, "projection_dim": 24, "hidden_act": "gelu",
    }  # fmt: skip
    return Sam3Config(
        vision_config=vision,
        text_config=tower,
        geometry_encoder_config=shape | {"num_layers": 1},
        detr_encoder_config=shape | {"num_layers": 1},
        detr_decoder_config=shape | {"num_layers": 2, "num_queries": 6},
        mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2, "num_upsampling_stages": 3},
    )


@pytest.fixture(scope="module")
def sam3_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sam3")
    torch.manual_seed(0)
    Sam3Model(tiny_sam3()).save_pretrained(folder)
    Sam3ImageProcessor(size={"height": 56, "width": 56}, mask_size={"height": 16, "width": 16}).save_pretrained(folder)
    return folder


@torch.inference_mode()
def test_text_encoder_of_a_whole_model_is_read_from_single_sharded_and_video_folders(
    sam3_folder: Path, tmp_path: Path
) -> None:
    model = Sam3Model.from_pretrained(sam3_folder).eval()
    ids = torch.from_numpy(TOKENIZER(PROMPTS, 32, 49407))
    mask = torch.cat([torch.ones(len(PROMPTS), 1, dtype=torch.long), (ids[:, :-1] != 49407).long()], 1)
    expected = model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output
    model.save_pretrained(tmp_path / "sharded", max_shard_size="1MB")
    assert (tmp_path / "sharded" / "model.safetensors.index.json").exists()
    torch.manual_seed(1)
    video = Sam3VideoModel(Sam3VideoConfig(detector_config=tiny_sam3().to_dict(), tracker_config=tiny_tracker()))
    video.detector_model.load_state_dict(model.state_dict())
    video.save_pretrained(tmp_path / "video")
    for folder in (sam3_folder, tmp_path / "sharded", tmp_path / "video"):
        encoder = load_encoder(folder)
        assert encoder.config.heads == 4
        features = encoder.encode(PROMPTS)
        assert torch.equal(~features.mask, mask.bool())
        assert (features.tokens - expected)[mask.bool()].abs().max() <= 1e-5


def tiny_tracker() -> dict[str, object]:
    """The smallest tracker config that transformers builds."""
    return {"vision_config": tiny_sam3().vision_config.to_dict()}


@pytest.mark.parametrize("structure", ["s0", "s1", "masked", "teacher"])
@torch.inference_mode()
def test_exported_folder_runs_the_published_usage_example(structure: str, sam3_folder: Path, tmp_path: Path) -> None:
    masked = Convention(16, 0, "everywhere", "slice")
    config = small_config("s1", masked, unused_projection=0) if structure == "masked" else small_config(structure)
    save_encoder(random_encoder(config), TOKENIZER, tmp_path / "encoder")
    checkpoint = read_checkpoint(tmp_path / "encoder")
    parity = write_transformers(open_model(sam3_folder), checkpoint.file(), tmp_path / "model", PROMPTS)

    model = AutoModel.from_pretrained(tmp_path / "model").eval()
    processor = AutoProcessor.from_pretrained(tmp_path / "model")
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    inputs = processor(images=image, text="white dog", return_tensors="pt")
    assert inputs.pixel_values.shape[-1] == 56
    outputs = model(**inputs)
    found = processor.post_process_instance_segmentation(outputs, threshold=0.0, target_sizes=[(40, 60)])[0]
    assert found["masks"].shape == (6, 40, 60)

    ours = load_encoder(tmp_path / "encoder").encode(["white dog"])
    theirs = model.get_text_features(inputs.input_ids, inputs.attention_mask).pooler_output
    gap = (ours.tokens[0, :4] - theirs[0, :4]).abs().max()
    card = (tmp_path / "model" / "README.md").read_text()
    if structure in ("masked", "teacher"):
        assert gap <= 1e-5 and (parity is None if structure == "teacher" else parity.max_abs <= 1e-4)
        assert "are the same" in card
    else:
        assert gap > 1e-2 and parity is not None and parity.mean_cosine < 0.999
        assert "Not the same in transformers" in card
    # what was exported reads back as what transformers runs
    back = load_encoder(tmp_path / "model").encode(["white dog"])
    assert (back.tokens[0, :4] - theirs[0, :4]).abs().max() <= 1e-5


def test_what_transformers_runs_goes_out_as_it_came(sam3_folder: Path, tmp_path: Path) -> None:
    save_encoder(random_encoder(small_config("s1")), TOKENIZER, tmp_path / "encoder")
    model, text = open_model(sam3_folder), open_checkpoint(tmp_path / "encoder")
    write_transformers(model, text, tmp_path / "first", PROMPTS)
    model, text = open_model(tmp_path / "first"), open_checkpoint(tmp_path / "first")
    parity = write_transformers(model, text, tmp_path / "second", PROMPTS)
    assert parity is not None and parity.max_abs == 0
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("first", "second"))
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_export_refuses_what_transformers_cannot_express(sam3_folder: Path, tmp_path: Path) -> None:
    pruned = TOKENIZER.prune_vocabulary(PROMPTS)
    save_encoder(random_encoder(small_config("s1", vocab_size=pruned.vocab_size)), pruned, tmp_path / "pruned")
    with pytest.raises(LitetextError, match="pruned vocabulary"):
        write_transformers(open_model(sam3_folder), open_checkpoint(tmp_path / "pruned"), tmp_path / "out", PROMPTS)
    save_encoder(random_encoder(small_config("s1", output_dim=48)), TOKENIZER, tmp_path / "wide")
    with pytest.raises(LitetextError, match="48 numbers a token, the detector in .* reads 32"):
        write_transformers(open_model(sam3_folder), open_checkpoint(tmp_path / "wide"), tmp_path / "out", PROMPTS)
    assert not (tmp_path / "out").exists()
