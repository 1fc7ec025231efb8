"""What a pod's subresources lead to: exec, attach, port-forward, log and proxy, each checked but for rights."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from k8s_ws_proxy.devcluster import codec, http, log, status
from k8s_ws_proxy.devcluster.http import Request, Response
from k8s_ws_proxy.devcluster.log import LogTarget
from k8s_ws_proxy.devcluster.podproxy import ProxyTarget
from k8s_ws_proxy.devcluster.requestinfo import VERBS
from k8s_ws_proxy.devcluster.resources import PODS
from k8s_ws_proxy.devcluster.status import Failed
from k8s_ws_proxy.devcluster.world import Container, Phase, Pod

if TYPE_CHECKING:
    from k8s_ws_proxy.devcluster.resources import Location
    from k8s_ws_proxy.devcluster.state import State

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


@dataclass(frozen=True, slots=True)
class ForwardTarget:
    """A port-forward that may be opened. `ports` says nothing in a tunnel: there the client names them inside."""

    pod: Pod
    ports: tuple[int, ...]


class Refused(Exception):
    """The request ends here, with an answer that is no metav1.Status, and not the apiserver's own."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = dataclasses.replace(response, handed_through=True)


def open_log(request: Request, state: State, location: Location, *, kubelet_up: bool) -> Response | LogTarget:
    """The log that was asked for. A pod without a host has one without content.

    Raises Failed.
    """
    namespace, name = location.namespace, location.name
    options = log.options(request, name)
    state.store.get(PODS, namespace, name)
    pod = state.world.pod(namespace, name)
    container = _container(pod, request.first("container")) if pod else None
    if pod is not None and pod.phase is Phase.PENDING:
        return Response(204)
    if pod is None or container is None or not kubelet_up:  # a foreign pod's node isn't ours
        called = container.name if container else request.first("container")
        raise Failed(status.request_failed(f"https://{_KUBELET}/containerLogs/{namespace}/{name}/{called}", _KUBELET))
    return LogTarget(pod, container, options)


def open_proxy(request: Request, state: State, location: Location) -> ProxyTarget:
    """Where a proxied request goes: `NAME`, `NAME:PORT` or `SCHEME:NAME:PORT`; without a port, the first that a
    container declares.

    Raises Failed.
    """
    match location.name.split(":"):
        case [name]:
            scheme, port = "", ""
        case [name, port]:
            scheme = ""
        case [scheme, name, port]:
            pass
        case _:
            raise Failed(status.bad_request(f'invalid pod request "{location.name}"'))
    pod = state.store.get(PODS, location.namespace, name)
    address = pod["status"].get("podIP", "")
    if not address:
        raise Failed(status.bad_request("address not allowed"))
    if not port:
        declared = [each for container in pod["spec"]["containers"] for each in container.get("ports", ())]
        port = str(declared[0]["containerPort"]) if declared else "80"
    if not port.isdecimal() or scheme not in {"", "http"}:
        raise Failed(status.unreachable("http: server gave HTTP response to HTTPS client"))
    query = request.target.partition("?")[2]
    path = location.rest or "/"
    handed_on = dataclasses.replace(request, path=path, target=quote(path) + (f"?{query}" if query else ""))
    return ProxyTarget(handed_on, state.backend(location.namespace, name, int(port)), f"{address}:{port}")


def open_stream(request: Request, state: State, location: Location, *, kubelet_up: bool) -> StreamTarget:
    """The exec or attach that was asked for, if it can be.

    Raises Failed or Refused.
    """
    pod = _reachable(state, location)
    container = _container(pod, request.first("container"))
    _upgradable(request, pod, kubelet_up=kubelet_up)
    tty = request.flag("tty")
    target = StreamTarget(
        action=Action(location.resource.name.removeprefix("pods/")),
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


def open_forward(request: Request, state: State, location: Location, *, kubelet_up: bool) -> ForwardTarget:
    """The port-forward that was asked for, if it can be.

    Raises Failed or Refused.
    """
    pod = _reachable(state, location)
    try:
        ports = tuple(_port(text) for value in request.query.get("ports", []) for text in value.split(","))
    except ValueError as exc:
        raise Failed(status.bad_request(f"cannot convert to []int32: {exc}")) from exc
    _upgradable(request, pod, kubelet_up=kubelet_up)
    if pod.phase is Phase.COMPLETED:
        raise Refused(http.of_text(500, f'sandbox container "{pod.name}" is not running'))
    if codec.TUNNEL.name in request.listed("sec-websocket-protocol"):
        return ForwardTarget(pod, ())
    if not ports:
        raise Refused(http.of_text(400, 'query parameter "port" is required'))
    if 0 in ports:
        raise Refused(http.of_text(400, 'port "0" must be > 0'))
    return ForwardTarget(pod, ports)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    if int(text) > 0xFFFF:
        raise ValueError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return int(text)


def _reachable(state: State, location: Location) -> Pod:
    """The pod of a stream, if its node is ours."""
    namespace, name = location.namespace, location.name
    state.store.get(PODS, namespace, name)
    pod = state.world.pod(namespace, name)
    if pod is None:  # a foreign one
        raise Failed(status.backend_unreachable(_KUBELET))
    return pod


def _upgradable(request: Request, pod: Pod, *, kubelet_up: bool) -> None:
    if pod.phase is Phase.PENDING:
        raise Failed(status.bad_request(f"pod {pod.name} does not have a host assigned"))
    if VERBS[request.method] == "create":
        raise Refused(Response(405, b"bad method", bare=True))
    if not request.wants_upgrade:
        raise Failed(status.bad_request("Upgrade request required"))
    if not kubelet_up:
        raise Failed(status.backend_unreachable(_KUBELET))


def _container(pod: Pod, name: str) -> Container:
    if not name and len(pod.containers) == 1:
        return pod.containers[0]
    if not name:
        names = " ".join(each.name for each in pod.containers)
        text = f"a container name must be specified for pod {pod.name}, choose one of: [{names}]"
        raise Failed(status.bad_request(text))
    for container in pod.containers:
        if container.name == name:
            return container
    raise Failed(status.bad_request(f"container {name} is not valid for pod {pod.name}"))
