"""One exec: a process on one side, a client on the other, until either ends (docs/observed.md, "Channel 3",
"Frames").
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from k8s_ws_proxy.devcluster import codec, session, status
from k8s_ws_proxy.devcluster.codec import StatusForm
from k8s_ws_proxy.devcluster.websocket import MAX_DATA, ClientLeft
from k8s_ws_proxy.observe import tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from k8s_ws_proxy.devcluster.descriptors import Source
    from k8s_ws_proxy.devcluster.process import Process
    from k8s_ws_proxy.devcluster.status import Status
    from k8s_ws_proxy.devcluster.subresources import StreamTarget
    from k8s_ws_proxy.devcluster.websocket import WebSocket


class ExecSession:
    """Carries one process's streams over one WebSocket."""

    def __init__(self, socket: WebSocket, target: StreamTarget) -> None:
        self._socket = socket
        self._target = target
        self._claimed: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def run(self, start: Callable[[], Awaitable[Process]]) -> None:
        """Start the process and stay until the status has been sent or the client has left.

        The process outlives the client, but for one case: a v4 connection dropped without a close frame.
        """
        with contextlib.suppress(ClientLeft):
            await session.announce(self._socket, self._target)
            try:
                process = await start()
            except OSError as exc:
                await session.finish(self._socket, _cannot_start(self._target.argv, exc))
                return
            code = await self._carry(process)
            if code is not None:
                await session.finish(self._socket, self._ended(code))

    def claim(self) -> None:
        """Say from now on that the process has succeeded, which lives on: what is seen when containerd restarts."""
        if not self._claimed.done():
            self._claimed.set_result(0)

    async def _carry(self, process: Process) -> int | None:
        """The exit code, when everything before it has been sent; None if the client left first."""
        taking = session.take_input(self._socket, self._target, process, process.end_stdin)
        name = f"devcluster exec {self._target.pod.name}"
        client = tasks.start(taking, name=f"{name} input")
        output = tasks.start(self._send_output(process), name=f"{name} output")
        try:
            await asyncio.wait((client, output, self._claimed), return_when=asyncio.FIRST_COMPLETED)
            if self._claimed.done():
                return self._claimed.result()
            return output.result() if output.done() else None
        finally:
            client.cancel()
            output.cancel()
            await asyncio.wait((client, output))
            process.end_stdin()
            process.close_at_exit()
            if self._socket.dropped and self._socket.subprotocol is codec.V4:
                await process.kill()

    async def _send_output(self, process: Process) -> int | None:
        """All output, each stream in its own order, and then the exit code; None if the client has left."""
        stdout, stderr = process.stdout, process.stderr
        channel = codec.STDOUT if self._target.stdout else None
        try:
            await asyncio.gather(self._pump(channel, stdout), self._pump(codec.STDERR, stderr))
        except ClientLeft:
            return None
        return await process.wait()

    async def _pump(self, channel: int | None, source: Source | None) -> None:
        """Send what comes, as fast as the client takes it. What the client didn't ask for (None) is dropped."""
        while source is not None and (data := await source.read(MAX_DATA)):
            if channel is not None:
                await self._socket.send(channel, data)
            await asyncio.sleep(0)  # a busy stream lets the others in

    def _ended(self, code: int) -> Status:
        with_command_line = self._socket.subprotocol.status is StatusForm.JSON_WITH_COMMAND_LINE
        return status.exited(code, command=self._target.argv, with_command_line=with_command_line)


def _cannot_start(argv: tuple[str, ...], exc: OSError) -> Status:
    program = argv[0] if argv else ""
    return status.internal_error(f'failed to exec in container: unable to start "{program}": {exc.strerror}')
