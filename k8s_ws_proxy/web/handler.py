"""One session's way to its opening, in the order that is security.

Path, credential, identity, policy, upgrade, query.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from k8s_ws_proxy.errors import Refusal
from k8s_ws_proxy.web.asked import asked
from k8s_ws_proxy.web.call import Call
from k8s_ws_proxy.web.caller import presented
from k8s_ws_proxy.web.transport import StreamTransport
from k8s_ws_proxy.web.upgrade import asks_for_websocket
from k8s_ws_proxy.wire.framing.channels import SUBPROTOCOLS
from k8s_ws_proxy.wire.requests.target import Subresource, parse_path
from k8s_ws_proxy.wire.rules import guacd

if TYPE_CHECKING:
    from aiohttp import web

    from k8s_ws_proxy.auth.authorizer import Authorizer
    from k8s_ws_proxy.auth.impersonator import Impersonator
    from k8s_ws_proxy.auth.policy import Policy
    from k8s_ws_proxy.kube.apiserver import Apiserver
    from k8s_ws_proxy.web.fallback import Fallback
    from k8s_ws_proxy.web.guacd import Teller
    from k8s_ws_proxy.web.opening import Opening
    from k8s_ws_proxy.web.plans import Plans


class SessionHandler:
    """Answers requests for a session. ``within`` is the seconds that a handshake may take."""

    def __init__(
        self,
        *,
        authorizer: Authorizer,
        impersonator: Impersonator,
        policy: Policy,
        apiserver: Apiserver,
        plans: Plans,
        opening: Opening,
        fallback: Fallback,
        teller: Teller,
        within: float,
    ) -> None:
        self._authorizer = authorizer
        self._impersonator = impersonator
        self._policy = policy
        self._apiserver = apiserver
        self._plans = plans
        self._opening = opening
        self._fallback = fallback
        self._teller = teller
        self._within = within

    async def open(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer ``request``: a session, or why not. Raises Refusal."""
        transport = request.transport
        assert isinstance(transport, StreamTransport)
        began, within = transport.request_began(), self._within
        try:
            route = parse_path(request.raw_path)
        except Refusal as refusal:
            return await self._no_such_path(request, transport, began + within, refusal)
        principal = await self._authorizer.authorize(presented(request, route.path, began + within))
        transport.caller_known()
        known = asked(request)
        known.principal, known.target = principal, route
        on_terminal = principal.guacd and route.subresource in (Subresource.EXEC, Subresource.ATTACH)
        if on_terminal:
            within = min(within, guacd.ANSWER_WITHIN)
        try:
            apiserver = self._apiserver.acting_for(self._impersonator.identity_of(principal))
            call = Call(request, route, principal, apiserver, began, within)
            self._policy.check(route)
            if self._fallback.concerns(call):
                return await self._fallback.around(call, self._open)
            return await self._open(call)
        except Refusal as refusal:
            if not on_terminal:
                raise
            return self._teller.tell(request, route.subprotocols, refusal)

    async def _open(self, call: Call) -> web.StreamResponse:
        plan = await self._plans.of(call)
        self._policy.check_ports(plan.target)
        return await self._opening.open(plan)

    async def _no_such_path(
        self, request: web.BaseRequest, transport: StreamTransport, until: float, refusal: Refusal
    ) -> web.StreamResponse:
        """Who has a certificate has mistyped a name: that is told, and logged. To others there is no such path."""
        if not transport.get_extra_info("peercert"):
            raise refusal
        try:
            principal = await self._authorizer.authorize(presented(request, "", until))
        except Refusal:
            raise refusal from None
        transport.caller_known()
        asked(request).principal = principal
        refusal.level = "info"
        if principal.guacd and asks_for_websocket(request):
            return self._teller.tell(request, SUBPROTOCOLS, refusal)
        raise refusal
