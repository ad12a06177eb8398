"""The one error that a user caused and can mend.

Raise it with a sentence that names the file, key or value and says what would do. The command line
prints that sentence alone and exits with 2; library users may catch it as an ordinary ``ValueError``.
"""

from __future__ import annotations


class LitetextError(ValueError):
    """Bad input: the message names what was given and the remedy, on one line."""


def choice_error(kind: str, given: object, choices: list[str] | tuple[str, ...]) -> LitetextError:
    """Return the error for an unknown name: what was given, and every name that would do."""
    return LitetextError(f"unknown {kind} {given!r}; choose one of: {', '.join(sorted(choices))}")


def missing_extra(package: str, extra: str) -> LitetextError:
    """Return the error for an optional dependency that is not installed."""
    return LitetextError(f"{package} is not installed; it comes with: pip install 'litetext[{extra}]'")
