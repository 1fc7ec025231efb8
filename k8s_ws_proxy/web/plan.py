"""What differs between the kinds of session: a terminal, a port-forward, a log."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from k8s_ws_proxy.relay.tails import Tails
from k8s_ws_proxy.wire.framing.channels import STDOUT
from k8s_ws_proxy.wire.requests.target import Dialect, ExecTarget
from k8s_ws_proxy.wire.rules.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Callable

    from k8s_ws_proxy.kube.apiserver import Apiserver
    from k8s_ws_proxy.kube.pods import Defaults
    from k8s_ws_proxy.relay.bridge import Bridge
    from k8s_ws_proxy.relay.byte_stream import ByteStream
    from k8s_ws_proxy.relay.read_budget import ReadBudget
    from k8s_ws_proxy.relay.stream import Stream
    from k8s_ws_proxy.sessions.orphans import Orphans
    from k8s_ws_proxy.sessions.registry import Slot
    from k8s_ws_proxy.settings import Settings
    from k8s_ws_proxy.web.call import Call
    from k8s_ws_proxy.web.upgrade import Offer
    from k8s_ws_proxy.wire.requests.target import Target

    MakeRelay = Callable[[Callable[[], bytes]], Relay]


@dataclass(frozen=True, slots=True)
class PlanParts:
    """What there is one of, as far as plans want it. Without ``orphans`` nothing that is left is hung up.

    ``apiserver`` is the proxy's own: pods are looked up by it. A call has that by which its session is dialled.
    """

    settings: Settings
    apiserver: Apiserver
    defaults: Defaults
    orphans: Orphans | None
    budget: ReadBudget
    tails: Tails = field(default_factory=Tails)


@dataclass(frozen=True, slots=True)
class Reached:
    """The apiserver has answered: ``early`` was read with that. ``head`` is what the client is sent first."""

    stream: ByteStream
    early: bytes
    head: bytes
    relay: MakeRelay


class Plan(ABC):
    """How one call becomes a session. It is made when all has been checked that can be before the slot."""

    relay: MakeRelay = Relay
    """That of a session whose dial has failed, to tell it."""
    observable = False
    """Its messages are those of exec and attach, which an observer is told of."""
    notices = STDOUT
    """The channel for what we say to the person."""

    def __init__(self, parts: PlanParts, call: Call, target: Target, offer: Offer | None) -> None:
        self.parts = parts
        self.call = call
        self.target = target
        self.offer = offer  # None where it isn't an upgrade

    @property
    def told_in_session(self) -> bool:
        """A failed dial is told after a 101, on channel 3; else by an HTTP status."""
        return self.call.route.dialect is Dialect.PROXY

    @property
    def command(self) -> tuple[str, ...] | None:
        """The whole one, where it is one."""
        return self.target.command if isinstance(self.target, ExecTarget) else None

    def admitted(self, slot: Slot) -> None:  # noqa: B027 - most have nothing to say
        """It has its slot, and waits for its turn."""

    @abstractmethod
    async def dial(self, slot: Slot) -> Reached:
        """Ask the apiserver. Raises UpstreamError, or Refusal; the caller bounds the time."""

    def begun(self, bridge: Bridge, client: Stream) -> None:  # noqa: B027 - most have nothing to do
        """The session has been made, and nothing was sent yet."""
