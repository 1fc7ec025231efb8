"""Which plan a call has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k8s_ws_proxy.web.forwards import ForwardPlan
from k8s_ws_proxy.web.guacd import GuacdPlan
from k8s_ws_proxy.web.logs import LogPlan, log_offer
from k8s_ws_proxy.web.terminals import TerminalPlan
from k8s_ws_proxy.web.upgrade import parse_offer
from k8s_ws_proxy.wire.requests.target import LogTarget, PortForwardTarget, Subresource, parse_target

if TYPE_CHECKING:
    from k8s_ws_proxy.web.call import Call
    from k8s_ws_proxy.web.plan import Plan, PlanParts
    from k8s_ws_proxy.web.turns import Turns
    from k8s_ws_proxy.web.upgrade import Offer
    from k8s_ws_proxy.wire.requests.target import Target


class Plans:
    """Makes them."""

    def __init__(self, parts: PlanParts, turns: Turns) -> None:
        self.parts = parts
        self.turns = turns

    async def of(self, call: Call) -> Plan:
        """The call's. Raises Refusal: the upgrade isn't one, or the query can't be taken."""
        request, route = call.request, call.route
        offer = log_offer(call) if route.subresource is Subresource.LOG else parse_offer(request, route.subprotocols)
        await self.turns.take_apart(call)
        return self.for_target(call, parse_target(route, request.raw_path, offer.subprotocol if offer else None), offer)

    def for_target(self, call: Call, target: Target, offer: Offer | None) -> Plan:
        """That of a call whose target is known."""
        if isinstance(target, LogTarget):
            return LogPlan(self.parts, call, target, offer)
        assert offer is not None
        if isinstance(target, PortForwardTarget):
            return ForwardPlan(self.parts, call, target, offer)
        terminal = GuacdPlan if call.principal.guacd else TerminalPlan
        return terminal(self.parts, call, target, offer)
