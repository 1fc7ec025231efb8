"""One request: who asks, what is answered, and a stream where one is asked for. Each is told to the audit log."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

from k8s_ws_proxy.devcluster import (
    api,
    audit,
    codec,
    going_on,
    http,
    log,
    podproxy,
    podupgrade,
    requestinfo,
    status,
    websocket,
)
from k8s_ws_proxy.devcluster.access import Access
from k8s_ws_proxy.devcluster.authorizer import Authorizer
from k8s_ws_proxy.devcluster.exec import ExecSession
from k8s_ws_proxy.devcluster.faults import Death, Die, Hang, Say
from k8s_ws_proxy.devcluster.http import Response
from k8s_ws_proxy.devcluster.log import LogTarget
from k8s_ws_proxy.devcluster.observed import Seen
from k8s_ws_proxy.devcluster.podproxy import ProxyTarget
from k8s_ws_proxy.devcluster.portforward import forward_channels
from k8s_ws_proxy.devcluster.subresources import Action, ForwardTarget, StreamTarget
from k8s_ws_proxy.devcluster.tunnel import Tunnel
from k8s_ws_proxy.devcluster.websocket import ClientLeft, WebSocket
from k8s_ws_proxy.devcluster.world import Phase
from k8s_ws_proxy.observe import tasks

_Done = TypeVar("_Done")

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from k8s_ws_proxy.devcluster.api import Answer
    from k8s_ws_proxy.devcluster.audit import AuditLog, Entry
    from k8s_ws_proxy.devcluster.credentials import Credentials
    from k8s_ws_proxy.devcluster.faults import Faults
    from k8s_ws_proxy.devcluster.http import Connection, Request
    from k8s_ws_proxy.devcluster.nodes import Node
    from k8s_ws_proxy.devcluster.observed import Observed
    from k8s_ws_proxy.devcluster.state import State
    from k8s_ws_proxy.devcluster.tls import TlsStream


class Handler:
    """What all requests of one cluster have in common."""

    def __init__(
        self,
        state: State,
        credentials: Credentials,
        node: Node,
        faults: Faults,
        observed: Observed,
        audit_log: AuditLog,
    ) -> None:
        self._state = state
        self._credentials = credentials
        self._node = node
        self._faults = faults
        self._observed = observed
        self._audit = audit_log
        self._authorizer = Authorizer(state, faults)
        self._execs: set[ExecSession] = set()

    def restart_runtime(self) -> None:
        """Say of every exec that its command has succeeded; they live on, and what they were saying is lost."""
        for each in self._execs:
            each.claim()

    async def handle(self, request: Request, connection: Connection, stream: TlsStream) -> None:
        """Answer it, and serve the stream that it asked for to its end."""
        offered = tuple(request.listed("sec-websocket-protocol"))
        what = requestinfo.what(request)
        self._observed.seen.append(Seen(request.method, request.target, offered, request.headers, what))
        self._observed.changed()
        entry = self._audit.request(request, stream.peer)
        try:
            await self._handle(request, connection, stream, entry)
        finally:
            entry.complete()

    async def _handle(self, request: Request, connection: Connection, stream: TlsStream, entry: Entry) -> None:
        streams = request.wants_upgrade or requestinfo.what(request).endswith(" pods/log")
        fault = self._faults.take() if streams else None
        if isinstance(fault, Hang):
            await stream.discard()
            return
        if isinstance(fault, Say):
            await self._say(fault, stream)
            return
        answer = self._answer(request, stream, entry, fault if isinstance(fault, Response) else None)
        death = fault if isinstance(fault, Die) else None
        if isinstance(answer, LogTarget):
            await self._log(connection, stream, answer, death, entry)
            return
        if isinstance(answer, ProxyTarget) and request.wants_upgrade:
            await self._upgrade(answer, connection, stream, death, entry)
            return
        if not isinstance(answer, StreamTarget | ForwardTarget):
            with self._observed.answering():
                await self._respond(answer, connection, stream, entry)
            return
        choose = codec.choose_forward if isinstance(answer, ForwardTarget) else codec.choose
        accepted = websocket.handshake(request, choose)
        if isinstance(accepted, Response):
            await _send(accepted, connection, entry)
            return
        entry.started(101)
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

    async def _respond(
        self, answer: Response | ProxyTarget, connection: Connection, stream: TlsStream, entry: Entry
    ) -> None:
        if isinstance(answer, Response):
            await _send(answer, connection, entry)
            return
        said = await _unless_left(podproxy.forward(answer), stream)
        if isinstance(said, Response):
            await _send(said, connection, entry)
            return
        entry.started(200)
        with contextlib.closing(said):
            await going_on.send(connection, stream, said.body, None, said.headers)

    async def _upgrade(
        self, target: ProxyTarget, connection: Connection, stream: TlsStream, death: Die | None, entry: Entry
    ) -> None:
        upgraded = await _unless_left(podupgrade.connect(target, stream.peer), stream)
        if isinstance(upgraded, Response):
            await _send(upgraded, connection, entry)
            return
        entry.started(101)
        with self._counted():
            await podupgrade.carry(upgraded, stream, connection.hand_over(), death)

    async def _log(
        self, connection: Connection, stream: TlsStream, target: LogTarget, death: Die | None, entry: Entry
    ) -> None:
        container, pod = target.container.name, target.pod.name
        try:
            file = await self._node.main(target).log(previous=target.options.previous)
        except OSError as error:
            why = f'container "{container}" in pod "{pod}" is waiting to start: {error.strerror}'
            await _send(http.of_status(status.bad_request(why)), connection, entry)
            return
        if file is None:
            await _send(http.of_status(status.no_previous(container, pod)), connection, entry)
            return
        with self._counted():
            if target.pod.phase is Phase.COMPLETED:
                await self._node.main(target).ended()
            entry.started(200)
            fields = (*log.FIELDS, (audit.HEADER, entry.audit_id))
            await going_on.send(connection, stream, file.read(target.options), death, fields)

    async def _stream(self, socket: WebSocket, target: StreamTarget | ForwardTarget) -> None:
        with self._counted(), contextlib.suppress(ClientLeft):
            await socket.die_at_once()
            if isinstance(target, ForwardTarget):
                await self._forward(socket, target)
            elif target.action is Action.EXEC:
                await self._exec(ExecSession(socket, target), target)
            else:
                await self._node.main(target).attach(socket, target)

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

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        self._observed.open_streams += 1
        self._observed.changed()
        try:
            yield
        finally:
            self._observed.open_streams -= 1
            self._observed.changed()

    def _answer(self, request: Request, stream: TlsStream, entry: Entry, ordered: Response | None) -> Answer:
        certificate = stream.client_certificate
        user = self._credentials.user(request, certificate)
        if user is not None:
            entry.user(user)
        if ordered is not None:
            return ordered
        if user is None:
            entry.unauthenticated(request, certificate=bool(certificate))
            return http.of_status(status.UNAUTHORIZED)
        return api.answer(request, Access(user, self._authorizer, entry), self._state, self._faults)


async def _unless_left(work: Coroutine[Any, Any, _Done], stream: TlsStream) -> _Done:
    """What comes of `work`.

    Raises ConnectionResetError if the client has left before.
    """
    task: asyncio.Task[_Done] = tasks.start(work, name="devcluster pod proxy")
    try:
        await asyncio.wait((task, stream.left), return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
    if task.cancelled():
        raise ConnectionResetError("the client has left")
    return task.result()


async def _send(response: Response, connection: Connection, entry: Entry) -> None:
    """An answer in full, with the request's Audit-ID where the apiserver itself says it."""
    entry.started(response.status, response)
    own = not (response.bare or response.handed_through)
    await connection.send(response, *([(audit.HEADER, entry.audit_id)] if own else ()))
