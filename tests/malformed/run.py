"""Reads every spoiled file of one reader in a process of its own; prints a JSON report on its last line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS = 20


def outcome(read: Callable[[], object]) -> str:
    """Return what is wrong with how a file was read, "" if it was read or refused in one line."""
    from litetext.errors import LitetextError

    try:
        with contextlib.redirect_stdout(io.StringIO()):
            read()
    except LitetextError as error:
        message = str(error)
        if "\n" in message or len(message) > 2_000:
            return f"{len(message)} characters, {message.count(chr(10))} line breaks: {message[:300]}"
    except TimeoutError:
        return f"more than {SECONDS} s"
    except Exception:
        return traceback.format_exc()
    return ""


def outcome_of_command(arguments: list[Any]) -> str:
    """Return what is wrong with how a command ended, "" if it worked or said in one line why not."""
    from litetext.cli import main

    out, err = io.StringIO(), io.StringIO()
    code: object = None
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main([str(argument) for argument in arguments])
    except SystemExit as end:
        code = end.code
    except TimeoutError:
        return f"more than {SECONDS} s"
    except BaseException:
        return traceback.format_exc()
    lines = [line for line in err.getvalue().splitlines() if not line.startswith("litetext: warning:")]
    if code == 2 and (len([line for line in lines if line.startswith("litetext: ")]) != 1 or len(lines[0]) > 2_500):
        return f"exit code 2 and {len(lines)} lines: {err.getvalue()[:500]}"
    if "--help)" in err.getvalue():
        return f"wrong usage: {err.getvalue()}"
    return "" if code in (0, 2) else f"exit code {code}: {err.getvalue()[:2000]}"


def run(reader: str) -> dict[str, Any]:
    """Return the number of files, what went wrong by name, the slowest and the memory."""
    from .readers import READERS

    def stop(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, stop)
    failures: dict[str, str] = {}
    slowest, count, refused_by_command = (0.0, ""), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for spoiled in READERS[reader](Path(folder)):
            whole = spoiled.path.read_bytes() if spoiled.path.exists() else None
            for number, (name, content) in enumerate(spoiled.cases()):
                spoiled.path.write_bytes(content)
                before = {str(path) for path in Path(folder).rglob("*")}
                name = f"{spoiled.path.name}: {name}"
                print(name, file=sys.stderr, flush=True)
                start = time.perf_counter()
                signal.alarm(SECONDS)
                wrong = outcome(lambda spoiled=spoiled: spoiled.read(spoiled.path))
                count += 1
                if not wrong and spoiled.command is not None and number % 4 == 0:
                    signal.alarm(SECONDS)
                    wrong = outcome_of_command(spoiled.command(spoiled.path))
                    refused_by_command += 1
                signal.alarm(0)
                slowest = max(slowest, (time.perf_counter() - start, name))
                if wrong:
                    failures[name] = wrong
                stray = {str(path) for path in Path(folder).rglob(".*")} - before
                if stray:
                    failures[name] = f"left behind: {stray}"
            if whole is None:
                spoiled.path.unlink()
            else:
                spoiled.path.write_bytes(whole)
    from litetext.bench.memory import peak_resident_bytes

    return {
        "files": count, "commands": refused_by_command, "failures": failures, "slowest": slowest,
        "peak_bytes": peak_resident_bytes(),
    }  # fmt: skip


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    resource.setrlimit(resource.RLIMIT_DATA, (6 << 30, 6 << 30))  # what would take more fails instead of swapping
    warnings.simplefilter("ignore")
    print(json.dumps(run(sys.argv[1])))
