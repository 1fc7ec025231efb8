"""What exec and attach share: a client's messages to a process, and the status at the end (docs/observed.md,
"Channel 3").
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from k8s_ws_proxy.devcluster import codec
from k8s_ws_proxy.devcluster.codec import StatusForm
from k8s_ws_proxy.devcluster.websocket import ClientLeft

if TYPE_CHECKING:
    from collections.abc import Callable

    from k8s_ws_proxy.devcluster.process import Process
    from k8s_ws_proxy.devcluster.status import Status
    from k8s_ws_proxy.devcluster.subresources import StreamTarget
    from k8s_ws_proxy.devcluster.websocket import WebSocket


async def announce(socket: WebSocket, target: StreamTarget) -> None:
    """The empty message that says the streams are there, on the lowest channel the client may hear from.

    Raises ClientLeft.
    """
    heard = ((codec.STDOUT, target.stdout), (codec.STDERR, target.stderr), (codec.STATUS, True))
    await socket.send(next(channel for channel, wanted in heard if wanted), b"")


async def take_input(socket: WebSocket, target: StreamTarget, process: Process, end_stdin: Callable[[], None]) -> None:
    """Hand the client's messages to the process, no faster than it takes them, until the client has left.

    While the process takes nothing, nothing is read: a client that leaves meanwhile is noticed when the process goes on
    or ends.
    """
    async for message in socket.messages():
        decoded = socket.subprotocol.decode(message)
        if decoded is None:
            continue
        channel, data = decoded
        if channel == codec.STDIN and process.stdin is not None and target.stdin:
            await process.stdin.write(data)
        elif channel == codec.RESIZE:
            _resize(process, bytes(data))
        elif channel == codec.CLOSE and socket.subprotocol.ends_stdin:
            if len(data) != 1 or data[0] > codec.RESIZE:
                with contextlib.suppress(ClientLeft):
                    await socket.close()
                return
            if data[0] == codec.STDIN:
                end_stdin()


async def finish(socket: WebSocket, result: Status) -> None:
    """The status in the subprotocol's form, then the close frame.

    Raises ClientLeft.
    """
    if socket.subprotocol.status is not StatusForm.TEXT_IF_FAILED:
        await socket.send(codec.STATUS, result.frame())
    elif not result.succeeded:
        await socket.send(codec.STATUS, result.message.encode("utf-8", "surrogateescape"))
    await socket.close()


def _resize(process: Process, data: bytes) -> None:
    """`Width` and `Height` in upper or lower case, as Go's JSON takes them; what can't be read is ignored."""
    try:
        size = {str(key).lower(): value for key, value in json.loads(data).items()}
    except (ValueError, AttributeError, RecursionError):
        return
    columns, rows = size.get("width", 0), size.get("height", 0)
    if all(type(value) is int and 0 <= value <= 0xFFFF for value in (columns, rows)):
        process.resize(columns, rows)
