"""Pod aliases: a workload's name in the place of a pod's (wire-contract, "Pod aliases")."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from k8s_ws_proxy.errors import Reason, Refusal, UpstreamProtocolError
from k8s_ws_proxy.kube.dial import get
from k8s_ws_proxy.wire.handshake import refusal

if TYPE_CHECKING:
    from k8s_ws_proxy.kube.access import Access

# What may stand in a label's value; a pod's name may be longer (apimachinery, IsValidLabelValue).
_LABEL_VALUE: Final = re.compile(r"[a-z0-9](?:[-.a-z0-9]{0,61}[a-z0-9])?", re.ASCII)


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
