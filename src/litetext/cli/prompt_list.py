"""A list of prompts from a file, in order and as it stands: every line or entry is one row of the output."""

from __future__ import annotations

from pathlib import Path

from ..data import ROOT
from ..errors import LitetextError
from ..files import read_json

SHIPPED_PHRASES = ROOT / "phrases.txt"
"""163 noun phrases that come with the package, for measuring where no prompts are given."""


def read_prompt_list(path: Path) -> list[str]:
    """Return the prompts of a .txt (one a line) or a .json (a list, or an object with a ``prompts`` list)."""
    if path.suffix == ".json":
        value = read_json(path)
        prompts = value.get("prompts") if isinstance(value, dict) else value
        if not isinstance(prompts, list) or not all(isinstance(prompt, str) for prompt in prompts):
            raise LitetextError(f"{path}: expected a list of strings, or an object with such a list under 'prompts'")
    else:
        try:
            prompts = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        except FileNotFoundError:
            raise LitetextError(f"{path}: no such file; give prompts as a .txt (one a line) or a .json list") from None
        except IsADirectoryError:
            raise LitetextError(f"{path} is a folder; give a .txt (one prompt a line) or a .json list") from None
        except UnicodeDecodeError as error:
            raise LitetextError(f"{path} is not UTF-8 text (byte {error.start}); give one prompt a line") from None
        prompts = [prompt.removesuffix("\r") for prompt in prompts]
    if not prompts or (path.suffix != ".json" and prompts == [""]):
        raise LitetextError(f"{path} holds no prompts")
    return prompts
