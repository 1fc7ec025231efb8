"""A port-forward on two legs: bytes pass as they are, and nothing in them says how it ends.

There is no status: a close with 1000 is the end of all ports, anything else is a loss. Once the session is open the
client learns of a loss from the close frame alone. A text of ours on an error channel could come before the port's
number, which the server must say there first (kubelet, portforward/websocket.go).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.wire.framing import channels, frames
from k8s_ws_proxy.wire.framing.channels import Framing
from k8s_ws_proxy.wire.framing.splitter import Closed
from k8s_ws_proxy.wire.rules.relay import Ending, Relay

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from k8s_ws_proxy.wire.framing.splitter import Block, Event

_LOST: Final = "The connection to the apiserver was lost."


class ForwardRelay(Relay):
    """One port-forward; without ``ports`` it is a tunnel, whose messages have no channels."""

    __slots__ = ("_ports",)

    def __init__(self, mask_key: Callable[[], bytes], ports: Sequence[int]) -> None:
        super().__init__(mask_key, Framing.PORTS if ports else Framing.TUNNEL)
        self._ports = ports

    def client_data(self, block: Block, start: int, end: int) -> None:
        """As ever, but that nobody types into a port."""
        super().client_data(block, start, end)
        self.keystroke = False

    def fail(self, status: bytes, reason: str) -> None:
        """There is no upstream: tell ``reason`` on each port's error channel, as a kubelet does, and close with 1011.

        With one port, ``status`` goes to channel 3 as everywhere (docs/reference/answers.md); with more, that is the
        second port's. A tunnel has nothing to tell it on but the close.
        """
        for number, port in enumerate(self._ports):
            channel, begin = bytes((2 * number + 1,)), port.to_bytes(2, "little")
            self.to_client += [
                frames.frame(frames.BINARY, channel + begin),
                frames.frame(frames.BINARY, channel + reason.encode("utf-8", "replace")),
            ]
        if len(self._ports) == 1:
            self.to_client.append(frames.frame(frames.BINARY, bytes((channels.STATUS,)) + status))
        super().fail(status, reason)

    def _end_by_us(self, line: bytes, channel: int, status: bytes) -> None:
        """There is no channel to say it on but the close."""

    def _upstream_event(self, event: Event) -> None:
        match event:
            case Closed(None | frames.NORMAL):
                self._close(Ending.FORWARD_ENDED, frames.NORMAL, "")
            case _:
                super()._upstream_event(event)

    def _upstream_gone(self, code: int | None, text: str) -> None:  # noqa: ARG002 - it speaks of exit statuses
        self._close(Ending.UPSTREAM_LOST, frames.INTERNAL_ERROR, _LOST)

    def _say(self, text: str) -> None:
        """To nobody: no channel is a person's."""

    def _tell_status(self, status: bytes) -> None:
        """Nowhere, once the session is open: channel 3 may be the second port's."""
