"""How `litetext serve` holds up: 64 clients for a minute, and what a second phrase on an image costs.

The server runs in a process of its own with the shipped model, as users start it; clients are threads of this one, on
the same cores. Latencies are those that clients see. The second phrase is measured by one client alone, in pairs: an
image that the server has not seen, then the same image with another phrase; processor time is the server's.

Prints one JSON object; ``serve.json`` is what a run left.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np
from PIL import Image

from litetext.data import samples


@contextmanager
def served(*options: str) -> Iterator[tuple[str, int]]:
    """A server's address and process id."""
    command = [sys.executable, "-m", "litetext", "serve", "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"at (http://\S+)", line)
        assert found, line
        try:
            yield found[1], process.pid
        finally:
            process.terminate()


def megabytes(process: int) -> float:
    """Resident memory of a process."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def processor_ms(process: int) -> float:
    """Milliseconds of processor time that a process has taken until now."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def picture(number: int) -> bytes:
    """A shipped scene, changed so that no other number has the same bytes."""
    scene = np.array(Image.open(samples()[number % len(samples())].image).convert("RGB"))
    scene[0, :8] = np.frombuffer(number.to_bytes(24, "little"), np.uint8).reshape(8, 3)
    buffer = io.BytesIO()
    Image.fromarray(scene).save(buffer, "PNG")
    return buffer.getvalue()


def ask(client: httpx.Client, image: bytes, phrase: str) -> tuple[int, float, dict[str, Any]]:
    """Status, seconds and answer of one request."""
    begun = time.perf_counter()
    answer = client.post("/v1/segment", files={"image": ("a.png", image)}, data={"phrases": [phrase]})
    return answer.status_code, time.perf_counter() - begun, answer.json()


def crowd(url: str, process: int, clients: int, seconds: float) -> dict[str, Any]:
    """Many clients at once: every fourth request is of an image that is new."""
    statuses: Counter[str] = Counter()
    times: list[float] = []
    wrong: list[str] = []
    memory: list[float] = []
    end = time.monotonic() + seconds
    phrases = [phrase for sample in samples() for phrase in sample.phrases]
    known = [picture(number) for number in range(8)]

    def work(number: int) -> None:
        with httpx.Client(base_url=url, timeout=120) as client:
            turn = 0
            while time.monotonic() < end:
                turn += 1
                fresh = turn % 4 == 0
                image = picture(10_000 + number * 100_000 + turn) if fresh else known[(number + turn) % len(known)]
                phrase = phrases[(number * 7 + turn) % len(phrases)]
                try:
                    status, taken, answer = ask(client, image, phrase)
                except httpx.HTTPError as error:
                    statuses[type(error).__name__] += 1
                    continue
                statuses[str(status)] += 1
                if status == 200:
                    times.append(taken)
                    if [one["phrase"] for one in answer["phrases"]] != [phrase]:
                        wrong.append(phrase)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    while time.monotonic() < end:
        time.sleep(1)
        memory.append(megabytes(process))
    for thread in threads:
        thread.join()
    half = len(memory) // 2
    return {
        "clients": clients,
        "seconds": seconds,
        "answers": dict(statuses),
        "answered_with_another_request's_phrase": len(wrong),
        "requests_a_second": round(statuses["200"] / seconds, 1),
        "p50_seconds": round(float(np.percentile(times, 50)), 2),
        "p95_seconds": round(float(np.percentile(times, 95)), 2),
        "resident_mb_after_third": round(memory[len(memory) // 3], 1),
        "resident_mb_at_end": round(memory[-1], 1),
        "growth_over_second_half": round(median(memory[-6:]) / median(memory[half - 3 : half + 3]) - 1, 4),
    }


def second_phrase(url: str, process: int, pairs: int) -> dict[str, Any]:
    """One client: a new image, then another phrase on it."""
    latencies, processor = [], []
    with httpx.Client(base_url=url, timeout=120) as client:
        for number in range(-2, pairs):
            image = picture(5_000_000 + number)
            before = processor_ms(process)
            new = ask(client, image, "owl")
            between = processor_ms(process)
            again = ask(client, image, "red car")
            assert not new[2]["cached"] and again[2]["cached"]
            if number >= 0:  # the first two warm the server up
                latencies.append((new[1], again[1]))
                processor.append((between - before, processor_ms(process) - between))
    first, second = (1000 * np.array(latencies)).T
    spent, spent_again = np.mean(processor, axis=0)
    return {
        "pairs": pairs,
        "new_image_ms": round(float(np.median(first)), 1),
        "second_phrase_ms": round(float(np.median(second)), 1),
        "median_ratio": round(float(np.median(first / second)), 2),
        "new_image_processor_ms": round(spent, 1),
        "second_phrase_processor_ms": round(spent_again, 1),
        "processor_ratio": round(spent / spent_again, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--cache-mb", default="16", help="so small that it is full long before the end")
    options = parser.parse_args()
    found: dict[str, Any] = {"cores": os.cpu_count(), "load_before": round(os.getloadavg()[0], 1), "model": "mini"}
    with served("--cache-mb", options.cache_mb) as (url, process):
        found["second_phrase"] = second_phrase(url, process, options.pairs)
    with served("--model", "photo") as (url, process):
        found["second_phrase_photo"] = second_phrase(url, process, options.pairs)
    with served("--cache-mb", options.cache_mb) as (url, process):
        found["crowd"] = crowd(url, process, options.clients, options.seconds)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
