"""A container's log: the apiserver's answer to a plain request, as messages or as the body it is.

On ``/proxy/logs`` it comes by WebSocket. On the apiserver's path it is plain HTTP, as kubectl wants it, or a
WebSocket where one is asked for, as with an apiserver.
"""

from __future__ import annotations

from email.utils import formatdate
from functools import partial
from typing import TYPE_CHECKING

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.web.plan import Plan, Reached
from k8s_ws_proxy.web.upgrade import SESSION_HEADER, asks_for_websocket, parse_offer
from k8s_ws_proxy.web.upstream import in_container, resolved
from k8s_ws_proxy.wire.http.body import Body
from k8s_ws_proxy.wire.requests.target import Dialect
from k8s_ws_proxy.wire.rules.log_relay import LogRelay, PlainLogRelay

if TYPE_CHECKING:
    from aiohttp import web

    from k8s_ws_proxy.relay.bridge import Bridge
    from k8s_ws_proxy.relay.stream import Stream
    from k8s_ws_proxy.sessions.registry import Slot
    from k8s_ws_proxy.web.call import Call
    from k8s_ws_proxy.web.plan import MakeRelay, PlanParts
    from k8s_ws_proxy.web.upgrade import Offer
    from k8s_ws_proxy.wire.http.body import Download
    from k8s_ws_proxy.wire.requests.target import LogTarget


class LogPlan(Plan):
    """One of them, as messages or, without an upgrade, as a body."""

    target: LogTarget

    def __init__(self, parts: PlanParts, call: Call, target: LogTarget, offer: Offer | None) -> None:
        super().__init__(parts, call, target, offer)
        self.relay = self._relay(Body())

    async def dial(self, slot: Slot) -> Reached:
        """As Plan's."""
        parts = self.parts
        target = await resolved(self.target, slot, parts.settings, parts.apiserver)
        # A body has no room for a word about the container: it is the log's. Our own log has it.
        (upstream, answer), _ = await in_container(
            target,
            slot,
            parts.defaults,
            self.call.apiserver,
            lambda meant: self.call.apiserver.download(meant.upstream_path(), audit_id=slot.id),
        )
        # A peer that was sent nothing can only be asked by the kernel: HTTP has no pings.
        upstream.keep_alive(parts.settings.ping_period)
        head = self.offer.switching(slot.id) if self.offer else _plain_head(answer, slot.id)
        return Reached(upstream, answer.early, head, self._relay(answer.body))

    def begun(self, bridge: Bridge, client: Stream) -> None:  # noqa: ARG002 - the client alone is of interest
        """As Plan's."""
        if self.offer is None:
            client.keep_alive(self.parts.settings.ping_period)

    def _relay(self, body: Body) -> MakeRelay:
        return partial(LogRelay if self.offer else PlainLogRelay, body=body, hold=self.parts.budget.hold)


def log_offer(call: Call) -> Offer | None:
    """The upgrade that a request for a log asks for; None for a plain one.

    Raises Refusal: ``method_not_allowed``, or what is wrong with the upgrade.
    """
    if call.route.dialect is Dialect.PROXY or asks_for_websocket(call.request):
        return parse_offer(call.request, call.route.subprotocols)
    _check_plain(call.request)
    return None


def _check_plain(request: web.BaseRequest) -> None:
    """Raises Refusal(``method_not_allowed``) or Refusal(``bad_handshake``)."""
    if request.method != "GET":
        raise Refusal(Reason.METHOD_NOT_ALLOWED, "A log is read by GET.")
    if request.version != (1, 1) or request.body_exists:
        # In HTTP/1.0, a body that was cut off looks like one that is complete.
        raise Refusal(Reason.BAD_HANDSHAKE, "A log is read by an HTTP/1.1 GET without a body.")


def _plain_head(answer: Download, session: str) -> bytes:
    """The head of our own answer, with the body chunked."""
    content_type = answer.content_type or "text/plain"
    return (
        "HTTP/1.1 200 OK\r\n"
        f"Content-Type: {content_type}\r\n"
        "Cache-Control: no-cache, private\r\n"
        f"Date: {formatdate(usegmt=True)}\r\n"
        "Server: k8s-ws-proxy\r\n"
        f"{SESSION_HEADER}: {session}\r\n"
        "Transfer-Encoding: chunked\r\n"
        "Connection: close\r\n\r\n"
    ).encode("latin-1")
