"""Table 8 on this machine: ``litetext bench text`` with all its rows, written beside this file.

    python benchmarks/text.py [--rounds N]

The largest rows take minutes a batch of 64 on two cores. Ratios are taken within a round; compare those, not seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

OUT = Path(__file__).with_suffix(".json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    command = [sys.executable, "-c", "from litetext.cli import main; main()", "bench", "text", "--json"]
    command += ["--rounds", str(options.rounds), "--threads", str(options.threads)]
    rows = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["rows"]
    machine = {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    OUT.write_text(json.dumps({"machine": machine, "rounds": options.rounds, "rows": rows}, indent=1) + "\n")
    for row in rows:
        ratio = f"{row['vs_teacher']:.2f}x the teacher" if row["vs_teacher"] else ""
        print(f"{row['name']:>16} L={row['L']:<3} batch {row['batch']:<3} {row['texts_per_s']:8.1f} texts/s  {ratio}")


if __name__ == "__main__":
    main()
