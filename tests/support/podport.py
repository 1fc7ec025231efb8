"""What listens behind a pod's port: a TCP server on loopback that does what its client's first line says."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import socket
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_BASE: Final = random.Random(1).randbytes(65_528)


def chunks(size: int) -> Iterator[bytes]:
    """``size`` bytes (a multiple of 65,536): each 64 KiB begin with their number, so that none can be missing."""
    for number in range(size // 65_536):
        yield number.to_bytes(8, "big") + _BASE


def digest(size: int) -> str:
    """Their SHA-256."""
    found = hashlib.sha256()
    for chunk in chunks(size):
        found.update(chunk)
    return found.hexdigest()


class PodPort:
    """Its port, and how many connections it has."""

    def __init__(self) -> None:
        self.port = 0
        self.open = 0
        self.writers: set[asyncio.StreamWriter] = set()
        self._changed = asyncio.Condition()

    async def have(self, count: int) -> None:
        """Return when it has ``count`` connections; the test's time-out bounds the wait."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.open == count)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        await self._count(+1)
        self.writers.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._obey((await reader.readline()).split(), reader, writer)
        finally:
            self.writers.discard(writer)
            writer.close()
            await self._count(-1)

    async def _obey(self, words: list[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        match words:
            case [b"SINK", size]:  # the digest of so many bytes
                found, left = hashlib.sha256(), int(size)
                while left and (data := await reader.read(min(left, 1 << 20))):
                    found.update(data)
                    left -= len(data)
                writer.write(found.hexdigest().encode() + b"\n")
                await writer.drain()
            case [b"SOURCE", size]:  # so many bytes
                for chunk in chunks(int(size)):
                    writer.write(chunk)
                    await writer.drain()
            case [b"ECHO"]:  # what comes, until its end
                while data := await reader.read(1 << 16):
                    writer.write(data)
                    await writer.drain()
            case [b"RESET"]:
                reset(writer)
            case _:  # nothing, until its end
                while await reader.read(1 << 16):
                    pass

    async def _count(self, change: int) -> None:
        async with self._changed:
            self.open += change
            self._changed.notify_all()


def reset(writer: asyncio.StreamWriter) -> None:
    """Leave with a RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[PodPort]:
    """One that listens, until the block is left; its connections are then cut."""
    pod_port = PodPort()
    server = await asyncio.start_server(pod_port.serve, "127.0.0.1", 0, limit=1 << 20)
    pod_port.port = server.sockets[0].getsockname()[1]
    try:
        yield pod_port
    finally:
        server.close()
        for writer in list(pod_port.writers):
            writer.transport.abort()
        await pod_port.have(0)


def unused_port() -> int:
    """One on which nothing listens, as far as that can be said."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
