"""What every authenticator is given, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from multidict import CIMultiDictProxy

    from k8s_ws_proxy.auth.principal import Principal


async def _no_body() -> bytes:
    return b""


@dataclass(frozen=True, slots=True)
class Presented:
    """A request, as far as it says who makes it.

    ``target`` is the request line's, untouched; ``path`` its path, percent-decoded. ``certificate`` is what
    ``ssl.SSLSocket.getpeercert()`` says of a chain that was verified, perhaps long ago; if it can't be read, anything
    else that isn't empty. ``scheme`` is that of the connection. ``body`` reads the body, where the request has one;
    it raises Refusal where that is too long or too slow.
    """

    method: str
    target: str
    path: str
    headers: CIMultiDictProxy[str]
    certificate: Mapping[str, Any] | None = None
    scheme: str = "http"
    has_body: bool = False
    body: Callable[[], Awaitable[bytes]] = _no_body


class Authenticator(Protocol):
    """One kind of credential."""

    async def authenticate(self, presented: Presented) -> Principal | None:
        """Whom the credential names; None where the request has none of this kind, and the next one is asked.

        Raises CredentialRefused: it has one, and that isn't good. Then nobody else is asked.
        """
