"""What limits a prompt at SAM3's real size on a CPU: one look of 5,184 places at all others. Writes ``attention.json``.

    python benchmarks/attention.py

Eight heads of 32 numbers in bfloat16, as in each of the detector's encoder layers. All ways of computing it take turns,
and so do its parts alone: the two products, and as many exponentials as it has. Figures are medians of processor
seconds on one thread; the error is the largest against float32.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from time import process_time as clock
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.functional import pad, scaled_dot_product_attention

RESULTS = Path(__file__).with_suffix(".json")
PLACES, HEADS, WIDTH = 5184, 8, 32
ROUNDS, STRIP, SIDE = 5, 576, 2048


def in_strips(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention by plain products, some rows of one head at a time."""
    out = torch.empty_like(query)
    for head in range(HEADS):
        for start in range(0, PLACES, STRIP):
            rows = slice(start, start + STRIP)
            shares = torch.softmax(query[0, head, rows] * WIDTH**-0.5 @ key[0, head].T, -1)
            out[0, head, rows] = shares @ value[0, head]
    return out


def ways() -> dict[str, Callable[[], Tensor]]:
    """The ways of computing the look, on the same numbers."""
    lying = [torch.randn(1, PLACES, HEADS * WIDTH).bfloat16() for _ in range(3)]
    as_run = [one.view(1, PLACES, HEADS, WIDTH).transpose(1, 2) for one in lying]
    by_head = [one.contiguous() for one in as_run]
    wide = [pad(one, (0, 32)) for one in by_head]
    four = [one.expand(4, -1, -1, -1).contiguous() for one in as_run]
    compiled = torch.compile(flex_attention, dynamic=False)
    scale = WIDTH**-0.5
    return {
        "as it is run: torch's fused kernel": lambda: scaled_dot_product_attention(*as_run),
        "the same in float32": lambda: scaled_dot_product_attention(*(one.float() for one in as_run)),
        "heads copied together first": lambda: scaled_dot_product_attention(*(one.contiguous() for one in as_run)),
        "four prompts at once, a quarter": lambda: scaled_dot_product_attention(*four)[:1],
        "heads filled up to 64": lambda: scaled_dot_product_attention(*wide, scale=scale)[..., :WIDTH],
        "flex_attention, compiled": lambda: compiled(*by_head),
        "plain products in strips": lambda: in_strips(*by_head),
    }


def parts() -> dict[str, Callable[[], Tensor]]:
    """What any way has to do, for one of the heads."""
    query, key = torch.randn(2, PLACES, WIDTH).bfloat16()
    value = torch.randn(PLACES, WIDTH).bfloat16()
    scores, square = query @ key.T, torch.randn(SIDE, SIDE).bfloat16()
    return {
        "products with keys": lambda: query @ key.T,
        "exponentials": lambda: torch.exp(scores),
        "products with values": lambda: scores @ value,
        "a square product": lambda: square @ square,
    }


def main() -> dict[str, Any]:
    """Return all figures."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    runs = ways() | parts()
    first = {name: run() for name, run in runs.items()}
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            start = clock()
            run()
            taken[name].append(clock() - start)
    seconds = {name: statistics.median(several) for name, several in taken.items()}
    seconds["four prompts at once, a quarter"] /= 4
    exact = first["the same in float32"]
    square = seconds.pop("a square product")
    return {
        "torch": torch.__version__,
        "places, heads, width": [PLACES, HEADS, WIDTH],
        "ways": {name: {"ms": _ms(seconds[name]), "error": _error(first[name], exact)} for name in ways_of(seconds)},
        "parts, all heads, ms": {name: _ms(HEADS * seconds[name]) for name in seconds if name not in ways_of(seconds)},
        "gflop": round(4 * PLACES**2 * HEADS * WIDTH / 1e9, 1),
        "square product, tflop/s": round(2 * SIDE**3 / square / 1e12, 3),
        "exponentials, millions": round(PLACES**2 * HEADS / 1e6),
    }


def ways_of(seconds: dict[str, float]) -> list[str]:
    """The names that are ways, not parts."""
    return [name for name in seconds if not name.startswith(("products", "exponentials"))]


def _ms(seconds: float) -> float:
    return round(1e3 * seconds, 1)


def _error(ours: Tensor, exact: Tensor) -> float:
    return round(float((ours.float() - exact).abs().max()), 5)


if __name__ == "__main__":
    with torch.inference_mode():
        figures = main()
    RESULTS.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))
