"""Those who watch a session: a process of their own takes what they are sent, and counts it."""

import multiprocessing
import selectors
import socket
from multiprocessing.sharedctypes import RawArray
from types import TracebackType
from typing import Self

from benchmarks.session import DEADLINE_SECONDS, Session, open_watch
from benchmarks.targets.base import Endpoint

_FORK = multiprocessing.get_context("fork")
_AT_ONCE = 1024 * 1024
_LEAD = 128 * 1024  # bytes: half of what waits for a watcher


class Watchers:
    """`number` of them, from when each has its 101, for as long as the block lasts.

    The kernel throws away what they read (MSG_TRUNC, tcp(7)): a reader that copied ten floods would be the narrow
    place. Whoever lags is let go by the target: so the client waits for them while they are behind.
    """

    def __init__(self, endpoint: Endpoint, session: Session, number: int) -> None:
        self._number = number
        self._counts = RawArray("Q", number)
        self._pipe, self._theirs = _FORK.Pipe()
        self._process = _FORK.Process(target=self._run, args=(endpoint, session.id), daemon=True)

    def _run(self, endpoint: Endpoint, session: str) -> None:
        selector = selectors.DefaultSelector()
        for number in range(self._number):
            sock = open_watch(endpoint, session).sock
            sock.setblocking(False)
            selector.register(sock, selectors.EVENT_READ, number)
        self._theirs.send(None)
        buffer = bytearray(_AT_ONCE)
        while True:
            for key, _ in selector.select():
                readable = key.fileobj
                assert isinstance(readable, socket.socket)
                got = readable.recv_into(buffer, _AT_ONCE, socket.MSG_TRUNC)
                if not got:
                    raise ConnectionResetError("a watcher was let go")
                self._counts[key.data] += got

    def are_behind(self, count: int) -> bool:
        """The slowest of them has got much less than so many bytes."""
        return self._number > 0 and min(self._counts) + _LEAD < count

    def __enter__(self) -> Self:
        self._process.start()
        self._theirs.close()
        try:
            if not self._pipe.poll(DEADLINE_SECONDS):
                raise TimeoutError(f"watchers said nothing for {DEADLINE_SECONDS} s")
            self._pipe.recv()
        except EOFError as exc:
            raise ConnectionResetError("a watcher wasn't let in") from exc
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ended = not self._process.is_alive()
        self._process.kill()
        self._process.join()
        if ended:
            raise ConnectionResetError("a watcher was let go")
