"""Every kind of picture becomes upright 8-bit RGB, or is refused by name."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from litetext import LitetextError
from litetext.images import read_image

COLOURS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]], [[0, 0, 0], [128, 64, 32]]], np.uint8)


def _saved(tmp_path: Path, image: Image.Image, name: str = "a.png", **options: Any) -> Path:
    image.save(tmp_path / name, **options)
    return tmp_path / name


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 10
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = _saved(tmp_path, Image.fromarray(np.ascontiguousarray(stored[orientation])), exif=exif)
    assert np.array_equal(read_image(path), upright)


def test_grey_one_bit_and_palette(tmp_path: Path) -> None:
    grey = np.array([[0, 100], [200, 255]], np.uint8)
    assert np.array_equal(read_image(_saved(tmp_path, Image.fromarray(grey))), grey[:, :, None].repeat(3, 2))
    bits = Image.fromarray(grey).convert("1", dither=Image.Dither.NONE)
    assert np.array_equal(read_image(_saved(tmp_path, bits))[:, :, 0], [[0, 0], [255, 255]])
    palette = Image.fromarray(COLOURS).convert("P", palette=Image.Palette.ADAPTIVE, colors=6)
    assert np.abs(read_image(_saved(tmp_path, palette)).astype(int) - COLOURS).max() <= 4


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    rgba = np.dstack([COLOURS, np.array([[255, 0], [128, 255], [0, 255]], np.uint8)])
    wanted = COLOURS.copy()
    wanted[0, 1] = wanted[2, 0] = 255
    wanted[1, 0] = [127, 127, 255]
    for image in (read_image(_saved(tmp_path, Image.fromarray(rgba))), read_image(rgba)):
        assert np.abs(image.astype(int) - wanted).max() <= 1
    palette = Image.fromarray(COLOURS).quantize(6)
    index = palette.getpixel((0, 0))
    path = _saved(tmp_path, palette, transparency=index)
    assert read_image(path)[0, 0].tolist() == [255, 255, 255]
    grey_alpha = Image.merge("LA", [Image.new("L", (2, 2), 10), Image.new("L", (2, 2), 0)])
    assert (read_image(_saved(tmp_path, grey_alpha)) == 255).all()


def test_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    deep = np.array([[0, 257 * 7], [257 * 128, 65535]], np.uint16)
    wanted = np.array([[0, 7], [128, 255]])
    for name in ("a.png", "a.tif"):
        assert np.array_equal(read_image(_saved(tmp_path, Image.fromarray(deep), name))[:, :, 1], wanted)
    assert np.array_equal(read_image(deep)[:, :, 0], wanted)


def test_cmyk_is_converted(tmp_path: Path) -> None:
    solid = np.zeros((16, 16, 3), np.uint8)
    solid[:] = [200, 30, 90]
    path = _saved(tmp_path, Image.fromarray(solid).convert("CMYK"), "a.jpg", quality=95)
    assert Image.open(path).mode == "CMYK"
    assert np.abs(read_image(path).astype(int) - solid).max() <= 6


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I;16", "I", "RGBX"]),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_any_mode_of_pillow_becomes_rgb(mode: str, width: int, height: int) -> None:
    image = read_image(Image.new(mode, (width, height)))
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8


def test_what_is_no_image_is_refused_by_name(tmp_path: Path) -> None:
    good = _saved(tmp_path, Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)))
    cut = tmp_path / "cut.png"
    cut.write_bytes(good.read_bytes()[:3000])
    words = tmp_path / "words.png"
    words.write_text("not an image")
    empty = tmp_path / "empty.jpg"
    empty.touch()
    for path, message in (
        (tmp_path / "none.png", "none.png: no such file"),
        (tmp_path, "is a folder"),
        (words, "words.png is not an image"),
        (empty, "empty.jpg is not an image"),
        (cut, "cut.png cannot be decoded"),
    ):
        with pytest.raises(LitetextError, match=message):
            read_image(path)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"]),
    st.dictionaries(st.floats(0, 0.999), st.integers(0, 255), max_size=5),
    st.floats(0.1, 1),
)
def test_damaged_files_are_read_or_refused_but_never_crash(
    tmp_path_factory: pytest.TempPathFactory, kind: str, damage: dict[float, int], kept: float
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged"
    Image.fromarray(COLOURS.repeat(8, 0).repeat(8, 1)).save(path, kind)
    content = bytearray(path.read_bytes())
    for place, value in damage.items():
        content[int(place * len(content))] = value
    path.write_bytes(content[: int(kept * len(content))])
    with contextlib.suppress(LitetextError):
        assert read_image(path).shape[2] == 3


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 2), np.uint8), "shape"),
        (np.zeros((0, 4, 3), np.uint8), "shape"),
        (np.zeros((4, 4, 3), np.float32), "float32"),
        (None, "got NoneType"),
    ],
)
def test_values_that_are_no_picture_are_refused(array: Any, message: str) -> None:
    with pytest.raises(LitetextError, match=message):
        read_image(array)
