"""A port-forward."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from k8s_ws_proxy.web.plan import Plan, Reached
from k8s_ws_proxy.web.upstream import resolved
from k8s_ws_proxy.wire.framing.channels import STDERR
from k8s_ws_proxy.wire.rules.forward import ForwardRelay

if TYPE_CHECKING:
    from k8s_ws_proxy.sessions.registry import Slot
    from k8s_ws_proxy.web.call import Call
    from k8s_ws_proxy.web.plan import PlanParts
    from k8s_ws_proxy.web.upgrade import Offer
    from k8s_ws_proxy.wire.requests.target import PortForwardTarget


class ForwardPlan(Plan):
    """One of them, whichever subprotocol it speaks."""

    target: PortForwardTarget
    notices = STDERR

    def __init__(self, parts: PlanParts, call: Call, target: PortForwardTarget, offer: Offer) -> None:
        super().__init__(parts, call, target, offer)
        self.offer: Offer = offer
        self.relay = partial(ForwardRelay, ports=target.ports)

    async def dial(self, slot: Slot) -> Reached:
        """As Plan's."""
        target = await resolved(self.target, slot, self.parts.settings, self.parts.apiserver)
        upstream = await self.call.apiserver.dial(target.upstream_path(), target.subprotocols, audit_id=slot.id)
        return Reached(upstream.stream, upstream.early, self.offer.switching(slot.id), self.relay)
