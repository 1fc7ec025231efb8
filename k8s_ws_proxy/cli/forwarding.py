"""A port-forward from the person's side: TCP connections on one end, a WebSocket for each on the other."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TextIO

import aiohttp

from k8s_ws_proxy.cli.answers import named, printable
from k8s_ws_proxy.cli.client import let_in, upgraded
from k8s_ws_proxy.cli.keepalive import Keepalive
from k8s_ws_proxy.cli.signals import cancelled_by_signals
from k8s_ws_proxy.errors import ProxyError
from k8s_ws_proxy.wire.framing import channels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from k8s_ws_proxy.cli.connection import Connection
    from k8s_ws_proxy.cli.ports import Forward

_DATA, _ERROR = 0, 1  # the channels of the only port that is asked for
_BEGIN: Final = 2  # bytes: each channel begins with the port's number
_CHUNK: Final = 64 * 1024  # bytes
# Seconds. Whether a program has closed its connection or only its own direction can't be seen; and v4 has no way to
# tell the pod of either. So what the pod still has to say is waited for, as long as it keeps saying it. After a reset,
# too: why the port couldn't be reached is for the person, who is still there.
_AFTER_END: Final = 3.0


async def serve(
    connect: Callable[[], Connection], path: str, forwards: Sequence[Forward], addresses: Sequence[tuple[str, bool]]
) -> int:
    """Listen and forward until a signal; the exit status.

    ``connect`` says anew for each connection how to reach the proxy: a secret that was replaced meanwhile is taken.
    Raises ProxyError if the proxy won't let us in, or a port can't be had.
    """
    with cancelled_by_signals() as caught, contextlib.ExitStack() as stack:
        try:
            await let_in(connect(), path)
            bound = [(forward, stack.enter_context(sock)) for forward in forwards for sock in _bind(forward, addresses)]
            async with asyncio.TaskGroup() as group:
                with contextlib.ExitStack() as listening:  # until the connections are about to be ended, too
                    for forward, sock in bound:
                        server = await _listen(group, sock, partial(_Forwarded, connect, path, forward.remote))
                        listening.callback(server.close)
                    for forward, sock in bound:
                        _say(f"Forwarding from {_shown(*sock.getsockname()[:2])} -> {forward.remote}", sys.stdout)
                    await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            if not caught:
                raise
    return 0


def _bind(forward: Forward, addresses: Sequence[tuple[str, bool]]) -> list[socket.socket]:
    """Sockets on all addresses, with the same port. Raises ProxyError."""
    bound: list[socket.socket] = []
    port = forward.local
    for address, must in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            sock = socket.create_server((address, port), family=family)
        except OSError as error:
            if not must and bound:
                continue
            for sock in bound:
                sock.close()
            raise ProxyError(
                f"can't listen on {_shown(address, port)}: {os.strerror(error.errno or 0)}. "
                f":{forward.remote} takes any port that is free"
            ) from error
        bound.append(sock)
        port = sock.getsockname()[1]
    return bound


async def _listen(
    group: asyncio.TaskGroup,
    sock: socket.socket,
    forwarded: Callable[[asyncio.StreamReader, asyncio.StreamWriter], _Forwarded],
) -> asyncio.Server:
    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        group.create_task(forwarded(reader, writer).run(), name="forward")

    return await asyncio.start_server(accept, sock=sock, limit=_CHUNK)


class _Forwarded:
    """One connection."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        path: str,
        port: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._connect = connect
        self._path = path
        self._port = port
        self._reader = reader
        self._writer = writer
        self._heard = asyncio.Event()
        self._left = {_DATA: _BEGIN, _ERROR: _BEGIN}  # bytes of each channel that are not yet data

    async def run(self) -> None:
        """Carry it to its end; what goes wrong is told on stderr."""
        problem = ""
        try:
            async with upgraded(self._connect(), self._path, f"ports={self._port}", (channels.V4,)) as opened:
                problem = named(await self._carry(opened.ws), opened.session)
        except ProxyError as error:
            problem = str(error)
        finally:
            if problem:
                _say(f"k8s-ws-proxy: connection to port {self._port}: {problem}", sys.stderr)
                self._writer.transport.abort()
            with contextlib.suppress(OSError):
                self._writer.close()

    async def _carry(self, ws: aiohttp.ClientWebSocketResponse[Any]) -> str:
        """What went wrong, if anything did."""
        async with asyncio.TaskGroup() as group:
            keepalive = Keepalive(ws, group)
            there = group.create_task(self._to_pod(ws), name="to the pod")
            back = group.create_task(self._from_pod(ws, keepalive), name="from the pod")
            try:
                await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
                while not back.done():
                    self._heard.clear()
                    waiting = group.create_task(self._heard.wait(), name="heard of the pod")
                    done, _ = await asyncio.wait(
                        (back, waiting), timeout=_AFTER_END, return_when=asyncio.FIRST_COMPLETED
                    )
                    waiting.cancel()
                    if not done and not keepalive.is_stuck:
                        break
                return back.result() if back.done() else ""
            finally:
                for task in (there, back):
                    task.cancel()
                keepalive.stop()

    async def _to_pod(self, ws: aiohttp.ClientWebSocketResponse[Any]) -> None:
        """What the program says, to the end of its side, or of the WebSocket: why that ended, _from_pod learns."""
        with contextlib.suppress(OSError):
            while data := await self._reader.read(_CHUNK):
                await ws.send_bytes(bytes((_DATA,)) + data)

    async def _from_pod(self, ws: aiohttp.ClientWebSocketResponse[Any], keepalive: Keepalive) -> str:
        """What went wrong, if anything did."""
        told = ""
        while True:
            message = await ws.receive()
            match message.type:
                case aiohttp.WSMsgType.BINARY | aiohttp.WSMsgType.TEXT:
                    self._heard.set()
                    channel, data = self._split(message.data)
                    if channel == _ERROR:
                        told += printable(data.decode(errors="replace"))
                    elif channel == _DATA and data:
                        try:
                            self._writer.write(data)
                            with keepalive.stuck():
                                await self._writer.drain()
                        except OSError:
                            return ""  # the program is gone, and needn't be told
                case aiohttp.WSMsgType.PING:
                    keepalive.answer(message.data)
                case aiohttp.WSMsgType.PONG:
                    pass
                case _:
                    return told.strip() or _lost(message)

    def _split(self, message: bytes) -> tuple[int, bytes]:
        """Channel and data of a message, without the number that the channel begins with."""
        channel, data = (message[0], message[1:]) if message else (_DATA, b"")
        begin = min(self._left.get(channel, 0), len(data))
        if begin:
            self._left[channel] -= begin
        return channel, data[begin:]


def _lost(message: aiohttp.WSMessage) -> str:
    if message.type is aiohttp.WSMsgType.CLOSE:
        if message.data == aiohttp.WSCloseCode.OK:
            return ""
        return printable(str(message.extra or "")) or f"the proxy closed it with {message.data}"
    if message.type is aiohttp.WSMsgType.ERROR:
        return f"the proxy's answer can't be understood: {printable(str(message.data))}"
    return "the connection to the proxy was lost"


def _shown(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _say(line: str, file: TextIO) -> None:
    """To whoever may not listen any more."""
    with contextlib.suppress(OSError, ValueError):
        print(line, file=file, flush=True)
