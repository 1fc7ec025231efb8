"""Somebody else's terminal on this one: watched, or typed into."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.cli.client import upgraded
from k8s_ws_proxy.cli.descriptors import Input, Output
from k8s_ws_proxy.cli.session import Conversation, Ending
from k8s_ws_proxy.cli.signals import cancelled_by_signals
from k8s_ws_proxy.cli.terminal import Terminal
from k8s_ws_proxy.wire.framing import channels

if TYPE_CHECKING:
    from k8s_ws_proxy.cli.client import Upgraded
    from k8s_ws_proxy.cli.connection import Connection

LEAVE: Final = b"\x1d"  # Ctrl-], as telnet and docker's kin have it
_INTERRUPT: Final = b"\x03"
_LEFT: Final = Ending(status=0, message="left; the session goes on")


async def watch_session(to: Connection, session: str, *, peer: bool) -> Ending:
    """Stay until the session has ended, or the person leaves it. The terminal is as it was before, then.

    Raises ProxyError if it can't be joined.
    """
    mode = "peer" if peer else "observe"
    terminal = Terminal(0) if os.isatty(0) else None
    with (
        cancelled_by_signals() as caught,
        Input(0) if peer or terminal else contextlib.nullcontext() as source,
        Output(1) as out,
        Output(2) as err,
    ):
        try:
            async with upgraded(to, f"/proxy/sessions/{session}/watch", f"mode={mode}") as opened:
                with terminal.raw() if terminal else contextlib.nullcontext():
                    watching = _Watching(opened, source, out, err, terminal, peer=peer)
                    return await watching.run()
        except asyncio.CancelledError:
            if not caught:
                raise
            return Ending(signal=caught[0])


class _Watching(Conversation):
    """A conversation in which one side is somebody else's."""

    def __init__(
        self, opened: Upgraded, stdin: Input | None, out: Output, err: Output, own: Terminal | None, *, peer: bool
    ) -> None:
        super().__init__(opened, stdin, out, err, None)
        self._own = own
        self._peer = peer
        self._err = err

    async def _take(self, data: bytes) -> Ending | None:
        if data[:1] == bytes((channels.RESIZE,)):
            await self._compare(data[1:])
            return None
        if data[:1] == bytes((channels.STATUS,)):
            # How a command of somebody else's ended is told, and isn't how this one did.
            status = channels.parse_status(data[1:])
            code = channels.exit_code(status) if status else None
            how = "" if code is None else f", with exit status {code}"
            self._ending = Ending(status=0, message=f"the session has ended{how}")
            return None
        return await super()._take(data)

    async def _compare(self, payload: bytes) -> None:
        """Say so where the terminal that is shown doesn't fit into this one."""
        own = self._own.size() if self._own else None
        try:
            size = json.loads(payload)
            columns, rows = int(size["Width"]), int(size["Height"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return
        if own is not None and (columns > own[0] or rows > own[1]):
            text = f"it is {columns}x{rows}, and yours {own[0]}x{own[1]}: what doesn't fit is shown wrongly"
            with contextlib.suppress(OSError):
                await self._err.write(memoryview(f"\r\nk8s-ws-proxy: {text}\r\n".encode()))

    async def _send_input(self, stdin: Input) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await self._read(stdin):
                before, leave, _ = data.partition(LEAVE)
                if not self._peer and _INTERRUPT in data:
                    leave = LEAVE
                if self._peer and before:
                    await self._ws.send_bytes(bytes((channels.STDIN,)) + before)
                if leave and self._own is not None:
                    self._ending = replace(_LEFT)
                    await self._ws.close()
                    return
