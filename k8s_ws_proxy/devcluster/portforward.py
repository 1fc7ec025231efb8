"""Port-forward over channels: two for each port (kubelet: portforward/websocket.go), and the forwarding itself, as
containerd does it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from k8s_ws_proxy.devcluster.podports import ForwardFailed, broken
from k8s_ws_proxy.devcluster.websocket import MAX_DATA, ClientLeft
from k8s_ws_proxy.observe import tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from k8s_ws_proxy.devcluster.podports import PodPorts
    from k8s_ws_proxy.devcluster.subresources import ForwardTarget
    from k8s_ws_proxy.devcluster.websocket import WebSocket
    from k8s_ws_proxy.devcluster.world import Pod

_AHEAD = 16
_GRACE = 1.0
"""Seconds for the other direction when one has ended: containerd half-closes nothing."""


class Inlet:
    """What a client sends for one connection, some messages ahead of the pod; `b""` is its end."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(_AHEAD)
        self._closed = False

    async def put(self, data: bytes) -> None:
        """Wait as long as the pod takes nothing; what comes after the connection's end is dropped."""
        if not self._closed:
            await self._queue.put(data)

    async def get(self) -> bytes:
        """The next bytes."""
        return await self._queue.get()

    def reset(self) -> None:
        """The client wants nothing to be sent any more, not even what waits."""
        self.close()
        self._queue.put_nowait(b"")

    def close(self) -> None:
        """The connection is over: keep nobody waiting."""
        self._closed = True
        while not self._queue.empty():
            self._queue.get_nowait()


async def forward(ports: PodPorts, pod: Pod, port: int, inlet: Inlet, give: Callable[[bytes], Awaitable[None]]) -> None:
    """Carry one connection to `port`, to its end.

    Raises ForwardFailed if it couldn't be made, or broke.
    """
    try:
        reader, writer = await ports.connect(pod, port)
    except ForwardFailed:
        inlet.close()
        raise
    name = f"devcluster forward {pod.name}:{port}"
    there = tasks.start(_to_pod(inlet, writer), name=f"{name} there")
    back = tasks.start(_from_pod(reader, give), name=f"{name} back")
    try:
        await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait((there, back), timeout=_GRACE)
        if any(task.done() and task.result() for task in (there, back)):
            raise broken(pod, port)
    finally:
        inlet.close()
        there.cancel()
        back.cancel()
        await asyncio.wait((there, back))
        if there.cancelled() and writer.transport.get_write_buffer_size():
            writer.transport.abort()  # the pod takes nothing, and nobody waits for it any more
        else:
            writer.close()


async def _to_pod(inlet: Inlet, writer: asyncio.StreamWriter) -> bool:
    """Whether it broke."""
    try:
        while data := await inlet.get():
            writer.write(data)
            await writer.drain()
    except OSError:
        return True
    return False


async def _from_pod(reader: asyncio.StreamReader, give: Callable[[bytes], Awaitable[None]]) -> bool:
    """Whether it broke."""
    try:
        while data := await reader.read(MAX_DATA):
            await give(data)
    except OSError:
        return True
    except ClientLeft:
        pass
    return False


async def forward_channels(socket: WebSocket, target: ForwardTarget, ports: PodPorts) -> None:
    """Stay until all ports' connections have ended, or the client has left; then close.

    Raises ClientLeft.
    """
    inlets = [Inlet() for _ in target.ports]
    for number, port in enumerate(target.ports):
        for channel in (2 * number, 2 * number + 1):
            await socket.send(channel, port.to_bytes(2, "little"))

    async def one(number: int, port: int) -> None:
        try:
            await forward(ports, target.pod, port, inlets[number], lambda data: socket.send(2 * number, data))
        except ForwardFailed as failed:
            with contextlib.suppress(ClientLeft):
                await socket.send(2 * number + 1, str(failed).encode())

    name = f"devcluster port-forward {target.pod.name}"
    reading = tasks.start(_distribute(socket, inlets), name=f"{name} input")
    try:
        await asyncio.gather(*(one(number, port) for number, port in enumerate(target.ports)))
        await socket.close()
    finally:
        reading.cancel()
        await asyncio.wait((reading,))


async def _distribute(socket: WebSocket, inlets: list[Inlet]) -> None:
    """Each message to its port; one port that takes nothing holds up the others, as it does there."""
    async for message in socket.messages():
        decoded = socket.subprotocol.decode(message)
        if decoded is not None and decoded[0] % 2 == 0 and decoded[0] < 2 * len(inlets) and decoded[1]:
            await inlets[decoded[0] // 2].put(bytes(decoded[1]))
    for inlet in inlets:
        await inlet.put(b"")
