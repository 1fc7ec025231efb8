"""Somebody else's terminal on this one: watched, or typed into."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import aiohttp

from k8s_ws_proxy.cli.answers import printable
from k8s_ws_proxy.cli.descriptors import Input, Output
from k8s_ws_proxy.cli.session import Conversation, Ending
from k8s_ws_proxy.cli.terminal import Terminal
from k8s_ws_proxy.wire.framing import channels
from k8s_ws_proxy.wire.rules.questions import Unasked

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from k8s_ws_proxy.cli.client import Upgraded

LEAVE: Final = b"\x1d"  # Ctrl-], as telnet and docker's kin have it
PATIENCE: Final = 60.0  # seconds without a sign of life, which is asked for four times in them
_INTERRUPT: Final = b"\x03"
_LEFT: Final = Ending(status=0, message="left; the session goes on")
_MAY_GO_ON: Final = "The session may go on"
_WAITING: Final = 1 << 20  # bytes of input that wait for whoever takes none
_MESSAGE: Final = 32768  # bytes of input in one message
_LAST_WORDS: Final = 1.0  # seconds for what was typed before the key to leave
_SETTLED: Final = 0.5  # seconds without a new size, there or here: until then ours may be on its way there and back


async def watch_session(
    opening: AbstractAsyncContextManager[Upgraded], *, peer: bool, patience: float = PATIENCE
) -> Ending:
    """Stay until the session has ended, or the person leaves it. The terminal is as it was before, then.

    Raises ProxyError if it can't be joined.
    """
    terminal = Terminal(0) if os.isatty(0) else None
    with (
        Input(0) if peer or terminal else contextlib.nullcontext() as source,
        Output(1) as out,
        Output(2) as err,
    ):
        async with opening as opened:
            with terminal.raw() if terminal else contextlib.nullcontext():
                return await _Watching(opened, source, out, err, terminal, peer=peer, patience=patience).run()


class _Watching(Conversation):
    """A conversation in which one side is somebody else's."""

    def __init__(
        self,
        opened: Upgraded,
        stdin: Input | None,
        out: Output,
        err: Output,
        own: Terminal | None,
        *,
        peer: bool,
        patience: float,
    ) -> None:
        super().__init__(opened, stdin, out, err, own)
        self._peer = peer
        self._err = err
        self._patience = patience
        self._every = patience / 4
        self._shown_size: tuple[int, int] | None = None
        self._own_size: tuple[int, int] | None = None
        self._sized = asyncio.Event()
        self._fits = True
        self._unasked = Unasked() if os.isatty(1) else None  # else it isn't a terminal that is asked
        self._typed = bytearray()  # and not yet sent
        self._changed = asyncio.Condition()

    def _begin(self, group: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        return [
            *super()._begin(group),
            group.create_task(self._ask_for_life(), name="ask for life"),
            group.create_task(self._send_typed(), name="send what was typed"),
            group.create_task(self._compare_when_settled(), name="compare sizes"),
        ]

    async def _take(self, data: bytes) -> Ending | None:
        if data[:1] == bytes((channels.RESIZE,)):
            with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
                size = json.loads(data[1:])
                self._shown_size = int(size["Width"]), int(size["Height"])
            await self._size_changed()
            return None
        if data[:1] == bytes((channels.STATUS,)):
            # How a command of somebody else's ended is told, and isn't how this one did.
            status = channels.parse_status(data[1:])
            code = channels.exit_code(status) if status else None
            how = "" if code is None else f", with exit status {code}"
            self._ending = Ending(status=0, message=f"the session has ended{how}")
            return None
        if data[:1] == bytes((channels.STDOUT,)) and self._unasked is not None:
            data = data[:1] + self._unasked.take(data[1:])
        return await super()._take(data)

    def _silent(self) -> Ending:
        """The session may be well: it is the way there that isn't, or its proxy."""
        return self._named(Ending(message=f"no sign of life from the proxy for {self._patience:g} s. {_MAY_GO_ON}"))

    def _lost(self, message: aiohttp.WSMessage) -> Ending:
        if message.type is aiohttp.WSMsgType.CLOSE:
            reason = printable(str(message.extra or "")) or "without a reason"
            return Ending(message=f"the proxy let you go: {reason}. {_MAY_GO_ON}")
        if message.type is aiohttp.WSMsgType.ERROR:
            return super()._lost(message)
        return Ending(message=f"the connection was lost. {_MAY_GO_ON}")

    async def _resized(self, columns: int, rows: int) -> None:
        """Who may type says so: it counts where the session's own client has said no size, and is told back then."""
        self._own_size = columns, rows
        if self._peer:
            await super()._resized(columns, rows)
        await self._size_changed()

    async def _size_changed(self) -> None:
        if self._peer:
            self._sized.set()
        else:
            await self._compare()

    async def _compare_when_settled(self) -> None:
        while await self._sized.wait():
            while self._sized.is_set():
                self._sized.clear()
                await asyncio.sleep(_SETTLED)
            await self._compare()

    async def _compare(self) -> None:
        """Say so where the terminal that is shown doesn't fit into this one any more: once, and not at each step."""
        own = self._own_size
        if own is None or self._shown_size is None:
            return
        columns, rows = self._shown_size
        fitted, self._fits = self._fits, columns <= own[0] and rows <= own[1]
        if fitted and not self._fits:
            counts = ", which doesn't count" if self._peer else ""
            text = f"it is {columns}x{rows}, and yours {own[0]}x{own[1]}{counts}: what doesn't fit is shown wrongly"
            with contextlib.suppress(OSError):
                await self._err.write(memoryview(f"\r\nk8s-ws-proxy: {text}\r\n".encode()))

    async def _send_input(self, stdin: Input) -> None:
        """Look for the key to leave in all that is typed, whether what came before it can be sent or not."""
        while data := await self._read(stdin):
            leaves = False
            if self._terminal is not None:
                data, leave, _ = data.partition(LEAVE)
                leaves = bool(leave) or (not self._peer and _INTERRUPT in data)
            if self._peer:
                await self._type(data)
            if leaves:
                await self._leave()
                return

    async def _type(self, data: bytes) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._typed) < _WAITING)
            self._typed += data
            self._changed.notify_all()

    async def _leave(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS), self._changed:
                await self._changed.wait_for(lambda: not self._typed)
        self._ending = replace(_LEFT)
        await self._ws.close()

    async def _send_typed(self) -> None:
        with contextlib.suppress(ConnectionError):  # _receive learns why
            while True:
                async with self._changed:
                    await self._changed.wait_for(lambda: bool(self._typed))
                data = bytes(self._typed[:_MESSAGE])
                await self._ws.send_bytes(bytes((channels.STDIN,)) + data)
                async with self._changed:
                    del self._typed[: len(data)]
                    self._changed.notify_all()

    async def _ask_for_life(self) -> None:
        """What stands between may live on while the proxy doesn't: the kernel's keepalive sees only the former."""
        with contextlib.suppress(ConnectionError):
            while True:
                await asyncio.sleep(self._every)
                await self._ws.ping()
