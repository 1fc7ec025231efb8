"""The daemon as a process, as an operator runs it: environment in, JSON log lines out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import re
import secrets
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.wire.requests.signing import signed_headers
from k8s_ws_proxy.wire.requests.signing_v2 import signed_headers_v2
from support import forks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from support.forks import Fork

SECRET = b"3q2+7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="


class Daemon:
    """One running daemon. ``log`` and ``trail`` (of the audit) hold its lines as dicts, ``raw_log`` as they came."""

    def __init__(self, process: asyncio.subprocess.Process | Fork, secret: bytes) -> None:
        self.process = process
        self.secret = secret
        self.log: list[dict[str, Any]] = []
        self.trail: list[dict[str, Any]] = []
        self.raw_log: list[str] = []
        self.ports: dict[str, int] = {}
        self.confidential: set[str] = {secret.decode().strip()}  # what its log must never hold
        self.connections: set[str] = set()  # those of its sockets that were seen to be
        self.other_sockets: set[str] = set()
        self._changed = asyncio.Condition()
        self._ended = False
        self.reader: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """Of the plain HTTP listener."""
        return self.ports["http"]

    @property
    def url(self) -> str:
        """Of the plain HTTP listener."""
        return f"http://127.0.0.1:{self.port}"

    def headers(self, path: str, *, now: float | None = None) -> dict[str, str]:
        """Signature headers for ``path`` (decoded, without query)."""
        signed = signed_headers(self.secret, path, int(time.time() if now is None else now))
        self.confidential.add(signed["X-Catalyst-HMAC"])
        return signed

    def headers_v2(
        self,
        target: str,
        *,
        method: str = "GET",
        secret: bytes | None = None,
        created: int | None = None,
        nonce: str | None = None,
        body: bytes | None = None,
        **who: str,
    ) -> dict[str, str]:
        """The headers of an RFC 9421 signature for ``target`` (path and query as sent); ``who`` as in User="alice".

        It is made in the coming second: a daemon takes none from before its own start, and that may be this one.
        """
        nonce = nonce or secrets.token_urlsafe(24)
        signed = signed_headers_v2(
            secret or self.secret,
            method,
            target,
            created=math.ceil(time.time()) if created is None else created,
            nonce=nonce,
            more={f"X-Catalyst-{name}": value for name, value in who.items()},
            body=body,
        )
        self.confidential |= {nonce, signed["Signature"].split(":")[1]}
        return signed

    async def logged(self, wanted: Callable[[dict[str, Any]], bool], *, count: int = 1) -> dict[str, Any]:
        """The ``count``-th line that is ``wanted``; waits for it. The test's time-out bounds the wait."""
        return await self._among(self.log, wanted, count)

    async def event(self, event: str, *, count: int = 1, **facts: Any) -> dict[str, Any]:
        """The ``count``-th line of this event with these facts; waits for it."""
        return await self._among(self.log, _is(event, facts), count)

    async def audited(self, event: str, *, count: int = 1, **facts: Any) -> dict[str, Any]:
        """The same in the audit trail, where that is on stderr."""
        return await self._among(self.trail, _is(event, facts), count)

    async def _among(
        self, lines: list[dict[str, Any]], wanted: Callable[[dict[str, Any]], bool], count: int
    ) -> dict[str, Any]:
        async with self._changed:
            while True:
                found = [line for line in lines if wanted(line)]
                if len(found) >= count:
                    return found[count - 1]
                assert not self._ended, f"the daemon ended without the line; its log: {self.raw_log}"
                await self._changed.wait()

    async def terminate(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; the exit status."""
        self.process.send_signal(number)
        return await self.wait()

    async def wait(self) -> int:
        """The exit status, once it has ended and its log is read."""
        status = await self.process.wait()
        assert self.reader is not None
        await self.reader
        return status

    def descriptors(self) -> int:
        """How many file descriptors it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))  # noqa: PTH208 - read while it changes

    async def read_log(self) -> None:
        """Collect its stderr until it ends."""
        assert self.process.stderr is not None
        while raw := await self.process.stderr.readline():
            async with self._changed:
                self.raw_log.append(raw.decode())
                with contextlib.suppress(ValueError):
                    line = json.loads(raw)
                    (self.trail if line.get("audit") is True else self.log).append(line)
                    if line.get("event") == "listening":
                        self.ports[line["listener"]] = line["port"]
                self._changed.notify_all()
        async with self._changed:
            self._ended = True
            self._changed.notify_all()


def _is(event: str, facts: dict[str, Any]) -> Callable[[dict[str, Any]], bool]:
    return lambda line: line.get("event") == event and all(line.get(k) == v for k, v in facts.items())


def children(pid: int) -> list[int]:
    """The processes that this one's main thread has started."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:  # noqa: PTH123 - see descriptors
        return [int(each) for each in file.read().split()]


STANDS_STILL = "the event loop stands still"
SERVE = (sys.executable, "-W", "error", "-m", "k8s_ws_proxy", "serve")


def told(raw_log: list[str], confidential: set[str]) -> list[str]:
    """The lines that hold one of the texts that they must not; hex is looked for in either case.

    What is shorter than 16 characters isn't looked for: it may stand there by chance.
    """
    needles = {text.casefold() for text in confidential if len(text) >= 16}
    return [line for line in raw_log if any(needle in line.casefold() for needle in needles)]


def tokens_in(kubeconfig: Path) -> set[str]:
    """The tokens that stand in a kubeconfig, as long as it is there and can be read."""
    try:
        text = kubeconfig.read_text()
    except (OSError, UnicodeDecodeError):
        return set()
    return {found for found in re.findall(r"token: *[\"']?([^\s\"']+)", text) if len(found) >= 16}


async def _started(program: Sequence[str] | None, environ: Mapping[str, str]) -> asyncio.subprocess.Process | Fork:
    streams: Any = {"stdin": asyncio.subprocess.DEVNULL, "stderr": asyncio.subprocess.PIPE, "limit": 1 << 20}
    server = forks.server()
    if program is None and server is not None:
        return await server.start(["serve"], environ, **streams)
    return await asyncio.create_subprocess_exec(*(program or SERVE), env=environ, **streams)


@contextlib.asynccontextmanager
async def running_daemon(
    kubeconfig: Path,
    directory: Path,
    *,
    secret: bytes = SECRET,
    ready: bool = True,
    program: Sequence[str] | None = None,
    **environ: str,
) -> AsyncIterator[Daemon]:
    """A daemon on a free loopback port, killed at the end if it still runs.

    Without a ``program`` it comes from the fork server, where one runs.
    ``ready``: wait until the apiserver has answered it. Variables in ``environ`` come last; an empty one is unset.
    """
    secret_file = directory / "secret"
    if "SHARED_SECRET_FILE" not in environ:
        secret_file.write_bytes(secret)
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "WS_PROXY_LISTEN_ADDR": "127.0.0.1:0",
        "WS_PROXY_ADMIN_ADDR": "off",
        "KUBECONFIG": str(kubeconfig),
        "SHARED_SECRET_FILE": str(secret_file),
        "LOG_LEVEL": "debug",
        **environ,
    }
    process = await _started(program, {name: value for name, value in variables.items() if value})
    daemon = Daemon(process, secret)
    daemon.reader = asyncio.get_running_loop().create_task(daemon.read_log())
    try:
        await daemon.event("listening", listener="http")
        if variables["WS_PROXY_ADMIN_ADDR"] != "off":
            await daemon.event("listening", listener="admin")
        if ready:
            await daemon.event("the apiserver answers")
        yield daemon
    finally:
        if process.returncode is None:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it may be ending by itself
                for pid in children(process.pid):  # `program` may have put another process around the daemon
                    os.kill(pid, signal.SIGKILL)
                process.kill()
        await process.wait()
        await daemon.reader
        sys.stderr.writelines(daemon.raw_log)  # pytest shows it with a failure
        daemon.confidential |= tokens_in(kubeconfig)
        assert told(daemon.raw_log, daemon.confidential) == [], "a secret, a token or a signature is in the log"
        stalls = [line for line in daemon.log if line.get("event") == STANDS_STILL and line["cause"] == "busy"]
        assert stalls == [], "something has held up the event loop"
