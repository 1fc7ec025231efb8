"""``POST /proxy/sessions``: a session is issued, with a ticket that opens it; and tickets to join one."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from aiohttp import web

from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.rfc3339 import rfc3339
from k8s_ws_proxy.sessions.audited import subject_of
from k8s_ws_proxy.sessions.quotas import held_by
from k8s_ws_proxy.sessions.record import SessionRecord, WatchMode
from k8s_ws_proxy.sessions.registry import shutting_down
from k8s_ws_proxy.sessions.tickets import Issued, Use
from k8s_ws_proxy.sessions.uuid7 import uuid7
from k8s_ws_proxy.web.api_callers import session_in
from k8s_ws_proxy.web.asked import asked
from k8s_ws_proxy.web.caller import body_of, peer_of
from k8s_ws_proxy.web.joining import VERBS
from k8s_ws_proxy.web.upgrade import SESSION_HEADER
from k8s_ws_proxy.wire.audit.events import SessionIssued
from k8s_ws_proxy.wire.requests.issue import parse_join, parse_order
from k8s_ws_proxy.wire.requests.target import ExecTarget, parse_path, parse_target

if TYPE_CHECKING:
    from k8s_ws_proxy.auth.policy import Policy
    from k8s_ws_proxy.auth.principal import Principal
    from k8s_ws_proxy.kube.apiserver import Apiserver
    from k8s_ws_proxy.sessions.registry import Registry
    from k8s_ws_proxy.sessions.tickets import Tickets
    from k8s_ws_proxy.web.api_callers import ApiCallers
    from k8s_ws_proxy.web.directory import Directory
    from k8s_ws_proxy.web.recorded import Recorded
    from k8s_ws_proxy.web.rights import Rights
    from k8s_ws_proxy.web.turns import Turns


class Issuing:
    """Issues. ``public_url`` is what callers reach this node by, if that is known."""

    def __init__(
        self,
        callers: ApiCallers,
        tickets: Tickets,
        *,
        registry: Registry,
        policy: Policy,
        rights: Rights,
        directory: Directory,
        recorded: Recorded,
        apiserver: Apiserver,
        turns: Turns,
        public_url: str,
    ) -> None:
        self._callers = callers
        self._tickets = tickets
        self._registry = registry
        self._policy = policy
        self._rights = rights
        self._directory = directory
        self._recorded = recorded
        self._apiserver = apiserver
        self._turns = turns
        self._public_url = public_url

    async def issue(self, request: web.BaseRequest, principal: Principal, until: float) -> web.StreamResponse:
        """The answer to ``POST /proxy/sessions``. Raises Refusal: what the stream would, now."""
        if self._registry.draining:
            raise shutting_down()
        body = await body_of(request, until)
        await self._turns.take_apart_order(body)
        order = parse_order(body)
        route = parse_path(order.target)
        known = asked(request)
        known.target = route
        self._policy.check(route)
        known.target = target = parse_target(route, order.target)
        session = uuid7()
        record = SessionRecord.of(session, principal, target, peer_of(request), time.monotonic(), time.time())
        record = replace(record, recording=self._recorded.path(record, asked=order.record))
        self._registry.check(record, length := len(order.target))
        await self._rights.check_opening(principal, target, until)
        issued = Issued(record, route, target, held_by(length), length, order.record)
        ticket, expires = self._tickets.issue(session, Use.STREAM, principal, order.expires_in, issued)
        self._apiserver.expect()
        logger().info("session issued", **record.log_fields(), expires_seconds=order.expires_in)
        command = target.command if isinstance(target, ExecTarget) else None
        self._registry.audit.emit(SessionIssued(subject_of(record, command), use="stream", expires=rfc3339(expires)))
        return self._answer(session, ticket, f"/proxy/sessions/{session}/stream", expires, record.recording)

    async def ticket(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to ``POST /proxy/sessions/{id}/ticket``. Raises Refusal."""
        session = session_in(request)
        principal, until = await self._callers.signed(request, "POST")
        mode, within = parse_join(await body_of(request, until))
        slot = self._directory.terminal(session)
        use = Use(mode)
        await self._rights.check(principal, VERBS[WatchMode(mode)], slot.log.record, until)
        ticket, expires = self._tickets.issue(session, use, principal, within)
        logger().info("ticket issued", session=session, use=mode, **principal.log_fields(), name=principal.name)
        recording = slot.log.record.recording
        joined = replace(slot.log.record, principal=principal, peer=peer_of(request))
        self._registry.audit.emit(SessionIssued(subject_of(joined), use=mode, expires=rfc3339(expires)))
        return self._answer(session, ticket, f"/proxy/sessions/{session}/watch?mode={mode}", expires, recording)

    def _answer(self, session: str, ticket: str, path: str, expires: float, recording: str) -> web.Response:
        told = {
            "sessionId": session,
            "ticket": ticket,
            "path": path,
            **({"url": self._public_url + path} if self._public_url else {}),
            "expires": rfc3339(expires),
            "recordingPath": recording or None,
        }
        headers = {SESSION_HEADER: session, "Cache-Control": "no-store", "Server": "k8s-ws-proxy"}
        return web.json_response(told, status=201, headers=headers)
