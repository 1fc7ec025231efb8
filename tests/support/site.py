"""A site to rotate keys at: the embedded cluster, real proxies as its pods, each with the Secret mounted, late."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import itertools
import json
import os
import sys
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.devcluster import DaemonSet, DevCluster, ForeignPod, Response
from k8s_ws_proxy.devcluster.resources import DAEMONSETS, SECRETS
from k8s_ws_proxy.devcluster.world import DEFAULT_WORLD, User, grant
from k8s_ws_proxy.rfc3339 import rfc3339
from k8s_ws_proxy.wire.requests.signing import key_fingerprint
from support.command import start_command
from support.daemon import running_daemon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from k8s_ws_proxy.devcluster.http import Request
    from k8s_ws_proxy.devcluster.world import World
    from support.daemon import Daemon

SECRET_NAME = "k8s-ws-proxy-hmac"
NAMESPACE = "default"
LABELS = {"app.kubernetes.io/name": "k8s-ws-proxy"}
OLD = base64.b64encode(b"the key that there was before ..").decode()

# What the chart's Role for rotations and its hook's grant, and nothing more.
OPERATOR = User(
    "operator",
    "ops",
    (
        grant("secrets", "get patch", names=SECRET_NAME, namespace=NAMESPACE),
        grant("daemonsets.apps", "get", names="k8s-ws-proxy", namespace=NAMESPACE),
        grant("pods", "list patch", namespace=NAMESPACE),
        grant("pods/proxy", "get", namespace=NAMESPACE),
    ),
)
HOOK = User(
    "hook",
    "system:serviceaccount:default:k8s-ws-proxy-hmac-bootstrap",
    (
        grant("secrets", "create", namespace=NAMESPACE),
        grant("secrets", "get", names=SECRET_NAME, namespace=NAMESPACE),
    ),
)
WORLD = dataclasses.replace(DEFAULT_WORLD, users=(*DEFAULT_WORLD.users, OPERATOR, HOOK))


@dataclass
class Ran:
    """A command that has ended. ``events`` are its JSON lines."""

    status: int
    stdout: str
    stderr: str
    events: list[dict[str, Any]] = field(default_factory=list)

    def names(self) -> list[str]:
        """The events, one after the other, what was only waited for left out."""
        return [event["event"] for event in self.events if event["event"] != "waiting"]

    def event(self, name: str) -> dict[str, Any]:
        """The last event of that name."""
        return next(event for event in reversed(self.events) if event["event"] == name)


class Command:
    """``k8s-ws-proxy keys ...`` as a process; its output is read as it comes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._changed = asyncio.Condition()
        self._ended = False
        self._reading = asyncio.get_running_loop().create_task(self._read())

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON lines so far."""
        return [json.loads(line) for line in self.lines if line.startswith("{")]

    async def event(self, name: str, **facts: Any) -> dict[str, Any]:
        """The first event of that name with these facts; waits for it."""
        async with self._changed:
            while True:
                for event in self.events:
                    if event["event"] == name and all(event.get(k) == v for k, v in facts.items()):
                        return event
                assert not self._ended, f"it ended without: {self.lines}"
                await self._changed.wait()

    async def end(self) -> Ran:
        """Wait for its end."""
        assert self.process.stderr is not None
        stderr = (await self.process.stderr.read()).decode()
        await self._reading
        status = await self.process.wait()
        sys.stderr.write("".join(self.lines) + stderr)  # pytest shows it with a failure
        return Ran(status, "".join(self.lines), stderr, self.events)

    async def _read(self) -> None:
        if self.process.stdout is None:  # a terminal, which the test reads
            return
        while line := await self.process.stdout.readline():
            async with self._changed:
                self.lines.append(line.decode())
                self._changed.notify_all()
        async with self._changed:
            self._ended = True
            self._changed.notify_all()


class Terminal:
    """Our side of a terminal that a command writes to."""

    def __init__(self, at: Site, fd: int) -> None:
        self._at = at
        self._fd = fd
        self._text = ""

    async def until(self, wanted: str) -> None:
        """Read until ``wanted`` was written."""
        while wanted not in self._text:
            assert await self._more(), self._text

    async def rest(self) -> str:
        """All that was written, when its last writer is gone."""
        while await self._more():
            pass
        os.close(self._fd)
        self._at.outputs.append(self._text)
        return self._text

    async def _more(self) -> bool:
        try:
            data = await asyncio.to_thread(os.read, self._fd, 65536)
        except OSError:  # EIO: nobody has the other side open any more (pty(7))
            return False
        self._text += data.decode()
        return bool(data)


class StandIn:
    """What answers for a pod at ``/keys``: the Secret's keys, last used as a test says, by their values.

    Its clock is ``off`` seconds ahead; ``used`` is by the test's.
    """

    def __init__(self, at: Site) -> None:
        self._at = at
        self._started = time.time()
        self.used: dict[str, float] = {}
        self.off = 0.0
        self.frozen: dict[str, str] | None = None  # what it has mounted, if that is not what the Secret holds

    async def __call__(self, request: Request) -> Response:
        """As the daemon answers."""
        assert request.path == "/keys"
        held = self._at.keys if self.frozen is None else self.frozen
        keys = [
            {
                "id": name,
                "fingerprint": key_fingerprint(key.strip().encode()),
                "since": rfc3339(self._started + self.off),
                "last_used": rfc3339(self.used[key] + self.off) if key in self.used else None,
            }
            for name, key in held.items()
        ]
        now = time.time() + self.off
        body = {"started": rfc3339(self._started + self.off), "now": rfc3339(now), "keys": keys}
        return Response(200, json.dumps(body).encode(), headers=(("Date", formatdate(now, usegmt=True)),))


class Site:
    """The cluster with its Secret, and the proxies that tests start at it."""

    def __init__(self, cluster: DevCluster, directory: Path) -> None:
        self.cluster = cluster
        self.directory = directory
        self.daemons: list[Daemon] = []
        self.outputs: list[str] = []  # all that any command has printed
        self.secrets: set[str] = set()  # every key that was ever in the Secret

    @property
    def secret(self) -> dict[str, Any]:
        """The Secret now."""
        return self.cluster.state.store.get(SECRETS, NAMESPACE, SECRET_NAME)

    @property
    def keys(self) -> dict[str, str]:
        """The keys in the Secret now, by entry."""
        found = {name: base64.b64decode(value).decode() for name, value in self.secret["data"].items()}
        self.secrets |= set(found.values())
        return found

    @property
    def record(self) -> dict[str, Any]:
        """The rotation's annotation."""
        return json.loads(self.secret["metadata"]["annotations"]["k8s-ws-proxy/rotation"])

    def make_secret(self, entries: dict[str, str] | None = None, **more: Any) -> None:
        """The Secret as a person or the hook makes it."""
        data = {name: base64.b64encode(value.encode()).decode() for name, value in (entries or {"secret": OLD}).items()}
        metadata = {"name": SECRET_NAME, "namespace": NAMESPACE}
        manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data, **more}
        self.cluster.state.store.create(SECRETS, manifest)
        self.secrets |= set((entries or {"secret": OLD}).values())

    def touch_secret(self) -> None:
        """Somebody else changes the Secret: its resourceVersion moves on."""
        found = self.secret
        labels = {**found["metadata"].get("labels", {}), "touched": str(len(self.outputs))}
        self.cluster.state.store.replace(SECRETS, {**found, "metadata": {**found["metadata"], "labels": labels}})

    def set_environ(self, environ: dict[str, str]) -> None:
        """The variables in the DaemonSet's template."""
        found = self.cluster.state.store.get(DAEMONSETS, NAMESPACE, "k8s-ws-proxy")
        template = {
            "spec": {
                "containers": [
                    {"name": "sidecar"},
                    {
                        "name": "proxy",
                        "env": [
                            *({"name": name, "value": value} for name, value in environ.items()),
                            {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                        ],
                    },
                ]
            }
        }
        self.cluster.state.store.replace(DAEMONSETS, {**found, "spec": {**found["spec"], "template": template}})

    def removed_at(self, key: str) -> float:
        """When the key left the Secret, in Unix seconds."""
        history = self.cluster.state.store._history[SECRETS.qualified, (NAMESPACE, SECRET_NAME)]
        encoded = base64.b64encode(key.encode()).decode()
        held = [(when.timestamp(), encoded in (secret or {}).get("data", {}).values()) for when, secret in history]
        return next(when for (_, before), (when, now) in itertools.pairwise(held) if before and not now)

    def add_node(self, name: str, port: Any = None, *, port_number: int = 9090, **more: Any) -> None:
        """A pod of the DaemonSet on this node; nothing answers there unless ``port`` says who does."""
        ports = {} if port is None else {port_number: port}
        self.cluster.state.add_pod(
            ForeignPod(f"proxy-{name}", labels=LABELS, node=name, daemonset="k8s-ws-proxy", ports=ports, **more)
        )

    @staticmethod
    def status(code: int, message: str) -> Response:
        """An answer of the apiserver's."""
        body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}
        return Response(code, json.dumps(body).encode())

    def add_stand_in(self, name: str, **more: Any) -> StandIn:
        """A pod of the DaemonSet that is only a function, and has what the Secret holds at once."""
        made = StandIn(self)
        self.add_node(name, made, **more)
        return made

    async def start_command(
        self, *words: str, user: str = "operator", stdout: int = asyncio.subprocess.PIPE
    ) -> Command:
        """Start ``k8s-ws-proxy keys WORDS``."""
        kubeconfig = self.directory / f"kubeconfig-{user}"
        if not kubeconfig.exists():
            self.cluster.write_kubeconfig(kubeconfig, user)
        process = await start_command(
            *("keys", *words),
            environ={"PATH": os.environ["PATH"], "HOME": str(self.directory), "KUBECONFIG": str(kubeconfig)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 20,
            strict=False,
        )
        return Command(process)

    def reading(self, fd: int) -> Terminal:
        """What is written to the other side of the terminal ``fd``."""
        return Terminal(self, fd)

    async def end(self, command: Command) -> Ran:
        """Wait for its end."""
        ran = await command.end()
        self.outputs += [ran.stdout, ran.stderr]
        return ran

    async def keys_command(self, *words: str, user: str = "operator") -> Ran:
        """Run it to its end."""
        return await self.end(await self.start_command(*words, user=user))

    async def start_rotate(self, *words: str, overlap: str = "0s") -> Command:
        """Start ``keys rotate``, with JSON lines and an overlap that a test can wait for."""
        return await self.start_command("rotate", "--output", "json", "--overlap", overlap, *words)

    async def rotate(self, *words: str, overlap: str = "0s") -> Ran:
        """Run it to its end."""
        return await self.end(await self.start_rotate(*words, overlap=overlap))

    def assert_nothing_secret_was_told(self) -> None:
        """No key, in no form, in anything that a command or a proxy has printed."""
        told = "".join([*self.outputs, *("".join(daemon.raw_log) for daemon in self.daemons)])
        _ = self.keys
        for key in self.secrets:
            assert key not in told
            assert base64.b64encode(key.encode()).decode() not in told


@contextlib.asynccontextmanager
async def site(directory: Path, world: World = WORLD) -> AsyncIterator[Site]:
    """A cluster with the DaemonSet, without Secret and pods."""
    async with DevCluster(world) as cluster:
        cluster.state.add_daemonset(DaemonSet("k8s-ws-proxy", labels=LABELS))
        yield Site(cluster, directory)


@contextlib.asynccontextmanager
async def proxies(at: Site, lags: list[float], **environ: str) -> AsyncIterator[list[Daemon]]:
    """A real proxy for each lag: its kubelet writes a changed Secret that many seconds later."""
    kubeconfig = at.cluster.write_kubeconfig(at.directory / "kubeconfig-proxy", "proxy")
    async with contextlib.AsyncExitStack() as stack:

        async def start(number: int, lag: float) -> Daemon:
            home = at.directory / f"node-{number}"
            home.mkdir()
            mount = home / "keys"
            await stack.enter_async_context(
                at.cluster.mount_secret(NAMESPACE, SECRET_NAME, mount, lag=lag, pod=f"proxy-node-{number}")
            )
            return await stack.enter_async_context(
                running_daemon(
                    kubeconfig,
                    home,
                    secret=at.keys["secret"].encode(),
                    SHARED_SECRET_FILE="",
                    SHARED_SECRET_DIR=str(mount),
                    WS_PROXY_ADMIN_ADDR="127.0.0.1:0",
                    **environ,
                )
            )

        at.daemons += await asyncio.gather(*(start(number, lag) for number, lag in enumerate(lags)))
        for number, daemon in enumerate(at.daemons):
            at.add_node(f"node-{number}", ("127.0.0.1", daemon.ports["admin"]))
        yield at.daemons
