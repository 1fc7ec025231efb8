"""A session and those who watch it, on real sockets within the test, without a daemon around them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from k8s_ws_proxy.auth.principal import Mode, Principal
from k8s_ws_proxy.relay.bridge import Bridge
from k8s_ws_proxy.relay.fanout import Fanout
from k8s_ws_proxy.relay.feed import Feed
from k8s_ws_proxy.relay.read_budget import ReadBudget
from k8s_ws_proxy.relay.stream import Stream
from k8s_ws_proxy.relay.tails import Tails
from k8s_ws_proxy.sessions.quotas import quotas
from k8s_ws_proxy.sessions.record import WatchMode
from k8s_ws_proxy.sessions.registry import Registry
from k8s_ws_proxy.sessions.watching import Watching
from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.framing.channels import RESIZE, STDIN, STDOUT
from k8s_ws_proxy.wire.requests.target import parse_path, parse_target
from k8s_ws_proxy.wire.rules.relay import Relay
from k8s_ws_proxy.wire.rules.watch import ObserveRelay, PeerRelay

if TYPE_CHECKING:
    from k8s_ws_proxy.sessions.registry import Slot

KEY = b"\x11\x22\x33\x44"
HEAD = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
PATH = "/proxy/exec/default/web/app?command=sh"


def connection(*, small: bool = True) -> tuple[socket.socket, socket.socket]:
    """Two ends of one, whose kernels take little if they are ``small``."""
    far = socket.socket()
    if small:
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
    with socket.create_server(("127.0.0.1", 0)) as server:
        far.connect(server.getsockname())
        near, _ = server.accept()
    if small:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    far.setblocking(False)
    return near, far


def message(channel: int, payload: bytes, key: bytes = b"") -> bytes:
    """One, masked where a key is given."""
    return frames.frame(frames.BINARY, bytes((channel,)) + payload, key)


class Peer:
    """The far end of a session's client, or of its apiserver."""

    def __init__(self, sock: socket.socket, *, masks: bool) -> None:
        self.sock = sock
        self._key = KEY if masks else b""
        self._read = b""
        self.heads = not masks
        self.code: int | None = None
        self.reason = ""
        self.ended = False

    async def say(self, channel: int, payload: bytes) -> None:
        """Send a message."""
        await self.send(message(channel, payload, self._key))

    async def send(self, data: bytes) -> None:
        """Send any bytes."""
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def message(self) -> tuple[int, bytes] | None:
        """The next one's channel and payload, None at the end; pongs and pings are left out."""
        while True:
            if not self.heads:
                while b"\r\n\r\n" not in self._read:
                    assert await self._more()
                self._read = self._read.partition(b"\r\n\r\n")[2]
                self.heads = True
            head = frames.parse_header(self._read, 0, len(self._read), masked=not self._key)
            if head is None or len(self._read) < head.size + head.length:
                if not await self._more():
                    self.ended = True
                    return None
                continue
            payload = frames.mask(self._read[head.size : head.size + head.length], head.key)
            self._read = self._read[head.size + head.length :]
            if head.opcode == frames.CLOSE:
                self.code, self.reason = frames.parse_close(payload)
            elif head.opcode < frames.CLOSE and payload:
                return payload[0], payload[1:]

    async def _more(self) -> bool:
        data = b""
        with contextlib.suppress(ConnectionError):
            data = await asyncio.get_running_loop().sock_recv(self.sock, 1 << 18)
        self._read += data
        return bool(data)

    async def until(self, wanted: bytes, channel: int = STDOUT) -> bytes:
        """What comes on a channel, up to where it holds this."""
        seen = b""
        while wanted not in seen:
            said = await self.message()
            assert said is not None, (seen[-200:], self.code, self.reason)
            if said[0] == channel:
                seen += said[1]
        return seen

    async def rest(self) -> dict[int, bytes]:
        """All that comes to the end, by channel."""
        seen: dict[int, bytes] = {}
        while (said := await self.message()) is not None:
            seen[said[0]] = seen.get(said[0], b"") + said[1]
        return seen


class Sizes:
    """An observer that keeps the sizes that it is told."""

    full = False
    takes_input = False

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def resized(self, columns: int, rows: int) -> None:
        """As Observer's."""
        self.sizes.append((columns, rows))

    def output(self, channel: int, payload: bytes) -> None:
        """As Observer's."""

    def input(self, payload: bytes) -> None:
        """As Observer's."""

    def status(self, payload: bytes) -> None:
        """As Observer's."""

    def ended(self, relay: Relay) -> None:
        """As Observer's."""


class Watched:
    """The session: ``client`` and ``upstream`` are the far ends; ``watch()`` is one more far end."""

    def __init__(self, *, notices: bool = False, relay: type[Relay] = Relay, tails: Tails | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.registry = Registry(quotas(99), self.loop.time)
        self.budget = ReadBudget(self.loop.time)
        self.watching = Watching(self.loop, notices=notices, clock=lambda: 1000.0)
        self.slots: list[Slot] = []
        near_client, client = connection()
        near_upstream, upstream = connection()
        self.client, self.upstream = Peer(client, masks=True), Peer(upstream, masks=False)
        self.tails = tails or Tails()
        self.peers = [self.client, self.upstream]
        self.slot = self._admit("owner")
        self.bridge = self._bridge(self.slot, near_client, Stream(near_upstream, self.loop), relay)
        self.bridge.fanout = Fanout(self.loop, self.bridge, self.tails)
        self.slot.opened(self.bridge)
        self.bridge.start(HEAD)

    def watch(self, name: str = "bob", mode: WatchMode = WatchMode.OBSERVE, *, small: bool = True) -> Peer:
        """Somebody joins."""
        near, far = connection(small=small)
        peer = mode is WatchMode.PEER
        fanout = self.bridge.fanout
        feed = Feed(
            self.loop,
            self.budget,
            self.bridge.type if peer else None,
            fanout.peer_resized if peer and fanout else None,
        )
        slot = self._admit(name)
        slot.log.watching(self.slot.log.record, mode)
        bridge = self._bridge(slot, near, feed, PeerRelay if peer else ObserveRelay)
        self.watching.join(self.slot, slot, mode, bridge, feed)
        slot.opened(bridge)
        bridge.start(HEAD)
        self.peers.append(Peer(far, masks=True))
        return self.peers[-1]

    def observe(self) -> Sizes:
        """Somebody who is told what passes, as a recording is."""
        self.bridge.observe(observer := Sizes())
        return observer

    async def said(self, payload: bytes) -> None:
        """The program says something, and the client has read it."""
        await self.upstream.say(STDOUT, payload)
        await self.client.until(payload[-20:])

    async def size(self, columns: int, rows: int) -> None:
        """The client says how large its terminal is, and the apiserver has it."""
        await self.client.say(RESIZE, b'{"Width":%d,"Height":%d}' % (columns, rows))
        assert await self.upstream.message() == (RESIZE, b'{"Width":%d,"Height":%d}' % (columns, rows))

    async def size_after(self, typed: bytes, columns: int, rows: int) -> None:
        """The same, after what was typed."""
        assert await self.upstream.message() == (STDIN, typed)
        await self.size(columns, rows)

    def close(self) -> None:
        """Let go of all."""
        for slot in self.slots:
            if slot.bridge is not None:
                slot.bridge.abort()
        for peer in self.peers:
            peer.sock.close()

    def _admit(self, name: str) -> Slot:
        target = parse_target(parse_path(PATH), PATH)
        slot = self.registry.admit(Principal(Mode.HMAC, "2025", user=name), target, "10.0.0.1")
        self.slots.append(slot)
        return slot

    def _bridge(self, slot: Slot, near: socket.socket, upstream, relay: type[Relay]) -> Bridge:
        return Bridge(
            self.loop,
            self.budget,
            Stream(near, self.loop),
            upstream,
            ping_period=30.0,
            on_end=slot.ended,
            on_closed=slot.release,
            relay=relay,
        )


async def repeat(peer: Peer, data: bytes, count: int) -> None:
    """Send the same, so many times."""
    for _ in range(count):
        await peer.send(data)


async def stuck(bridge: Bridge) -> None:
    """Wait until the client takes nothing more of what waits for it: its kernel, too, acknowledges late."""
    while not bridge._client.waiting or bridge.idle_seconds < 0.5:  # noqa: ASYNC110 - it is only seen by looking
        await asyncio.sleep(0.01)


async def closed(session: Watched, count: int) -> None:
    """Wait until so many sessions are left."""
    while session.registry.open > count:  # noqa: ASYNC110 - they are given back in passing
        await asyncio.sleep(0.001)
