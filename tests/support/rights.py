"""What the chart lets the proxy's ServiceAccount do, for tests of as whom sessions run."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from support.chart import Rendered

ON, WHO = "impersonate-on:user-info:", "impersonate:user-info"
CALLERS = "k8s-ws-proxy:callers"
OLD, NEW = "1.35", "1.36"  # before constrained impersonation, and with it
V1 = {"signatures": {"accepted": ["v1"]}}
TLS = {"tls": {"enabled": True}}

Right = tuple[str, str, str, tuple[str, ...] | None]
"""API group, resource, verb, and the names; None for any."""


def identity(mode: str, **more: Any) -> dict[str, Any]:
    """Values with this mode."""
    return {"identity": {"mode": mode, **more}}


def granted(role: dict[str, Any]) -> set[Right]:
    """What a Role or ClusterRole allows."""
    found: list[Right] = []
    for rule in role["rules"]:
        assert rule.keys() <= {"apiGroups", "resources", "verbs", "resourceNames"}
        assert rule.get("resourceNames") != [], "which Kubernetes takes for any"
        names = tuple(rule["resourceNames"]) if "resourceNames" in rule else None
        for group, resource, verb in itertools.product(rule["apiGroups"], rule["resources"], rule["verbs"]):
            found.append((group, resource, verb, names))
    assert len(found) == len(set(found))
    return set(found)


def own(rendered: Rendered) -> set[tuple[str, Right]]:
    """All that the proxy's ServiceAccount is granted by any binding: the namespace or ``*``, and what."""
    found = set()
    for binding in rendered.every("ClusterRoleBinding") + rendered.every("RoleBinding"):
        if binding["subjects"][0]["name"] == "k8s-ws-proxy":
            (subject,) = binding["subjects"]
            assert (subject["kind"], subject["namespace"]) == ("ServiceAccount", "catalyst-system")
            assert binding["roleRef"]["kind"] == "ClusterRole"
            where = binding["metadata"].get("namespace", "*")
            found |= {(where, right) for right in granted(rendered.one("ClusterRole", binding["roleRef"]["name"]))}
    return found


def as_others(rendered: Rendered) -> set[tuple[str, str]]:
    """What may be done as somebody else, by constrained impersonation: resource and verb."""
    rights = {right for _where, right in own(rendered)}
    return {(resource, verb.removeprefix(ON)) for _group, resource, verb, _names in rights if verb.startswith(ON)}
