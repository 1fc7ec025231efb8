"""One log's way: query, limits, the apiserver's answer, and then lines or the body itself."""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from functools import partial
from typing import TYPE_CHECKING

from k8s_ws_proxy.errors import Reason, Refusal, UpstreamError
from k8s_ws_proxy.kube.dial import download
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.relay.session import Session
from k8s_ws_proxy.web.caller import peer_of
from k8s_ws_proxy.web.errors import refuse_upstream
from k8s_ws_proxy.web.upgrade import HandedOn, Offer, asks_for_websocket, parse_offer, take_over
from k8s_ws_proxy.web.upstream import in_container, reach, resolved, status_of
from k8s_ws_proxy.wire.body import Body
from k8s_ws_proxy.wire.log_relay import LogRelay, PlainLogRelay
from k8s_ws_proxy.wire.target import Dialect, LogTarget, Route, parse_target

if TYPE_CHECKING:
    from aiohttp import web

    from k8s_ws_proxy.auth.principal import Principal
    from k8s_ws_proxy.kube.access import Access
    from k8s_ws_proxy.kube.pods import Defaults
    from k8s_ws_proxy.relay.pace import Pace
    from k8s_ws_proxy.relay.stream import Stream
    from k8s_ws_proxy.sessions.registry import Registry, Slot
    from k8s_ws_proxy.settings import Settings
    from k8s_ws_proxy.wire.body import Download
    from k8s_ws_proxy.wire.lifetime import Limits


class Logs:
    """Opens sessions that carry a log.

    On ``/proxy/logs`` that is a WebSocket. On the apiserver's path it is plain HTTP, as kubectl wants it, or a
    WebSocket where one is asked for, as with an apiserver.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        access: Access,
        registry: Registry,
        pace: Pace,
        limits: Limits | None,
        defaults: Defaults,
    ) -> None:
        self._settings = settings
        self._defaults = defaults
        self._access = access
        self._registry = registry
        self._pace = pace
        self._limits = limits

    async def open(
        self, request: web.BaseRequest, route: Route, principal: Principal, began: float
    ) -> web.StreamResponse:
        """Answer a caller who was let in: a log, or why not. Raises Refusal.

        ``began`` is the loop's time at the request's first byte.
        """
        offer = None
        if route.dialect is Dialect.PROXY or asks_for_websocket(request):
            offer = parse_offer(request, route.subprotocols)
        else:
            _check_plain(request)
        target = parse_target(route, request.raw_path)
        assert isinstance(target, LogTarget)
        slot = self._registry.admit(principal, target, peer_of(request), len(request.raw_path))
        try:
            return await self._dial_and_relay(request, route, target, offer, slot, began)
        except asyncio.CancelledError:
            slot.log.abandoned()
            raise
        finally:
            if slot.session is None:
                slot.release()

    async def _dial_and_relay(
        self,
        request: web.BaseRequest,
        route: Route,
        target: LogTarget,
        offer: Offer | None,
        slot: Slot,
        began: float,
    ) -> web.StreamResponse:
        clock = asyncio.get_running_loop().time
        dialling = clock()
        try:
            within = self._settings.handshake_timeout
            upstream, answer = await reach(
                lambda: self._download(target, slot),
                self._access,
                self._registry,
                until=began + within,
                within=within,
                drop=lambda late: late[0].close(),
            )
        except UpstreamError as error:
            metrics.REFUSALS.labels(error.reason.value).inc()
            slot.log.failed(error.reason.value, f"{error} {error.detail}".strip())
            if route.dialect is Dialect.APISERVER:
                return refuse_upstream(request, error)
            assert offer is not None
            if (taken := take_over(request)) is not None:
                session = self._session(slot, taken[0], None, Body(), offer)
                session.refuse(offer.switching(), status_of(error), str(error))
            return HandedOn()
        if (taken := take_over(request)) is None:
            upstream.close()
            slot.log.abandoned()
            return HandedOn()
        client, early = taken
        session = self._session(slot, client, upstream, answer.body, offer)
        slot.opened(session)
        metrics.DIAL_SECONDS.observe(clock() - dialling)
        metrics.HANDSHAKE_SECONDS.observe(clock() - began)
        head = offer.switching() if offer else _plain_head(answer)
        session.start(head, from_client=early, from_upstream=answer.early)
        return HandedOn()

    async def _download(self, target: LogTarget, slot: Slot) -> tuple[Stream, Download]:
        target = await resolved(target, slot, self._settings, self._access)
        # A body has no room for a word about the container: it is the log's. Our own log has it.
        reached, _ = await in_container(
            target, slot, self._defaults, lambda meant: download(self._access, meant.upstream_path())
        )
        return reached

    def _session(self, slot: Slot, client: Stream, upstream: Stream | None, body: Body, offer: Offer | None) -> Session:
        # A peer of either sort that was sent nothing can only be asked by the kernel: HTTP has no pings.
        if upstream is not None:
            upstream.keep_alive(self._settings.ping_period)
        if offer is None:
            client.keep_alive(self._settings.ping_period)
        session = Session(
            asyncio.get_running_loop(),
            self._pace,
            client,
            upstream,
            ping_period=self._settings.ping_period,
            limits=self._limits,
            on_end=slot.ended,
            on_closed=slot.release,
            relay=partial(LogRelay if offer else PlainLogRelay, body=body, hold=self._pace.hold),
        )
        slot.dialled(session)
        return session


def _check_plain(request: web.BaseRequest) -> None:
    """Raises Refusal(``method_not_allowed``) or Refusal(``bad_handshake``)."""
    if request.method != "GET":
        raise Refusal(Reason.METHOD_NOT_ALLOWED, "A log is read by GET.")
    if request.version != (1, 1) or request.can_read_body:
        # In HTTP/1.0, a body that was cut off looks like one that is complete.
        raise Refusal(Reason.BAD_HANDSHAKE, "A log is read by an HTTP/1.1 GET without a body.")


def _plain_head(answer: Download) -> bytes:
    """The head of our own answer, with the body chunked."""
    content_type = answer.content_type or "text/plain"
    return (
        "HTTP/1.1 200 OK\r\n"
        f"Content-Type: {content_type}\r\n"
        "Cache-Control: no-cache, private\r\n"
        f"Date: {formatdate(usegmt=True)}\r\n"
        "Server: k8s-ws-proxy\r\n"
        "Transfer-Encoding: chunked\r\n"
        "Connection: close\r\n\r\n"
    ).encode("latin-1")
