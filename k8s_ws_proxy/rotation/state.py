"""The Secret as it is, and the patches that take a rotation one step further.

Each patch is a JSON merge patch (RFC 7386) with the resourceVersion that was read: whoever changed the Secret in
between makes it a 409, and everything is read and decided anew. Each is a step as a whole: there is no moment at which
a key that was accepted before and after it isn't accepted. What belongs to a rotation of another entry stays as it is,
keys and record.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from k8s_ws_proxy.errors import RotationError
from k8s_ws_proxy.rotation.record import (
    ANNOTATION,
    OTHERS,
    Old,
    Phase,
    Record,
    Until,
    command,
    dump,
    dump_others,
    parse,
    parse_others,
)
from k8s_ws_proxy.wire.requests.key_names import NEXT, PREVIOUS, entry_of, rotated
from k8s_ws_proxy.wire.requests.signing import key_fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_REMEMBERED: Final = 100  # rotations that are done: an apiserver takes 256 KiB of annotations


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the Secret. ``value`` is base64 as the API has it, and never shown."""

    name: str
    fingerprint: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class State:
    """The Secret at ``version``. ``current`` is the entry that callers read, ``owners`` are what it belongs to.

    ``records`` are the last rotations, one for each entry that was ever rotated, in the annotations' order.
    """

    version: str
    current: Entry
    entries: tuple[Entry, ...]
    records: tuple[Record, ...]
    owners: tuple[str, ...] = ()

    @property
    def record(self) -> Record | None:
        """The last rotation of ``current``."""
        return next((record for record in self.records if record.key == self.current.name), None)

    @property
    def others(self) -> tuple[Record, ...]:
        """The rotations of other entries that are under way."""
        return tuple(r for r in self.records if r.key != self.current.name and r.phase is not Phase.DONE)

    def entry(self, name: str) -> Entry | None:
        """The entry of that name, if there is one."""
        return next((entry for entry in self.entries if entry.name == name), None)

    def copies(self, fingerprint: str) -> tuple[str, ...]:
        """The names of other entries that hold this key, and aren't of this rotation: it is accepted while they do.

        Daemons read no entry whose name begins with a dot.
        """
        own = self.record
        return tuple(
            entry.name
            for entry in self.entries
            if entry.fingerprint == fingerprint
            and entry.name != self.current.name
            and not entry.name.startswith(".")
            and (own is None or _role(entry, own) is None)
        )

    def copied(self, record: Record) -> tuple[str, ...]:
        """The names of the entries that hold a copy of one of the old keys of ``record``, the current entry's."""
        return tuple(sorted({name for old in record.old for name in self.copies(old.fingerprint)}))

    def ends(self, name: str) -> str:
        """The command that takes away, or replaces, what the entry ``name`` of another rotation or of none holds."""
        entry = self.entry(name)
        keeper = None if entry is None else self.kept_by(entry)
        return command("rotate", name) if keeper is None else keeper.command("retire")

    def role(self, entry: Entry) -> str:
        """What the entry is: ``current``, ``next``, ``previous``, or ``other`` if no rotation made or keeps it."""
        if entry.name == self.current.name:
            return "current"
        roles = (_role(entry, record) for record in self.records)
        return next((role for role in roles if role is not None), "other")

    def kept_by(self, entry: Entry) -> Record | None:
        """The rotation of another entry that is under way and made or keeps this one."""
        return next((record for record in self.others if _role(entry, record) is not None), None)


@dataclass(frozen=True, slots=True)
class Patch:
    """A merge patch's body. It may hold a key: it has no ``repr``."""

    body: dict[str, Any] = field(repr=False)
    record: Record


def read(secret: Mapping[str, Any], current: str) -> State:
    """What a Secret, as the API gives it, says; ``current`` names the entry that callers read. Raises RotationError."""
    metadata = secret.get("metadata") or {}
    data = secret.get("data") or {}
    if current not in data:
        there = ", ".join(sorted(data)) or "nothing"
        raise RotationError(f"the Secret has no entry {current!r}: there is {there}. Name the right one with --key")
    entries = tuple(Entry(name, _fingerprint(name, value), value) for name, value in sorted(data.items()))
    return State(
        version=str(metadata.get("resourceVersion", "")),
        current=next(entry for entry in entries if entry.name == current),
        entries=entries,
        records=_records(metadata.get("annotations") or {}, entries, current),
        owners=tuple(f"{one['kind']} {one['name']}" for one in metadata.get("ownerReferences") or ()),
    )


def check_mutable(secret: Mapping[str, Any]) -> None:
    """Raises RotationError for a Secret that nobody can change."""
    if secret.get("immutable"):
        raise RotationError(
            "the Secret is immutable, so its keys can't be rotated. Make one that isn't: save it with "
            "'kubectl get secret NAME -o yaml', take 'immutable: true' out, 'kubectl replace --force -f' the rest"
        )


def stage(state: State, secret: bytes, *, id_: str, until: Until, overlap: float, now: float) -> Patch:
    """Add ``secret``, a new key, beside the current one. A key that was staged before goes."""
    old = _still_there(state)
    taken = {entry.name for entry in state.entries}
    data: dict[str, str | None] = {}
    if state.record is not None and state.record.phase is Phase.STAGED:
        staged = state.entry(state.record.entry)
        if staged is not None and staged.fingerprint == state.record.new:
            data[staged.name] = None
            taken.discard(staged.name)
    name = _free(rotated(state.current.name, NEXT), taken)
    record = Record(
        id=id_,
        phase=Phase.STAGED,
        until=until,
        new=key_fingerprint(secret),
        entry=name,
        overlap=overlap,
        staged=now,
        follows=_done_before(state),
        old=old,
        key=state.current.name,
    )
    return _patch(state, {**data, name: _encoded(secret)}, record)


def promote(state: State, *, until: Until, overlap: float, now: float) -> Patch:
    """Make the staged key the current one, and keep the current one as an old one, in one change."""
    record = _record(state)
    staged = state.entry(record.entry)
    assert staged is not None, "decide() has looked"
    name = _free(rotated(state.current.name, PREVIOUS), {entry.name for entry in state.entries})
    old = Old(name, state.current.fingerprint)
    data = {state.current.name: staged.value, staged.name: None, name: state.current.value}
    following = replace(record, phase=Phase.OVERLAP, until=until, overlap=overlap, promoted=now, old=(*record.old, old))
    return _patch(state, data, following)


def retire(state: State, *, now: float) -> Patch:
    """Take the old keys out of the Secret."""
    record = _record(state)
    data = dict.fromkeys((old.entry for old in _still_there(state)), None)
    return _patch(state, data, replace(record, phase=Phase.RETIRING, until=Until.RETIRED, retired=now))


def replace_at_once(state: State, secret: bytes, *, id_: str, now: float) -> Patch:
    """Make ``secret`` the current key, and take out the current one and all that its rotation left: a key has leaked.

    A copy of any of these goes, too, whosever entry it is: it has leaked as well.
    """
    ours = [e for e in state.entries if state.record is not None and _role(e, state.record) is not None]
    leaked = dict.fromkeys(entry.fingerprint for entry in (state.current, *ours))
    old = [Old("", fingerprint) for fingerprint in leaked]
    data: dict[str, str | None] = {
        entry.name: None for entry in state.entries if entry.name != state.current.name and entry.fingerprint in leaked
    }
    record = Record(
        id=id_,
        phase=Phase.RETIRING,
        until=Until.RETIRED,
        new=key_fingerprint(secret),
        entry="",
        overlap=0.0,
        staged=now,
        promoted=now,
        retired=now,
        immediate=True,
        follows=_done_before(state),
        old=tuple(old),
        key=state.current.name,
    )
    return _patch(state, {**data, state.current.name: _encoded(secret)}, record)


def finish(state: State, *, now: float) -> Patch:
    """Write down that it is done."""
    return _patch(state, {}, replace(_record(state), phase=Phase.DONE, finished=now))


def remember(state: State, last_used: Mapping[str, float]) -> Patch:
    """Write down when old keys were last seen in use, by fingerprint: a pod forgets it when it restarts."""
    record = _record(state)
    old = tuple(replace(one, last_used=last_used.get(one.fingerprint, one.last_used)) for one in record.old)
    return _patch(state, {}, replace(record, old=old))


def _patch(state: State, data: Mapping[str, str | None], record: Record) -> Patch:
    first, *others = _kept(state, record)
    annotations: dict[str, str | None] = {ANNOTATION: dump(first)}
    if others or len(state.records) > 1:
        annotations[OTHERS] = dump_others(others) if others else None
    body: dict[str, Any] = {"metadata": {"resourceVersion": state.version, "annotations": annotations}}
    if data:
        body["data"] = dict(data)
    return Patch(body, record)


def _kept(state: State, record: Record) -> Sequence[Record]:
    """The records with this one among them, each where it was. What was done long ago, or of what is gone, isn't."""
    records = {one.key: one for one in state.records} | {record.key: record}
    there = {entry.name for entry in state.entries}
    done = [one for one in records.values() if one.phase is Phase.DONE and one.key in there]
    remembered = sorted(done, key=lambda one: one.finished or 0.0)[-_REMEMBERED:]
    return [one for one in records.values() if one.phase is not Phase.DONE or one in remembered]


def _records(annotations: Mapping[str, str], entries: tuple[Entry, ...], current: str) -> tuple[Record, ...]:
    """What both annotations say; where each has a record of one entry, an older version wrote the later one."""
    first, others = annotations.get(ANNOTATION), annotations.get(OTHERS)
    records: dict[str, Record] = {}
    if first is not None:
        record = parse(first)
        key = record.key or _entry_rotated(record, entries) or current
        records[key] = replace(record, key=key)
    for record in () if others is None else parse_others(others):
        if record.key not in records or records[record.key].staged < record.staged:
            records[record.key] = record
    return tuple(records.values())


def _entry_rotated(record: Record, entries: tuple[Entry, ...]) -> str:
    """The entry that a record is of which doesn't say it: where its new key is, or by the names it gave to others.

    Empty where nothing tells.
    """
    named = [entry_of(name) for name in (record.entry, *(old.entry for old in record.old)) if name]
    promoted = record.phase is not Phase.STAGED
    holding = [entry.name for entry in entries if promoted and entry.fingerprint == record.new]
    return next(iter([name for name in named if name in holding] or holding or named), "")


def _role(entry: Entry, record: Record) -> str | None:
    """What the entry is to that rotation, if it is one that it made or keeps."""
    if record.phase is Phase.STAGED and entry.name == record.entry:
        return NEXT
    if any((old.entry, old.fingerprint) == (entry.name, entry.fingerprint) for old in record.old):
        return PREVIOUS
    return None


def _record(state: State) -> Record:
    assert state.record is not None, "decide() has looked"
    return state.record


def _done_before(state: State) -> str:
    return state.record.id if state.record is not None and state.record.phase is Phase.DONE else ""


def _still_there(state: State) -> tuple[Old, ...]:
    """The old keys whose entries hold what they held."""
    if state.record is None or state.record.phase is Phase.DONE:
        return ()
    there = {(entry.name, entry.fingerprint) for entry in state.entries if entry.name != state.current.name}
    return tuple(old for old in state.record.old if (old.entry, old.fingerprint) in there)


def _free(name: str, taken: set[str]) -> str:
    """``name``, or with a number where somebody else has an entry of that name."""
    names = [name, *(f"{name}-{number}" for number in range(2, len(taken) + 2))]
    return next(one for one in names if one not in taken)


def _fingerprint(name: str, value: Any) -> str:
    """Of what the daemon makes of it: the white space around it trimmed."""
    try:
        return key_fingerprint(base64.b64decode(value, validate=True).strip())
    except (binascii.Error, TypeError, ValueError) as error:
        raise RotationError(f"the Secret's entry {name!r} isn't base64") from error


def _encoded(secret: bytes) -> str:
    return base64.b64encode(secret).decode()
