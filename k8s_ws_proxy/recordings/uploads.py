"""Takes finished recordings to the store, and removes them here once they are there, and have been kept for a while.

A recording has arrived when what was read back from the store has the hash that the receipt tells; before it is removed
here the store is asked once more. It is tried for ever. A store that is away is waited for once for all, not once a
recording; one that can't be stored for a reason of its own waits for itself. Large ones go by themselves, one at a
time, so small ones wait for none of them. Each of the two has a thread for its files: a disk that hangs holds up
nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import heapq
import io
import random
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final

from k8s_ws_proxy.errors import StoreAway, StoreError, StoreRefused
from k8s_ws_proxy.observe import metrics, tasks
from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.recordings.waiting import Entry, Removed, Unfit, now
from k8s_ws_proxy.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from k8s_ws_proxy.recordings.store import Store, StoreSource
    from k8s_ws_proxy.recordings.waiting import Sealed, Waiting

LARGE: Final = 1024 * 1024
"""Bytes of a recording from which on it goes by itself."""
_AT_ONCE: Final = 4  # small ones
_ROUND: Final = 1000  # recordings between two looks at the directory
_IDLE: Final = 60.0  # seconds between looks, where nobody wakes us
_LONGEST_PAUSE: Final = 60.0  # seconds between questions to a store that is away
_LONGEST_WAIT: Final = 600.0  # seconds until a recording that can't be stored is tried again
_REMEMBERED: Final = 10_000  # recordings that couldn't be stored
_IN_A_ROW: Final = 3  # recordings that are refused without one that isn't: it isn't about these
_LAST_CHANCE: Final = 5.0  # seconds for what waits when the daemon ends


class _Differs(Exception):
    """What was read back isn't what was stored."""


@dataclass(slots=True)
class _Trouble:
    """How often a recording couldn't be stored, and until when it isn't tried again (monotonic seconds)."""

    times: int = 0
    until: float = 0.0


_NONE: Final = _Trouble()


@dataclass(slots=True)
class _Look:
    """What there was to do when it was looked: up to a round of each."""

    count: int = 0  # that wait, of all
    oldest: float | None = None  # of these, in Unix seconds
    due: list[Entry] = field(default_factory=list)
    old: list[Entry] = field(default_factory=list)
    rest: float = _IDLE  # seconds until something else is due


class Uploads:
    """One in a daemon. ``keep``: seconds for which a stored recording stays here."""

    def __init__(self, waiting: Waiting, source: StoreSource, *, keep: float) -> None:
        self._waiting = waiting
        self._source = source
        self._keep = keep
        loop = asyncio.get_running_loop()
        self._threads = (Worker("small uploads", loop), Worker("large uploads", loop))
        self._next_old = 0.0  # monotonic seconds: when it is looked at those that are kept
        self._troubles: dict[str, _Trouble] = {}
        self._small, self._large = asyncio.Event(), asyncio.Event()
        self._oldest: float | None = None  # Unix seconds
        self._problem = ""  # why the store is away, or the directory can't be read
        self._failures = 0  # in a row
        self._refused = 0  # in a row
        self._paused_until = 0.0  # monotonic seconds
        self._ending = False
        self._running: asyncio.Task[object] | None = None
        metrics.RECORDINGS_WAITING_OLDEST.set_function(lambda: 0 if self._oldest is None else now() - self._oldest)

    def start(self) -> None:
        """Begin, in the running loop."""
        self._running = tasks.start(self._run(), name="upload recordings")

    def wake(self) -> None:
        """There is a new one."""
        self._small.set()
        self._large.set()

    async def close(self) -> None:
        """Store what waits, for five seconds at most, if the store is there; the rest is for the next daemon."""
        self._ending = True
        self.wake()
        if self._running is not None:
            await asyncio.wait({self._running}, timeout=_LAST_CHANCE)
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        for thread in self._threads:
            thread.stop()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as lanes:
            lanes.create_task(self._lane(self._small, large=False), name="upload small recordings")
            lanes.create_task(self._lane(self._large, large=True), name="upload large recordings")

    async def _lane(self, woken: asyncio.Event, *, large: bool) -> None:
        while True:
            woken.clear()
            try:
                rest = await self._round(large=large)
            except (OSError, StoreError) as error:
                self._away(error)
                rest = 0.0
            if self._ending and (rest or self._pause):
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest):
                    await woken.wait()
            while not self._ending and (pause := self._pause):
                woken.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await woken.wait()

    @property
    def _pause(self) -> float:
        return max(0.0, self._paused_until - time.monotonic())

    async def _round(self, *, large: bool) -> float:
        """Store and remove what is due of this lane, up to a round of each. Seconds until something is due again."""
        thread = self._threads[large]
        found = await thread.result(functools.partial(self._look, large=large))
        metrics.RECORDINGS_WAITING.set(found.count)
        self._oldest = found.oldest
        store = await thread.result(self._source.store)
        upload = functools.partial(self._upload, store, thread)
        remove = functools.partial(self._remove, store, thread)
        await self._go_through(found.due, upload, 1 if large else _AT_ONCE)
        await self._go_through(found.old, remove, _AT_ONCE)
        return 0.0 if found.due or found.old else found.rest  # what is told of them is counted anew

    def _look(self, *, large: bool) -> _Look:
        """In a thread. The directory may be long, what is held of it isn't."""
        look, at = _Look(), time.monotonic()

        def ready(entry: Entry) -> bool:
            wait = self._trouble(entry).until - at
            if wait > 0:
                look.rest = min(look.rest, wait)
            return wait <= 0

        def due() -> Iterator[Entry]:
            for entry in self._waiting.waiting():
                look.count += 1
                look.oldest = entry.since if look.oldest is None else min(look.oldest, entry.since)
                if (entry.size >= LARGE) == large and ready(entry):
                    yield entry

        look.due = heapq.nsmallest(_ROUND, due(), lambda entry: (self._trouble(entry).times, entry.session))
        if not large and at >= self._next_old:
            look.old = self._look_at_kept(at)
        if not large:
            look.rest = min(look.rest, max(0.0, self._next_old - at))
        return look

    def _look_at_kept(self, at: float) -> list[Entry]:
        """As _look(). There may be very many, so they aren't looked at whenever one more waits."""
        clock, soonest = now(), _IDLE

        def old() -> Iterator[Entry]:
            nonlocal soonest
            for entry in self._waiting.kept():
                wait = max(entry.since + self._keep - clock, self._trouble(entry).until - at)
                if wait <= 0:
                    yield entry
                else:
                    soonest = min(soonest, wait)

        found = heapq.nsmallest(_ROUND, old(), lambda entry: entry.since)
        if len(found) < _ROUND:
            self._next_old = at + max(soonest, min(self._keep / 60, _IDLE))
        return found

    def _trouble(self, entry: Entry) -> _Trouble:
        return self._troubles.get(entry.session, _NONE)

    async def _go_through(self, entries: list[Entry], do: Callable[[Entry], Awaitable[None]], at_once: int) -> None:
        rest = deque(entries)

        async def some() -> None:
            while rest and not self._pause:
                await self._try(do, rest.popleft())

        if self._failures and rest:
            await self._try(do, rest.popleft())  # one to see whether the store is back
        await asyncio.gather(*(some() for _ in range(min(at_once, len(rest)))))

    async def _try(self, do: Callable[[Entry], Awaitable[None]], entry: Entry) -> None:
        session = entry.session
        try:
            await do(entry)
        except StoreAway as error:
            self._put_off(session, "store_away", _LONGEST_PAUSE)
            self._away(error)
        except (StoreError, _Differs) as error:
            self._complain(session, "refused" if isinstance(error, StoreError) else "different", error)
            self._refused += 1
            if self._refused >= _IN_A_ROW:
                self._away(error)
        except (Unfit, OSError) as error:
            self._complain(session, "unfit", error)
        except Exception as error:  # noqa: BLE001 - a mistake of ours with one of them is none with the others
            logger().error("a recording's upload failed in the proxy itself", session=session, exc_info=error)
            self._put_off(session, "unfit", _LONGEST_WAIT)
        else:
            self._troubles.pop(session, None)

    def _complain(self, session: str, outcome: str, error: Exception) -> None:
        logger().warning("a recording can't be stored", session=session, outcome=outcome, error=str(error))
        self._put_off(session, outcome, _LONGEST_WAIT)

    def _put_off(self, session: str, outcome: str, longest: float) -> None:
        metrics.RECORDING_UPLOADS.labels(outcome).inc()
        trouble = self._troubles.pop(session, None) or _Trouble()
        if len(self._troubles) >= _REMEMBERED:
            self._troubles.pop(next(iter(self._troubles)))
        trouble.times += 1
        trouble.until = time.monotonic() + _backed_off(trouble.times, longest)
        self._troubles[session] = trouble
        self._next_old = min(self._next_old, trouble.until)  # it may be one that is kept

    def _away(self, error: Exception) -> None:
        """All wait: for the store, or for the directory."""
        if not self._pause:
            self._failures += 1
            self._paused_until = time.monotonic() + _backed_off(self._failures, _LONGEST_PAUSE)
        if not self._problem and not self._ending:
            logger().warning("recordings can't be stored: they wait", error=str(error))
        self._problem = str(error)

    def _back(self) -> None:
        self._failures = self._refused = 0
        if self._problem:
            logger().info("recordings can be stored again", was=self._problem)
            self._problem = ""

    async def _upload(self, store: Store, thread: Worker, entry: Entry) -> None:
        session = entry.session
        began = time.monotonic()
        try:
            sealed = await self._store(store, thread, session)
        except Removed:
            logger().warning("a recording was removed before it was stored", session=session)
            metrics.RECORDING_UPLOADS.labels("gone").inc()
            await thread.result(lambda: self._waiting.forget(session))
            return
        await thread.result(lambda: self._waiting.stored(session))
        self._next_old = min(self._next_old, time.monotonic() + self._keep)
        self._back()
        metrics.RECORDING_UPLOADS.labels("stored").inc()
        metrics.RECORDINGS_WAITING.dec()
        took = round(time.monotonic() - began, 3)
        logger().info("recording stored", session=session, path=sealed.path, bytes=sealed.size, seconds=took)

    async def _remove(self, store: Store, thread: Worker, entry: Entry) -> None:
        session = entry.session
        try:
            sealed = await thread.result(lambda: self._waiting.sealed(session))
        except Removed:
            await thread.result(lambda: self._waiting.forget(session))
            return
        try:
            lost = await _lost(store, sealed)
        except StoreRefused:
            # As in _deliver(). Only what the store then takes was lost: one that takes nothing now may still have it.
            await self._store(store, thread, session)
            lost = sealed.path
        if lost:
            logger().error("the store has lost a recording: it is stored again", session=session, path=lost)
            metrics.RECORDING_UPLOADS.labels("lost").inc()
            await thread.result(lambda: self._waiting.lost(session))
            self.wake()
            return
        await thread.result(lambda: self._waiting.remove(sealed, session))
        self._back()
        logger().info("recording removed here: it is in the store", session=session, path=sealed.path)

    async def _store(self, store: Store, thread: Worker, session: str) -> Sealed:
        """See to it that the store has the recording, and then its receipt. Raises as Waiting.take() and the store."""
        sealed, file = await self._taken(thread, session)
        with file:
            await _deliver(store, sealed.path, file, sealed.size, sealed.sha256)
        receipt = io.BytesIO(sealed.receipt)
        await _deliver(store, sealed.receipt_path, receipt, len(sealed.receipt), sealed.receipt_sha256)
        return sealed

    async def _taken(self, thread: Worker, session: str) -> tuple[Sealed, BinaryIO]:
        """As Waiting.take(); what is opened for nobody is closed."""
        taking = tasks.start(thread.result(lambda: self._waiting.take(session)), name="open a recording")
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            taking.add_done_callback(_close)
            raise


async def _deliver(store: Store, name: str, file: BinaryIO, size: int, sha256: str) -> None:
    """See to it that the store has this. It may be there already, where a daemon was killed before it could say so."""
    # S3 says 403 of what isn't there to who may not list the bucket (Amazon S3 API, HeadObject). If it is more than
    # that, the next request is refused, too.
    with contextlib.suppress(StoreRefused):
        if await store.holds(name, size, sha256):
            return
    await store.put(name, file, size)
    if not await store.holds(name, size, sha256):
        raise _Differs("the store has something else than what it was given")


async def _lost(store: Store, sealed: Sealed) -> str:
    """The path of what the store hasn't, or has in another size; empty if it has both."""
    for path, size in ((sealed.path, sealed.size), (sealed.receipt_path, len(sealed.receipt))):
        found = await store.head(path)
        if found is None or found.size != size:
            return path
    return ""


def _close(taking: asyncio.Task[tuple[Sealed, BinaryIO]]) -> None:
    if not taking.cancelled() and taking.exception() is None:
        taking.result()[1].close()


def _backed_off(times: int, longest: float) -> float:
    """Seconds to wait after so many failures: twice as long each time, and not all at once."""
    return min(longest, 2.0 ** min(times - 1, 30)) * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret
