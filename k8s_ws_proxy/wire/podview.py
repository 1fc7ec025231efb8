"""What of a pod its caller gets to see: what kubectl looks at, and no more.

A pod says a lot about its cluster, and often holds passwords: in the environment of its containers, in arguments, in
annotations. Whoever may only read a log isn't told them by this proxy.
"""

from __future__ import annotations

from typing import Any, Final

_Tree = dict[str, "_Tree | None"]

_CONTAINER: Final[_Tree] = {
    "name": None,
    "stdin": None,
    "tty": None,
    "restartPolicy": None,  # a sidecar's ports may be forwarded, too
    "ports": {"name": None, "containerPort": None, "protocol": None},
}
_POD: Final[_Tree] = {
    "kind": None,
    "apiVersion": None,
    "metadata": {
        "name": None,
        "namespace": None,
        "annotations": {"kubectl.kubernetes.io/default-container": None},
    },
    "spec": {"containers": _CONTAINER, "initContainers": _CONTAINER, "ephemeralContainers": _CONTAINER},
    "status": {"phase": None},
}


def pod_view(pod: object) -> dict[str, Any]:
    """What is shown of ``pod``, an object from the apiserver. Raises ValueError if it isn't a pod's shape."""
    if not isinstance(pod, dict) or pod.get("kind") != "Pod":
        raise ValueError("not a Pod")
    kept: dict[str, Any] = _kept(pod, _POD)
    return kept


def _kept(value: Any, wanted: _Tree | None) -> Any:
    """``value`` with the named parts only; of a list, those of each element."""
    if value is None or (wanted is None and isinstance(value, str | int)):
        return value
    if wanted is not None and isinstance(value, list):
        return [_kept(each, wanted) for each in value]
    if wanted is not None and isinstance(value, dict):
        return {name: _kept(value[name], below) for name, below in wanted.items() if name in value}
    raise ValueError("not a Pod's shape")
