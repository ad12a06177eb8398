"""What ships is found by name, and is whole."""

from __future__ import annotations

import pytest
from PIL import Image

from litetext.data import ROOT, Sample, photographs, resolve, samples
from litetext.errors import LitetextError


@pytest.mark.parametrize("name", ["mini", "mini/text/teacher", "mini/segmenter/config.json", "samples", "world"])
def test_names_resolve(name: str) -> None:
    assert resolve(name).exists()


@pytest.mark.parametrize("name", ["maxi", "", "../data/mini", "/etc", "mini/nothing"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(LitetextError, match="choose one of: .*mini"):
        resolve(name)


@pytest.mark.parametrize("shipped", [samples(), photographs()], ids=["scenes", "photographs"])
def test_samples_are_pictures_with_phrases(shipped: list[Sample]) -> None:
    assert 2 <= len(shipped) <= 6
    for sample in shipped:
        with Image.open(sample.image) as picture:
            assert picture.mode == "RGB"
        assert len(sample.phrases) >= 3


def test_the_art_has_its_attribution_and_is_small() -> None:
    notice = (ROOT / "world" / "NOTICE.md").read_text()
    assert all(word in notice for word in ("Apache-2.0", "CC-BY-4.0", "MIT"))
    assert sum(path.stat().st_size for path in (ROOT / "world").iterdir()) < 4e6


def test_weights_are_within_the_limit_and_have_a_card() -> None:
    weights = list((ROOT / "mini").rglob("*.safetensors"))
    assert sum(path.stat().st_size for path in weights) < 25e6
    card = (ROOT / "mini" / "README.md").read_text()
    assert "not photographs" in card and "IL_MCC" in card
