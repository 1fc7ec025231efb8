"""How a rotation is told to a person: what is done, what is waited for, and who doesn't answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, assert_never

from k8s_ws_proxy.rotation.plan import Done, Finish, For, Promote, Remember, Remove, Replace, Stage, Step, Wait
from k8s_ws_proxy.rotation.record import Phase, Until

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from k8s_ws_proxy.rotation.fleet import Fleet
    from k8s_ws_proxy.rotation.plan import Intent
    from k8s_ws_proxy.rotation.state import State

_KUBELET: Final = 150.0  # seconds in which a kubelet that is well has written a changed Secret
_NAMED: Final = 10  # nodes in one sentence
_LONG: Final = (
    "; this is longer than a kubelet takes: is the Secret mounted as a whole, without subPath, and its directory "
    "named in SHARED_SECRET_DIR?"
)

PHASES: Final = {
    Phase.STAGED: "waiting for every pod to have the new key",
    Phase.OVERLAP: "in its overlap",
    Phase.RETIRING: "waiting for every pod to drop the old key",
    Phase.DONE: "done",
}


def count(number: int, what: str) -> str:
    """``1 pod``, ``2 pods``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def duration(seconds: float) -> str:
    """``1h02m``, ``10m00s``, ``7s``: for a person."""
    whole = max(0, round(seconds))
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{whole % 60:02d}s" if minutes else f"{whole}s"


def clock(seconds: float) -> str:
    """The time of day, here."""
    return time.strftime("%H:%M:%S", time.localtime(seconds))


def held(copies: Collection[str], state: State) -> str:
    """Of entries that hold an old key, too: what is to be done about each."""
    return "; ".join(f"{state.ends(name)} ends that for {name!r}" for name in copies)


def waits(wait: Wait, state: State, fleet: Fleet, *, lasted: float, now: float) -> str:
    """What is waited for: how much, who doesn't answer, and what may be wrong if it ``lasted`` too long."""
    silent = [pod for pod in wait.missing or wait.ask if pod.uid in fleet.silent]
    missing = f"{len(wait.missing)} of {count(len(fleet.pods), 'pod')}"
    hint = ""
    match wait.why:
        case For.A_POD:
            sentence = f"no pod of the proxy runs; {fleet.starting} are starting"
        case For.EVERY_POD_HAS_IT:
            sentence, hint = f"{missing} not known to accept the new key", _late(lasted)
        case For.NO_POD_HAS_THE_OLD:
            sentence, hint = f"{missing} not known to have dropped the old key", _late(lasted)
        case For.OLD_UNUSED if wait.missing:
            sentence = f"{missing} to be asked whether the old key is unused"
        case For.OLD_UNUSED:
            assert wait.due is not None
            used = "" if wait.last_used is None else f"; it was last used {duration(now - wait.last_used)} ago"
            then = f"{clock(wait.due)}, in {duration(wait.due - now)}"
            sentence = f"the old key may go at {then}, if nobody uses it{used}"
            if wait.copies:
                sentence += f"; other entries hold it, too, and count as uses: {held(wait.copies, state)}"
        case _ as never:
            assert_never(never)
    if silent:
        sentence += f"; no answer from {unheard({pod.node: fleet.silent[pod.uid] for pod in silent})}: mend, or --waive"
    elif 0 < len(wait.missing) <= _NAMED:
        sentence += f" ({', '.join(pod.node for pod in wait.missing)})"
    return sentence + hint if len(silent) < len(wait.missing) else sentence


def unheard(silent: Mapping[str, str]) -> str:
    """Nodes, each with why it doesn't answer; not too many of them."""
    named = ", ".join(f"{node} ({why})" for node, why in list(silent.items())[:_NAMED])
    return f"{named} and {len(silent) - _NAMED} more" if len(silent) > _NAMED else named


def _late(lasted: float) -> str:
    return "; a kubelet may take two minutes" if lasted <= _KUBELET else _LONG


def would(step: Step, state: State, fleet: Fleet, intent: Intent, *, overlap: float, now: float) -> str:
    """What a run would do first, and what then."""
    pods = count(len(fleet.counted(intent.waived)), "pod")
    after = {
        Until.STAGED: "",
        Until.PROMOTED: " Then it becomes the current one, and the old one stays accepted.",
        Until.RETIRED: f" Then it becomes the current one; the old one goes once it is unused for {duration(overlap)}.",
    }[intent.until]
    match step:
        case Stage():
            return f"A new key would be added beside {state.current.fingerprint}, and {pods} waited for.{after}"
        case Replace():
            return f"{state.current.fingerprint} and all of its rotation's keys would be replaced at once."
        case Promote():
            return f"The new key is on {pods}.{after}"
        case Remember():
            return "The old key is still used: its last use would be written down."
        case Remove():
            return "The old keys would be taken out of the Secret."
        case Finish():
            return "No pod accepts the old keys any more: that would be written down."
        case Done():
            return "There is nothing to do."
        case Wait():
            return f"It would wait: {waits(step, state, fleet, lasted=0.0, now=now)}."
        case _ as never:
            assert_never(never)
