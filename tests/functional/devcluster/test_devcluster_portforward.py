"""Port-forward over channels, as the kubelet has it (portforward/websocket.go), and what the apiserver refuses.

The tunnel is held by kubectl: tests/clients/test_kubectl_forward.py.
"""

import base64

import pytest
from support.podport import chunks, digest, listening, unused_port

V5, V4, TUNNEL = "v5.channel.k8s.io", "v4.channel.k8s.io", "SPDY/3.1+portforward.k8s.io"
BEGIN_8080, BEGIN_443 = b"\x90\x1f", b"\xbb\x01"


def path(query="ports=8080", pod="web", namespace="default"):
    return f"/api/v1/namespaces/{namespace}/pods/{pod}/portforward" + (f"?{query}" if query else "")


@pytest.fixture
async def forward(clients):
    async def open_(query="ports=8080", *, offer=(V4,), **where):
        client = await clients.ask(path(query, **where), offer=offer)
        assert client.code == 101, await client.body()
        return client

    return open_


@pytest.fixture
async def pod_port(cluster):
    async with listening() as running:
        cluster.open_port("default", "web", 8080, running.port)
        yield running


async def messages(client, count):
    return [bytes((await client.frame()).data) for _ in range(count)]


async def test_each_channel_begins_with_its_port(forward):
    client = await forward("ports=8080&ports=443", pod="shell")
    assert await messages(client, 4) == [
        b"\0" + BEGIN_8080,
        b"\1" + BEGIN_8080,
        b"\2" + BEGIN_443,
        b"\3" + BEGIN_443,
    ]


async def test_a_declared_port_greets(forward):
    client = await forward()
    await client.send(b"\0GET / HTTP/1.0\r\n\r\n")
    ended = await client.rest()
    assert ended.channel(0).startswith(BEGIN_8080 + b"HTTP/1.0 200 OK\r\n")
    assert ended.channel(0).endswith(b"\r\n\r\nhello from the pod web\n")
    assert ended.channel(1) == BEGIN_8080
    assert ended.close == (1000, b"")


async def test_bytes_by_hash(forward, pod_port):
    size = 64 << 20
    client = await forward()
    await messages(client, 2)
    await client.send(b"\0SINK %d\n" % size)
    for chunk in chunks(size):
        await client.send(b"\0" + chunk)
    assert (await client.rest()).channel(0).decode().strip() == digest(size)


async def test_messages_are_at_most_32769_bytes(forward, pod_port):
    client = await forward()
    await client.send(b"\0SOURCE %d\n" % (1 << 20))
    ended = await client.rest()
    assert max(len(frame.data) for frame in ended.messages()) <= 32_769
    assert ended.channel(0)[2:] == b"".join(chunks(1 << 20))


async def test_nothing_listens(forward, cluster):
    cluster.open_port("default", "web", 443, unused_port())
    client = await forward("ports=8081,443")
    ended = await client.rest()
    for channel, port in ((1, 8081), (3, 443)):
        text = ended.channel(channel)[2:].decode()
        assert text.startswith(f"error forwarding port {port} to pod ")
        assert f"failed to connect to localhost:{port} inside namespace" in text
        assert f"IPv4: dial tcp4 127.0.0.1:{port}: connect: connection refused" in text
    assert ended.close == (1000, b"")


async def test_one_port_fails_and_the_others_go_on(forward, pod_port):
    client = await forward("ports=81,8080")
    await client.send(b"\2ECHO\n")
    await client.send(b"\2hello")
    told = {0: b"", 1: b"", 2: b"", 3: b""}
    while not (told[1].endswith(b"refused ") and told[2].endswith(b"hello")):
        data = bytes((await client.frame()).data)
        told[data[0]] += data[1:]
    assert told[2] == BEGIN_8080 + b"hello"


async def test_the_pod_resets(forward, pod_port):
    client = await forward()
    await client.send(b"\0RESET\n")
    ended = await client.rest()
    assert ended.channel(1).endswith(b"read: connection reset by peer")
    assert ended.close == (1000, b"")


@pytest.mark.parametrize("how", ["reset", "leave"])
async def test_the_client_leaves(forward, pod_port, cluster, how):
    client = await forward()
    await client.send(b"\0HOLD\n")
    await pod_port.have(1)
    getattr(client, how)()
    await pod_port.have(0)
    await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 0)


async def test_what_a_client_says_elsewhere_is_ignored(forward, pod_port):
    client = await forward()
    for channel in (1, 2, 3, 255):
        await client.send(bytes((channel,)) + b"SOURCE 65536\n")
    await client.send(b"")
    await client.send(b"\0SOURCE 65536\n")
    assert (await client.rest()).channel(0)[2:] == b"".join(chunks(65_536))


async def test_base64(forward):
    client = await forward(offer=["v4.base64.channel.k8s.io"])
    await client.send(b"0" + base64.b64encode(b"GET / HTTP/1.0\r\n\r\n"))
    first, second, third = await messages(client, 3)
    assert (first, second) == (b"0" + base64.b64encode(BEGIN_8080), b"1" + base64.b64encode(BEGIN_8080))
    assert base64.b64decode(third[1:]).startswith(b"HTTP/1.0 200 OK")


@pytest.mark.parametrize(
    ("offer", "chosen"),
    [([V4], V4), ([V5, V4], V4), ([V4, TUNNEL], TUNNEL), ([TUNNEL], TUNNEL), ([], "")],
    ids=lambda value: ",".join(value) if isinstance(value, list) else value,
)
async def test_the_tunnel_wherever_it_stands_then_the_first_that_is_spoken(forward, offer, chosen):
    assert (await forward(offer=offer)).headers["Sec-WebSocket-Protocol"] == chosen


@pytest.mark.parametrize("offer", [[V5], ["channel.k8s.io"], ["SPDY/3.1"]])
async def test_v5_is_not_spoken(clients, offer):
    client = await clients.ask(path(), offer=offer)
    assert (client.code, await client.body()) == (403, b"")


@pytest.mark.parametrize(
    ("query", "pod", "user", "code", "told"),
    [
        ("ports=80", "nope", "admin", 404, b'pods \\"nope\\" not found'),
        ("ports=80", "pending", "admin", 400, b"pod pending does not have a host assigned"),
        ("ports=80", "quick", "admin", 500, b"is not running"),
        ("ports=80", "web", "nobody", 403, b'cannot get resource \\"pods/portforward\\"'),
        ("", "web", "admin", 400, b'query parameter "port" is required'),
        ("ports=0", "web", "admin", 400, b"must be > 0"),
        ("ports=x", "web", "admin", 400, b"invalid syntax"),
        ("ports=65536", "web", "admin", 400, b"value out of range"),
    ],
)
async def test_refused(clients, query, pod, user, code, told):
    client = await clients.ask(path(query, pod=pod), user=user, offer=[V4])
    assert client.code == code
    assert told in await client.body()


async def test_a_kubelet_that_is_down(clients, cluster):
    cluster.faults.kubelet_up = False
    client = await clients.ask(path(), offer=[V4])
    assert client.code == 500
    assert (await client.json())["message"].startswith("error dialing backend")


async def test_the_old_way_by_post(clients):
    client = await clients.ask(path(), method="POST", offer=[V4])
    assert (client.code, await client.body()) == (405, b"bad method")
