"""The TCP ports of pods. A pod here has no network of its own: each port it listens on is one on this machine's
loopback.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from k8s_ws_proxy.devcluster.world import Pod, World

_CHUNK = 65536


class ForwardFailed(Exception):
    """The pod can't be spoken to at this port; the message is the kubelet's, with the runtime's in it."""


class PodPorts:
    """Which port of this machine stands for which port of a pod.

    A port that a container declares is served from here, from its first connection on: whatever is asked, the answer
    is a line of greeting over HTTP.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._local: dict[tuple[str, str, int], int] = {}
        self._servers: list[asyncio.Server] = []
        self._lock = asyncio.Lock()

    def open(self, namespace: str, name: str, port: int, local_port: int) -> None:
        """From now on `port` of this pod is `local_port` on 127.0.0.1, where somebody may listen or not."""
        self._local[namespace, name, port] = local_port

    async def connect(self, pod: Pod, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the port.

        Raises ForwardFailed if nothing listens there.
        """
        key = (pod.namespace, pod.name, port)
        async with self._lock:
            if key not in self._local and any(port in each.ports for each in pod.containers):
                self._local[key] = await self._greet(pod)
        try:
            if key in self._local:
                return await asyncio.open_connection("127.0.0.1", self._local[key], limit=_CHUNK)
        except OSError:
            pass  # the same as where nothing ever listened
        inside = f'failed to connect to localhost:{port} inside namespace "{_sandbox(pod)}", '
        refused = "connect: connection refused"
        v4, v6 = f"dial tcp4 127.0.0.1:{port}: {refused}", f"dial tcp6 [::1]:{port}: {refused}"
        raise ForwardFailed(_failure(pod, port, f"{inside}IPv4: {v4} IPv6 {v6} "))

    async def stop(self) -> None:
        """Serve no port any more."""
        for server in self._servers:
            server.close()

    async def _greet(self, pod: Pod) -> int:
        body = f"hello from the pod {pod.name}\n".encode()
        head = f"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n".encode()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(head + body)
                await writer.drain()
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                pass  # it left, or asked for nothing that can be answered
            finally:
                writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port


def broken(pod: Pod, port: int) -> ForwardFailed:
    """The connection to the port was reset."""
    return ForwardFailed(_failure(pod, port, f"read tcp4 127.0.0.1:{port}: read: connection reset by peer"))


def _failure(pod: Pod, port: int, why: str) -> str:
    """As it reaches a client through kubelet and containerd, whose streaming server knows sandboxes, and no uids."""
    sandbox = _sandbox(pod)
    network = f'failed to execute portforward in network namespace "/var/run/netns/cni-{sandbox[:8]}"'
    return f"error forwarding port {port} to pod {sandbox}, uid : {network}: {why}"


def _sandbox(pod: Pod) -> str:
    return hashlib.sha256(f"{pod.namespace}/{pod.name}".encode()).hexdigest()
