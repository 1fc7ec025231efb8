"""Port-forward through the proxy: bytes by hash, both paths, and each way it ends."""

from __future__ import annotations

import asyncio
import hashlib
import json

import pytest
from support.answers import failed, refused
from support.caller import V4, V5, Lines, ask, at_rest, close, memory, opened, refusal_of, reset_peak
from support.podport import chunks, digest, listening, reset

from k8s_ws_proxy.devcluster import Death
from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.framing.channels import STATUS, TUNNEL

BEGIN = b"\x90\x1f"  # 8080, low byte first


def proxy(query="ports=8080", pod="web"):
    return f"/proxy/portforward/default/{pod}" + (f"?{query}" if query else "")


def api(query="ports=8080", pod="web"):
    return f"/api/v1/namespaces/default/pods/{pod}/portforward" + (f"?{query}" if query else "")


DIALECTS = pytest.mark.parametrize("path", [proxy, api], ids=["/proxy", "/api"])


@pytest.fixture
async def pod_port(cluster):
    async with listening() as running:
        cluster.open_port("default", "web", 8080, running.port)
        yield running


def forward(daemon, target, *, subprotocols=(V4,)):
    return opened(daemon, target, subprotocols=subprotocols)


async def begun(ws, ports=1):
    """Read what each channel begins with."""
    return [(await ws.frame()).payload for _ in range(2 * ports)]


@DIALECTS
async def test_100_mb_by_hash_to_the_pod(daemon, pod_port, path):
    size = 100 << 20
    async with forward(daemon, path()) as ws:
        assert ws.answer.headers["sec-websocket-protocol"] == V4
        await ws.send(0, b"SINK %d\n" % size)
        for chunk in chunks(size):
            await ws.send(0, chunk)
        ended = await ws.finish()
    assert ended.output == {0: BEGIN + digest(size).encode() + b"\n", 1: BEGIN}
    assert (ended.code, ended.reason) == (frames.NORMAL, "")


@DIALECTS
async def test_100_mb_by_hash_from_the_pod(daemon, pod_port, path):
    size = 100 << 20
    async with forward(daemon, path()) as ws:
        await ws.send(0, b"SOURCE %d\n" % size)
        ended = await ws.finish()
    assert hashlib.sha256(ended.output[0][2:]).hexdigest() == digest(size)
    assert ended.code == frames.NORMAL


async def test_both_ways_at_once(daemon, pod_port):
    size = 20 << 20
    async with forward(daemon, proxy()) as ws:
        await ws.send(0, b"ECHO\n")
        await begun(ws)

        async def send():
            for chunk in chunks(size):
                await ws.send(0, chunk)

        found = hashlib.sha256()

        async def receive():
            left = size
            while left:
                payload = (await ws.frame()).payload
                found.update(payload[1:])
                left -= len(payload) - 1

        await asyncio.gather(send(), receive())
        assert found.hexdigest() == digest(size)


async def test_no_subprotocol_offered(daemon, pod_port, dials):
    async with forward(daemon, proxy(), subprotocols=()) as ws:
        assert "sec-websocket-protocol" not in ws.answer.headers
        assert await begun(ws) == [b"\0" + BEGIN, b"\1" + BEGIN]
        await close(ws)
        await ws.finish()


async def test_several_ports_each_with_its_channels(daemon, cluster, pod_port):
    async with listening() as other:
        cluster.open_port("default", "web", 443, other.port)
        async with forward(daemon, proxy("ports=443&ports=8080,81")) as ws:
            await ws.send(0, b"SOURCE 65536\n")
            await ws.send(2, b"SOURCE 131072\n")
            ended = await ws.finish()
    assert ended.output[0] == b"\xbb\x01" + b"".join(chunks(65_536))
    assert ended.output[2] == BEGIN + b"".join(chunks(131_072))
    assert ended.output[5].startswith(b"\x51\x00error forwarding port 81 to pod")
    assert ended.output.keys() == {0, 1, 2, 3, 4, 5}
    assert ended.code == frames.NORMAL


async def test_what_goes_upstream(cluster, daemon, dials, pod_port):
    async with forward(daemon, proxy("ports=8080,081"), subprotocols=(V5, V4, TUNNEL)) as ws:
        assert ws.answer.headers["sec-websocket-protocol"] == V4
        await close(ws)
        await ws.finish()
    assert dials() == [api("ports=8080&ports=81")]
    assert cluster.observed.seen[-1].offered == (V4,)


@DIALECTS
@pytest.mark.parametrize("offer", [(TUNNEL,), (TUNNEL, V4)])
async def test_the_tunnel_is_offered_and_passed_through(cluster, daemon, dials, path, offer):
    async with forward(daemon, path(""), subprotocols=offer) as ws:
        assert ws.answer.headers["sec-websocket-protocol"] == TUNNEL
        ping = b"\x80\x03\x00\x06\x00\x00\x00\x04\x00\x00\x00\x01"  # SPDY's own, in three messages, one in fragments
        await ws.send_frame(frames.BINARY, ping[:3])
        await ws.send_frame(frames.BINARY, ping[3:5], fin=False)
        await ws.send_frame(frames.CONTINUATION, ping[5:8])
        await ws.send_frame(frames.BINARY, ping[8:])
        assert (await ws.frame()).payload == ping
        await close(ws)
        await ws.finish()
    assert dials() == [api("")]
    assert cluster.observed.seen[-1].offered == (TUNNEL,)


@pytest.mark.parametrize(
    ("target", "offer", "spoken"),
    [
        (proxy(), (V5,), [V4, TUNNEL]),
        (api(), ("SPDY/3.1", "channel.k8s.io"), [V4, TUNNEL]),
        ("/proxy/exec/default/web/web?command=true", (TUNNEL,), [V5, V4]),
        (api().replace("portforward?ports=8080", "exec?command=true&stdout=true"), (TUNNEL,), [V5, V4]),
    ],
)
async def test_a_subprotocol_of_another_route(daemon, lines, target, offer, spoken, dials):
    answer = await ask(daemon, target, subprotocols=offer)
    text = await refused(lines, target, answer, status=400, reason="unknown_subprotocol", level="info")
    assert text.endswith(f": {', '.join(spoken)}.")
    assert dials() == []


@DIALECTS
@pytest.mark.parametrize("query", ["", "ports=", "ports=0", "ports=65536", "ports=http", "ports=80,80"])
async def test_bad_ports(daemon, lines, path, query, dials):
    answer = await ask(daemon, path(query), subprotocols=(V4,))
    await refused(lines, path(query), answer, status=400, reason="bad_query", level="info")
    assert dials() == []


async def test_nothing_listens_in_the_pod(daemon, lines):
    async with forward(daemon, proxy("ports=81")) as ws:
        ended = await ws.finish()
    assert b"dial tcp4 127.0.0.1:81: connect: connection refused" in ended.output[1]
    assert (ended.code, ended.reason) == (frames.NORMAL, "")
    assert (await lines.event("session ended"))["reason"] == "forward_ended"


async def test_the_log_lines(daemon, lines, pod_port):
    async with forward(daemon, proxy()) as ws:
        await begun(ws)
        await ws.send(0, b"SOURCE 65536\n")
        await ws.finish()
    opened_, ended = await lines.event("session opened"), await lines.event("session ended")
    for line in (opened_, ended):
        assert (line["subresource"], line["ports"], line["pod"]) == ("portforward", [8080], "web")
        assert not {"container", "tty", "command", "exit_code"} & line.keys()
    assert (ended["reason"], ended["close_code"]) == ("forward_ended", frames.NORMAL)
    assert ended["bytes_out"] > 65_536


@DIALECTS
async def test_no_such_pod(daemon, lines, path):
    if path is proxy:
        async with forward(daemon, path(pod="nope")) as ws:
            ended = await ws.finish()
        assert ended.output.keys() == {1, STATUS}
        assert ended.output[1] == BEGIN + b'pods "nope" not found'
        assert (ended.status["code"], ended.status["message"]) == (404, 'pods "nope" not found')
        assert (ended.code, ended.reason) == (frames.INTERNAL_ERROR, 'pods "nope" not found')
    else:
        answer = await ask(daemon, path(pod="nope"), subprotocols=(V4,))
        assert (answer.status, json.loads(answer.body)["message"]) == (404, 'pods "nope" not found')
    await failed(lines, "upstream_refused")


async def test_no_such_pod_in_a_tunnel(daemon):
    async with forward(daemon, proxy("", pod="nope"), subprotocols=(TUNNEL,)) as ws:
        ended = await ws.finish()
    assert (ended.output, ended.code, ended.reason) == ({}, frames.INTERNAL_ERROR, 'pods "nope" not found')


async def test_an_apiserver_that_does_not_know_the_tunnel(cluster, daemon):
    """Before 1.30 it is the kubelet that is asked, and that answers 403 and nothing."""
    cluster.faults.refuse(403, content_type="text/plain")
    answer = await ask(daemon, api(""), subprotocols=(TUNNEL,))
    assert answer.status == 403


@pytest.mark.parametrize("offer", [V4, TUNNEL])
@pytest.mark.parametrize("how", list(Death), ids=lambda how: how.name)
async def test_upstream_dies(cluster, daemon, lines, how, offer):
    before = await at_rest(daemon)
    cluster.faults.die_after(0, how)
    async with forward(daemon, proxy(), subprotocols=(offer,)) as ws:
        ended = await ws.finish()
    assert ended.output == {}
    assert (ended.code, ended.reason) == (frames.INTERNAL_ERROR, "The connection to the apiserver was lost.")
    assert (await lines.event("session ended"))["reason"] == "upstream_lost"
    assert await at_rest(daemon) == before


async def test_upstream_dies_in_the_middle(cluster, daemon, pod_port):
    cluster.faults.die_after(1 << 20, Death.EOF)
    async with forward(daemon, proxy()) as ws:
        await ws.send(0, b"SOURCE %d\n" % (4 << 20))
        ended = await ws.finish()
    data = ended.output[0][2:]
    assert 900_000 < len(data) < 1 << 20
    assert b"".join(chunks(1 << 20)).startswith(data)
    assert ended.code == frames.INTERNAL_ERROR


@pytest.mark.parametrize("leave", ["reset", "half-close", "close frame"])
async def test_the_client_leaves(cluster, start, pod_port, leave):
    daemon = await start(MAX_SESSIONS="1")
    before = await at_rest(daemon)
    async with forward(daemon, proxy()) as ws:
        await ws.send(0, b"HOLD\n")
        await pod_port.have(1)
        match leave:
            case "reset":
                reset(ws.writer)
            case "half-close":
                ws.writer.write_eof()
            case _:
                await close(ws)
        line = await daemon.event("session ended")
        await pod_port.have(0)
    assert line["reason"] == "client_left"
    assert await at_rest(daemon) == before
    async with forward(daemon, proxy()) as ws:
        await close(ws)


@pytest.mark.slow
async def test_a_reader_that_stops_holds_the_pod_back(start, pod_port):
    """While another session sees four pings go by, what there is no room for stays with the pod."""
    daemon = await start(WS_PING_PERIOD="1s")
    size = 256 << 20
    async with forward(daemon, proxy()) as other, forward(daemon, proxy()) as ws:
        await begun(other)
        reset_peak(daemon)
        before = memory(daemon, "VmRSS")
        await ws.send(0, b"SOURCE %d\n" % size)
        ws.writer.transport.pause_reading()
        for _ in range(4):
            ping = await other.frame()
            assert ping.opcode == frames.PING
            await other.send_frame(frames.PONG, ping.payload)
        held = memory(daemon) - before
        assert pod_port.open == 2, "the pod isn't done"
        ws.writer.transport.resume_reading()
        ended = await ws.finish()
        await close(other)
    assert hashlib.sha256(ended.output[0][2:]).hexdigest() == digest(size)
    assert held < 4 << 20


async def test_shutting_down(start, pod_port):
    daemon = await start(DRAIN_TIMEOUT="0s")
    async with forward(daemon, proxy()) as ws, forward(daemon, proxy(""), subprotocols=(TUNNEL,)) as tunnel:
        await begun(ws)
        await ws.send(0, b"HOLD\n")
        await pod_port.have(1)
        daemon.process.terminate()
        ended = await ws.finish(), await tunnel.finish()
    for one in ended:
        assert (one.output, one.code) == ({}, frames.GOING_AWAY)
        assert one.reason == "the proxy on this node is shutting down"
    assert await daemon.wait() == 0


async def test_pings_and_a_silent_client(start, pod_port):
    daemon = await start(WS_PING_PERIOD="1s")
    async with forward(daemon, proxy()) as ws:
        await begun(ws)
        assert (await ws.frame()).opcode == frames.PING
        line = await daemon.event("session ended")
    assert line["reason"] == "client_silent"


async def test_an_alias(start, pod_port):
    daemon = await start(POD_ALIAS_LABEL="app")
    async with forward(daemon, proxy()) as ws:
        assert await begun(ws) == [b"\0" + BEGIN, b"\1" + BEGIN]
        await close(ws)
    target = proxy(pod="nothing")
    answer = await ask(daemon, target, subprotocols=(V4,))
    assert (answer.status, refusal_of(answer, target)[1]) == (404, "no_running_pod")


@DIALECTS
async def test_switched_off(start, path, dials):
    daemon = await start(ALLOWED_SUBRESOURCES="exec,attach,log")
    lines = Lines(daemon)
    answer = await ask(daemon, path(), subprotocols=(V4,))
    await refused(lines, path(), answer, status=403, reason="subresource_denied", level="warning")
    assert dials() == []


@DIALECTS
async def test_ports_that_are_not_allowed(start, pod_port, path, dials):
    daemon = await start(ALLOWED_PORTS="8000-8099,443")
    lines = Lines(daemon)
    target = path("ports=8080,22,443,8100")
    answer = await ask(daemon, target, subprotocols=(V4,))
    text = await refused(lines, target, answer, status=403, reason="port_denied", level="warning")
    assert text == "Not among the ports that this proxy may forward (ALLOWED_PORTS): 22, 8100."
    assert dials() == []
    async with forward(daemon, path()) as ws:
        assert await begun(ws) == [b"\0" + BEGIN, b"\1" + BEGIN]
        await close(ws)


@DIALECTS
async def test_a_tunnel_does_not_show_its_ports(start, path, dials):
    daemon = await start(ALLOWED_PORTS="1-65535")
    lines = Lines(daemon)
    for target in (path(""), path()):
        answer = await ask(daemon, target, subprotocols=(TUNNEL, V4))
        text = await refused(lines, target, answer, status=403, reason="port_denied", level="warning")
        assert "k8s-ws-proxy port-forward" in text
        lines = await Lines.begin(daemon)
    assert dials() == []


async def test_a_session_is_counted(start, pod_port):
    daemon = await start(MAX_SESSIONS="1")
    async with forward(daemon, proxy()) as ws:
        await begun(ws)
        answer = await ask(daemon, proxy(), subprotocols=(V4,))
        assert (answer.status, refusal_of(answer, proxy())[1]) == (429, "too_many_sessions")
        await close(ws)
