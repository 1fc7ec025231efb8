"""How another client than ours gets to the apiserver, with the kubeconfig's credentials."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Way:
    """``headers`` go with each request to ``url``; ``server_name`` is what its certificate is for, if not its host.

    Without a ``proxy`` on the way the environment may still name one.
    """

    url: str
    tls: ssl.SSLContext
    headers: Mapping[str, str] = field(repr=False)
    proxy: str | None = None
    proxy_headers: Mapping[str, str] | None = field(default=None, repr=False)
    server_name: str | None = None
