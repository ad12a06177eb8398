"""The engine of many workers: Ray Data hands batches of names to actors, each of which runs the loop of one machine.

What is found goes from a worker straight into the job's folder, which all machines must see under one path; only names
and hashes come back. A worker that dies is replaced, and its batch is done again by another: shards are named by what
is in them, so nothing is there twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import LitetextError, extras_named
from .labeler import LabeledRow, Labeler, LabelerRecipe
from .local import label_locally
from .sources import ImageRef
from .store import Store

_TRIES = 10  # of a batch: machines go away and come back, but an image may also kill whatever reads it
_WAVE = 100_000  # images that are listed at once
_SILENT: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
_TRIED = "tried"  # the folder with a file a batch at work, as long as it was tried
_COLUMNS = ("ref", "sha256", "error", "fatal")
_OBJECT_STORE = 256 << 20  # bytes on this machine; only names and hashes go through it


def label_on_ray(
    refs: Iterable[ImageRef], recipe: LabelerRecipe, store: Store, shard_size: int, workers: int, address: str | None
) -> Iterator[LabeledRow]:
    """Label images with several workers.

    Args:
        refs: the images; all machines must reach them.
        recipe: makes a worker's model.
        store: what was labelled before, and where shards go.
        shard_size: images of a batch, and of a shard.
        workers: actors, each with a GPU where the cluster has any, else with its share of the cores.
        address: of a cluster; None: a cluster of this machine, for as long as the job runs.

    Yields:
        A row an image, in their order, without what was found: that is in the store by then.

    Raises:
        LitetextError: Ray is not installed or not in reach, or what a worker raised.
    """
    remaining = iter(refs)
    shutil.rmtree(store.folder / _TRIED, ignore_errors=True)
    with _cluster(address) as ray:
        while wave := list(islice(remaining, _WAVE)):
            for batch in _labeled(ray, wave, recipe, store, shard_size, workers):
                yield from _rows(batch)
            store.refresh()


@contextlib.contextmanager
def _cluster(address: str | None) -> Iterator[Any]:
    """Ray, connected; what was started here is stopped in the end."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    with extras_named("label"):
        import ray
        import ray.data
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if ray.is_initialized():
        yield ray
        return
    try:
        if address is None:
            ray.init(
                include_dashboard=False,
                logging_level=logging.ERROR,
                log_to_driver=False,
                object_store_memory=_OBJECT_STORE,
            )
        else:
            ray.init(address, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise LitetextError(f"no Ray cluster at {address or 'this machine'} ({reason}); check --address") from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _labeled(
    ray: Any, refs: Sequence[ImageRef], recipe: LabelerRecipe, store: Store, shard_size: int, workers: int
) -> Iterator[dict[str, Any]]:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    items = [{"ref": json.dumps(ref.to_json())} for ref in refs]
    batches = -(-len(items) // shard_size)
    images = ray.data.from_items(items, override_num_blocks=min(batches, 1000))
    labeled = images.map_batches(
        _Worker,
        fn_constructor_args=(recipe, str(store.folder.absolute()), shard_size),
        batch_size=shard_size,
        concurrency=min(workers, batches),
        **_share(ray.cluster_resources(), workers),
    )
    try:
        yield from labeled.iter_batches(batch_size=None)
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())[-300:]
        raise LitetextError(f"the workers failed ({reason}); what they wrote is kept: give the command again") from None


def _share(resources: dict[str, float], workers: int) -> dict[str, float]:
    """What each worker has of a cluster: a GPU, or its share of the cores."""
    if resources.get("GPU"):
        return {"num_gpus": 1}
    return {"num_cpus": max(1, int(resources.get("CPU", 1)) // workers)}


def _rows(batch: dict[str, Any]) -> Iterator[LabeledRow]:
    """What came of a batch, or the error for which its worker gave up."""
    for ref, sha256, error, fatal in zip(*(batch[column] for column in _COLUMNS), strict=True):
        if fatal:
            raise LitetextError(str(fatal))
        yield LabeledRow(_ref(ref), str(sha256), error=str(error))


class _Worker:
    """An actor: a model, and the loop of one machine over the batches that it is handed."""

    def __init__(self, recipe: LabelerRecipe, folder: str, shard_size: int) -> None:
        import ray

        cores = int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1))
        self._recipe = recipe.on(max(1, cores))
        self._folder = Path(folder)
        self._store = Store(self._folder, recipe.phrases)
        self._shard_size = shard_size
        self._labeler: Labeler | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        refs = [_ref(ref) for ref in batch["ref"]]
        note = self._folder / _TRIED / hashlib.sha256("".join(batch["ref"]).encode()).hexdigest()[:24]
        try:
            rows = list(self._labeled(refs)) if _try(note) <= _TRIES else _given_up(refs)
        except LitetextError as error:  # told as a value: Ray would try again, and print it at length
            return dict(zip(_COLUMNS, ([""], [""], [""], [str(error)]), strict=True))
        note.unlink(missing_ok=True)
        columns = [
            [json.dumps(row.ref.to_json()) for row in rows],
            [row.sha256 for row in rows],
            [row.error for row in rows],
            [""] * len(rows),
        ]
        return dict(zip(_COLUMNS, columns, strict=True))

    def _labeled(self, refs: list[ImageRef]) -> Iterator[LabeledRow]:
        image_batch = int(self._recipe.options["image_batch"])
        return label_locally(refs, self._loaded, self._store, shard_size=self._shard_size, image_batch=image_batch)

    def _loaded(self) -> Labeler:
        if self._labeler is None:
            self._labeler = self._recipe.load()
        return self._labeler


def _try(note: Path) -> int:
    """Note on disk that a batch is begun, and return how often it was: Ray begins it anew when its worker has died."""
    note.parent.mkdir(exist_ok=True)
    with note.open("ab") as file:
        file.write(b".")
    return note.stat().st_size


def _given_up(refs: Sequence[ImageRef]) -> list[LabeledRow]:
    names = f"{refs[0].name} to {refs[-1].name}"
    return [LabeledRow(ref, "", error=f"workers died {_TRIES} times on the batch {names}") for ref in refs]


def _ref(text: Any) -> ImageRef:
    return ImageRef(**json.loads(str(text)))
