"""A server in a process of its own, as users start it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"


def environment_with(folder: Path, *packages: str) -> Path:
    """Return the programs of a new virtual environment that holds packages; where they cannot be had, skip the test."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    assert uv is not None
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    install = [uv, "pip", "install", "--quiet", "--python", folder, *packages]
    done = subprocess.run(install, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{packages[0]} cannot be installed: {done.stderr.strip()[-200:]}")
    return folder / "bin"


@dataclass
class Process:
    """A server that was started, and the address that it named."""

    process: subprocess.Popen[str]
    url: str

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)


@contextlib.contextmanager
def started(*options: object) -> Iterator[Process]:
    """Start ``litetext serve`` on a free port; it is killed in the end if it still runs."""
    with server_of([sys.executable, "-m", "litetext", "serve", "--port", "0", *map(str, options)]) as running:
        yield running


@contextlib.contextmanager
def server_of(command: Sequence[str]) -> Iterator[Process]:
    """Start a server that names its address on standard error; it is killed in the end if it still runs."""
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        ending = threading.Timer(300, process.kill)  # a test that waits for a server fails instead of hanging
        ending.start()
        try:
            said = ""
            while (match := re.search(r"at (http://\S+)", said)) is None:
                line = process.stderr.readline()
                assert line, f"the server ended: {said}"
                said += line
            threading.Thread(target=process.stderr.read, daemon=True).start()  # so that the pipe never fills
            yield Process(process, match[1])
        finally:
            ending.cancel()
            if process.poll() is None:
                process.kill()
                process.wait()
