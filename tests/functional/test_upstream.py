"""An apiserver that no cluster would be: it falls silent, pings, cuts its messages, breaks the protocol."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
import yaml
from support.answers import API, PROXY
from support.caller import ask, at_rest, end_stdin, on_terminal, opened, proxy_exec, run

from k8s_ws_proxy.wire.framing import channels, frames
from k8s_ws_proxy.wire.framing.channels import STATUS, STDIN, STDOUT
from k8s_ws_proxy.wire.http.handshake import accept_value

SUCCESS = frames.frame(frames.BINARY, b'\3{"metadata":{},"status":"Success"}')
CLOSE = frames.frame(frames.CLOSE, frames.close_payload(frames.NORMAL))


class Upstream:
    """A TLS server that answers ``/version``, upgrades the rest, and leaves the rest to the test.

    Of each session ``opened`` holds reader and writer after the 101; ``head`` may be set to another answer, or to
    what makes one of the right accept value.
    """

    def __init__(self):
        self.opened = asyncio.Queue()
        self.requests = []
        self.head = None
        self._writers = []

    async def serve(self, reader, writer):
        """One connection."""
        self._writers.append(writer)
        try:
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        if "/version" in request.partition("\r\n")[0]:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
            writer.close()
            return
        key = request.partition("Sec-WebSocket-Key: ")[2].partition("\r\n")[0]
        head = self.head(accept_value(key)) if callable(self.head) else self.head
        writer.write(head or switching(accept_value(key)))
        self.requests.append(request.partition("\r\n")[0])
        self.opened.put_nowait((reader, writer))

    def stop(self):
        """Close what is open."""
        for writer in self._writers:
            writer.transport.abort()


def switching(accept, subprotocol=channels.V5, *more):
    """A 101."""
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept}",
        f"Sec-WebSocket-Protocol: {subprotocol}",
        *more,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.fixture
async def upstream(cluster, kubeconfig):
    """In the cluster's place, with the cluster's certificate."""
    running = Upstream()
    context = cluster._running.credentials.server_context()
    server = await asyncio.start_server(running.serve, "127.0.0.1", 0, ssl=context)
    document = yaml.safe_load(kubeconfig.read_text())
    document["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    kubeconfig.write_text(yaml.safe_dump(document))
    yield running
    server.close()
    running.stop()


@pytest.fixture
async def daemon(upstream, start):
    """Before that upstream, which starts nothing that could be hung up, with a short ping period."""
    return await start(WS_PING_PERIOD="200ms", REAP_ORPHANS="false")


async def client_frame(reader):
    """Opcode and unmasked payload of the next frame that the proxy sent, which has to be masked."""
    first, second = await reader.readexactly(2)
    assert first & 0x80, "a fragment"
    assert second & 0x80, "unmasked"
    length = second & 0x7F
    if length == 126:
        length = int.from_bytes(await reader.readexactly(2), "big")
    elif length == 127:
        length = int.from_bytes(await reader.readexactly(8), "big")
    key = await reader.readexactly(4)
    return first & 0x0F, frames.mask(await reader.readexactly(length), key)


@contextlib.asynccontextmanager
async def both_ends(daemon, upstream, target=None):
    """A session: the client, and upstream's reader and writer."""
    async with opened(daemon, target or on_terminal("whatever")) as ws:
        yield ws, *(await upstream.opened.get())


async def test_an_upstream_that_falls_silent_is_noticed(daemon, upstream):
    """It reads, and says nothing any more: not to a ping either. The client answers its own."""
    async with both_ends(daemon, upstream) as (ws, reader, writer):
        writer.write(frames.frame(frames.BINARY, b"\1last words"))
        ended = await ws.finish()
        assert ended.text(STDOUT) == "last words"
        assert ended.status["status"] == "Failure"
        assert (ended.exit_code, ended.code) == (None, frames.INTERNAL_ERROR)
        line = await daemon.event("session ended")
        assert (line["level"], line["reason"]) == ("warning", "upstream_silent")
        sent = [await client_frame(reader) for _ in range(2)]
        assert [opcode for opcode, _ in sent] == [frames.PING, frames.CLOSE]
        assert await reader.read() == b""


@pytest.mark.parametrize("first", [b"", b"who are you? "])
async def test_one_that_never_says_which_process_it_is_is_no_reason_to_wait_for_it(start, upstream, first):
    """It says nothing, or something else: then it isn't the shell that was started, but whatever comes is passed on."""
    daemon = await start()
    async with opened(daemon, on_terminal("whatever")) as ws:
        reader, writer = await upstream.opened.get()
        if first:
            writer.write(frames.frame(frames.BINARY, b"\1" + first))
        assert (await daemon.event("a command didn't say which process it is: it can't be hung up"))["pod"] == "shell"
        await ws.send(STDIN, b"hello")
        while (sent := await client_frame(reader))[0] == frames.PING:
            pass
        writer.write(frames.frame(frames.BINARY, b"\1" + sent[1][1:]) + SUCCESS + CLOSE)
        ended = await ws.finish()
        assert (ended.text(STDOUT), ended.code) == ((first + b"hello").decode(), frames.NORMAL)
    (request,) = upstream.requests
    assert "exec?command=sh&command=-c&command=whatever&" not in request, "started by a shell of ours"


async def test_an_upstream_that_answers_pings_stays(daemon, upstream):
    async with both_ends(daemon, upstream) as (ws, reader, writer):
        finishing = asyncio.get_running_loop().create_task(ws.finish())
        for _ in range(10):
            opcode, payload = await client_frame(reader)
            assert opcode == frames.PING, "neither a pong of the client's nor anything else goes upstream"
            writer.write(frames.frame(frames.PONG, payload))
        writer.write(SUCCESS + CLOSE)
        ended = await finishing
    assert (ended.output.keys(), ended.exit_code, ended.code) == ({STATUS}, 0, frames.NORMAL)


async def test_any_byte_from_upstream_counts_as_life(daemon, upstream):
    async with both_ends(daemon, upstream) as (ws, reader, writer):
        finishing = asyncio.get_running_loop().create_task(ws.finish())
        pings = 0
        while pings < 10:
            writer.write(frames.frame(frames.BINARY, b"\1x"))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.02):
                    opcode, _ = await client_frame(reader)
                    assert opcode == frames.PING
                    pings += 1
        writer.write(SUCCESS + CLOSE)
        assert (await finishing).code == frames.NORMAL


async def test_upstreams_pings_are_answered_and_not_passed_on(daemon, upstream):
    async with both_ends(daemon, upstream) as (ws, reader, writer):
        writer.write(frames.frame(frames.PING, b"are you there") + frames.frame(frames.PONG, b"unsolicited"))
        while (sent := await client_frame(reader))[0] == frames.PING:
            pass
        assert sent == (frames.PONG, b"are you there")
        writer.write(SUCCESS + CLOSE)
        seen = []
        while (frame := await ws.frame()) is not None:
            seen.append(frame)
    assert [frame.opcode for frame in seen if frame.payload != b"k8s-ws-proxy"] == [frames.BINARY, frames.CLOSE]


async def test_what_upstream_cuts_in_fragments_reaches_the_client_in_whole_messages(daemon, upstream):
    async with both_ends(daemon, upstream) as (ws, _, writer):
        for cut in (b"\x02\x03\1ab", b"\x00\x02cd", b"\x89\x01p", b"\x00\x00", b"\x80\x02ef"):
            writer.write(cut)
        writer.write(b"\x02\x09" + b'\3{"status' + b"\x80\x0c" + b'":"Success"}' + CLOSE)
        output, status = b"", b""
        while (frame := await ws.frame()) is not None and frame.opcode != frames.CLOSE:
            assert frame.fin
            assert frame.opcode != frames.CONTINUATION
            output += frame.payload[1:] if frame.payload[:1] == b"\1" else b""
            status += frame.payload[1:] if frame.payload[:1] == b"\3" else b""
    assert output == b"abcdef"
    assert status == b'{"status":"Success"}'


@pytest.mark.parametrize(
    "raw",
    [
        frames.frame(frames.BINARY, b"\1masked", b"abcd"),
        b"\xc2\x02\1x",
        b"\x83\x02\1x",
        b"\x80\x02\1x",
        b"\x82\x7e\x00\x02\1x",
        b"\x09\x01x",
    ],
    ids=["masked", "RSV1", "opcode 3", "a continuation of nothing", "a long length", "a fragmented ping"],
)
async def test_an_upstream_that_breaks_the_protocol(daemon, upstream, raw):
    async with both_ends(daemon, upstream) as (ws, _, writer):
        writer.write(frames.frame(frames.BINARY, b"\1good") + raw + frames.frame(frames.BINARY, b"\1after"))
        ended = await ws.finish()
    assert ended.text(STDOUT) == "good"
    assert ended.status["status"] == "Failure"
    assert (ended.exit_code, ended.code) == (None, frames.INTERNAL_ERROR)
    line = await daemon.event("session ended")
    assert (line["level"], line["reason"]) == ("warning", "upstream_broke_protocol")


async def test_a_close_without_a_status_is_a_failure(daemon, upstream):
    async with both_ends(daemon, upstream) as (ws, _, writer):
        writer.write(frames.frame(frames.BINARY, b"\1out") + CLOSE)
        ended = await ws.finish()
    assert ended.text(STDOUT) == "out"
    assert ended.status["status"] == "Failure"
    assert ended.code == frames.INTERNAL_ERROR


async def test_a_status_without_a_close_counts_after_a_grace(daemon, upstream):
    """The status has been said: the session ends with it, though upstream lingers."""
    async with both_ends(daemon, upstream) as (ws, reader, writer):
        writer.write(frames.frame(frames.BINARY, b"\1out") + SUCCESS)
        finishing = asyncio.get_running_loop().create_task(ws.finish())
        while (sent := await client_frame(reader))[0] == frames.PING:
            writer.write(frames.frame(frames.PONG, sent[1]))
        assert sent == (frames.CLOSE, frames.close_payload(frames.NORMAL))
        ended = await finishing
    assert (ended.text(STDOUT), ended.exit_code, ended.code) == ("out", 0, frames.NORMAL)


async def test_the_end_of_stdin_and_every_channel_pass_unchanged(daemon, upstream):
    async with both_ends(daemon, upstream, proxy_exec("cat", tty="false")) as (ws, reader, writer):
        await ws.send(STDIN, b"bytes \xff\xfe\0")
        await ws.send(4, b'{"Width":1,"Height":2}')
        await ws.send(77, b"unknown")
        await end_stdin(ws)
        seen = []
        while len(seen) < 4:
            opcode, payload = await client_frame(reader)
            if opcode == frames.BINARY:
                seen.append(payload)
        writer.write(SUCCESS + CLOSE)
        await ws.finish()
    assert seen == [b"\0bytes \xff\xfe\0", b'\4{"Width":1,"Height":2}', b"\x4dunknown", b"\xff\0"]


NO_HANDSHAKE = {
    "not HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
    "a wrong accept key": switching("AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    "an extension nobody asked for": lambda accept: switching(
        accept, channels.V5, "Sec-WebSocket-Extensions: permessage-deflate"
    ),
    "a subprotocol nobody offered": lambda accept: switching(accept, "v9.channel.k8s.io"),
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\nConnection: Upgrade\r\n\r\n",
    "a head without an end": b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"x" * 200_000,
}


@pytest.mark.parametrize("target", [PROXY, API], ids=["/proxy", "/api"])
@pytest.mark.parametrize("head", NO_HANDSHAKE.values(), ids=NO_HANDSHAKE)
async def test_an_answer_that_is_no_handshake(daemon, upstream, target, head):
    upstream.head = head
    if target is PROXY:
        ended = await run(daemon, target)
        assert ended.status["status"] == "Failure"
        assert ended.status["code"] == 502
        assert ended.code == frames.INTERNAL_ERROR
    else:
        answer = await ask(daemon, target)
        assert answer.status == 502
        assert json.loads(answer.body)["details"]["causes"][0]["reason"] == "upstream_protocol"
    line = await daemon.event("session failed")
    assert (line["level"], line["reason"]) == ("warning", "upstream_protocol")
    await at_rest(daemon)
    upstream.head = None
    upstream.opened.get_nowait()
    async with both_ends(daemon, upstream) as (ws, _, writer):
        writer.write(SUCCESS + CLOSE)
        assert (await ws.finish()).exit_code == 0


async def test_bytes_that_come_with_the_101_are_kept(daemon, upstream):
    async with opened(daemon, PROXY) as ws:
        _, writer = await upstream.opened.get()
        writer.write(b"".join(frames.frame(frames.BINARY, b"\1%d\n" % n) for n in range(5000)) + SUCCESS + CLOSE)
        ended = await ws.finish()
    assert ended.text(STDOUT) == "".join(f"{n}\n" for n in range(5000))
    assert ended.exit_code == 0
