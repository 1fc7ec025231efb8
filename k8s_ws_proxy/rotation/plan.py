"""What to do next: from the Secret, the pods' reports, what is wanted, and "now". No step is ever taken on a guess.

::

    (none, done) ──Stage──▶ staged ──Promote──▶ overlap ──Remove──▶ retiring ──Finish──▶ done
          │                                                             ▲
          └───────────────────────── Replace (a leaked key) ───────────┘

Each entry that callers read goes this way by itself, whatever becomes of others meanwhile.
Every step but Finish and Remember needs what the pods say, and where some pod hasn't said it yet, the step is a Wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, assert_never

from k8s_ws_proxy.errors import RotationRefused
from k8s_ws_proxy.rfc3339 import rfc3339
from k8s_ws_proxy.rotation.record import Phase, Record, Until

if TYPE_CHECKING:
    from collections.abc import Callable

    from k8s_ws_proxy.rotation.fleet import Fleet, Pod, Report
    from k8s_ws_proxy.rotation.state import State

_QUICKEST: Final = 1.0  # seconds between two looks
_SLOWEST: Final = 30.0
_ASKED_AT_REST: Final = 10.0  # pods a second, while nothing is to be done but to wait
_RESTARTS_COUNT_FOR: Final = 2.0  # overlaps: how long restarts put a retirement off


class Verb(Enum):
    """What the operator asked for."""

    ROTATE = "rotate"
    RETIRE = "retire"


@dataclass(frozen=True, slots=True)
class Intent:
    """What a run is to do.

    ``id``: the rotation that it takes part in, once it does; until then ``force`` begins another one although one is
    under way, ``immediate`` replaces a leaked key, ``unused`` False retires old keys although they may be in use.
    ``overlap`` is in seconds, None for what the rotation under way says; ``waived`` are nodes that aren't waited for.
    ``since`` is when it began to watch the pods, in Unix seconds; None for now.
    """

    verb: Verb
    until: Until = Until.RETIRED
    overlap: float | None = None
    force: bool = False
    immediate: bool = False
    unused: bool = True
    waived: frozenset[str] = frozenset()
    id: str | None = None
    since: float | None = None


class For(Enum):
    """What is waited for."""

    A_POD = "a_pod"
    EVERY_POD_HAS_IT = "every_pod_has_it"
    OLD_UNUSED = "old_unused"
    NO_POD_HAS_THE_OLD = "no_pod_has_the_old"


@dataclass(frozen=True, slots=True)
class Wait:
    """Not yet. ``ask`` are the pods to ask again, ``missing`` those that are waited for; look again after ``pause``
    seconds. ``due``: the soonest time at which old keys may go, ``last_used``: when one was last used, for
    OLD_UNUSED; Unix seconds. ``copies`` are entries of others that hold such a key, too.
    """

    why: For
    ask: tuple[Pod, ...]
    missing: tuple[Pod, ...]
    pause: float
    due: float | None = None
    last_used: float | None = None
    copies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stage:
    """Add a new key."""


@dataclass(frozen=True, slots=True)
class Promote:
    """Make the staged key the current one."""


@dataclass(frozen=True, slots=True)
class Remember:
    """Write down when old keys were last used, by fingerprint."""

    last_used: dict[str, float]


@dataclass(frozen=True, slots=True)
class Remove:
    """Take the old keys out of the Secret."""


@dataclass(frozen=True, slots=True)
class Replace:
    """Put a new key in the place of the entry's, and of all of its rotation's, at once."""


@dataclass(frozen=True, slots=True)
class Finish:
    """Write down that it is done."""


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is left to do.

    ``nothing`` if there was nothing from the start, ``followed`` if somebody brought the rotation to its end and has
    begun the next one since.
    """

    nothing: bool = False
    followed: bool = False


Step = Wait | Stage | Promote | Remember | Remove | Replace | Finish | Done


def decide(state: State, fleet: Fleet, intent: Intent, *, now: float) -> Step:
    """The next step; ``now`` is the apiserver's clock in Unix seconds.

    Raises RotationRefused where there is none that the operator can have meant.
    """
    if not fleet.pods:
        if intent.id is None and not fleet.starting:
            raise RotationRefused("no pod of the proxy runs there, so nobody can say that a key has arrived")
        return Wait(For.A_POD, (), (), _QUICKEST)
    if not fleet.counted(intent.waived):
        raise RotationRefused("every node is waived, so nobody can say that a key has arrived")
    record = state.record
    if intent.id is not None:
        if record is not None and record.follows == intent.id:
            return Done(followed=True)
        if record is None or record.id != intent.id:
            raise RotationRefused(
                "somebody else has begun another rotation meanwhile, by force or as a leaked key's: this one is over"
            )
        return _go_on(state, record, fleet, intent, now)
    _check_whose(state)
    if record is None or record.phase is Phase.DONE:
        if intent.verb is Verb.RETIRE:
            return Done(nothing=True)
        return Replace() if intent.immediate else Stage()
    if intent.verb is Verb.ROTATE:
        if intent.immediate and (intent.force or not record.immediate):
            return Replace()
        if intent.force and not intent.immediate:
            return Stage()
        if record.phase is Phase.OVERLAP and record.until is Until.PROMOTED:
            raise RotationRefused(
                f"a rotation is in its overlap: its key is the current one since {rfc3339(record.promoted or now)}, "
                f"and the one before it is still accepted. {record.command('retire')} ends that; --force begins "
                "another rotation all the same, and keeps the old keys accepted"
            )
    elif record.phase is Phase.STAGED:
        raise RotationRefused(
            f"no old key can be retired: the new one isn't the current one yet. {record.command('rotate')} goes on"
        )
    return _go_on(state, record, fleet, intent, now)


def _go_on(state: State, record: Record, fleet: Fleet, intent: Intent, now: float) -> Step:
    match record.phase:
        case Phase.STAGED:
            staged = state.entry(record.entry)
            if staged is None or staged.fingerprint != record.new:
                raise RotationRefused(
                    f"the new key is gone from the Secret's entry {record.entry!r}: somebody else writes this Secret. "
                    "Stop that (an operator that syncs it?), then begin anew with --force"
                )
            if missing := _without(record.new, fleet, intent):
                return _wait(For.EVERY_POD_HAS_IT, missing)
            return Done() if intent.until is Until.STAGED else Promote()
        case Phase.OVERLAP:
            _check_current(state, record)
            return Done() if intent.until is not Until.RETIRED else _overlap(state, record, fleet, intent, now)
        case Phase.RETIRING:
            _check_current(state, record)
            if missing := _unproven(state, record, fleet, intent):
                return _wait(For.NO_POD_HAS_THE_OLD, missing)
            return Finish()
        case Phase.DONE:
            return Done()
        case _ as never:
            assert_never(never)


def _overlap(state: State, record: Record, fleet: Fleet, intent: Intent, now: float) -> Step:
    """Until the old keys have been unused for the overlap, as far as every pod can tell.

    One that another entry holds, too, is in use for as long as that one's callers have no other: whose uses those are
    nobody can tell, so they are waited for, and what to do about it is told.
    """
    if not intent.unused:
        return Remove()
    overlap = record.overlap if intent.overlap is None else intent.overlap
    seen = {old.fingerprint: use for old in record.old if (use := fleet.last_used(old.fingerprint)) is not None}
    news = {
        old.fingerprint: seen[old.fingerprint]
        for old in record.old
        # Each of these writes wakes the kubelet of every node: not for a few seconds' difference.
        if old.fingerprint in seen and seen[old.fingerprint] > (old.last_used or 0.0) + max(30.0, overlap / 10)
    }
    if news:
        return Remember(news)
    promoted = record.promoted or record.staged
    uses = [use for old in record.old if (use := max(old.last_used or 0.0, seen.get(old.fingerprint, 0.0)))]
    # A pod that started since then doesn't know what was used before it, on its node. But where pods come and go all
    # the time that must not last for ever: what a run sees for itself, it needn't infer.
    latest = max(promoted, now if intent.since is None else intent.since) + _RESTARTS_COUNT_FOR * overlap
    starts = [min(report.started, latest) for report in fleet.reports.values() if report.started > promoted]
    due = max([promoted, *uses, *starts]) + overlap
    counted = fleet.counted(intent.waived)
    last_used = max(uses, default=None)
    if now < due:
        rest = max(_QUICKEST, min(overlap / 4, _SLOWEST), len(counted) / _ASKED_AT_REST)
        stale = _asked_before(now - rest, counted, fleet)
        pause = min(due - now, rest)
        return Wait(For.OLD_UNUSED, stale, (), pause, due, last_used, state.copied(record))
    if stale := _asked_before(due, counted, fleet):
        return Wait(For.OLD_UNUSED, stale, stale, _pause(stale), due, last_used)
    if without := _without(record.new, fleet, intent):
        return _wait(For.EVERY_POD_HAS_IT, without)
    return Remove()


def _asked_before(then: float, pods: list[Pod], fleet: Fleet) -> tuple[Pod, ...]:
    return _those(pods, fleet, lambda report: report.asked >= then)


def _without(fingerprint: str, fleet: Fleet, intent: Intent) -> tuple[Pod, ...]:
    """The pods that aren't known to accept the key."""
    return _those(fleet.counted(intent.waived), fleet, lambda report: fingerprint in report.keys)


def _unproven(state: State, record: Record, fleet: Fleet, intent: Intent) -> tuple[Pod, ...]:
    """The pods that aren't known to accept the new key and none of the old ones, since these left the Secret.

    One that another entry holds hasn't left it; a leaked one has no such leave.
    """
    since = record.retired or 0.0
    gone = {old.fingerprint for old in record.old if record.immediate or not state.copies(old.fingerprint)} - {
        record.new
    }
    return _those(
        fleet.counted(intent.waived),
        fleet,
        lambda report: report.asked >= since and record.new in report.keys and not gone & report.keys.keys(),
    )


def _those(pods: list[Pod], fleet: Fleet, fine: Callable[[Report], bool]) -> tuple[Pod, ...]:
    """The pods whose report isn't there, or isn't ``fine``."""
    return tuple(pod for pod in pods if (report := fleet.reports.get(pod.uid)) is None or not fine(report))


def _wait(why: For, missing: tuple[Pod, ...]) -> Wait:
    return Wait(why, missing, missing, _pause(missing))


def _pause(pods: tuple[Pod, ...]) -> float:
    return min(max(_QUICKEST, len(pods) / _ASKED_AT_REST), _SLOWEST)


def _check_whose(state: State) -> None:
    whose = state.kept_by(state.current)
    if whose is not None:
        raise RotationRefused(
            f"the entry {state.current.name!r} belongs to the rotation of {whose.key!r} that is under way: "
            f"{whose.command('rotate')} goes on with that, and {whose.command('retire --now')} takes its old keys away "
            "at once"
        )


def _check_current(state: State, record: Record) -> None:
    if state.current.fingerprint != record.new:
        raise RotationRefused(
            f"the Secret's entry {state.current.name!r} isn't the key of the rotation under way: somebody changed it. "
            "Stop what else writes this Secret (an operator that syncs it?), then begin anew with --force"
        )
