"""Taking the DaemonSet away before its rights go: its pods need them to hang up what their sessions left."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.errors import RotationUnfinished
from k8s_ws_proxy.rotation.api import path_of, told
from k8s_ws_proxy.rotation.secret import refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from k8s_ws_proxy.rotation.api import Api

_LOOK: Final = 1.0  # seconds between two looks at the pods
_PAGE: Final = 500  # pods, as kubectl asks for them
_NAMED: Final = 10  # pods that are named where some are left


async def take_down(api: Api, name: str, *, timeout: float, say: Callable[[str], None]) -> None:
    """Delete the DaemonSet ``name`` and wait until its pods are gone, ``timeout`` seconds at most.

    Raises RotationUnfinished where some are left then, and ClusterApiError.
    """
    full_name = f"{api.namespace}/{name}"
    path = path_of("apis", "apps", "v1", "namespaces", api.namespace, "daemonsets", name)
    answer = await api.request("GET", path)
    if answer.status == 404:
        say(f"there is no DaemonSet {full_name}: nothing to do")
        return
    if answer.status != 200:
        raise refused(answer, "get", f"the DaemonSet {full_name}", "daemonsets.apps", told(answer))
    found = answer.json()
    uid = str(found["metadata"]["uid"])
    labels = (found["spec"].get("selector") or {}).get("matchLabels") or {}
    selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    # In the background: the object is gone at once, and no second one of its name is waited for by mistake.
    options = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
    answer = await api.request("DELETE", path, body={"kind": "DeleteOptions", "apiVersion": "v1", **options})
    if answer.status not in (200, 202, 404):
        raise refused(answer, "delete", f"the DaemonSet {full_name}", "daemonsets.apps", told(answer))
    say(f"deleted the DaemonSet {full_name}: its pods drain, and hang up what their sessions left")
    left = await _pods(api, selector, uid)
    try:
        async with asyncio.timeout(timeout):
            while left:
                say(f"{len(left)} of its pods are still there")
                await asyncio.sleep(_LOOK)
                left = await _pods(api, selector, uid)
    except TimeoutError:
        names = ", ".join(left[:_NAMED]) + (", ..." if len(left) > _NAMED else "")
        raise RotationUnfinished(
            f"{len(left)} pods of the DaemonSet {full_name} are still there after {timeout:g} s: {names}. What their "
            "sessions have left may stay in its containers"
        ) from None
    say("its pods are gone")


async def _pods(api: Api, selector: str, owner: str) -> list[str]:
    """The names of those that are there."""
    names: list[str] = []
    token = ""
    while True:
        query = {"labelSelector": selector, "limit": str(_PAGE), **({"continue": token} if token else {})}
        answer = await api.request("GET", path_of("api", "v1", "namespaces", api.namespace, "pods"), query=query)
        if answer.status == 410 and token:  # the list has grown old meanwhile
            names, token = [], ""
            continue
        if answer.status != 200:
            raise refused(answer, "list", f"the pods in {api.namespace}", "pods", told(answer))
        found = answer.json()
        for pod in found.get("items") or []:
            if any(each.get("uid") == owner for each in pod["metadata"].get("ownerReferences") or []):
                names.append(str(pod["metadata"]["name"]))
        token = str((found.get("metadata") or {}).get("continue") or "")
        if not token:
            return names
