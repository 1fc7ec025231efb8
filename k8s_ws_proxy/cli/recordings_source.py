"""Where recordings are: at one proxy, in a directory, or with whoever else can be asked the same."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

from k8s_ws_proxy.cli.answers import Refused
from k8s_ws_proxy.cli.client import answer_of, download
from k8s_ws_proxy.cli.sessions_source import Silent, object_in, target_of
from k8s_ws_proxy.cli.sessions_table import MalformedAnswer
from k8s_ws_proxy.cli.signer import Signer
from k8s_ws_proxy.errors import ProxyError, Reason
from k8s_ws_proxy.recordings.beneath import open_folder
from k8s_ws_proxy.recordings.catalogue import LATEST, Catalogue, Wanted
from k8s_ws_proxy.recordings.growing import whole_lines
from k8s_ws_proxy.rfc3339 import unix

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping

    from k8s_ws_proxy.cli.connection import Connection

    RecordingJson = dict[str, Any]

PATH: Final = "/proxy/recordings"
PAGE: Final = 1000
"""Recordings that are asked for at once."""
PART: Final = 256 * 1024
"""Bytes of a recording that are read at once."""
_LARGEST: Final = 8 << 20  # bytes of a page, which a proxy ends after one MiB, and of a receipt


@dataclass(slots=True)
class Listed:
    """Recordings, newest first. ``more``: there are others; ``skipped`` couldn't be read."""

    recordings: list[RecordingJson]
    more: bool = False
    skipped: int = 0


class RecordingSource(Protocol):
    """Where they are. ``silent`` are those of the ``asked`` who didn't answer the last question.

    ``waits`` says that nobody minds how slowly a recording is read.
    """

    waits: bool
    silent: list[Silent]
    asked: int

    async def listed(self, wanted: Mapping[str, str], limit: int) -> Listed:
        """Those that ``wanted`` (the API's parameters) leaves, ``limit`` at most. Raises ProxyError."""

    def cast(self, session: str, *, follow: bool = False) -> AsyncGenerator[bytes, None]:
        """The recording, as it comes. Raises ProxyError."""

    async def receipt(self, session: str) -> bytes:
        """Its receipt. Raises ProxyError."""


class OneProxyRecordings:
    """Those of the proxy at the other end of a connection."""

    waits = False

    def __init__(self, to: Connection) -> None:
        self._to = to
        self.silent: list[Silent] = []
        self.asked = 1

    async def listed(self, wanted: Mapping[str, str], limit: int) -> Listed:
        """See RecordingSource."""
        found = Listed([])
        token: str | None = ""
        while token is not None and len(found.recordings) < limit:
            page = page_in(await self._ask(page_target(wanted, limit - len(found.recordings), token)))
            found.recordings += page.recordings
            found.skipped += page.skipped
            token = page.token
        found.more = token is not None
        return found

    async def cast(self, session: str, *, follow: bool = False) -> AsyncGenerator[bytes, None]:
        """See RecordingSource."""
        target = target_of(f"{PATH}/{session}", {"follow": "true"} if follow else {})
        async with contextlib.aclosing(as_it_comes(Signer(self._to, target))) as parts:
            async for data in parts:
                yield data

    async def receipt(self, session: str) -> bytes:
        """See RecordingSource."""
        return await self._ask(target_of(f"{PATH}/{session}/receipt"))

    async def _ask(self, target: str) -> bytes:
        try:
            body, _ = await answer_of(self._to, "GET", target, max_bytes=_LARGEST)
        except Refused as refused:
            if refused.reason == Reason.BAD_PATH.value:
                raise ProxyError(f"{self._to.url} has no recordings to tell of: an older version?") from refused
            raise
        return body


async def as_it_comes(signer: Signer) -> AsyncGenerator[bytes, None]:
    """The recording that ``signer`` asks for, a part at a time. Raises ProxyError."""
    async with download(signer) as body:
        while data := await body.read(PART):
            yield data


class DirectoryRecordings:
    """Those in a directory on this machine."""

    waits = True

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self.silent: list[Silent] = []
        self.asked = 1

    async def listed(self, wanted: Mapping[str, str], limit: int) -> Listed:
        """See RecordingSource."""
        walk = self._catalogue.walk(wanted_by(wanted))
        found: list[RecordingJson] = []
        with _read(f"what is in {self._catalogue.root}"):
            while not walk.over and len(found) < limit:
                found += [orjson.loads(known.told) for known in walk.take(limit - len(found), 60)]
        return Listed(found, not walk.over, walk.skipped)

    async def cast(self, session: str, *, follow: bool = False) -> AsyncGenerator[bytes, None]:
        """See RecordingSource."""
        if follow:
            raise ProxyError("--follow asks a proxy: it isn't for a directory")
        with _read(f"the recording {session} in {self._catalogue.root}"):
            grows = self._catalogue.receipt(session) is None
            if (fd := self._catalogue.open(session)) is None:
                raise ProxyError(f"there is no recording {session} in {self._catalogue.root}")
            with os.fdopen(fd, "rb") as file:
                end = whole_lines(fd) if grows else os.fstat(fd).st_size
                while data := file.read(min(PART, end - file.tell())):
                    yield data

    async def receipt(self, session: str) -> bytes:
        """See RecordingSource."""
        with _read(f"the receipt of {session} in {self._catalogue.root}"):
            found = self._catalogue.receipt(session)
        if found is None:
            raise ProxyError(f"there is no receipt of {session} in {self._catalogue.root}: has the session ended?")
        return found


def directory_at(name: str) -> DirectoryRecordings:
    """What is in that directory. Raises ProxyError where there is none, or it can't be read."""
    root = Path(name)
    with _read(name):
        os.close(open_folder(root))  # else one that isn't there would have no recordings
    return DirectoryRecordings(Catalogue(root))


@contextlib.contextmanager
def _read(what: str) -> Iterator[None]:
    """Raises ProxyError where ``what`` can't be."""
    try:
        yield
    except OSError as error:
        raise ProxyError(f"{what} can't be read: {error.strerror or error}") from error


@dataclass(frozen=True, slots=True)
class PageOfRecordings:
    """What a proxy answers; ``token`` is where the list goes on."""

    recordings: list[RecordingJson]
    skipped: int
    token: str | None


def wanted_by(parameters: Mapping[str, str]) -> Wanted:
    """What the API's parameters leave, where nobody is asked by them."""
    start, end = (
        round(unix(parameters[name]) * 1000) if name in parameters else default
        for name, default in (("from", 0), ("to", LATEST))
    )
    return Wanted(parameters.get("namespace"), parameters.get("user"), start, end)


def page_target(wanted: Mapping[str, str], limit: int, token: str) -> str:
    """The request for a page."""
    more = {"limit": str(min(limit, PAGE)), **({"continue": token} if token else {})}
    return target_of(PATH, {**wanted, **more})


def page_in(body: bytes) -> PageOfRecordings:
    """What the answer says. Raises ProxyError."""
    try:
        found = object_in(body)
        recordings, skipped, token = found["recordings"], found["skipped"], found["continue"]
        if not isinstance(recordings, list) or not all(isinstance(each, dict) for each in recordings):
            raise MalformedAnswer("the answer has no list of recordings")
        return PageOfRecordings(recordings, int(skipped), None if token is None else str(token))
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedAnswer("that is no list of recordings as k8s-ws-proxy tells it") from error
