"""The subprotocols: which is chosen, and how a channel's bytes stand in a message (docs/observed.md,
"Subprotocols").
"""

from __future__ import annotations

import base64
import binascii
import enum
from dataclasses import dataclass

STDIN, STDOUT, STDERR, STATUS, RESIZE = range(5)
CLOSE = 0xFF
"""v5: the byte after this one names the channel that ends."""


class StatusForm(enum.Enum):
    """What channel 3 says at the end."""

    JSON = enum.auto()
    JSON_WITH_COMMAND_LINE = enum.auto()
    TEXT_IF_FAILED = enum.auto()


@dataclass(frozen=True, slots=True)
class Subprotocol:
    """One way to carry channels. `name` is empty for a client that offered none."""

    name: str
    status: StatusForm
    base64: bool = False
    ends_stdin: bool = False
    raw: bool = False
    """There are no channels: a message is bytes of one stream."""

    def encode(self, channel: int, data: bytes) -> bytes:
        """A message: the channel's byte and the data, or its digit and the data in base64."""
        if self.raw:
            return data
        if self.base64:
            return b"%d" % channel + base64.b64encode(data)
        return bytes((channel,)) + data

    def decode(self, message: bytes | bytearray) -> tuple[int, memoryview] | None:
        """Channel and data of a message; None for one that says nothing."""
        if not message:
            return None
        if not self.base64:
            return message[0], memoryview(message)[1:]
        try:
            return message[0] - ord("0"), memoryview(base64.b64decode(message[1:]))
        except binascii.Error:
            return None


V5 = Subprotocol("v5.channel.k8s.io", StatusForm.JSON, ends_stdin=True)
V4 = Subprotocol("v4.channel.k8s.io", StatusForm.JSON_WITH_COMMAND_LINE)
NONE = Subprotocol("", StatusForm.TEXT_IF_FAILED)
SPOKEN = (
    V5,
    V4,
    Subprotocol("v4.base64.channel.k8s.io", StatusForm.JSON_WITH_COMMAND_LINE, base64=True),
    Subprotocol("channel.k8s.io", StatusForm.TEXT_IF_FAILED),
    Subprotocol("base64.channel.k8s.io", StatusForm.TEXT_IF_FAILED, base64=True),
)
FORWARD = (V4, SPOKEN[2], NONE)
TUNNEL = Subprotocol("SPDY/3.1+portforward.k8s.io", StatusForm.TEXT_IF_FAILED, raw=True)


def choose_forward(offered: list[str]) -> Subprotocol | None:
    """A port-forward's: the tunnel wherever it stands (that is the apiserver's own), otherwise the first that the
    kubelet speaks.
    """
    if TUNNEL.name in offered:
        return TUNNEL
    by_name = {each.name: each for each in FORWARD}
    return next((by_name[name] for name in offered or [""] if name in by_name), None)


def choose(offered: list[str]) -> Subprotocol | None:
    """v5 wherever it stands, otherwise the first that is spoken; None if none is."""
    if not offered:
        return NONE
    if V5.name in offered:
        return V5
    by_name = {each.name: each for each in SPOKEN}
    return next((by_name[name] for name in offered if name in by_name), None)
