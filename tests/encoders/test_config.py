"""Presets have the published parameter counts; conventions and configs refuse what makes no sense."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from litetext.encoders import PRESETS, Convention, EncoderConfig, build, preset
from litetext.errors import LitetextError

COUNTS = json.loads((Path(__file__).parent / "golden" / "param_counts.json").read_text())


@pytest.mark.parametrize(
    ("name", "published", "live"),
    [
        ("s0", 42_541_312, 42_279_168),
        ("s1", 63_528_192, 63_266_048),
        ("l", 123_800_320, 123_210_496),
        ("teacher", 353_724_672, 353_200_384),
    ],
)
def test_presets_have_the_published_counts(name: str, published: int, live: int) -> None:
    module = build(preset(name), device="meta")
    assert sum(p.numel() for p in module.parameters()) == published == PRESETS[name].parameters()
    assert PRESETS[name].live_parameters() == live


@pytest.mark.parametrize("variant", ["S0", "S1", "L"])
@pytest.mark.parametrize("rows", [8, 16, 32, 77])
def test_counts_at_every_position_table(variant: str, rows: int) -> None:
    reference = COUNTS[variant][f"table_rows_{rows}"]
    config = PRESETS[variant.lower()]
    config = EncoderConfig.from_dict(config.to_dict() | {"position_rows": rows, "convention": {"context_length": 8}})
    assert config.parameters() == reference["total"]
    assert config.live_parameters() == reference["without_unused_projection"]
    assert len(build(config, device="meta").state_dict()) == reference["state_dict_keys"]


def test_config_survives_json() -> None:
    for config in PRESETS.values():
        assert EncoderConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_unknown_preset_lists_the_names() -> None:
    with pytest.raises(LitetextError, match=r"'s9'; choose one of: .*l, s0, s1, teacher"):
        preset("s9")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 100, "heads": 8}, "width 100 is not divisible by heads 8"),
        ({"layers": 1}, "2 layers or more"),
        ({"position_rows": 8}, "position table"),
        ({"colour": 1}, "unknown key 'encoder.colour'"),
        ({"convention": {"pad": 0}}, "unknown key 'encoder.convention.pad'"),
        ({"convention": {"pad_id": True}}, "'encoder.convention.pad_id' is True, where a whole number from 0"),
        ({"convention": {"pad_id": 49408}}, "pad_id 49408 is outside the 49408 rows"),
        ({"convention": {"positions": "guess"}}, "positions' is 'guess', where one of interpolate, slice"),
        ({"convention": {"positions": ["slice"]}}, "where one of interpolate, slice"),
        ({"convention": None}, "'encoder.convention' is None, where an object"),
        ({"variant": None}, "'encoder.variant' is None, where a text"),
        ({"repmixer": 1}, "'encoder.repmixer' is 1, where true or false"),
        ({"width": 512.0}, "'encoder.width' is 512.0, where a whole number from 1 to 16,384"),
        ({"width": 10**12}, "'encoder.width' is 1000000000000, where"),
        ({"width": "512"}, "'encoder.width' is '512', where"),
        ({"layers": 0}, "'encoder.layers' is 0, where a whole number from 1 to 256"),
        ({"width": 16384, "ffn": 65536, "layers": 256}, "parameters, more than 4,000,000,000"),
        ({"repmixer_kernel": 4}, "an odd number"),
    ],
)
def test_bad_configs_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(LitetextError, match=message) as caught:
        EncoderConfig.from_dict(PRESETS["s0"].to_dict() | changes, "folder/config.json", "encoder")
    assert str(caught.value).startswith("folder/config.json: ")
    with pytest.raises(LitetextError, match="key 'width' is missing"):
        EncoderConfig.from_dict({"variant": "s0"})


def test_bad_conventions_are_refused() -> None:
    with pytest.raises(LitetextError, match="context_length"):
        Convention(context_length=1)
    with pytest.raises(LitetextError, match="mask_padding"):
        Convention(mask_padding="sometimes")  # type: ignore[arg-type]
