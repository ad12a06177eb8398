"""The images of tasks, fetched from the one Label Studio that a server knows."""

from __future__ import annotations

import base64
import binascii
import json
from urllib.parse import urljoin, urlsplit

import httpx

from ..refusals import RefusalError
from .pictures import picture_of


class LabelStudio:
    """The Label Studio whose images are fetched.

    Args:
        url: of it; None: images must come in the tasks.
        token: of a user, from the account page: a legacy or a personal access token. By default what it says itself
            when it connects.
    """

    def __init__(self, url: str | None, token: str | None) -> None:
        self._url = None if url is None else url.rstrip("/")
        self._token = token
        self._greeted: str | None = None

    def greet(self, url: str | None, token: str | None) -> None:
        """Take the token that the one Label Studio brings; another's is passed over."""
        if token and url and self._url is not None and _origin(url) == _origin(self._url):
            self._greeted = token

    async def fetch(self, place: str, limit: int) -> bytes:
        """Return the image of a task.

        Args:
            place: a data URI, or where Label Studio has it.
            limit: bytes that are read at most.

        Raises:
            RefusalError: it is not from this Label Studio, cannot be fetched, or is larger.
        """
        if place.startswith("data:"):
            return picture_of(place)
        if self._url is None:
            raise RefusalError(422, "this server fetches no images; start it with --label-studio URL")
        target = _joined(self._url, place)
        if target is None or _origin(target) != _origin(self._url):
            raise RefusalError(422, f"images are fetched from {self._url} alone; store them in Label Studio")
        async with httpx.AsyncClient(timeout=30) as client:
            return await self._read(client, target, limit)

    async def _read(self, client: httpx.AsyncClient, target: str, limit: int) -> bytes:
        content = bytearray()
        try:
            headers = await self._headers(client)
            async with client.stream("GET", target, headers=headers) as answer:
                if answer.is_redirect:
                    raise RefusalError(422, "Label Studio leads on to another place, which is not followed")
                answer.raise_for_status()
                async for part in answer.aiter_bytes():
                    content += part
                    if len(content) > limit:
                        raise RefusalError(413, f"an image is larger than {limit >> 20} MiB, which is the limit")
        except httpx.HTTPStatusError as error:
            raise RefusalError(
                422, f"Label Studio answers {error.response.status_code} to an image; check --label-studio-token"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL):
            raise RefusalError(422, f"{self._url} cannot be reached; is Label Studio running there?") from None
        return bytes(content)

    async def _headers(self, client: httpx.AsyncClient) -> dict[str, str]:
        """What names the user: a legacy token itself, or what a personal access token is exchanged for."""
        token = self._token or self._greeted
        if token is None:
            return {}
        if not _is_refresh_token(token):
            return {"Authorization": f"Token {token}"}
        answer = await client.post(f"{self._url}/api/token/refresh", json={"refresh": token})
        answer.raise_for_status()
        try:
            return {"Authorization": f"Bearer {answer.json()['access']}"}
        except (ValueError, KeyError, TypeError):
            raise RefusalError(
                422, "Label Studio gives nothing for the personal access token; check --label-studio-token"
            ) from None


def _is_refresh_token(token: str) -> bool:
    """Whether a token is a personal access token: a JSON web token that says so."""
    try:
        middle = token.split(".")[1]
        found = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    except (IndexError, ValueError, binascii.Error):
        return False
    return isinstance(found, dict) and found.get("token_type") == "refresh"


def _joined(base: str, place: str) -> str | None:
    try:
        return urljoin(f"{base}/", place)
    except ValueError:  # such as half of an IPv6 address
        return None


def _origin(url: str) -> tuple[str, str] | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts.scheme, parts.netloc
