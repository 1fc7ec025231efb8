"""URL -> what is wanted: frozen values, or a refusal (docs/reference/requests.md).

In two steps, because they stand on two sides of the credential: the path decides whether there is such a route at
all, before anybody is asked who they are; the query is read only for a caller who was let in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote_plus, unquote_to_bytes

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.wire.framing import channels
from k8s_ws_proxy.wire.requests import log_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from k8s_ws_proxy.wire.requests.log_options import LogOptions

DEFAULT_COMMAND = ("/bin/sh",)
_LONGEST_SHOWN: Final = 63  # characters of a name that is none
MOST_PORTS: Final = 127  # of one port-forward: a channel is a byte, each port has two, and 255 is reserved (wsstream)

_UNRESERVED = re.compile(r"[-.~0-9A-Z_a-z]*", re.ASCII)  # RFC 3986 §2.3
_DNS_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
# As Kubernetes has it: 253 characters in all, and no bound of its own on a part (a pod's name may be one of 100).
_PART = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_DNS_SUBDOMAIN = re.compile(rf"(?=.{{1,253}}\Z){_PART}(?:\.{_PART})*", re.ASCII)


class Dialect(Enum):
    """Which of the two route families a caller speaks: it decides how failures are told and what is default."""

    PROXY = "proxy"  # /proxy/...
    APISERVER = "apiserver"  # /api/v1/...


class Subresource(Enum):
    """The pod subresource that a route leads to."""

    EXEC = "exec"
    ATTACH = "attach"
    LOG = "log"
    PORTFORWARD = "portforward"


@dataclass(frozen=True, slots=True)
class Route:
    """What the path alone says. ``path`` is percent-decoded: it is what a caller signs."""

    path: str
    dialect: Dialect
    subresource: Subresource
    namespace: str
    pod: str
    container: str | None

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """Those that are spoken there."""
        match self.subresource:
            case Subresource.PORTFORWARD:
                return channels.FORWARD_SUBPROTOCOLS
            case Subresource.LOG:
                return channels.LOG_SUBPROTOCOLS
            case _:
                return channels.SUBPROTOCOLS


@dataclass(frozen=True, slots=True)
class Streams:
    """Which streams the session has. With ``tty``, ``stderr`` is off: a terminal has one output."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool


@dataclass(frozen=True, slots=True)
class AttachTarget:
    """A container's own process. ``container`` None means the pod's default container."""

    namespace: str
    pod: str
    container: str | None
    streams: Streams

    subresource = Subresource.ATTACH
    subprotocols = channels.SUBPROTOCOLS
    """What the apiserver is offered."""

    @property
    def interactive(self) -> bool:
        """Somebody types into a terminal."""
        return self.streams.tty and self.streams.stdin

    def query(self) -> list[tuple[str, str]]:
        """The parameters of ``PodAttachOptions`` that are on; an empty container is left out, never sent empty."""
        on = [(name, "true") for name in ("stdin", "stdout", "stderr", "tty") if getattr(self.streams, name)]
        return [("container", self.container), *on] if self.container else on

    def upstream_path(self) -> str:
        """Path and query for the apiserver."""
        return _upstream_path(self, self.query())


@dataclass(frozen=True, slots=True)
class ExecTarget(AttachTarget):
    """A command in a container. Arguments are text with undecodable bytes as surrogate escapes."""

    command: tuple[str, ...] = DEFAULT_COMMAND

    subresource = Subresource.EXEC

    def query(self) -> list[tuple[str, str]]:
        """The parameters of ``PodExecOptions``: one ``command`` an argument, in order."""
        return [("command", argument) for argument in self.command] + AttachTarget.query(self)

    def with_command(self, command: Sequence[str]) -> ExecTarget:
        """The same target with another command."""
        return replace(self, command=tuple(command))


@dataclass(frozen=True, slots=True)
class LogTarget:
    """A container's log. ``container`` None means the pod's default container."""

    namespace: str
    pod: str
    container: str | None
    options: LogOptions

    subresource = Subresource.LOG
    subprotocols = ()
    """It is read by a plain request."""

    def upstream_path(self) -> str:
        """Path and query for the apiserver."""
        query = self.options.query()
        return _upstream_path(self, [("container", self.container), *query] if self.container else query)


@dataclass(frozen=True, slots=True)
class PortForwardTarget:
    """Ports of a pod, in the order that gives each its channels. None at all: the client names them in its tunnel."""

    namespace: str
    pod: str
    ports: tuple[int, ...]

    subresource = Subresource.PORTFORWARD

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """What the apiserver is offered: what the client speaks, since the two have no frame in common."""
        return (channels.V4,) if self.ports else (channels.TUNNEL,)

    def upstream_path(self) -> str:
        """Path and query for the apiserver."""
        return _upstream_path(self, [("ports", str(port)) for port in self.ports])


Target = ExecTarget | AttachTarget | LogTarget | PortForwardTarget

# What /proxy/... calls the subresources.
_KINDS = {
    "exec": Subresource.EXEC,
    "attach": Subresource.ATTACH,
    "logs": Subresource.LOG,
    "portforward": Subresource.PORTFORWARD,
}
_SUBRESOURCES = frozenset(each.value for each in Subresource)


def parse_path(raw_target: str) -> Route:
    """The route named by an HTTP request target in origin form.

    Raises Refusal(``bad_path``) for anything that isn't exactly one of the routes: empty, extra or missing
    segments, ``..``, a trailing slash, a name that isn't a DNS-1123 label (pod: subdomain) once percent-decoded.
    """
    segments = [_decode(segment) for segment in raw_target.partition("?")[0].split("/")]
    match segments:
        case ["", "proxy", ("exec" | "attach" | "logs" | "portforward") as kind, namespace, pod]:
            container, dialect, subresource = None, Dialect.PROXY, _KINDS[kind]
        case ["", "proxy", ("exec" | "attach" | "logs") as kind, namespace, pod, container_segment]:
            container, dialect = _name(container_segment, _DNS_LABEL, "container"), Dialect.PROXY
            subresource = _KINDS[kind]
        case ["", "api", "v1", "namespaces", namespace, "pods", pod, kind] if kind in _SUBRESOURCES:
            container, dialect, subresource = None, Dialect.APISERVER, Subresource(kind)
        case _:
            raise bad_path(raw_target)
    return Route(
        path="/".join(segments),
        dialect=dialect,
        subresource=subresource,
        namespace=_name(namespace, _DNS_LABEL, "namespace"),
        pod=_name(pod, _DNS_SUBDOMAIN, "pod"),
        container=container,
    )


def of_apiserver(raw_target: str) -> bool:
    """Whether a request target is of the apiserver's kind, so that its caller reads a ``metav1.Status``."""
    return raw_target.partition("?")[0].split("/", 2)[:2] in (["", "api"], ["", "apis"])


def names_namespace(namespace: str) -> bool:
    """Whether a namespace can have this name (docs/reference/requests.md)."""
    return _DNS_LABEL.fullmatch(namespace) is not None


def names_pod(namespace: str, pod: str) -> bool:
    """Whether a pod in a namespace can have these names (docs/reference/requests.md)."""
    return bool(_DNS_LABEL.fullmatch(namespace) and _DNS_SUBDOMAIN.fullmatch(pod))


def parse_target(route: Route, raw_target: str, subprotocol: str | None = None) -> Target:
    """What is wanted on ``route``, from the query of the same request target, by a client that speaks ``subprotocol``.

    Raises Refusal(``bad_query``) where a parameter can't be taken.
    """
    raw_query = raw_target.partition("?")[2].partition("#")[0]
    pairs = parse_qsl(raw_query, keep_blank_values=True, errors="surrogateescape")
    parameters: dict[str, list[str]] = {}
    for name, value in pairs:
        parameters.setdefault(name, []).append(value)
    if route.subresource is Subresource.PORTFORWARD:
        tunnelled = subprotocol == channels.TUNNEL  # the ports are named in there
        return PortForwardTarget(route.namespace, route.pod, () if tunnelled else _ports(parameters.get("ports", [])))
    container = route.container
    if container is None and (named := parameters.get("container", [""])[0]):
        if not _DNS_LABEL.fullmatch(named):
            raise Refusal(Reason.BAD_QUERY, "The container parameter must be a DNS-1123 label.")
        container = named
    if route.subresource is Subresource.LOG:
        of_dialect = log_options.of_proxy if route.dialect is Dialect.PROXY else log_options.of_apiserver
        return LogTarget(route.namespace, route.pod, container, of_dialect(parameters))
    streams = _streams(route.dialect, parameters)
    if route.subresource is Subresource.ATTACH:
        return AttachTarget(route.namespace, route.pod, container, streams)
    command = tuple(parameters.get("command", DEFAULT_COMMAND))
    if any("\0" in argument for argument in command):
        raise Refusal(Reason.BAD_QUERY, "A command argument can't hold a NUL byte: no process can be given one.")
    return ExecTarget(route.namespace, route.pod, container, streams, command)


def _ports(values: Sequence[str]) -> tuple[int, ...]:
    """``ports=80&ports=443`` or ``ports=80,443``, as the kubelet takes them (portforward.NewV4Options)."""
    texts = [part for value in values for part in value.split(",")]
    if not texts:
        raise Refusal(Reason.BAD_QUERY, "Say which ports of the pod: ?ports=8080, or ?ports=8080,8443.")
    if len(texts) > MOST_PORTS:
        raise Refusal(Reason.BAD_QUERY, f"{len(texts)} ports are too many for one connection: {MOST_PORTS} at most.")
    ports: list[int] = []
    for text in texts:
        if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
            raise Refusal(Reason.BAD_QUERY, f"ports must be numbers from 1 to 65535; {text[:20]!a} isn't one.")
        if int(text) in ports:
            raise Refusal(Reason.BAD_QUERY, f"Port {int(text)} is named twice: name each once.")
        ports.append(int(text))
    return tuple(ports)


def _streams(dialect: Dialect, parameters: Mapping[str, list[str]]) -> Streams:
    """On unless ``false``; but whoever speaks the apiserver's own dialect leaves out what it wants off.

    On ``/api/v1/...`` a parameter that is absent is off, as for the apiserver, so that kubectl's ``exec`` without
    ``-t`` doesn't get a terminal. Only a request that names no stream at all, which the apiserver would refuse, gets
    the defaults of ``/proxy/...``.
    """
    named = {"stdin", "stdout", "stderr"} & parameters.keys()
    default = dialect is Dialect.PROXY or not named

    def on(name: str) -> bool:
        value = parameters.get(name)
        # Convert_Slice_string_To_bool of apimachinery: only "false" and "0" are false.
        return default if value is None else value[0].lower() not in ("false", "0")

    tty = on("tty")
    # Some versions of the apiserver refuse stderr together with tty, the others ignore it.
    return Streams(stdin=on("stdin"), stdout=on("stdout"), stderr=on("stderr") and not tty, tty=tty)


def _upstream_path(target: Target, query: Sequence[tuple[str, str]]) -> str:
    path = f"/api/v1/namespaces/{target.namespace}/pods/{target.pod}/{target.subresource.value}"
    return f"{path}?{'&'.join(f'{name}={_encoded(value)}' for name, value in query)}" if query else path


def _encoded(value: str) -> str:
    """As a form's value. Most are fine as they are, and to find that out letter by letter takes its time."""
    return value if _UNRESERVED.fullmatch(value) else quote_plus(value, errors="surrogateescape")


def _decode(segment: str) -> str:
    try:
        return unquote_to_bytes(segment.encode("utf-8", "surrogateescape")).decode()
    except UnicodeDecodeError:
        raise bad_path() from None


def _name(text: str, pattern: re.Pattern[str], what: str) -> str:
    if not pattern.fullmatch(text):
        marks = "'-' and '.'" if pattern is _DNS_SUBDOMAIN else "'-'"
        raise Refusal(
            Reason.BAD_PATH,
            f"{text[:_LONGEST_SHOWN]!a} can't be the name of a {what}: only small letters, digits and, between them, "
            f"{marks} can stand in one. {bad_path()}",
        )
    return text


def bad_path(raw_target: str = "") -> Refusal:
    """There is no such path. Who asks on the apiserver's own paths is told what of it there is."""
    if of_apiserver(raw_target):
        return Refusal(
            Reason.BAD_PATH,
            "There is only /api/v1/namespaces/NAMESPACE/pods/POD/{exec,attach,log,portforward} of the apiserver here. "
            "It lists nothing: kubectl needs a pod's own name here, not -l, deploy/NAME or svc/NAME.",
        )
    return Refusal(
        Reason.BAD_PATH,
        "There is no such path. Known: /proxy/{exec,attach,logs}/NAMESPACE/POD[/CONTAINER], "
        "/proxy/portforward/NAMESPACE/POD and /api/v1/namespaces/NAMESPACE/pods/POD/{exec,attach,log,portforward}.",
    )
