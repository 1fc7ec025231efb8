"""What is to be hung up, in a file that outlives the process: a daemon that is killed leaves shells behind.

The next one on the same node hangs up what it finds. A line says one process: namespace, pod, container, process id,
start time, and as whom it was started where that isn't the proxy itself; nothing else. The first line is the machine's
boot id, since after another boot the numbers mean others. A line is written when a process is known and
not when it ends: the next daemon then finds that it is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import re
from functools import partial
from pathlib import Path
from typing import Final

from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.wire.container.orphans import Place, Process
from k8s_ws_proxy.wire.requests.impersonation import Identity
from k8s_ws_proxy.wire.requests.target import names_pod
from k8s_ws_proxy.worker import Worker

MOST: Final = 4096  # processes that are remembered, and lines that are read
_LONGEST: Final = 32 * 1024  # bytes of a line: three names, two numbers, a user and groups, escaped and prefixed
_MOST_BYTES: Final = 2 * 1024 * 1024  # of all lines that are remembered; a line without groups has some 200
_NUMBER: Final = re.compile(r"[0-9]{1,20}", re.ASCII)
_FILE: Final = "processes"
_LOCK: Final = "lock"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_SPARE: Final = 64  # lines of processes that have ended, before the file is written anew
_LAST_CHANCE: Final = 0.5  # seconds for what waits to be written when the daemon ends

Entry = tuple[Place, Process, Identity | None]
_Key = tuple[Place, Process]


class Journal:
    """The file in ``directory``. A thread writes it, so that a disk that hangs holds up nobody."""

    def __init__(self, directory: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._directory = directory
        self._loop = loop
        self._boot = ""
        self._lock: int | None = None
        self._live: dict[_Key, bytes] = {}  # their lines
        self._size = 0  # bytes of these
        self._pending = bytearray()  # lines to be appended, none where the file is written anew
        self._lines = 0  # in the file, when all is written
        self._anew = False  # the file has to be written as a whole
        self._busy = False  # the thread has something to write
        self._failing = False
        self._thread: Worker | None = None  # while there is a file to write

    def open(self) -> list[Entry]:
        """Read what a daemon before has left, and begin to write. It blocks: not for the event loop.

        Nothing that is wrong with the file keeps the daemon from its work: the log says it.
        """
        found: list[Entry] = []
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self._directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._boot = _BOOT_ID.read_text("ascii").strip()
            found = self._read()
        except BlockingIOError:
            self._close_lock()
            self._complain("another daemon uses it")
        except OSError as error:
            self._close_lock()
            self._complain(str(error))
        if self._lock is not None:
            for entry in found:
                self._keep(*entry[:2], line_of(*entry))
            self._anew = True
            self._thread = Worker("journal", self._loop)
        return found

    def add(self, place: Place, process: Process, identity: Identity | None = None) -> None:
        """Remember that this process is to be hung up, and as whom. Of too many the oldest are forgotten."""
        if self._lock is None:
            return
        line = line_of(place, process, identity)
        if len(line) > _LONGEST:
            logger().warning("what a terminal leaves can't be remembered: its groups are too many", **place._asdict())
            return
        self._keep(place, process, line)
        self._lines += 1
        if (
            self._lines > 2 * len(self._live) + _SPARE or len(self._pending) >= _MOST_BYTES
        ):  # most have ended, or it hangs
            self._anew = True
        if self._anew:
            self._pending.clear()
        else:
            self._pending += line
        self._write()

    def remove(self, place: Place, process: Process) -> None:
        """It has ended. That is written with the next whole file, no sooner."""
        self._size -= len(self._live.pop((place, process), b""))

    def _keep(self, place: Place, process: Process, line: bytes) -> None:
        self.remove(place, process)
        self._live[place, process] = line
        self._size += len(line)
        while len(self._live) > MOST or self._size > _MOST_BYTES:
            self.remove(*next(iter(self._live)))

    async def close(self) -> None:
        """Write what is left, for half a second at most."""
        if self._thread is None:
            return
        self._anew, self._busy = True, False
        self._write()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_CHANCE):
                await self._thread.rest()
        self._thread.stop()
        self._close_lock()

    def _close_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _read(self) -> list[Entry]:
        try:
            with (self._directory / _FILE).open("rb") as file:
                boot, *lines = file.read(2 * _MOST_BYTES + _LONGEST).split(b"\n")
        except FileNotFoundError:
            return []
        if boot.decode("utf-8", "replace") != self._boot:
            return []
        entries = [entry_of(line) for line in lines if line]
        if strange := entries.count(None):
            logger().warning("lines of the state file can't be read", directory=str(self._directory), lines=strange)
        return list(dict.fromkeys(entry for entry in entries if entry is not None))[-MOST:]

    def _write(self) -> None:
        """Give the thread what there is to write, if it has nothing yet."""
        if self._thread is None or self._busy or not (self._pending or self._anew):
            return
        anew, self._anew = self._anew, False
        data = b"".join(self._live.values()) if anew else bytes(self._pending)
        if anew:
            data = self._boot.encode() + b"\n" + data
            self._lines = len(self._live)
        self._pending.clear()
        self._busy = True
        self._thread.do(partial(self._put, data, anew=anew), self._written, self._not_written)

    def _put(self, data: bytes, *, anew: bool) -> None:
        path = self._directory / _FILE
        if not anew:
            with path.open("ab") as file:
                file.write(data)
            return
        fresh = path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:  # noqa: PTH123 - it is open already
            file.write(data)
        fresh.replace(path)

    def _written(self, _: None) -> None:
        self._busy = self._failing = False
        self._write()

    def _not_written(self, error: Exception) -> None:
        if not self._failing:
            self._complain(str(error))
        self._busy, self._failing, self._anew = False, True, True  # with the next one that is added

    def _complain(self, problem: str) -> None:
        logger().warning(
            "what terminals leave can't be remembered: a daemon that is killed leaves it behind",
            directory=str(self._directory),
            error=problem,
        )


def line_of(place: Place, process: Process, identity: Identity | None = None) -> bytes:
    """One line of the file."""
    whom = [] if identity is None else [identity.user, list(identity.groups)]
    return json.dumps([*place, process.pid, process.started, *whom]).encode() + b"\n"


def entry_of(line: bytes) -> Entry | None:
    """What a line says; None where it isn't one."""
    try:
        namespace, pod, container, pid, started, *whom = json.loads(line)
    except (ValueError, TypeError, RecursionError):
        return None
    texts = (namespace, pod, pid, started)
    if not all(isinstance(text, str) for text in texts) or not (container is None or isinstance(container, str)):
        return None
    if not names_pod(namespace, pod) or not (container is None or names_pod(container, container)):
        return None
    if not (_NUMBER.fullmatch(pid) and _NUMBER.fullmatch(started) and len(line) <= _LONGEST):
        return None
    place, process = Place(namespace, pod, container), Process(pid, started)
    if not whom:
        return place, process, None
    return None if (identity := _identity_of(whom)) is None else (place, process, identity)


def _identity_of(whom: list[object]) -> Identity | None:
    match whom:
        case [str(user), list(groups)] if all(map(_is_name, (user, *groups))):
            return Identity(user, tuple(groups))
    return None


def _is_name(name: object) -> bool:
    """Somebody's whom a session may have been for: whoever can write the file can't become Kubernetes' own."""
    return isinstance(name, str) and name.isprintable() and not name.strip().casefold().startswith("system:")
