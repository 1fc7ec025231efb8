"""What is meant: a pod by a workload's name (docs/reference/settings.md), a container where none is named."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from k8s_ws_proxy.errors import Reason, Refusal, UpstreamError, UpstreamProtocolError, UpstreamRefused
from k8s_ws_proxy.wire.http.handshake import refusal
from k8s_ws_proxy.wire.requests import pod_redaction
from k8s_ws_proxy.wire.requests.pod_redaction import Default, default_container

if TYPE_CHECKING:
    from collections.abc import Callable

    from k8s_ws_proxy.kube.apiserver import Apiserver

# What may stand in a label's value; a pod's name may be longer (apimachinery, IsValidLabelValue).
_LABEL_VALUE: Final = re.compile(r"[a-z0-9](?:[-.a-z0-9]{0,61}[a-z0-9])?", re.ASCII)

_PAGE: Final = 10  # pods in one answer
_PAGES: Final = 100  # answers
_REMEMBERED: Final = 1000  # pods
_GOOD_FOR: Final = 60.0  # seconds: an annotation may change, and a StatefulSet's pod come back as another


class Defaults:
    """The containers that are meant where none is named. ``clock`` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[float, Default]] = {}

    def known(self, namespace: str, pod: str) -> Default | None:
        """What was found a short while ago."""
        found = self._known.get((namespace, pod))
        return found[1] if found and self._clock() - found[0] < _GOOD_FOR else None

    async def find(self, apiserver: Apiserver, namespace: str, pod: str) -> Default | None:
        """Ask ``apiserver``; None where it doesn't say, for want of a right perhaps."""
        self._known.pop((namespace, pod), None)
        try:
            found = await apiserver.read(f"/api/v1/namespaces/{namespace}/pods/{pod}", _default)
        except (UpstreamError, ValueError, RecursionError):
            return None
        if found is not None:
            if len(self._known) >= _REMEMBERED:
                self._known.pop(next(iter(self._known)))
            self._known[namespace, pod] = self._clock(), found
        return found


def _default(status: int, _content_type: str, body: bytes) -> Default | None:
    return default_container(json.loads(body)) if status == 200 else None


async def lacks_terminal(apiserver: Apiserver, namespace: str, pod: str, container: str | None) -> bool:
    """Whether the apiserver says that the container's own process has no terminal; False where it doesn't say."""

    def bare(status: int, _content_type: str, body: bytes) -> bool:
        return status == 200 and pod_redaction.lacks_terminal(json.loads(body), container)

    try:
        return await apiserver.read(f"/api/v1/namespaces/{namespace}/pods/{pod}", bare)
    except (UpstreamError, ValueError, RecursionError):
        return False


async def resolve(apiserver: Apiserver, namespace: str, segment: str, *, label: str, node: str) -> str:
    """The pod meant by ``segment``: the one of that name, else the best one with ``<label>=<segment>``.

    Raises Refusal(``no_running_pod``), or UpstreamError where the apiserver can't be asked.
    """
    pods = f"/api/v1/namespaces/{namespace}/pods"
    if await apiserver.read(f"{pods}/{segment}", _is_there):
        return segment
    if _LABEL_VALUE.fullmatch(segment):
        labels = f"{label}={segment}"
        here = await _first_running(apiserver, pods, labels, node) if node else None
        if chosen := here or await _first_running(apiserver, pods, labels, ""):
            return chosen
    raise Refusal(
        Reason.NO_RUNNING_POD,
        f"There is no pod named {segment}, and no running one with the label {label}={segment}.",
        detail=f"segment {segment}",
    )


def _is_there(status: int, content_type: str, body: bytes) -> bool:
    if status not in (200, 404):
        raise refusal(status, content_type, body)
    return status == 200


async def _first_running(apiserver: Apiserver, pods: str, labels: str, node: str) -> str | None:
    """The lowest name of those that run and aren't being deleted, on ``node`` if one is given.

    An apiserver lists by name. So few are asked for at a time, mostly once: parsing thousands would hold up everybody.
    """
    fields = f"status.phase=Running,spec.nodeName={node}" if node else "status.phase=Running"
    query, limit = {"labelSelector": labels, "fieldSelector": fields}, _PAGE
    token = ""
    for _ in range(_PAGES):
        more = {"limit": str(limit), **({"continue": token} if token else {})}
        try:
            page = await apiserver.read(f"{pods}?{urlencode({**query, **more})}", _page)
        except UpstreamRefused as error:
            if error.status == 410 and token:  # the list has grown old meanwhile
                token = ""
                continue
            raise
        if page is None:
            if limit > 1:  # large ones: together they were more than is read
                limit = 1
                continue
            raise UpstreamProtocolError("The apiserver's list of pods can't be read.")
        chosen, token = page
        if chosen is not None or not token:
            return chosen
    return None


def _page(status: int, content_type: str, body: bytes) -> tuple[str | None, str] | None:
    """The one that is chosen of a list's page, and what the next one is asked for by; None where it can't be read."""
    if status != 200:
        raise refusal(status, content_type, body)
    try:
        page = json.loads(body)
        return choose(page["items"] or []), str(page.get("metadata", {}).get("continue") or "")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def choose(pods: list[dict[str, Any]]) -> str | None:
    """The lowest name of those that run and aren't being deleted."""
    running = [
        pod["metadata"]["name"]
        for pod in pods
        if pod.get("status", {}).get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
    ]
    return min(running, default=None)
