"""Impersonation: headers and rights in, the user to act as out (Kubernetes: "User Impersonation"; KEP-5284).

Constrained modes are tried first: `impersonate:MODE` on who is meant, and `impersonate-on:MODE:VERB` on what is asked
for. Then the classic verb `impersonate`. The refusal of all of them is the first one's. A node's own service account
has a mode more, which is left out here.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from k8s_ws_proxy.devcluster import rbac, status
from k8s_ws_proxy.devcluster.rbac import Attributes, UserInfo
from k8s_ws_proxy.devcluster.status import Failed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from k8s_ws_proxy.devcluster.http import Request
    from k8s_ws_proxy.devcluster.rbac import Decision

    Decide = Callable[[Attributes], Decision]

ANONYMOUS = "system:anonymous"
GROUP = "authentication.k8s.io"
_PREFIX = "impersonate-"
_EXTRA = "impersonate-extra-"
_NODE = re.compile(r"system:node:([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)")
_MANY = 4  # groups, or values of extras, from which on all of them are asked for at once


@dataclass(frozen=True, slots=True)
class Impersonated:
    """Who is acted as. `constraint` is the verb that allowed it, and empty for the classic one."""

    user: UserInfo
    constraint: str = ""


def wanted(request: Request) -> UserInfo | None:
    """Who is meant, as the headers say and without any group by rule; None if nobody is.

    Raises Failed, 400, where there is everything but a user.
    """
    values: dict[str, list[str]] = {}
    for name, value in request.headers:
        if name.startswith(_PREFIX):
            values.setdefault(name, []).append(value.encode("latin-1").decode(errors="surrogateescape"))
    name, uid = (values.get(header, [""])[0] for header in ("impersonate-user", "impersonate-uid"))
    groups = tuple(values.get("impersonate-group", ()))
    extra = {unquote(key.removeprefix(_EXTRA)): tuple(each) for key, each in values.items() if key.startswith(_EXTRA)}
    found = UserInfo(name, groups, uid, extra)
    if not name and (uid or groups or extra):
        raise Failed(status.bad_request(f"requested {_in_go(found)} without impersonating a user name"))
    return found if name else None


def without_headers(request: Request) -> Request:
    """The request as whoever is behind the apiserver may see it."""
    kept = tuple(each for each in request.headers if not each[0].startswith(_PREFIX))
    return dataclasses.replace(request, headers=kept)


def impersonate(meant: UserInfo, asked: Attributes, decide: Decide) -> Impersonated:
    """The user to act as, where whoever asks may.

    Raises Failed, 403, with what the first of the modes lacks.
    """
    refusals = []
    if (mode := _mode(meant)) is not None:
        try:
            _require(dataclasses.replace(asked, verb=f"impersonate-on:{mode}:{asked.verb}"), decide)
            return Impersonated(_allowed(meant, asked.user, f"impersonate:{mode}", decide), f"impersonate:{mode}")
        except Failed as failed:
            refusals.append(failed)
    try:
        return Impersonated(_allowed(meant, asked.user, "impersonate", decide))
    except Failed as failed:
        raise (refusals or [failed])[0] from None


def _mode(meant: UserInfo) -> str | None:
    """The constrained mode for whom is meant: nodes and service accounts have their own, by their name alone."""
    alone = not (meant.groups or meant.uid or meant.extra)
    if _NODE.fullmatch(meant.name):
        return "arbitrary-node" if alone else None
    if rbac.service_account(meant.name):
        return "serviceaccount" if alone else None
    return "user-info"


def _allowed(meant: UserInfo, by: UserInfo, verb: str, decide: Decide) -> UserInfo:
    """Who is meant, with the groups that follow, if each part of it may be taken.

    Raises Failed, 403.
    """
    constrained = verb != "impersonate"
    group = GROUP if constrained else ""
    name, groups = Attributes(by, verb, "users", "", group, "", meant.name), meant.groups
    if constrained and (node := _NODE.fullmatch(meant.name)):
        name, groups = dataclasses.replace(name, resource="nodes", name=node[1]), ("system:nodes",)
    if account := rbac.service_account(meant.name):
        name = dataclasses.replace(name, resource="serviceaccounts", namespace=account[0], name=account[1])
        groups = groups or rbac.groups_of_service_account(account[0])
    _require(name, decide)
    if meant.uid:
        _require(Attributes(by, verb, "uids", "", GROUP, "", meant.uid), decide)
    _groups(meant, Attributes(by, verb, "groups", "", group), decide, constrained=constrained)
    _extra(meant, Attributes(by, verb, "userextras", "", GROUP), decide, constrained=constrained)
    if meant.name == ANONYMOUS:
        groups += () if rbac.UNAUTHENTICATED in groups else (rbac.UNAUTHENTICATED,)
    elif not {rbac.UNAUTHENTICATED, rbac.AUTHENTICATED} & set(groups):
        groups += (rbac.AUTHENTICATED,)
    return dataclasses.replace(meant, groups=groups)


def _groups(meant: UserInfo, each: Attributes, decide: Decide, *, constrained: bool) -> None:
    if constrained and "" in meant.groups:
        raise rbac.refused(each, "impersonating the empty string group is not allowed")
    if constrained and rbac.MASTERS in meant.groups:
        masters = dataclasses.replace(each, name=rbac.MASTERS)
        raise rbac.refused(masters, f"impersonating the {rbac.MASTERS} group is not allowed")
    if constrained and len(meant.groups) >= _MANY and decide(dataclasses.replace(each, name="*")).allowed:
        return
    for group in meant.groups:
        _require(dataclasses.replace(each, name=group), decide)


def _extra(meant: UserInfo, each: Attributes, decide: Decide, *, constrained: bool) -> None:
    wanted = [dataclasses.replace(each, subresource=key, name=value) for key, value in _pairs(meant)]
    everything = dataclasses.replace(each, subresource="*", name="*")
    if constrained and len(wanted) >= _MANY and decide(everything).allowed:
        return
    for one in wanted:
        if constrained and not one.name:
            raise rbac.refused(each, "impersonating the empty string value in extra is not allowed")
        _require(one, decide)


def _pairs(meant: UserInfo) -> Iterator[tuple[str, str]]:
    return ((key, value) for key, values in meant.extra.items() for value in values)


def _require(asked: Attributes, decide: Decide) -> None:
    decision = decide(asked)
    if not decision.allowed:
        raise rbac.refused(asked, decision.reason)


def _in_go(user: UserInfo) -> str:
    """As `%#v` writes a user.DefaultInfo: the message has it so."""
    groups = _strings(user.groups) if user.groups else "[]string(nil)"
    extra = ", ".join(f"{rbac.quoted(key)}:{_strings(values)}" for key, values in sorted(user.extra.items()))
    extra = f"map[string][]string{{{extra}}}" if extra else "map[string][]string(nil)"
    name, uid = rbac.quoted(user.name), rbac.quoted(user.uid)
    return f"&user.DefaultInfo{{Name:{name}, UID:{uid}, Groups:{groups}, Extra:{extra}}}"


def _strings(values: tuple[str, ...]) -> str:
    return f"[]string{{{', '.join(map(rbac.quoted, values))}}}"
