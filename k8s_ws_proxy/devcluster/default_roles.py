"""The roles that every cluster has, as far as anybody here is subject to them (Kubernetes: "Default roles and role
bindings").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from k8s_ws_proxy.devcluster import roles
from k8s_ws_proxy.devcluster.rbac import AUTHENTICATED, MASTERS, UNAUTHENTICATED

if TYPE_CHECKING:
    from k8s_ws_proxy.devcluster.rbac import Object


def default_roles() -> list[Object]:
    """ClusterRoles and their bindings."""
    everybody = [roles.group(AUTHENTICATED), roles.group(UNAUTHENTICATED)]
    anything = [roles.rule("*", "*", group="*"), _paths("*", verbs="*")]
    found = []
    for name, rules, subjects in (
        ("cluster-admin", anything, [roles.group(MASTERS)]),
        ("system:basic-user", [_REVIEW_ONESELF], [roles.group(AUTHENTICATED)]),
        ("system:discovery", [_paths(*_DISCOVERY, *_HEALTH)], [roles.group(AUTHENTICATED)]),
        ("system:public-info-viewer", [_paths(*_HEALTH)], everybody),
    ):
        role = roles.cluster_role(name, *rules)
        found += [role, roles.bind(role, *subjects)]
    return found


def _paths(*paths: str, verbs: str = "get") -> Object:
    return {"nonResourceURLs": list(paths), "verbs": [verbs]}


_REVIEW_ONESELF = roles.rule("selfsubjectaccessreviews selfsubjectrulesreviews", "create", group="authorization.k8s.io")
_DISCOVERY = ("/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*")
_HEALTH = ("/healthz", "/livez", "/readyz", "/version", "/version/")
