"""The snippets of README and docs run, in a folder that holds the files they name.

What needs the hub, a GPU, hours, or files that a user brings is listed in `NOT_RUN` with its reason; trainings are
shortened by options.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from litetext.cli import main
from litetext.data import samples
from litetext.videos import write_video

from .serve.processes import started

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

NOT_RUN = {
    r"facebook/|Simon7108528/": "fetches a checkpoint from the hub",
    r"refcoco|saco-veval": "streams from the hub",
    r"mini train|photo train|photo distill|photo tune": "takes hours",
    r"runs/tracker": "asks for what a training made",
    r"--backend openvino": "OpenVINO crashes where tcmalloc is preloaded, as it is for tests",
    r"bench segment --model device": "asks for the export of the line before, of a checkpoint from the hub",
    r"sam3\.pt|sam3/": "asks for SAM3's own weights",
    r"\$MODEL": "needs a package of its own",
    r"--encoder DIR --compare DIR": "asks for encoders of the user's",
    r"--pred predictions/|--pred sam3=t/|--video": "asks for predictions of the user's",
    r"0 -p|rtsp": "asks for a camera",
    r"litetext serve": "runs until it is ended",
    r"accelerate|torchrun": "starts several processes",
    r"--calibrate decisions.json|review labels": "asks for detections and a person to judge them",
    r"shards/|s3://|--engine ray": "asks for shards, or for a bucket, of the user's",
}
STANDS_FOR = {
    "CHECKPOINT": "mini", "TEACHER": "mini-teacher", "ENCODER": "mini", "MODEL": "mini", "DIR": "whole",
    "phrases.txt:8000": "phrases.txt:700", "white dog": "owl", "red car": "the purple owl",
    "my-student/": "mini-folder", "exported/": "whole", "annotations/": "lists",
}  # fmt: skip
SHORTER = {"distill": ["--steps", "2", "--limit", "60"], "world": ["--pairs", "8"], "evaluate": ["--resamples", "10"]}
PRELUDE = """
from pathlib import Path
from litetext.data import resolve
phrases = resolve("phrases.txt").read_text().splitlines()
a, b, c, other = "street.jpg", "yard.png", "photo.jpg", "other.jpg"
paths = [Path("street.jpg")]
frames = sorted(Path("frames").glob("*.png"))
pair_ids, ids = [1, 2], [1]
"""


def _blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Language and text of every fenced block of a page."""
    for match in re.finditer(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M):
        yield match[1], match[2]


def _commands(page: Path) -> list[str]:
    """The command lines of a page that are run here, without their comments."""
    lines = [line for language, text in _blocks(page) if language in ("", "sh", "bash") for line in text.splitlines()]
    commands = [line.split("  #")[0].strip() for line in lines if line.startswith("litetext ")]
    return [command for command in commands if not any(re.search(pattern, command) for pattern in NOT_RUN)]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of every name that the pages use."""
    folder = tmp_path_factory.mktemp("pages")
    scene = samples()[1].image
    (folder / "more").mkdir()
    pictures = ("street.jpg", "yard.png", "photo.jpg", "scene.png", "coffee.jpg", "bench.jpg", "other.jpg")
    for name in (*pictures, "more/street.jpg"):
        Image.open(scene).convert("RGB").save(folder / name)
    phrases = "".join(
        f"{color}{noun}\n" for color in ("", "red ", "small ") for noun in ("owl", "car", "whale", "crown")
    )
    for name in ("phrases.txt", "concepts.txt", "lists/some.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(phrases)
    (folder / "concepts.yaml").write_text("[owl, {name: car, synonyms: [automobile]}]")
    _run("mini world --out drawn --pairs 8 --size 64", folder)
    for name in ("gold.json", "a.json", "b.json", "c.json"):
        shutil.copy(folder / "drawn/gold_mini.json", folder / name)
    shutil.copytree(folder / "drawn/images", folder / "photos")
    drifting = [np.roll(np.asarray(Image.open(scene).convert("RGB")), 4 * index, axis=1) for index in range(12)]
    (folder / "frames").mkdir()
    with write_video(folder / "clip.mp4", (256, 256), 24) as clip:
        for index, frame in enumerate(drifting):
            Image.fromarray(frame).save(folder / "frames" / f"{index}.png")
            clip.write(frame)
    shutil.copytree(folder / "frames", folder / "shots")
    for name in ("mine.json", "predictions.json"):
        (folder / name).write_text("[]")
    _run("convert mini mini-folder --to litetext", folder)
    _run("export mini whole --whole", folder)
    return folder


def _run(command: str, folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.chdir(folder)
        main(shlex.split(command))
    assert end.value.code in (None, 0) or (end.value.code == 3 and "parity" in command), command  # 3: a difference


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if _commands(page)], ids=lambda page: page.stem)
def test_command_lines_run(page: Path, workspace: Path) -> None:
    for command in _commands(page):
        words = [STANDS_FOR.get(word, word) for word in shlex.split(command.split(" > ")[0])[1:]]
        extra = next((options for name, options in SHORTER.items() if name in words[:2]), [])
        for out in re.findall(r"--out (\S+)", command):
            if words[0] not in ("segment",):
                shutil.rmtree(workspace / out, ignore_errors=True)
        if "--record" in words:
            words[-1] = "recorded"
        if words[0] in ("convert", "export"):
            shutil.rmtree(workspace / words[2], ignore_errors=True)
        if words[0] in ("export", "convert") and "--prompts" not in words and "--whole" not in words:
            extra = ["--prompts", "phrases.txt"] if words[0] == "export" else []
        if words[0] == "bank":
            (workspace / "bank.safetensors").unlink(missing_ok=True)
        _run(shlex.join([*words, *extra]), workspace)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(language == "python" for language, _ in _blocks(page))], ids=lambda p: p.stem
)
def test_python_snippets_run(page: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace)
    shutil.rmtree(
        workspace / "device", ignore_errors=True
    )  # an earlier page may have left a whole model's export there
    (workspace / "bank.safetensors").unlink(missing_ok=True)
    _run("export mini device", workspace)
    _run("bank build concepts.txt --text device --out bank.safetensors", workspace)
    (workspace / "tasks.json").write_text(json.dumps([]))
    names: dict[str, object] = {}
    exec(PRELUDE, names)
    with started() if page.stem == "serve" else nullcontext() as server:
        for language, text in _blocks(page):
            if language == "python" and "import fiftyone" not in text:  # which needs a MongoDB
                text = text.replace("white dog", "owl").replace("red car", "the purple owl")  # which mini knows
                text = text if server is None else text.replace("http://127.0.0.1:8000", server.url)
                exec(compile(text, f"{page.name}", "exec"), names)
