"""An answer that goes on and on: a log that is followed, and what a pod behind the pod proxy says without a length."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from k8s_ws_proxy.devcluster.faults import Death
from k8s_ws_proxy.observe import tasks

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from k8s_ws_proxy.devcluster.faults import Die
    from k8s_ws_proxy.devcluster.http import Connection
    from k8s_ws_proxy.devcluster.tls import TlsStream


async def send(
    connection: Connection,
    stream: TlsStream,
    content: AsyncGenerator[bytes],
    death: Die | None,
    headers: tuple[tuple[str, str], ...],
) -> None:
    """Answer with all of `content` as it comes, each block a chunk, until the client leaves; `death` comes sooner."""
    sending = tasks.start(_send(connection, stream, content, death, headers), name="devcluster answer")
    leaving = tasks.start(stream.discard(), name="devcluster answer's client")
    try:
        await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        sending.cancel()
        leaving.cancel()
        await asyncio.wait((sending, leaving))


async def _send(
    connection: Connection,
    stream: TlsStream,
    content: AsyncGenerator[bytes],
    death: Die | None,
    headers: tuple[tuple[str, str], ...],
) -> None:
    with contextlib.suppress(ConnectionError):
        await connection.begin(headers)
        async with contextlib.aclosing(content) as blocks:
            if death is None:
                async for block in blocks:
                    await connection.chunk(block)
                await connection.end()
            elif await _reach(death.sent, connection, blocks):
                stream.reset() if death.how is Death.RESET else stream.finish()


async def _reach(size: int, connection: Connection, blocks: AsyncGenerator[bytes]) -> bool:
    """Send the first `size` bytes; False if there are fewer, and the answer is complete."""
    while size:
        try:
            block = await anext(blocks)
        except StopAsyncIteration:
            await connection.end()
            return False
        await connection.chunk(block[:size])
        size -= min(size, len(block))
    return True
