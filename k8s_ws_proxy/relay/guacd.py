"""Pings towards guacd: it learns that its user has left only when something arrives (docs/observed.md, "guacd")."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from k8s_ws_proxy.relay.bridge import Bridge


def keep_pinging(bridge: Bridge, period: float) -> None:
    """Ping the client every ``period`` seconds until the session is over, besides the pings that look for life."""

    def ping() -> None:
        if bridge.ping_client():
            loop.call_later(period, ping)

    loop = asyncio.get_running_loop()
    loop.call_later(period, ping)
