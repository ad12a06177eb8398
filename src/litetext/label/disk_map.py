"""A dictionary that lives in a temporary file: what a job remembers of each image takes disk and not memory."""

from __future__ import annotations

import sqlite3
from typing import Any, Generic, TypeVar

Value = TypeVar("Value", int, str)


class DiskMap(Generic[Value]):
    """Numbers or texts by text, in a temporary SQLite database that goes with the object; 2 MB of it are in memory.

    One thread at a time may use it. Texts may hold lone surrogates, as names of files do that are no UTF-8.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for setting in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-2000"):
            self._database.execute(f"PRAGMA {setting}")
        self._database.execute("CREATE TABLE entry (key BLOB PRIMARY KEY, value) WITHOUT ROWID")
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: str) -> bool:
        return self.get(key) is not None

    def get(self, key: str) -> Value | None:
        """Return the value of a key, or None."""
        found = self._database.execute("SELECT value FROM entry WHERE key = ?", (_stored(key),)).fetchone()
        return None if found is None else _read(found[0])

    def setdefault(self, key: str, value: Value) -> Value:
        """Keep a value unless the key has one; return the one that it has then."""
        done = self._database.execute("INSERT OR IGNORE INTO entry VALUES (?, ?)", (_stored(key), _stored(value)))
        self._count += done.rowcount
        found = None if done.rowcount else self.get(key)
        return value if found is None else found

    def __setitem__(self, key: str, value: Value) -> None:
        if self.setdefault(key, value) != value:
            self._database.execute("UPDATE entry SET value = ? WHERE key = ?", (_stored(value), _stored(key)))


def _stored(value: Any) -> Any:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def _read(value: Any) -> Any:
    return value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else value
