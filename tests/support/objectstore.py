"""A real S3 server, rclone's, as a process: it can be stopped and be back at the same address, or be killed."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from k8s_ws_proxy.settings import StoreSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

ACCESS: Final = "ACCESSKEYACCESSK"
SECRET: Final = "its-secret-of-forty-characters-and-some-more"
RCLONE: Final = Path(sys.executable).with_name("rclone")


class S3:
    """The server, and what it holds: one bucket is one directory."""

    def __init__(self, root: Path, credentials: Path, *options: str, space: str = "") -> None:
        self.bucket = root / "bucket"
        self.bucket.mkdir(parents=True)
        self._space = space
        self.credentials = credentials
        self.credentials.mkdir()
        self.sign_as(ACCESS, SECRET)
        self._root = root
        self._options = options
        self._process: asyncio.subprocess.Process | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen, where it did before if it has."""
        assert self._process is None
        # A disk of its own, which nobody else sees, in a mount namespace.
        mount = f'mount -t tmpfs -o size={self._space} tmpfs "$1"; mkdir "$1/bucket"; shift; exec "$@"'
        alone = ("unshare", "-rm", "sh", "-ec", mount, "sh", str(self._root)) if self._space else ()
        self._process = process = await asyncio.create_subprocess_exec(
            *alone,
            *(RCLONE, "serve", "s3", "--config", "/dev/null", "--addr", f"127.0.0.1:{self.port}"),
            *("--auth-key", f"{ACCESS},{SECRET}", *self._options, str(self._root)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        told = b""
        while not (found := re.search(rb"https?://127\.0\.0\.1:(\d+)/", told)):
            line = await process.stderr.readline()
            assert line, told.decode()
            told += line
        self.port = int(found[1])
        if self._space:
            self.bucket = Path(f"/proc/{process.pid}/root{self._root}/bucket")
        self._reading = asyncio.get_running_loop().create_task(process.stderr.read())

    async def stop(self) -> None:
        """No answer any more, and no place to connect to."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            await self._reading
            self._process = None

    def sign_as(self, access: str, secret: str) -> None:
        """What stands in the mounted Secret from now on."""
        (self.credentials / "AWS_ACCESS_KEY_ID").write_text(access)
        (self.credentials / "AWS_SECRET_ACCESS_KEY").write_text(f"{secret}\n")

    def grow(self, space: str) -> None:
        """Its disk is of this size from now on."""
        assert self._process is not None
        inside = ("nsenter", "-t", str(self._process.pid), "-U", "-m", "--preserve-credentials")
        remount = ("mount", "-o", f"remount,size={space}", str(self._root))
        subprocess.run([*inside, *remount], check=True)

    def settings(self, *, port: int | None = None, keep: float = 3600.0) -> StoreSettings:
        """How it is reached, perhaps by another port."""
        endpoint = f"http://127.0.0.1:{port or self.port}"
        return StoreSettings("s3://bucket/all/of/it", endpoint, "us-east-1", None, self.credentials, keep)

    def environ(self, *, port: int | None = None) -> dict[str, str]:
        """The same as variables."""
        return {
            "RECORDING_STORE": "s3://bucket/all/of/it",
            "RECORDING_STORE_ENDPOINT": f"http://127.0.0.1:{port or self.port}",
            "RECORDING_STORE_REGION": "us-east-1",
            "RECORDING_STORE_CREDENTIALS_DIR": str(self.credentials),
        }

    def object(self, name: str) -> Path:
        """Where an object is on the disk."""
        return self.bucket / "all" / "of" / "it" / name

    def objects(self) -> dict[str, bytes]:
        """All that are there; an upload that was cut short isn't, whatever the server keeps of it."""
        top = self.object("")
        files = (path for path in sorted(top.rglob("*")) if path.is_file() and not path.name.startswith(".rclone_temp"))
        return {str(path.relative_to(top)): path.read_bytes() for path in files}


@contextlib.asynccontextmanager
async def s3_server(directory: Path, *options: str, space: str = "") -> AsyncIterator[S3]:
    """One that runs until the block is left; with so much ``space``, as tmpfs takes it, if it is said."""
    directory.mkdir(exist_ok=True)  # noqa: ASYNC240 - nobody waits for a test
    server = S3(directory / "s3", directory / "credentials", *options, space=space)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


class Wire:
    """Stands before a server, and counts bytes. It may hold who sends much, and cut all connections."""

    def __init__(self, to: int) -> None:
        self._to = to
        self.port = 0
        self.connections = 0
        self.sent = 0  # bytes to the server
        self.hold_after = 0  # bytes to the server after which a connection stands still, until `released`; 0 is never
        self.released = asyncio.Event()
        self.passed: asyncio.Condition = asyncio.Condition()
        self._tasks: set[asyncio.Task[None] | None] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._tasks.add(asyncio.current_task())
        self._writers.add(writer)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.close()
            return
        self._writers.add(back)
        await asyncio.gather(self._pass(reader, back, counted=True), self._pass(there, writer, counted=False))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if counted:
                    passed += len(data)
                    async with self.passed:
                        self.sent += len(data)
                        self.passed.notify_all()
                    if self.hold_after and passed >= self.hold_after:
                        await self.released.wait()
                writer.write(data)
                await writer.drain()
        self._writers.discard(writer)
        writer.close()

    async def carried(self, count: int) -> None:
        """Wait until so many bytes have gone to the server."""
        async with self.passed:
            await self.passed.wait_for(lambda: self.sent >= count)

    def cut(self) -> None:
        """End all connections, in the middle of whatever they carry."""
        for writer in list(self._writers):
            writer.transport.abort()
        self.released.set()

    async def end(self) -> None:
        """The same, and wait until nothing is left of them."""
        self.cut()
        await asyncio.gather(*filter(None, self._tasks))


@contextlib.asynccontextmanager
async def wire(to: int) -> AsyncIterator[Wire]:
    """One that listens until the block is left."""
    made = Wire(to)
    server = await asyncio.start_server(made._met, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await made.end()
        await server.wait_closed()


@contextlib.asynccontextmanager
async def liar(answer: Callable[[bytes], AsyncIterator[bytes]]) -> AsyncIterator[tuple[StoreSettings, list[bytes]]]:
    """What no real store does: each request is answered with what ``answer(line)`` yields; ``line`` is its first.

    How it is reached, and the heads that it has seen.
    """
    seen: list[bytes] = []
    under_way: set[asyncio.Task[None] | None] = set()
    writers: set[asyncio.StreamWriter] = set()

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        under_way.add(asyncio.current_task())
        writers.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                seen.append(head)
                if (at := head.lower().find(b"content-length: ")) >= 0:
                    await reader.readexactly(int(head[at + 16 :].split(b"\r\n")[0]))
                async for data in answer(head.split(b"\r\n")[0]):
                    writer.write(data)
                    await writer.drain()
        writer.close()

    server = await asyncio.start_server(met, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ACCESS_KEY_ID", "the-access-key")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "the-secret-key")
            yield StoreSettings("s3://bucket/x", f"http://127.0.0.1:{port}", "us-east-1"), seen
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*filter(None, under_way))
        await server.wait_closed()


def reply(status: str, *headers: str, body: bytes = b"") -> bytes:
    """An answer's head, and perhaps its body."""
    head = [f"HTTP/1.1 {status}", 'ETag: "x"', "Last-Modified: Mon, 30 Nov 2026 15:00:00 GMT", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def always(*pieces: bytes) -> Callable[[bytes], AsyncIterator[bytes]]:
    """The same to everybody."""

    async def answer(_line: bytes) -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return answer
