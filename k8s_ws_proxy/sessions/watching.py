"""Who watches whose terminal."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.sessions.record import Watcher, WatchMode, shown
from k8s_ws_proxy.wire.rules.relay import Phase
from k8s_ws_proxy.wire.rules.watch import WatchRelay

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from k8s_ws_proxy.relay.bridge import Bridge
    from k8s_ws_proxy.relay.feed import Feed
    from k8s_ws_proxy.sessions.registry import Slot

_NOTICES: Final = 10  # that a terminal is told one by one in _AT_ONCE
_AT_ONCE: Final = 10.0  # seconds


class Watching:
    """All of them. With ``notices`` a terminal is told in a line when somebody joins or leaves."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, notices: bool = True, clock: Callable[[], float] = time.time
    ) -> None:
        self._loop = loop
        self._notices = notices
        self._clock = clock
        self._watchers: dict[str, dict[str, Watcher]] = {}
        self._told: dict[str, int] = {}  # how many notices each terminal has had lately

    def may_join(self, watched: Slot) -> bool:
        """It is a terminal, and open; not one that watches another, and its command hasn't ended."""
        bridge = watched.bridge
        if bridge is None or bridge.fanout is None:
            return False
        return bridge.relay.phase is Phase.RELAYING and not bridge.relay.status_seen

    def watchers(self, session: str) -> list[Watcher]:
        """Those of the session with this id, the first one first."""
        return list(self._watchers.get(session, {}).values())

    def join(self, watched: Slot, own: Slot, mode: WatchMode, bridge: Bridge, feed: Feed) -> None:
        """From here on the session ``own``, of which ``bridge`` reads ``feed``, shows what ``watched`` does."""
        feed.tell(partial(self._let_go, bridge), partial(self._left, watched, own.id, feed))
        if watched.bridge is None or watched.bridge.fanout is None:  # it has ended in this moment
            feed.end()
            return
        principal = own.log.record.principal
        watcher = Watcher(own.id, principal.user or principal.name, mode, self._clock())
        self._watchers.setdefault(watched.id, {})[own.id] = watcher
        watched.watched(watcher)
        does = "watches and may type" if mode is WatchMode.PEER else "watches"
        self._say(watched, f"{shown(watcher.user)} {does} from now on")
        if watched.bridge.fanout is None:  # that line has found its client gone
            feed.end()
        else:
            watched.bridge.fanout.join(feed)

    def _left(self, watched: Slot, session: str, feed: Feed) -> None:
        watcher = self._watchers.get(watched.id, {}).pop(session, None)
        if watcher is None:
            return
        if not self._watchers[watched.id]:
            del self._watchers[watched.id]
        if watched.bridge is not None and watched.bridge.fanout is not None:
            watched.bridge.fanout.leave(feed)
            self._say(watched, f"{shown(watcher.user)} has left")

    def _say(self, watched: Slot, text: str) -> None:
        """Nobody's terminal is flooded by those who come and go: of many it is told how many more."""
        if not self._notices or watched.bridge is None:
            return
        told = self._told.get(watched.id, 0)
        self._told[watched.id] = told + 1
        if not told:
            self._loop.call_later(_AT_ONCE, self._say_how_many, watched)
        if told < _NOTICES:
            self._tell(watched.bridge, watched.id, text)

    def _say_how_many(self, watched: Slot) -> None:
        more = self._told.pop(watched.id) - _NOTICES
        if more > 0 and watched.bridge is not None:
            self._tell(watched.bridge, watched.id, f"{more} more have joined or left")

    def _tell(self, bridge: Bridge, session: str, text: str) -> None:
        bridge.say(text)
        bridge.watched(len(self._watchers.get(session, ())))

    def _let_go(self, bridge: Bridge) -> None:
        """It was too slow to be told more; what its connection holds is still its, for a while."""
        assert isinstance(bridge.relay, WatchRelay)
        bridge.relay.too_slow()
        bridge.go_on()
