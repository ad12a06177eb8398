"""The wheel's base install, in an environment of its own: what was exported here encodes there, without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from litetext.encoders import AUTHORS, Checkpoint, TorchTextEncoder, export_onnx
from litetext.tokenizer import Tokenizer

from .conftest import random_encoder, small_config

PROJECT = Path(__file__).parents[2]
PROMPTS = ["white dog", "a red car", "man in a blue jacket"]

_ENCODE = """
import importlib.util, json, sys
from pathlib import Path
import litetext
from litetext.cli import main
try:
    main(["embed", *sys.argv[1:]])
except SystemExit as exit_:
    absent = [name for name in ("torch", "transformers", "onnx", "PIL") if not importlib.util.find_spec(name)]
    imported = sorted({"torch", "transformers"} & set(sys.modules))
    print(json.dumps({"code": exit_.code, "absent": absent, "imported": imported, "from": litetext.__file__}))
"""


def _pip(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--quiet", "--no-input", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | variables)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built by a build backend fetched for it."""
    folder = tmp_path_factory.mktemp("wheel")
    fetched = _pip("install", "--target", folder / "backend", "hatchling>=1.27")
    if fetched.returncode:
        pytest.skip(f"pip cannot fetch the build backend: {fetched.stderr.strip().splitlines()[-1]}")
    built = _pip(
        "wheel", "--no-deps", "--no-build-isolation", "-w", folder, PROJECT, PYTHONPATH=str(folder / "backend")
    )
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("litetext-*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment with the wheel and what it requires, and nothing else."""
    folder = tmp_path_factory.mktemp("device") / "venv"
    venv.create(folder, symlinks=True)  # without pip of its own
    interpreter = folder / "bin" / "python"
    installed = _pip("--python", interpreter, "install", "--no-compile", wheel)
    assert installed.returncode == 0, installed.stderr
    return interpreter


@pytest.mark.skipif(not (PROJECT / "pyproject.toml").is_file(), reason="needs the source tree to build a wheel from")
@pytest.mark.skipif(os.name == "nt", reason="environments are laid out otherwise on Windows")
def test_the_base_install_encodes_without_torch(python: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer().prune_vocabulary(900)
    config = small_config("s0", AUTHORS, vocab_size=900)
    checkpoint = Checkpoint(config, random_encoder(config).state_dict(), tokenizer, "litetext", "memory")
    export_onnx(checkpoint, tmp_path / "exported", PROMPTS)
    (tmp_path / "prompts.json").write_text(json.dumps(PROMPTS))

    files = [tmp_path / "exported", tmp_path / "prompts.json", "--out", tmp_path / "features.safetensors"]
    done = subprocess.run(
        [str(python), "-I", "-c", _ENCODE, *map(str, files)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert Path(said.pop("from")).is_relative_to(python.parents[1])
    assert said == {"code": 0, "absent": ["torch", "transformers", "onnx", "PIL"], "imported": []}
    found = load_file(tmp_path / "features.safetensors")
    wanted = TorchTextEncoder(checkpoint.module(), tokenizer).encode(PROMPTS).numpy()
    assert np.array_equal(found["mask"], wanted.mask)
    assert np.abs(found["tokens"] - wanted.tokens)[~wanted.mask].max() < 1e-5
