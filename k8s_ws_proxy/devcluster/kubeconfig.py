"""A kubeconfig for one user, as kubectl and the client libraries read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "dev"


def render(url: str, ca_file: Path, credentials: dict[str, str], namespace: str = "default") -> bytes:
    """The document. `credentials` is what stands under `user`, for example `tokenFile`."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": _NAME, "cluster": {"server": url, "certificate-authority": str(ca_file)}}],
        "users": [{"name": _NAME, "user": credentials}],
        "contexts": [{"name": _NAME, "context": {"cluster": _NAME, "user": _NAME, "namespace": namespace}}],
        "current-context": _NAME,
    }
    return yaml.safe_dump(document, sort_keys=False).encode()
