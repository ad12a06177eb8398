"""``litetext segment``: noun phrases and pictures in; overlays, a COCO file and a table out."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape
from rich.table import Table

from ..errors import LitetextError, choice_error
from ..files import write_json
from ..outputs import OutputFolder
from ..segment.sources import PUBLISHED, has_graphs, locate
from .command import add
from .convention_option import AS
from .encoder_options import ALLOW_NAN, CONTEXT, POSITIONS, position_reading
from .output import console, notes, print_json, progress_bar

if TYPE_CHECKING:
    from ..results import Instances
    from ..segment import Segmenter

_DEFAULT_MODEL = "mini"
_DEFAULT_OUT = Path("segments")
_COCO = "instances.json"


def register(app: typer.Typer) -> None:
    """Add the command."""
    add(
        app,
        segment,
        "segment",
        'litetext segment photo.jpg -p "white dog" -p "red car"',
    )


def segment(
    images: list[Path] = typer.Argument(..., metavar="IMAGE", help="Image files."),
    prompts: list[str] = typer.Option(
        ..., "--prompt", "-p", help='A noun phrase to find, such as "white dog"; give -p several times for several.'
    ),
    model: str = typer.Option(
        _DEFAULT_MODEL, help="mini, photo, a folder (of a model or of its export), or a hub name of a SAM3 model."
    ),
    text: str = typer.Option(None, help="Another text encoder for it: a name, file, folder or hub name."),
    context: int = CONTEXT,
    positions: str = POSITIONS,
    convention: str = AS,
    out: Path = typer.Option(
        None, help=f"Folder for overlays (PNG) and instances.json (COCO); {_DEFAULT_OUT}/ unless --json is given."
    ),
    threshold: float = typer.Option(0.5, min=0.0, max=1.0, help="Lowest score that counts."),
    backend: str = typer.Option("auto", help="torch, onnx, or auto: ONNX Runtime where the model has its graphs."),
    allow_nan: bool = ALLOW_NAN,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON list of what was found."),
) -> None:
    """Find every instance of every prompt in every image.

    An image that cannot be read is reported, the others still get done, and the exit code is 2.
    """
    asked = list(dict.fromkeys(prompts))
    for prompt in asked:
        if not prompt.strip():
            raise LitetextError(f"the prompt {prompt!r} is empty; give -p a noun phrase such as 'white dog'")
    if not as_json and out is None:
        out = _DEFAULT_OUT
    overlays = _overlay_names(images)
    folder = None
    if out is not None:
        folder = OutputFolder(out, "segmentation")
        folder.check([_COCO, *overlays])
    run = _Run(_load(model, text, context, positions, convention, allow_nan, backend), asked, threshold, folder)
    run.over(images, overlays)
    if as_json:
        print_json(run.rows)
    else:
        if run.rows:
            console.print(_table(run.rows))
            console.print(f"written: {out}/ (overlays, {_COCO})", highlight=False, soft_wrap=True)
    if model == _DEFAULT_MODEL and run.rows:
        (notes if as_json else console).print(
            f"Model: {_DEFAULT_MODEL}, which ships with litetext and knows only its small drawn world. "
            f"For photographs: --model {PUBLISHED}; a rough look without a download: --model photo",
            highlight=False,
            soft_wrap=True,
        )
    if run.failed:
        raise typer.Exit(2)


def _load(
    model: str,
    text: str | None,
    context: int | None,
    positions: str | None,
    convention: str | None,
    allow_nan: bool,
    backend: str,
) -> Segmenter:
    if backend not in ("auto", "torch", "onnx"):
        raise choice_error("--backend", backend, ("auto", "torch", "onnx"))
    with notes.status(f"loading {model}"):
        from ..segment import Segmenter

        chosen: str | None = backend
        if backend == "auto":
            as_it_is = convention is None and context is None and positions is None
            chosen = "onnx" if as_it_is and has_graphs(locate(model).detector) else None
        return Segmenter.from_pretrained(
            model,
            text,
            convention=convention,
            allow_nan=allow_nan,
            backend=chosen,
            context_length=context,
            positions=position_reading(positions),
        )


class _Run:
    """One pass over the images: what was found in each, and how many could not be read."""

    def __init__(self, segmenter: Segmenter, prompts: list[str], threshold: float, out: OutputFolder | None) -> None:
        self._segmenter = segmenter.freeze(prompts)
        self._prompts = prompts
        self._threshold = threshold
        self._out = out
        self.rows: list[dict[str, Any]] = []
        self.failed = 0

    def over(self, images: list[Path], overlays: list[str]) -> None:
        """Segment ``images`` and write what is to be written. Masks are held of one image at a time."""
        if self._out is None:
            for _ in self._results(images, overlays):
                pass
            return
        from ..results.formats import coco

        found = self._results(images, overlays)
        document = coco.document(instances.annotations(name) for name, instances in found)
        if document["images"]:
            with self._out.staged() as staged:
                write_json(staged / _COCO, document, indent=None)

    def _results(self, images: list[Path], overlays: list[str]) -> Iterator[tuple[str, Instances]]:
        with progress_bar() as bar:
            pairs = list(zip(images, overlays, strict=True))
            for path, overlay in bar.track(pairs, description="segmenting"):
                try:
                    found = self._segmenter.segment(path, self._prompts, threshold=self._threshold)
                except LitetextError as error:
                    self.failed += 1
                    print(f"litetext: {' '.join(str(error).split())}", file=sys.stderr)
                    continue
                self.rows.extend(_row(path, prompt, found[prompt]) for prompt in self._prompts)
                if self._out is not None:
                    with self._out.staged() as staged:
                        found.save_png(staged / overlay)
                yield str(path), found


def _overlay_names(images: list[Path]) -> list[str]:
    """``NAME_masks.png`` for every image; images of the same name from different folders are numbered."""
    names, seen = [], Counter[str]()
    for image in images:
        seen[image.stem.casefold()] += 1  # some file systems do not tell A from a
        count = seen[image.stem.casefold()]
        number = f"_{count}" if count > 1 else ""
        names.append(f"{image.stem}_masks{number}.png")
    return names


def _row(image: Path, prompt: str, found: Instances) -> dict[str, Any]:
    return {
        "image": str(image),
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
        table.add_row(escape(name), escape(row["prompt"]), str(row["count"]), best)
        previous = row["image"]
    return table
