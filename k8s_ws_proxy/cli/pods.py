"""Which pod is meant: ``NAMESPACE/POD`` of a command line -> the path that is signed and asked for."""

from __future__ import annotations

import contextlib

from k8s_ws_proxy.errors import ProxyError, Refusal
from k8s_ws_proxy.wire.requests.target import parse_path


def pod_path(kind: str, target: str, container: str | None = None) -> str:
    """The path of ``kind`` (``exec``, ``portforward``) for the pod. Raises ProxyError for a name that can't be one."""
    namespace, slash, pod = target.partition("/")
    if not slash:
        raise ProxyError(f"say in which namespace the pod is: NAMESPACE/POD, for example default/{target}")
    parts = [namespace, pod] if container is None else [namespace, pod, container]
    path = "/".join([f"/proxy/{kind}", *parts])
    with contextlib.suppress(Refusal):
        if parse_path(path).path == path and "/" not in pod:
            return path
    raise ProxyError(
        f"{'/'.join(parts)!r} can't be: the names of a namespace, a pod and a container have lower-case letters, "
        "digits and dashes (a pod's also dots). Write NAMESPACE/POD -c CONTAINER"
    )
