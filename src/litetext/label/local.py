"""The engine of one machine: a loop that reads ahead, labels, and writes shards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from time import monotonic

from .labeler import ImageRow, LabeledRow, Labeler, read_rows
from .sources import ImageRef
from .store import Store, write_shard

_SECONDS = 30  # after which a shard is written though it is not full: what a kill costs at most
_Read = tuple[list[ImageRow], list[LabeledRow]]


def label_locally(
    refs: Iterable[ImageRef], load: Callable[[], Labeler], store: Store, *, shard_size: int, image_batch: int
) -> Iterator[LabeledRow]:
    """Label images in this process.

    Args:
        refs: the images.
        load: loads the model; called when the first image needs it.
        store: what was labelled before, and where shards go.
        shard_size: images of a shard.
        image_batch: images that run through the vision encoder together.

    Yields:
        A row an image, in their order, without what was found: that is in the store by then.
    """
    pending: list[LabeledRow] = []
    labeler: Labeler | None = None
    begun = monotonic()
    try:
        for rows, unread in _read_ahead(refs, image_batch):
            new = {row.sha256: row for row in rows if row.sha256 not in store}
            if new and labeler is None:
                labeler = load()
            labeled = {} if labeler is None else {row.sha256: row for row in labeler.label_batch(list(new.values()))}
            pending += [_of(row, labeled) for row in rows] + unread
            if len(pending) >= shard_size or monotonic() - begun > _SECONDS:
                yield from _written(pending, store)
                pending, begun = [], monotonic()
    except KeyboardInterrupt:
        _save(pending, store)
        raise
    yield from _written(pending, store)


def _of(row: ImageRow, labeled: dict[str, LabeledRow]) -> LabeledRow:
    """What came of a row; it may have been labelled as another of the same content, or earlier."""
    known = labeled.get(row.sha256, LabeledRow(row.ref, row.sha256))
    return LabeledRow(row.ref, row.sha256, known.found, known.error)


def _written(pending: list[LabeledRow], store: Store) -> Iterator[LabeledRow]:
    _save(pending, store)
    for row in pending:
        yield LabeledRow(row.ref, row.sha256, error=row.error)


def _save(pending: list[LabeledRow], store: Store) -> None:
    path = write_shard(store.folder, pending)
    if path is not None:
        store.add(path)


def _read_ahead(refs: Iterable[ImageRef], size: int) -> Iterator[_Read]:
    """Batches of images that were read while the batch before was worked on."""
    remaining = iter(refs)
    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(read_rows, list(islice(remaining, size)))
        while True:
            batch = ahead.result()
            if not batch[0] and not batch[1]:
                return
            ahead = reader.submit(read_rows, list(islice(remaining, size)))
            yield batch
