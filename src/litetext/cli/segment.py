"""``litetext segment``: noun phrases and pictures in; overlays, a COCO file and a table out."""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from ..errors import LitetextError, choice_error
from ..files import write_json
from ..outputs import OutputFolder
from ..segment.questions import VISUAL
from ..segment.sources import PUBLISHED, quickest_backend
from .command import add
from .convention_option import AS
from .encoder_options import ALLOW_NAN, COMPILE, CONTEXT, DEVICE, DTYPE, POSITIONS, position_reading
from .image_size_option import IMAGE_SIZE_OR_BUDGET, chosen_image_size
from .inputs import STDIN, Boxes, ImageInput, box_inputs, image_inputs, phrase_inputs
from .output import console, notes, print_json, progress_bar, tell

if TYPE_CHECKING:
    from ..results import Instances
    from ..segment import Segmenter

_DEFAULT_MODEL = "mini"
_DEFAULT_OUT = Path("segments")
_COCO = "instances.json"
_LONGEST_STEM = 200  # bytes of an overlay's name before what is added to it: file systems take 255 in all


def register(app: typer.Typer) -> None:
    """Add the command."""
    add(
        app,
        segment,
        "segment",
        'litetext segment photo.jpg -p "white dog" -p "red car"',
        "litetext segment photos --prompt-file phrases.txt --out found",
        "litetext segment photo.jpg --box 10,20,80,90 --json",
    )


def segment(
    images: list[str] = typer.Argument(
        ..., metavar="IMAGE", help="Image files, folders, quoted patterns, links, or - for one on standard input."
    ),
    prompts: list[str] = typer.Option(
        [], "--prompt", "-p", help='What to find, such as "white dog"; repeat it for more. -: lines of standard input.'
    ),
    prompt_files: list[Path] = typer.Option(
        [], "--prompt-file", help="Phrases to find: .txt (one a line), .csv, .json, .jsonl, .parquet."
    ),
    boxes: list[str] = typer.Option(
        [], "--box", metavar="X1,Y1,X2,Y2", help="An example of what to find in the one image, in its pixels."
    ),
    not_boxes: list[str] = typer.Option(
        [], "--not-box", metavar="X1,Y1,X2,Y2", help="An example of what not to find there."
    ),
    model: str = typer.Option(
        _DEFAULT_MODEL, help="mini, photo, a folder (of a model or of its export), or a hub name of a SAM3 model."
    ),
    text: str = typer.Option(None, help="Another text encoder for it: a name, file, folder or hub name."),
    context: int = CONTEXT,
    positions: str = POSITIONS,
    convention: str = AS,
    out: Path = typer.Option(
        None,
        "--out",
        "-o",
        help=f"Folder for overlays (PNG) and instances.json (COCO); {_DEFAULT_OUT}/ unless --json is given.",
    ),
    threshold: float = typer.Option(0.5, min=0.0, max=1.0, help="Lowest score that counts."),
    backend: str = typer.Option(
        "auto", help="torch, onnx, openvino, or auto: ONNX Runtime where the model has its graphs."
    ),
    device: str = DEVICE,
    dtype: str = DTYPE,
    image_size: str = IMAGE_SIZE_OR_BUDGET,
    compiled: bool = COMPILE,
    allow_nan: bool = ALLOW_NAN,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON list of what was found."),
) -> None:
    """Find every instance of every prompt in every image.

    An image that cannot be read is reported, the others still get done, and the exit code is 2.
    """
    _check_stdin([*images, *prompts, *map(str, prompt_files)])
    asked = _asked(phrase_inputs(prompts, prompt_files), box_inputs(boxes, not_boxes))
    with tempfile.TemporaryDirectory() as fetched:
        run = _Run(asked, threshold)
        inputs = image_inputs(images, Path(fetched), run.refuse)
        if not inputs:
            raise typer.Exit(2)
        if asked.boxes is not None and len(inputs) > 1:
            raise LitetextError(f"--box is in pixels of one image, but {len(inputs)} are given; give one at a time")
        if not as_json and out is None:
            out = _DEFAULT_OUT
        overlays = _overlay_names(inputs)
        folder = None
        if out is not None:
            folder = OutputFolder(out, "segmentation")
            folder.check([_COCO, *overlays])
        load = partial(_load, model, text, context, positions, convention, allow_nan, device=device, dtype=dtype)
        size = chosen_image_size(image_size, partial(load, "torch"), lambda: asked.prompts)
        run.over(load(backend, image_size=size, compiled=compiled), inputs, overlays, folder)
        if size is not None:
            run.rows = [row | {"image_size": size} for row in run.rows]
    _show(run, model, out, as_json)
    if run.failed:
        raise typer.Exit(2)


@dataclass(frozen=True)
class _Asked:
    """What to find in each image: prompts, and example boxes that go with a lone one."""

    prompts: list[str]
    boxes: Boxes | None


def _asked(phrases: list[str], boxes: Boxes | None) -> _Asked:
    if not phrases and boxes is None:
        raise LitetextError("nothing to find: give -p PHRASE, --prompt-file FILE or --box X1,Y1,X2,Y2")
    if boxes is not None and len(phrases) > 1:
        raise LitetextError(f"--box goes with one prompt or with none, but {len(phrases)} are given; ask one at a time")
    if boxes is not None and not phrases and not boxes[1].any():
        raise LitetextError("--not-box alone does not say what to find; give -p PHRASE or --box too")
    return _Asked(phrases or [VISUAL], boxes)


def _check_stdin(given: list[str]) -> None:
    if given.count(STDIN) > 1:
        raise LitetextError("- stands for standard input, which can be read once: as an image or as phrases")


def _load(
    model: str,
    text: str | None,
    context: int | None,
    positions: str | None,
    convention: str | None,
    allow_nan: bool,
    backend: str,
    *,
    device: str | None,
    dtype: str | None,
    image_size: int | None = None,
    compiled: bool = False,
) -> Segmenter:
    if backend not in ("auto", "torch", "onnx", "openvino"):
        raise choice_error("--backend", backend, ("auto", "torch", "onnx", "openvino"))
    with notes.status(f"loading {model}"):
        from ..segment import Segmenter

        chosen: str | None = backend
        if backend == "auto":
            chosen = quickest_backend(
                model, device, convention, context, positions, dtype, image_size, compiled or None
            )
        return Segmenter.from_pretrained(
            model,
            text,
            convention=convention,
            allow_nan=allow_nan,
            backend=chosen,
            device=device,
            dtype=dtype,
            context_length=context,
            positions=position_reading(positions),
            image_size=image_size,
            compile=compiled,
        )


class _Run:
    """One pass over the images: what was found in each, and how many could not be read."""

    def __init__(self, asked: _Asked, threshold: float) -> None:
        self._asked = asked
        self._threshold = threshold
        self.rows: list[dict[str, Any]] = []
        self.failed = 0
        self._stopped: KeyboardInterrupt | None = None

    def refuse(self, error: LitetextError) -> None:
        """Report an image that cannot be read."""
        self.failed += 1
        print(f"litetext: {' '.join(str(error).split())}", file=sys.stderr)

    def over(
        self, segmenter: Segmenter, images: list[ImageInput], overlays: list[str], out: OutputFolder | None
    ) -> None:
        """Segment ``images`` and write what is to be written, of those before an interruption too.

        Masks are held of one image at a time.

        Raises:
            KeyboardInterrupt: on Ctrl-C or SIGTERM, after what was found until then is written.
        """
        found = self._results(segmenter.freeze(self._asked.prompts), images, overlays, out)
        if out is None:
            for _ in found:
                pass
        else:
            from ..results.formats import coco

            document = coco.document(instances.annotations(name) for name, instances in found)
            if document["images"]:
                with out.staged() as staged:
                    write_json(staged / _COCO, document, indent=None)
        if self._stopped is not None:
            raise self._stopped

    def _results(
        self, segmenter: Segmenter, images: list[ImageInput], overlays: list[str], out: OutputFolder | None
    ) -> Iterator[tuple[str, Instances]]:
        with progress_bar() as bar:
            pairs = list(zip(images, overlays, strict=True))
            for one, overlay in bar.track(pairs, description="segmenting"):
                try:
                    found = self._found(segmenter, one)
                except LitetextError as error:
                    self.refuse(error)
                    continue
                except KeyboardInterrupt as stop:
                    self._stopped = stop
                    return
                self.rows.extend(_row(one.name, prompt, found[prompt]) for prompt in self._asked.prompts)
                if out is not None:
                    with out.staged() as staged:
                        found.save_png(staged / overlay)
                yield one.name, found

    def _found(self, segmenter: Segmenter, one: ImageInput) -> Instances:
        boxes, labels = (None, None) if self._asked.boxes is None else self._asked.boxes
        return segmenter.segment(one.image, self._asked.prompts, boxes, labels, threshold=self._threshold)


def _show(run: _Run, model: str, out: Path | None, as_json: bool) -> None:
    """Print what was found, where it is, and what else there is."""
    if as_json:
        print_json(run.rows)
    elif run.rows:
        console.print(_table(run.rows))
        tell(f"written: {out}/ (overlays, {_COCO})")
    if model == _DEFAULT_MODEL and run.rows:
        hint = (
            f"Model: {_DEFAULT_MODEL}, which ships with litetext and knows only its small drawn world. "
            f"For photographs: --model {PUBLISHED}; a rough look without a download: --model photo"
        )
        notes.print(hint, highlight=False, soft_wrap=True) if as_json else tell(hint)


def _overlay_names(images: list[ImageInput]) -> list[str]:
    """``NAME_masks.png`` for every image; images of the same name from different folders are numbered."""
    names, seen = [], Counter[str]()
    for image in images:
        written = os.fsencode(image.stem)
        stem = image.stem if len(written) <= _LONGEST_STEM else written[:_LONGEST_STEM].decode(errors="ignore")
        seen[stem.casefold()] += 1  # some file systems do not tell A from a
        count = seen[stem.casefold()]
        number = f"_{count}" if count > 1 else ""
        names.append(f"{stem}_masks{number}.png")
    return names


def _row(image: str, prompt: str, found: Instances) -> dict[str, Any]:
    return {
        "image": image,
        "prompt": prompt,
        "count": len(found),
        "scores": found.scores.tolist(),
        "boxes": found.boxes.tolist(),
    }


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table("image", "prompt", "count", "best score")
    previous = None
    for row in rows:
        name = Path(row["image"]).name if row["image"] != previous else ""
        best = f"{row['scores'][0]:.2f}" if row["count"] else "–"
        table.add_row(name, row["prompt"], str(row["count"]), best)
        previous = row["image"]
    return table
