"""API keys: kept as hashes, compared in constant time, read from the headers that clients of several kinds send."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import parse_qs


class ApiKeys:
    """The keys that open a server.

    Args:
        keys: none of them: everything is open.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = tuple(_digest(key) for key in keys)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def allow(self, headers: Mapping[str, str], query: bytes = b"") -> bool:
        """Return whether a request with these headers (names in lower case) and this query carries a key."""
        if not self._digests:
            return True
        given = [_digest(key) for key in (*_keys_in(headers), *_keys_in_query(query))]
        matches = [hmac.compare_digest(one, known) for one in given for known in self._digests]
        return any(matches)  # every pair was compared, so that the time taken does not depend on which matches


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _keys_in(headers: Mapping[str, str]) -> Iterator[str]:
    """The keys of a request: X-API-Key, Token (X-AnyLabeling), Bearer, or the password of Basic, which browsers ask."""
    for name in ("x-api-key", "token"):
        if headers.get(name):
            yield headers[name]
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() in ("bearer", "token"):
        yield value.strip()
    elif scheme.lower() == "basic":
        try:
            yield base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return


def _keys_in_query(query: bytes) -> list[str]:
    """The keys in a link, where clients of Roboflow's API put them."""
    return parse_qs(query.decode("latin-1")).get("api_key", [])
