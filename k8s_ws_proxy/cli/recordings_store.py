"""Recordings in the store that daemons take them to: what is there is all of every node's, as far as it is finished."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Final

import orjson

from k8s_ws_proxy.cli.recordings_source import Listed, wanted_by
from k8s_ws_proxy.errors import NotStored, ProxyError
from k8s_ws_proxy.recordings.catalogue import AT_ONCE, LEVELS, known_by, newest, on_the_way
from k8s_ws_proxy.recordings.paths import RECEIPT, path_of, receipt_of
from k8s_ws_proxy.recordings.store import Store, open_store
from k8s_ws_proxy.settings import store_settings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from k8s_ws_proxy.cli.sessions_source import Silent
    from k8s_ws_proxy.recordings.catalogue import Known, Wanted

_UNDER_WAY: Final = 16  # receipts that are read at once
_MAX_RECEIPT: Final = 1024 * 1024  # bytes


class StoreRecordings:
    """See RecordingSource. Who has the store's credentials sees all: no proxy is asked, and nobody's rights."""

    waits = False

    def __init__(self, store: Store) -> None:
        self._store = store
        self.silent: list[Silent] = []
        self.asked = 1

    async def listed(self, wanted: Mapping[str, str], limit: int) -> Listed:
        """See RecordingSource."""
        found, only = Listed([]), wanted_by(wanted)
        async for known in self._newest(only):
            if known is None:
                found.skipped += 1
            elif only.fits(known):
                found.more = len(found.recordings) == limit
                if found.more:
                    break
                found.recordings.append(orjson.loads(known.told))
        return found

    async def cast(self, session: str, *, follow: bool = False) -> AsyncGenerator[bytes, None]:
        """See RecordingSource."""
        if follow:
            raise ProxyError("--follow asks a proxy: what is in the store is finished")
        try:
            async for data in self._store.read(path_of(session)):
                yield data
        except NotStored:
            raise ProxyError(f"there is no recording {session} in the store") from None

    async def receipt(self, session: str) -> bytes:
        """See RecordingSource."""
        try:
            return await self._receipt(session)
        except NotStored:
            raise ProxyError(f"there is no receipt of {session} in the store") from None

    async def _receipt(self, session: str) -> bytes:
        """Its begin, where it is longer than any receipt."""
        found = bytearray()
        async with contextlib.aclosing(self._store.read(receipt_of(path_of(session)))) as reading:
            async for data in reading:
                found += data
                if len(found) > _MAX_RECEIPT:
                    break
        return bytes(found)

    async def _newest(self, wanted: Wanted) -> AsyncIterator[Known | None]:
        """Those that its times leave, newest first; None for one that can't be read."""
        async for day in self._days((), wanted):
            below = "g"
            while ids := await self._ids("/".join(day), wanted, below):
                for first in range(0, len(ids), _UNDER_WAY):
                    for known in await asyncio.gather(*map(self._known, ids[first : first + _UNDER_WAY])):
                        yield known
                below = ids[-1]

    async def _days(self, names: tuple[str, ...], wanted: Wanted) -> AsyncIterator[tuple[str, ...]]:
        if len(names) == len(LEVELS):
            yield names
            return
        for name in reversed(await self._store.folders("/".join(names))):
            if on_the_way((*names, name), wanted):
                async for day in self._days((*names, name), wanted):
                    yield day

    async def _ids(self, day: str, wanted: Wanted, below: str) -> list[str]:
        """As newest(), of a day that may have any number."""
        some: list[str] = []
        async for stored in self._store.list(day):
            if stored.name.endswith(RECEIPT):
                some.append(stored.name.removesuffix(RECEIPT).rpartition("/")[2])
            if len(some) > 2 * AT_ONCE:
                some = newest(some, wanted, below)
        return newest(some, wanted, below)

    async def _known(self, session: str) -> Known | None:
        try:
            return known_by(session, await self._receipt(session))
        except (NotStored, ValueError):
            return None


def store_at(url: str) -> StoreRecordings:
    """What is in that store; the rest of how it is reached stands in the environment. Raises ProxyError."""
    settings, mistakes = store_settings(url, os.environ)
    if settings is None or mistakes:
        raise ProxyError("; ".join(mistakes) or "--store names no store")
    return StoreRecordings(open_store(settings))
