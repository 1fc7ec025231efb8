"""A session as a script, without sockets: what each side sends, and what it is told."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.wire.framing.splitter import HEADROOM, Block
from k8s_ws_proxy.wire.rules.liveness import Health
from k8s_ws_proxy.wire.rules.relay import Relay
from support.framing import CLOSE, join, read_frames

if TYPE_CHECKING:
    from collections.abc import Callable

FINE: Final = Health()


class Session:
    """A Relay with both sides' bytes kept, and a fresh mask key for each frame."""

    def __init__(self, relay: Callable[..., Relay] = Relay) -> None:
        keys = itertools.count(1)
        self.relay = relay(lambda: next(keys).to_bytes(4, "big"))
        self.block = Block(128 * 1024)
        self._to_client = b""
        self._to_upstream = b""

    def _collect(self):
        self._to_client += join(self.relay.to_client)
        self._to_upstream += join(self.relay.to_upstream)
        self.relay.to_client, self.relay.to_upstream = [], []

    def _data(self, carry, take, data):
        for start in range(0, len(data), 60_000):
            part = carry() + data[start : start + 60_000]
            self.block.buf[:] = b"\xee" * len(self.block.buf)
            self.block.buf[HEADROOM : HEADROOM + len(part)] = part
            take(self.block, HEADROOM, HEADROOM + len(part))
            self._collect()

    def client(self, *parts):
        for part in parts:
            self._data(self.relay.client_carry, self.relay.client_data, part)
        return self

    def upstream(self, *parts):
        for part in parts:
            self._data(self.relay.upstream_carry, self.relay.upstream_data, part)
        return self

    def tick(self, client=FINE, upstream=FINE):
        self.relay.tick(client, upstream)
        self._collect()
        return self

    def do(self, name, *arguments):
        getattr(self.relay, name)(*arguments)
        self._collect()
        return self

    def to_client(self):
        """What the client was sent since the last time, as frames."""
        taken, self._to_client = self._to_client, b""
        return read_frames(taken, masked=False)

    def to_upstream(self):
        taken, self._to_upstream = self._to_upstream, b""
        return read_frames(taken, masked=True)

    @property
    def end(self):
        return self.relay.ending, self.relay.close_code, self.relay.exit_code


def told(frames):
    """(opcode, payload) of each."""
    return [(frame.opcode, frame.payload) for frame in frames]


def close(code, reason=""):
    return (CLOSE, code.to_bytes(2, "big") + reason.encode())
