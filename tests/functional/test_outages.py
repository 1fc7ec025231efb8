"""An apiserver that answers wrongly, or not at all, or is somewhere else: each time its row of the failure table, and
a session as soon as it is well again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
import yaml
from support.answers import API, PROXY, failed, told_on_channel_3
from support.caller import Lines, ask, at_rest, opened, proxy_exec, refusal_of, run, script

from k8s_ws_proxy.devcluster import Death, DevCluster, Response
from k8s_ws_proxy.wire.framing.channels import STDOUT

DIALECTS = pytest.mark.parametrize("target", [PROXY, API], ids=["/proxy", "/api"])

BUSY = b"Too many requests, please try again later.\n"
STATUS = b'{"kind":"Status","apiVersion":"v1","status":"Failure","message":"etcd is away","code":500}'
HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConn"


def answering(code, *lines, body=b""):
    """An answer's bytes."""
    head = [f"HTTP/1.1 {code} Whatever", *lines, f"Content-Length: {len(body)}"]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


# What the apiserver does with an upgrade: the reason, the status that a caller on /api/v1 gets, the code on channel 3.
FAULTS = {
    "throttles": (lambda faults: faults.refuse(429, BUSY, content_type="text/plain"), "upstream_refused", 429, 429),
    "is broken": (lambda faults: faults.refuse(500, STATUS), "upstream_refused", 500, 500),
    "is not ready": (lambda faults: faults.refuse(503, b"", content_type=""), "upstream_refused", 503, 503),
    "talks garbage": (lambda faults: faults.say(b"\0\1\2 nonsense\r\n\r\n" * 20), "upstream_protocol", 502, 502),
    "says nothing, and ends": (lambda faults: faults.say(b""), "upstream_protocol", 502, 502),
    "stops within a line, and ends": (lambda faults: faults.say(b"HTTP/1.1 10"), "upstream_protocol", 502, 502),
    "stops within the head, and ends": (lambda faults: faults.say(HEAD), "upstream_protocol", 502, 502),
    "resets the connection": (lambda faults: faults.say(b"", Death.RESET), "upstream_unreachable", 502, 502),
    "stops within a body, and ends": (
        lambda faults: faults.say(answering(403, body=b"forbidden")[:-1]),
        "upstream_protocol",
        502,
        502,
    ),
    "says two lengths": (
        lambda faults: faults.say(answering(500, "Content-Length: 7", body=b"x")),
        "upstream_protocol",
        502,
        502,
    ),
    "stops within the head, and hangs": (lambda faults: faults.say(HEAD, None), "upstream_timeout", 504, 504),
    "hangs": (lambda faults: faults.hang(), "upstream_timeout", 504, 504),
    "promises for ever": (
        lambda faults: faults.say(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, None),
        "upstream_timeout",
        504,
        504,
    ),
}


@pytest.fixture
def reason():
    """What the daemon will call it, where a test doesn't say."""
    return ""


@pytest.fixture
async def daemon(start, reason):
    """It waits for as long as by default, but where a test waits for it to give up."""
    return await start(WS_HANDSHAKE_TIMEOUT="2s" if reason == "upstream_timeout" else "")


@DIALECTS
@pytest.mark.parametrize(("fault", "reason", "status", "code"), FAULTS.values(), ids=FAULTS)
async def test_an_upgrade_that_is_not_granted(daemon, cluster, lines, target, fault, reason, status, code):
    fault(cluster.faults)
    if target is PROXY:
        assert (await told_on_channel_3(daemon, target))["code"] == code
    else:
        answer = await ask(daemon, target)
        assert answer.status == status
        if reason != "upstream_refused":
            assert refusal_of(answer, target)[1] == reason
    line = await failed(lines, reason)
    assert cluster.token("proxy") not in str(line)
    await at_rest(daemon)
    assert (await run(daemon, script("exit 3"))).exit_code == 3


@pytest.mark.parametrize(
    ("value", "handed_on"), [("7", "7"), ("Fri, 31 Dec 1999 23:59:59 GMT", None), ("-1", None), ("9" * 30, None)]
)
async def test_when_to_try_again_is_handed_on(daemon, cluster, value, handed_on):
    cluster.faults.refuse(429, BUSY, content_type="text/plain", headers=(("Retry-After", value),), times=2)
    answer = await ask(daemon, API)
    assert (answer.status, answer.headers.get("retry-after"), answer.body) == (429, handed_on, BUSY)
    told = await told_on_channel_3(daemon, PROXY)
    assert (told["reason"], told["message"]) == ("TooManyRequests", BUSY.decode().strip())
    assert told.get("details", {}).get("retryAfterSeconds") == (int(handed_on) if handed_on else None)


class Trap:
    """Where a redirect leads: a server whose certificate the proxy would trust, and that remembers who came."""

    def __init__(self):
        self.connections = 0

    async def serve(self, reader, writer):
        self.connections += 1
        with contextlib.suppress(OSError):
            await reader.read(1 << 16)
        writer.close()


@pytest.fixture
async def trap(cluster):
    made = Trap()
    context = cluster._running.credentials.server_context()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=context)
    made.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield made
    server.close()


@DIALECTS
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("where", ["elsewhere", "here"])
async def test_a_redirect_is_not_followed_with_our_token(daemon, cluster, lines, trap, target, code, where):
    asked = len(cluster.observed.seen)
    location = f"{trap.url}/taken" if where == "elsewhere" else "/taken"
    cluster.faults.refuse(code, b"", headers=(("Location", location),))
    if target is PROXY:
        assert (await told_on_channel_3(daemon, target))["code"] == code
    else:
        answer = await ask(daemon, target)
        assert (answer.status, answer.headers.get("location")) == (502, None)
    line = await failed(lines, "upstream_refused")
    assert str(code) in line["detail"]
    assert (await run(daemon, script("exit 3"))).exit_code == 3
    assert [seen.target for seen in cluster.observed.seen[asked:] if "/exec" not in seen.target] == []
    assert trap.connections == 0


async def test_a_redirect_of_a_plain_request_is_not_followed(start, cluster, trap):
    """The list of pods, which an alias wants."""
    daemon = await start(POD_ALIAS_LABEL="app")
    for code in (301, 302, 307, 308):
        cluster.faults.refuse_request("get", "pods", Response(code, b"", headers=(("Location", f"{trap.url}/taken"),)))
        assert (await ask(daemon, API)).status == 502
    assert (await run(daemon, PROXY)).exit_code == 0
    assert trap.connections == 0


NOBODY = {
    "refuses": "upstream_unreachable",
    "speaks no TLS": "upstream_unreachable",
    "ends the handshake": "upstream_unreachable",
    "never shakes hands": "upstream_timeout",
}


@contextlib.asynccontextmanager
async def nobody(port, kind):
    """In the apiserver's place: what is no apiserver."""
    if kind == "refuses":
        yield
        return
    writers = []

    async def serve(reader, writer):
        writers.append(writer)
        if kind == "speaks no TLS":
            writer.write(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
        elif kind == "ends the handshake":
            await reader.read(1)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


@DIALECTS
@pytest.mark.parametrize(("kind", "reason"), NOBODY.items(), ids=NOBODY)
async def test_nobody_is_there_and_then_it_is_back(daemon, cluster, target, kind, reason):
    lines = Lines(daemon)
    await cluster.stop_listening(drop=True)
    async with nobody(cluster.port, kind):
        code = 504 if reason == "upstream_timeout" else 502
        for _ in range(2):
            if target is PROXY:
                assert (await told_on_channel_3(daemon, target))["code"] == code
            else:
                answer = await ask(daemon, target)
                assert answer.status == code
                assert refusal_of(answer, target)[1] == reason
        line = await failed(lines, reason)
        assert line["level"] == "warning"
    await cluster.start_listening()
    assert (await run(daemon, script("exit 3"))).exit_code == 3


@pytest.fixture
async def successor(cluster):
    """Another apiserver, at another address."""
    async with DevCluster() as running:
        yield running


@pytest.mark.parametrize(
    ("old", "reason"),
    [("gone", ""), ("silent", "upstream_timeout"), ("another CA", "")],
    ids=["gone", "silent", "new CA"],
)
async def test_the_apiserver_moves(daemon, cluster, kubeconfig, successor, old, reason):
    """The first session that misses it finds it, where the old address refuses; where it is silent, the second."""
    assert (await run(daemon, script("exit 3"))).exit_code == 3
    await cluster.stop_listening(drop=True)
    successor.write_kubeconfig(kubeconfig, "proxy")
    async with contextlib.AsyncExitStack() as stack:
        if old == "silent":
            await stack.enter_async_context(nobody(cluster.port, "never shakes hands"))
            assert (await ask(daemon, API)).status == 504
            # The timeout has the configuration read, which nothing waits for; what comes after it is dialled there.
            while not any("/exec" in seen.target for seen in successor.observed.seen):
                ended = await run(daemon, script("exit 3"))
            assert ended.exit_code == 3
        elif old == "another CA":
            await stack.enter_async_context(DevCluster(port=cluster.port))
        assert (await run(daemon, script("exit 3"))).exit_code == 3
    assert any("/exec" in seen.target for seen in successor.observed.seen)


async def test_it_moves_back_and_forth_while_a_session_stays(start, cluster, kubeconfig, successor):
    """What runs isn't touched by where new sessions go.

    An apiserver that only stops listening would go on with the connections that are kept ready.
    """
    daemon = await start(READY_CONNECTIONS="0")
    async with opened(daemon, proxy_exec("cat", tty="false")) as ws:
        for number, there in enumerate((successor, cluster, successor)):
            here = cluster if there is successor else successor
            await here.stop_listening()
            there.write_kubeconfig(kubeconfig, "proxy")
            before = len(there.observed.seen)
            assert (await run(daemon, script("exit 3"))).exit_code == 3
            assert len(there.observed.seen) > before
            await here.start_listening()
            await ws.send(0, b"still %d" % number)
            assert await ws.until(STDOUT, b"%d" % number) == b"still %d" % number


async def test_a_configuration_that_comes_after_the_daemon(start, cluster, kubeconfig):
    text = kubeconfig.read_bytes()
    kubeconfig.unlink()
    daemon = await start(ready=False)
    assert json.loads((await ask(daemon, API)).body)["details"]["causes"][0]["reason"] == "upstream_unreachable"
    kubeconfig.write_bytes(text)
    assert (await run(daemon, script("exit 3"))).exit_code == 3


async def test_three_tokens_a_ca_and_an_address_in_one_run(daemon, cluster, kubeconfig, tmp_path, successor):
    """All that a cluster replaces under a daemon in its life, with never a session refused."""
    token_file = tmp_path / "token"

    def point_at(there):
        there.write_kubeconfig(kubeconfig, "proxy")
        document = yaml.safe_load(kubeconfig.read_text())
        there.write_token("proxy", token_file)
        document["users"][0]["user"] = {"tokenFile": str(token_file)}
        kubeconfig.write_text(yaml.safe_dump(document))

    point_at(cluster)
    for number in range(3):
        cluster.replace_token(cluster.token("proxy"), f"token-{number}")
        token_file.write_text(f"token-{number}")
        assert (await run(daemon, script("exit 3"))).exit_code == 3
    await cluster.stop_listening(drop=True)
    point_at(successor)
    assert (await run(daemon, script("exit 4"))).exit_code == 4
    successor.replace_token(successor.token("proxy"), "token-3")
    token_file.write_text("token-3")
    assert (await run(daemon, script("exit 5"))).exit_code == 5
    assert not [line for line in daemon.log if line["event"] == "session failed"]
