"""A system that ``litetext evaluate`` runs before it scores: how it is loaded, and where its predictions go."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import LitetextError
from .output import notes


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A system to run before scoring: ``load`` is called only if something is left to predict.

    ``encoder`` is what its text encoder is read from, for how many parameters that has.
    """

    name: str
    settings: Mapping[str, Any]
    load: Callable[[], Any]
    encoder: Callable[[], Any] | None
    images: Path | None
    destination: Path | None
    overwrite: bool
    no_cache: bool

    def folder(self) -> Path:
        """Where the images are."""
        if self.images is None:
            raise LitetextError("predicting needs the images: give --images DIR")
        return self.images

    @contextmanager
    def target(self, fingerprints: Sequence[str]) -> Iterator[Path]:
        """Yield where predictions go: as asked, in the cache folder, or nowhere to stay."""
        from ..evaluate.predict import default_destination

        if self.destination is not None:
            if self.destination.is_dir():
                raise LitetextError(f"--save-predictions {self.destination} is a folder; give the name of a .json file")
            yield self.destination
        elif self.no_cache:
            with tempfile.TemporaryDirectory() as folder:
                yield Path(folder) / "predictions.json"
        else:
            target = default_destination(self.settings, fingerprints)
            notes.print(f"predictions: {target}", highlight=False, soft_wrap=True)
            yield target

    def facts(self) -> dict[str, Any]:
        """What is recorded with the predictions: the parameters of the text encoder, where they can be counted."""
        with suppress(LitetextError):
            if self.encoder is not None:
                return {"text_parameters": self.encoder().config.parameters()}
        return {}


def several_beside(target: Path) -> Path:
    """Return the folder of predictions in several files, a subset each, where one file would be ``target``."""
    return target.with_suffix("") if target.suffix == ".json" else target
