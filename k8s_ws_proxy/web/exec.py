"""One session's way: path, credential, policy, limits, dial, 101, relay."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from k8s_ws_proxy.errors import Reason, Refusal, UpstreamError, UpstreamRefused, UpstreamTimeout
from k8s_ws_proxy.kube.dial import Upstream, dial
from k8s_ws_proxy.kube.pods import resolve
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.relay.session import Session
from k8s_ws_proxy.web.errors import peer_of, refuse_upstream
from k8s_ws_proxy.web.transport import StreamTransport
from k8s_ws_proxy.web.upgrade import HandedOn, Offer, parse_offer, take_over
from k8s_ws_proxy.wire import tmux
from k8s_ws_proxy.wire.channels import failure, parse_status
from k8s_ws_proxy.wire.forward import ForwardRelay
from k8s_ws_proxy.wire.relay import Relay
from k8s_ws_proxy.wire.target import (
    Dialect,
    ExecTarget,
    PortForwardTarget,
    Route,
    Subresource,
    Target,
    parse_path,
    parse_target,
)

if TYPE_CHECKING:
    from aiohttp import web

    from k8s_ws_proxy.auth.authorizer import Authorizer
    from k8s_ws_proxy.auth.policy import Policy
    from k8s_ws_proxy.kube.access import Access
    from k8s_ws_proxy.relay.pace import Pace
    from k8s_ws_proxy.relay.stream import Stream
    from k8s_ws_proxy.sessions.registry import Registry, Slot
    from k8s_ws_proxy.settings import Settings


class Sessions:
    """Opens sessions for exec, attach and port-forward."""

    def __init__(
        self,
        settings: Settings,
        *,
        authorizer: Authorizer,
        policy: Policy,
        access: Access,
        registry: Registry,
        pace: Pace,
    ) -> None:
        self._settings = settings
        self._authorizer = authorizer
        self._policy = policy
        self._access = access
        self._registry = registry
        self._pace = pace

    async def open(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer ``request``: a session, or why not. Raises Refusal."""
        transport = request.transport
        assert isinstance(transport, StreamTransport)
        began = transport.request_began()
        route = parse_path(request.raw_path)
        principal = await self._authorizer.authorize(route.path, request.headers, transport.get_extra_info("peercert"))
        self._policy.check(route)
        if route.subresource is Subresource.LOG:
            raise Refusal(Reason.BAD_PATH, "Logs are not served yet.")
        offer = parse_offer(request, route.subprotocols)
        target = parse_target(route, request.raw_path, offer.subprotocol)
        slot = self._registry.admit(principal, target, peer_of(request))
        try:
            return await self._dial_and_relay(request, route, target, offer, slot, began)
        except asyncio.CancelledError:
            slot.books.abandoned()
            raise
        finally:
            if slot.session is None:
                slot.release()

    async def _dial_and_relay(
        self, request: web.BaseRequest, route: Route, target: Target, offer: Offer, slot: Slot, began: float
    ) -> web.StreamResponse:
        clock = asyncio.get_running_loop().time
        dialling = clock()
        try:
            upstream = await self._dial(target, slot, began + self._settings.handshake_timeout)
        except UpstreamError as error:
            metrics.REFUSALS.labels(error.reason.value).inc()
            slot.books.failed(error.reason.value, f"{error} {error.detail}".strip())
            if route.dialect is Dialect.APISERVER:
                return refuse_upstream(request, error)
            if (taken := take_over(request)) is not None:
                self._session(slot, target, taken[0], None).refuse(offer.switching(), _status(error), str(error))
            return HandedOn()
        if (taken := take_over(request)) is None:
            upstream.stream.close()
            slot.books.abandoned()
            return HandedOn()
        client, early = taken
        session = self._session(slot, target, client, upstream)
        slot.opened(session)
        metrics.DIAL_SECONDS.observe(clock() - dialling)
        metrics.HANDSHAKE_SECONDS.observe(clock() - began)
        session.start(offer.switching(), from_client=early, from_upstream=upstream.early)
        return HandedOn()

    async def _dial(self, target: Target, slot: Slot, deadline: float) -> Upstream:
        try:
            async with asyncio.timeout_at(deadline):
                target = await self._resolved(target, slot)
                return await dial(self._access, self._wrapped(target).upstream_path(), target.subprotocols)
        except TimeoutError as error:
            self._access.failed("timed out")
            raise UpstreamTimeout(
                f"The apiserver didn't answer within {self._settings.handshake_timeout:g} s."
            ) from error

    def _session(self, slot: Slot, target: Target, client: Stream, upstream: Upstream | None) -> Session:
        slot.session = session = Session(
            asyncio.get_running_loop(),
            self._pace,
            client,
            upstream.stream if upstream else None,
            ping_period=self._settings.ping_period,
            on_end=slot.ended,
            on_closed=slot.release,
            relay=partial(ForwardRelay, ports=target.ports) if isinstance(target, PortForwardTarget) else Relay,
        )
        return session

    async def _resolved(self, target: Target, slot: Slot) -> Target:
        """The target with a pod's own name, where its segment may be an alias."""
        label = self._settings.pod_alias_label
        if not label:
            return target
        pod = await resolve(self._access, target.namespace, target.pod, label=label, node=self._settings.node_name)
        slot.books.resolved(pod)
        return replace(target, pod=pod)

    def _wrapped(self, target: Target) -> Target:
        if self._settings.tmux_cascade and isinstance(target, ExecTarget) and target.interactive:
            return target.with_command(tmux.wrap(target.command))
        return target


def _status(error: UpstreamError) -> bytes:
    """The failure as ``metav1.Status``: the apiserver's own where it sent one."""
    if isinstance(error, UpstreamRefused) and (status := parse_status(error.body)) is not None:
        return json.dumps(status).encode()
    return failure(str(error), reason="InternalError", code=error.status)
