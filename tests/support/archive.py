"""A directory of recordings, as daemons leave it: made by the recorder's own parts, or broken on purpose."""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import os
import uuid
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.recordings.directory import DAEMONS, OPEN
from k8s_ws_proxy.recordings.paths import path_of, receipt_of
from k8s_ws_proxy.wire.framing.channels import STDOUT
from k8s_ws_proxy.wire.recording.asciicast import Cast, Heading
from k8s_ws_proxy.wire.recording.receipt import End, File, sealed
from support.daemon import SECRET

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NOON: int = 1_796_040_000_000  # milliseconds: 2026-11-30T12:00:00Z
_random = itertools.count(1)


def id_at(milliseconds: int) -> str:
    """An id that was made then, different from all others and greater than those of the same millisecond."""
    return str(uuid.UUID(int=milliseconds << 80 | 7 << 76 | 0b10 << 62 | next(_random)))


def cast_of(*pieces: bytes, title: str = "default/shell/shell", every: float = 0.5) -> bytes:
    """A recording of these pieces of output."""
    cast = Cast(Heading(title, NOON // 1000, ["sh"], ("exec",)))
    return (
        cast.resized(0, 80, 24)
        + b"".join(cast.data(every * number, STDOUT, piece) for number, piece in enumerate(pieces))
        + cast.exited(every * len(pieces), 0)
    )


def begun(session: str, **facts: Any) -> dict[str, Any]:
    """What a receipt says of how a session began."""
    return {
        "sessionId": session,
        "node": "node-a",
        "caller": {"mode": "rfc9421", "name": "secret"},
        "user": "alice",
        "groups": ["ops"],
        "reason": None,
        "peer": "127.0.0.1",
        "impersonated": None,
        "subresource": "exec",
        "namespace": "default",
        "pod": "shell",
        "container": "shell",
        "command": ["sh"],
        "tty": True,
        "began": "2026-11-30T12:00:00.000Z",
        **facts,
    }


class Recordings:
    """Those in ``root``."""

    def __init__(self, root: Path, *, secret: bytes = SECRET) -> None:
        self.root = root
        self.secret = secret
        self._locks: dict[str, int] = {}

    def finished(self, data: bytes | None = None, *, at: int = NOON, **facts: Any) -> str:
        """One that is there as a whole; its id."""
        data = cast_of(b"hello\r\n") if data is None else data
        session = id_at(at)
        cast = self.cast(session)
        cast.parent.mkdir(parents=True, exist_ok=True)
        cast.write_bytes(data)
        self.finish(session, **facts)
        return session

    def finish(self, session: str, **facts: Any) -> None:
        """Its receipt; it isn't running any more."""
        data = self.cast(session).read_bytes()
        end = End("2026-11-30T12:01:00.000Z", "command_ended", 0, 10, len(data))
        file = File(path_of(session), len(data), hashlib.sha256(data).hexdigest())
        sealed_ = sealed(begun(session, **facts), end, file, self.secret)
        fresh = self.receipt(session).with_suffix(".new")
        fresh.write_bytes(sealed_)
        fresh.rename(self.receipt(session))
        for entry in self.root.glob(f"{DAEMONS}/*/{OPEN}/{session}"):
            entry.unlink()

    def running(self, data: bytes = b"", *, at: int = NOON, daemon: str = "one", **facts: Any) -> str:
        """One that goes on; its id."""
        session = id_at(at)
        cast = self.cast(session)
        cast.parent.mkdir(parents=True, exist_ok=True)
        cast.write_bytes(data)
        self._lives(daemon)
        entry = self.root / DAEMONS / daemon / OPEN / session
        entry.parent.mkdir(parents=True, exist_ok=True)
        entry.write_bytes(json.dumps({**begun(session, **facts), "timestamp": at // 1000}).encode())
        return session

    def _lives(self, daemon: str) -> None:
        """It holds its lock, so that no other takes over what it has."""
        lock = self.root / DAEMONS / daemon / "lock"
        if daemon not in self._locks or not lock.exists():
            lock.parent.mkdir(parents=True, exist_ok=True)
            self._locks[daemon] = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
            fcntl.flock(self._locks[daemon], fcntl.LOCK_EX | fcntl.LOCK_NB)
            weakref.finalize(self, os.close, self._locks[daemon])

    def many(
        self, count: int, *, every: int = 1, namespaces: Sequence[str] = ("default",), at: int = NOON
    ) -> list[str]:
        """So many, ``every`` milliseconds one; what differs is the namespace. Their seals are none.

        They are written in a thread: where an event loop runs, the detector of what blocks it walks up the stack each
        time that a file is touched.
        """
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(self._write, count, every, namespaces, at).result()

    def _write(self, count: int, every: int, namespaces: Sequence[str], at: int) -> list[str]:
        ids = []
        for number in range(count):
            session = id_at(at + number * every)
            facts = begun(session, namespace=namespaces[number % len(namespaces)], user=f"user-{number % 7}")
            path = self.receipt(session)
            if number == 0 or not path.parent.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
            told = {**facts, "version": 1, "recordingPath": path_of(session), "sha256": "0" * 64, "key": "", "hmac": ""}
            path.write_bytes(json.dumps(told).encode())
            ids.append(session)
        return ids

    def cast(self, session: str) -> Path:
        """The recording's file."""
        return self.root / path_of(session)

    def receipt(self, session: str) -> Path:
        """The receipt's."""
        return self.root / receipt_of(path_of(session))
