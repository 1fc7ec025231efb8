"""The proxy before an embedded cluster, in one process: what ``dev`` runs and the demo shows."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.cli.browser_door import browser_door
from k8s_ws_proxy.cli.serve import prepare
from k8s_ws_proxy.errors import ProxyError
from k8s_ws_proxy.sessions.uuid7 import uuid7

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from k8s_ws_proxy.audit.trail import Trail
    from k8s_ws_proxy.devcluster.cluster import DevCluster
    from k8s_ws_proxy.settings import Settings

_SHELL: Final = {"subresource": "exec", "namespace": "default", "pod": "web", "command": ["sh"]}


@dataclass(frozen=True, slots=True)
class Playground:
    """What runs, and how to reach it. ``browser`` is for a browser; empty where the pages are off."""

    url: str
    browser: str
    secret_file: Path
    kubeconfig: Path
    cluster_url: str

    def exec_line(self, *words: str) -> list[str]:
        """The words of an ``exec`` command line through the proxy; ``words`` come after the program and ``exec``."""
        at = words.index("--") if "--" in words else len(words)
        return ["exec", *words[:at], *self._connection(), *words[at:]]

    def port_forward_line(self, *words: str) -> list[str]:
        """The words of a ``port-forward`` command line through the proxy."""
        return ["port-forward", *words, *self._connection()]

    def _connection(self) -> list[str]:
        return ["--url", self.url, "--secret-file", str(self.secret_file)]


def program() -> list[str]:
    """How a person calls this program from here."""
    beside = Path(sys.executable).with_name("k8s-ws-proxy")
    found = shutil.which("k8s-ws-proxy")
    if found is not None and (not beside.exists() or Path(found).samefile(beside)):
        return ["k8s-ws-proxy"]
    if beside.exists():
        with contextlib.suppress(ValueError):
            return [str(beside.relative_to(Path.cwd()))]
        return [str(beside)]
    return [sys.executable, "-m", "k8s_ws_proxy"]


def embedded_cluster() -> type[DevCluster]:
    """Its class, which an installation may be without. Raises ProxyError."""
    try:
        from k8s_ws_proxy.devcluster.cluster import DevCluster  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ProxyError(
            f"dev needs {error.name}, which isn't installed here: pip install 'k8s-ws-proxy[dev]'. "
            "The container image is without it on purpose: run dev on your own machine"
        ) from error
    return DevCluster


@contextlib.asynccontextmanager
async def playground(port: int, directory: Path, environ: Mapping[str, str]) -> AsyncIterator[Playground]:
    """Cluster and proxy, with their files in ``directory``, until the block is left. Raises ProxyError."""
    from k8s_ws_proxy.web.app import running  # noqa: PLC0415

    async with (
        embedded_cluster()(directory=directory / "cluster") as cluster,
        browser_door(_SHELL, "default/web") as door,
        contextlib.AsyncExitStack() as stack,
    ):
        kubeconfig = await asyncio.to_thread(cluster.write_kubeconfig, directory / "kubeconfig", user="admin")
        own = await asyncio.to_thread(cluster.write_kubeconfig, directory / "proxy.kubeconfig", user="proxy")
        secret_file = directory / "secret"
        secret = await asyncio.to_thread(_write_secret, secret_file)
        theirs = {name: value for name, value in environ.items() if name != "SHARED_SECRET_DIR"}
        settings, source, reading = prepare(
            {
                "WEB_TERMINAL": "true",
                **theirs,
                "WS_PROXY_LISTEN_ADDR": f"127.0.0.1:{port}",
                "WS_PROXY_ADMIN_ADDR": environ.get("WS_PROXY_ADMIN_ADDR") or "off",  # 9090 may be somebody else's here
                "SHARED_SECRET_FILE": str(secret_file),
                "KUBECONFIG": str(own),
                "AUDIT_LOG": environ.get("AUDIT_LOG") or "off",  # what is on the screen is for the person there
                "DRAIN_TIMEOUT": environ.get("DRAIN_TIMEOUT") or "0s",  # nobody waits for a playground
                "ALLOWED_ORIGINS": ",".join(filter(None, (environ.get("ALLOWED_ORIGINS"), door.origin))),
            }
        )
        audit = await stack.enter_async_context(_trail(settings))
        try:
            daemon = await stack.enter_async_context(
                running(settings, source, reading, {"KUBECONFIG": str(own)}, audit)
            )
        except OSError as error:
            why = os.strerror(error.errno or 0)
            raise ProxyError(
                f"can't listen on 127.0.0.1:{port}: {why}. --port 0 takes any port that is free"
            ) from error
        url = f"http://127.0.0.1:{daemon.ports['http']}"
        door.leads_to(url, secret)
        try:
            yield Playground(url, door.url if settings.web_terminal else "", secret_file, kubeconfig, cluster.url)
        finally:
            await asyncio.shield(daemon.shut_down())


@contextlib.asynccontextmanager
async def _trail(settings: Settings) -> AsyncIterator[Trail]:
    """The audit trail, as the settings have it."""
    from k8s_ws_proxy.audit.opened import opened  # noqa: PLC0415 - as ``running``
    from k8s_ws_proxy.observe.writer import LogWriter  # noqa: PLC0415

    writer = LogWriter(sys.stderr.fileno())
    try:
        trail = await asyncio.to_thread(opened, settings.audit, writer, node=settings.node_name, daemon=uuid7())
        try:
            yield trail
        finally:
            await asyncio.to_thread(trail.close)
    finally:
        await asyncio.to_thread(writer.close)


def _write_secret(path: Path) -> bytes:
    """The secret that it then holds."""
    path.touch(mode=0o600)
    secret = secrets.token_urlsafe(32)
    path.write_text(secret + "\n")
    return secret.encode()
