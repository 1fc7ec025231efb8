"""How every session opens: slot, dial, 101, relay, and each way out between them."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from k8s_ws_proxy.errors import Refusal, UpstreamError
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.relay.bridge import Bridge
from k8s_ws_proxy.web.asked import asked
from k8s_ws_proxy.web.errors import refuse_upstream
from k8s_ws_proxy.web.upgrade import Hijacked
from k8s_ws_proxy.web.upstream import reach
from k8s_ws_proxy.wire.http.handshake import status_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aiohttp import web

    from k8s_ws_proxy.relay.byte_stream import ByteStream
    from k8s_ws_proxy.relay.read_budget import ReadBudget
    from k8s_ws_proxy.relay.stream import Stream
    from k8s_ws_proxy.sessions.registry import Registry, Slot
    from k8s_ws_proxy.web.plan import MakeRelay, Plan, Reached
    from k8s_ws_proxy.web.turns import Turns
    from k8s_ws_proxy.wire.rules.lifetime import Limits
    from k8s_ws_proxy.wire.rules.observer import Observer

    Observing = Callable[[Slot, Plan], Awaitable[Callable[[Bridge], Observer] | None]]


class Opening:
    """Opens what a plan says. ``ping_period`` in seconds.

    ``observers`` are asked before each session is dialled that has such messages, and give what makes an Observer of it
    before its first byte; or None, or raise Refusal.
    """

    def __init__(
        self,
        registry: Registry,
        budget: ReadBudget,
        turns: Turns,
        *,
        ping_period: float,
        limits: Limits | None,
        observers: Sequence[Observing] = (),
    ) -> None:
        self._observers = tuple(observers)
        self._registry = registry
        self._budget = budget
        self._turns = turns
        self._ping_period = ping_period
        self._limits = limits

    async def open(self, plan: Plan) -> web.StreamResponse:
        """The answer to the plan's call: a session, or why not. Raises Refusal."""
        call = plan.call
        asked(call.request).target = plan.target
        slot = self._registry.admit(call.principal, plan.target, call.peer, call.size, call.session)
        plan.admitted(slot)
        try:
            return await self._dial_and_relay(plan, slot)
        except asyncio.CancelledError:
            slot.log.abandoned(plan.command)
            raise
        except Refusal as refusal:
            refusal.session = slot.id
            asked(call.request).admitted = True
            raise
        except Exception:
            if slot.bridge is not None:
                slot.bridge.abort()  # it has the client by now, and nobody else would end it
            raise
        finally:
            if slot.bridge is None:
                slot.release()

    async def _dial_and_relay(self, plan: Plan, slot: Slot) -> web.StreamResponse:
        call = plan.call
        clock = asyncio.get_running_loop().time
        observers = [await observing(slot, plan) for observing in self._observers] if plan.observable else []
        dialling = clock()
        try:
            reached = await reach(
                lambda: self._dial(plan, slot),
                call.apiserver,
                self._registry,
                until=call.until,
                within=call.within,
                drop=lambda late: late.stream.close(),
            )
        except UpstreamError as error:
            return self._failed(plan, slot, error)
        if (taken := call.hijack()) is None:
            reached.stream.close()
            slot.log.abandoned(plan.command)
            return Hijacked()
        client, early = taken
        bridge = self._bridge(plan, slot, client, reached.stream, reached.relay)
        for made in observers:
            if made is not None:
                bridge.observe(made(bridge))
        slot.opened(bridge, plan.command, greet=partial(bridge.greet, reached.head))
        if not slot.log.record.watches:  # then nothing was dialled
            metrics.DIAL_SECONDS.observe(clock() - dialling)
        metrics.HANDSHAKE_SECONDS.observe(clock() - call.began)
        bridge.begin(from_client=early, from_upstream=reached.early)
        slot.end_if_asked()  # while it was opened
        return Hijacked()

    async def _dial(self, plan: Plan, slot: Slot) -> Reached:
        await self._turns.dial(plan.call)
        return await plan.dial(slot)

    def _failed(self, plan: Plan, slot: Slot, error: UpstreamError) -> web.StreamResponse:
        metrics.REFUSALS.labels(error.reason.value).inc()
        slot.log.failed(error.reason, error.status, f"{error} {error.detail}".strip(), plan.command)
        if not plan.told_in_session:
            return refuse_upstream(plan.call.request, error, slot.id)
        assert plan.offer is not None
        if (taken := plan.call.hijack()) is not None:
            bridge = self._bridge(plan, slot, taken[0], None, plan.relay)
            bridge.refuse(plan.offer.switching(slot.id), status_of(error), str(error))
        return Hijacked()

    def _bridge(self, plan: Plan, slot: Slot, client: Stream, upstream: ByteStream | None, relay: MakeRelay) -> Bridge:
        bridge = Bridge(
            asyncio.get_running_loop(),
            self._budget,
            client,
            upstream,
            ping_period=self._ping_period,
            limits=self._limits,
            notices=plan.notices,
            on_end=slot.ended,
            on_closed=slot.release,
            relay=relay,
        )
        slot.dialled(bridge)
        plan.begun(bridge, client)
        return bridge
