"""Whether a recording and its receipt are what the proxy wrote: said in words, and by the exit status."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.cli.answers import printable
from k8s_ws_proxy.cli.sign import read_secret
from k8s_ws_proxy.errors import ProxyError
from k8s_ws_proxy.keyring import KeySource
from k8s_ws_proxy.wire.recording.receipt import Verdict, parse, verify

if TYPE_CHECKING:
    from collections.abc import Sequence

_PART: Final = 1024 * 1024
_LARGEST: Final = 1024 * 1024 + 1  # bytes of a receipt that are read: one more than there may be


class Found(IntEnum):
    """The exit status."""

    GOOD = 0
    CHANGED = 1
    UNKNOWN = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of a recording."""

    found: Found
    sentence: str


def receipt_beside(cast: Path) -> Path:
    """Where the receipt of that file is expected."""
    return cast.with_suffix(".json")


def secrets_of(files: Sequence[str], directory: str | None) -> list[bytes]:
    """The keys in these files, and in those of a directory such as a mounted Secret. Raises KeySourceError."""
    secrets = [read_secret(name) for name in files]
    if directory:
        secrets += [key.secret for key in KeySource(None, Path(directory)).read().keys]
    return secrets


def look(cast: Path, receipt: Path, secrets: Sequence[bytes]) -> Finding:
    """What is to be said of two files. Raises ProxyError where one can't be read."""
    return judged(str(receipt), _read(receipt), _digest(cast), secrets)


def judged(name: str, sealed: bytes, digest: str, secrets: Sequence[bytes]) -> Finding:
    """What is to be said of a receipt, which people know by ``name``, and a recording of that SHA-256."""
    told = parse(sealed)
    if told is None:
        return Finding(Found.UNKNOWN, f"{name} is no receipt")
    genuine = verify(sealed, None, secrets)
    same = digest == told["sha256"]
    if genuine is Verdict.RECEIPT_CHANGED:
        return Finding(
            Found.CHANGED,
            f"the receipt was changed: its seal isn't that of what it says. {'The recording' if same else 'Nor is it'} "
            f"{'has the hash that stands in it, for what that is worth' if same else 'of this recording'}",
        )
    if not same:
        more = (
            ""
            if genuine is Verdict.WHOLE
            else " The receipt's seal couldn't be looked at: none of the keys is its own."
        )
        return Finding(
            Found.CHANGED,
            f"the recording was changed, or it is another one's receipt: SHA-256 is {digest}, and the receipt says "
            f"{printable(told['sha256'][:80])}.{more}",
        )
    if genuine is not Verdict.WHOLE:
        which = "none of the keys given is the one" if secrets else "no key was given"
        key = printable(told["key"][:100])
        return Finding(
            Found.UNKNOWN,
            f"the recording has the hash that stands in its receipt, but whether that is genuine isn't known: {which}; "
            f"it was sealed with the key {key}. Give that one with --secret-file, also if it was rotated out",
        )
    problem = (
        f" The proxy itself says that it isn't whole: {printable(str(told['problem']))}" if told.get("problem") else ""
    )
    return Finding(Found.GOOD, f"the recording and its receipt are as the proxy wrote them.{problem}")


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while data := file.read(_PART):
                digest.update(data)
    except OSError as error:
        raise ProxyError(f"{path} can't be read: {error.strerror}") from error
    return digest.hexdigest()


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST)
    except FileNotFoundError as error:
        raise ProxyError(f"there is no receipt at {path}: name it with --receipt") from error
    except OSError as error:
        raise ProxyError(f"{path} can't be read: {error.strerror}") from error
