"""A job of labelling: a folder that holds what was asked, what was found, and the datasets made of it.

::

    DIR/job.json            the settings
    DIR/concepts.yaml       the concepts, with the thresholds in use
    DIR/shards/<key>/       what the model found, by content (`litetext.label.store`); key: of model and phrases
    DIR/manifest.jsonl      a line an image: its name, where it is, the hash of its content or why it failed
    DIR/failed.jsonl        the images that failed, with the reason
    DIR/coco, DIR/yolo, …   datasets, one folder a format
    DIR/README.md           the dataset's card; report.html and report.json beside it
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import Any

from ..errors import LitetextError, choice_error
from ..files import atomic_path, exclusive, open_file, write_text
from ..json_files import parse_json, read_json
from ..outputs import Kind, OutputFolder, claim_folder
from ..progress import Progress, no_progress
from ..results import Instances
from ..validation import check_ranges, from_values, ranged
from .concepts import Concept, checked, dumped, read_concepts
from .disk_map import DiskMap
from .labeler import LabeledRow, Labeler, LabelerRecipe, Model, asked_phrases, question_identity, write_bank
from .local import label_locally
from .near import NearFilter
from .settling import Rules, settled
from .sources import ImageRef, count_images, image_refs
from .store import Store

KIND: Kind = "labelling job"
ENGINES = ("local", "ray")
_VERSION = 1
_OWN = ("sha256", "error", "duplicate_of", "near")  # of an entry, beside where its image is
_JOB = "job.json"
_BANK = "bank.safetensors"


@dataclass(frozen=True, slots=True)
class Settings:
    """How a job is done.

    Attributes:
        model: the segmenter.
        keep: lowest score that the shards keep, so that thresholds can be lowered to it without the model.
        rules: when two masks are one object.
        val: share of the images that go into ``val``, by the hash of their content; the others go into ``train``.
        batch_size: phrases that are decoded together.
        image_batch: images that run through the vision encoder together.
        shard_size: images of a shard.
        near: bits of a 64-bit perceptual hash in which an image may differ from an earlier one and is skipped; None:
            none is skipped.
    """

    model: Model
    keep: float = ranged(0, 1, 0.3)
    rules: Rules = field(default_factory=Rules)
    val: float = ranged(0, 1, 0.1)
    batch_size: int = ranged(1, 4096, 8)
    image_batch: int = ranged(1, 4096, 1)
    shard_size: int = ranged(1, 100_000, 64)
    near: int | None = ranged(0, 63, None)

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """An image of a job, as the manifest has it.

    Attributes:
        ref: where it is.
        sha256: of its content, in hexadecimal; "" where it could not be read.
        error: why it failed, or "".
        duplicate_of: the name of an earlier image that is the same, or "".
        near: the name of an earlier image that it looks like, for which it was skipped, or "".
    """

    ref: ImageRef
    sha256: str
    error: str = ""
    duplicate_of: str = ""
    near: str = ""

    @property
    def is_labeled(self) -> bool:
        """Whether it is in the dataset: it neither failed nor was skipped."""
        return not self.error and not self.near

    @property
    def name(self) -> str:
        """Of the image in the dataset."""
        return self.ref.name

    def split(self, val: float) -> str:
        """``"val"`` for a share of all contents, else ``"train"``."""
        return "val" if int(self.sha256[:13], 16) < val * 16**13 else "train"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run did.

    Attributes:
        images: of the job.
        labeled: images that this run labelled; the others were known by their content, or failed.
        failed: images that could not be labelled.
        duplicates: images whose content an earlier image has.
        seconds: on the clock, of labelling alone.
        skipped: images that look like an earlier one.
    """

    images: int
    labeled: int
    failed: int
    duplicates: int
    seconds: float
    skipped: int = 0


class Job:
    """A folder of a labelling job.

    Args:
        folder: new, empty, or of an earlier job.
        concepts: what to label.
        settings: how.

    Raises:
        LitetextError: the folder holds something else, or two concepts have one name.
    """

    def __init__(self, folder: Path, concepts: Sequence[Concept], settings: Settings) -> None:
        self.folder = Path(folder)
        self.concepts = checked(concepts, "the list")
        self.settings = settings
        self.phrases = asked_phrases(self.concepts)
        self._labeler: Labeler | None = None

    @classmethod
    def open(cls, folder: Path) -> Job:
        """Return the job of a folder as it was last run.

        Raises:
            LitetextError: there is none, or its files were damaged.
        """
        path = Path(folder) / _JOB
        if not path.is_file():
            raise LitetextError(f"{folder} holds no labelling job; make one with: litetext label INPUT --out {folder}")
        settings = _settings(path)
        return cls(Path(folder), read_concepts(Path(folder) / "concepts.yaml"), settings)

    @cached_property
    def keep(self) -> float:
        """The lowest score in the shards: none of the thresholds lies below.

        Shards of an earlier run that keep as much or more serve this one too: other thresholds need no second look at
        the images.
        """
        least = min(self.settings.keep, *(concept.threshold for concept in self.concepts))
        before = _kept_before(self.folder / _JOB)
        return before if before is not None and before <= least and self._shards(before).is_dir() else least

    @cached_property
    def shards(self) -> Path:
        """The folder of the shards of this job's model and phrases."""
        return self._shards(self.keep)

    @cached_property
    def _asked(self) -> list[Any]:
        return [self.settings.model.identity(), question_identity(self.concepts)]

    def _shards(self, keep: float) -> Path:
        identity = json.dumps([_VERSION, *self._asked, keep], sort_keys=True)
        key = hashlib.sha256(identity.encode()).hexdigest()[:16]
        return self.folder / "shards" / key

    @property
    def bank(self) -> Path:
        """The file with the features of what is asked."""
        return self.shards / _BANK

    def run(
        self,
        given: Sequence[str],
        *,
        engine: str = "local",
        workers: int = 1,
        address: str | None = None,
        progress: Progress = no_progress,
    ) -> Outcome:
        """Label all images that are not labelled, and write the manifest; what an earlier run labelled is kept.

        Args:
            given: what names the images, see `image_refs`.
            engine: ``"local"`` or ``"ray"``.
            workers: of ray, each with a model.
            address: of a ray cluster; None: this machine alone.
            progress: counts images.

        Raises:
            LitetextError: bad input, or another process is at work on the folder; the disk is full.
            KeyboardInterrupt: on Ctrl-C or SIGTERM; its message says what is saved and how to go on.
        """
        if engine not in ENGINES:
            raise choice_error("engine", engine, ENGINES)
        self._check_apart(given)
        total = count_images(given)
        with self._own():
            self._write_settings()
            self._write_bank()
            store = Store(self.shards, self.phrases)
            before, begun = len(store), monotonic()
            counted = _Counted(image_refs(given), total)
            distinct = counted if self.settings.near is None else NearFilter(counted, self.settings.near)
            rows = self._engine(engine, workers, address)(distinct, store)
            skipped = [] if isinstance(distinct, _Counted) else distinct.skipped
            try:
                failed, duplicates, images = self._note(rows, skipped, counted, progress)
            except KeyboardInterrupt as stop:
                saved = len(store) - before
                stop.args = (
                    f"{saved:,} images of this run are saved in {self.folder}; give the same command again to go on",
                )
                raise
            if images != counted.given:
                raise LitetextError(f"{counted.given - images} images were lost on the way; give the command again")
            return Outcome(images, len(store) - before, failed, duplicates, monotonic() - begun, len(skipped))

    def entries(self) -> Iterator[ImageEntry]:
        """Yield the images of the last run, in their order.

        Raises:
            LitetextError: no run was finished, or the manifest was damaged.
        """
        path = self.folder / "manifest.jsonl"
        if not path.is_file():
            raise LitetextError(f"{self.folder} was not labelled to the end; give its litetext label command again")
        with open_file(path) as file:
            for number, line in enumerate(file, start=1):
                yield _entry(
                    parse_json(line.decode(errors="replace"), f"{path}: line {number}", names=True), f"{path}: {number}"
                )

    def store(self) -> Store:
        """Return what was found."""
        return Store(self.shards, self.phrases)

    def settled(self, found: Instances) -> Instances:
        """Return the objects of an image by concept."""
        return settled(found, self.concepts, self.settings.rules)

    def with_concepts(self, concepts: Sequence[Concept]) -> Job:
        """Return the job with other thresholds, counts or priorities."""
        return Job(self.folder, concepts, self.settings)

    def save_concepts(self) -> None:
        """Write the concepts, with their thresholds, into the folder."""
        write_text(self.folder / "concepts.yaml", dumped(self.concepts))

    def output(self) -> OutputFolder:
        """Return the folder as one to write reports into, which replaces no file of the user's."""
        return OutputFolder(self.folder, KIND)

    def _check_apart(self, given: Sequence[str]) -> None:
        for one in given:
            if Path(one).is_dir() and self.folder.resolve().is_relative_to(Path(one).resolve()):
                raise LitetextError(
                    f"{self.folder} lies in the input {one}, to whose images it would add; choose another"
                )

    @contextlib.contextmanager
    def _own(self) -> Iterator[None]:
        """Hold the folder for as long as a run writes into it."""
        claim_folder(self.folder, KIND)
        busy = f"{self.folder} is being labelled by another process"
        with (self.folder / "job.lock").open("ab") as lock, exclusive(lock, busy):
            yield

    def _write_settings(self) -> None:
        document = {"version": _VERSION, "settings": asdict(replace(self.settings, keep=self.keep))}
        write_text(self.folder / _JOB, json.dumps(document, indent=1) + "\n")
        self.save_concepts()

    def _write_bank(self) -> None:
        """Encode what is asked, once for the job: workers read the bank and load no text encoder."""
        if not self.bank.exists():
            model = self.settings.model
            write_bank(self.concepts, model.load(), self.bank, model.text or model.name)

    def _engine(self, engine: str, workers: int, address: str | None) -> Any:
        settings = self.settings
        options = {"keep": self.keep, "batch_size": settings.batch_size, "image_batch": settings.image_batch}
        recipe = LabelerRecipe(settings.model, str(self.bank.absolute()), tuple(self.phrases), options)
        if engine == "ray":
            from .cluster import label_on_ray

            return lambda refs, store: label_on_ray(refs, recipe, store, settings.shard_size, workers, address)
        return lambda refs, store: label_locally(
            refs, lambda: self._kept(recipe), store, shard_size=settings.shard_size, image_batch=settings.image_batch
        )

    def _kept(self, recipe: LabelerRecipe) -> Labeler:
        """The model, which stays loaded for the next run of the job."""
        if self._labeler is None:
            self._labeler = recipe.load()
        return self._labeler

    def _note(
        self,
        rows: Iterable[LabeledRow],
        skipped: list[tuple[ImageRef, str]],
        counted: _Counted,
        progress: Progress,
    ) -> tuple[int, int, int]:
        """Write the manifest as images are done, and the failures; return how many failed, are doubles, and are."""
        first: DiskMap[str] = DiskMap()
        failed = duplicates = images = 0
        with contextlib.ExitStack() as stack:
            lines, errors = (
                stack.enter_context(stack.enter_context(atomic_path(self.folder / name)).open("w", encoding="utf-8"))
                for name in ("manifest.jsonl", "failed.jsonl")
            )
            for images, row in enumerate(rows, start=1):
                same = first.setdefault(row.sha256, row.ref.name) if row.sha256 else row.ref.name
                entry = ImageEntry(row.ref, row.sha256, row.error, "" if same == row.ref.name else same)
                lines.write(json.dumps(_values(entry)) + "\n")
                failed += bool(row.error)
                duplicates += bool(entry.duplicate_of)
                if row.error:
                    errors.write(json.dumps({"image": row.ref.name, "path": row.ref.path, "error": row.error}) + "\n")
                progress(images, counted.expected)
            for ref, near in skipped:  # known by now
                images += 1
                lines.write(json.dumps(_values(ImageEntry(ref, "", near=near))) + "\n")
        return failed, duplicates, images


def _settings(path: Path) -> Settings:
    value = read_json(path)
    if not isinstance(value, dict) or value.get("version") != _VERSION:
        raise LitetextError(f"{path} is of no job that this version reads; label into another folder")
    return from_values(Settings, value.get("settings"), str(path), "settings")


def _kept_before(path: Path) -> float | None:
    """The lowest score in the shards of the job that a file describes; None if it describes none."""
    try:
        return _settings(path).keep if path.is_file() else None
    except LitetextError:  # this run writes it anew
        return None


class _Counted:
    """An iterator that knows how many it has given, and how many are expected."""

    def __init__(self, refs: Iterator[ImageRef], expected: int | None) -> None:
        self._refs = refs
        self.expected = expected
        self.given = 0

    def __iter__(self) -> Iterator[ImageRef]:
        for ref in self._refs:
            self.given += 1
            yield ref


def _values(entry: ImageEntry) -> dict[str, Any]:
    values = {key: getattr(entry, key) for key in _OWN}
    return {**entry.ref.to_json(), **{key: value for key, value in values.items() if value}}


def _entry(value: Any, place: str) -> ImageEntry:
    if not isinstance(value, dict):
        raise LitetextError(f"{place} is no image of a manifest; give the litetext label command again")
    own = {key: value.pop(key, "") for key in _OWN}
    if not all(isinstance(one, str) for one in own.values()):
        raise LitetextError(f"{place} holds something else than text; give the litetext label command again")
    entry = ImageEntry(from_values(ImageRef, value, place), **own)
    if entry.is_labeled and (len(entry.sha256) != 64 or not set(entry.sha256) <= set("0123456789abcdef")):
        raise LitetextError(f"{place} has no hash of the image's content; give the litetext label command again")
    return entry
