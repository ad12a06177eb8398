"""Names of packages that are looked up when first used, so that importing a package stays light."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from .errors import extras_named


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a package's ``__getattr__``.

    Args:
        package: its ``__name__``.
        homes: name -> the module it is in, relative to the package, such as ``".config"``.

    Returns:
        A function that imports a name's module and returns what the name stands for. It raises AttributeError for names
        that are not in ``homes``, and a `LitetextError` that names the extra where the module needs one.
    """

    def look_up(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with extras_named():
            return getattr(import_module(homes[name], package), name)

    return look_up
