"""The listener: TLS connections in, HTTP on them, and a stream where one is asked for."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from k8s_ws_proxy.devcluster import api, codec, http, log, podproxy, status, websocket
from k8s_ws_proxy.devcluster.api import Action, Answer, ForwardTarget, StreamTarget
from k8s_ws_proxy.devcluster.exec import ExecSession
from k8s_ws_proxy.devcluster.faults import Death, Die, Hang, Say
from k8s_ws_proxy.devcluster.http import Connection, Malformed, Request, Response
from k8s_ws_proxy.devcluster.log import LogTarget
from k8s_ws_proxy.devcluster.observed import Seen
from k8s_ws_proxy.devcluster.portforward import forward_channels
from k8s_ws_proxy.devcluster.tls import TlsStream
from k8s_ws_proxy.devcluster.tunnel import Tunnel
from k8s_ws_proxy.devcluster.websocket import ClientLeft, WebSocket
from k8s_ws_proxy.devcluster.world import Phase
from k8s_ws_proxy.observe import tasks

if TYPE_CHECKING:
    import ssl

    from k8s_ws_proxy.devcluster.api import Answer
    from k8s_ws_proxy.devcluster.credentials import Credentials
    from k8s_ws_proxy.devcluster.faults import Faults
    from k8s_ws_proxy.devcluster.nodes import Node
    from k8s_ws_proxy.devcluster.observed import Observed
    from k8s_ws_proxy.devcluster.podproxy import ProxyTarget
    from k8s_ws_proxy.devcluster.state import State


class Server:
    """All connections of one cluster."""

    def __init__(
        self,
        state: State,
        credentials: Credentials,
        node: Node,
        faults: Faults,
        observed: Observed,
        context: ssl.SSLContext,
    ) -> None:
        self._state = state
        self._credentials = credentials
        self._node = node
        self._faults = faults
        self._observed = observed
        self._context = context
        self._listener: asyncio.Server | None = None
        self._streams: set[TlsStream] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._execs: set[ExecSession] = set()
        self.port = 0

    async def listen(self, address: str, port: int) -> None:
        """Listen there; `port` 0 takes any free one.

        Raises OSError if it can't.
        """
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._connection, address, port, backlog=1024)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop_listening(self, *, drop: bool = False) -> None:
        """Refuse what comes from now on; with `drop`, reset what is there."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if drop:
            for stream in self._streams:
                stream.reset()

    def restart_runtime(self) -> None:
        """Say of every exec that its command has succeeded; they live on, and what they were saying is lost."""
        for each in self._execs:
            each.claim()

    async def drop_all(self) -> None:
        """Listen no more, and cut every connection. What served them ends when its process does."""
        await self.stop_listening()
        for stream in self._streams:
            stream.abort()

    async def wait_closed(self) -> None:
        """Return when no connection is left, nor anything that served one."""
        await asyncio.gather(*self._serving, *(stream.closed for stream in self._streams))

    def _connection(self) -> TlsStream:
        stream = TlsStream(self._context, self._opened)
        self._streams.add(stream)
        stream.closed.add_done_callback(lambda _: self._streams.discard(stream))
        return stream

    def _opened(self, stream: TlsStream) -> None:
        task = tasks.start(self._serve(stream), name="devcluster connection")
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, stream: TlsStream) -> None:
        connection = Connection(stream)
        try:
            while (request := await connection.receive()) is not None:
                await self._handle(request, connection, stream)
        except Malformed as malformed:
            await connection.send(malformed.response)
        except ConnectionError:
            pass  # the client left while it was being answered
        finally:
            stream.finish()

    async def _handle(self, request: Request, connection: Connection, stream: TlsStream) -> None:
        offered = tuple(request.listed("sec-websocket-protocol"))
        what = api.what(request)
        self._observed.seen.append(Seen(request.method, request.target, offered, request.headers, what))
        self._observed.changed()
        streams = request.wants_upgrade or what.endswith(" pods/log")
        fault = self._faults.take() if streams else None
        if isinstance(fault, Hang):
            await stream.discard()
            return
        if isinstance(fault, Say):
            await self._say(fault, stream)
            return
        answer = fault if isinstance(fault, Response) else self._answer(request, stream)
        death = fault if isinstance(fault, Die) else None
        if isinstance(answer, LogTarget):
            await self._log(connection, stream, answer, death)
            return
        if not isinstance(answer, StreamTarget | ForwardTarget):
            with self._observed.answering():
                await self._respond(answer, connection, stream)
            return
        choose = codec.choose_forward if isinstance(answer, ForwardTarget) else codec.choose
        accepted = websocket.handshake(request, choose)
        if isinstance(accepted, Response):
            await connection.send(accepted)
            return
        early = await connection.upgrade(accepted.headers)
        await self._stream(WebSocket(stream, accepted.subprotocol, early, death), answer)

    async def _say(self, fault: Say, stream: TlsStream) -> None:
        stream.write(fault.data)
        await stream.drain()
        if fault.then is Death.RESET:
            stream.reset()
        elif fault.then is None:
            await stream.discard()
        else:
            stream.finish()

    async def _respond(self, answer: Response | ProxyTarget, connection: Connection, stream: TlsStream) -> None:
        if isinstance(answer, Response):
            await connection.send(answer)
            return
        forwarding = tasks.start(podproxy.forward(answer), name="devcluster pod proxy")
        try:
            await asyncio.wait((forwarding, stream.left), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not forwarding.done():
                forwarding.cancel()
                await asyncio.wait((forwarding,))
        if forwarding.cancelled():
            raise ConnectionResetError("the client has left")
        await connection.send(forwarding.result())

    async def _log(self, connection: Connection, stream: TlsStream, target: LogTarget, death: Die | None) -> None:
        container, pod = target.container.name, target.pod.name
        try:
            file = await self._node.main(target).log(previous=target.options.previous)
        except OSError as error:
            why = f'container "{container}" in pod "{pod}" is waiting to start: {error.strerror}'
            await connection.send(http.of_status(status.bad_request(why)))
            return
        if file is None:
            await connection.send(http.of_status(status.no_previous(container, pod)))
            return
        self._observed.open_streams += 1
        self._observed.changed()
        try:
            if target.pod.phase is Phase.COMPLETED:
                await self._node.main(target).ended()
            await log.send(connection, stream, file.read(target.options), death)
        finally:
            self._observed.open_streams -= 1
            self._observed.changed()

    async def _stream(self, socket: WebSocket, target: StreamTarget | ForwardTarget) -> None:
        self._observed.open_streams += 1
        self._observed.changed()
        try:
            with contextlib.suppress(ClientLeft):
                await socket.die_at_once()
                if isinstance(target, ForwardTarget):
                    await self._forward(socket, target)
                elif target.action is Action.EXEC:
                    await self._exec(ExecSession(socket, target), target)
                else:
                    await self._node.main(target).attach(socket, target)
        finally:
            self._observed.open_streams -= 1
            self._observed.changed()

    async def _exec(self, session: ExecSession, target: StreamTarget) -> None:
        self._execs.add(session)
        try:
            await session.run(lambda: self._node.start(target))
        finally:
            self._execs.discard(session)

    async def _forward(self, socket: WebSocket, target: ForwardTarget) -> None:
        if socket.subprotocol.raw:
            await Tunnel(socket, target, self._node.ports).run()
        else:
            await forward_channels(socket, target, self._node.ports)

    def _answer(self, request: Request, stream: TlsStream) -> Answer:
        user = self._credentials.user(request, stream.client_certificate)
        if user is None:
            return http.of_status(status.UNAUTHORIZED)
        return api.answer(request, user, self._state, self._faults)
