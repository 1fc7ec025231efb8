"""``GET /proxy/sessions/{id}/stream``: what was issued is opened, by its ticket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.sessions.tickets import Tickets, Use
from k8s_ws_proxy.web.api_callers import ApiCallers, session_in, transport_of
from k8s_ws_proxy.web.call import Call
from k8s_ws_proxy.web.upgrade import parse_offer

if TYPE_CHECKING:
    from aiohttp import web

    from k8s_ws_proxy.auth.impersonator import Impersonator
    from k8s_ws_proxy.kube.apiserver import Apiserver
    from k8s_ws_proxy.web.opening import Opening
    from k8s_ws_proxy.web.plans import Plans

ASIDE: Final = "aside=true"
"""The query of a client that takes messages aside from Kubernetes's. Any other is none."""


class Streaming:
    """Opens them."""

    def __init__(
        self,
        callers: ApiCallers,
        tickets: Tickets,
        *,
        impersonator: Impersonator,
        apiserver: Apiserver,
        plans: Plans,
        opening: Opening,
    ) -> None:
        self._callers = callers
        self._tickets = tickets
        self._impersonator = impersonator
        self._apiserver = apiserver
        self._plans = plans
        self._opening = opening

    async def open(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to ``request``: the session, or why not. Raises Refusal.

        A request that is none of a WebSocket doesn't use the ticket up.
        """
        began = transport_of(request).request_began()
        session = session_in(request)
        ticket = self._callers.ticket(request, session, Use.STREAM)
        issued = self._tickets.look(ticket, session, Use.STREAM).issued
        assert issued is not None
        offer = parse_offer(request, issued.route.subprotocols)
        grant = self._tickets.redeem(ticket, session, Use.STREAM)
        apiserver = self._apiserver.acting_for(self._impersonator.identity_of(grant.principal))
        call = Call(
            request,
            issued.route,
            grant.principal,
            apiserver,
            began,
            self._callers.within,
            session=session,
            record=issued.recorded,
            length=issued.length,
            aside=request.rel_url.raw_query_string == ASIDE,
        )
        return await self._opening.open(self._plans.for_target(call, issued.target, offer))
