"""How things stand: the Secret's keys, how far a rotation is, and which pod has what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from k8s_ws_proxy.errors import RotationError
from k8s_ws_proxy.rotation import state as states
from k8s_ws_proxy.rotation.fleet import Fleet, Pod
from k8s_ws_proxy.rotation.pods import ask, find_daemons, list_pods
from k8s_ws_proxy.rotation.secret import SecretStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from k8s_ws_proxy.rotation.api import Api
    from k8s_ws_proxy.rotation.run import What
    from k8s_ws_proxy.rotation.state import Entry, State


@dataclass(frozen=True, slots=True)
class Status:
    """What was found. ``now`` is the apiserver's clock in Unix seconds."""

    secret: str
    what: str
    state: State
    fleet: Fleet
    now: float

    def lacking(self, entry: Entry) -> list[Pod]:
        """The pods that have answered, and don't accept this key."""
        reports = self.fleet.reports
        return [pod for pod in self.fleet.pods if pod.uid in reports and entry.fingerprint not in reports[pod.uid].keys]

    def strangers(self) -> dict[str, list[Pod]]:
        """Keys that pods accept and the Secret doesn't hold, by fingerprint."""
        ours = {entry.fingerprint for entry in self.state.entries}
        found: dict[str, list[Pod]] = {}
        for pod in self.fleet.pods:
            report = self.fleet.reports.get(pod.uid)
            for fingerprint in sorted(set(report.keys) - ours) if report else ():
                found.setdefault(fingerprint, []).append(pod)
        return found


async def look(api: Api, what: What, told_of: Callable[[int, int], None]) -> Status:
    """Read the Secret and ask every pod; ``told_of`` is called with how many were asked, of how many.

    Raises ClusterApiError, RotationError.
    """
    daemons = await find_daemons(api, what.daemonset, what.selector, what.admin_port)
    store = SecretStore(api, what.secret)
    found = await store.get()
    if found is None:
        raise RotationError(
            f"there is no Secret {store.full_name}: name it with --namespace and --secret, or make it with "
            "'keys bootstrap'"
        )
    state = states.read(found, what.key)
    fleet = Fleet()
    fleet.now_runs(*await list_pods(api, daemons))
    asked = 0

    def one_more() -> None:
        nonlocal asked
        asked += 1
        told_of(asked, len(fleet.pods))

    await ask(api, daemons.port, fleet, fleet.pods, one_more)
    return Status(store.full_name, daemons.what, state, fleet, api.now())
