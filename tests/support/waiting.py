"""Recordings that wait for their upload, and the uploads themselves, in the test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.recordings.paths import path_of, receipt_of
from k8s_ws_proxy.recordings.store import StoreSource
from k8s_ws_proxy.recordings.uploads import Uploads
from k8s_ws_proxy.recordings.waiting import Waiting
from k8s_ws_proxy.sessions.uuid7 import uuid7
from k8s_ws_proxy.wire.recording.receipt import End, File, sealed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from k8s_ws_proxy.settings import StoreSettings

KEY = b"3q2+7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="


class Site(Waiting):
    """A daemon's directories, and what became of whom: a test may wait for that."""

    def __init__(self, root: Path, daemon: str = "0123456789abcdef") -> None:
        self.root = root
        self.own = root / ".daemons" / daemon
        for state in ("open", "waiting", "kept"):
            (self.own / state).mkdir(parents=True)
        super().__init__(root, self.own)
        self.seen: list[tuple[str, str]] = []  # what became of a session, in order
        self._changed = asyncio.Condition()
        self._loop = asyncio.get_running_loop()

    def write(self, size: int = 1000, *, state: str = "waiting", **changed: Any) -> str:
        """A recording with its receipt, which waits; ``changed`` in the receipt. The session's id."""
        session = uuid7()
        path = path_of(session)
        data = os.urandom(size)
        cast = self.root / path
        cast.parent.mkdir(parents=True, exist_ok=True)
        cast.write_bytes(data)
        begun = {"sessionId": session, "namespace": "default", **changed}
        end = End("2026-11-30T12:00:00.000Z", "command_ended", 0, 1, 2)
        file = File(path, len(data), hashlib.sha256(data).hexdigest())
        (self.root / receipt_of(path)).write_bytes(sealed(begun, end, file, KEY))
        (self.own / state / session).touch()
        return session

    def files(self, *sessions: str) -> dict[str, bytes]:
        """What is here of these sessions, by the path of each file."""
        paths = [path for session in sessions for path in (path_of(session), receipt_of(path_of(session)))]
        return {path: (self.root / path).read_bytes() for path in paths if (self.root / path).exists()}

    def states(self, session: str) -> set[str]:
        """The directories that it is in."""
        return {state for state in ("open", "waiting", "kept") if (self.own / state / session).exists()}

    def age(self, session: str, seconds: float, state: str = "kept") -> None:
        """It has been there for so long."""
        at = time.time() - seconds
        os.utime(self.own / state / session, (at, at))

    async def became(self, what: str, *sessions: str) -> None:
        """Wait until that became of all these."""
        async with self._changed:
            await self._changed.wait_for(lambda: {(what, session) for session in sessions} <= set(self.seen))

    async def happened(self, what: str, count: int = 1) -> None:
        """Wait until that became of so many."""
        async with self._changed:
            await self._changed.wait_for(lambda: sum(each == what for each, _ in self.seen) >= count)

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until it holds; it is looked at whenever something has happened."""
        async with self._changed:
            await self._changed.wait_for(condition)

    def tell(self, what: str, session: str = "") -> None:
        """Something has happened."""

        async def tell() -> None:
            async with self._changed:
                self.seen.append((what, session))
                self._changed.notify_all()

        with contextlib.suppress(RuntimeError):
            asyncio.run_coroutine_threadsafe(tell(), self._loop)

    def kept(self) -> Any:
        self.tell("looked at what is kept")
        return super().kept()

    def take(self, session: str) -> Any:
        self.tell("tried", session)
        return super().take(session)

    def stored(self, session: str) -> None:
        super().stored(session)
        self.tell("stored", session)

    def lost(self, session: str) -> None:
        super().lost(session)
        self.tell("lost", session)

    def forget(self, session: str) -> None:
        super().forget(session)
        self.tell("forgotten", session)


class Watched(Uploads):
    """Tells the site of what a test may wait for."""

    _waiting: Site

    async def _round(self, *, large: bool) -> float:
        try:
            return await super()._round(large=large)
        finally:
            self._waiting.tell("round")

    def _put_off(self, session: str, outcome: str, longest: float) -> None:
        super()._put_off(session, outcome, longest)
        self._waiting.tell(outcome, session)

    def _away(self, error: Exception) -> None:
        super()._away(error)
        self._waiting.tell("away")


@contextlib.asynccontextmanager
async def uploading(site: Site, settings: StoreSettings) -> AsyncIterator[Uploads]:
    """Uploads that run until the block is left."""
    uploads = Watched(site, StoreSource(settings), keep=settings.keep)
    uploads.start()
    try:
        yield uploads
    finally:
        await uploads.close()
