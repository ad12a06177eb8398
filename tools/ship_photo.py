"""Put a trained photo into the package: weights, graphs that read them, and figures measured on held-out photographs.

python tools/ship_photo.py TRAINED FACTS.json

TRAINED is what `litetext photo distill` left in OUT/photo; FACTS.json is what `tools/measure_photo.py` wrote.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from litetext.data import ROOT
from litetext.files import write_json, write_text
from litetext.outputs import RECORD
from litetext.photo.card import model_card
from litetext.photo.ship import FACTS
from litetext.segment.beside import write_graphs_beside

PROMPTS = ["dog", "a cup of coffee", "red car", "people", "the cat on the left"]


def main() -> None:
    """Copy, write graphs, write the card."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("trained", type=Path)
    arguments.add_argument("facts", type=Path)
    given = arguments.parse_args()
    target = ROOT / "photo"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(given.trained, target, ignore=shutil.ignore_patterns(RECORD))
    print(write_graphs_beside(target, "student", PROMPTS))
    facts = {**json.loads((target / FACTS).read_text()), **json.loads(given.facts.read_text())}
    write_json(target / FACTS, facts)
    write_text(target / "README.md", model_card(facts))
    print(sum(path.stat().st_size for path in target.rglob("*") if path.is_file()) / 1e6, "MB")


if __name__ == "__main__":
    main()
