"""The listener: TLS connections in, HTTP on them, one request after the other to the handler."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from k8s_ws_proxy.devcluster.http import Connection, Malformed
from k8s_ws_proxy.devcluster.tls import TlsStream
from k8s_ws_proxy.observe import tasks

if TYPE_CHECKING:
    import ssl

    from k8s_ws_proxy.devcluster.handler import Handler


class Server:
    """All connections of one cluster."""

    def __init__(
        self,
        handler: Handler,
        context: ssl.SSLContext,
    ) -> None:
        self._handler = handler
        self._context = context
        self._listener: asyncio.Server | None = None
        self._closed = False  # also to who has been accepted, and isn't connected yet
        self._streams: set[TlsStream] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self.port = 0

    async def listen(self, address: str, port: int) -> None:
        """Listen there; `port` 0 takes any free one.

        Raises OSError if it can't.
        """
        loop = asyncio.get_running_loop()
        self._closed = False
        self._listener = await loop.create_server(self._connection, address, port, backlog=1024)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop_listening(self, *, drop: bool = False) -> None:
        """Refuse what comes from now on; with `drop`, reset what is there."""
        self._closed = True
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if drop:
            for stream in self._streams:
                stream.reset()

    async def drop_all(self) -> None:
        """Listen no more, and cut every connection. What served them ends when its process does."""
        await self.stop_listening()
        for stream in self._streams:
            stream.abort()

    async def wait_closed(self) -> None:
        """Return when no connection is left, nor anything that served one."""
        await asyncio.gather(*self._serving, *(stream.closed for stream in self._streams))

    def _connection(self) -> TlsStream:
        """What asyncio asks for when it has accepted somebody: it may come to nothing, if no one listens any more."""
        return TlsStream(self._context, self._connected, self._opened)

    def _connected(self, stream: TlsStream) -> None:
        self._streams.add(stream)
        stream.closed.add_done_callback(lambda _: self._streams.discard(stream))
        if self._closed:
            stream.abort()

    def _opened(self, stream: TlsStream) -> None:
        task = tasks.start(self._serve(stream), name="devcluster connection")
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, stream: TlsStream) -> None:
        connection = Connection(stream)
        try:
            while (request := await connection.receive()) is not None:
                await self._handler.handle(request, connection, stream)
        except Malformed as malformed:
            await connection.send(malformed.response)
        except ConnectionError:
            pass  # the client left while it was being answered
        finally:
            stream.finish()
