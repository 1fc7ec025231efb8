"""The official Python client's port-forward through the proxy: two channels, on the apiserver's path."""

from __future__ import annotations

import asyncio
import hashlib

import pytest
import pytest_asyncio
import websocket
from kubernetes import client
from kubernetes.client import ApiException
from kubernetes.stream import portforward, ws_client
from support.podport import chunks, digest, listening

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/api/v1/namespaces/default/pods/web/portforward"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pod_port(shared_cluster):
    async with listening() as running:
        shared_cluster.open_port("default", "web", 8080, running.port)
        yield running


@pytest.fixture
def open_ports(shared_daemon, monkeypatch):
    """Calls the client, which blocks, for a port-forward to the pod ``web``."""
    opened, forwards = [], []

    def call(ports):
        # Of the headers that it is given, this client hands on only two to its WebSocket: ours are added there.
        class SignedWebSocket(websocket.WebSocket):
            def connect(self, url, **given):
                headers = shared_daemon.headers(PATH)
                given["header"] = [*given["header"], *(f"{name}: {value}" for name, value in headers.items())]
                super().connect(url, **given)
                opened.append(self)

        monkeypatch.setattr(ws_client, "WebSocket", SignedWebSocket)
        configuration = client.Configuration()
        configuration.host = shared_daemon.url
        api = client.CoreV1Api(client.ApiClient(configuration))
        return portforward(api.connect_get_namespaced_pod_portforward, "web", "default", ports=ports)

    async def open_(ports="8080"):
        forwards.append(await asyncio.to_thread(call, ports))
        return forwards[-1]

    yield open_
    for forward in forwards:
        forward.close()  # its thread closes the other end, and with the last one the WebSocket
    for sock in opened:
        sock.shutdown()


def exchange(sock, *said):
    """All that comes back."""
    for data in said:
        sock.sendall(data)
    parts = []
    while data := sock.recv(1 << 20):
        parts.append(data)
    return b"".join(parts)


async def test_bytes_by_hash_to_the_pod(open_ports, pod_port):
    size = 20 << 20
    forward = await open_ports()
    answer = await asyncio.to_thread(exchange, forward.socket(8080), b"SINK %d\n" % size, *chunks(size))
    assert answer.decode().strip() == digest(size)
    assert forward.error(8080) is None


async def test_bytes_by_hash_from_the_pod(open_ports, pod_port):
    size = 20 << 20
    forward = await open_ports()
    data = await asyncio.to_thread(exchange, forward.socket(8080), b"SOURCE %d\n" % size)
    assert hashlib.sha256(data).hexdigest() == digest(size)


async def test_two_ports_one_of_which_nothing_listens_on(open_ports, pod_port):
    forward = await open_ports("81,8080")
    assert await asyncio.to_thread(exchange, forward.socket(81)) == b""
    assert "connect: connection refused" in forward.error(81)
    data = await asyncio.to_thread(exchange, forward.socket(8080), b"SOURCE 65536\n")
    assert data == b"".join(chunks(65_536))


async def test_the_client_closes(open_ports, pod_port):
    forward = await open_ports()
    sock = forward.socket(8080)
    await asyncio.to_thread(sock.sendall, b"HOLD\n")
    await pod_port.have(1)
    sock.close()
    await pod_port.have(0)


async def test_a_refusal_is_an_exception(open_ports):
    with pytest.raises(ApiException, match="400"):
        await open_ports(",".join(str(port) for port in range(1, 200)))
