"""A session from the person's side: standard streams and signals on one end, a WebSocket on the other."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import aiohttp

from k8s_ws_proxy.cli.answers import named, printable
from k8s_ws_proxy.cli.client import upgraded
from k8s_ws_proxy.cli.descriptors import Input, Output
from k8s_ws_proxy.cli.keepalive import Keepalive
from k8s_ws_proxy.cli.signals import cancelled_by_signals
from k8s_ws_proxy.cli.terminal import Terminal
from k8s_ws_proxy.wire.framing import channels

if TYPE_CHECKING:
    from k8s_ws_proxy.cli.client import Upgraded
    from k8s_ws_proxy.cli.connection import Connection

_TAIL: Final = 256  # bytes: a line of the proxy's own
_CLOSE_AFTER_STATUS: Final = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Ending:
    """How it ended: an exit status and a sentence for stderr, or the signal to die of."""

    status: int = 1
    message: str = ""
    signal: int | None = None


async def converse(to: Connection, path: str, query: str, *, stdin: bool, tty: bool) -> Ending:
    """Open the session and stay until it has ended. The terminal is as it was before, then.

    Raises ProxyError if it couldn't be opened.
    """
    with (
        cancelled_by_signals() as caught,
        Input(0) if stdin else contextlib.nullcontext() as source,
        Output(1) as out,
        Output(2) as err,
    ):
        terminal = Terminal(0) if tty else None
        try:
            async with upgraded(to, path, query) as opened:
                # Raw only from now on: until here Ctrl-C has to work, and messages are for a terminal as it was.
                with terminal.raw() if terminal and stdin else contextlib.nullcontext():
                    return await Conversation(opened, source, out, err, terminal).run()
        except asyncio.CancelledError:
            if not caught:
                raise
            return Ending(signal=caught[0])


class Conversation:
    """One open session."""

    def __init__(
        self,
        opened: Upgraded,
        stdin: Input | None,
        stdout: Output,
        stderr: Output,
        terminal: Terminal | None,
    ) -> None:
        self._ws = opened.ws
        self._name = opened.session
        self._stdin = stdin
        self._outputs = {channels.STDOUT: stdout, channels.STDERR: stderr}
        self._terminal = terminal
        self._patience: float | None = None
        self._ending: Ending | None = None
        self._shown = b""  # the end of what was written last
        self._raw = terminal is not None and stdin is not None

    async def run(self) -> Ending:
        """Carry it to its end."""
        async with asyncio.TaskGroup() as group:
            keepalive = Keepalive(self._ws, group)
            helpers = self._begin(group)
            try:
                return await self._receive(keepalive)
            finally:
                for task in helpers:
                    task.cancel()
                keepalive.stop()

    def _begin(self, group: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """What goes on until it ends."""
        helpers = []
        if self._terminal is not None:
            helpers.append(group.create_task(self._watch_sizes(self._terminal), name="watch sizes"))
        if self._stdin is not None:
            helpers.append(group.create_task(self._send_input(self._stdin), name="send input"))
        return helpers

    async def _receive(self, keepalive: Keepalive) -> Ending:
        while True:
            try:
                # After the status only the close can come; nobody waits for ever for a proxy that forgot it.
                message = await self._ws.receive(_CLOSE_AFTER_STATUS if self._ending else self._patience)
            except TimeoutError:
                return self._ending or self._silent()
            match message.type:
                case aiohttp.WSMsgType.BINARY | aiohttp.WSMsgType.TEXT:
                    with keepalive.stuck():
                        ending = await self._take(message.data)
                    if ending is not None:
                        return ending
                case aiohttp.WSMsgType.PING:
                    keepalive.answer(message.data)
                case aiohttp.WSMsgType.PONG:
                    pass
                case _:
                    return self._ending or self._named(self._lost(message))

    def _silent(self) -> Ending:
        """Nothing was heard for as long as there is patience."""
        return self._named(Ending(message=f"there was no sign of life for {self._patience:g} s"))

    def _lost(self, message: aiohttp.WSMessage) -> Ending:
        """The connection ended, and channel 3 had said nothing."""
        return _lost(message)

    async def _take(self, data: bytes) -> Ending | None:
        """One message of the session; an Ending where there is nobody to show it to."""
        if not data:
            return None
        channel, payload = data[0], memoryview(data)[1:]
        if channel == channels.STATUS:
            ending = _ended(bytes(payload))
            # The proxy says why it ends a session on the terminal, too: once is enough.
            told = f"k8s-ws-proxy: {ending.message}".encode() in self._shown
            self._ending = replace(ending, message="") if told else self._named(ending)
        elif payload and (output := self._outputs.get(channel)) is not None:
            self._shown = bytes(payload[-_TAIL:])
            try:
                await output.write(payload)
            except BrokenPipeError:
                if channel == channels.STDOUT:
                    return Ending(signal=signal.SIGPIPE)  # quietly, as every program in a pipe
                del self._outputs[channel]
            except OSError as error:
                return Ending(message=f"the output can't be written: {error.strerror}")
        return None

    def _named(self, ending: Ending) -> Ending:
        return replace(ending, message=named(ending.message, self._name))

    async def _send_input(self, stdin: Input) -> None:
        with contextlib.suppress(ConnectionError):  # _receive learns why
            while data := await self._read(stdin):
                await self._ws.send_bytes(bytes((channels.STDIN,)) + data)
            if self._ws.protocol == channels.V5:
                await self._ws.send_bytes(bytes((channels.CLOSE, channels.STDIN)))

    async def _read(self, stdin: Input) -> bytes:
        try:
            return await stdin.read()
        except OSError:
            return b""  # what can't be read is at its end

    async def _watch_sizes(self, terminal: Terminal) -> None:
        """The size now and after each change, and the terminal raw again after a stop."""
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()
        changed.set()

        def on_continue() -> None:
            if self._raw:
                terminal.make_raw()
            changed.set()

        loop.add_signal_handler(signal.SIGWINCH, changed.set)
        loop.add_signal_handler(signal.SIGCONT, on_continue)
        try:
            with contextlib.suppress(ConnectionError):
                while await changed.wait():
                    changed.clear()
                    if (size := terminal.size()) is not None:
                        await self._resized(*size)
        finally:
            loop.remove_signal_handler(signal.SIGWINCH)
            loop.remove_signal_handler(signal.SIGCONT)

    async def _resized(self, columns: int, rows: int) -> None:
        """Our terminal is so large. Raises ConnectionError."""
        told = json.dumps({"Width": columns, "Height": rows}).encode()
        await self._ws.send_bytes(bytes((channels.RESIZE,)) + told)


def _ended(payload: bytes) -> Ending:
    """What channel 3 says."""
    status = channels.parse_status(payload)
    if status is None:  # without a subprotocol it is a plain text, about a failure
        return Ending(message=printable(payload.decode(errors="replace")).strip() or "the session failed")
    code = channels.exit_code(status)
    if code is not None:
        return Ending(status=code)
    return Ending(message=printable(str(status.get("message") or status.get("reason") or "the command didn't run")))


def _lost(message: aiohttp.WSMessage) -> Ending:
    """The connection ended, and channel 3 had said nothing."""
    if message.type is aiohttp.WSMsgType.CLOSE:
        reason = printable(str(message.extra or "")) or "without a reason"
        return Ending(message=f"the proxy ended the session before the command had an exit status: {reason}")
    if message.type is aiohttp.WSMsgType.ERROR:
        return Ending(message=f"the proxy's answer can't be understood: {printable(str(message.data))}")
    return Ending(message="the connection to the proxy was lost; how the command ended isn't known")
