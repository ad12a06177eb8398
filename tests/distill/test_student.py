"""Students from names, recipes and published weights; their vocabulary and embedding from the teacher."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from litetext.anatomy.recipe import Recipe
from litetext.distill import (
    fitted,
    fresh_student,
    load_student,
    prompt_ids,
    student_config,
    student_vocabulary,
    take_embedding,
)
from litetext.encoders import PRESETS, Convention, save_encoder
from litetext.encoders.layouts import STUDENT
from litetext.encoders.tensorfile import lazily, read_all
from litetext.errors import LitetextError
from litetext.tokenizer import Tokenizer

from ..encoders.conftest import random_encoder, small_config
from .conftest import PHRASES, student, tokenizer


def test_presets_and_the_audits_recipes_are_students(tmp_path: Path) -> None:
    assert student_config("s0").width == 512 and student_config("s0").unused_projection == 0
    (tmp_path / "recipe.toml").write_text(Recipe(PRESETS["xs"], {"shape": "why"}).to_toml())
    assert student_config(tmp_path / "recipe.toml") == PRESETS["xs"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("teacher", None, "unknown student 'teacher'; choose one of: a .toml, l, s0, s1, xs, xxs"),
        ("nowhere.toml", None, "nowhere.toml: no such file"),
        ("r.toml", "[student", "r.toml is not valid TOML"),
        ("r.toml", "a = 1", "r.toml has no table"),
        ("r.toml", "[student]\nwidth = 8\ncolour = 1", "r.toml: unknown key 'student.colour'"),
        ("r.toml", "[student]\nwidth = 8", "r.toml: key 'student.variant' is missing"),
    ],
)
def test_bad_students_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str | None, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_text(content)
    with pytest.raises(LitetextError, match=message):
        student_config(name)


def test_a_seed_draws_the_same_weights_and_leaves_the_global_state() -> None:
    before = torch.get_rng_state()
    one, two, other = student(seed=3), student(seed=3), student(seed=4)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one.projector.weight, two.projector.weight)
    assert not torch.equal(one.projector.weight, other.projector.weight)


@pytest.mark.parametrize("width", [8, 24])
def test_the_embedding_keeps_the_teachers_geometry(width: int) -> None:
    config = fitted(
        small_config("s1", width=width, heads=2, vocab_size=40), output_dim=4, vocab_size=40, context_length=8
    )
    module = fresh_student(config)
    spread = module.token_embedding.weight.std()
    low_rank = torch.randn(40, 5) @ torch.randn(5, 16)  # five dimensions hold it all
    take_embedding(module, low_rank)
    taken = module.token_embedding.weight[:, : min(width, 16)].detach()
    centred = low_rank - low_rank.mean(0)
    theirs, ours = centred @ centred.T, taken @ taken.T
    torch.testing.assert_close(ours / ours.trace(), theirs / theirs.trace(), atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(taken.std(), spread)
    with pytest.raises(LitetextError, match="39 rows for a student of 40"):
        take_embedding(module, low_rank[:39])


def test_a_smaller_vocabulary_keeps_what_the_prompts_use_most() -> None:
    teacher = tokenizer()
    assert student_vocabulary(teacher, PHRASES, teacher.vocab_size) is teacher
    smaller = student_vocabulary(teacher, [*PHRASES, *["red"] * 20], 516)
    assert smaller.vocab_size == 516 and smaller.kept is not None and teacher.kept is not None
    red = Tokenizer().encode_batch(["red"])[0][1]
    assert red in smaller.kept and set(smaller.kept) < set(teacher.kept)
    assert student_vocabulary(teacher, PHRASES, 3).vocab_size == 514  # every string still encodes
    rows = smaller.rows_in(teacher)
    assert [teacher.kept[row] for row in rows] == list(smaller.kept)
    with pytest.raises(LitetextError, match="asks for 9999 vocabulary rows, the teacher has"):
        student_vocabulary(teacher, PHRASES, 9999)


def test_vocabularies_that_do_not_match_are_refused() -> None:
    with pytest.raises(LitetextError, match="the vocabularies do not match: 48,[0-9]+ of 49,408 tokens"):
        Tokenizer().rows_in(tokenizer())
    assert np.array_equal(Tokenizer().rows_in(Tokenizer()), np.arange(49408))


def test_a_litetext_checkpoint_keeps_weights_vocabulary_and_convention(tmp_path: Path) -> None:
    module = student(repmixer=True)
    save_encoder(module, tokenizer(), tmp_path / "s")
    loaded, vocabulary = load_student(tmp_path / "s", output_dim=12)
    assert loaded.config == module.config and vocabulary.kept == tokenizer().kept
    assert all(
        torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), module.state_dict().values(), strict=True)
    )
    with pytest.raises(LitetextError, match="gives 12 numbers a token, the teacher 64"):
        load_student(tmp_path / "s", output_dim=64)


def apples(structure: str) -> tuple[torch.nn.Module, dict[str, Tensor]]:
    """A MobileCLIP text encoder under Apple's names, beside an image encoder, and the same in ours."""
    module = random_encoder(
        small_config(structure, Convention(8, 0, "everywhere"), width=64, heads=1, position_rows=77)
    )
    theirs = read_all(STUDENT.write(lazily(module.state_dict()), module.config))
    file = {f"text_{key}": value for key, value in theirs.items() if not key.startswith("projector")}
    return module, {**file, "image_encoder.model.weight": torch.zeros(2), "logit_scale": torch.ones(())}


def open_clips() -> tuple[torch.nn.Module, dict[str, Tensor]]:
    """A MobileCLIP text encoder under open_clip's names, and the same in ours."""
    module, _ = apples("s1")
    ours = {
        "ln_1": "norm1",
        "ln_2": "norm2",
        "mlp.c_fc": "ffn.up",
        "mlp.c_proj": "ffn.down",
        "attn.out_proj": "attention.out",
    }
    state = module.state_dict()
    file = {
        "text.token_embedding.weight": state["token_embedding.weight"],
        "text.positional_embedding": state["position_embedding"],
        "text.text_projection": state["unused_projection"],
        "text.attn_mask": torch.zeros(77, 77),
        "visual.trunk.weight": torch.zeros(2),
        "logit_scale": torch.ones(()),
    }
    for part in ("weight", "bias"):
        file[f"text.ln_final.{part}"] = state[f"final_norm.{part}"]
        for i in range(4):
            file[f"text.transformer.resblocks.{i}.attn.in_proj_{part}"] = state[f"layers.{i}.attention.qkv.{part}"]
            for their, our in ours.items():
                file[f"text.transformer.resblocks.{i}.{their}.{part}"] = state[f"layers.{i}.{our}.{part}"]
    return module, file


@pytest.mark.parametrize("source", ["apple s0", "apple s1", "open_clip"])
@torch.inference_mode()
def test_mobileclips_start_a_student(tmp_path: Path, source: str) -> None:
    module, file = open_clips() if source == "open_clip" else apples(source.split()[1])
    save_file({key: value.clone().contiguous() for key, value in file.items()}, tmp_path / "m.safetensors")
    loaded, vocabulary = load_student(tmp_path / "m.safetensors", output_dim=12, context_length=8)
    assert vocabulary.kept is None and loaded.config.position_rows == 8 and loaded.config.output_dim == 12
    assert loaded.config.convention.mask_padding == "everywhere"
    ids = torch.from_numpy(Tokenizer()(["white dog"], 8))
    hidden = [m.final_norm(_before_norm(m, ids)) for m in (module, loaded)]
    assert (hidden[0] - hidden[1])[0, :4].abs().max() < 1e-5
    again, _ = load_student(tmp_path / "m.safetensors", output_dim=12, context_length=8)
    assert torch.equal(again.projector.weight, loaded.projector.weight)
    del file[next(key for key in file if "2" in key and key.endswith("bias"))]
    save_file({key: value.clone().contiguous() for key, value in file.items()}, tmp_path / "m.safetensors")
    with pytest.raises(LitetextError, match=r"m.safetensors: key .* is missing"):
        load_student(tmp_path / "m.safetensors", output_dim=12)


def _before_norm(module: torch.nn.Module, ids: Tensor) -> Tensor:
    x, real = module.embed(ids), ~module.padding_mask(ids)
    for layer in module.layers:
        x = layer(x, False, real)
    return x


@torch.inference_mode()
def test_prompts_longer_than_the_context_end_in_eot() -> None:
    ids = prompt_ids(["a very long purple umbrella", "dog"], Tokenizer(), 4)
    assert ids.lengths.tolist() == [4, 3] and {ids[0][-1], ids[1][-1]} == {49407}
    with pytest.raises(LitetextError, match="context_length 1 has no room"):
        prompt_ids(["dog"], Tokenizer(), 1)
