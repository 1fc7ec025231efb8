"""The apiserver's answers as a pure function: a request, a user and the world in, an answer or a stream's
target out.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.devcluster import discovery, http, resources, status
from k8s_ws_proxy.devcluster.http import Request, Response
from k8s_ws_proxy.devcluster.world import Container, Phase, Pod, User, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from k8s_ws_proxy.devcluster.resources import Location

_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_KUBELET = "127.0.0.1:10250"


class Action(enum.Enum):
    """What a stream does; the value is the subresource."""

    EXEC = "exec"
    ATTACH = "attach"


@dataclass(frozen=True, slots=True)
class StreamTarget:
    """A stream that may be opened: everything has been checked but the WebSocket handshake itself."""

    action: Action
    pod: Pod
    container: Container
    argv: tuple[str, ...]
    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool


class Refused(Exception):
    """The request ends here, with `response`."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def answer(request: Request, user: User, world: World, *, kubelet_up: bool = True) -> Response | StreamTarget:
    """What the apiserver says to `request`, in the order in which it looks: rights first, then what there is."""
    try:
        return _answer(request, user, world, kubelet_up=kubelet_up)
    except Refused as refused:
        return refused.response


def _answer(request: Request, user: User, world: World, *, kubelet_up: bool) -> Response | StreamTarget:
    location = resources.locate(request.path)
    if location is None:
        return discovery.document(request.path)
    verb = _verb(request, location)
    _authorize(user, verb, location)
    if verb not in location.resource.verbs:
        raise Refused(http.of_status(status.method_not_allowed()))
    namespace, name = location.namespace, location.name
    match location.resource.name:
        case ("pods/exec" | "pods/attach") as resource:
            action = Action(resource.removeprefix("pods/"))
            return _stream(request, user, world, namespace, name, action, kubelet_up=kubelet_up)
        case "pods" if name:
            return http.of_object(_pod(_find(world, namespace, name)))
        case "pods":
            return http.of_object(_pod_list(world, namespace, request.first("labelSelector")))
        case "namespaces":
            return http.of_object(_namespace(world, name))
        case other:
            raise AssertionError(other)


def _stream(
    request: Request, user: User, world: World, namespace: str, name: str, action: Action, *, kubelet_up: bool
) -> StreamTarget:
    resource = f"pods/{action.value}"
    verb = _VERBS[request.method]
    if verb == "get" and not user.may("create", resource):
        # The second check is the subresource's own, and RBAC gives no reason for what it doesn't know.
        raise Refused(http.of_status(status.forbidden("pods", name, "")))
    pod = _find(world, namespace, name)
    container = _container(pod, request.first("container"))
    if pod.phase is Phase.PENDING:
        raise Refused(http.of_status(status.bad_request(f"pod {name} does not have a host assigned")))
    if verb == "create":
        raise Refused(Response(405, b"bad method", bare=True))
    if not request.wants_upgrade:
        raise Refused(http.of_status(status.bad_request("Upgrade request required")))
    if not kubelet_up:
        raise Refused(http.of_status(status.backend_unreachable(_KUBELET)))
    tty = request.flag("tty")
    target = StreamTarget(
        action=action,
        pod=pod,
        container=container,
        argv=tuple(request.query.get("command", ())),
        stdin=request.flag("stdin"),
        stdout=request.flag("stdout"),
        stderr=request.flag("stderr") and not tty,
        tty=tty,
    )
    if not (target.stdin or target.stdout or request.flag("stderr")):
        raise Refused(http.of_text(400, "you must specify at least 1 of stdin, stdout, stderr"))
    if pod.phase is Phase.COMPLETED:
        raise Refused(http.of_text(500, f'container not found ("{container.name}")'))
    return target


def _verb(request: Request, location: Location) -> str:
    """What RBAC calls the request (Kubernetes: Request Verbs)."""
    verb = _VERBS.get(request.method)
    if verb is None:
        raise Refused(http.of_status(status.method_not_allowed()))
    if location.name:
        return verb
    if verb == "get":
        return "watch" if request.flag("watch") else "list"
    return "deletecollection" if verb == "delete" else verb


def _authorize(user: User, verb: str, location: Location) -> None:
    resource, namespace = location.resource, location.namespace
    if user.may(verb, resource.qualified):
        return
    scope = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    what = f'resource "{resource.name}" in API group "{resource.group}"'
    why = f'User "{user.name}" cannot {verb} {what} {scope}'
    raise Refused(http.of_status(status.forbidden(resource.qualified.partition("/")[0], location.name, why)))


def _find(world: World, namespace: str, name: str) -> Pod:
    pod = world.pod(namespace, name)
    if pod is None:
        raise Refused(http.of_status(status.not_found("pods", name)))
    return pod


def _container(pod: Pod, name: str) -> Container:
    if not name and len(pod.containers) == 1:
        return pod.containers[0]
    if not name:
        names = " ".join(each.name for each in pod.containers)
        text = f"a container name must be specified for pod {pod.name}, choose one of: [{names}]"
        raise Refused(http.of_status(status.bad_request(text)))
    for container in pod.containers:
        if container.name == name:
            return container
    raise Refused(http.of_status(status.bad_request(f"container {name} is not valid for pod {pod.name}")))


def _namespace(world: World, name: str) -> dict[str, Any]:
    if name not in world.namespaces:
        raise Refused(http.of_status(status.not_found("namespaces", name)))
    metadata = {"name": name, "uid": f"namespace-{name}"}
    return {"kind": "Namespace", "apiVersion": "v1", "metadata": metadata, "status": {"phase": "Active"}}


def _pod(pod: Pod) -> dict[str, Any]:
    running = pod.phase is Phase.RUNNING
    state: dict[Phase, dict[str, Any]] = {
        Phase.PENDING: {"waiting": {"reason": "ContainerCreating"}},
        Phase.RUNNING: {"running": {}},
        Phase.COMPLETED: {"terminated": {"exitCode": 0, "reason": "Completed"}},
    }
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "name": pod.name,
            "namespace": pod.namespace,
            "labels": pod.labels,
            "uid": f"{pod.namespace}-{pod.name}",
        },
        "spec": {
            **({"nodeName": pod.node} if pod.node else {}),
            "containers": [
                {
                    "name": each.name,
                    "image": "dev",
                    "stdin": True,
                    "tty": each.tty,
                    "command": list(each.argv),
                }
                for each in pod.containers
            ],
        },
        "status": {
            "phase": pod.phase.value,
            "containerStatuses": [
                {
                    "name": each.name,
                    "ready": running,
                    "restartCount": 0,
                    "image": "dev",
                    "imageID": "",
                    "state": state[pod.phase],
                }
                for each in pod.containers
            ],
        },
    }


def _pod_list(world: World, namespace: str, selector: str) -> dict[str, Any]:
    matches = _selector(selector)
    items = [_pod(pod) for pod in world.pods_in(namespace) if matches(pod.labels)]
    for item in items:
        del item["kind"], item["apiVersion"]
    return {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items}


def _selector(text: str) -> Callable[[dict[str, str]], bool]:
    """Equality only: `a=b,c==d,e!=f`."""
    wanted = []
    for term in filter(None, text.split(",")):
        key, sign, value = term.partition("=")
        if not sign:
            raise Refused(http.of_status(status.bad_request(f"unable to parse requirement: {term}")))
        wanted.append((key.removesuffix("!").strip(), value.removeprefix("=").strip(), key.endswith("!")))
    return lambda labels: all((labels.get(key) == value) is not negated for key, value, negated in wanted)
