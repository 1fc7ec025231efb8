"""``GET /proxy/sessions/{id}/watch`` and ``/join``: somebody joins a terminal, signed or with a ticket for it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.sessions.record import WatchMode
from k8s_ws_proxy.sessions.tickets import Use
from k8s_ws_proxy.web.api_callers import ApiCallers, session_in, transport_of
from k8s_ws_proxy.web.call import Call
from k8s_ws_proxy.web.upgrade import parse_offer
from k8s_ws_proxy.web.watch import WatchPlan, check_join
from k8s_ws_proxy.wire.framing.channels import SUBPROTOCOLS
from k8s_ws_proxy.wire.requests.target import Dialect, Route, Subresource

if TYPE_CHECKING:
    from aiohttp import web

    from k8s_ws_proxy.kube.apiserver import Apiserver
    from k8s_ws_proxy.sessions.tickets import Tickets
    from k8s_ws_proxy.sessions.watching import Watching
    from k8s_ws_proxy.web.directory import Directory
    from k8s_ws_proxy.web.opening import Opening
    from k8s_ws_proxy.web.plan import PlanParts
    from k8s_ws_proxy.web.rights import Rights

VERBS = {WatchMode.OBSERVE: "watch", WatchMode.PEER: "update"}
"""What one must be allowed to do with the session."""


class Joining:
    """Lets them join."""

    def __init__(
        self,
        callers: ApiCallers,
        tickets: Tickets,
        *,
        rights: Rights,
        apiserver: Apiserver,
        directory: Directory,
        watching: Watching,
        parts: PlanParts,
        opening: Opening,
    ) -> None:
        self._callers = callers
        self._tickets = tickets
        self._rights = rights
        self._apiserver = apiserver
        self._directory = directory
        self._watching = watching
        self._parts = parts
        self._opening = opening

    async def open(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to ``request``. Raises Refusal, or UpstreamError where nobody can be asked who may."""
        began = transport_of(request).request_began()
        session = session_in(request)
        if self._callers.has_ticket(request):
            mode = _mode(request)
            ticket = self._callers.ticket(request, session, Use(mode.value))
            watched = self._directory.terminal(session)
            offer = parse_offer(request, SUBPROTOCOLS)
            principal = self._tickets.look(ticket, session, Use(mode.value)).principal
            # They might do no more.
            await self._rights.check(principal, VERBS[mode], watched.log.record, began + self._callers.within)
            self._tickets.redeem(ticket, session, Use(mode.value))
        else:
            principal, until = await self._callers.signed(request, "GET")
            mode = _mode(request)
            watched = self._directory.terminal(session)
            await self._rights.check(principal, VERBS[mode], watched.log.record, until)
            offer = parse_offer(request, SUBPROTOCOLS)
        check_join(self._watching, watched)
        target = watched.log.record.target
        route = Route(
            request.raw_path.partition("?")[0],
            Dialect.PROXY,
            Subresource(target.subresource.value),
            target.namespace,
            target.pod,
            None,
        )
        call = Call(request, route, principal, self._apiserver, began, self._callers.within)
        return await self._opening.open(WatchPlan(self._parts, call, offer, watched, mode, self._watching))


def _mode(request: web.BaseRequest) -> WatchMode:
    """The path's or the query's; observe where neither says one. Raises Refusal(``bad_query``).

    An apiserver's pod proxy takes the query from an upgrade (kubernetes/kubernetes#77142), so ``/join`` needs none.
    """
    path, _, query = request.raw_path.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
    if path.endswith("/join"):
        if pairs:
            raise Refusal(Reason.BAD_QUERY, "Here there is no parameter.")
        return WatchMode.PEER
    if pairs == []:
        return WatchMode.OBSERVE
    if len(pairs) != 1 or pairs[0][0] != "mode" or pairs[0][1] not in {mode.value for mode in WatchMode}:
        raise Refusal(Reason.BAD_QUERY, "The only parameter here is mode: observe or peer.")
    return WatchMode(pairs[0][1])
