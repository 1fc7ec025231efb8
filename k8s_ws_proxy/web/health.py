"""``/healthz`` and ``/readyz``: JSON that says why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from k8s_ws_proxy.audit.trail import Trail
    from k8s_ws_proxy.keyring import Keyring
    from k8s_ws_proxy.kube.access import Access
    from k8s_ws_proxy.recordings.recorder import Recorder
    from k8s_ws_proxy.sessions.registry import Registry


class Health:
    """Alive: the loop answers. Ready: sessions can be opened here.

    An apiserver that is lost later doesn't turn this unready: it would be so on every node at once, and the Service
    would have nobody left to say what is wrong. Nor does an audit trail that doesn't get out, for the same reason.
    """

    def __init__(
        self, keyring: Keyring, access: Access, registry: Registry, recorder: Recorder | None, audit: Trail
    ) -> None:
        self._audit = audit
        self._keyring = keyring
        self._access = access
        self._registry = registry
        self._recorder = recorder

    def alive(self) -> web.Response:
        """``/healthz``."""
        return web.json_response({"status": "ok"})

    def ready(self) -> web.Response:
        """``/readyz``."""
        ready, checks = self._readiness()
        return web.json_response(
            {"status": "ready" if ready else "not ready", "checks": checks}, status=200 if ready else 503
        )

    def _readiness(self) -> tuple[bool, dict[str, Any]]:
        keys = bool(self._keyring.keys)
        checks = {
            "keys": "ok" if keys else "no key is loaded",
            "apiserver": "ok" if self._access.reachable else self._access.last_error,
            "audit": self._audit.state,
            "shutdown": "the daemon is going down" if self._registry.draining else "no",
        }
        if self._recorder is not None:  # without it sessions may go on unrecorded; the service has nobody better to ask
            checks["recording"] = self._recorder.problem or "ok"
        return keys and self._access.answered and not self._registry.draining, checks
