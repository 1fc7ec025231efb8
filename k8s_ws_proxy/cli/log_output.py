"""A log from the proxy to standard output: lines in as they come, written as many at a time as there are."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import aiohttp

from k8s_ws_proxy.cli.answers import named, printable
from k8s_ws_proxy.cli.client import upgraded
from k8s_ws_proxy.cli.descriptors import Output
from k8s_ws_proxy.cli.keepalive import Keepalive
from k8s_ws_proxy.cli.session import Ending
from k8s_ws_proxy.cli.signals import cancelled_by_signals
from k8s_ws_proxy.wire.framing import channels, frames

if TYPE_CHECKING:
    from k8s_ws_proxy.cli.client import Upgraded
    from k8s_ws_proxy.cli.connection import Connection

_ENOUGH: Final = 256 * 1024  # bytes that wait to be written before no more are received


async def show(to: Connection, path: str, query: str) -> Ending:
    """Write the log until it ends. Raises ProxyError if it couldn't be opened."""
    with cancelled_by_signals() as caught, Output(1) as output:
        try:
            async with upgraded(to, path, query, channels.LOG_SUBPROTOCOLS) as opened, asyncio.TaskGroup() as group:
                return await _Log(opened, output).run(group)
        except asyncio.CancelledError:
            if not caught:
                raise
            return Ending(signal=caught[0])


class _Log:
    """One open log. Receiving doesn't yield while lines are there, so that many are written at once."""

    def __init__(self, opened: Upgraded, output: Output) -> None:
        self._ws = opened.ws
        self._name = opened.session
        self._output = output
        self._lines = bytearray()
        self._changed = asyncio.Event()
        self._written = asyncio.Event()
        self._received = False
        self._failure = b""  # perhaps: what looks like one, until it is known what comes next

    async def run(self, group: asyncio.TaskGroup) -> Ending:
        """How it ended, when all that came is written."""
        keepalive = Keepalive(self._ws, group)
        receiving = group.create_task(self._receive(keepalive), name="receive lines")
        writing = group.create_task(self._write(keepalive), name="write lines")
        try:
            return await writing or await receiving
        finally:
            receiving.cancel()
            writing.cancel()
            keepalive.stop()

    async def _receive(self, keepalive: Keepalive) -> Ending:
        try:
            while True:
                message = await self._ws.receive()
                match message.type:
                    case aiohttp.WSMsgType.BINARY if not self._failure and _may_be_failure(message.data):
                        self._failure = message.data
                    case aiohttp.WSMsgType.BINARY:
                        self._lines += self._failure + message.data
                        self._failure = b""
                        self._changed.set()
                        while len(self._lines) > _ENOUGH:
                            self._written.clear()
                            await self._written.wait()
                    case aiohttp.WSMsgType.PING:
                        keepalive.answer(message.data)
                    case aiohttp.WSMsgType.PONG:
                        pass
                    case _:
                        ending = self._ended(message)
                        return replace(ending, message=named(ending.message, self._name))
        finally:
            self._received = True
            self._changed.set()

    async def _write(self, keepalive: Keepalive) -> Ending | None:
        """Write what has come, until nothing will any more; an Ending where there is nobody to write for."""
        while self._lines or not self._received:
            if not self._lines:
                self._changed.clear()
                await self._changed.wait()
                continue
            lines, self._lines = self._lines, bytearray()
            try:
                with keepalive.stuck():
                    await self._output.write(bytes(lines))
            except BrokenPipeError:
                return Ending(signal=signal.SIGPIPE)  # quietly, as every program in a pipe
            except OSError as error:
                return Ending(message=f"the output can't be written: {error.strerror}")
            self._written.set()
        return None

    def _ended(self, message: aiohttp.WSMessage) -> Ending:
        if message.type is aiohttp.WSMsgType.CLOSE:
            if self._failure and message.data == frames.INTERNAL_ERROR:
                return Ending(message=_sentence(self._failure))
            self._lines += self._failure
            if message.data == frames.NORMAL:
                return Ending(status=0)
            reason = printable(str(message.extra or "")) or f"close code {message.data}"
            return Ending(message=f"the log was cut off: {reason}")
        self._lines += self._failure
        if message.type is aiohttp.WSMsgType.ERROR:
            return Ending(message=f"the proxy's answer can't be understood: {printable(str(message.data))}")
        return Ending(message="the connection to the proxy was lost, and the log was cut off")


def _may_be_failure(message: bytes) -> bool:
    """Channel 3's byte and a Status, which is no line: it has no newline. It is one if close 1011 comes next."""
    return message[:1] == bytes((channels.STATUS,)) and message[-1:] == b"}"


def _sentence(message: bytes) -> str:
    """What the Status of a log that couldn't be opened says."""
    status = channels.parse_status(message[1:])
    text = status.get("message") or status.get("reason") if status else message[1:].decode(errors="replace")
    return printable(str(text or "the log couldn't be opened"))
