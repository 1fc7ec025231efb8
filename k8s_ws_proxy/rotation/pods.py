"""The proxies' pods in the cluster: found by their DaemonSet or a selector, asked by the apiserver's pod proxy."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from k8s_ws_proxy.errors import ClusterApiTimeout, ClusterApiUnavailable, ProxyError, RotationError
from k8s_ws_proxy.rotation.api import MERGE_PATCH, is_status, path_of, told, unreached
from k8s_ws_proxy.rotation.fleet import Fleet, NotAReportError, parse_pods, parse_report
from k8s_ws_proxy.rotation.secret import refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from k8s_ws_proxy.rotation.api import Api
    from k8s_ws_proxy.rotation.fleet import Pod

ADMIN_PORT: Final = 9090
CALLERS_PORT: Final = 8080
KEYS_CHANGED: Final = "k8s-ws-proxy/keys-changed"  # an annotation of pods: the rotation's id
SKEW: Final = 300  # seconds, the daemon's default
_PAGE: Final = 500  # pods, as kubectl asks for them
_ANSWER: Final = 10.0  # seconds for a pod
_RESTARTS: Final = 3  # times that a list is begun anew, when its continuation has expired

_Taken = TypeVar("_Taken")


@dataclass(frozen=True, slots=True)
class Daemons:
    """Which pods are the proxies', and what their template says: ``port`` is the one to ask on, ``skew`` seconds."""

    selector: str
    owner: str | None
    port: int
    skew: int
    what: str


async def find_daemons(api: Api, name: str, selector: str | None, admin_port: int | None) -> Daemons:
    """The DaemonSet ``name``, or whatever ``selector`` finds. Raises ClusterApiError, RotationError."""
    if selector is not None:
        return Daemons(selector, None, admin_port or ADMIN_PORT, SKEW, f"pods with {selector}")
    what = f"the DaemonSet {api.namespace}/{name}"
    found = await _daemonset(api, name, "--namespace and --daemonset")
    environ = _environ(found)
    if environ.get("SHARED_SECRET_FILE") and not environ.get("SHARED_SECRET_DIR"):
        raise RotationError(
            f"{what} accepts one key at a time (SHARED_SECRET_FILE): mount the whole Secret, and name the directory in "
            "SHARED_SECRET_DIR"
        )
    return Daemons(
        selector=selector_of(found["spec"].get("selector") or {}),
        owner=str(found["metadata"]["uid"]),
        port=admin_port or _port(environ.get("WS_PROXY_ADMIN_ADDR", ""), what),
        skew=int(skew) if (skew := environ.get("HMAC_SKEW_SECONDS", "")).isdigit() else SKEW,
        what=what,
    )


async def find_callers(api: Api, name: str, port: int | None) -> Daemons:
    """The DaemonSet ``name``, to be asked on the port that callers come in by, or on ``port``.

    Raises ClusterApiError, RotationError.
    """
    found = await _daemonset(api, name, "--workload NAMESPACE/NAME")
    listens = re.search(r":([0-9]{1,5})$", _environ(found).get("WS_PROXY_LISTEN_ADDR", "").strip())
    return Daemons(
        selector=selector_of(found["spec"].get("selector") or {}),
        owner=str(found["metadata"]["uid"]),
        port=port or (int(listens[1]) if listens else CALLERS_PORT),
        skew=SKEW,
        what=f"the DaemonSet {api.namespace}/{name}",
    )


async def list_pods(api: Api, daemons: Daemons, *, leaving: bool = False) -> tuple[list[Pod], int]:
    """Those that run, with ``leaving`` also where they are being deleted, and how many are still starting.

    Raises ClusterApiError.
    """
    pages = await walk(api, daemons.selector, partial(parse_pods, owner=daemons.owner, leaving=leaving))
    return [pod for pods, _ in pages for pod in pods], sum(starting for _, starting in pages)


async def walk(api: Api, selector: str, take: Callable[[Iterable[Mapping[str, Any]]], _Taken]) -> list[_Taken]:
    """What ``take`` makes of each page of the pods with ``selector``: no more is kept of it. Raises ClusterApiError."""
    for _ in range(_RESTARTS):
        taken = await _pages(api, selector, take)
        if taken is not None:
            return taken
    raise ClusterApiUnavailable("the list of pods grew old before it was read to its end, several times")


def selector_of(selector: Mapping[str, Any]) -> str:
    """A LabelSelector as a query has it."""
    parts = [f"{name}={value}" for name, value in (selector.get("matchLabels") or {}).items()]
    for one in selector.get("matchExpressions") or ():
        key, values = one["key"], ",".join(one.get("values") or ())
        parts.append(
            {
                "In": f"{key} in ({values})",
                "NotIn": f"{key} notin ({values})",
                "Exists": key,
                "DoesNotExist": f"!{key}",
            }[one["operator"]]
        )
    return ",".join(parts)


async def ask(api: Api, port: int, fleet: Fleet, pods: Iterable[Pod], told_of: Callable[[], None]) -> None:
    """Ask the pods for their keys, as many at once as the api allows; the fleet learns what they say.

    ``told_of`` is called after each. Raises ClusterApiError if nobody may ask.
    """

    async def one(pod: Pod) -> None:
        await _ask(api, port, fleet, pod)
        told_of()

    try:
        async with asyncio.TaskGroup() as group:
            for pod in pods:
                group.create_task(one(pod), name=f"ask {pod.name}")
    except* ProxyError as errors:
        raise errors.exceptions[0] from None


async def hasten(api: Api, pods: Iterable[Pod], rotation: str) -> str:
    """Have each pod's kubelet look at it now: it writes a changed Secret when an annotation of the pod changes, instead
    of up to two minutes later. Why it couldn't be had, for one of those for which it couldn't; empty where it could.

    Raises ClusterConfigError.
    """
    problems: list[str] = []
    body = {"metadata": {"annotations": {KEYS_CHANGED: rotation}}}

    async def one(pod: Pod) -> None:
        path = path_of("api", "v1", "namespaces", api.namespace, "pods", pod.name)
        try:
            answer = await api.request("PATCH", path, body=body, content_type=MERGE_PATCH)
        except ClusterApiUnavailable as error:
            problems.append(str(error))
            return
        if answer.status not in (200, 404):
            problems.append(str(refused(answer, "patch", f"the pod {pod.name}", "pods", told(answer))))

    try:
        async with asyncio.TaskGroup() as group:
            for pod in pods:
                group.create_task(one(pod), name=f"hasten {pod.name}")
    except* ProxyError as errors:
        raise errors.exceptions[0] from None
    return problems[0] if problems else ""


async def _ask(api: Api, port: int, fleet: Fleet, pod: Pod) -> None:
    path = path_of("api", "v1", "namespaces", api.namespace, "pods", f"{pod.name}:{port}", "proxy", "keys")
    try:
        answer = await api.request("GET", path, timeout=_ANSWER, of_a_pod=True)
    except ClusterApiTimeout:  # an apiserver that is gone itself ends the round, and isn't every pod's fault
        fleet.didnt_answer(pod, f"not within {_ANSWER:g} s", api.now())
        return
    if answer.status == 403 and is_status(answer):
        raise refused(answer, "get", f"/keys of the pod {pod.name}", "pods/proxy", told(answer))
    if answer.status == 404 and not is_status(answer):
        fleet.didnt_answer(pod, "it has no /keys: an older version?", answer.sent)
    elif answer.status != 200:
        fleet.didnt_answer(pod, f"{answer.status}: {unreached(answer)}", answer.sent)
    else:
        try:
            fleet.answered(pod, parse_report(answer.body, asked=answer.sent, answered=answer.received))
        except NotAReportError:
            fleet.didnt_answer(pod, f"what answers on port {port} isn't k8s-ws-proxy", answer.sent)


async def _pages(api: Api, selector: str, take: Callable[[Iterable[Mapping[str, Any]]], _Taken]) -> list[_Taken] | None:
    """None if the continuation expired on the way."""
    path = path_of("api", "v1", "namespaces", api.namespace, "pods")
    query = {"labelSelector": selector, "limit": str(_PAGE)}
    taken: list[_Taken] = []
    while True:
        answer = await api.request("GET", path, query=query)
        if answer.status == 410 and "continue" in query:
            return None
        if answer.status != 200:
            raise refused(answer, "list", f"pods in {api.namespace}", "pods", told(answer))
        page = answer.json()
        taken.append(take(page.get("items") or ()))
        further = (page.get("metadata") or {}).get("continue")
        if not further:
            return taken
        query = {**query, "continue": further}


async def _daemonset(api: Api, name: str, options: str) -> dict[str, Any]:
    answer = await api.request("GET", path_of("apis", "apps", "v1", "namespaces", api.namespace, "daemonsets", name))
    if answer.status == 404:
        raise RotationError(f"there is no DaemonSet {api.namespace}/{name}: name it with {options}")
    if answer.status != 200:
        raise refused(answer, "get", f"the DaemonSet {api.namespace}/{name}", "daemonsets.apps", told(answer))
    return answer.json()


def _environ(daemonset: Mapping[str, Any]) -> dict[str, str]:
    """The proxy container's variables that are written out: of the one that names a key's place, or the first."""
    containers = daemonset["spec"]["template"]["spec"].get("containers") or [{}]
    environs = [{one["name"]: one.get("value") or "" for one in c.get("env") or ()} for c in containers]
    return next((e for e in environs if "SHARED_SECRET_DIR" in e or "SHARED_SECRET_FILE" in e), environs[0])


def _port(address: str, what: str) -> int:
    if address.strip().lower() == "off":
        raise RotationError(
            f"{what} has no admin listener (WS_PROXY_ADMIN_ADDR is off), so its pods can't be asked for their keys"
        )
    found = re.search(r":([0-9]{1,5})$", address.strip())
    return int(found[1]) if found else ADMIN_PORT
