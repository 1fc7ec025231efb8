"""One session's way: path, credential, policy, limits, dial, 101, relay."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.errors import CredentialRefused, Refusal, UpstreamError, rule
from k8s_ws_proxy.kube.dial import Upstream, dial
from k8s_ws_proxy.kube.pods import Defaults, lacks_terminal
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.relay.guacd import keep_pinging
from k8s_ws_proxy.relay.session import Session
from k8s_ws_proxy.web.caller import peer_of, presented
from k8s_ws_proxy.web.errors import note_refusal, refuse, refuse_upstream
from k8s_ws_proxy.web.fallback import Fallback, asks_for_spdy
from k8s_ws_proxy.web.logs import Logs
from k8s_ws_proxy.web.transport import StreamTransport
from k8s_ws_proxy.web.upgrade import HandedOn, Offer, asks_for_websocket, parse_offer, take_over
from k8s_ws_proxy.web.upstream import in_container, reach, resolved, status_of
from k8s_ws_proxy.wire import frames, guacd, tmux
from k8s_ws_proxy.wire.channels import STDERR, STDOUT, SUBPROTOCOLS, failure
from k8s_ws_proxy.wire.forward import ForwardRelay
from k8s_ws_proxy.wire.lifetime import Limits
from k8s_ws_proxy.wire.relay import Relay
from k8s_ws_proxy.wire.target import (
    AttachTarget,
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
    from collections.abc import Callable, Sequence

    from aiohttp import web

    from k8s_ws_proxy.auth.authorizer import Authorizer
    from k8s_ws_proxy.auth.policy import Policy
    from k8s_ws_proxy.auth.principal import Principal
    from k8s_ws_proxy.kube.access import Access
    from k8s_ws_proxy.relay.pace import Pace
    from k8s_ws_proxy.relay.stream import Stream
    from k8s_ws_proxy.sessions.orphans import Orphans
    from k8s_ws_proxy.sessions.registry import Registry, Slot
    from k8s_ws_proxy.settings import Settings


_TOLD_AT_ONCE: Final = 64  # some 40 KiB each
_LONG: Final = 8 * 1024  # bytes of a request's target


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A request whose caller was let in. ``began`` is the loop's time at its first byte, ``within`` in seconds."""

    request: web.BaseRequest
    route: Route
    principal: Principal
    began: float
    within: float
    guacd: bool = False


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
        orphans: Orphans | None,
        pace: Pace,
    ) -> None:
        self._settings = settings
        self._authorizer = authorizer
        self._policy = policy
        self._access = access
        self._registry = registry
        self._fallback = Fallback(time.monotonic, asyncio.get_running_loop().call_later)
        self.orphans = orphans
        self._pace = pace
        self._telling = 0  # refusals that guacd is being told
        self._long_ones = asyncio.Lock()
        limits = Limits(settings.session_idle_timeout, settings.session_max_duration)
        self._limits = limits if limits.idle or limits.duration else None
        self._defaults = Defaults(access, time.monotonic)
        self._logs = Logs(
            settings, access=access, registry=registry, pace=pace, limits=self._limits, defaults=self._defaults
        )

    async def open(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer ``request``: a session, or why not. Raises Refusal."""
        transport = request.transport
        assert isinstance(transport, StreamTransport)
        began = transport.request_began()
        within = self._settings.handshake_timeout
        try:
            route = parse_path(request.raw_path)
        except Refusal as refusal:
            return await self._no_such_path(request, transport, refusal)
        principal = await self._authorizer.authorize(presented(request, route.path))
        transport.caller_known()
        if not (principal.guacd and route.subresource in (Subresource.EXEC, Subresource.ATTACH)):
            return await self._admit_or_tell_again(_Attempt(request, route, principal, began, within))
        attempt = _Attempt(request, route, principal, began, min(within, guacd.ANSWER_WITHIN), guacd=True)
        try:
            return await self._admit(attempt)
        except Refusal as refusal:
            return self._tell_guacd(request, route.subprotocols, refusal)

    async def _no_such_path(
        self, request: web.BaseRequest, transport: StreamTransport, refusal: Refusal
    ) -> web.StreamResponse:
        """Who has a certificate has mistyped a name: that is told, and logged. To others there is no such path."""
        if not transport.get_extra_info("peercert") or not self._settings.allowed_subjects:
            raise refusal
        try:
            principal = await self._authorizer.authorize(presented(request, ""))
        except CredentialRefused:
            raise refusal from None
        transport.caller_known()
        refusal.level = "info"
        if principal.guacd and asks_for_websocket(request):
            return self._tell_guacd(request, SUBPROTOCOLS, refusal)
        raise refusal

    async def _admit_or_tell_again(self, attempt: _Attempt) -> web.StreamResponse:
        """As _admit(); but where kubectl tries again with SPDY, that attempt is answered as the first one was."""
        request = attempt.request
        if attempt.route.dialect is Dialect.PROXY or attempt.route.subresource is Subresource.LOG:
            return await self._admit(attempt)
        if asks_for_spdy(request):
            self._policy.check(attempt.route)
            return self._fallback.answer(attempt.principal, request)
        try:
            response = await self._admit(attempt)
        except Refusal as refusal:
            response = refuse(request, refusal)
        self._fallback.keep(attempt.principal, request, response)
        return response

    async def _admit(self, attempt: _Attempt) -> web.StreamResponse:
        request, route = attempt.request, attempt.route
        self._policy.check(route)
        if route.subresource is Subresource.LOG:
            return await self._logs.open(request, route, attempt.principal, attempt.began)
        offer = parse_offer(request, route.subprotocols)
        await self._turn(request)
        target = parse_target(route, request.raw_path, offer.subprotocol)
        self._policy.check_ports(target)
        if attempt.guacd and isinstance(target, ExecTarget):
            target = target.with_command(guacd.split_command(target.command))
        slot = self._registry.admit(attempt.principal, target, peer_of(request), len(request.raw_path))
        try:
            return await self._dial_and_relay(attempt, target, offer, slot)
        except asyncio.CancelledError:
            slot.log.abandoned()
            raise
        finally:
            if slot.session is None:
                slot.release()

    async def _dial_and_relay(self, attempt: _Attempt, target: Target, offer: Offer, slot: Slot) -> web.StreamResponse:
        request = attempt.request
        clock = asyncio.get_running_loop().time
        dialling = clock()
        try:
            upstream, word = await reach(
                lambda: self._dial(attempt, target, slot),
                self._access,
                self._registry,
                until=attempt.began + attempt.within,
                within=attempt.within,
                drop=lambda late: late[0].stream.close(),
            )
        except UpstreamError as error:
            metrics.REFUSALS.labels(error.reason.value).inc()
            slot.log.failed(error.reason.value, f"{error} {error.detail}".strip())
            if attempt.route.dialect is Dialect.APISERVER and not attempt.guacd:
                return refuse_upstream(request, error)
            if (taken := take_over(request)) is not None:
                session = self._session(attempt, target, taken[0], None, slot)
                session.refuse(offer.switching(), status_of(error), str(error))
            return HandedOn()
        if (taken := take_over(request)) is None:
            upstream.stream.close()
            slot.log.abandoned()
            return HandedOn()
        client, early = taken
        session = self._session(attempt, target, client, upstream, slot)
        slot.opened(session)
        metrics.DIAL_SECONDS.observe(clock() - dialling)
        metrics.HANDSHAKE_SECONDS.observe(clock() - attempt.began)
        session.start(offer.switching() + _said(target, word), from_client=early, from_upstream=upstream.early)
        return HandedOn()

    async def _turn(self, request: web.BaseRequest) -> None:
        """Wait until a request may cost its time. A command of 128 KiB takes twenty milliseconds to be taken apart, and
        as many to be written: of such ones the event loop gets one in a turn.
        """
        if len(request.raw_path) > _LONG:
            async with self._long_ones:
                await asyncio.sleep(0)

    async def _dial(self, attempt: _Attempt, target: Target, slot: Slot) -> tuple[Upstream, str]:
        """What was dialled, and what is said of it."""
        await self._turn(attempt.request)
        target = self._wrapped(await resolved(target, slot, self._settings, self._access))
        if isinstance(target, AttachTarget):
            said: list[str] = []

            async def enter(meant: AttachTarget) -> Upstream:
                if attempt.guacd and meant.interactive and not isinstance(meant, ExecTarget):
                    bare = await lacks_terminal(self._access, meant.namespace, meant.pod, meant.container)
                    said[:] = [guacd.NO_TERMINAL] if bare else []
                return await self._enter(meant, slot)

            upstream, word = await in_container(target, slot, self._defaults, enter)
            return upstream, "\r\n".join(filter(None, (word, *said)))
        return await dial(self._access, target.upstream_path(), target.subprotocols), ""

    async def _enter(self, target: AttachTarget, slot: Slot) -> Upstream:
        if self.orphans is not None and isinstance(target, ExecTarget) and self.orphans.concern(target):
            return await slot.wait_for(self.orphans.dial(target, slot.waits))
        return await dial(self._access, target.upstream_path(), target.subprotocols)

    def _session(
        self, attempt: _Attempt, target: Target, client: Stream, upstream: Upstream | None, slot: Slot
    ) -> Session:
        session = Session(
            asyncio.get_running_loop(),
            self._pace,
            client,
            upstream.stream if upstream else None,
            ping_period=self._settings.ping_period,
            limits=self._limits,
            notices=STDOUT if slot.log.record.tty else STDERR,
            on_end=slot.ended,
            on_closed=slot.release,
            relay=_relay(attempt, target),
        )
        slot.dialled(session)
        if attempt.guacd:
            keep_pinging(session, guacd.PING_PERIOD)
        return session

    def _tell_guacd(self, request: web.BaseRequest, spoken: Sequence[str], refusal: Refusal) -> web.StreamResponse:
        """A refusal after the 101, on the terminal: guacd shows nothing of any other answer.

        It has no slot, and its close waits: so there are only so many at once, and the rest gets that other answer.
        """
        if self._telling >= _TOLD_AT_ONCE:
            raise refusal
        offer = parse_offer(request, spoken)
        note_refusal(request, refusal)
        if (taken := take_over(request)) is not None:
            session = Session(
                asyncio.get_running_loop(),
                self._pace,
                taken[0],
                None,
                ping_period=self._settings.ping_period,
                on_end=_nothing,
                on_closed=self._told,
                relay=guacd.GuacdRelay,
            )
            self._telling += 1
            status = failure(str(refusal), reason=refusal.reason.value, code=rule(refusal.reason).status)
            session.refuse(offer.switching(), status, str(refusal))
        return HandedOn()

    def _told(self, _session: Session) -> None:
        self._telling -= 1

    def _wrapped(self, target: Target) -> Target:
        if self._settings.tmux_cascade and isinstance(target, ExecTarget) and target.interactive:
            return target.with_command(tmux.wrap(target.command))
        return target


def _said(target: Target, word: str) -> bytes:
    """``word`` for the person, as a message, where there is a channel for it."""
    if not word or not isinstance(target, AttachTarget):
        return b""
    streams = target.streams
    if not (streams.tty or streams.stderr):
        return b""
    channel, end = (STDOUT, "\r\n") if streams.tty else (STDERR, "\n")
    return frames.frame(frames.BINARY, bytes((channel,)) + f"{word}{end}".encode())


def _relay(attempt: _Attempt, target: Target) -> Callable[[Callable[[], bytes]], Relay]:
    if attempt.guacd:
        return guacd.GuacdRelay
    return partial(ForwardRelay, ports=target.ports) if isinstance(target, PortForwardTarget) else Relay


def _nothing(_session: Session) -> None:
    """There is nothing to write down: the refusal has been."""
