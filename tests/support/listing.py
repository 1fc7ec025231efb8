"""Sessions that are open while they are listed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from support import rawws
from support.caller import on_terminal, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.daemon import Daemon
    from support.rawws import RawWebSocket


@contextlib.asynccontextmanager
async def session_of(daemon: Daemon, user: str, target: str | None = None) -> AsyncIterator[tuple[str, RawWebSocket]]:
    """An open session of this user, on a terminal if it isn't said: its id, and the connection."""
    target = target or on_terminal("echo here; cat")
    headers = daemon.headers_v2(target, User=user, Reason="why not")
    async with rawws.connected(daemon.port, request(daemon, target, headers=headers)) as ws:
        assert ws.answer.status == 101, ws.answer
        yield ws.answer.headers["x-session-id"], ws
