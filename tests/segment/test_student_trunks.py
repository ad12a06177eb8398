"""EfficientSAM3's image encoders: the authors' names and shapes, and the authors' features."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from litetext.segment.student_trunks import (
    ARCHITECTURES,
    StudentTrunkConfig,
    StudentTrunkModel,
    architecture_of,
    published_names,
)

from .published import SHARED, TRUNK, filled, published_students

pytest.importorskip("timm")


@pytest.mark.parametrize("variant", ARCHITECTURES)
def test_a_trunk_has_exactly_the_published_tensors(variant: str) -> None:
    published = published_students()[variant]
    trunk = {key.removeprefix("trunk."): shape for key, shape in published.items() if key.startswith("trunk.")}
    with torch.device("meta"):
        model = StudentTrunkModel(StudentTrunkConfig(variant))
    names = published_names(variant)
    assert {names[key]: tuple(tensor.shape) for key, tensor in model.state_dict().items()} == trunk
    assert architecture_of(trunk) == variant


def waves(size: int = 1008) -> torch.Tensor:
    """The picture that the golden features are of: [1, 3, size, size]."""
    y, x = torch.meshgrid(*[torch.arange(size, dtype=torch.float64)] * 2, indexing="ij")
    middle = size / 2
    planes = (x / 37 + y / 91).sin(), (x / 53 - y / 41 + 1).sin(), ((x - middle) * (y - middle) / 20000).sin()
    return torch.stack(planes)[None].float()


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the golden features do not lie beside this checkout")
@pytest.mark.parametrize("variant", ARCHITECTURES)
@torch.inference_mode()
def test_features_are_the_authors(variant: str) -> None:
    model = StudentTrunkModel(StudentTrunkConfig(variant)).eval()
    names = published_names(variant)
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    state = {key: filled(f"{TRUNK}trunk.{names[key]}", shape) for key, shape in shapes.items()}
    # the golden TinyViTs ran with attention biases as constructed, zero: their code keeps a copy made by eval()
    state |= {key: torch.zeros_like(tensor) for key, tensor in state.items() if key.endswith("attention_biases")}
    model.load_state_dict(state)
    tokens = model(waves()).last_hidden_state
    maps = tokens.transpose(1, 2).unflatten(2, (72, 72))
    expected = load_file(SHARED / "student_trunks_expected.safetensors")[variant]
    assert (maps[0, ::32, ::6, ::6] - expected).abs().max() <= 1e-5 * expected.abs().max()
