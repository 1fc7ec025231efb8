"""Asks of a running daemon's routes for recordings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from support import rawws
from support.archive import cast_of
from support.caller import refusal_of
from support.sessions import call

if TYPE_CHECKING:
    from collections.abc import Mapping

    from support.daemon import Daemon
    from support.rawws import Answer

PATH = "/proxy/recordings"
NOBODYS = "01980000-0000-7000-8000-000000000000"
LONG = cast_of(*(b"line %06d of what was shown\r\n" % number for number in range(3000)))


def reason_of(answer: Answer) -> str:
    """The reason of a refusal."""
    return refusal_of(answer, PATH)[1]


def request(
    daemon: Daemon, target: str, method: str = "GET", more: Mapping[str, str] | None = None, **who: str
) -> bytes:
    """One that is signed; ``more`` are headers that aren't."""
    lines = [f"{method} {target} HTTP/1.1", "Host: proxy"]
    headers = {**daemon.headers_v2(target, method=method, **who), **(more or {})}
    return ("\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items())]) + "\r\n\r\n").encode()


async def ask(daemon: Daemon, data: bytes) -> Answer:
    """The answer to a request that is made."""
    async with rawws.connected(daemon.port, data) as ws:
        return ws.answer


async def read(daemon: Daemon, session: str, **more: str) -> Answer:
    """A recording, or the part of it that the headers ``more`` ask for."""
    return await ask(daemon, request(daemon, f"{PATH}/{session}", more=more))


async def listed(daemon: Daemon, query: str = "", **who: str) -> dict[str, Any]:
    """A page of the list."""
    answer = await call(daemon, "GET", PATH + query, **who)
    assert answer.status == 200, answer
    page: dict[str, Any] = json.loads(answer.body)
    return page
