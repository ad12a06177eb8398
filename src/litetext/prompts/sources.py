"""The paper's corpora by name, streamed from where their makers publish them, through ``datasets``.

Each source says which files and which field it reads. Without network (or without access to a gated one) the
error says which file to fetch elsewhere and that any local copy is read by passing its path.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import LitetextError, choice_error, extras_named


@dataclass(frozen=True, slots=True)
class PromptSource:
    """Where a named corpus lives and how its phrases are found.

    Attributes:
        title: what people call it.
        loader: first argument of ``datasets.load_dataset``: a repository, or "json" for plain JSON files.
        split: the split that is read.
        column: the column that holds a phrase, a list of phrases, or a list of records with ``name``.
        files: for "json": the files read (a glob or address).
        record_list: for "json": the key of the document whose list is read.
        remedy: the file to fetch by other means and to pass by its path.
    """

    title: str
    loader: str
    split: str
    column: str
    remedy: str
    files: str | None = None
    record_list: str | None = None


SOURCES: dict[str, PromptSource] = {
    "saco-gold": PromptSource(
        "SA-Co Gold", "json", "train", "text_input", "gold_*_merged_a_release_test.json of facebook/SACo-Gold",
        files="hf://datasets/facebook/SACo-Gold/**/gold_*_merged_a_release_test.json", record_list="images",
    ),
    "saco-silver": PromptSource(
        "SA-Co Silver", "json", "train", "text_input", "silver_*_test.json of facebook/SACo-Silver",
        files="hf://datasets/facebook/SACo-Silver/**/silver_*_test.json", record_list="images",
    ),
    "saco-veval": PromptSource(
        "SA-Co VEval", "json", "train", "noun_phrase", "annotation/saco_veval_*_test.json of facebook/SACo-VEval",
        files="hf://datasets/facebook/SACo-VEval/annotation/saco_veval_*_test.json", record_list="video_np_pairs",
    ),
    "lvis": PromptSource(
        "LVIS v1", "json", "train", "name", "lvis_v1_val.json from lvisdataset.org",
        files="https://dl.fbaipublicfiles.com/LVIS/lvis_v1_val.json.zip", record_list="categories",
    ),
    "refcoco": PromptSource("RefCOCO", "jxu124/refcoco", "train", "captions", "refcoco/refs(unc).p"),
    "refcoco+": PromptSource("RefCOCO+", "jxu124/refcocoplus", "train", "captions", "refcoco+/refs(unc).p"),
    "refcocog": PromptSource("RefCOCOg", "jxu124/refcocog", "train", "captions", "refcocog/refs(umd).p"),
    "rf100-vl": PromptSource(
        "RF100-VL", "probicheaux/rf100-vl", "train", "objects", "the _annotations.coco.json files of RF100-VL"
    ),
}  # fmt: skip
"""Name -> source. SA-Co's annotations are gated: accept their licence on the hub and log in first."""


def stream_source(name: str) -> Iterator[str]:
    """Yield the phrases of the named source, streamed: nothing but the current record is held.

    Raises:
        LitetextError: for an unknown name, a missing ``datasets`` library, or when the hub cannot be reached or
            refuses access (the message names the file to pass instead).
    """
    source = SOURCES.get(name)
    if source is None:
        raise choice_error("prompt source", name, tuple(SOURCES))
    with extras_named():
        import datasets
    json_options = {"data_files": source.files, "field": source.record_list} if source.files else {}
    try:
        for record in datasets.load_dataset(source.loader, split=source.split, streaming=True, **json_options):
            yield from _phrases(name, source, record)
    except LitetextError:
        raise
    except Exception as error:  # every layer below (network, hub, zip, JSON) raises errors of its own
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise LitetextError(
            f"cannot stream {source.title} ({reason}); fetch {source.remedy} and pass its path instead of {name!r}"
        ) from error


def _phrases(name: str, source: PromptSource, record: dict[str, Any]) -> Iterator[str]:
    value = record.get(source.column)
    if value is None:
        raise LitetextError(
            f"{source.title} has no column {source.column!r} (it has: {', '.join(record)}); "
            f"fetch {source.remedy} and pass its path instead of {name!r}"
        )
    if isinstance(value, dict):  # a column-wise list of objects: {"category": [...], ...}
        value = value.get("category", value.get("name", []))
    for item in value if isinstance(value, list) else [value]:
        phrase = item.get("category", item.get("name")) if isinstance(item, dict) else item
        if isinstance(phrase, str):
            yield phrase.replace("_", " ") if source.record_list == "categories" else phrase
        elif phrase is not None:
            raise LitetextError(
                f"{source.title}: column {source.column!r} holds {type(phrase).__name__}, not phrases; "
                f"fetch {source.remedy} and pass its path instead of {name!r}"
            )
