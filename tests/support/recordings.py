"""Recordings of a running daemon, as whoever finds the files reads them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.recordings.paths import path_of, receipt_of
from k8s_ws_proxy.wire.recording.receipt import Verdict, verify

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon


class Cast:
    """An asciicast v3 file, read by the letter of its description: every line is JSON or a comment."""

    def __init__(self, data: bytes) -> None:
        assert data.endswith(b"\n"), data[-100:]
        lines = data.decode().removesuffix("\n").split("\n")
        self.header: dict[str, Any] = json.loads(lines[0])
        self.comments = [line.removeprefix("# ") for line in lines if line.startswith("#")]
        self.events: list[tuple[float, str, str]] = []
        at = 0.0
        for line in lines[1:]:
            if not line.startswith("#"):
                interval, code, text = json.loads(line)
                assert interval >= 0
                at += interval
                self.events.append((at, code, text))

    def text(self, code: str = "o") -> str:
        """All of one kind."""
        return "".join(text for _, found, text in self.events if found == code)

    def of(self, code: str) -> list[str]:
        """The events of one kind, one by one."""
        return [text for _, found, text in self.events if found == code]


async def finished(daemon: Daemon, directory: Path, session: str | None = None) -> tuple[Cast, dict[str, Any]]:
    """The recording that the daemon says it has finished, and its receipt, whose seal and hash are right."""
    facts = {"session": session} if session else {}
    line = await daemon.event("recording finished", **facts)
    return read(directory, line["session"], daemon.secret)


def read(directory: Path, session: str, secret: bytes) -> tuple[Cast, dict[str, Any]]:
    """A recording and its receipt, whose seal and hash are right."""
    data = (directory / path_of(session)).read_bytes()
    receipt = (directory / receipt_of(path_of(session))).read_bytes()
    assert verify(receipt, hashlib.sha256(data).hexdigest(), [secret.strip()]) is Verdict.WHOLE
    told = json.loads(receipt)
    assert (told["sessionId"], told["recordingPath"], told["size"]) == (session, path_of(session), len(data))
    return Cast(data), told


async def none_open(directory: Path) -> None:
    """Wait until no session has an entry there: it goes after the log has told that it is finished."""
    while list(directory.glob(".daemons/*/open/*")):  # noqa: ASYNC110, ASYNC240 - there is nothing to await but that
        await asyncio.sleep(0.02)


async def holds(path: Path, wanted: bytes) -> bytes:
    """What a file holds as soon as ``wanted`` is in it: there is nothing to await but its bytes."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            if wanted in (data := path.read_bytes()):  # noqa: ASYNC240 - as said
                return data
        await asyncio.sleep(0.02)
