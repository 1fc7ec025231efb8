"""An answer that goes on, through the apiserver's pod proxy: a WebSocket, or a body that comes as it is written.

It needs ``get`` on ``pods/proxy``, as any request there does. An upgrade that is asked for has no query: an apiserver
loses it (kubernetes/kubernetes#77142), and newer ones that keep it see none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp

from k8s_ws_proxy.cli.answers import printable
from k8s_ws_proxy.cli.signer import Signer
from k8s_ws_proxy.errors import ProxyError
from k8s_ws_proxy.rotation.api import Answer, is_status, refusal_in, told, unreachable, unreached
from k8s_ws_proxy.rotation.secret import refused

if TYPE_CHECKING:
    from k8s_ws_proxy.cli.connection import Connection
    from k8s_ws_proxy.rotation.fleet import Pod


class Through(Signer):
    """The request for ``target`` of ``pod``; ``to`` leads through the apiserver."""

    def __init__(self, to: Connection, target: str, pod: Pod) -> None:
        super().__init__(to, target)
        self._path = target.partition("?")[0]
        self._pod = pod

    def refused(self, response: aiohttp.ClientResponse, body: bytes) -> ProxyError:
        """As Signer's; the apiserver may be who says no, too."""
        answer = Answer(response.status, body, 0.0, 0.0)
        if refusal_in(answer) is not None:
            return super().refused(response, body)
        if answer.status in {401, 403} and is_status(answer):
            return refused(answer, "get", f"{self._path} of the pod {self._pod.name}", "pods/proxy", told(answer))
        return ProxyError(self._silent(f"{answer.status}: {printable(unreached(answer))}"))

    def unanswered(self, error: TimeoutError | aiohttp.ClientError) -> str:
        """As Signer's."""
        match error:
            case TimeoutError():
                return self._silent("not in time")
            case aiohttp.WSServerHandshakeError():
                return f"{self._pod.node} answered the upgrade, but not as RFC 6455 asks ({printable(error.message)})"
            case _:
                return unreachable(error)

    def _silent(self, why: str) -> str:
        return f"no answer from {self._pod.node} (pod {self._pod.name}): {why}"
