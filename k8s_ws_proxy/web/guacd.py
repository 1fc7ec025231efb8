"""guacd, known by its certificate: a terminal with a profile of its own, and refusals that it can show."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.kube.pods import lacks_terminal
from k8s_ws_proxy.relay.bridge import Bridge
from k8s_ws_proxy.relay.guacd import keep_pinging
from k8s_ws_proxy.web.errors import note_refusal
from k8s_ws_proxy.web.terminals import TerminalPlan
from k8s_ws_proxy.web.upgrade import Hijacked, hijack, parse_offer
from k8s_ws_proxy.wire.framing.channels import failure
from k8s_ws_proxy.wire.requests.target import AttachTarget, ExecTarget
from k8s_ws_proxy.wire.rules import guacd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web

    from k8s_ws_proxy.errors import Refusal
    from k8s_ws_proxy.relay.byte_stream import ByteStream
    from k8s_ws_proxy.relay.read_budget import ReadBudget
    from k8s_ws_proxy.relay.stream import Stream
    from k8s_ws_proxy.sessions.registry import Slot
    from k8s_ws_proxy.web.call import Call
    from k8s_ws_proxy.web.plan import PlanParts
    from k8s_ws_proxy.web.upgrade import Offer

_TOLD_AT_ONCE: Final = 64  # some 40 KiB each


class GuacdPlan(TerminalPlan):
    """A terminal for guacd."""

    relay = guacd.GuacdRelay
    told_in_session = True

    def __init__(self, parts: PlanParts, call: Call, target: AttachTarget, offer: Offer) -> None:
        if isinstance(target, ExecTarget):
            target = target.with_command(guacd.split_command(target.command))
        super().__init__(parts, call, target, offer)
        self._bare = False  # the container has no terminal, and that is said

    async def _enter(self, target: AttachTarget, slot: Slot) -> tuple[ByteStream, bytes]:
        if target.interactive and not isinstance(target, ExecTarget):
            self._bare = await lacks_terminal(self.call.apiserver, target.namespace, target.pod, target.container)
        return await super()._enter(target, slot)

    def _said(self, word: str) -> bytes:
        return super()._said("\r\n".join(filter(None, (word, guacd.NO_TERMINAL if self._bare else ""))))

    def begun(self, bridge: Bridge, client: Stream) -> None:
        """As Plan's."""
        super().begun(bridge, client)
        keep_pinging(bridge, guacd.PING_PERIOD)


class Teller:
    """Tells refusals after the 101, on the terminal: guacd shows nothing of any other answer.

    Such a session has no slot, and its close waits: so there are only so many at once, and the rest gets that other
    answer. ``ping_period`` in seconds.
    """

    def __init__(self, budget: ReadBudget, *, ping_period: float) -> None:
        self._budget = budget
        self._ping_period = ping_period
        self._telling = 0

    def tell(self, request: web.BaseRequest, spoken: Sequence[str], refusal: Refusal) -> web.StreamResponse:
        """The answer to ``request``, whose subprotocol is one of ``spoken``. Raises Refusal: that, or its upgrade's."""
        if self._telling >= _TOLD_AT_ONCE:
            raise refusal
        offer = parse_offer(request, spoken)
        note_refusal(request, refusal)
        if (taken := hijack(request)) is not None:
            bridge = Bridge(
                asyncio.get_running_loop(),
                self._budget,
                taken[0],
                None,
                ping_period=self._ping_period,
                on_end=_nothing,
                on_closed=self._told,
                relay=guacd.GuacdRelay,
            )
            self._telling += 1
            status = failure(str(refusal), reason=refusal.reason.value, code=refusal.reason.rule.status)
            bridge.refuse(offer.switching(refusal.session), status, str(refusal))
        return Hijacked()

    def _told(self, _bridge: Bridge) -> None:
        self._telling -= 1


def _nothing(_bridge: Bridge) -> None:
    """There is nothing to write down: the refusal has been."""
