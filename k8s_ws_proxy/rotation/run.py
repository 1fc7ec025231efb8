"""Carrying a rotation out: read, decide, do, wait, again. Nothing is kept here that isn't in the cluster, too."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol, assert_never

from k8s_ws_proxy.errors import ClusterApiUnavailable, RotationError, RotationUnfinished
from k8s_ws_proxy.rfc3339 import rfc3339
from k8s_ws_proxy.rotation import state as states
from k8s_ws_proxy.rotation.fleet import Fleet
from k8s_ws_proxy.rotation.generate import new_key
from k8s_ws_proxy.rotation.plan import (
    Done,
    Finish,
    For,
    Promote,
    Remember,
    Remove,
    Replace,
    Stage,
    Step,
    Wait,
    decide,
)
from k8s_ws_proxy.rotation.pods import ask, find_daemons, hasten, list_pods
from k8s_ws_proxy.rotation.record import Phase
from k8s_ws_proxy.rotation.secret import SecretStore
from k8s_ws_proxy.rotation.wording import PHASES, count, held, unheard, waits, would

if TYPE_CHECKING:
    from k8s_ws_proxy.rotation.api import Api
    from k8s_ws_proxy.rotation.plan import Intent
    from k8s_ws_proxy.rotation.pods import Daemons
    from k8s_ws_proxy.rotation.state import Patch, State

_LEAST_OVERLAP: Final = 120.0  # seconds: a caller's own mount of the Secret may be that late
_BACKOFF: Final = (1.0, 2.0, 5.0, 10.0)  # seconds between tries while the apiserver can't


class Progress(Protocol):
    """Where a run tells how it goes. ``facts`` are for machines; neither ever holds a key."""

    def step(self, event: str, sentence: str, **facts: object) -> None:
        """Something was done or found, once."""

    def waiting(self, sentence: str, **facts: object) -> None:
        """What is waited for now; called at every look."""


@dataclass(frozen=True, slots=True)
class What:
    """The Secret, its entry that callers read, and the proxies."""

    secret: str
    key: str
    daemonset: str
    selector: str | None
    admin_port: int | None


class Run:
    """One run of ``rotate`` or ``retire``."""

    def __init__(self, api: Api, what: What, intent: Intent, progress: Progress) -> None:
        self._api = api
        self._what = what
        self._store = SecretStore(api, what.secret)
        self._intent = intent
        self._forced = intent.force
        self._progress = progress
        self._fleet = Fleet()
        self._own = ""  # the id of the rotation that this run has tried to begin
        self._sent: tuple[Step, Patch] | None = None  # whose answer hasn't come
        self._hastened = False
        self._waiting = ""
        self._since = 0.0  # when what is waited for began, by the apiserver's clock
        self._why: For | None = None

    async def to_the_end(self, timeout: float | None) -> None:
        """Go on until it is done; ``timeout`` in seconds. Raises RotationError, ClusterApiError."""
        try:
            async with asyncio.timeout(timeout):
                await self._to_the_end()
        except TimeoutError as error:
            waiting = f": {self._waiting}" if self._waiting else ""
            # By force it would begin another one.
            how = " without --force" if self._forced and self._intent.id is not None else ""
            raise RotationUnfinished(
                f"not done within {timeout:g} s{waiting}. Nothing is lost: run the same command again{how}, and it "
                "goes on"
            ) from error

    async def dry(self) -> None:
        """Say what would be done first, and what would be waited for."""
        daemons = await self._begin()
        state = await self._look(daemons)
        step = await self._decide(state, daemons)
        unasked = [pod for pod in self._fleet.counted(self._intent.waived) if pod.uid not in self._fleet.tried]
        await ask(self._api, daemons.port, self._fleet, unasked, lambda: None)
        overlap = self._overlap(state, daemons)
        sentence = would(step, state, self._fleet, self._intent, overlap=overlap, now=self._api.now())
        self._progress.step("dry_run", f"nothing is changed. {sentence}", step=type(step).__name__.lower())
        self._say_what_else(state)
        silent = {pod.node: self._fleet.silent[pod.uid] for pod in unasked if pod.uid in self._fleet.silent}
        if silent:
            self._progress.step(
                "silent",
                f"no answer from {unheard(silent)}: it would wait for them until you mend or --waive them",
                silent=silent,
            )

    async def _to_the_end(self) -> None:
        daemons = await self._begin()
        first, failures = True, 0
        while True:
            try:
                state = await self._look(daemons)
                if first:
                    self._introduce(state, daemons)
                    first = False
                step = await self._decide(state, daemons)
                if isinstance(step, Done):
                    self._done(state, step)
                    return
                if not isinstance(step, Wait):
                    await self._do(step, state, daemons)
                    pause = 0.0
                else:
                    await self._hasten_what_leaked(state)
                    self._tell(step, state)
                    pause = step.pause
                failures = 0
            except ClusterApiUnavailable as error:
                if first:
                    raise
                pause = _BACKOFF[min(failures, len(_BACKOFF) - 1)]
                failures += 1
                self._progress.step("apiserver", f"{error}; trying again in {pause:g} s", error=str(error))
            await asyncio.sleep(pause)

    async def _begin(self) -> Daemons:
        what = self._what
        return await find_daemons(self._api, what.daemonset, what.selector, what.admin_port)

    async def _look(self, daemons: Daemons) -> State:
        """The Secret and the list of pods, as they are now."""
        found = await self._store.get()
        if found is None:
            raise RotationError(
                f"there is no Secret {self._store.full_name}: name it with --namespace and --secret, or make it with "
                "'keys bootstrap'"
            )
        states.check_mutable(found)
        state = states.read(found, self._what.key)
        self._fleet.now_runs(*await list_pods(self._api, daemons))
        record = state.record
        if self._own and record is not None and record.id == self._own:
            # Also where the answer to the patch was lost.
            self._takes_part_in(self._own)
        sent, self._sent = self._sent, None
        if sent is not None and record is not None:
            step, patch = sent
            if (record.id, record.phase) == (patch.record.id, patch.record.phase):
                self._did(step, patch)
        return state

    async def _decide(self, state: State, daemons: Daemons) -> Step:
        """The next step, after asking each pod that must be asked for it, once."""
        began = self._api.now()
        step = decide(state, self._fleet, self._intent, now=began)
        while isinstance(step, Wait):
            never = float("-inf")
            pods = [pod for pod in step.ask if self._fleet.tried.get(pod.uid, never) < began]
            if not pods:
                break
            await ask(self._api, daemons.port, self._fleet, pods, lambda: None)
            step = decide(state, self._fleet, self._intent, now=self._api.now())
        if self._intent.id is None and not isinstance(step, Stage | Replace) and state.record is not None:
            self._joined(state)
        return step

    def _joined(self, state: State) -> None:
        record = state.record
        assert record is not None
        if record.phase is not Phase.DONE:
            self._takes_part_in(record.id)
            self._progress.step(
                "resumed",
                f"going on with the rotation begun {rfc3339(record.staged)}, which is {PHASES[record.phase]}: "
                "no other key is made",
                rotation=record.id,
                phase=record.phase.value,
            )

    def _takes_part_in(self, rotation: str) -> None:
        if self._intent.id is None:
            since = self._api.now()
            self._intent = replace(self._intent, id=rotation, since=since, force=False, immediate=False)

    async def _do(self, step: Step, state: State, daemons: Daemons) -> None:
        now = self._api.now()
        overlap = self._overlap(state, daemons)
        match step:
            case Stage():
                self._own = secrets.token_hex(4)
                patch = states.stage(
                    state, new_key(), id_=self._own, until=self._intent.until, overlap=overlap, now=now
                )
            case Replace():
                self._own = secrets.token_hex(4)
                patch = states.replace_at_once(state, new_key(), id_=self._own, now=now)
            case Promote():
                patch = states.promote(state, until=self._intent.until, overlap=overlap, now=now)
            case Remember(last_used):
                patch = states.remember(state, last_used)
            case Remove():
                patch = states.retire(state, now=now)
            case Finish():
                patch = states.finish(state, now=now)
            case Wait() | Done():
                raise AssertionError(step)
            case _ as never:
                assert_never(never)
        self._sent = step, patch
        patched = await self._store.patch(patch)
        self._sent = None
        if not patched:
            self._progress.step("conflict", "somebody else changed the Secret in between: looking again")
            return
        if isinstance(step, Stage | Replace):
            self._takes_part_in(self._own)
        self._did(step, patch)
        if isinstance(step, Replace):
            await self._hasten(patch.record.id)

    async def _hasten_what_leaked(self, state: State) -> None:
        """Whoever has replaced the key may have been stopped before that, or not have had the answer to the patch."""
        record = state.record
        if record is not None and record.immediate and record.phase is Phase.RETIRING and not self._hastened:
            await self._hasten(record.id)

    async def _hasten(self, rotation: str) -> None:
        """Who has the new key already is refused, too, until their node has it: so it had better be soon."""
        self._hastened = True
        if problem := await hasten(self._api, self._fleet.pods, rotation):
            self._progress.step(
                "not_hastened",
                f"the nodes take up to two minutes to have it: {problem}",
                error=problem,
            )
        else:
            pods = count(len(self._fleet.pods), "pod")
            self._progress.step("hastened", f"annotated {pods}, so that each node has it at once")

    def _overlap(self, state: State, daemons: Daemons) -> float:
        if self._intent.overlap is not None:
            return self._intent.overlap
        if self._intent.id is not None and state.record is not None:
            return state.record.overlap
        return max(2.0 * daemons.skew, _LEAST_OVERLAP)

    def _introduce(self, state: State, daemons: Daemons) -> None:
        pods, starting = len(self._fleet.pods), self._fleet.starting
        more = f", {starting} more are starting" if starting else ""
        self._progress.step(
            "begin",
            f"the Secret {self._store.full_name}, {daemons.what}: {count(pods, 'pod')} running{more}",
            secret=self._store.full_name,
            key=state.current.fingerprint,
            pods=pods,
            starting=starting,
        )
        self._say_what_else(state)

    def _say_what_else(self, state: State) -> None:
        rotated = [record.key for record in state.others]
        others = [e.name for e in state.entries if state.role(e) == "other" and e.name not in rotated]
        if others:
            self._progress.step(
                "others",
                f"these entries of the Secret are no part of a rotation, and stay accepted: {', '.join(others)}",
                entries=others,
            )
        if state.others:
            phases = "; ".join(f"{record.key!r} ({PHASES[record.phase]})" for record in state.others)
            self._progress.step(
                "other_rotations",
                f"other entries have rotations of their own, which this one leaves alone: {phases}",
                rotations={record.key: record.phase.value for record in state.others},
            )
        if state.owners:
            owners = ", ".join(state.owners)
            self._progress.step(
                "owned",
                f"the Secret belongs to {owners}: if that writes it anew, the new key is lost, and this stops",
                owners=list(state.owners),
            )
        absent = self._intent.waived - {pod.node for pod in self._fleet.pods}
        if absent:
            self._progress.step(
                "waived_absent", f"waived, and no pod runs there: {', '.join(sorted(absent))}", nodes=sorted(absent)
            )

    def _did(self, step: Step, patch: Patch) -> None:
        record = patch.record
        facts = {"rotation": record.id, "fingerprint": record.new, "phase": record.phase.value}
        tell = self._progress.step
        match step:
            case Stage():
                tell("staged", f"added a new key ({record.new}) beside the current one, as {record.entry!r}", **facts)
            case Promote():
                tell(
                    "promoted",
                    f"made it the current one: callers find it in the entry {self._what.key!r}; "
                    "who signs with the old one is still let in",
                    **facts,
                )
            case Replace():
                tell(
                    "replaced",
                    f"put a new key ({record.new}) in the entry {self._what.key!r} and took the old ones out. Until "
                    "their node has it, up to two minutes, callers with the new key are refused, too; from then on "
                    "those with an old one are",
                    **facts,
                )
            case Remove():
                tell("removed", f"took {count(len(record.old), 'old key')} out of the Secret", **facts)
            case _:
                pass

    def _tell(self, wait: Wait, state: State) -> None:
        now = self._api.now()
        if self._why is not wait.why:
            self._why, self._since = wait.why, now
        self._waiting = waits(wait, state, self._fleet, lasted=now - self._since, now=now)
        self._progress.waiting(
            self._waiting,
            waiting_for=wait.why.value,
            rotation=state.record.id if state.record else None,
            pods=len(self._fleet.pods),
            missing=len(wait.missing),
            silent={
                pod.node: self._fleet.silent[pod.uid]
                for pod in wait.missing or wait.ask
                if pod.uid in self._fleet.silent
            },
            due=None if wait.due is None else rfc3339(wait.due),
            last_used=None if wait.last_used is None else rfc3339(wait.last_used),
            copies=list(wait.copies),
        )

    def _done(self, state: State, done: Done) -> None:
        record = state.record
        waived = sorted({pod.node for pod in self._fleet.pods} & self._intent.waived)
        facts: dict[str, object] = {"requests": self._api.requests, "waived": waived}
        if done.nothing or record is None:
            self._progress.step("done", "there is no old key to retire", **facts)
            return
        if done.followed:
            self._progress.step("done", "done, by somebody else, who has begun another rotation since", **facts)
            return
        sentence = {
            Phase.STAGED: f"done as asked: every pod accepts the new key. {record.command('rotate')} makes it the "
            "current one",
            Phase.OVERLAP: f"done as asked: the new key is the current one. {record.command('retire')} takes the old "
            "one away",
            Phase.RETIRING: "",
            Phase.DONE: f"done: every pod accepts the new key ({record.new}), and none the old one",
        }[record.phase]
        if record.phase is Phase.DONE and (copies := state.copied(record)):
            facts["copies"] = list(copies)
            sentence = (
                f"done: every pod accepts the new key ({record.new}). The old one is still accepted, since other "
                f"entries of the Secret hold it, too. {held(copies, state)}"
            )
        if waived:
            sentence += f". Not known of the nodes that were waived: {', '.join(waived)}"
        self._progress.step("done", sentence, phase=record.phase.value, fingerprint=record.new, **facts)
