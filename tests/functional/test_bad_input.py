"""What no caller should send. Each gets its row of the contract, and afterwards nothing is left open."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os

import pytest
import pytest_asyncio
from support import rawws
from support.caller import (
    PIPES,
    api_exec,
    ask,
    at_rest,
    connections,
    get,
    opened,
    proxy_exec,
    refusal_of,
    request,
    run,
    say,
    signed_path,
)

from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.framing.channels import RESIZE, STDIN, STDOUT

pytestmark = pytest.mark.asyncio(loop_scope="module")

TARGET = proxy_exec("true", **PIPES)
PATH = signed_path(TARGET)


@pytest.fixture(scope="module")
def shared_environ():
    """It waits half a second for a request. Each test waits until no connection is left, so none is kept ready."""
    return {"WS_HANDSHAKE_TIMEOUT": "500ms", "READY_CONNECTIONS": "0"}


@pytest.fixture
def daemon(shared_daemon):
    """One for all of these: that is the point."""
    return shared_daemon


@pytest.fixture
def cluster(shared_cluster):
    """Likewise."""
    return shared_cluster


@pytest.fixture(autouse=True)
def lines(shared_lines):
    """What is logged during the test."""
    return shared_lines


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def nothing_is_left_open(shared_daemon, shared_cluster, shared_lines):
    """Descriptors are back, the cluster has no stream, no traceback is in the log, and the next caller is served."""
    before = await at_rest(shared_daemon)
    yield
    await shared_cluster.observed.wait_for(lambda: shared_cluster.observed.open_streams == 0)
    assert await at_rest(shared_daemon) - before == set()
    assert (await run(shared_daemon, TARGET)).exit_code == 0
    await at_rest(shared_daemon)
    assert not any("Traceback" in raw or "exc_info" in raw for raw in shared_daemon.raw_log)
    assert not [line for line in shared_lines.new if line["level"] == "error"]
    assert len(shared_daemon.log) + len(shared_daemon.trail) == len(shared_daemon.raw_log), "every line is JSON"


def head(*lines: str | bytes, target: str | bytes = PATH, method: str = "GET", version: str = "HTTP/1.1") -> bytes:
    """A request's head from its lines."""
    first = b" ".join(part if isinstance(part, bytes) else part.encode() for part in (method, target, version))
    rest = [line if isinstance(line, bytes) else line.encode() for line in lines]
    return b"\r\n".join([first, b"Host: proxy", *rest, b"", b""])


UPGRADE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)

NOT_HTTP = {
    "a header of 100,000 characters": head("X: " + "x" * 100_000),
    "a header name of 100,000 characters": head("x" * 100_000 + ": x"),
    "a header's value with a NUL": head("X: a\0b"),
    "a header without a colon": head("no colon here"),
    "a header with a space before its colon": head("X-Catalyst-HMAC : x"),
    "a header that is folded": head("X: a", " b"),
    "a NUL in the path": head(target=b"/proxy/exec/default/shell\0/shell"),
    "bytes that are not ASCII in the path": head(target="/proxy/exec/default/shéll/shell"),
    "bytes that are not UTF-8 in the path": head(target=b"/proxy/exec/default/\xff\xfe/shell"),
    "a space in the path": head(target="/proxy/exec/default/shell x/shell"),
    "a path of 1,000,000 characters": head(target="/" + "x" * 1_000_000),
    "a query of 1,000,000 characters": head(target=PATH + "?command=" + "x" * 1_000_000),
    "a version that doesn't exist": head(version="HTTP/9.9"),
    "a method that doesn't exist": head(method="G@T"),
    "garbage": bytes(range(128, 256)) * 4 + b"\r\n\r\n",
    "a TLS hello": bytes.fromhex("16030100c8010000c40303") + bytes(200) + b"\r\n\r\n",
    "an SSH greeting": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "a bare frame": frames.frame(frames.BINARY, b"\0x", b"abcd") + b"\r\n\r\n",
    "two lengths": head("Content-Length: 1", "Content-Length: 2"),
    "a negative length": head("Content-Length: -1"),
    "a length and chunks": head("Content-Length: 1", "Transfer-Encoding: chunked"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("data", NOT_HTTP.values(), ids=NOT_HTTP)
async def test_what_is_not_http_is_400(daemon, lines, data):
    answer = await tell(daemon, data)
    assert answer.status == 400
    assert refusal_of(answer, "/")[1] == "malformed_request"
    line = await lines.event("request refused", reason="malformed_request")
    assert line["level"] == "info"
    assert len(json.dumps(line)) < 2000


MALFORMED_WITH_SECRETS = {
    "a space before the colon": head("X-Catalyst-HMAC : c0ffee", "X-Catalyst-Timestamp : c0ffee"),
    "a folded header": head("Authorization: Bearer", " c0ffee"),
    "a NUL in a value": head("Authorization: Bearer c0ffee\0"),
    "a header that is too long": head("Authorization: Bearer c0ffee" + "x" * 100_000),
    "a path that is too long": head(target=PATH + "?command=c0ffee" + "x" * 200_000),
    "a bad length": head("Content-Length: c0ffee"),
}


@pytest.mark.parametrize("data", MALFORMED_WITH_SECRETS.values(), ids=MALFORMED_WITH_SECRETS)
async def test_what_is_not_http_is_not_quoted(daemon, lines, data):
    """A header that can't be parsed may hold a credential, a query what somebody typed."""
    answer = await tell(daemon, data)
    assert answer.status == 400
    assert b"c0ffee" not in answer.body
    line = await lines.event("request refused", reason="malformed_request")
    assert "c0ffee" not in json.dumps(line)
    assert line["detail"]


async def tell(daemon, data):
    """The answer to ``data``, which the daemon may not want to read to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    try:
        writer.write(data)
        return await rawws.read_answer(reader)
    finally:
        writer.transport.abort()


async def test_a_path_of_100_000_characters(daemon, lines):
    for target in ("/" + "x" * 100_000, "/proxy/exec/default/" + "a" * 100_000 + "/shell", "/a" * 50_000):
        answer = await ask(daemon, target, headers={})
        assert answer.status == 404
        assert refusal_of(answer, target)[1] == "bad_path"
    line = await lines.event("request refused")
    assert len(line["path"]) < 300


async def test_a_query_of_100_000_characters(daemon):
    answer = await ask(daemon, f"{PATH}?{'x' * 100_000}", headers={})
    assert answer.status == 401
    async with opened(daemon, f"{TARGET}&{'x' * 100_000}") as ws:
        assert (await ws.finish()).exit_code == 0


@pytest.mark.parametrize("count", [50, 5000], ids=["50 headers", "5000 headers"])
async def test_many_headers(daemon, count):
    answer = await tell(daemon, head(*UPGRADE, *(f"X-{n}: {n}" for n in range(count))))
    assert answer.status in ({401} if count == 50 else {400, 401})


HUGE = "x" * 15_000


@pytest.mark.parametrize("name", ["X-Catalyst-Timestamp", "X-Catalyst-HMAC"])
async def test_an_oversized_credential_is_malformed(daemon, lines, name):
    headers = {**daemon.headers(PATH), name: HUGE}
    answer = await ask(daemon, TARGET, headers=headers)
    assert answer.status == 401
    reason = "malformed_timestamp" if "Time" in name else "malformed_hmac"
    assert refusal_of(answer, TARGET)[1] == reason
    assert HUGE[:100] not in json.dumps(await lines.event("request refused", reason=reason))


@pytest.mark.parametrize("value", ["\udcff\udcfe", "٣" * 64, "🙂", "0" * 63 + "\udc80"])
@pytest.mark.parametrize("name", ["X-Catalyst-Timestamp", "X-Catalyst-HMAC"])
async def test_a_credential_that_is_not_ascii_is_malformed(daemon, name, value):
    signed = {**daemon.headers(PATH), name: value}
    lines = [f"{key}: {text}".encode("utf-8", "surrogateescape") for key, text in signed.items()]
    answer = await tell(daemon, head(*UPGRADE, *lines, target=TARGET))
    assert answer.status == 401
    assert refusal_of(answer, TARGET)[1] == ("malformed_timestamp" if "Time" in name else "malformed_hmac")


@pytest.mark.parametrize("name", ["X-Catalyst-Timestamp", "X-Catalyst-HMAC"])
async def test_a_doubled_credential_is_malformed_even_if_both_are_right(daemon, name):
    signed = daemon.headers(PATH)
    lines = [f"{key}: {value}" for key, value in [*signed.items(), (name.lower(), signed[name])]]
    answer = await tell(daemon, head(*UPGRADE, *lines, target=TARGET))
    assert refusal_of(answer, TARGET)[1] == ("malformed_timestamp" if "Time" in name else "malformed_hmac")


BAD_HANDSHAKES = {
    "no key": ("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", None, 400, "bad_handshake"),
    "a short key": ("AAAAAAAAAAAAAAAAAAAAAA==", "AAAA", 400, "bad_handshake"),
    "a key that isn't base64": ("AAAAAAAAAAAAAAAAAAAAAA==", "!" * 24, 400, "bad_handshake"),
    "two keys": ("AAAAAAAAAAAAAAAAAAAAAA==", "AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Key: x", 400, "bad_handshake"),
    "no version": ("Sec-WebSocket-Version: 13", None, 426, "upgrade_required"),
    "version 14": ("Version: 13", "Version: 14", 426, "upgrade_required"),
    "no Upgrade": ("Upgrade: websocket", None, 426, "upgrade_required"),
    "another Upgrade": ("Upgrade: websocket", "Upgrade: h2c", 426, "upgrade_required"),
    "no Connection": ("Connection: Upgrade", None, 426, "upgrade_required"),
    "Connection: close": ("Connection: Upgrade", "Connection: close", 426, "upgrade_required"),
    "a body": ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 13\r\nContent-Length: 3", 400, "bad_handshake"),
    "chunks": ("Version: 13", "Version: 13\r\nTransfer-Encoding: chunked", 400, "bad_handshake"),
    "a length of twice nothing": ("Version: 13", "Version: 13\r\ncontent-length: 00", 400, "bad_handshake"),
    "a coding that isn't one": ("Version: 13", "Version: 13\r\nTransfer-Encoding: identity", 400, "bad_handshake"),
    "Expect": ("Version: 13", "Version: 13\r\nExpect: 100-continue", 400, "bad_handshake"),
    "Expect beside a length of nothing": (
        "Version: 13",
        "Version: 13\r\nContent-Length: 0\r\nExpect: 100-continue",
        400,
        "bad_handshake",
    ),
    "Expect of something else": ("Version: 13", "Version: 13\r\nExpect: junk", 400, "bad_handshake"),
    "HTTP/1.0": ("HTTP/1.1", "HTTP/1.0", 400, "bad_handshake"),
    "POST": ("GET /", "POST /", 405, "method_not_allowed"),
    "only v3": ("Host: proxy", "Host: proxy\r\nSec-WebSocket-Protocol: v3.channel.k8s.io", 400, "unknown_subprotocol"),
}


@pytest.mark.parametrize("target", [TARGET, api_exec("true", stdout="true")], ids=["/proxy", "/api"])
@pytest.mark.parametrize(("old", "new", "status", "reason"), BAD_HANDSHAKES.values(), ids=BAD_HANDSHAKES)
async def test_bad_handshake(daemon, lines, cluster, target, old, new, status, reason):
    signed = [f"{name}: {value}" for name, value in daemon.headers(signed_path(target)).items()]
    data = head(*UPGRADE, *signed, target=target).decode()
    data = data.replace(f"{old}\r\n", "", 1) if new is None else data.replace(old, new, 1)
    before = cluster.observed.open_streams
    answer = await tell(daemon, data.encode())
    assert answer.status == status
    assert refusal_of(answer, target)[1] == reason
    assert (await lines.event("request refused"))["reason"] == reason
    assert cluster.observed.open_streams == before


PARTS = {
    "nothing of the line": b"G",
    "the line": f"GET {PATH} HTTP/1.1\r\n".encode(),
    "half a header": f"GET {PATH} HTTP/1.1\r\nHost: proxy\r\nX-Catal".encode(),
    "all but the last line end": head(*UPGRADE)[:-2],
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
async def test_a_request_that_stops_half_way_is_408(daemon, lines, part):
    answer = await tell(daemon, part)
    assert answer.status == 408
    assert answer.headers["connection"] == "close"
    assert json.loads(answer.body)["reason"] == "request_timeout"
    line = await lines.event("request refused")
    assert (line["level"], line["reason"]) == ("info", "request_timeout")


async def test_a_request_in_drops_counts_from_its_first_byte(daemon, lines):
    """Each drop comes well within the time-out, their sum doesn't."""
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    answering = asyncio.get_running_loop().create_task(rawws.read_answer(reader))
    for octet in head("X: " + "x" * 100_000):
        writer.write(bytes((octet,)))
        await asyncio.wait([answering], timeout=0.01)
        if answering.done():
            break
    writer.transport.abort()
    assert (await answering).status == 408
    await lines.event("request refused", reason="request_timeout")


@pytest.mark.parametrize("part", [b"", *PARTS.values()], ids=["nothing", *PARTS])
@pytest.mark.parametrize("how", ["end", "reset"])
async def test_a_client_that_goes_before_its_request_is_whole(daemon, part, how):
    _, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    writer.write(part)
    await writer.drain()
    await leave(writer, how)


async def leave(writer, how):
    if how == "reset":
        writer.get_extra_info("socket").setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER: on, 0 s
        writer.transport.abort()
    else:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize("target", [TARGET, api_exec("true", container="shell")], ids=["/proxy", "/api"])
async def test_a_client_that_vanishes_between_request_and_101(daemon, cluster, lines, target, how):
    cluster.faults.hang()
    before = len(cluster.observed.seen)
    _, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    writer.write(request(daemon, target))
    await cluster.observed.wait_for(lambda: any("/exec" in seen.target for seen in cluster.observed.seen[before:]))
    await leave(writer, how)
    line = await lines.event("client left before the session opened")
    assert line["level"] == "info"
    assert line["pod"] == "shell"


async def test_a_client_that_talks_before_the_101(daemon):
    """What it sends is kept, and arrives."""
    target = proxy_exec("sh", "-c", "read a; read b; echo $a-$b", **PIPES)
    early = b"".join(frames.frame(frames.BINARY, b"\0" + data, os.urandom(4)) for data in (b"one\n", b"two\n"))
    async with rawws.connected(daemon.port, request(daemon, target) + early) as ws:
        assert (await ws.finish()).text(STDOUT) == "one-two\n"


NO_BODY = {"Content-Length": "0"}


@pytest.mark.parametrize(
    "target",
    [
        proxy_exec("sh", "-c", "read a; echo $a", **PIPES),
        api_exec("sh", "-c", "read a; echo $a", container="shell", stdin="true", stdout="true"),
    ],
    ids=["/proxy", "/api"],
)
async def test_who_says_that_there_is_no_body_may_talk_before_the_101_too(daemon, target):
    """As java.net.http's WebSocket says before JDK 19; what comes behind the head is WebSocket (RFC 9110 §8.6)."""
    headers = {**daemon.headers(signed_path(target)), **NO_BODY}
    early = frames.frame(frames.BINARY, b"\0early\n", os.urandom(4))
    async with rawws.connected(daemon.port, rawws.request(target, headers) + early) as ws:
        assert (await ws.finish()).text(STDOUT) == "early\n"


@pytest.mark.parametrize(
    "target",
    [
        "/proxy/attach/default/shell/shell?tty=true",
        "/proxy/logs/default/shell/shell?follow=false",
        "/api/v1/namespaces/default/pods/shell/log",
        "/proxy/portforward/default/web?ports=8080",
        "/api/v1/namespaces/default/pods/web/portforward?ports=8080",
    ],
)
async def test_whoever_asks_for_an_upgrade_may_say_that_there_is_no_body(daemon, target):
    data = rawws.request(target, {**daemon.headers(signed_path(target)), **NO_BODY}, subprotocols=())
    async with rawws.connected(daemon.port, data) as ws:
        assert ws.answer.status == 101


async def test_a_client_that_talks_a_lot_before_the_101(daemon, cluster):
    """It is held back rather than put by, and arrives all the same."""
    data = os.urandom(1_500_000)
    target = proxy_exec("sh", "-c", f"head -c {len(data)} | cksum", **PIPES)
    early = b"".join(
        frames.frame(frames.BINARY, b"\0" + data[start : start + 30_000], os.urandom(4))
        for start in range(0, len(data), 30_000)
    )
    wanted = (await run_with_stdin(daemon, target, data)).text(STDOUT)
    async with rawws.connected(daemon.port, request(daemon, target) + early) as ws:
        assert (await ws.finish()).text(STDOUT) == wanted


async def run_with_stdin(daemon, target, data):
    async with opened(daemon, target) as ws:
        await ws.send(STDIN, data)
        return await ws.finish()


async def test_two_requests_in_one_write_are_one_session(daemon):
    """What comes after an upgrade is WebSocket: a second request is a violation."""
    data = request(daemon, proxy_exec("cat", **PIPES))
    async with rawws.connected(daemon.port, data + data) as ws:
        assert ws.answer.status == 101
        assert (await ws.finish()).code == frames.PROTOCOL_ERROR


async def test_a_request_after_a_refusal_is_not_answered(daemon):
    async with rawws.connected(daemon.port, head(target="/nope") * 2) as ws:
        assert ws.answer.status == 404
        assert await ws.reader.read() == b""


async def test_a_client_that_says_nothing_is_no_session(daemon, lines):
    """It costs a descriptor and nothing else; the next ones are served."""
    async with contextlib.AsyncExitStack() as stack:
        idle = [await asyncio.open_connection("127.0.0.1", daemon.port) for _ in range(50)]
        for _, writer in idle:
            stack.callback(writer.transport.abort)
        assert (await run(daemon, TARGET)).exit_code == 0
        assert len(connections(daemon)) >= 50


async def test_bad_frames_of_every_kind_leave_nothing_behind(daemon, cluster):
    for opcode in range(16):
        async with opened(daemon, proxy_exec("cat", **PIPES)) as ws:
            await ws.send_raw(bytes((0x80 | opcode, 0xFE)) + os.urandom(600))
            ws.writer.write_eof()
            ended = await ws.finish(reply=False)
            assert ended.code in {None, 1000, 1002, 1005, 1007, 1009, 1011}


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"[]", b"null", b"\xff", b'{"Width":-1,"Height":99999999}', b"[" * 4000, b'{"Width":"x"}']
)
async def test_a_resize_that_can_not_be_read_is_the_apiservers_affair(daemon, payload):
    async with opened(daemon, proxy_exec("sh", "-c", "read x; echo $x", tty="true")) as ws:
        await ws.send(RESIZE, payload)
        await ws.send(STDIN, b"alive\n")
        ended = await ws.finish()
    assert ended.text(STDOUT).endswith("alive\r\nalive\r\n")
    assert ended.exit_code == 0


@pytest.mark.parametrize("channel", [1, 2, 3, 5, 100, 254])
async def test_an_unknown_channel_is_the_apiservers_affair(daemon, channel):
    async with opened(daemon, proxy_exec("sh", "-c", "read x; echo $x", **PIPES)) as ws:
        await ws.send(channel, b"what is this")
        await ws.send_frame(frames.BINARY, b"")
        await ws.send_frame(frames.TEXT, b"\0")
        await ws.send(STDIN, b"alive\n")
        ended = await ws.finish()
    assert (ended.text(STDOUT), ended.exit_code) == ("alive\n", 0)


async def test_a_probe_that_is_odd(daemon):
    assert (await say(daemon, head(target="/healthz", method="POST"))).status == 405
    assert (await say(daemon, head(target="/healthz?x=y"))).status == 200
    assert (await say(daemon, head(target="/healthz", version="HTTP/1.0"))).status == 200
    assert (await get(daemon, "/healthz")).status == 200
