"""``GET /proxy/recordings``: what is asked for, and a page of it that is bounded in every way."""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.recordings.catalogue import LATEST, Wanted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from k8s_ws_proxy.recordings.catalogue import Catalogue
    from k8s_ws_proxy.recordings.cursor import Cursors
    from k8s_ws_proxy.recordings.readers import Reading

PARAMETERS: Final = ("namespace", "user", "from", "to", "limit", "continue")
DEFAULT_LIMIT: Final = 100
LARGEST_LIMIT: Final = 1000
EXAMINED: Final = 5000
"""Receipts that are looked at for a page, at most."""
LARGEST_PAGE: Final = 1024 * 1024
"""Bytes: when there are more, the page is over."""
_BATCH: Final = 128  # receipts, between two questions of who may see them
_SLICE: Final = 1.0  # seconds for a batch
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LIMIT: Final = re.compile(r"[1-9][0-9]{0,3}", re.ASCII)


@dataclass(slots=True)
class Page:
    """``told`` are recordings as JSON; ``below`` is the id that the list has come to, None at its end."""

    told: list[bytes]
    skipped: int = 0
    below: str | None = None


def parse_listing(query: Mapping[str, str], cursors: Cursors) -> tuple[Wanted, int]:
    """Which recordings, and how many. Raises Refusal(``bad_query``)."""
    wanted = Wanted(query.get("namespace"), query.get("user"), _time(query, "from", 0), _time(query, "to", LATEST))
    limit = query.get("limit", str(DEFAULT_LIMIT))
    if not _LIMIT.fullmatch(limit) or int(limit) > LARGEST_LIMIT:
        raise Refusal(Reason.BAD_QUERY, f"limit must be a whole number from 1 to {LARGEST_LIMIT}.")
    if (token := query.get("continue")) is not None:
        if (below := cursors.open(token)) is None:
            raise Refusal(
                Reason.BAD_QUERY, "continue isn't from an answer of this daemon since it started: begin the list anew."
            )
        wanted = replace(wanted, below=below)
    return wanted, int(limit)


async def page_of(
    catalogue: Catalogue,
    reading: Reading,
    wanted: Wanted,
    limit: int,
    visible: Callable[[set[str]], Awaitable[frozenset[str]]],
    until: float,
) -> Page:
    """A page of those in namespaces that are ``visible``, by half of the time until ``until``. Raises OSError.

    It may have fewer than ``limit``, or none, and the list go on all the same.
    """
    clock = asyncio.get_running_loop().time
    stop = (clock() + until) / 2
    walk = catalogue.walk(wanted)
    page, size = Page([]), 0
    while True:
        found = await reading.ask(partial(walk.take, _BATCH, _SLICE))
        page.skipped = walk.skipped
        seen = await visible({known.namespace for known in found})
        for known in found:
            if known.namespace not in seen:
                continue
            page.told.append(known.told)
            size += len(known.told)
            if len(page.told) == limit or size > LARGEST_PAGE:
                page.below = None if walk.over and known is found[-1] else known.id
                return page
        if walk.over:
            return page
        if walk.examined >= EXAMINED or clock() > stop:
            page.below = walk.last
            return page


def _time(query: Mapping[str, str], name: str, default: int) -> int:
    """Milliseconds: an id has no less."""
    if (text := query.get(name)) is None:
        return default
    since = None
    if _TIME.fullmatch(text):
        with contextlib.suppress(ValueError, OverflowError):
            since = datetime.fromisoformat(text.upper()) - _EPOCH
    if since is None:
        raise Refusal(
            Reason.BAD_QUERY,
            f"{name} must be a date such as 2026-11-30T12:00:00Z (RFC 3339; a + in a query is written %2B).",
        )
    return min(max(-(-since // timedelta(milliseconds=1)), 0), LATEST)
