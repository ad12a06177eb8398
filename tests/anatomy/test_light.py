"""Questions 1 and 2 need no torch: a fast start and little memory."""

from __future__ import annotations

import subprocess
import sys


def test_the_study_of_prompts_does_not_import_torch() -> None:
    code = (
        "import sys; from litetext.prompts import corpus_of; from litetext.anatomy.audit import audit;"
        "audit(corpus_of(['a dog', 'red cat'])); print('torch' in sys.modules, 'matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
