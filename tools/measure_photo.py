"""Measure a photo model on held-out photographs, with its student's text and with its teacher's.

python tools/measure_photo.py MODEL OUT.json --set NAME PAIRS.json IMAGES [--set …] [--data DATA [--run RUN]]
                         [--image-size N]

PAIRS.json is what `tools/make_photo_pairs.py` wrote. With DATA (of `litetext photo train`) words by kind are measured
too, and with its RUN the text teacher. OUT.json gets the rows of the model card, under ``figures``, ``words``,
``confusions`` and ``calibration``.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from litetext.encoders import load_encoder
from litetext.encoders.features import TextEncoder
from litetext.evaluate.image import score_pairs, summarize
from litetext.evaluate.predict import pairs_by_image
from litetext.images import read_image
from litetext.mini.quick import auc
from litetext.results.formats import coco
from litetext.results.formats.saco import GroundTruth, Pair, predictions_from, read_ground_truth
from litetext.segment import Segmenter
from litetext.segment.decode import detect

LARGE_AREA = 0.05
RESAMPLES = 1000
NONSENSE = ("blorf", "quantum", "yesterday", "the square root", "zugzwang", "sadness", "a glimber", "Tuesday")


def main() -> None:
    """Measure every set, write the rows."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("model", type=Path)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--set", action="append", nargs=3, required=True, metavar=("NAME", "PAIRS", "IMAGES"))
    arguments.add_argument("--data", type=Path)
    arguments.add_argument("--run", type=Path)
    arguments.add_argument("--image-size", type=int)
    given = arguments.parse_args()
    torch.set_num_threads(1)
    texts: dict[str, TextEncoder] = {"student": load_encoder(given.model / "text" / "student")}
    if given.run is not None:
        texts["teacher"] = _teacher(given.data, given.run)
    facts: dict[str, Any] = {"figures": []}
    for name, pairs, images in given.set:
        truth = read_ground_truth(Path(pairs))
        for text, encoder in texts.items():
            segmenter = Segmenter.from_pretrained(given.model, encoder, device="cpu", image_size=given.image_size)
            measured = _Measured(segmenter, truth, Path(images))
            facts["figures"].append({"what": name, "text": text, **measured.figures()})
            print(facts["figures"][-1], flush=True)
            if text == "student" and "calibration" not in facts:
                facts |= {"calibration": measured.calibration(), "confusions": measured.confusions()}
                facts["person"] = measured.of_person()
                if given.data is not None:
                    facts["words"] = measured.words(given.data)
    given.out.write_text(json.dumps(facts, indent=1))


def _teacher(data: Path, run: Path) -> TextEncoder:
    from litetext.photo.teacher import PhotoTeacher
    from litetext.photo.train import PhotoData, trained_model

    return PhotoTeacher(trained_model(run).teacher, PhotoData(data).sentences)


class _Measured:
    """A segmenter's answers to all pairs of a ground truth.

    Args:
        segmenter: in torch.
        truth: its pairs are asked.
        images: the folder of its photographs.
    """

    def __init__(self, segmenter: Segmenter, truth: GroundTruth, images: Path) -> None:
        self.segmenter, self.truth, self.images = segmenter, truth, images
        self.by_image = pairs_by_image(truth, images)
        self.order = [pair for pairs in self.by_image.values() for pair in pairs]
        shuffled = np.random.default_rng(0).permutation(len(self.order))
        self.found = self._results([pair.prompt for pair in self.order])
        self.permuted = self._results([self.order[index].prompt for index in shuffled])
        self.there = np.array([bool(truth.regions.get(pair.id, ())) for pair in self.order])
        self.presence, self.ious, self.areas = self._semantic()

    def figures(self) -> dict[str, float]:
        """Return the figures of the card."""
        scores = score_pairs([self.truth], predictions_from(self.found))
        permuted = score_pairs([self.truth], predictions_from(self.permuted))
        row = {"pairs": float(len(self.order)), **_headline(summarize(scores))}
        names = [pair.file_name for pair in scores.pairs]
        photographs = {name: number for number, name in enumerate(dict.fromkeys(names))}
        rng = np.random.default_rng(0)
        draws = np.stack([
            np.bincount(rng.integers(0, len(photographs), len(photographs)), minlength=len(photographs))
            for _ in range(RESAMPLES)
        ])[:, [photographs[name] for name in names]]  # fmt: skip
        spread = summarize(scores, draws)
        for name, values in (
            ("IL_MCC", spread["IL_MCC"]),
            ("pmF1", 100 * spread["positive_micro_F1"].mean(-1)),
            ("cgF1", 100 * spread["cgF1"].mean(-1)),
        ):
            row[f"{name}_low"], row[f"{name}_high"] = (float(edge) for edge in np.percentile(values, [2.5, 97.5]))
        large = self.areas > LARGE_AREA
        return {
            **row,
            "permuted_IL_MCC": float(summarize(permuted)["IL_MCC"]),
            "presence_auc": auc(self.presence, self.there),
            "semantic_iou": float(self.ious.mean()),
            "semantic_iou_large": float(self.ious[large].mean()),
        }

    def of_person(self) -> float:
        """Return the IL_MCC of the pairs that ask for a person."""
        scores = score_pairs([self.truth], predictions_from(self.found))
        rows = np.array([pair.prompt == "person" for pair in scores.pairs])
        return float(summarize(scores.select(rows))["IL_MCC"])

    def calibration(self) -> list[list[float]]:
        """Return, for every fifth of presence, from, to, how many pairs and which share of them is there."""
        chance = 1 / (1 + np.exp(-self.presence))
        rows = []
        for low in np.arange(0, 1, 0.2):
            inside = (chance >= low) & (chance < low + 0.2 + 1e-9 * (low > 0.7))
            if inside.any():
                rows.append([float(low), float(low + 0.2), float(inside.sum()), float(self.there[inside].mean())])
        return rows

    def confusions(self, most: int = 12) -> list[list[Any]]:
        """Return which categories are found where they are not: how often, and of how many absent."""
        said = {(one["image_id"], one["category_id"]) for one in self.found if one["score"] >= 0.5}
        absent = [pair for pair in self.order if not self.truth.regions.get(pair.id, ())]
        asked = Counter(pair.prompt for pair in absent)
        wrong = Counter(pair.prompt for pair in absent if pair.id in said)
        return [[prompt, count, asked[prompt]] for prompt, count in wrong.most_common(most)]

    def words(self, data: Path) -> list[dict[str, Any]]:
        """Return presence by kind of word: names, synonyms, ImageNet's nouns that training never asked, nonsense."""
        from litetext.photo.imagenet import label_names
        from litetext.photo.train import PhotoData

        concepts = PhotoData(data).concepts
        synonyms = {
            category: [word for word in concepts.all[number].words if word != category]
            for category, number in concepts.coco.items()
        }
        rows = [self._word_row("COCO's names", {name: [name] for name in concepts.coco})]
        rows.append(self._word_row("their synonyms", {name: words for name, words in synonyms.items() if words}))
        seen = {word for concept in concepts.all for word in concept.words}
        rng = np.random.default_rng(0)
        unseen = [str(word) for word in rng.permutation([word for word in label_names() if word not in seen])[:40]]
        for what, phrases in (
            ("nouns of ImageNet not in training, hardly ever there", unseen),
            ("no things", NONSENSE),
        ):
            rows.append({"what": what, **self._claimed(phrases)})
        return rows

    def _word_row(self, what: str, words: dict[str, list[str]]) -> dict[str, Any]:
        kept = [pair for pair in self.order if words.get(pair.prompt)]
        presence = self._presence([words[pair.prompt][0] for pair in kept], kept)
        there = np.array([bool(self.truth.regions.get(pair.id, ())) for pair in kept])
        said = float((presence[~there] > 0).mean())
        return {"what": what, "pairs": len(kept), "presence_auc": auc(presence, there), "said": said}

    def _claimed(self, phrases: Sequence[str]) -> dict[str, Any]:
        text = self.segmenter.backend.prepare_text(self.segmenter.text.encode(list(phrases)))
        said = []
        for name in self.by_image:
            state = self.segmenter.backend.encode_images([read_image(self.images / name)])[0]
            said.extend(self.segmenter.backend.detect(state, text).presence > 0.5)
        return {"pairs": len(said), "presence_auc": None, "said": float(np.mean(said))}

    def _results(self, prompts: list[str]) -> list[dict[str, Any]]:
        """Ask one phrase a pair, in order; results carry the ids of the pairs."""
        results: list[dict[str, Any]] = []
        first = 0
        for name, pairs in self.by_image.items():
            asked = prompts[first : first + len(pairs)]
            first += len(pairs)
            distinct = list(dict.fromkeys(asked))
            found = self.segmenter.segment(self.images / name, distinct, threshold=0.1)
            for phrase, pair in zip(asked, pairs, strict=True):
                one = found[phrase].annotations()
                results.extend(coco.results(one, [pair.id] * len(distinct), presence=found.presence))
        return results

    def _presence(self, prompts: list[str], pairs: list[Pair]) -> np.ndarray:
        rows: dict[str, list[int]] = {}
        for row, pair in enumerate(pairs):
            rows.setdefault(pair.file_name, []).append(row)
        presence = np.zeros(len(pairs))
        for name, own in rows.items():
            state = self.segmenter.backend.encode_images([read_image(self.images / name)])[0]
            text = self.segmenter.backend.prepare_text(self.segmenter.text.encode([prompts[row] for row in own]))
            chance = self.segmenter.backend.detect(state, text).presence
            presence[own] = np.log(chance / np.maximum(1 - chance, 1e-9))
        return presence

    @torch.inference_mode()
    def _semantic(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the presence logit of every pair, and of those that are there the semantic map's IoU and the area."""
        presence, ious, areas = [], [], []
        for image, pairs, output, maps in semantic_maps(self.segmenter, self.by_image, self.images):
            presence.extend(output.presence.tolist())
            for row, pair in enumerate(pairs):
                if regions := self.truth.regions.get(pair.id, ()):
                    wanted = union(regions, image.shape[:2])
                    ious.append(iou(maps(row) > 0, wanted))
                    areas.append(wanted.mean())
        return np.array(presence), np.array(ious), np.array(areas)


def semantic_maps(
    segmenter: Segmenter, by_image: dict[str, list[Pair]], images: Path
) -> Iterator[tuple[np.ndarray, list[Pair], Any, Callable[[int], np.ndarray]]]:
    """Yield each photograph, its pairs, what the detector gives of them, and what makes a pair's semantic logits."""
    backend: Any = segmenter.backend
    for name, pairs in by_image.items():
        image = read_image(images / name)
        state = backend.encode_images([image])[0]
        output = detect(
            backend.detector, state, backend.prepare_text(segmenter.text.encode([pair.prompt for pair in pairs]))
        )

        def semantic(row: int, image: np.ndarray = image, state: Any = state, output: Any = output) -> np.ndarray:
            one = slice(row, row + 1)
            found = backend.detector.mask_decoder(
                decoder_queries=output.decoder_hidden_states[one],
                backbone_features=list(state.maps),
                encoder_hidden_states=output.encoder_hidden_states[one],
                prompt_features=output.prompt[one],
                prompt_mask=output.valid[one],
            ).semantic_seg
            resized: np.ndarray = F.interpolate(found, image.shape[:2], mode="bilinear")[0, 0].numpy()
            return resized

        yield image, pairs, output, semantic


def iou(found: np.ndarray, wanted: np.ndarray) -> float:
    """The share of two masks' union that both cover."""
    return float((found & wanted).sum() / max((found | wanted).sum(), 1))


def _headline(summary: dict[str, np.ndarray]) -> dict[str, float]:
    return {
        "IL_MCC": float(summary["IL_MCC"]),
        "pmF1": float(100 * summary["positive_micro_F1"].mean()),
        "cgF1": float(100 * summary["cgF1"].mean()),
    }


def union(regions: Sequence[Any], size: tuple[int, ...]) -> np.ndarray:
    """The mask of what regions cover together."""
    from pycocotools import mask as rle

    masks = [rle.decode({"size": list(size), "counts": region.shape}) for region in regions]
    return np.any(masks, axis=0)


if __name__ == "__main__":
    main()
