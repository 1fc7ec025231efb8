"""The pod proxy: to a real listener, to a function, and to nobody."""

import asyncio
import errno
import json

import pytest

from k8s_ws_proxy.devcluster import DaemonSet, ForeignPod, Phase, Response

PODS = "/api/v1/namespaces/default/pods"


class Listener:
    """An HTTP server that says what it was asked, or whatever `answer` is."""

    def __init__(self):
        self.heads = []
        self.answer = None
        self.port = 0

    async def serve(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head.decode())
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        body = await reader.readexactly(length)
        text = json.dumps({"line": head.split(b"\r\n")[0].decode(), "body": body.decode()}).encode()
        ours = b"HTTP/1.1 200 OK\r\nX-Ours: 1\r\nContent-Type: text/x\r\nContent-Length: %d\r\n\r\n%s" % (
            len(text),
            text,
        )
        writer.write(ours if self.answer is None else self.answer)
        writer.close()


@pytest.fixture
async def listener():
    made = Listener()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


@pytest.fixture
def foreign(cluster, listener):
    return cluster.state.add_pod(ForeignPod("proxy", ports={9090: ("127.0.0.1", listener.port)}))


@pytest.mark.usefixtures("foreign")
@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("proxy:9090/proxy/keys", "GET /keys HTTP/1.1"),
        ("proxy:9090/proxy/a/b%20c/?x=%2F&y", "GET /a/b%20c/?x=%2F&y HTTP/1.1"),
        ("http:proxy:9090/proxy/keys", "GET /keys HTTP/1.1"),
        ("proxy:9090/proxy/", "GET / HTTP/1.1"),
        ("proxy/proxy/the/first/port", "GET /the/first/port HTTP/1.1"),
    ],
)
async def test_a_real_listener_is_asked(clients, listener, path, line):
    client = await clients.ask(f"{PODS}/{path}", upgrade=False, offer=())
    assert (client.code, client.headers["X-Ours"], client.headers["Content-Type"]) == (200, "1", "text/x")
    assert json.loads(await client.body()) == {"line": line, "body": ""}
    (head,) = listener.heads
    assert "authorization" not in head.lower(), "an apiserver takes the credential out"


@pytest.mark.usefixtures("foreign")
@pytest.mark.parametrize("whole", [True, False])
async def test_an_answer_without_a_length_comes_as_it_is_written(clients, cluster, whole):
    go_on = asyncio.Event()

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/x\r\n\r\n3\r\none\r\n")
        await go_on.wait()
        writer.write(b"3\r\ntwo\r\n" + b"0\r\n\r\n" * whole)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        cluster.state.add_pod(ForeignPod("slow", ports={9090: ("127.0.0.1", port)}))
        client = await clients.ask(f"{PODS}/slow:9090/proxy/x", upgrade=False, offer=())
        assert (client.code, client.headers["Content-Type"]) == (200, "text/x")
        assert await client.reader.readuntil(b"one\r\n") == b"3\r\none\r\n"
        go_on.set()
        rest = await client.reader.read()
        assert rest == b"3\r\ntwo\r\n" + b"0\r\n\r\n" * whole


@pytest.mark.usefixtures("foreign")
async def test_a_body_and_another_method(clients, listener):
    client = await clients.connect()
    headers = [*clients.headers(upgrade=False, offer=()), ("Content-Length", "5")]
    await client.request(f"{PODS}/proxy:9090/proxy/x", headers, "POST", b"hello")
    assert json.loads(await client.body()) == {"line": "POST /x HTTP/1.1", "body": "hello"}


@pytest.mark.usefixtures("foreign")
@pytest.mark.parametrize("answer", [b"HTTP/1.1 404 X\r\nContent-Length: 2\r\n\r\nno", b"HTTP/1.0 503 X\r\n\r\nno"])
async def test_the_pods_own_refusal_is_handed_on(clients, listener, answer):
    listener.answer = answer
    client = await clients.ask(f"{PODS}/proxy:9090/proxy/x", upgrade=False, offer=())
    assert client.code == int(answer.split()[1])
    assert await client.body() == b"no"


async def unavailable(clients, path):
    code, told = await clients.call("GET", f"{PODS}/{path}")
    assert (code, told["code"], told["reason"], "details" in told) == (503, 503, "ServiceUnavailable", False)
    prefix, _, why = told["message"].partition("error trying to reach service: ")
    assert prefix == ""
    return why


@pytest.mark.parametrize(
    ("answer", "why"), [(b"", "EOF"), (b"HTTP/1.1 200 OK\r\nContent-", "EOF"), (b"nonsense\r\n\r\n", "malformed HTTP")]
)
async def test_a_pod_that_answers_no_http(clients, listener, foreign, answer, why):
    listener.answer = answer
    assert (await unavailable(clients, "proxy:9090/proxy/keys")).startswith(why)


async def test_a_pod_nobody_listens_in(clients, foreign):
    address = foreign["status"]["podIP"]
    assert await unavailable(clients, "proxy:1/proxy/") == f"dial tcp {address}:1: connect: connection refused"


async def test_what_is_no_pod_or_has_no_address(cluster, clients):
    code, told = await clients.call("GET", f"{PODS}/nope:9090/proxy/keys")
    assert (code, told["message"]) == (404, 'pods "nope" not found')
    cluster.state.add_pod(ForeignPod("waits", phase=Phase.PENDING))
    code, told = await clients.call("GET", f"{PODS}/waits:9090/proxy/keys")
    assert (code, told["message"]) == (400, "address not allowed")
    code, told = await clients.call("GET", f"{PODS}/web:9090/proxy/keys", user="proxy")
    assert (code, told["reason"]) == (403, "Forbidden")
    assert 'pods "web:9090" is forbidden' in told["message"]
    assert 'cannot get resource "pods/proxy"' in told["message"]


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ConnectionRefusedError(), "connect: connection refused"),
        (TimeoutError(), "i/o timeout"),
        (ConnectionResetError(), "read: connection reset by peer"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "connect: no route to host"),
    ],
)
async def test_a_function_may_fail_as_a_network_does(cluster, clients, error, why):
    async def fail(_):
        raise error

    cluster.state.add_pod(ForeignPod("f", ports={9090: fail}))
    assert (await unavailable(clients, "f:9090/proxy/keys")).endswith(why)


async def test_a_thousand_pods_that_a_function_answers_for(cluster, clients):
    """What a rotation over many nodes is tried on: each pod's answer, how many were asked, how many at once."""
    asked, gate = [], asyncio.Event()

    def answering(node):
        async def answer(request):
            asked.append((node, request.path))
            await gate.wait()
            return Response(200, json.dumps({"node": node}).encode())

        return answer

    cluster.state.add_daemonset(DaemonSet("proxy", labels={"app": "proxy"}))
    for number in range(1000):
        node = f"node-{number}"
        cluster.state.add_pod(ForeignPod(f"p-{number}", node=node, daemonset="proxy", ports={9090: answering(node)}))

    async def ask(number):
        return (await clients.call("GET", f"{PODS}/p-{number}:9090/proxy/keys"))[1]["node"]

    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(ask(number)) for number in range(0, 1000, 20)]
        await cluster.observed.wait_for(lambda: cluster.observed.under_way == 50)
        gate.set()
    assert [task.result() for task in asking] == [f"node-{number}" for number in range(0, 1000, 20)]
    assert {path for _, path in asked} == {"/keys"}
    assert cluster.observed.count("get pods/proxy") == 50
    assert (cluster.observed.most_under_way, cluster.observed.under_way) == (50, 0)


async def test_a_caller_that_leaves_takes_its_question_with_it(cluster, clients):
    ended = asyncio.Event()

    async def hang(_):
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    cluster.state.add_pod(ForeignPod("h", ports={9090: hang}))
    client = await clients.connect()
    client.writer.write(f"GET {PODS}/h:9090/proxy/ HTTP/1.1\r\n".encode())
    for name, value in clients.headers(upgrade=False, offer=()):
        client.writer.write(f"{name}: {value}\r\n".encode())
    client.writer.write(b"\r\n")
    await cluster.observed.wait_for(lambda: cluster.observed.under_way == 1)
    client.leave()
    await ended.wait()
    await cluster.observed.wait_for(lambda: cluster.observed.under_way == 0)


SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Ours: 1\r\n\r\n"


@pytest.mark.usefixtures("foreign")
async def test_an_upgrade_is_passed_on_without_its_query_and_then_bytes_both_ways(cluster, clients):
    heads = []

    async def serve(reader, writer):
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode().lower())
        writer.write(SWITCHING + b"early")
        while data := await reader.read(100):
            writer.write(data.upper())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    cluster.state.add_pod(ForeignPod("up", ports={1: server.sockets[0].getsockname()}))
    client = await clients.ask(f"{PODS}/up:1/proxy/a?x=1")
    assert (client.code, client.headers["X-Ours"]) == (101, "1")
    assert await client.reader.readexactly(5) == b"early"
    client.writer.write(b"any bytes")
    assert await client.reader.readexactly(9) == b"ANY BYTES"
    await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 1)
    (head,) = heads
    assert head.startswith("get /a http/1.1\r\n"), "an apiserver loses the query of an upgrade"
    assert "authorization" not in head
    assert "x-forwarded-for: 127.0.0.1\r\n" in head
    assert "sec-websocket-protocol: v5.channel.k8s.io\r\n" in head
    client.leave()
    await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 0)
    server.close()


@pytest.mark.usefixtures("foreign")
@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (b"HTTP/1.1 403 X\r\nContent-Length: 2\r\n\r\nno", 403, b"no"),
        (b"HTTP/1.1 503 X\r\n\r\nno", 503, b"no"),
        (b"HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\nno", 500, b"invalid upgrade response: status code 200"),
        (b"", 500, b"unexpected EOF"),
    ],
)
async def test_what_a_pod_says_to_an_upgrade_instead(clients, listener, answer, code, said):
    listener.answer = answer
    client = await clients.ask(f"{PODS}/proxy:9090/proxy/x")
    assert client.code == code
    assert said in await client.body()


async def test_an_upgrade_needs_the_same_right_and_somebody_who_listens(clients, foreign):
    client = await clients.ask(f"{PODS}/proxy:9090/proxy/x", user="proxy")
    assert client.code == 403
    client = await clients.ask(f"{PODS}/proxy:1/proxy/x")
    assert client.code == 500
    told = await client.json()
    assert told["message"] == f"dial tcp {foreign['status']['podIP']}:1: connect: connection refused"
