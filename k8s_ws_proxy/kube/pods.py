"""What is meant: a pod by a workload's name (wire-contract, "Pod aliases"), a container where none is named."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from k8s_ws_proxy.errors import Reason, Refusal, UpstreamError, UpstreamProtocolError
from k8s_ws_proxy.kube.dial import get
from k8s_ws_proxy.wire.handshake import refusal
from k8s_ws_proxy.wire.podview import Default, default_container, has_terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    from k8s_ws_proxy.kube.access import Access

# What may stand in a label's value; a pod's name may be longer (apimachinery, IsValidLabelValue).
_LABEL_VALUE: Final = re.compile(r"[a-z0-9](?:[-.a-z0-9]{0,61}[a-z0-9])?", re.ASCII)

_REMEMBERED: Final = 1000  # pods
_GOOD_FOR: Final = 60.0  # seconds: an annotation may change, and a StatefulSet's pod come back as another


class Defaults:
    """The containers that are meant where none is named. ``clock`` is monotonic, in seconds."""

    def __init__(self, access: Access, clock: Callable[[], float]) -> None:
        self._access = access
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[float, Default]] = {}

    def known(self, namespace: str, pod: str) -> Default | None:
        """What was found a short while ago."""
        found = self._known.get((namespace, pod))
        return found[1] if found and self._clock() - found[0] < _GOOD_FOR else None

    async def find(self, namespace: str, pod: str) -> Default | None:
        """Ask the apiserver; None where it doesn't say, for want of a right perhaps."""
        self._known.pop((namespace, pod), None)
        try:
            status, _, body = await get(self._access, f"/api/v1/namespaces/{namespace}/pods/{pod}")
            found = default_container(json.loads(body)) if status == 200 else None
        except (UpstreamError, ValueError, RecursionError):
            return None
        if found is not None:
            if len(self._known) >= _REMEMBERED:
                self._known.pop(next(iter(self._known)))
            self._known[namespace, pod] = self._clock(), found
        return found


async def lacks_terminal(access: Access, namespace: str, pod: str, container: str | None) -> bool:
    """Whether the apiserver says that the container's own process has no terminal; False where it doesn't say."""
    try:
        status, _, body = await get(access, f"/api/v1/namespaces/{namespace}/pods/{pod}")
        return status == 200 and not has_terminal(json.loads(body), container)
    except (UpstreamError, ValueError, RecursionError):
        return False


async def resolve(access: Access, namespace: str, segment: str, *, label: str, node: str) -> str:
    """The pod meant by ``segment``: the one of that name, else the best one with ``<label>=<segment>``.

    Raises Refusal(``no_running_pod``), or UpstreamError where the apiserver can't be asked.
    """
    pods = f"/api/v1/namespaces/{namespace}/pods"
    status, content_type, body = await get(access, f"{pods}/{segment}")
    if status == 200:
        return segment
    if status != 404:
        raise refusal(status, content_type, body)
    chosen = None
    if _LABEL_VALUE.fullmatch(segment):
        selector = urlencode({"labelSelector": f"{label}={segment}", "fieldSelector": "status.phase=Running"})
        status, content_type, body = await get(access, f"{pods}?{selector}")
        if status != 200:
            raise refusal(status, content_type, body)
        chosen = _chosen(body, node)
    if chosen is None:
        raise Refusal(
            Reason.NO_RUNNING_POD,
            f"There is no pod named {segment}, and no running one with the label {label}={segment}.",
            detail=f"segment {segment}",
        )
    return chosen


def choose(pods: list[dict[str, Any]], node: str) -> str | None:
    """Of those that run and aren't being deleted: one on ``node`` before others, then the lowest name."""
    running = [
        (pod.get("spec", {}).get("nodeName") != node or not node, pod["metadata"]["name"])
        for pod in pods
        if pod.get("status", {}).get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
    ]
    return min(running)[1] if running else None


def _chosen(body: bytes, node: str) -> str | None:
    try:
        return choose(json.loads(body)["items"] or [], node)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UpstreamProtocolError("The apiserver's list of pods can't be read.") from error
