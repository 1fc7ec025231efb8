"""The store that finished recordings are kept in: S3 and what else the library obstore speaks (the extra ``store``).

Nothing here blocks the event loop: the library has threads of its own. Each request has a time-out, and what a store
answers is held a piece at a time, whatever its length. A store's words never get into a message of ours: an answer to
a signature that doesn't match holds what was signed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from k8s_ws_proxy.errors import NotStored, StoreAway, StoreError, StoreRefused, StoreUnusable
from k8s_ws_proxy.reload import fingerprint

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator
    from datetime import datetime
    from types import ModuleType

    from k8s_ws_proxy.reload import Fingerprint
    from k8s_ws_proxy.settings import StoreSettings

PART: Final = 5 * 1024 * 1024
"""Bytes of a part of an upload in several: the least that S3 takes (Amazon S3 multipart upload limits)."""
_MOST_PARTS: Final = 10_000  # of an upload, the same page
_HELD: Final = 256 * 1024  # bytes of an answer that are handed on at once
_CONNECT: Final = 5  # seconds
_SILENCE: Final = 60  # seconds until a request is answered, its part sent, and then without a byte of the answer
_RETRIES: Final = 2  # by the library, within a request; whoever uploads has more patience
_PATIENCE: Final = 120.0  # seconds for a request with all that is tried again of it
_SLOWEST: Final = 64 * 1024  # bytes a second that a store must at least take and give, beyond that
_NO_END: Final = timedelta(days=30)
# The library's panics are no Exceptions; these aren't either.
_NOT_THE_LIBRARY_S: Final = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit)
_LARGEST_OPTION: Final = 64 * 1024  # bytes of an entry of the Secret
_OPTION: Final = re.compile(r"(AWS|GOOGLE|AZURE)_[A-Z0-9_]+", re.ASCII)

_STATUS: Final = re.compile(r"status code: ([0-9]{3})")
_CODE: Final = re.compile(r"<Code>([A-Za-z]{1,64})</Code>")
_WRONG_OPTION: Final = re.compile(r"Missing \w+|Account must be specified|Configuration key: '\w+'")
# What the library's own description of an error has in it, and what that means.
_CAUSES: Final = (
    ("dns error", "its name can't be resolved"),
    ("InvalidCertificate", "its certificate can't be verified"),
    ("kind: Timeout", "it didn't answer in time"),
    ("tcp connect error", "no connection to it"),
    ("169.254.", "there are no credentials"),
    ("kind: Connect", "no connection to it"),
)


@dataclass(frozen=True, slots=True)
class Stored:
    """An object: its name below the store's prefix, its size in bytes, and when it was stored."""

    name: str
    size: int
    modified: datetime


class Store:
    """An open store. Names are paths below the prefix of its URL. Every method raises StoreError."""

    def __init__(self, library: ModuleType, inner: Any) -> None:
        self._library = library
        self._inner = inner

    async def put(self, name: str, file: BinaryIO, size: int) -> None:
        """Store ``size`` bytes of ``file``, in parts where they are many, in the place of what has that name.

        At most two parts are in memory. Where it is cut short, nothing has that name that hadn't before; parts that
        had arrived may stay until the store's own rule removes them (docs/operations.md).
        """
        part = max(PART, -(-size // _MOST_PARTS))
        deadline = _Deadline()
        deadline.extend(size)
        async with deadline.bounded():
            await self._library.put_async(
                self._inner, name, file, use_multipart=size > part, chunk_size=part, max_concurrency=1
            )

    async def head(self, name: str) -> Stored | None:
        """What has that name; None if nothing does."""
        try:
            async with _Deadline().bounded():
                return _stored(await self._library.head_async(self._inner, name))
        except NotStored:
            return None

    async def read(self, name: str) -> AsyncGenerator[bytes, None]:
        """Its bytes, in pieces. Raises also NotStored. What is more or less than the store said first is StoreAway."""
        # Not in ranges, which some servers answer with the status 200, and the library then doesn't take.
        deadline = _Deadline()
        async with deadline.bounded():
            answer = await self._library.get_async(self._inner, name)
            rest = answer.meta["size"]
            deadline.extend(rest)
            stream = answer.stream(min_chunk_size=_HELD)
        while True:
            async with deadline.bounded():
                data = await anext(stream, None)
            rest -= 0 if data is None else len(data)
            if rest < 0 or (data is None and rest):
                raise StoreAway("the store sent another number of bytes than it said")
            if data is None:
                return
            yield bytes(data)

    async def holds(self, name: str, size: int, sha256: str) -> bool:
        """Whether what has that name is of this size and SHA-256 (hexadecimal): it is read, and nobody's word taken."""
        found = await self.head(name)
        if found is None or found.size != size:
            return False
        digest = hashlib.sha256()
        with contextlib.suppress(NotStored):
            async with contextlib.aclosing(self.read(name)) as reading:
                async for data in reading:
                    digest.update(data)
                    size -= len(data)
                    if size < 0:
                        break
        return digest.hexdigest() == sha256

    async def folders(self, prefix: str = "") -> list[str]:
        """The names of what is right below the path ``prefix`` and has something below itself, in order."""
        async with _Deadline().bounded():
            found = await self._library.list_with_delimiter_async(self._inner, prefix or None)
        return sorted(path.rpartition("/")[2] for path in found["common_prefixes"])

    async def list(self, prefix: str = "") -> AsyncIterator[Stored]:
        """All whose names begin with the path ``prefix``, such as ``2026/11``. In no order; a page at a time."""
        pages = self._library.list(self._inner, prefix or None, chunk_size=1000)
        while True:
            async with _Deadline().bounded():
                page = await anext(pages, None)
            if page is None:
                return
            for each in page:
                yield _stored(each)


def _stored(meta: Any) -> Stored:
    return Stored(meta["path"], meta["size"], meta["last_modified"])


def open_store(settings: StoreSettings) -> Store:
    """The store that these name. It blocks on files, and asks nobody. Raises StoreUnusable."""
    try:
        import obstore  # noqa: PLC0415 - the extra `store`, and 16 MB
        import obstore.store  # noqa: PLC0415
    except ImportError:
        raise StoreUnusable("the store needs the library obstore: install k8s-ws-proxy[store]") from None
    config = _credentials(settings.credentials_dir)
    if settings.endpoint:
        config["AWS_ENDPOINT"] = settings.endpoint
    if settings.region:
        config["AWS_REGION"] = settings.region
    client: dict[str, Any] = {
        "connect_timeout": timedelta(seconds=_CONNECT),
        "read_timeout": timedelta(seconds=_SILENCE),
        "timeout": _NO_END,  # a large recording takes its time; _Deadline bounds it
    }
    if settings.endpoint.startswith("http:"):
        client["allow_http"] = True
    if settings.ca_file is not None:
        client["root_certificate"] = _read(settings.ca_file)
    retries = {"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=_SILENCE)}
    opened: Any = obstore.store.from_url  # typed for each kind of store, and which it is isn't known here
    try:
        if settings.url.startswith("file:"):
            inner = opened(settings.url, mkdir=True)
        else:
            inner = opened(settings.url, config=config, client_options=client, retry_config=retries)
    except BaseException as error:
        if isinstance(error, _NOT_THE_LIBRARY_S):
            raise
        # What it says beyond this may quote a credential.
        found = _WRONG_OPTION.search(str(error))
        detail = found[0] if found else type(error).__name__
        raise StoreUnusable(f"the store can't be opened with these options ({detail})") from None
    return Store(obstore, inner)


def refuse_own_directory(settings: StoreSettings, directory: Path) -> None:
    """Whatever way leads there: what is in the store is removed here, and would be gone. Raises StoreUnusable."""
    if not settings.url.startswith("file:"):
        return
    store = Path(settings.url.removeprefix("file://"))
    with contextlib.suppress(FileNotFoundError):
        if store.resolve() == directory.resolve() or store.samefile(directory):
            raise StoreUnusable("the store is the directory of the recordings itself")


class StoreSource:
    """The store, opened anew when its CA or credentials change on the disk."""

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._store: Store | None = None
        self._known: Fingerprint | None = None

    def store(self) -> Store:
        """The store as it is now. It blocks on files. Raises StoreUnusable."""
        found = fingerprint(self._files())
        if self._store is None or found != self._known:
            self._store, self._known = open_store(self._settings), found
        return self._store

    def _files(self) -> Iterator[Path]:
        if self._settings.ca_file is not None:
            yield self._settings.ca_file
        if (directory := self._settings.credentials_dir) is not None:
            yield directory
            with contextlib.suppress(OSError):
                yield from sorted(directory.iterdir())


def _credentials(directory: Path | None) -> dict[str, str]:
    """A mounted Secret's entries that are options of the library, by their names; others aren't looked at."""
    if directory is None:
        return {}
    try:
        names = sorted(path.name for path in directory.iterdir())
    except OSError as error:
        raise StoreUnusable(f"the store's credentials can't be read ({error.strerror}): {directory}") from None
    found = {name: _read(directory / name) for name in names if _OPTION.fullmatch(name)}
    if not found:
        raise StoreUnusable(f"the store's credentials have no entry such as AWS_ACCESS_KEY_ID: {directory}")
    try:
        return {name: value.decode().strip() for name, value in found.items()}
    except UnicodeDecodeError:
        raise StoreUnusable(f"the store's credentials aren't UTF-8: {directory}") from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_OPTION + 1)
    except OSError as error:
        raise StoreUnusable(f"a file of the store can't be read ({error.strerror}): {path}") from None
    if len(data) > _LARGEST_OPTION:
        raise StoreUnusable(f"a file of the store is too large: {path}")
    return data


class _Deadline:
    """When something has to be over that a store does; it may take longer with more bytes."""

    def __init__(self) -> None:
        self._at = asyncio.get_running_loop().time() + _PATIENCE

    def extend(self, size: int) -> None:
        """By what so many bytes may take."""
        self._at += size / _SLOWEST

    @contextlib.asynccontextmanager
    async def bounded(self) -> AsyncIterator[None]:
        """Whatever goes wrong within is told as a StoreError."""
        try:
            async with asyncio.timeout_at(self._at):
                yield
        except TimeoutError:
            raise StoreAway("the store didn't answer in time") from None
        except BaseException as error:
            if isinstance(error, _NOT_THE_LIBRARY_S):
                raise
            raise _told(error) from None


def _told(error: BaseException) -> StoreError:
    """What became of a request, in our words: of the store's answer its status, and S3's one word for it."""
    text = str(error)
    status, code = _STATUS.search(text), _CODE.search(text)
    answer = " ".join(found[1] for found in (status, code) if found)
    if isinstance(error, FileNotFoundError):
        if code and code[1] == "NoSuchBucket":
            return StoreRefused("the store has no such bucket")
        return NotStored("there is no such object in the store")
    if isinstance(error, OSError | ValueError):  # file://, or a file of ours that can't be read
        return StoreRefused(f"it can't be stored ({getattr(error, 'strerror', None) or type(error).__name__})")
    if answer:
        kind = StoreAway if status is not None and status[1] >= "500" else StoreRefused
        return kind(f"the store answered {answer}")
    if type(error).__name__ in ("PermissionDeniedError", "UnauthenticatedError"):
        return StoreRefused("the store refused the credentials")
    cause = next((told for mark, told in _CAUSES if mark in text), type(error).__name__)
    return StoreAway(f"the store can't be reached: {cause}")
