"""kubectl port-forward, as it is released: SPDY in WebSocket messages, straight and through the proxy."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib

import pytest
from support.daemon import running_daemon
from support.kubectl import start
from support.pki import Pki
from support.podport import chunks, digest, listening

from k8s_ws_proxy.cli.main import main
from k8s_ws_proxy.devcluster import DevCluster

TUNNEL = "SPDY/3.1+portforward.k8s.io"


@pytest.fixture
async def cluster():
    async with DevCluster() as running:
        yield running


@pytest.fixture
async def pod_port(cluster):
    async with listening() as running:
        cluster.open_port("default", "web", 8080, running.port)
        yield running


class Forwarding:
    """A running kubectl and the local port that it listens on."""

    def __init__(self, process):
        self.process = process
        self.port = 0

    async def begin(self):
        line = await self.process.stdout.readline()
        assert line.startswith(b"Forwarding from 127.0.0.1:"), line + await self.process.stderr.read()
        self.port = int(line.split(b":")[1].split()[0])

    async def connect(self, *said):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        for data in said:
            writer.write(data)
            await writer.drain()
        return reader, writer

    async def ask(self, *said):
        """All that comes back."""
        reader, writer = await self.connect(*said)
        try:
            return await reader.read()
        finally:
            writer.close()

    async def ended(self):
        _, stderr = await self.process.communicate()
        return self.process.returncode, stderr.decode()


@pytest.fixture
async def straight(cluster, tmp_path):
    """A kubeconfig for the cluster."""
    return cluster.write_kubeconfig(tmp_path / "admin.kubeconfig", "admin")


@contextlib.asynccontextmanager
async def secured(cluster, directory, **environ):
    """A daemon with a TLS listener, and ``pki`` that it trusts."""
    cluster.write_kubeconfig(directory / "kubeconfig", "proxy")
    pki = Pki(directory)
    async with running_daemon(directory / "kubeconfig", directory, **pki.environ("operator"), **environ) as running:
        running.pki = pki
        yield running


async def written(daemon, directory):
    """A kubeconfig for the proxy, by our own command."""
    made, file = daemon.pki.callers.leaf("operator"), directory / "proxied.kubeconfig"
    url = f"https://127.0.0.1:{daemon.ports['https']}"
    words = ["--url", url, "--cacert", daemon.pki.servers.file, "--cert", made.cert, "--key", made.key, "-o", file]
    assert await asyncio.to_thread(main, ["kubeconfig", *map(str, words)]) == 0
    return file


@pytest.fixture
async def daemon(cluster, tmp_path):
    async with secured(cluster, tmp_path) as running:
        yield running


@pytest.fixture
async def proxied(daemon, tmp_path):
    return await written(daemon, tmp_path)


@pytest.fixture(params=["straight", "proxied"])
def way(request):
    """A kubeconfig for either."""
    return request.getfixturevalue(request.param)


@pytest.fixture
async def kubectl(tmp_path):
    """Starts ``kubectl port-forward`` with a kubeconfig and the words that are given."""
    started = []

    async def start_(kubeconfig, *words):
        process = await start(kubeconfig, tmp_path, "port-forward", *words, stdout=-1, stderr=-1)
        started.append(process)
        return Forwarding(process)

    yield start_
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
async def forwarding(kubectl, way, pod_port):
    running = await kubectl(way, "pod/web", ":8080")
    await running.begin()
    return running


async def test_100_mb_by_hash_to_the_pod(forwarding):
    size = 100 << 20
    answer = await forwarding.ask(b"SINK %d\n" % size, *chunks(size))
    assert answer.decode().strip() == digest(size)


async def test_100_mb_by_hash_from_the_pod(forwarding):
    size = 100 << 20
    found = hashlib.sha256(await forwarding.ask(b"SOURCE %d\n" % size))
    assert found.hexdigest() == digest(size)


async def test_it_came_by_websocket_in_the_tunnel(forwarding, cluster):
    await forwarding.ask(b"SOURCE 65536\n")
    upgrades = [seen for seen in cluster.observed.seen if seen.offered]
    assert [(seen.method, seen.offered) for seen in upgrades] == [("GET", (TUNNEL,))]
    assert upgrades[0].target == "/api/v1/namespaces/default/pods/web/portforward"


async def test_40_connections_at_once(forwarding, pod_port):
    sizes = [65_536 * (1 + number % 7) for number in range(40)]
    held = [await forwarding.connect(b"ECHO\n") for _ in range(5)]
    answers = await asyncio.gather(*(forwarding.ask(b"SOURCE %d\n" % size) for size in sizes))
    assert [hashlib.sha256(answer).hexdigest() for answer in answers] == [digest(size) for size in sizes]
    for number, (reader, writer) in enumerate(held):
        writer.write(b"still here %d\n" % number)
        assert await reader.readline() == b"still here %d\n" % number
        writer.close()
    await pod_port.have(0)


async def test_a_declared_port(kubectl, way):
    forwarding = await kubectl(way, "pod/web", ":8080")
    await forwarding.begin()
    assert (await forwarding.ask(b"GET / HTTP/1.0\r\n\r\n")).endswith(b"\r\n\r\nhello from the pod web\n")


async def test_nothing_listens(kubectl, way):
    forwarding = await kubectl(way, "pod/web", ":8081")
    await forwarding.begin()
    assert await forwarding.ask() == b""
    code, stderr = await forwarding.ended()
    assert code == 1
    assert "error forwarding port 8081 to pod " in stderr
    assert "IPv4: dial tcp4 127.0.0.1:8081: connect: connection refused" in stderr
    assert "lost connection to pod" in stderr


async def test_kubectl_ends(forwarding, pod_port, cluster):
    _reader, writer = await forwarding.connect(b"HOLD\n")
    await pod_port.have(1)
    forwarding.process.terminate()
    await pod_port.have(0)
    await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 0)
    writer.close()


@pytest.mark.parametrize(
    ("words", "user", "told"),
    [
        (["pod/nope", ":80"], "admin", 'pods "nope" not found'),
        (["pod/pending", ":80"], "admin", "pod is not running. Current status=Pending"),
        (["pod/quick", ":80"], "admin", "pod is not running. Current status=Succeeded"),
        (["pod/web", ":80"], "get-only", 'cannot create resource "pods/portforward"'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_refusals_are_told(kubectl, cluster, tmp_path, words, user, told):
    kubeconfig = cluster.write_kubeconfig(tmp_path / "of-user.kubeconfig", user)
    code, stderr = await (await kubectl(kubeconfig, *words)).ended()
    assert code == 1
    assert told in stderr


async def test_what_the_proxy_logs(kubectl, proxied, pod_port, daemon):
    forwarding = await kubectl(proxied, "pod/web", ":8080")
    await forwarding.begin()
    await forwarding.ask(b"SOURCE 65536\n")
    forwarding.process.terminate()
    ended = await daemon.event("session ended")
    assert (ended["mode"], ended["subject"], ended["subresource"]) == ("client_cert", "operator", "portforward")
    assert (ended["ports"], ended["reason"]) == ("tunnel", "client_left")
    assert ended["bytes_out"] > 65_536


async def test_the_proxy_goes_down(kubectl, proxied, pod_port, daemon):
    forwarding = await kubectl(proxied, "pod/web", ":8080")
    await forwarding.begin()
    daemon.process.terminate()
    await daemon.event("shutting down")
    daemon.process.terminate()
    code, stderr = await forwarding.ended()
    assert code == 1
    assert "lost connection to pod" in stderr
    assert await daemon.wait() == 0


async def test_a_pod_that_is_not_there_through_the_proxy(kubectl, proxied):
    code, stderr = await (await kubectl(proxied, "pod/nope", ":80")).ended()
    assert code == 1
    assert 'pods "nope" not found' in stderr


async def test_ports_that_are_not_allowed(kubectl, cluster, tmp_path):
    """kubectl's tunnel is refused: nobody sees which port it is for."""
    async with secured(cluster, tmp_path, ALLOWED_PORTS="8080") as daemon:
        code, stderr = await (await kubectl(await written(daemon, tmp_path), "pod/web", ":8080")).ended()
    assert code == 1
    assert "This proxy allows some ports only (ALLOWED_PORTS), and kubectl's tunnel doesn't show which" in stderr
