"""A command, or a container's own process: exec and attach."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k8s_ws_proxy.web.plan import Plan, Reached
from k8s_ws_proxy.web.upstream import in_container, resolved
from k8s_ws_proxy.wire.container import tmux
from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.framing.channels import STDERR, STDOUT
from k8s_ws_proxy.wire.requests.target import AttachTarget, ExecTarget

if TYPE_CHECKING:
    from k8s_ws_proxy.kube.apiserver import Apiserver
    from k8s_ws_proxy.kube.pods import Defaults
    from k8s_ws_proxy.relay.byte_stream import ByteStream
    from k8s_ws_proxy.sessions.orphans import Orphans
    from k8s_ws_proxy.sessions.registry import Slot
    from k8s_ws_proxy.settings import Settings
    from k8s_ws_proxy.web.call import Call
    from k8s_ws_proxy.web.upgrade import Offer


class Terminals:
    """What all of them need. Without ``orphans`` nothing that is left is hung up."""

    def __init__(
        self, settings: Settings, *, apiserver: Apiserver, defaults: Defaults, orphans: Orphans | None
    ) -> None:
        self.settings = settings
        self.apiserver = apiserver
        self.defaults = defaults
        self.orphans = orphans


class TerminalPlan(Plan):
    """One of them, with a terminal or without."""

    target: AttachTarget
    observable = True

    def __init__(self, terminals: Terminals, call: Call, target: AttachTarget, offer: Offer) -> None:
        super().__init__(call, target, offer)
        self._terminals = terminals
        self.offer: Offer = offer
        self.notices = STDOUT if target.streams.tty else STDERR

    async def dial(self, slot: Slot) -> Reached:
        """As Plan's."""
        known = self._terminals
        target = await resolved(self._wrapped(self.target), slot, known.settings, known.apiserver)
        entered = await in_container(target, slot, known.defaults, lambda meant: self._enter(meant, slot))
        (stream, early), word = entered
        return Reached(stream, early, self.offer.switching() + self._said(word), self.relay)

    async def _enter(self, target: AttachTarget, slot: Slot) -> tuple[ByteStream, bytes]:
        orphans = self._terminals.orphans
        if orphans is not None and isinstance(target, ExecTarget) and orphans.concern(target):
            return await orphans.dial(self.call.apiserver, target, slot)
        upstream = await self.call.apiserver.dial(target.upstream_path(), target.subprotocols)
        return upstream.stream, upstream.early

    def _wrapped(self, target: AttachTarget) -> AttachTarget:
        if self._terminals.settings.tmux_cascade and isinstance(target, ExecTarget) and target.interactive:
            return target.with_command(tmux.wrap(target.command))
        return target

    def _said(self, word: str) -> bytes:
        """``word`` for the person, as a message, where there is a channel for it."""
        streams = self.target.streams
        if not word or not (streams.tty or streams.stderr):
            return b""
        channel, end = (STDOUT, "\r\n") if streams.tty else (STDERR, "\n")
        return frames.frame(frames.BINARY, bytes((channel,)) + f"{word}{end}".encode())
