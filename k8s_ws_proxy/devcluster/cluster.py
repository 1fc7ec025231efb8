"""The cluster itself: a listener on loopback, the world behind it, and the processes that run in it."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from k8s_ws_proxy.devcluster.audit import AuditLog
from k8s_ws_proxy.devcluster.credentials import Credentials
from k8s_ws_proxy.devcluster.faults import Faults
from k8s_ws_proxy.devcluster.handler import Handler
from k8s_ws_proxy.devcluster.nodes import Node
from k8s_ws_proxy.devcluster.observed import Observed
from k8s_ws_proxy.devcluster.runtime import remove_tree
from k8s_ws_proxy.devcluster.server import Server
from k8s_ws_proxy.devcluster.state import State
from k8s_ws_proxy.devcluster.volumes import SecretVolume, mounted
from k8s_ws_proxy.devcluster.world import DEFAULT_WORLD

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from k8s_ws_proxy.devcluster.world import World


@dataclass(slots=True)
class _Up:
    """What there is between entering and leaving."""

    scratch: Path
    credentials: Credentials
    node: Node
    handler: Handler
    server: Server


class DevCluster:
    """An apiserver and a node in one, as long as the `async with` lasts.

    Whoever reaches it may run programs here, so `address` is best left as it is. `port` 0 takes any free port.
    Credentials are written to `directory`, or to a directory that is gone afterwards; the audit log also to
    `audit_file`, if one is named.
    """

    def __init__(
        self,
        world: World = DEFAULT_WORLD,
        port: int = 0,
        directory: Path | str | None = None,
        *,
        address: str = "127.0.0.1",
        audit_file: Path | str | None = None,
    ) -> None:
        self._world = world
        self._address = address
        self._port = port
        self._directory = None if directory is None else Path(directory)
        self._up: _Up | None = None
        self.faults = Faults()
        """What shall go wrong."""
        self.observed = Observed()
        """What has come to pass: `cluster.observed.seen`, `.open_streams`, `.running`, `await .wait_for(...)`."""
        self.state = State(world, self.observed.changed)
        """What there is, and what tests may add: `cluster.state.add_pod(...)`, `.add_daemonset(...)`, `.store`;
        `.grant(...)` and `.revoke(...)` roles and bindings, which roles.py makes.
        """
        self.audit = AuditLog(self.observed.changed, None if audit_file is None else Path(audit_file))
        """The audit log: `cluster.audit.events`, `.of(audit_id)`."""

    async def __aenter__(self) -> Self:
        """Make certificates and tokens, and listen.

        Raises OSError if it can't listen.
        """
        # Short, because a tmux socket lives below it and a Unix socket's path has 107 bytes at most.
        scratch = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="kdev-"))
        directory = self._directory or scratch / "credentials"
        credentials = await asyncio.to_thread(Credentials, self._world, directory)
        context = await asyncio.to_thread(credentials.server_context, self._address)
        node = Node(self._world, scratch, self.observed)
        handler = Handler(self.state, credentials, node, self.faults, self.observed, self.audit)
        server = Server(handler, context)
        self._up = _Up(scratch, credentials, node, handler, server)
        try:
            await server.listen(self._address, self._port)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stop()

    @property
    def url(self) -> str:
        """`https://ADDRESS:PORT`; it stays the same across `stop_listening` and `start_listening`."""
        return f"https://{self._address}:{self.port}"

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return self._running.server.port

    @property
    def ca_file(self) -> Path:
        """The CA's certificate, PEM."""
        return self._running.credentials.ca_file

    def token(self, user: str) -> str:
        """The user's current token.

        Raises KeyError for a user that isn't there, or whose token was taken away.
        """
        return self._running.credentials.token(user)

    def replace_token(self, old: str, new: str | None) -> None:
        """`old` is answered with 401 from now on, and `new`, if there is one, is the same user's.

        Raises KeyError if `old` is unknown already.
        """
        self._running.credentials.replace(old, new)

    def write_token(self, user: str, path: Path | str) -> Path:
        """Write the user's current token to `path`, and nothing else."""
        return self._running.credentials.write_token(user, Path(path))

    def write_kubeconfig(self, path: Path | str, user: str = "admin", *, certificate: bool = False) -> Path:
        """Write a kubeconfig with the user's token, or with a client certificate."""
        credentials = self._running.credentials
        write = credentials.write_certificate_kubeconfig if certificate else credentials.write_kubeconfig
        return write(Path(path), user, self.url)

    def service_account_dir(self, user: str, namespace: str = "default") -> Path:
        """A directory with `token`, `ca.crt` and `namespace`, as a pod finds it. Written at each call.
        Blocks.
        """
        return self._running.credentials.service_account_dir(user, namespace)

    async def delete_pod(self, namespace: str, name: str) -> None:
        """Kill all that runs in the pod's containers, as its deletion does: their sessions end with 137.

        The pod stays in the world, and its containers come up anew with the next process.
        """
        await self._running.node.kill_pod(namespace, name)

    def restart_runtime(self) -> None:
        """As a restart of containerd does to open execs: each ends with Success and 1000, and its command lives on."""
        self._running.handler.restart_runtime()

    def mount_secret(
        self, namespace: str, name: str, directory: Path | str, *, lag: float = 0.0, pod: str = ""
    ) -> AbstractAsyncContextManager[SecretVolume]:
        """A Secret as a directory, written again `lag` seconds after each change, as long as the context lasts.

        A real kubelet lets up to a minute and a half pass, unless an annotation of `pod` changes.
        """
        volume = SecretVolume(self.state.store, self.observed, namespace, name, Path(directory), pod)
        return mounted(volume, lag)

    def open_port(self, namespace: str, name: str, port: int, local_port: int) -> None:
        """From now on `port` of this pod is `local_port` on 127.0.0.1, where somebody may listen or not."""
        self._running.node.ports.open(namespace, name, port, local_port)

    async def stop_listening(self, *, drop: bool = False) -> None:
        """Refuse new connections from now on; with `drop`, reset those that are open."""
        await self._running.server.stop_listening(drop=drop)

    async def start_listening(self) -> None:
        """Listen again, on the same port.

        Raises OSError if it is taken.
        """
        await self._running.server.listen(self._address, self.port)

    @property
    def _running(self) -> _Up:
        assert self._up is not None, "the cluster is not running"
        return self._up

    async def _stop(self) -> None:
        up = self._running
        try:
            await up.server.drop_all()
            await up.node.stop()
            await up.server.wait_closed()
        finally:
            self.audit.close()
            await asyncio.to_thread(remove_tree, up.scratch)
