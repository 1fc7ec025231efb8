"""Log lines that anybody can cause: each has its own, up to so many a second; of the rest one says how many."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from k8s_ws_proxy.observe.log import logger

AT_ONCE: Final = 200  # lines a second for each reason: more than anybody causes who can read them
_TELL: Final = 1.0  # seconds that are told in one line


class LogLimit:
    """One for each kind of line. ``event`` is that of the line that says how many more there were."""

    def __init__(self, event: str) -> None:
        self._event = event
        self._seen: dict[str, int] = {}  # in this second, by reason

    def allows(self, reason: str) -> bool:
        """Whether this one has a line of its own. ``reason`` is one of a few."""
        if not self._seen:
            asyncio.get_running_loop().call_later(_TELL, self._told)
        self._seen[reason] = seen = self._seen.get(reason, 0) + 1
        return seen <= AT_ONCE

    def _told(self) -> None:
        seen, self._seen = self._seen, {}
        for reason, count in seen.items():
            if count > AT_ONCE:
                facts: dict[str, Any] = {"reason": reason, "count": count - AT_ONCE}
                logger().warning(self._event, **facts)
