"""Port-forward as kubectl speaks it: SPDY in WebSocket messages, a pair of streams for each connection (kubelet:
portforward/httpstream.go; apiserver: streamtunnel.go).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from k8s_ws_proxy.devcluster import spdy
from k8s_ws_proxy.devcluster.podports import ForwardFailed
from k8s_ws_proxy.devcluster.portforward import Inlet, forward
from k8s_ws_proxy.devcluster.spdy import Data, Ping, Reset, Spdy, SpdyError, SynStream
from k8s_ws_proxy.devcluster.websocket import ClientLeft
from k8s_ws_proxy.observe import tasks

if TYPE_CHECKING:
    from k8s_ws_proxy.devcluster.podports import PodPorts
    from k8s_ws_proxy.devcluster.subresources import ForwardTarget
    from k8s_ws_proxy.devcluster.websocket import WebSocket


@dataclass(slots=True, eq=False)
class _Pair:
    """The two streams of one connection; 0 is one that isn't there yet."""

    port: int
    data: int = 0
    error: int = 0
    inlet: Inlet = field(default_factory=Inlet)


class Tunnel:
    """One client's connection, with all its forwarded ones."""

    def __init__(self, socket: WebSocket, target: ForwardTarget, ports: PodPorts) -> None:
        self._socket = socket
        self._target = target
        self._ports = ports
        self._spdy = Spdy()
        self._pairs: dict[str, _Pair] = {}
        self._streams: dict[int, _Pair] = {}
        self._forwards: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Stay until the client has left. Raises ClientLeft."""
        try:
            async for message in self._socket.messages():
                for frame in self._spdy.receive(message):
                    await self._handle(frame)
        except SpdyError:
            await self._socket.close()
        finally:
            for task in self._forwards:
                task.cancel()
            if self._forwards:
                await asyncio.wait(self._forwards)

    async def _handle(self, frame: spdy.Frame) -> None:
        match frame:
            case SynStream():
                await self._open(frame)
            case Data(stream, data, fin):
                pair = self._streams.get(stream)
                if pair is not None and stream == pair.data:
                    if data:
                        await pair.inlet.put(data)
                    if fin:
                        await pair.inlet.put(b"")
            case Reset(stream):
                pair = self._streams.pop(stream, None)
                if pair is not None and stream == pair.data:
                    pair.inlet.reset()
            case Ping(number):
                if number % 2:
                    await self._socket.send(0, spdy.ping(number))

    async def _open(self, frame: SynStream) -> None:
        headers = frame.headers
        port, kind = headers.get("port", ""), headers.get("streamtype")
        if not (port.isdecimal() and 0 < int(port) < 65536 and kind in {"error", "data"}):
            await self._socket.send(0, spdy.reset(frame.stream))
            return
        await self._socket.send(0, self._spdy.reply(frame.stream))
        pair = self._pairs.setdefault(headers.get("requestid", ""), _Pair(int(port)))
        self._streams[frame.stream] = pair
        if kind == "error":
            pair.error = frame.stream
        else:
            pair.data = frame.stream
        if pair.error and pair.data:
            del self._pairs[headers.get("requestid", "")]
            task = tasks.start(self._forward(pair), name=f"devcluster tunnel to port {port}")
            self._forwards.add(task)
            task.add_done_callback(self._forwards.discard)

    async def _forward(self, pair: _Pair) -> None:
        async def give(data: bytes) -> None:
            if pair.data not in self._streams:
                raise ClientLeft
            await self._socket.send(0, spdy.data(pair.data, data))

        try:
            try:
                await forward(self._ports, self._target.pod, pair.port, pair.inlet, give)
            except ForwardFailed as failed:
                await self._end(pair.error, str(failed).encode())
            await self._end(pair.data)
            await self._end(pair.error)
        except ClientLeft:
            pass

    async def _end(self, stream: int, last: bytes = b"") -> None:
        if self._streams.pop(stream, None) is not None:
            await self._socket.send(0, spdy.data(stream, last, fin=True))
