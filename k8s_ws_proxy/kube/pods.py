"""What is meant: a pod by a workload's name (docs/reference/settings.md), a container where none is named."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from k8s_ws_proxy.errors import Reason, Refusal, UpstreamError, UpstreamProtocolError
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
            status, _, body = await apiserver.get(f"/api/v1/namespaces/{namespace}/pods/{pod}")
            found = default_container(json.loads(body)) if status == 200 else None
        except (UpstreamError, ValueError, RecursionError):
            return None
        if found is not None:
            if len(self._known) >= _REMEMBERED:
                self._known.pop(next(iter(self._known)))
            self._known[namespace, pod] = self._clock(), found
        return found


async def lacks_terminal(apiserver: Apiserver, namespace: str, pod: str, container: str | None) -> bool:
    """Whether the apiserver says that the container's own process has no terminal; False where it doesn't say."""
    try:
        status, _, body = await apiserver.get(f"/api/v1/namespaces/{namespace}/pods/{pod}")
        return status == 200 and pod_redaction.lacks_terminal(json.loads(body), container)
    except (UpstreamError, ValueError, RecursionError):
        return False


async def resolve(apiserver: Apiserver, namespace: str, segment: str, *, label: str, node: str) -> str:
    """The pod meant by ``segment``: the one of that name, else the best one with ``<label>=<segment>``.

    Raises Refusal(``no_running_pod``), or UpstreamError where the apiserver can't be asked.
    """
    pods = f"/api/v1/namespaces/{namespace}/pods"
    status, content_type, body = await apiserver.get(f"{pods}/{segment}")
    if status == 200:
        return segment
    if status != 404:
        raise refusal(status, content_type, body)
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


async def _first_running(apiserver: Apiserver, pods: str, labels: str, node: str) -> str | None:
    """The lowest name of those that run and aren't being deleted, on ``node`` if one is given.

    An apiserver lists by name. So few are asked for at a time, mostly once: parsing thousands would hold up everybody.
    """
    fields = f"status.phase=Running,spec.nodeName={node}" if node else "status.phase=Running"
    query, limit = {"labelSelector": labels, "fieldSelector": fields}, _PAGE
    token = ""
    for _ in range(_PAGES):
        more = {"limit": str(limit), **({"continue": token} if token else {})}
        status, content_type, body = await apiserver.get(f"{pods}?{urlencode({**query, **more})}")
        if status == 410 and token:  # the list has grown old meanwhile
            token = ""
            continue
        if status != 200:
            raise refusal(status, content_type, body)
        try:
            page = json.loads(body)
            chosen = choose(page["items"] or [])
            token = str(page.get("metadata", {}).get("continue") or "")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if limit > 1:  # large ones: together they were more than is read
                limit = 1
                continue
            raise UpstreamProtocolError("The apiserver's list of pods can't be read.") from error
        if chosen is not None or not token:
            return chosen
    return None


def choose(pods: list[dict[str, Any]]) -> str | None:
    """The lowest name of those that run and aren't being deleted."""
    running = [
        pod["metadata"]["name"]
        for pod in pods
        if pod.get("status", {}).get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
    ]
    return min(running, default=None)
