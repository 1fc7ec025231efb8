"""The accepted keys: read from a file or a mounted Secret, read again when they change, never lost to a bad reading."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from k8s_ws_proxy.audit.trail import NO_TRAIL
from k8s_ws_proxy.errors import CredentialRefused, KeySourceError, Reason
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.reload import Fingerprint, Reloader, fingerprint
from k8s_ws_proxy.wire.audit.events import KeysChanged
from k8s_ws_proxy.wire.requests.key_names import entry_of
from k8s_ws_proxy.wire.requests.signing import Key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from k8s_ws_proxy.audit.trail import Trail

_Found = TypeVar("_Found")

V1: Final = "v1"
V2: Final = "v2"
SCHEMES: Final = (V1, V2)
"""How a key may be used to sign (docs/reference/signing.md)."""
POLL: Final = 1.0  # seconds between looks at the files
SHORTEST: Final = 32  # bytes: as long as HMAC-SHA256's output, RFC 2104 §3
_MAX_KEY: Final = 64 * 1024  # bytes: more isn't a key
_SWAPS: Final = 3  # times that a mounted Secret may be swapped while it is read, before that is told


@dataclass(frozen=True, slots=True)
class Reading:
    """What one look at the files found. ``refused`` are sentences about entries that aren't accepted, ``empty`` the
    names of those in which nothing is.
    """

    keys: tuple[Key, ...]
    refused: tuple[str, ...]
    empty: frozenset[str]
    fingerprint: Fingerprint


@dataclass(slots=True)
class Use:
    """When this daemon first had a key, and when it last let somebody in by it: Unix seconds."""

    since: float
    last_used: float | None = None


class KeySource:
    """One file, a directory, or both. Blocks on files: call it in a thread.

    The kubelet swaps a mounted Secret as a whole, by the link ``..data``, and mends the entries' own links one by one
    after it. So what is read is what ``..data`` points to: entries that were there together.
    """

    def __init__(self, file: Path | None, directory: Path | None) -> None:
        self._file = file
        self._directory = directory

    def fingerprint(self) -> Fingerprint:
        """Changes whenever the files do: identity, size and time of each. Never raises."""
        return fingerprint(path for path in (self._file, *self._entries()) if path is not None)

    def read(self) -> Reading:
        """All keys there are. Raises KeySourceError if a file can't be read, or none of them is usable."""
        for _ in range(_SWAPS):
            snapshot = self._snapshot()
            try:
                return self._read()
            except KeySourceError:
                if self._snapshot() == snapshot:
                    raise
        return self._read()

    def _read(self) -> Reading:
        found = self.fingerprint()  # before reading: a change in between is then seen the next time
        keys: list[Key] = []
        refused: list[str] = []
        empty: set[str] = set()
        if self._file is not None:
            secret = _read(self._file)
            if not secret:
                raise KeySourceError(f"the secret in {self._file} is empty")
            if len(secret) < SHORTEST:
                refused.append(f"the key {self._file.name} is only {len(secret)} bytes long: use {SHORTEST} or more")
            keys.append(Key(self._file.name, secret))
        if self._directory is not None:
            keys += self._from_directory(self._directory, refused, empty)
        if not keys:
            raise KeySourceError("; ".join([f"there is no usable key in {self._directory}", *refused]))
        return Reading(tuple(keys), tuple(refused), frozenset(empty), found)

    def _from_directory(self, directory: Path, refused: list[str], empty: set[str]) -> list[Key]:
        keys = []
        try:
            entries = self._entries(strict=True)
        except OSError as error:
            raise KeySourceError(f"the directory {directory} can't be read: {error.strerror}") from error
        for entry in entries:
            secret = _read(entry)
            if len(secret) < SHORTEST:
                refused.append(f"the key {entry.name} is refused: {len(secret)} bytes, and {SHORTEST} are needed")
                if not secret:
                    empty.add(entry.name)
            else:
                keys.append(Key(entry.name, secret))
        return keys

    def _entries(self, *, strict: bool = False) -> list[Path]:
        """The mounted Secret's entries. The kubelet's own (``..data`` and what it points to) begin with two dots."""
        snapshot = self._snapshot()
        if snapshot is None:
            return []
        try:
            return sorted(
                entry for entry in snapshot.iterdir() if not entry.name.startswith(".") and not entry.is_dir()
            )
        except OSError:
            if strict:
                raise
            return []

    def _snapshot(self) -> Path | None:
        """The directory with the entries: where ``..data`` points to now, if it is the kubelet's."""
        if self._directory is None:
            return None
        try:
            return self._directory / (self._directory / "..data").readlink()
        except OSError:
            return self._directory


class Keyring:
    """The keys in use. A reading that fails keeps the last good ones, logs, and moves a gauge.

    ``clock`` gives Unix seconds.
    """

    def __init__(
        self, source: KeySource, first: Reading, clock: Callable[[], float] = time.time, audit: Trail = NO_TRAIL
    ) -> None:
        self._source = source
        self._clock = clock
        self._audit = audit
        self._uses: dict[bytes, Use] = {}  # by value: an entry that is renamed keeps its history
        self._reloader = Reloader(
            period=POLL,
            look=source.fingerprint,
            read=source.read,
            error=KeySourceError,
            accept=self._accept,
            refuse=self._refuse,
            known=first.fingerprint,
        )
        self.keys: tuple[Key, ...] = ()
        self._accept(first)

    async def look(self) -> None:
        """Look at the files now and take what changed."""
        await self._reloader.look()

    async def keep_fresh(self) -> None:
        """Look again for ever."""
        await self._reloader.keep_fresh()

    async def tried(self, verify: Callable[[], _Found]) -> _Found:
        """What ``verify`` finds with ``keys``; if it finds no key that fits, perhaps with those that are there by now.

        A caller may have read the new secret a moment before this daemon looks again. Raises CredentialRefused.
        """
        try:
            return verify()
        except CredentialRefused as refused:
            if refused.reason is not Reason.BAD_SIGNATURE:
                raise
            before = self.keys
            await self.look()
            if self.keys == before:
                raise
        return verify()

    def used(self, key: Key, scheme: str) -> None:
        """Somebody was let in by ``key``, with a signature of this ``scheme``: one of ``SCHEMES``."""
        metrics.KEY_REQUESTS.labels(key.id, scheme).inc()
        self._uses[key.secret].last_used = self._clock()

    def standing_key(self) -> Key:
        """The one to seal with: an entry's own, not what a rotation keeps beside it; of several the first by name."""
        return next((key for key in self.keys if entry_of(key.id) == key.id), self.keys[0])

    def use(self, key: Key) -> Use:
        """Since when ``key`` is accepted here, and when it was last used."""
        return self._uses[key.secret]

    def _accept(self, reading: Reading) -> None:
        here = {key.id for key in reading.keys}
        # Nobody takes a key away by emptying its entry. What else has changed is taken: a key may have leaked.
        emptied = tuple(key for key in self.keys if key.id in reading.empty - here)
        keys = (*reading.keys, *emptied)
        before, changed = self.keys, keys != self.keys
        now = self._clock()
        for gone in {key.id for key in self.keys} - {key.id for key in keys}:
            for scheme in SCHEMES:
                metrics.KEY_REQUESTS.remove(gone, scheme)  # else a series stays behind for each key there ever was
        self.keys = keys
        self._uses = {key.secret: self._uses.get(key.secret) or Use(since=now) for key in self.keys}
        for key in self.keys:
            for scheme in SCHEMES:
                metrics.KEY_REQUESTS.labels(key.id, scheme)
        metrics.KEYS_LOADED.set(len(self.keys))
        metrics.KEYS_RELOAD_OK.set(1)
        metrics.KEYS_RELOAD_TIME.set(now)
        for sentence in reading.refused:
            logger().warning("weak key", problem=sentence)
        if changed:
            logger().info("keys loaded", key_ids=[key.id for key in self.keys])
        if changed and before:  # else they are the first ones
            self._audit.emit(_changed(before, self.keys))
        if emptied:
            names = ", ".join(sorted(key.id for key in emptied))
            self._refuse(KeySourceError(f"these have become empty: {names}. Put a key there, or remove the entry"))

    def _refuse(self, error: Exception) -> None:
        metrics.KEYS_RELOAD_OK.set(0)
        logger().error(
            "the keys can't be read; the last good ones stay in use",
            error=str(error),
            key_ids=[key.id for key in self.keys],
        )


def _changed(before: Sequence[Key], now: Sequence[Key]) -> KeysChanged:
    were, are = ({key.id: key.secret for key in keys} for keys in (before, now))
    return KeysChanged(
        keys=tuple(are),
        added=tuple(name for name in are if name not in were),
        removed=tuple(name for name in were if name not in are),
        replaced=tuple(name for name, secret in are.items() if were.get(name, secret) != secret),
    )


def _read(path: Path) -> bytes:
    """A key: the file's bytes with the white space around them trimmed."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_KEY).strip()
    except OSError as error:
        raise KeySourceError(f"the secret file {path} can't be read: {error.strerror}") from error
