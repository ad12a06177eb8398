"""The one error that a user caused and can fix, and the one warning.

Raise it with a sentence that names the file, key or value and says what would do. The command line
prints that sentence alone and exits with 2; library users may catch it as an ordinary ``ValueError``.
"""

from __future__ import annotations

import contextlib
import reprlib
from collections.abc import Iterator


class LitetextError(ValueError):
    """Bad input: the message names what was given and the remedy, on one line."""


class LitetextWarning(UserWarning):
    """Input that works but may not mean what its giver thinks: the message names it and what settles it."""


def choice_error(kind: str, given: object, choices: list[str] | tuple[str, ...]) -> LitetextError:
    """Return the error for an unknown name: what was given, and every name that would do."""
    return LitetextError(f"unknown {kind} {short(given)}; choose one of: {', '.join(sorted(choices))}")


def missing_extra(package: str, extra: str) -> LitetextError:
    """Return the error for an optional dependency that is not installed."""
    return LitetextError(f"{package} is not installed; it comes with: pip install 'litetext[{extra}]'")


@contextlib.contextmanager
def failures_named(source: object, what: str) -> Iterator[None]:
    """Turn whatever a library raises over the content of a file into a `LitetextError` of one line that names the file.

    For libraries that check little of what they read, where a malformed file can fail in any way at all.

    Args:
        source: the file or folder.
        what: what is wrong with it, such as ``"is not a model's configuration"``.
    """
    try:
        yield
    except LitetextError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise LitetextError(f"{source} {what} ({type(error).__name__}: {reason}); is it cut short?") from error


def short(value: object) -> str:
    """Return ``repr(value)`` in 60 characters or fewer, whatever the size and depth of the value."""
    text = " ".join(_SHORT.repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxlong, _SHORT.maxother = 4, 60, 40, 60
