"""Every kind of picture becomes upright 8-bit RGB, or is refused by name."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from litetext import LitetextError, images
from litetext.images import image_files, image_size, is_one_image, read_image

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
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "program.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n")
    for path, message in (
        (tmp_path / "pipe.png", "pipe.png is a pipe or a device"),
        (tmp_path / "program.eps", "program.eps is PostScript, a program"),
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
        (np.full((4, 4, 3), 200, np.float32), "must lie in 0..1, but this one goes from 200 to 200"),
        (np.full((4, 4, 3), np.nan), "must lie in 0..1"),
        (np.zeros((4, 4, 3), np.int32), "got int32"),
        (np.zeros((2, 4, 4, 3), np.uint8), "shape"),
        (b"no image", "the image is not an image"),
        (None, "got NoneType"),
        (Image.new("RGB", (0, 4)), "0 x 4 pixels"),
    ],
)
def test_values_that_are_no_picture_are_refused(array: Any, message: str) -> None:
    with pytest.raises(LitetextError, match=message):
        read_image(array)


def test_arrays_of_other_kinds_and_shapes() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert np.array_equal(read_image(grey[:, :, None]), read_image(grey))
    halves = np.linspace(0, 1, 36).reshape(3, 4, 3)
    for kind in (np.float16, np.float32, np.float64):
        assert np.abs(read_image(halves.astype(kind)).astype(float) - halves * 255).max() <= 0.6
    flags = grey > 5
    assert np.array_equal(read_image(flags)[:, :, 1], flags * 255)
    assert is_one_image(grey) and not is_one_image(np.zeros((2, 4, 4, 3))) and is_one_image(b"x")


def test_tensors_have_their_channels_first_or_last() -> None:
    torch = pytest.importorskip("torch")
    wanted = read_image(COLOURS)
    tensor = torch.from_numpy(COLOURS)
    assert np.array_equal(read_image(tensor.permute(2, 0, 1)), wanted)
    wide = np.concatenate([COLOURS, COLOURS, COLOURS], axis=0)  # 9 x 2: no end but the last can be channels
    assert np.array_equal(read_image(torch.from_numpy(wide)), wide)
    assert np.array_equal(read_image((tensor.permute(2, 0, 1) / 255).requires_grad_()), wanted)
    assert np.abs(read_image((tensor.permute(2, 0, 1) / 255).bfloat16()).astype(int) - wanted).max() <= 1
    assert is_one_image(tensor) and not is_one_image(tensor[None])


def test_bytes_and_links_are_images_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _saved(tmp_path, Image.fromarray(COLOURS))
    assert np.array_equal(read_image(path.read_bytes()), COLOURS)
    (tmp_path / "words.png").write_text("not an image")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("no_proxy", "*")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=tmp_path)
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        link = f"http://127.0.0.1:{server.server_port}"
        assert np.array_equal(read_image(f"{link}/{path.name}"), COLOURS)
        for name, message in (("none.png", "cannot be fetched (404)"), ("words.png", "is not an image")):
            with pytest.raises(LitetextError, match=f"{re.escape(link)}/{name} {re.escape(message)}"):
                read_image(f"{link}/{name}")
        monkeypatch.setattr(images, "LARGEST", 10)
        with pytest.raises(LitetextError, match="larger than"):
            read_image(f"{link}/{path.name}")
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(LitetextError, match="cannot be fetched offline"):
            read_image(f"{link}/{path.name}")
        server.shutdown()
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with pytest.raises(LitetextError, match="cannot be fetched"):
        read_image(f"{link}/{path.name}")


def test_the_size_is_that_of_the_upright_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    path = tmp_path / "a.jpg"
    Image.new("RGB", (30, 20)).save(path, exif=exif)
    assert image_size(path) == (30, 20) == read_image(path).shape[:2]
    Image.new("RGB", (30, 20)).save(path)
    assert image_size(path) == (20, 30)
    exif[0x0112] = 9  # there is no such orientation
    Image.new("RGB", (30, 20)).save(path, exif=exif)
    assert image_size(path) == (20, 30) == read_image(path).shape[:2]
    (tmp_path / "deep").mkdir()
    Image.new("L", (1, 1)).save(tmp_path / "deep" / "B.PNG")
    (tmp_path / "notes.txt").touch()
    assert [one.name for one in image_files(tmp_path)] == ["a.jpg", "B.PNG"]
    for folder, message in ((path, "is no folder"), (tmp_path / "none", "is no folder")):
        with pytest.raises(LitetextError, match=message):
            image_files(folder)
