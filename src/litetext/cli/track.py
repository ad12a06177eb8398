"""``litetext track``: noun phrases and a video in; a video with the objects drawn on it, and their tracks out."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import typer
from rich.table import Table

from ..devices import known_dtype
from ..errors import LitetextError, choice_error
from ..segment.sources import PUBLISHED, quickest_backend
from ..videos import VideoReader, open_video
from ..videos.opening import files_of
from .command import add
from .convention_option import AS
from .destination import OVERWRITE
from .encoder_options import ALLOW_NAN, COMPILE, DEVICE, DTYPE
from .image_size_option import IMAGE_SIZE_OR_BUDGET, chosen_image_size
from .inputs import STDIN, phrase_inputs
from .output import console, duration, notes, print_json, progress_bar, tell
from .stamps import model_stamps, stamps

if TYPE_CHECKING:
    from ..progress import Progress
    from ..segment import Segmenter
    from ..track import VideoSegmenter

_DEFAULT_MODEL = "mini"
_KINDS = ("video", "veval", "coco", "mot", "masks", "sheet")
_POLICIES = ("full", "no-temporal", "by-detection")
_ROWS = 20


def register(app: typer.Typer) -> None:
    """Add the command."""
    add(
        app,
        track,
        "track",
        'litetext track clip.mp4 -p "dog" -p "red car"',
        'litetext track frames/ -p "dog" --start 10 --end 1:30 --every 2 --max-side 640',
        'litetext track 0 -p "cup" --save video',
        extra="video",
    )


def track(
    video: str = typer.Argument(
        ...,
        metavar="VIDEO",
        help="A video file, a GIF, a folder or a quoted pattern of frames, an http(s) or rtsp link, 0 for a camera, "
        "or - for standard input.",
    ),
    prompts: list[str] = typer.Option([], "--prompt", "-p", help='What to find, such as "dog"; repeat it for more.'),
    prompt_files: list[Path] = typer.Option(
        [], "--prompt-file", help="Phrases to find: .txt (one a line), .csv, .json, .jsonl, .parquet."
    ),
    out: Path = typer.Option(
        None, "--out", "-o", help="Folder for what is written; VIDEO_tracks/ here unless --json is given."
    ),
    save: list[str] = typer.Option(
        list(_KINDS),
        "--save",
        metavar="|".join(_KINDS),
        help="What to write; repeat it for more. By default all of it.",
    ),
    start: str = typer.Option(None, metavar="TIME", help="Where to begin: seconds, M:SS or H:MM:SS."),
    end: str = typer.Option(None, metavar="TIME", help="Where to end."),
    every: int = typer.Option(1, min=1, help="Take every N-th frame."),
    max_side: int = typer.Option(None, min=1, help="Reduce frames to this longer side, in pixels."),
    model: str = typer.Option(_DEFAULT_MODEL, help="mini, photo, a folder, a file, or a hub name of a SAM3 model."),
    text: str = typer.Option(None, help="Another text encoder for it: a name, file, folder or hub name."),
    policy: str = typer.Option(
        None, metavar="|".join(_POLICIES), help="By default full with a memory tracker, else by-detection."
    ),
    convention: str = AS,
    threshold: float = typer.Option(
        None, min=0.0, max=1.0, help="Score from which a detection counts; 0.5 by default."
    ),
    device: str = DEVICE,
    dtype: str = DTYPE,
    image_size: str = IMAGE_SIZE_OR_BUDGET,
    compiled: bool = COMPILE,
    allow_nan: bool = ALLOW_NAN,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document of what was found."),
    overwrite: bool = OVERWRITE,
) -> None:
    """Follow every instance of every prompt through a video.

    A run that was killed goes on if it is given again. A damaged video is tracked as far as it can be read, and the
    exit code is 2. Ctrl-C ends a camera or a stream, and what was seen until then is written.
    """
    if video == STDIN and STDIN in [*prompts, *map(str, prompt_files)]:
        raise LitetextError("- stands for standard input, which can be read once: as a video or as phrases")
    asked = phrase_inputs(prompts, prompt_files)
    if not asked:
        raise LitetextError("nothing to find: give -p PHRASE or --prompt-file FILE")
    for kind in save:
        if kind not in _KINDS:
            raise choice_error("--save", kind, _KINDS)
    if out is None and not as_json:
        out = Path(f"{_stem(video)}_tracks")
    times = {"start": _seconds("--start", start), "end": _seconds("--end", end)}
    detector = partial(_detector, model, text, device, dtype, convention, allow_nan)
    size = chosen_image_size(image_size, detector, lambda: asked)
    loaded = _Model(model, text, policy, convention, threshold, known_dtype(dtype, device), size)
    with open_video(video, every=every, max_side=max_side, **times) as reader:
        run = {
            "video": video,
            "content": stamps(files_of(video)),
            **times,
            "every": every,
            "max_side": max_side,
            "prompts": asked,
            **asdict(loaded),
            "files": model_stamps(model, text),
            "save": sorted(set(save)),
        }
        summary = _summary(reader, asked, partial(loaded.load, device, allow_nan, compiled), out, run, overwrite)
    if size is not None:
        summary = summary | {"image_size": size}
    _show(summary, out, save, model, as_json)
    if summary["damage"]:
        raise LitetextError(summary["damage"])


def _detector(
    model: str,
    text: str | None,
    device: str | None,
    dtype: str | None,
    convention: str | None,
    allow_nan: bool,
) -> Segmenter:
    """The detector of a video segmenter, in torch and at its own size."""
    from ..segment import Segmenter

    return Segmenter.from_pretrained(
        model, text, device, dtype, convention=convention, allow_nan=allow_nan, backend="torch"
    )


@dataclass(frozen=True)
class _Model:
    """What tracks, as the command line names it."""

    model: str
    text: str | None
    policy: str | None
    convention: str | None
    threshold: float | None
    dtype: str | None
    image_size: int | None

    def __post_init__(self) -> None:
        if self.policy not in (None, *_POLICIES):
            raise choice_error("--policy", self.policy, _POLICIES)

    def load(self, device: str | None, allow_nan: bool, compiled: bool) -> VideoSegmenter:
        """Load it."""
        with notes.status(f"loading {self.model}"):
            from ..track import VideoSegmenter, with_threshold

            segmenter = VideoSegmenter.from_pretrained(
                self.model,
                self.text,
                self.policy,
                device,
                self.dtype,
                convention=self.convention,
                backend=quickest_backend(
                    self.model, device, self.convention, self.dtype, self.image_size, compiled or None
                ),
                allow_nan=allow_nan,
                image_size=self.image_size,
                compile=compiled,
            )
            if self.threshold is not None:
                segmenter.policy = with_threshold(segmenter.policy, self.threshold)
            return segmenter


def _summary(
    video: VideoReader,
    prompts: list[str],
    load: Callable[[], VideoSegmenter],
    out: Path | None,
    run: dict[str, Any],
    overwrite: bool,
) -> dict[str, Any]:
    """Track the video, or return what the finished run found."""
    from ..track.run import Tracking, check_out, track_to_folder

    if out is not None:
        finished = check_out(out, run, files_of(run["video"]), overwrite=overwrite)
        if finished is not None:
            return finished
    with _shown_progress() as progress, _stopped_by_interrupt(video.is_live) as stopped:
        tracking = Tracking(video, prompts, load, progress, stopped)
        if out is not None:
            return track_to_folder(tracking, out, run, kinds=run["save"], overwrite=overwrite)
        return tracking.summary(tracking.into([]))


@contextmanager
def _shown_progress() -> Iterator[Progress]:
    """Yield a callback that shows frames, frames a second, objects and the time left on standard error."""
    with progress_bar() as bar:
        task = bar.add_task("tracking", total=None)
        begun = time.monotonic()

        def show(completed: int, total: int | None = None, objects: str | None = None) -> None:
            rate = completed / max(time.monotonic() - begun, 1e-6)
            bar.update(task, completed=completed, total=total, description=f"{rate:.1f} frames/s, {objects or ''}")

        yield show
        seconds = time.monotonic() - begun
        notes.print(f"{bar.tasks[task].completed:,.0f} frames in {duration(seconds)}", highlight=False)


@contextmanager
def _stopped_by_interrupt(is_live: bool) -> Iterator[Callable[[], bool]]:
    """Yield whether Ctrl-C was pressed, which ends a live video well; pressed again, it ends the command."""
    asked: list[int] = []
    if not is_live:
        yield lambda: False
        return

    def note(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)


def _seconds(option: str, text: str | None) -> float | None:
    """A time as seconds, M:SS or H:MM:SS say it."""
    if text is None:
        return None
    match = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?)", text.strip())
    if match is None:
        raise LitetextError(f"{option} {text!r} is no time; give seconds, M:SS or H:MM:SS")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def _stem(video: str) -> str:
    """What the folder of a video's tracks is called after."""
    if video == STDIN:
        return "stdin"
    if video.isdecimal() and not Path(video).exists():
        return f"camera{video}"
    if "://" in video:
        link = urlsplit(video)
        return PurePosixPath(link.path).stem or link.hostname or "video"
    return re.sub(r"[*?\[\]]+", "", Path(video).stem) or Path(video).resolve().parent.name or "video"


def _show(summary: dict[str, Any], out: Path | None, save: list[str], model: str, as_json: bool) -> None:
    """Print what was found, where it is, and what else there is."""
    from ..track.files import FILES

    if as_json:
        print_json(summary)
    else:
        console.print(_table(summary["objects"]))
        tell(f"written: {out}/ ({', '.join(FILES[kind] for kind in FILES if kind in save)})")
    if model == _DEFAULT_MODEL:
        (notes if as_json else console).print(
            f"Model: {_DEFAULT_MODEL}, which ships with litetext and knows only its small drawn world. "
            f"For other videos: --model {PUBLISHED}",
            highlight=False,
            soft_wrap=True,
        )


def _table(objects: list[dict[str, Any]]) -> Table:
    """The objects that are seen in most frames."""
    table = Table("object", "prompt", "frames", "from", "to", "score")
    shown = sorted(objects, key=lambda one: -one["frames"])[:_ROWS]
    for one in sorted(shown, key=lambda one: one["number"]):
        times = (f"{one[key]:.2f} s" for key in ("first", "last"))
        table.add_row(f"#{one['number']}", one["prompt"], f"{one['frames']:,}", *times, f"{one['score']:.2f}")
    if len(objects) > _ROWS:
        table.caption = f"and {len(objects) - _ROWS:,} that are seen in fewer frames"
    return table
