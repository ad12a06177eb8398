"""Every source of frames gives them in order, upright, at their times; what is wrong with one is said in one line."""

from __future__ import annotations

import io
import os
import re
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from litetext import LitetextError
from litetext.videos import VideoReader, open_video

from .clips import FRAMES, RATE, SIZE, is_upright, number_of, picture, with_matrix, write_clip, write_sound

CODECS: dict[str, dict[str, Any]] = {
    "a.mp4": {},
    "a.mov": {},
    "a.mkv": {},
    "a.ts": {},
    "a.avi": {"codec": "mpeg4", "qscale": "2"},
    "a.webm": {"codec": "libvpx-vp9", "crf": "5", "b": "0"},
}


def _numbers(reader: VideoReader) -> list[int]:
    return [number_of(frame.image) for frame in reader]


def _read_until_error(reader: VideoReader) -> tuple[list[int], str]:
    """The numbers of the frames that come, and the message that ends them."""
    found = []
    with pytest.raises(LitetextError) as error:
        for frame in reader:
            found.append(number_of(frame.image))
    return found, str(error.value)


@pytest.mark.parametrize("name", CODECS)
def test_files_of_every_kind(tmp_path: Path, name: str) -> None:
    with open_video(write_clip(tmp_path / name, **CODECS[name])) as video:
        assert (video.size, video.frame_rate, video.frame_count) == (SIZE, RATE, FRAMES)
        assert not video.has_audio and not video.is_live and video.name == str(tmp_path / name)
        frames = list(video)
        assert [frame.index for frame in frames] == list(range(FRAMES))
        assert [number_of(frame.image) for frame in frames] == list(range(FRAMES))
        np.testing.assert_allclose([frame.time for frame in frames], np.arange(FRAMES) / RATE, atol=0.002)
        assert all(is_upright(frame.image) for frame in frames)
        assert frames[3].image.dtype == np.uint8 and frames[3].image.shape == (*SIZE, 3)
        assert np.abs(frames[3].image[:, 40:].astype(int) - picture(3)[:, 40:]).max() < 12
        assert _numbers(video) == list(range(FRAMES)), "a file is read again"


def test_folders_and_patterns_of_frames(tmp_path: Path) -> None:
    for number in range(FRAMES):
        Image.fromarray(picture(number)).save(tmp_path / f"frame{number}.png")  # frame10 comes before frame2 by letters
    (tmp_path / "notes.txt").write_text("no frame")
    for source in (tmp_path, f"{tmp_path}/frame*.png"):
        video = open_video(source)
        assert (video.size, video.frame_rate, video.frame_count) == (SIZE, 24, FRAMES)
        assert _numbers(video) == list(range(FRAMES))
    assert _numbers(open_video(tmp_path / "frame[13].png")) == [1, 3]
    literal = tmp_path / "frame[4].png"
    Image.fromarray(picture(4)).save(literal)
    assert _numbers(open_video(literal)) == [4]


def test_animated_pictures(tmp_path: Path) -> None:
    pictures = [Image.fromarray(picture(number)) for number in range(4)]
    for name in ("a.gif", "a.webp", "a.png"):
        pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:], duration=[200, 200, 400, 50])
        video = open_video(tmp_path / name)
        assert (video.size, video.frame_rate, video.frame_count) == (SIZE, 5, 4)
        frames = list(video)
        assert [number_of(frame.image) for frame in frames] == [0, 1, 2, 3]
        np.testing.assert_allclose([frame.time for frame in frames], [0, 0.2, 0.4, 0.8])
        assert all(is_upright(frame.image) for frame in frames)
    pictures[0].save(tmp_path / "still.jpg")
    assert _numbers(open_video(tmp_path / "still.jpg")) == [0]


@pytest.mark.parametrize(
    "matrix",
    [(0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0), (-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0)],
)
def test_frames_are_turned_and_mirrored(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    a, b, c, d = matrix
    upright = picture(3, (60, 48))
    stored = np.empty((48, 60, 3) if a == 0 else upright.shape, np.uint8)
    for y, x in np.ndindex(stored.shape[:2]):
        stored[y, x] = upright[(b * x + d * y) % 60, (a * x + c * y) % 48] if a == 0 else upright[d * y, a * x]
    roll = tuple(-1 if sign < 0 else 0 for sign in ((c, b) if a == 0 else (d, a)))  # -0 is 0, not the last
    path = with_matrix(write_clip(tmp_path / "a.mp4", [np.roll(stored, roll, (0, 1))] * 3), *matrix)
    for max_side in (None, 30):
        video = open_video(path, max_side=max_side)
        assert video.size == ((60, 48) if max_side is None else (30, 24))
        frames = list(video)
        assert len(frames) == 3 and all(is_upright(frame.image) and number_of(frame.image) == 3 for frame in frames)


def test_times_are_those_of_the_file(tmp_path: Path) -> None:
    times = [0, 0.04, 0.5, 0.54, 0.58, 1.3]
    path = write_clip(tmp_path / "a.mp4", [picture(number) for number in range(6)], times=times)
    frames = list(open_video(path))
    np.testing.assert_allclose([frame.time for frame in frames], times, atol=0.002)
    assert _numbers(open_video(path, start=0.5, end=0.58)) == [2, 3]


def test_a_video_that_begins_late_begins_at_zero(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.ts", [picture(number) for number in range(4)], times=[7, 7.1, 7.2, 7.3])
    frames = list(open_video(path, start=0.1))
    np.testing.assert_allclose([frame.time for frame in frames], [0.1, 0.2, 0.3], atol=0.002)


@pytest.mark.parametrize("size", [(1, 1), (47, 63), (2, 101)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    images = [picture(number, size) for number in range(5)]
    path = write_clip(tmp_path / "a.mkv", images, codec="ffv1", pixels="bgr0")
    video = open_video(path)
    assert video.size == size
    assert all(np.array_equal(frame.image, image) for frame, image in zip(video, images, strict=True))
    assert open_video(path, max_side=1000).size == size


@pytest.mark.parametrize(
    ("name", "codec", "pixels"), [("a.mov", "qtrle", "argb"), ("a.webm", "libvpx-vp9", "yuva420p"),
                                  ("b.webm", "libvpx", "yuva420p")]
)  # fmt: skip
def test_what_is_transparent_lies_on_white(tmp_path: Path, name: str, codec: str, pixels: str) -> None:
    image = np.dstack([picture(3), np.full(SIZE, 255, np.uint8)])
    image[:, 48:, 3] = 0
    image[:, 40:48, 3] = 128
    options = {"auto-alt-ref": "0"} if "vpx" in codec else {}
    path = write_clip(tmp_path / name, [image] * 3, codec=codec, pixels=pixels, **options)
    frames = list(open_video(path))
    assert len(frames) == 3
    for frame in frames:
        assert frame.image[:, 52:].min() > 245 and is_upright(frame.image)
        assert abs(int(frame.image[20, 44, 0]) - (70 + 255) // 2) < 15


@given(
    start=st.one_of(st.none(), st.floats(0, 1.0)),
    length=st.one_of(st.none(), st.floats(0.05, 2.0)),
    every=st.integers(1, 5),
    kind=st.sampled_from(["mp4", "mkv", "ts"]),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_part_of_a_video(tmp_path: Path, start: float | None, length: float | None, every: int, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    if not path.exists():
        write_clip(path, g="4", crf="10")
    first = start or 0.0
    end = None if length is None else first + length
    wanted = [n for n in range(FRAMES) if first - 5e-4 <= n / RATE and (end is None or n / RATE < end - 5e-4)][::every]
    if not wanted:
        with pytest.raises(LitetextError, match="has no frame from"):
            list(open_video(path, start=start, end=end, every=every))
        return
    video = open_video(path, start=start, end=end, every=every)
    assert _numbers(video) == wanted
    assert video.frame_count == len(wanted) and video.frame_rate == RATE / every
    assert [frame.index for frame in video] == list(range(len(wanted)))


def test_smaller_frames(tmp_path: Path) -> None:
    for path in (write_clip(tmp_path / "a.mp4"), tmp_path / "a.gif"):
        if path.suffix == ".gif":
            Image.fromarray(picture(0)).save(path)
        video = open_video(path, max_side=32)
        assert video.size == (24, 32)
        frames = list(video)
        assert frames[0].image.shape == (24, 32, 3) and is_upright(frames[0].image)


def test_two_readings_do_not_disturb_each_other(tmp_path: Path) -> None:
    video = open_video(write_clip(tmp_path / "a.mp4"))
    pairs = [(number_of(one.image), number_of(other.image)) for one, other in zip(video, video, strict=True)]
    assert pairs == [(number, number) for number in range(FRAMES)]


def test_sound_beside_the_picture(tmp_path: Path) -> None:
    video = open_video(write_clip(tmp_path / "a.mp4", audio="aac"))
    assert video.has_audio and _numbers(video) == list(range(FRAMES))


def test_standard_input_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "a.mp4", container={"movflags": "frag_keyframe+empty_moov"})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    video = open_video("-", every=2)
    assert video.is_live and video.frame_count is None and video.size == SIZE
    assert _numbers(video) == list(range(0, FRAMES, 2))
    with pytest.raises(LitetextError, match="standard input can be read once only"):
        list(video)


def test_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / "a.mp4")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"http://127.0.0.1:{server.server_address[1]}"
        with pytest.raises(LitetextError, match="offline"):
            open_video(f"{host}/a.mp4")
        monkeypatch.delenv("HF_HUB_OFFLINE")
        assert _numbers(open_video(f"{host}/a.mp4")) == list(range(FRAMES))
        with pytest.raises(LitetextError, match=r"b\.mp4 cannot be read as a video \(.*not found"):
            open_video(f"{host}/b.mp4")
        server.shutdown()


def test_file_names_of_every_kind(tmp_path: Path) -> None:
    for name in ("concat:a|b.mp4", "100%.mp4", "ü b.mp4", "\udcff.mp4"):
        path = tmp_path / name
        write_clip(tmp_path / "plain.mp4").rename(path)
        assert _numbers(open_video(path)) == list(range(FRAMES))


@pytest.mark.parametrize("name", [name for name in CODECS if name != "a.avi"])
@pytest.mark.parametrize("share", [0.45, 0.7, 0.97])
def test_a_video_that_is_cut_short(tmp_path: Path, name: str, share: float) -> None:
    options = {"container": {"movflags": "faststart"}} if name in ("a.mp4", "a.mov") else {}
    rng = np.random.default_rng(0)
    images = [picture(number, (64, 96)) + rng.integers(0, 10, (64, 96, 3), np.uint8) for number in range(FRAMES)]
    whole = write_clip(tmp_path / name, images, **CODECS[name], **options)
    cut = tmp_path / f"cut_{name}"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    if name == "a.ts":  # nothing in it says how long it is
        assert _numbers(open_video(cut))[0] == 0
        return
    found, message = _read_until_error(open_video(cut))
    assert 0 < len(found) <= FRAMES * (share + 0.1) + 2
    said = re.search(
        rf"cut_{name} .* after frame (\d+) \(at ([\d.]+) s\); all frames that could be read were kept", message
    )
    assert said is not None, message
    assert int(said[1]) >= len(found) - 4 and found[: int(said[1]) + 1] == list(range(int(said[1]) + 1))
    assert float(said[2]) * RATE > int(said[1])


def test_an_mp4_without_its_index(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(LitetextError, match=r"a\.mp4 cannot be read as a video .* is it one, and whole\?"):
        open_video(path)


def test_packets_that_cannot_be_decoded(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", crf="10", g="1", tune="zerolatency")
    with av.open(str(path)) as file:
        place = [packet.pos for packet in file.demux(video=0)][5]
    content = bytearray(path.read_bytes())
    content[place : place + 8] = b"\xff" * 8  # a part of it is longer than the packet
    path.write_bytes(content)
    found, message = _read_until_error(open_video(path))
    assert found == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11], "the frames before and behind are read"
    assert message.endswith(
        "a.mp4 has packets that cannot be decoded after frame 4 (at 0.50 s); all frames that could be read were kept"
    )
    assert _read_until_error(open_video(path, every=2, end=1.0))[0] == [0, 2, 4, 7, 9]
    assert _numbers(open_video(path, end=0.1)) == [0]


def test_a_picture_that_is_cut_short(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)) for _ in range(6)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=100)
    whole = (tmp_path / "a.gif").read_bytes()
    for share in (0.5, 0.9, 0.9999):
        (tmp_path / "cut.gif").write_bytes(whole[: int(len(whole) * share)])
        found, message = _read_until_error(open_video(tmp_path / "cut.gif"))
        assert found and f"cut.gif is cut short or damaged after frame {len(found) - 1} (at" in message


def test_frames_that_change_their_size(tmp_path: Path) -> None:
    for number, size in enumerate([(20, 30), (20, 30), (30, 20)]):
        Image.fromarray(picture(number, size)).save(tmp_path / f"{number}.png")
    found, message = _read_until_error(open_video(tmp_path))
    assert found == [0, 1] and "2.png is 20x30 pixels, the frames before it 30x20" in message
    parts = [write_clip(tmp_path / f"{side}.h264", [picture(n, (side, 64)) for n in range(3)]) for side in (48, 32)]
    (tmp_path / "both.h264").write_bytes(b"".join(part.read_bytes() for part in parts))
    found, message = _read_until_error(open_video(tmp_path / "both.h264"))
    assert found == [0, 1, 2]
    assert "both.h264 has a frame of 64x32 pixels, those before it have 64x48" in message


def test_a_codec_that_cannot_be_decoded(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(LitetextError, match=r"a\.mp4 is coded in a way that this FFmpeg cannot decode; convert it"):
        open_video(path)


def test_sound_alone_and_texts(tmp_path: Path) -> None:
    with pytest.raises(LitetextError, match=r"a\.m4a holds sound, but no picture; give a video"):
        open_video(write_sound(tmp_path / "a.m4a"))
    for name in ("a.txt", "a.mp4"):
        (tmp_path / name).write_text("a white dog\n" * 20)
        with pytest.raises(LitetextError, match=rf"{name} (is a text|cannot be read as a video)"):
            open_video(tmp_path / name)
    (tmp_path / "none.mp4").write_bytes(b"")
    with pytest.raises(LitetextError, match=r"none\.mp4 cannot be read as a video"):
        open_video(tmp_path / "none.mp4")


def test_a_video_without_frames(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", container={"movflags": "frag_keyframe+empty_moov"})
    path.write_bytes(path.read_bytes().split(b"moof")[0][:-4])
    with pytest.raises(LitetextError, match=r"a\.mp4 (holds no frame that can be decoded|cannot be read as a video)"):
        open_video(path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gone.mp4", "gone.mp4: no such file; give a video, a folder of frames, a link"),
        ("empty", "empty holds no frame (.bmp"),
        ("*.jpg", "*.jpg matches no picture (.bmp"),
        ("gone.gif", "gone.gif: no such file"),
        ("7", "camera 7 (/dev/video7) cannot be read as a video"),
        ("file:///a.mp4", "unknown kind of link 'file://'"),
        ("pipe.mp4", "pipe.mp4 is a pipe or a device"),
    ],
)
def test_nothing_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    if source == "7" and (not sys.platform.startswith("linux") or Path("/dev/video7").exists()):
        pytest.skip("there is a camera")
    with pytest.raises(LitetextError) as error:
        open_video(source)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every is 0"),
        ({"max_side": 0}, "max_side is 0"),
        ({"start": -1}, "start -1"),
        ({"start": 2, "end": 2}, "no times"),
        ({"start": 5}, "has no frame from 5 s on; choose other times"),
        ({"start": 5, "end": 6}, "has no frame from 5 s on and before 6 s"),
    ],
)
def test_options_that_mean_nothing(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    path = write_clip(tmp_path / "a.mp4")
    with pytest.raises(LitetextError) as error:
        open_video(path, **options)
    assert message in str(error.value)


def test_pyav_is_asked_for_where_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "a.mp4")
    Image.fromarray(picture(0)).save(tmp_path / "a.gif")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(LitetextError, match=re.escape("pip install 'litetext[video]'")):
        open_video(path)
    assert _numbers(open_video(tmp_path / "a.gif")) == [0]
