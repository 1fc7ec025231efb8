"""Somebody who joins another's session, to watch or to type, too."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.relay.feed import Feed
from k8s_ws_proxy.sessions.record import WatchMode
from k8s_ws_proxy.web.plan import Plan, Reached
from k8s_ws_proxy.wire.rules.watch import ObserveRelay, PeerRelay

if TYPE_CHECKING:
    from k8s_ws_proxy.relay.bridge import Bridge
    from k8s_ws_proxy.relay.stream import Stream
    from k8s_ws_proxy.sessions.registry import Slot
    from k8s_ws_proxy.sessions.watching import Watching
    from k8s_ws_proxy.web.call import Call
    from k8s_ws_proxy.web.plan import PlanParts
    from k8s_ws_proxy.web.upgrade import Offer


def check_join(watching: Watching, watched: Slot) -> None:
    """Raises Refusal(``not_a_terminal``)."""
    if not watching.may_join(watched):
        raise Refusal(Reason.NOT_A_TERMINAL, "This session can't be joined: it watches another, or is ending.")


class WatchPlan(Plan):
    """A session whose upstream is another one, ``watched``.

    Its target is that session's, so the quotas of the namespace and of whoever watches count it.
    """

    told_in_session = False

    def __init__(
        self, parts: PlanParts, call: Call, offer: Offer, watched: Slot, mode: WatchMode, watching: Watching
    ) -> None:
        super().__init__(parts, call, watched.log.record.target, offer)
        self.offer: Offer = offer
        self._watched = watched
        self._mode = mode
        self._watching = watching
        self._joining: tuple[Slot, Feed] | None = None

    def admitted(self, slot: Slot) -> None:
        """As Plan's: from here on it is no session of its own to whoever lists them."""
        slot.log.watching(self._watched.log.record, self._mode)

    async def dial(self, slot: Slot) -> Reached:
        """As Plan's: there is nobody to ask, and from here to begun() there is nothing to wait for.

        Raises Refusal(``not_a_terminal``): it may have come to its end since the slot was asked for.
        """
        check_join(self._watching, self._watched)
        peer = self._mode is WatchMode.PEER
        bridge = self._watched.bridge
        fanout = bridge.fanout if bridge else None
        feed = Feed(
            asyncio.get_running_loop(),
            self.parts.budget,
            bridge.type if peer and bridge else None,
            fanout.peer_resized if peer and fanout else None,
        )
        self._joining = slot, feed
        relay = PeerRelay if peer else ObserveRelay
        return Reached(feed, b"", self.offer.switching(slot.id), relay)

    def begun(self, bridge: Bridge, client: Stream) -> None:  # noqa: ARG002 - the bridge alone is of interest
        """As Plan's: what is on the screen goes first."""
        assert self._joining is not None, "it hasn't been dialled"
        slot, feed = self._joining
        self._watching.join(self._watched, slot, self._mode, bridge, feed)
