"""Put a trained mini, and a student distilled from its teacher, into the package with their measured figures.

python tools/ship_mini.py TRAINED [--student DIR] [--training "how it was trained, in a sentence or two"]

TRAINED is what `litetext mini train` left in OUT/mini, or `shipped` to keep the weights and only add a student.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from litetext.data import ROOT
from litetext.encoders.checkpoints import read_checkpoint, save_encoder
from litetext.files import write_json, write_text
from litetext.json_files import read_json
from litetext.mini.facts import FACTS
from litetext.mini.ship import model_card
from litetext.outputs import RECORD
from litetext.segment.beside import write_graphs_beside

ROWS = (
    ("training styles", "training", "all", 7),
    ("training styles", "training", "all", 8),
    ("training styles", "training", "all", 9),
    ("new combinations of colour and concept", "training", "new", 7),
    ("new look", "new-look", "all", 7),
)
PROMPTS = ["a red square", "blue circle", "the small green star on the left"]
"""What the graphs are compared with torch on."""


def main() -> None:
    """Copy, write graphs, measure, write the card."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("trained")
    arguments.add_argument("--student", type=Path)
    arguments.add_argument("--training")
    given = arguments.parse_args()
    target = ROOT / "mini"
    source = target if given.trained == "shipped" else Path(given.trained)
    with tempfile.TemporaryDirectory() as folder:
        staged = Path(folder) / "mini"
        shutil.copytree(source, staged, ignore=shutil.ignore_patterns(RECORD))
        facts: dict[str, Any] = dict(read_json(staged / FACTS))
        if given.student is not None:
            student = read_checkpoint(given.student)
            shutil.rmtree(staged / "text" / "student", ignore_errors=True)
            save_encoder(student.module().half(), student.tokenizer, staged / "text" / "student")
            (staged / "text" / "student" / RECORD).unlink()
            facts["parameters"] = {**facts["parameters"], "student": student.config.parameters()}
        if given.training:
            facts["training"] = given.training
        print(write_graphs_beside(staged, "student", PROMPTS))
        texts = [name for name in ("teacher", "student") if (staged / "text" / name).is_dir()]
        facts["figures"] = [_figures(staged, text, *row) for text in texts for row in ROWS]
        write_json(staged / FACTS, facts)
        write_text(staged / "README.md", model_card(facts))
        shutil.rmtree(target)  # git has what was there
        shutil.move(staged, target)


def _figures(folder: Path, text: str, what: str, style: str, combinations: str, seed: int) -> dict[str, Any]:
    command = [sys.executable, "-c", "from litetext.cli import main; main()", "mini", "evaluate", "--json"]
    command += ["--model", str(folder), "--text", f"mini-{text}", "--style", style, "--combinations", combinations]
    done = subprocess.run([*command, "--seed", str(seed)], check=True, stdout=subprocess.PIPE)
    result = json.loads(done.stdout)
    row = {"what": f"{what}, {result['size']} px, seed {seed}", "text": text}
    row |= {name: result[name] for name in ("pairs", "cgF1", "pmF1", "IL_MCC", "permuted_IL_MCC")}
    print(row, flush=True)
    return row


if __name__ == "__main__":
    main()
