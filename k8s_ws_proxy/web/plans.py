"""Which plan a call has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k8s_ws_proxy.web.forwards import ForwardPlan
from k8s_ws_proxy.web.guacd import GuacdPlan
from k8s_ws_proxy.web.logs import LogPlan, Logs, log_offer
from k8s_ws_proxy.web.terminals import TerminalPlan, Terminals
from k8s_ws_proxy.web.upgrade import parse_offer
from k8s_ws_proxy.wire.requests.target import LogTarget, PortForwardTarget, Subresource, parse_target

if TYPE_CHECKING:
    from k8s_ws_proxy.kube.apiserver import Apiserver
    from k8s_ws_proxy.kube.pods import Defaults
    from k8s_ws_proxy.relay.read_budget import ReadBudget
    from k8s_ws_proxy.sessions.orphans import Orphans
    from k8s_ws_proxy.settings import Settings
    from k8s_ws_proxy.web.call import Call
    from k8s_ws_proxy.web.plan import Plan
    from k8s_ws_proxy.web.turns import Turns


class Plans:
    """Makes them."""

    def __init__(
        self,
        settings: Settings,
        *,
        apiserver: Apiserver,
        defaults: Defaults,
        orphans: Orphans | None,
        pace: ReadBudget,
        turns: Turns,
    ) -> None:
        self._settings = settings
        self._apiserver = apiserver
        self._turns = turns
        self._terminals = Terminals(settings, apiserver=apiserver, defaults=defaults, orphans=orphans)
        self._logs = Logs(settings, apiserver=apiserver, defaults=defaults, pace=pace)

    async def of(self, call: Call) -> Plan:
        """The call's. Raises Refusal: the upgrade isn't one, or the query can't be taken."""
        request, route = call.request, call.route
        offer = log_offer(call) if route.subresource is Subresource.LOG else parse_offer(request, route.subprotocols)
        await self._turns.take_apart(call)
        target = parse_target(route, request.raw_path, offer.subprotocol if offer else None)
        if isinstance(target, LogTarget):
            return LogPlan(self._logs, call, target, offer)
        assert offer is not None
        if isinstance(target, PortForwardTarget):
            return ForwardPlan(self._settings, self._apiserver, call, target, offer)
        terminal = GuacdPlan if call.principal.guacd else TerminalPlan
        return terminal(self._terminals, call, target, offer)
