"""How far a rotation is: one JSON object in an annotation of the Secret, so that anybody can take it up again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from k8s_ws_proxy.errors import RotationError
from k8s_ws_proxy.rfc3339 import rfc3339, unix

ANNOTATION: Final = "k8s-ws-proxy/rotation"
_VERSION: Final = 1


class Phase(Enum):
    """How far it is; the only way is down this list."""

    STAGED = "staged"  # the new key is accepted, the current one is still the old one
    OVERLAP = "overlap"  # the new key is the current one, the old one is still accepted
    RETIRING = "retiring"  # the old key is out of the Secret, and some pod may still accept it
    DONE = "done"


class Until(Enum):
    """How far a run was asked to go."""

    STAGED = "staged"
    PROMOTED = "promoted"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Old:
    """A key that is on its way out: its entry in the Secret, and when it was last seen in use (Unix seconds)."""

    entry: str
    fingerprint: str
    last_used: float | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One rotation. Times are Unix seconds by the apiserver's clock, which is the same one for every operator.

    ``until`` is how far the run that began it wanted to go: what ended there isn't an interrupted one. ``entry`` is
    where the new key waits while it is staged. ``overlap`` is in seconds. ``follows`` is the rotation that was done
    when this one began: who waits for that one's end knows it by this.
    """

    id: str
    phase: Phase
    until: Until
    new: str
    entry: str
    overlap: float
    staged: float
    promoted: float | None = None
    retired: float | None = None
    finished: float | None = None
    immediate: bool = False
    follows: str = ""
    old: tuple[Old, ...] = ()


def dump(record: Record) -> str:
    """The annotation's text."""
    return json.dumps(
        {
            "version": _VERSION,
            "id": record.id,
            "phase": record.phase.value,
            "until": record.until.value,
            "new": record.new,
            "entry": record.entry,
            "overlapSeconds": record.overlap,
            "staged": rfc3339(record.staged),
            "promoted": _or_none(record.promoted),
            "retired": _or_none(record.retired),
            "finished": _or_none(record.finished),
            "immediate": record.immediate,
            "follows": record.follows,
            "old": [
                {"entry": old.entry, "fingerprint": old.fingerprint, "lastUsed": _or_none(old.last_used)}
                for old in record.old
            ],
        }
    )


def parse(text: str) -> Record:
    """The record in an annotation. Raises RotationError."""
    try:
        found = json.loads(text)
        if found["version"] != _VERSION:
            raise RotationError(
                f"the Secret's annotation {ANNOTATION} was written by another version of k8s-ws-proxy "
                f"(its version is {found['version']!r}, this program knows {_VERSION}): use that version"
            )
        return Record(
            id=_text(found["id"]),
            phase=Phase(found["phase"]),
            until=Until(found["until"]),
            new=_text(found["new"]),
            entry=_text(found["entry"]),
            overlap=float(found["overlapSeconds"]),
            staged=unix(found["staged"]),
            promoted=_unix_or_none(found["promoted"]),
            retired=_unix_or_none(found["retired"]),
            finished=_unix_or_none(found["finished"]),
            immediate=bool(found["immediate"]),
            follows=_text(found["follows"]),
            old=tuple(
                Old(_text(old["entry"]), _text(old["fingerprint"]), _unix_or_none(old["lastUsed"]))
                for old in found["old"]
            ),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise RotationError(
            f"the Secret's annotation {ANNOTATION} can't be understood: somebody changed it. Look at the Secret's "
            "entries; if no rotation is under way, take the annotation away: kubectl annotate secret NAME "
            f"{ANNOTATION}-"
        ) from error


def _or_none(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)


def _unix_or_none(text: Any) -> float | None:
    return None if text is None else unix(text)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("not a text")  # noqa: TRY004 - see rfc3339.unix()
    return value
