"""What a request asks for, in RBAC's words (Kubernetes: "Authorization", "Determine the Request Verb")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k8s_ws_proxy.devcluster import resources, status
from k8s_ws_proxy.devcluster.rbac import Attributes
from k8s_ws_proxy.devcluster.resources import NAMESPACES
from k8s_ws_proxy.devcluster.status import Failed

if TYPE_CHECKING:
    from k8s_ws_proxy.devcluster.http import Request
    from k8s_ws_proxy.devcluster.rbac import UserInfo
    from k8s_ws_proxy.devcluster.resources import Location

VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_LONG = frozenset({"attach", "exec", "log", "portforward", "proxy"})


def verb(request: Request, location: Location | None) -> str:
    """The verb; on a path that is no resource, the method in lower case.

    Raises Failed, 405, for a method that is no verb.
    """
    if location is None:
        return request.method.lower()
    found = VERBS.get(request.method)
    if found is None:
        raise Failed(status.method_not_allowed())
    if location.name:
        return found
    if found == "get":
        return "watch" if request.flag("watch") else "list"
    return "deletecollection" if found == "delete" else found


def what(request: Request) -> str:
    """Verb and resource together: `get pods/exec`; empty for what is no resource, or no verb."""
    location = resources.locate(request.path)
    if location is None or request.method not in VERBS:
        return ""
    return f"{verb(request, location)} {location.resource.qualified}"


def attributes(request: Request, location: Location | None, user: UserInfo) -> Attributes:
    """Who asks for what.

    Raises Failed, 405, for a method that is no verb.
    """
    asked = verb(request, location)
    if location is None:
        return Attributes(user, asked, path=request.path)
    resource, _, subresource = location.resource.name.partition("/")
    namespace = location.name if location.resource is NAMESPACES else location.namespace
    return Attributes(user, asked, resource, subresource, location.resource.group, namespace, location.name)


def long_running(request: Request) -> bool:
    """Whether its answer may take its time: those are told of in the audit log when it begins, too."""
    location = resources.locate(request.path)
    if location is None or request.method not in VERBS:
        return False
    return verb(request, location) == "watch" or location.resource.name.partition("/")[2] in _LONG
