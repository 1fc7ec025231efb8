"""A command, or a container's own process: exec and attach."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from k8s_ws_proxy.relay.fanout import Fanout
from k8s_ws_proxy.web.plan import Plan, Reached
from k8s_ws_proxy.web.upstream import in_container, resolved
from k8s_ws_proxy.wire.container import tmux
from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.framing.channels import STDERR, STDOUT
from k8s_ws_proxy.wire.requests.target import AttachTarget, ExecTarget
from k8s_ws_proxy.wire.rules.aside import AsideRelay, streams_told
from k8s_ws_proxy.wire.rules.relay import Relay

if TYPE_CHECKING:
    from k8s_ws_proxy.relay.bridge import Bridge
    from k8s_ws_proxy.relay.byte_stream import ByteStream
    from k8s_ws_proxy.relay.stream import Stream
    from k8s_ws_proxy.sessions.registry import Slot
    from k8s_ws_proxy.web.call import Call
    from k8s_ws_proxy.web.plan import PlanParts
    from k8s_ws_proxy.web.upgrade import Offer


class TerminalPlan(Plan):
    """One of them, with a terminal or without."""

    target: AttachTarget
    observable = True

    def __init__(self, parts: PlanParts, call: Call, target: AttachTarget, offer: Offer) -> None:
        super().__init__(parts, call, target, offer)
        self.offer: Offer = offer
        self.notices = STDOUT if target.streams.tty else STDERR
        if call.aside and self.relay is Relay:
            self.relay = AsideRelay

    async def dial(self, slot: Slot) -> Reached:
        """As Plan's."""
        parts = self.parts
        target = await resolved(self._wrapped(self.target), slot, parts.settings, parts.apiserver)
        entered = await in_container(
            target, slot, parts.defaults, self.call.apiserver, lambda meant: self._enter(meant, slot)
        )
        (stream, early), word = entered
        head = self.offer.switching(slot.id) + self._told_aside() + self._said(word)
        return Reached(stream, early, head, self.relay)

    def begun(self, bridge: Bridge, client: Stream) -> None:  # noqa: ARG002 - the bridge alone is of interest
        """As Plan's: from here on somebody may join."""
        if self.target.streams.tty:
            bridge.fanout = Fanout(asyncio.get_running_loop(), bridge, self.parts.tails)

    async def _enter(self, target: AttachTarget, slot: Slot) -> tuple[ByteStream, bytes]:
        orphans = self.parts.orphans
        if orphans is not None and isinstance(target, ExecTarget) and orphans.concern(self.call.apiserver, target):
            return await orphans.dial(self.call.apiserver, target, slot, self.call.until)
        upstream = await self.call.apiserver.dial(target.upstream_path(), target.subprotocols, audit_id=slot.id)
        return upstream.stream, upstream.early

    def _wrapped(self, target: AttachTarget) -> AttachTarget:
        if self.parts.settings.tmux_cascade and isinstance(target, ExecTarget) and target.interactive:
            return target.with_command(tmux.wrap(target.command))
        return target

    def _told_aside(self) -> bytes:
        streams = self.target.streams
        return streams_told(tty=streams.tty, stdin=streams.stdin) if self.relay is AsideRelay else b""

    def _said(self, word: str) -> bytes:
        """``word`` for the person, as a message, where there is a channel for it."""
        streams = self.target.streams
        if not word or not (streams.tty or streams.stderr):
            return b""
        channel, end = (STDOUT, "\r\n") if streams.tty else (STDERR, "\n")
        return frames.frame(frames.BINARY, bytes((channel,)) + f"{word}{end}".encode())
