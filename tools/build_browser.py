"""Build the page that runs the shipped models in a browser, without a server's help: a folder for any static host.

python tools/build_browser.py OUT [--serve PORT]

OUT gets docs/browser, the shipped models' graphs and weights, samples, and ONNX Runtime for WebAssembly from npm, whose
version and checksum are pinned here. --serve then serves it on this machine with the two headers that let a browser use
several threads; a host that sends none works too, with one.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import html
import html.entities
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import ftfy.bad_codecs  # noqa: F401  # registers encodings
import numpy as np
from ftfy import badness, chardata

import litetext
from litetext.data import SHIPPED_ENCODERS, Sample, photographs, resolve, samples
from litetext.encoders.runtime import read_export
from litetext.outputs import atomic_folder
from litetext.segment.onnx_backend import OnnxBackend

PAGE = Path(__file__).parents[1] / "docs" / "browser"
PACKAGE = Path(litetext.__file__).parent
RUNTIME = "onnxruntime-web@1.30.0"
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
GRAPHS = ("vision", "decoder", "pixels")
PARTS = re.compile(r"\\.|\[(?:\\.|[^\]])*\]|#[^\n]*|\s+|.", re.DOTALL)  # of a verbose pattern
CLASSES = {r"\w": r"[\p{L}\p{N}_]", r"\s": r"[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"}


def build(out: Path) -> None:
    """Write the page and all that it needs into a folder of its own."""
    with atomic_folder(out, "browser page", overwrite=True) as staged:
        for path in PAGE.iterdir():
            shutil.copy(path, staged)
        for name in ("page.css", "icon.svg"):
            shutil.copy(PACKAGE / "serve" / "static" / name, staged)
        (staged / "ort").mkdir()
        add_runtime(staged / "ort")
        models = staged / "models"
        models.mkdir()
        np.load(PACKAGE / "data" / "clip" / "merges.npy").astype("<u2").tofile(models / "merges.bin")
        (models / "text.json").write_text(json.dumps(text_tables()))
        for model, pictures in (("mini", samples()), ("photo", photographs())):
            add_model(staged, model, pictures)


def text_tables() -> dict[str, Any]:
    """Return what cleaning.js reads: the tables and patterns of Python's packages html and ftfy."""
    characters = {**chardata.WIDTH_MAP, **chardata.LIGATURES}
    return {
        "references": html.entities.html5,
        "entities": chardata.HTML_ENTITIES,
        "invalid_numbers": html._invalid_charrefs,  # type: ignore[attr-defined]
        "no_characters": sorted(html._invalid_codepoints),  # type: ignore[attr-defined]
        "characters": {chr(number): text for number, text in characters.items()},
        "bad": javascript(badness.BADNESS_RE.pattern),
        "embedded": javascript(chardata.UTF8_DETECTOR_RE.pattern),
        "altered": chardata.ALTERED_UTF8_RE.pattern.decode("latin-1"),
        "lossy": chardata.LOSSY_UTF8_RE.pattern.decode("latin-1"),
        "encodings": {name: bytes(range(256)).decode(name) for name in chardata.CHARMAP_ENCODINGS},
    }


def javascript(verbose: str) -> str:
    """Return a verbose regular expression of Python's as one of JavaScript's, with the flag u."""
    parts = (part for part in PARTS.findall(verbose) if not part.isspace() and not part.startswith("#"))
    return "".join(CLASSES.get(part, part) for part in parts)


def add_runtime(folder: Path) -> None:
    """Fetch ONNX Runtime from npm, check that it is what was pinned, and unpack the files that the page uses."""
    with tempfile.TemporaryDirectory() as scratch:
        npm = ["npm", "pack", "--silent", RUNTIME]
        name = subprocess.run(npm, cwd=scratch, check=True, capture_output=True, text=True).stdout.split()[-1]
        archive = Path(scratch) / name
        found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if found != INTEGRITY:
            raise SystemExit(f"{RUNTIME} is not what it was: sha512-{found}")
        with tarfile.open(archive) as packed:
            for wanted in RUNTIME_FILES:
                member = packed.extractfile(f"package/dist/{wanted}")
                assert member is not None
                (folder / wanted).write_bytes(member.read())


def add_model(staged: Path, model: str, pictures: list[Sample]) -> None:
    """Copy a shipped model and its samples, and write down what the page must know of it."""
    folder = staged / "models" / model
    folder.mkdir()
    segmenter, text = resolve(model) / "segmenter", resolve(SHIPPED_ENCODERS[model])
    for graph in GRAPHS:
        shutil.copy(segmenter / f"{graph}.onnx", folder)
    shutil.copy(segmenter / "model.safetensors", folder / "segmenter.safetensors")
    shutil.copy(text / "model.onnx", folder / "text.onnx")
    shutil.copy(text / "model.safetensors", folder / "text.safetensors")
    for sample in pictures:
        shutil.copy(sample.image, folder)
    detector, words = OnnxBackend(segmenter, threads=1), read_export(text)
    if not words.trim:
        raise SystemExit(f"{model}: its text encoder wants padding, which the page does not give")
    resampling = detector.convention.mask_resampling
    described = {
        "image_size": detector.image_size,
        "mask_resampling": resampling,
        "mask_threshold": 0.0 if resampling == "logits" else 0.5,
        "suppression": detector.convention.suppression,
        "context_length": words.encoder.convention.context_length,
        "vocabulary": words.vocabulary,
        "samples": [
            asdict(sample) | {"image": f"models/{model}/{sample.image.name}"} for sample in pictures
        ],
    }  # fmt: skip
    (folder / "model.json").write_text(json.dumps(described))


class Plain(SimpleHTTPRequestHandler):
    """Serves a folder as a host does that sends no headers of its own."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript", ".wasm": "application/wasm"}

    def log_message(self, *_: object) -> None:
        """Say nothing of single requests."""


class Isolated(Plain):
    """Serves a folder with the headers that let a page use several threads."""

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()


@contextmanager
def served(folder: Path, handler: type[Plain]) -> Iterator[str]:
    """Serve a built page from a thread, and give its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def main() -> None:
    """Build, and serve if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--serve", type=int, metavar="PORT")
    given = parser.parse_args()
    build(given.out)
    print(f"written: {given.out} ({sum(path.stat().st_size for path in given.out.rglob('*')) / 1e6:.0f} MB)")
    if given.serve is not None:
        server = ThreadingHTTPServer(("127.0.0.1", given.serve), partial(Isolated, directory=given.out))
        print(f"open http://127.0.0.1:{server.server_port}/")
        server.serve_forever()


if __name__ == "__main__":
    main()
