"""Put a trained mini, and a student distilled from its teacher, into the package with their measured figures.

python tools/ship_mini.py TRAINED [--student DIR] [--training "how it was trained, in a sentence or two"]

TRAINED is what `litetext mini train` left in OUT/mini, or `shipped` to keep the weights and only add a student.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from litetext.cli.mini import _styles, _wanted
from litetext.data import ROOT
from litetext.encoders.checkpoints import read_checkpoint, save_encoder
from litetext.files import atomic_folder, read_json, write_json, write_text
from litetext.mini.evaluation import evaluate_segmenter
from litetext.mini.export import draw_pairs
from litetext.mini.ship import FACTS, model_card
from litetext.mini.world import World
from litetext.segment import Segmenter

ROWS = (
    ("training styles", "training", "all", 7),
    ("training styles", "training", "all", 8),
    ("training styles", "training", "all", 9),
    ("new combinations of colour and concept", "training", "new", 7),
    ("new look", "new-look", "all", 7),
)
PAIRS = 500


def main() -> None:
    """Copy, measure, write the card."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("trained")
    arguments.add_argument("--student", type=Path)
    arguments.add_argument("--training")
    given = arguments.parse_args()
    target = ROOT / "mini"
    source = target if given.trained == "shipped" else Path(given.trained)
    with atomic_folder(target) as staged:
        shutil.copytree(source, staged, dirs_exist_ok=True)
        facts: dict[str, Any] = dict(read_json(staged / FACTS))
        if given.student is not None:
            student = read_checkpoint(given.student)
            save_encoder(student.module().half(), student.tokenizer, staged / "text" / "student")
            facts["parameters"] = {**facts["parameters"], "student": student.config.parameters()}
        if given.training:
            facts["training"] = given.training
        texts = [name for name in ("teacher", "student") if (staged / "text" / name).is_dir()]
        facts["figures"] = [_figures(staged, text, *row, facts) for text in texts for row in ROWS]
        write_json(staged / FACTS, facts)
        write_text(staged / "README.md", model_card(facts))


def _figures(
    folder: Path, text: str, what: str, style: str, combinations: str, seed: int, facts: dict[str, Any]
) -> dict[str, Any]:
    size = facts["image_size"]
    world = World(facts["known_concepts"], _styles(style), size)
    drawn = draw_pairs(world, seed, PAIRS, wanted=_wanted(combinations))
    segmenter = Segmenter.from_pretrained(folder, text=folder / "text" / text, device="cpu")
    result = evaluate_segmenter(segmenter, drawn, seed).to_dict()
    row = {"what": f"{what}, {size} px, seed {seed}", "text": text, "pairs": PAIRS}
    row |= {name: result[name] for name in ("cgF1", "pmF1", "IL_MCC", "permuted_IL_MCC")}
    print(row, flush=True)
    return row


if __name__ == "__main__":
    main()
