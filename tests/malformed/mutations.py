"""Ways to spoil a file: bytes of any format, values of a JSON document."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

JUNK: list[Any] = [
    None, True, -1, 0, 1.5, 10**15, 2**63 - 1, -(2**63), 1e308, float("nan"), float("inf"), "", "x", "\0", "é" * 50,
    "x" * 20_000, [], {}, [None], [[]], [1, "a", None], {"a": {"b": []}}, [[1.5, -2], [3]], "../../etc/passwd",
    "/dev/zero",
]  # fmt: skip
"""Values that stand where others should."""

TEXTS = {
    "empty": b"",
    "spaces": b" " * 5_000,
    "zeros": b"\0" * 5_000,
    "ones": b"\xff" * 5_000,
    "words": b"this is no such file\n",
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 50_000,
    "deep lists, closed": b"[" * 900 + b"]" * 900,
    "digits": b"[" + b"1" * 6_000 + b"]",
    "large number": b'{"images": [18446744073709551616], "prompts": ["a"]}',
    "half a surrogate pair": b'{"prompts": ["\\ud800 dog"], "images": []}',
    "list of halves": b'["\\udfff"]',
    "not a number": b"NaN",
    "infinite": b"[1e999]",
    "utf-16": '{"prompts": ["dog"]}'.encode("utf-16"),
    "latin-1": '["caf\xe9"]'.encode("latin-1"),
    "two documents": b"{}{}",
    "same key twice": b'{"images": [], "images": []}',
    "null": b"null",
    "quote": b'"',
    "html": b"<!DOCTYPE html><html><body>404</body></html>",
    "pickle": b"cos\nsystem\n(S'echo'\ntR.",
    "memo": b"\x80\x02]r\xff\xff\xff\x7f.",
}
"""What a file of any format may hold instead."""


def spoiled_bytes(content: bytes, count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield ``count`` (name, content): cut short, with other bytes, zeros, gaps and repetitions."""
    draw = random.Random(seed)
    for number in range(count):
        spoiled = bytearray(content)
        place = draw.randrange(len(content))
        way = ("cut", "flipped", "zeroed", "gap", "doubled", "head flipped")[number % 6]
        if way == "cut":
            del spoiled[place:]
        elif way == "flipped":
            for _ in range(draw.randint(1, 30)):
                spoiled[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        elif way == "head flipped":
            for _ in range(draw.randint(1, 4)):
                spoiled[draw.randrange(min(len(content), 400))] = draw.choice([0, 1, 127, 255, draw.randrange(256)])
        elif way == "zeroed":
            end = min(len(content), place + draw.randint(1, 200))
            spoiled[place:end] = bytes(end - place)
        elif way == "gap":
            del spoiled[place : place + draw.randint(1, 50)]
        else:
            spoiled[place:place] = spoiled[: draw.randint(1, 300)]
        yield f"{way} {number}", bytes(spoiled)


def spoiled_json(document: Any, count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield ``count`` (name, content): the document with one value replaced, one key gone, added or repeated."""
    draw = random.Random(seed)
    places = [place for place in _places(document) if place]
    for number in range(count):
        changed = copy.deepcopy(document)
        place = draw.choice(places)
        holder = changed
        for key in place[:-1]:
            holder = holder[key]
        way = draw.choice(["junk", "junk", "junk", "gone", "more"])
        if way == "gone" and isinstance(holder, dict):
            del holder[place[-1]]
        elif way == "more" and isinstance(holder, dict):
            holder[draw.choice(["", "unknown", "__class__"])] = draw.choice(JUNK)
        else:
            holder[place[-1]] = draw.choice(JUNK)
        yield f"{'.'.join(map(str, place))} {way} {number}", json.dumps(changed).encode()


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to all values in a document; of a long list only those of its first entries."""
    yield place
    items = value.items() if isinstance(value, dict) else enumerate(value[:5]) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _places(inner, (*place, key))
