"""The Secret in the cluster: read, patch, create.

What the apiserver says of a write is never repeated: it may quote.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from k8s_ws_proxy.errors import ClusterApiError, ClusterApiUnavailable
from k8s_ws_proxy.rotation.api import MERGE_PATCH, path_of, told

if TYPE_CHECKING:
    from k8s_ws_proxy.rotation.api import Answer, Api
    from k8s_ws_proxy.rotation.state import Patch

_LABELS: Final = {"app.kubernetes.io/name": "k8s-ws-proxy"}


class SecretStore:
    """One Secret."""

    def __init__(self, api: Api, name: str) -> None:
        self._api = api
        self._collection = path_of("api", "v1", "namespaces", api.namespace, "secrets")
        self._path = self._collection + path_of(name)
        self.name = name
        self.full_name = f"{api.namespace}/{name}"

    async def get(self) -> dict[str, Any] | None:
        """The Secret; None if there is none. Raises ClusterApiError."""
        answer = await self._api.request("GET", self._path)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise refused(answer, "get", f"the Secret {self.full_name}", "secrets", told(answer))
        return answer.json()

    async def patch(self, patch: Patch) -> bool:
        """Whether it was patched: no, if somebody changed it since it was read. Raises ClusterApiError."""
        answer = await self._api.request("PATCH", self._path, body=patch.body, content_type=MERGE_PATCH)
        if answer.status == 409:
            return False
        if answer.status != 200:
            raise refused(answer, "patch", f"the Secret {self.full_name}", "secrets")
        return True

    async def create(self, key: str, secret: bytes) -> bool:
        """Whether it was created: no, if somebody else did. Raises ClusterApiError."""
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": self.name, "labels": _LABELS},
            "type": "Opaque",
            "data": {key: base64.b64encode(secret).decode()},
        }
        answer = await self._api.request("POST", self._collection, body=body)
        if answer.status == 409:
            return False
        if answer.status != 201:
            raise refused(answer, "create", f"the Secret {self.full_name}", "secrets")
        return True


def refused(answer: Answer, verb: str, what: str, resource: str, detail: str = "") -> ClusterApiError:
    """The error for an answer that isn't what was hoped for."""
    after = f": {detail}" if detail else ""
    match answer.status:
        case 401:
            return ClusterApiError("the apiserver doesn't accept the credentials: log in anew", status=401)
        case 403:
            return ClusterApiError(
                f"not allowed to {verb} {what}: it needs a Role with {verb!r} on {resource!r} in that namespace "
                f"(docs/operations.md has the whole Role){after}",
                status=403,
            )
        case 404:
            return ClusterApiError(f"there is no such thing: {what}{after}", status=404)
        case 408 | 429 | 500 | 502 | 503 | 504:
            return ClusterApiUnavailable(
                f"the apiserver answered {answer.status} when asked to {verb} {what}{after}", status=answer.status
            )
        case status:
            return ClusterApiError(f"the apiserver answered {status} when asked to {verb} {what}{after}", status=status)
