"""Videos are written as browsers play them, with their sound, whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from litetext import LitetextError
from litetext.videos import open_video, write_video

from .clips import FRAMES, RATE, SIZE, loudness, number_of, picture, write_clip

FULL = """
import sys, numpy
from litetext.videos import write_video
from litetext.errors import LitetextError
noise = numpy.random.default_rng(0).integers(0, 256, (240, 320, 3), numpy.uint8)
try:
    with write_video(sys.argv[1] + "/out/a.mp4", (240, 320), 10) as video:
        for number in range(60):
            video.write(numpy.roll(noise, number, 0))
except LitetextError as error:
    sys.exit(str(error))
"""


def _copied(source: Path, destination: Path, **part: Any) -> Path:
    """A part of a video written anew, sound and all."""
    video = open_video(source, **part)
    with write_video(destination, video.size, video.frame_rate, sound=video.sound()) as copy:
        for frame in video:
            copy.write(frame.image, frame.time)
    return destination


def test_what_browsers_play(tmp_path: Path) -> None:
    with write_video(tmp_path / "new" / "a.mp4", SIZE, RATE) as video:
        for number in range(FRAMES):
            video.write(picture(number))
    content = (tmp_path / "new" / "a.mp4").read_bytes()
    assert 0 < content.find(b"moov") < content.find(b"mdat"), "the index comes first"
    with av.open(str(tmp_path / "new" / "a.mp4")) as file:
        (stream,) = file.streams
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.average_rate, stream.frames) == (RATE, FRAMES)
        assert stream.codec_context.colorspace == 1, "BT.709, as players take it"
    frames = list(open_video(tmp_path / "new" / "a.mp4"))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(FRAMES) / RATE, atol=1e-4)
    for number, frame in enumerate(frames):
        off = np.abs(frame.image.astype(int) - picture(number))
        assert off.mean() < 3 and off[4:20, 4:28].max() < 12
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("size", [(1, 1), (47, 63), (48, 63), (2, 100)])
def test_odd_sides_are_a_pixel_longer(tmp_path: Path, size: tuple[int, int]) -> None:
    with write_video(tmp_path / "a.mp4", size, 24) as video:
        video.write(np.full((*size, 3), 200, np.uint8))
    found = open_video(tmp_path / "a.mp4")
    assert found.size == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    assert abs(next(iter(found)).image.astype(int) - 200).max() < 6


def test_times_are_kept(tmp_path: Path) -> None:
    times = [0.5, 0.54, 1.0, 1.04, 1.0, 3.0]  # the fifth is not later than the fourth
    with write_video(tmp_path / "a.mp4", SIZE, RATE) as video:
        for number, time in enumerate(times):
            video.write(picture(number), time)
    frames = list(open_video(tmp_path / "a.mp4"))
    assert [number_of(frame.image) for frame in frames] == list(range(6))
    np.testing.assert_allclose([frame.time for frame in frames], [0, 0.04, 0.5, 0.54, 0.54, 2.5], atol=1e-4)


@pytest.mark.parametrize(
    ("name", "codec", "wanted"),
    [("a.mp4", "aac", "aac"), ("a.mkv", "mp3", "mp3"), ("a.mov", "pcm_s16le", "aac"), ("a.mkv", "pcm_f32le", "aac")],
)
def test_sound_is_kept(tmp_path: Path, name: str, codec: str, wanted: str) -> None:
    images = [picture(number) for number in range(20)]
    source = write_clip(tmp_path / name, images, audio=codec)
    for start, end in ((0, None), (0.7, 1.3)):
        copy = _copied(source, tmp_path / "copy.mp4", start=start, end=end)
        with av.open(str(copy)) as file:
            assert [stream.codec_context.name.removesuffix("float") for stream in file.streams] == ["h264", wanted]
            kinds = [packet.stream.type for packet in file.demux() if packet.size]
            beside = kinds[: len(kinds) - kinds[::-1].index("video")].count("audio")
            assert beside > kinds.count("audio") / 3, "sound lies beside its picture"
        found, whole = loudness(copy), loudness(source)
        part = whole[round(start * 10) : None if end is None else round(end * 10)]
        assert abs(len(found) - len(part)) <= 1
        np.testing.assert_allclose(found[2:-1], part[2 : len(found) - 1], atol=0.04)


def test_videos_without_sound(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4")
    assert open_video(source).sound() is None
    with av.open(str(_copied(source, tmp_path / "b.mp4"))) as file:
        assert [stream.type for stream in file.streams] == ["video"]


def test_damaged_sound_ends_earlier(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mov", audio="pcm_s16le", container={"movflags": "faststart"})
    whole = loudness(source)
    with av.open(str(source)) as file:
        last = max(packet.pos + packet.size for packet in file.demux(video=0) if packet.size)
    source.write_bytes(source.read_bytes()[:last])
    copy = _copied(source, tmp_path / "b.mp4")
    assert len(list(open_video(copy))) == FRAMES
    assert len(loudness(copy)) < len(whole)


def test_the_same_frames_are_the_same_bytes(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", audio="aac")
    found = set()
    for number in range(12):
        found.add(_copied(source, tmp_path / f"{number}.mp4").read_bytes())
        np.random.default_rng(number).bytes(1 << 20)  # other bytes in the memory that is used next
    assert len(found) == 1


def test_a_video_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("before")
    with pytest.raises(KeyboardInterrupt), write_video(tmp_path / "a.mp4", SIZE, RATE) as video:
        video.write(picture(0))
        raise KeyboardInterrupt
    with pytest.raises(LitetextError, match="no frame came"), write_video(tmp_path / "a.mp4", SIZE, RATE):
        pass
    with (
        pytest.raises(LitetextError, match=r"a frame to write is \(1, 1, 3\), where \(48, 64, 3\) belongs"),
        write_video(tmp_path / "a.mp4", SIZE, RATE) as video,
    ):
        video.write(picture(0)[:1, :1])
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_text() == "before"


def test_a_full_disk_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    done = subprocess.run(
        ["bash", "-c", f"mount -t tmpfs -o size=300k tmpfs {small} && exec \"$@\"", "bash", sys.executable, "-c", FULL,
         str(small)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    left = list(small.rglob("*.mp4"))
    subprocess.run(["umount", small], check=False, capture_output=True)
    if "mount:" in done.stderr:
        pytest.skip("no file system can be mounted here")
    assert (
        done.stderr
        == f"{small}/out/a.mp4 cannot be written: no space left on device; free some space and start again\n"
    )
    assert not left


def test_an_ffmpeg_without_h264(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Output:
        def add_stream(self, name: str, rate: Any) -> None:
            raise av.codec.codec.UnknownCodecError(name)

        def close(self) -> None:
            pass

    monkeypatch.setattr(av, "open", lambda *_, **__: Output())
    with pytest.raises(LitetextError, match="this FFmpeg writes no H"), write_video(tmp_path / "a.mp4", SIZE, RATE):
        pass
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(LitetextError, match=r"litetext\[video\]"), write_video(tmp_path / "a.mp4", SIZE, RATE):
        pass
