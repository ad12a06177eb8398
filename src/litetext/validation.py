"""Values from files and callers into frozen dataclasses: each field's type and range declared once, checked once.

A field says its range where it is declared, ``width: int = ranged(1, 16_384)``; its type hint says the rest.
`from_values` makes a dataclass of a file's plain values and names the file and the key of whatever is wrong;
`check_ranges` is what a dataclass calls in its ``__post_init__``, so that Python callers are told the same.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Mapping
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import LitetextError, short

T = TypeVar("T")

_KINDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    NoneType: "null",
}


def ranged(low: float, high: float, default: Any = dataclasses.MISSING) -> Any:
    """Declare a number's range, ends included, as the default of a dataclass field."""
    return dataclasses.field(default=default, metadata={"range": (low, high)})


def check_ranges(instance: Any) -> None:
    """Raise `LitetextError` for the first field of a dataclass whose value its type or range does not allow."""
    hints = _hints(type(instance))  # type: ignore[arg-type]
    for field in dataclasses.fields(instance):
        wanted = _unmet(getattr(instance, field.name), hints[field.name], field.metadata.get("range"))
        if wanted:
            value = getattr(instance, field.name)
            raise LitetextError(f"{field.name} is {short(value)}, where {wanted} should stand")


def from_values(cls: type[T], values: Any, source: str, place: str = "", *, others: bool = False) -> T:
    """Return a dataclass made from plain values, as JSON and TOML give them.

    Args:
        cls: the dataclass; fields whose type is a dataclass too take an object of their own.
        values: its fields by name; fields that have a default may be left out.
        source: the file, for messages.
        place: the key under which ``values`` stands in the file; "" for its top.
        others: whether there may be keys beside the fields, which are left alone.

    Raises:
        LitetextError: naming file and key: an unknown key, a missing one, a value of another type or out of range.
    """
    if not isinstance(values, Mapping):
        where = f"key {place!r}" if place else "its top"
        raise LitetextError(f"{source}: {where} is {short(values)}, where an object with keys should stand")
    hints = _hints(cls)  # type: ignore[arg-type]
    known = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    prefix = f"{place}." if place else ""
    for name in values:
        if name not in known and not others:
            raise LitetextError(f"{source}: unknown key {short(f'{prefix}{name}')}; known are {', '.join(known)}")
    given = {}
    for name, field in known.items():
        if name not in values:
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                raise LitetextError(f"{source}: key {prefix + name!r} is missing")
            continue
        value = values[name]
        if dataclasses.is_dataclass(hints[name]):
            value = from_values(hints[name], value, source, prefix + name, others=others)
        elif wanted := _unmet(value, hints[name], field.metadata.get("range")):
            raise LitetextError(f"{source}: key {prefix + name!r} is {short(value)}, where {wanted} should stand")
        given[name] = value
    try:
        return cls(**given)
    except LitetextError as error:  # fields that do not fit one another
        raise LitetextError(f"{source}: {error}") from None


@lru_cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _unmet(value: Any, hint: Any, bounds: tuple[float, float] | None = None) -> str:
    """Return what should stand in place of ``value``, or "" where it may stand."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        unmet = [_unmet(value, one, bounds) for one in arguments]
        return " or ".join(unmet) if all(unmet) else ""
    if origin is Literal:
        return "" if isinstance(value, str) and value in arguments else f"one of {', '.join(sorted(arguments))}"
    if origin is list:
        fits = isinstance(value, list) and not any(_unmet(one, arguments[0]) for one in value)
        return "" if fits else f"a list, each entry {_KINDS.get(arguments[0], arguments[0].__name__)},"
    if hint is int:
        fits = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    elif hint is float:
        fits = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    else:
        fits = isinstance(value, hint)
    if fits and (bounds is None or value is None or bounds[0] <= value <= bounds[1]):
        return ""
    kind = _KINDS.get(hint, f"a {hint.__name__}")
    return f"{kind} from {bounds[0]:,} to {bounds[1]:,}" if bounds is not None and hint in (int, float) else kind
