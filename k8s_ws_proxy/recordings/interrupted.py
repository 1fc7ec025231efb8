"""What a daemon that was killed has left of a recording is finished. All of this blocks: it is for threads."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from k8s_ws_proxy.recordings.beneath import read_file
from k8s_ws_proxy.recordings.directory import OPEN, write_whole
from k8s_ws_proxy.recordings.paths import began, path_of, receipt_of
from k8s_ws_proxy.rfc3339 import rfc3339
from k8s_ws_proxy.wire.recording.asciicast import Cast, Heading, comment
from k8s_ws_proxy.wire.recording.receipt import (
    INTERRUPTED,
    End,
    File,
    Verdict,
    is_genuine,
    parse,
    sealed,
    verify,
    watchers_in,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from k8s_ws_proxy.recordings.directory import Directory

_LONGEST: Final = 8 * 1024 * 1024  # bytes of a line; a read of the session makes 1.5 MiB at most
_LARGEST: Final = 1024 * 1024  # bytes of what is known of a session
_NOT_SEALED: Final = "interrupted; what was known of the session isn't sealed with this key"
_NOTHING_KNOWN: Final = "interrupted; what was known of the session is lost"
_COMMENTS: Final = frozenset(map(comment, (INTERRUPTED, _NOT_SEALED, _NOTHING_KNOWN)))


@dataclass(frozen=True, slots=True)
class Finished:
    """A recording that was. ``known`` is what was known of its session; None where its daemon hasn't sealed that.

    ``ending`` is ``interrupted``, or what its daemon wrote into the receipt before it could tell of it.
    """

    file: File
    ending: str
    known: Mapping[str, Any] | None


def finish_interrupted(directory: Directory, session: str, secret: bytes) -> Finished | None:
    """Finish it, or say what its receipt says where it has one; None where there is nothing to be told of it.

    Its entry stays until it was told, and is forgotten: twice is better than never.

    Raises OSError, or ValueError where something else stands in the recording's place. It may be tried again: the same
    comes of it then.
    """
    path, receipt = directory.cast(session), directory.receipt(session)
    with contextlib.suppress(FileNotFoundError):
        written = read_file(directory.root, receipt_of(path_of(session)), _LARGEST + 1)
        directory.done(session)
        return _told(written, session, secret)
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it isn't a file")
    begun, timestamp, problem = _begun(directory, session, secret)
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        size, digest = _whole_lines(fd)
        os.ftruncate(fd, size)
        end = b"" if size else Cast(Heading(_title(begun), timestamp)).begin()
        end += comment(problem)
        size, view = size + len(end), memoryview(end)
        digest.update(end)
        while view:
            view = view[os.write(fd, view) :]
        os.fdatasync(fd)
    finally:
        # When the session's last was written, for whoever tries again. Who may write it mayn't always do this.
        with contextlib.suppress(OSError):
            os.utime(fd, ns=(found.st_atime_ns, found.st_mtime_ns))
        os.close(fd)
    end_of_it = End(rfc3339(found.st_mtime), INTERRUPTED, None, None, None, tuple(watchers_in(begun)))
    file = File(path_of(session), size, digest.hexdigest(), None, problem)
    write_whole(receipt, sealed(begun, end_of_it, file, secret))
    directory.done(session)
    return Finished(file, INTERRUPTED, begun if problem == INTERRUPTED else None)


def _told(receipt: bytes, session: str, secret: bytes) -> Finished | None:
    """What it says; None where it isn't sealed with this key, or of another session: nobody's word is taken for it."""
    told = parse(receipt)
    if told is None or told["sessionId"] != session or verify(receipt, None, [secret]) is not Verdict.WHOLE:
        return None
    file = File(told["recordingPath"], told["size"], told["sha256"], told["replaced"], told["problem"])
    made_up = told["problem"] in (_NOT_SEALED, _NOTHING_KNOWN)
    return Finished(file, told["ending"], None if made_up else told)


def _whole_lines(fd: int) -> tuple[int, Any]:
    """How many bytes of it are lines that can be read, and their hash.

    After a crash of the machine any of the last ones may be torn, or of other bytes; what is after such a line isn't
    worth one that players stop at. What an attempt before this one has said at the end isn't counted.
    """
    size, digest = 0, hashlib.sha256()
    said: tuple[int, Any] | None = None  # both, before what was said
    with open(fd, "rb", closefd=False) as file:
        while (line := file.readline(_LONGEST)).endswith(b"\n") and _can_be_read(line):
            if line not in _COMMENTS:
                said = None
            elif said is None:
                said = size, digest.copy()
            digest.update(line)
            size += len(line)
    return said or (size, digest)


def _can_be_read(line: bytes) -> bool:
    try:
        return bool(line.decode()) if line.startswith(b"#") else isinstance(orjson.loads(line), (list, dict))
    except ValueError:
        return False


def _begun(directory: Directory, session: str, secret: bytes) -> tuple[Mapping[str, Any], int, str]:
    """What was known of it while it went on, when it began (Unix seconds), and why its recording isn't whole."""
    with contextlib.suppress(ValueError, FileNotFoundError):
        known = orjson.loads(read_file(directory.own, f"{OPEN}/{session}", _LARGEST))
        if isinstance(known, dict) and isinstance(timestamp := known.get("timestamp"), int):
            genuine = known.get("sessionId") == session and is_genuine(known, secret)
            begun = {name: value for name, value in known.items() if name not in ("timestamp", "hmac")}
            problem = INTERRUPTED if genuine else _NOT_SEALED
            return {**_nothing(session, timestamp), **begun, "sessionId": session}, timestamp, problem
    timestamp = began(session)
    return _nothing(session, timestamp), timestamp, _NOTHING_KNOWN


def _nothing(session: str, timestamp: int) -> dict[str, Any]:
    """All that its id tells."""
    texts = ("subresource", "namespace", "pod", "node", "user", "reason", "peer")
    return {
        "sessionId": session,
        **dict.fromkeys(texts, ""),
        "container": None,
        "command": None,
        "tty": False,
        "caller": {"mode": "", "name": ""},
        "groups": [],
        "impersonated": None,
        "began": rfc3339(timestamp),
    }


def _title(begun: Mapping[str, Any]) -> str:
    return "/".join(str(begun[name]) for name in ("namespace", "pod", "container") if begun[name])
