"""Who may do what: system:masters everything, a user of the world what was granted to it, and everybody what RBAC's
objects say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from k8s_ws_proxy.devcluster import rbac
from k8s_ws_proxy.devcluster.rbac import Decision
from k8s_ws_proxy.devcluster.resources import RBAC

if TYPE_CHECKING:
    from k8s_ws_proxy.devcluster.faults import Faults
    from k8s_ws_proxy.devcluster.rbac import Attributes
    from k8s_ws_proxy.devcluster.state import State


class Authorizer:
    """Decides by what there is at the moment: nothing is remembered, as a real one is late by milliseconds only."""

    def __init__(self, state: State, faults: Faults) -> None:
        self._state = state
        self._faults = faults
        self._users = {user.name: user for user in state.world.users}

    def decide(self, wanted: Attributes) -> Decision:
        """Whether it may be, and why."""
        resource = f"{wanted.combined}.{wanted.group}" if wanted.group else wanted.combined
        if self._faults.denies(wanted.verb, resource):
            return Decision(False)
        if rbac.MASTERS in wanted.user.groups:
            return Decision(True)  # before any authorizer, and thus without a reason
        user = self._users.get(wanted.user.name)
        if user is not None and wanted.resource and user.may(wanted.verb, resource, wanted.namespace, wanted.name):
            alias = rbac.quoted(user.alias)
            whom = f"User {rbac.quoted(user.name)}"
            return Decision(True, f"RBAC: allowed by ClusterRoleBinding {alias} of ClusterRole {alias} to {whom}")
        store = self._state.store
        return rbac.decide(wanted, (each for resource in RBAC for each in store.all(resource)))
