"""An address for a browser: whoever asks for it is issued a session, and sent to the page that opens it.

It stands where a platform's console would (docs/guides/browser.md), for ``dev``. A secret in its path lets
one in.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import math
import secrets
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import aiohttp

from k8s_ws_proxy.wire.requests.signing_v2 import signed_headers_v2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

_SESSIONS: Final = "/proxy/sessions"
_WITHIN: Final = 10.0  # seconds for a request and its answer
_MOST: Final = 8192  # bytes of a request
_HEADERS: Final = "Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n"


class BrowserDoor:
    """Issues what ``order`` says (docs/reference/sessions.md), once it knows the proxy and its secret."""

    def __init__(self, order: Mapping[str, Any], name: str) -> None:
        self._order = json.dumps(order).encode()
        self._name = name
        self._path = f"/{secrets.token_urlsafe(16)}"
        self._proxy = ""
        self._secret = b""
        self.origin = ""

    @property
    def url(self) -> str:
        """What to open."""
        return self.origin + self._path

    def leads_to(self, proxy: str, secret: bytes) -> None:
        """``proxy`` is its URL."""
        self._proxy, self._secret = proxy, secret

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request."""
        with contextlib.suppress(TimeoutError, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_WITHIN):
                head = await reader.readuntil(b"\r\n\r\n")
                status, more = await self._answer(head.partition(b"\r\n")[0])
                writer.write(f"HTTP/1.1 {status.value} {status.phrase}\r\n{more}{_HEADERS}\r\n".encode())
                await writer.drain()
        writer.close()

    async def _answer(self, line: bytes) -> tuple[HTTPStatus, str]:
        if not hmac.compare_digest(line, f"GET {self._path} HTTP/1.1".encode()):
            return HTTPStatus.NOT_FOUND, "Content-Length: 0\r\n"
        try:
            return HTTPStatus.SEE_OTHER, f"Location: {await self._page()}\r\nContent-Length: 0\r\n"
        except (aiohttp.ClientError, KeyError, ValueError):
            return HTTPStatus.BAD_GATEWAY, "Content-Length: 0\r\n"

    async def _page(self) -> str:
        """Where a session waits that was issued now."""
        signed = signed_headers_v2(
            self._secret,
            "POST",
            _SESSIONS,
            created=math.ceil(time.time()),  # a proxy takes none from before its own start, which may be this second
            nonce=secrets.token_urlsafe(24),
            body=self._order,
        )
        async with (
            aiohttp.ClientSession(raise_for_status=True) as session,
            session.post(self._proxy + _SESSIONS, data=self._order, headers=signed) as response,
        ):
            told = await response.json()
        said = {"id": told["sessionId"], "ticket": told["ticket"], "name": self._name, "back": self.url}
        return f"{self._proxy}/terminal/#{urlencode(said)}"


@contextlib.asynccontextmanager
async def browser_door(order: Mapping[str, Any], name: str) -> AsyncIterator[BrowserDoor]:
    """One on loopback, until the block is left."""
    door = BrowserDoor(order, name)
    async with await asyncio.start_server(door.answer, "127.0.0.1", 0, limit=_MOST) as server:
        door.origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield door
