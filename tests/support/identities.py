"""Who is who at a site that acts as its users: alice, bob, ops and the proxy's service account, by roles that are
bound to them. `async with DevCluster(identities.world(identities.CONSTRAINED)) as cluster`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from k8s_ws_proxy.devcluster.roles import bind, cluster_role, group, role, rule, service_account, user
from k8s_ws_proxy.devcluster.world import DEFAULT_WORLD, User

if TYPE_CHECKING:
    from k8s_ws_proxy.devcluster.rbac import Object
    from k8s_ws_proxy.devcluster.world import World

PROXY = "system:serviceaccount:default:k8s-ws-proxy"
OPS = "oidc:ops"
"""The group that may open a session in every pod, and may do what it likes with the sessions of others."""

CONSTRAINED = cluster_role(
    "k8s-ws-proxy-impersonator",
    rule("users groups", "impersonate:user-info", group="authentication.k8s.io"),
    rule("pods/exec pods/attach pods/portforward", "impersonate-on:user-info:create impersonate-on:user-info:get"),
    rule("pods/log pods", "impersonate-on:user-info:get"),
)
"""Kubernetes 1.36 and newer: to act as anybody, for sessions only."""
CLASSIC = cluster_role("k8s-ws-proxy-impersonator", rule("users groups", "impersonate"))
"""Before 1.36: to act as anybody, in everything."""
REVIEWS = cluster_role("k8s-ws-proxy-reviews", rule("subjectaccessreviews", "create", group="authorization.k8s.io"))
"""To ask what others may."""

OPERATE = cluster_role(
    "pod-operator",
    rule("pods/exec pods/attach pods/portforward", "get create"),
    rule("pods pods/log", "get"),
)
SESSIONS = cluster_role(
    "session-operator", rule("sessions", "list get watch update delete", group="terminal.openova.io")
)
READ_SECRETS = role("default", "secret-reader", rule("secrets", "get list"))

BINDINGS: tuple[Object, ...] = (
    OPERATE,
    SESSIONS,
    READ_SECRETS,
    bind(OPERATE, user("alice"), namespace="default"),
    bind(READ_SECRETS, user("alice")),
    bind(OPERATE, group(OPS)),
    bind(SESSIONS, group(OPS)),
)
"""alice may open sessions in the pods of `default`, and read Secrets there; who is in `oidc:ops`, everywhere. bob may
nothing.
"""
USERS = (
    User("alice", "alice"),
    User("bob", "bob"),
    User("ops", "ops", groups=(OPS,)),
    User("proxy", PROXY),
)


def world(*of_proxy: Object) -> World:
    """The default world with these users in it, and the proxy with these ClusterRoles and no other right."""
    others = tuple(each for each in DEFAULT_WORLD.users if each.alias != "proxy")
    bound = [part for each in of_proxy for part in (each, bind(each, service_account("default", "k8s-ws-proxy")))]
    return dataclasses.replace(DEFAULT_WORLD, users=(*others, *USERS), rbac=(*BINDINGS, *bound))
