"""Reports of audits that were asked for last."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from threading import Lock

from .refusals import RefusalError

_MOST = 16


class LatestReports:
    """The latest reports, by names that nobody guesses; threads may share them."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._lock = Lock()

    def put(self, page: bytes) -> str:
        """Keep a page, and return its name; the oldest goes."""
        name = secrets.token_hex(8)
        with self._lock:
            self._kept[name] = page
            while len(self._kept) > _MOST:
                self._kept.popitem(last=False)
        return name

    def get(self, name: str) -> bytes:
        """Return a page.

        Raises:
            RefusalError: there is none of that name, or no longer.
        """
        with self._lock:
            if name not in self._kept:
                raise RefusalError(404, "there is no such report; the latest are kept, so audit again")
            return self._kept[name]
