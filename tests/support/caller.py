"""Callers of a running daemon: request targets, signed requests, sessions, and what must be true when they are gone."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlencode

from k8s_ws_proxy.wire.framing import channels, frames
from support import rawws

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from support.daemon import Daemon
    from support.rawws import Answer, Ended, RawWebSocket

V5, V4 = channels.V5, channels.V4
HANG_UP = "hung+up"  # stands in the script that hangs up and looks, and so in that exec's target
PIPES = {"tty": "false"}
TTY = {"tty": "true"}


def with_query(path: str, *command: str, **parameters: str) -> str:
    """A request target: ``path``, one ``command`` an argument, and the other parameters."""
    pairs = [("command", argument) for argument in command] + list(parameters.items())
    query = urlencode(pairs, quote_via=quote, errors="surrogateescape")
    return f"{path}?{query}" if query else path


def proxy_exec(
    *command: str, namespace: str = "default", pod: str = "shell", container: str | None = "shell", **parameters: str
) -> str:
    """A target on ``/proxy/exec/...``; without a container the segment is left out."""
    path = f"/proxy/exec/{namespace}/{pod}" + (f"/{container}" if container is not None else "")
    return with_query(path, *command, **parameters)


def api_exec(*command: str, namespace: str = "default", pod: str = "shell", **parameters: str) -> str:
    """A target on the apiserver's own path."""
    return with_query(f"/api/v1/namespaces/{namespace}/pods/{pod}/exec", *command, **parameters)


def script(text: str, **parameters: str) -> str:
    """A shell script on pipes in the pod ``shell``."""
    return proxy_exec("sh", "-c", text, **{**PIPES, **parameters})


def on_terminal(text: str, **parameters: str) -> str:
    """A shell script on a terminal in the pod ``shell``."""
    return proxy_exec("sh", "-c", text, **{**TTY, **parameters})


def signed_path(target: str) -> str:
    """What a caller signs: the path, percent-decoded, without the query."""
    return unquote(target.partition("?")[0])


def request(
    daemon: Daemon, target: str, *, subprotocols: Sequence[str] = (V5,), headers: Mapping[str, str] | None = None
) -> bytes:
    """An upgrade request with a signature, or with ``headers`` in its place."""
    credentials = daemon.headers(signed_path(target)) if headers is None else headers
    return rawws.request(target, credentials, subprotocols=subprotocols)


@contextlib.asynccontextmanager
async def opened(
    daemon: Daemon, target: str, *, subprotocols: Sequence[str] = (V5,), limit: int = 1 << 20
) -> AsyncIterator[RawWebSocket]:
    """A session; the 101 is asserted."""
    async with rawws.connected(daemon.port, request(daemon, target, subprotocols=subprotocols), limit=limit) as ws:
        assert ws.answer.status == 101, ws.answer
        yield ws


async def run(daemon: Daemon, target: str, *, subprotocols: Sequence[str] = (V5,)) -> Ended:
    """A session from its request to its end."""
    async with opened(daemon, target, subprotocols=subprotocols) as ws:
        return await ws.finish()


async def ask(
    daemon: Daemon, target: str, *, subprotocols: Sequence[str] = (V5,), headers: Mapping[str, str] | None = None
) -> Answer:
    """The answer to an upgrade that is refused."""
    data = request(daemon, target, subprotocols=subprotocols, headers=headers)
    async with rawws.connected(daemon.port, data) as ws:
        assert ws.answer.status != 101
        assert await ws.reader.read() == b"", "more than the answer came"
        return ws.answer


async def get(
    daemon: Daemon, path: str, headers: Mapping[str, str] | None = None, *, port: int | None = None
) -> Answer:
    """The answer to a plain GET."""
    lines = [f"GET {path} HTTP/1.1", "Host: proxy", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    async with rawws.connected(port or daemon.port, ("\r\n".join(lines) + "\r\n\r\n").encode()) as ws:
        return ws.answer


async def say(daemon: Daemon, data: bytes) -> Answer:
    """The answer to any bytes."""
    async with rawws.connected(daemon.port, data) as ws:
        return ws.answer


def refusal_of(answer: Answer, target: str) -> tuple[str, str]:
    """Text and our reason of a refusal's body, whose whole shape is asserted for the dialect of ``target``."""
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.headers.get("connection", "close") == "close"  # HTTP/1.0 needs none
    body = json.loads(answer.body)
    if not re.match(r"/apis?(/|\?|$)", target):
        assert body.keys() == {"error", "reason"}
        return body["error"], body["reason"]
    (cause,) = body["details"]["causes"]
    assert body == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": cause["message"],
        "reason": body["reason"],
        "details": {"causes": [cause]},
        "code": answer.status,
    }
    assert body["reason"].isalpha(), "a StatusReason is CamelCase"
    return body["message"], cause["reason"]


async def end_stdin(ws: RawWebSocket) -> None:
    """``FF 00`` (KEP-4006)."""
    await ws.send(channels.CLOSE, bytes((channels.STDIN,)))


async def close(ws: RawWebSocket, code: int | None = frames.NORMAL) -> None:
    """A close frame."""
    await ws.send_frame(frames.CLOSE, frames.close_payload(code))


class Lines:
    """The daemon's log from now on; ``begin`` where earlier sessions may have left something to say."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self._before = len(daemon.log)

    @property
    def new(self) -> list[dict[str, Any]]:
        """Those that have come."""
        return self.daemon.log[self._before :]

    @classmethod
    async def begin(cls, daemon: Daemon) -> Lines:
        """From now on, when all that came before has been logged: every session's end, too."""
        path = f"/from-here/{len(daemon.log)}"
        await get(daemon, path)
        await daemon.event("request refused", path=path)
        for line in list(daemon.log):
            if line["event"] == "session opened":
                await daemon.event("session ended", session=line["session"])
        await hung_up(daemon)
        return cls(daemon)

    async def event(self, event: str, **facts: Any) -> dict[str, Any]:
        """The first line of this event with these facts; waits for it."""
        old = {id(line) for line in self.daemon.log[: self._before]}
        return await self.daemon.logged(
            lambda line: (
                id(line) not in old
                and line.get("event") == event
                and all(name in line and line[name] == value for name, value in facts.items())
            )
        )


def memory(daemon: Daemon, field: str = "VmHWM") -> int:
    """Bytes that the daemon holds (``VmRSS``), or held at most (``VmHWM``)."""
    for line in Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(field)


def reset_peak(daemon: Daemon) -> None:
    """Let ``VmHWM`` begin at what is held now (proc(5), clear_refs)."""
    Path(f"/proc/{daemon.process.pid}/clear_refs").write_text("5")


def descriptors(daemon: Daemon) -> set[str]:
    """What its descriptors lead to."""
    directory = f"/proc/{daemon.process.pid}/fd"
    found = set()
    for entry in os.listdir(directory):  # noqa: PTH208 - read while it changes
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(f"{directory}/{entry}"))  # noqa: PTH115 - so often that a Path is felt
    return found


def connections(daemon: Daemon) -> set[str]:
    """Those of its descriptors that are TCP and don't listen, in whatever state: a closed one is in no table.

    A socket stays what it is, so it is looked up once: for these tables the kernel walks all its buckets, 12 ms of CPU.
    """
    return _connections(daemon, descriptors(daemon))


def _connections(daemon: Daemon, found: set[str]) -> set[str]:
    sockets = {name for name in found if name.startswith("socket:")}
    if sockets - daemon.connections - daemon.other_sockets:
        others = _other_sockets(daemon) & sockets
        daemon.other_sockets |= others
        daemon.connections |= sockets - others
    return sockets & daemon.connections


def _other_sockets(daemon: Daemon) -> set[str]:
    directory = Path(f"/proc/{daemon.process.pid}/net")
    found = {f"socket:[{line.split()[6]}]" for line in (directory / "unix").read_text().splitlines()[1:]}
    for table in ("tcp", "tcp6"):
        listening = (line.split() for line in (directory / table).read_text().splitlines() if " 0A " in line)
        found |= {f"socket:[{row[9]}]" for row in listening if row[3] == "0A"}
    return found


async def hung_up(daemon: Daemon) -> None:
    """Wait until what the sessions that have ended so far left in their containers has been dealt with."""
    outcomes = ("process hung up", "process was gone", "a process may be left behind")
    for line in list(daemon.log):
        if line["event"] == "hanging up a process":
            await daemon.logged(
                lambda later, session=line["session"]: later["event"] in outcomes and later["session"] == session
            )


async def at_rest(daemon: Daemon) -> set[str]:
    """Wait until it has no connection any more; what its descriptors then lead to.

    Another process's descriptors can only be looked at, there is nothing to await. That is done in a thread, where the
    detector of what blocks an event loop doesn't walk up the stack for each of them.
    """
    await hung_up(daemon)
    for number in itertools.count():
        found = await asyncio.to_thread(descriptors, daemon)
        if not await asyncio.to_thread(_connections, daemon, found):
            break
        if number % 25 == 24:  # a table that changed while it was read may have been told in part
            daemon.connections.clear()
        await asyncio.sleep(0.01)
    return found  # not what there is by now: the daemon may have begun to ask how the apiserver is
