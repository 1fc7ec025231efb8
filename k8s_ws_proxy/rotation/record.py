"""How far rotations are: JSON in annotations of the Secret, so that anybody can take them up again.

Each entry that callers read is rotated by itself, and has a record of its own. The first one that is rotated has the
annotation that there was when one record was all; those of others are in a second one, which older versions leave as
it is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, TypeVar

from k8s_ws_proxy.errors import RotationError
from k8s_ws_proxy.rfc3339 import rfc3339, unix
from k8s_ws_proxy.wire.requests.key_names import DEFAULT_ENTRY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_Read = TypeVar("_Read")

ANNOTATION: Final = "k8s-ws-proxy/rotation"
OTHERS: Final = "k8s-ws-proxy/other-rotations"
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
    when this one began: who waits for that one's end knows it by this. ``key`` is the entry that is rotated; empty in
    what an older version wrote, until the Secret's entries have told it.
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
    key: str = ""

    def command(self, verb: str) -> str:
        """What an operator types for this one: ``'keys retire'``, with ``--key`` where it isn't the default entry's."""
        return command(verb, self.key)


def command(verb: str, key: str) -> str:
    """What an operator types for the entry ``key``."""
    return f"'keys {verb}'" if key == DEFAULT_ENTRY else f"'keys {verb} --key {key}'"


def dump(record: Record) -> str:
    """The text of ANNOTATION."""
    return json.dumps(_object(record))


def dump_others(records: Iterable[Record]) -> str:
    """The text of OTHERS."""
    return json.dumps([_object(record) for record in records])


def parse(text: str) -> Record:
    """The record in ANNOTATION. Raises RotationError."""
    return _understood(ANNOTATION, lambda: _record(json.loads(text), ANNOTATION))


def parse_others(text: str) -> tuple[Record, ...]:
    """The records in OTHERS, each of which says its ``key``. Raises RotationError."""

    def read() -> tuple[Record, ...]:
        records = json.loads(text)
        if not isinstance(records, list) or not all(record["key"] for record in records):
            raise ValueError("not the records of some entries")
        return tuple(_record(record, OTHERS) for record in records)

    return _understood(OTHERS, read)


def _object(record: Record) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "id": record.id,
        "key": record.key,
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


def _record(found: Any, annotation: str) -> Record:
    if found["version"] != _VERSION:
        raise RotationError(
            f"the Secret's annotation {annotation} was written by another version of k8s-ws-proxy "
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
            Old(_text(old["entry"]), _text(old["fingerprint"]), _unix_or_none(old["lastUsed"])) for old in found["old"]
        ),
        key=_text(found.get("key", "")),
    )


def _understood(annotation: str, read: Callable[[], _Read]) -> _Read:
    try:
        return read()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise RotationError(
            f"the Secret's annotation {annotation} can't be understood: somebody changed it. Look at the Secret's "
            "entries; if no rotation is under way, take the annotation away: kubectl annotate secret NAME "
            f"{annotation}-"
        ) from error


def _or_none(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)


def _unix_or_none(text: Any) -> float | None:
    return None if text is None else unix(text)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("not a text")  # noqa: TRY004 - see rfc3339.unix()
    return value
