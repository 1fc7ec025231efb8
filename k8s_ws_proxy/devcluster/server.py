"""The listener: TLS connections in, HTTP on them, and a stream where one is asked for."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from k8s_ws_proxy.devcluster import api, http, status, websocket
from k8s_ws_proxy.devcluster.api import Action, StreamTarget
from k8s_ws_proxy.devcluster.exec import ExecSession
from k8s_ws_proxy.devcluster.faults import Hang
from k8s_ws_proxy.devcluster.http import Connection, Malformed, Request, Response
from k8s_ws_proxy.devcluster.tls import TlsStream
from k8s_ws_proxy.devcluster.websocket import ClientLeft, WebSocket
from k8s_ws_proxy.observe import tasks

if TYPE_CHECKING:
    import ssl

    from k8s_ws_proxy.devcluster.credentials import Credentials
    from k8s_ws_proxy.devcluster.faults import Fault, Faults
    from k8s_ws_proxy.devcluster.nodes import Node
    from k8s_ws_proxy.devcluster.world import World


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it came: `target` is path and query, undecoded; `offered` are the subprotocols, in order."""

    method: str
    target: str
    offered: tuple[str, ...]
    headers: tuple[tuple[str, str], ...]


class Server:
    """All connections of one cluster."""

    def __init__(
        self, world: World, credentials: Credentials, node: Node, faults: Faults, context: ssl.SSLContext
    ) -> None:
        self._world = world
        self._credentials = credentials
        self._node = node
        self._faults = faults
        self._context = context
        self._listener: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], TlsStream] = {}
        self.port = 0
        self.seen: list[Seen] = []
        self.open_streams = 0

    async def listen(self, port: int) -> None:
        """Listen on 127.0.0.1; `port` 0 takes any free one.

        Raises OSError if it can't.
        """
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: TlsStream(self._context, self._accept), "127.0.0.1", port, backlog=1024
        )
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop_listening(self, *, drop: bool = False) -> None:
        """Refuse what comes from now on; with `drop`, reset what is there."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if drop:
            for stream in self._connections.values():
                stream.reset()

    async def stop(self) -> None:
        """End everything at once."""
        await self.stop_listening()
        running = list(self._connections)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    def _accept(self, stream: TlsStream) -> None:
        task = tasks.start(self._serve(stream), name="devcluster connection")
        self._connections[task] = stream
        task.add_done_callback(self._connections.pop)

    async def _serve(self, stream: TlsStream) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                await self._requests(stream)
        finally:
            stream.finish()

    async def _requests(self, stream: TlsStream) -> None:
        connection = Connection(stream)
        while True:
            try:
                request = await connection.receive()
            except Malformed as malformed:
                await connection.send(malformed.response)
                return
            if request is None:
                return
            self._note(request)
            fault = self._fault(request)
            if isinstance(fault, Hang):
                while await stream.read(4096):
                    pass
                return
            answer = fault if isinstance(fault, Response) else self._answer(request, stream)
            accepted = answer if isinstance(answer, Response) else websocket.handshake(request)
            if isinstance(answer, Response) or isinstance(accepted, Response):
                assert isinstance(accepted, Response)
                await connection.send(accepted)
                continue
            headers, subprotocol = accepted
            early = await connection.upgrade(headers)
            await self._stream(WebSocket(stream, subprotocol, early, fault), answer)
            return

    async def _stream(self, socket: WebSocket, target: StreamTarget) -> None:
        self.open_streams += 1
        try:
            with contextlib.suppress(ClientLeft):
                await socket.die_at_once()
                if target.action is Action.EXEC:
                    await ExecSession(socket, target).run(lambda: self._node.start(target))
                else:
                    await self._node.main(target).attach(socket, target)
        finally:
            self.open_streams -= 1

    def _note(self, request: Request) -> None:
        offered = tuple(request.listed("sec-websocket-protocol"))
        self.seen.append(Seen(request.method, request.target, offered, request.headers))

    def _fault(self, request: Request) -> Fault | None:
        return self._faults.take() if request.wants_upgrade else None

    def _answer(self, request: Request, stream: TlsStream) -> Response | StreamTarget:
        user = self._credentials.user(request, stream.client_certificate)
        if user is None:
            return http.of_status(status.UNAUTHORIZED)
        return api.answer(request, user, self._world, kubelet_up=self._faults.kubelet_up)
