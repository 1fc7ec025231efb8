"""Cables that are pulled, and packets that are lost: client, daemon and apiserver, each in a network namespace."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support import rawws
from support.answers import API
from support.caller import Lines, at_rest, end_stdin, on_terminal, proxy_exec, refusal_of, request, script, signed_path
from support.daemon import running_daemon
from support.logs import api_log, proxy_log
from support.netns import Cable, End, Namespace

from k8s_ws_proxy.devcluster import DevCluster
from k8s_ws_proxy.wire.framing import channels, frames
from k8s_ws_proxy.wire.framing.channels import STDERR, STDIN, STDOUT

pytestmark = pytest.mark.netns

PERIOD = 2.0  # seconds
ESTABLISHED = "01"  # in /proc/net/tcp
CLIENTS, APISERVERS = ("10.78.1.1", "10.78.1.2"), ("10.78.2.1", "10.78.2.2")


class Network:
    """``client`` ── ``daemon`` ── ``apiserver``, and a cable for each ``──``; of its two ends, ours is the daemon's."""

    def __init__(self, client, daemon, apiserver):
        self.client, self.daemon, self.apiserver = client, daemon, apiserver
        self.cables = {
            "client": Cable(End(daemon, "d-client", CLIENTS[1]), End(client, "client", CLIENTS[0])),
            "upstream": Cable(End(daemon, "d-api", APISERVERS[0]), End(apiserver, "api", APISERVERS[1])),
        }


@pytest.fixture
def network():
    with Namespace() as client, Namespace() as daemon, Namespace() as apiserver:
        yield Network(client, daemon, apiserver)


@pytest.fixture
async def cluster(network):
    async with contextlib.AsyncExitStack() as stack:
        with network.apiserver.inside():
            running = await stack.enter_async_context(DevCluster(address=APISERVERS[1]))
        yield running


@pytest.fixture
async def start(network, kubeconfig, tmp_path):
    async with contextlib.AsyncExitStack() as stack:

        async def start_(**environ):
            environ = {
                "WS_PROXY_LISTEN_ADDR": f"{CLIENTS[1]}:0",
                "WS_PROXY_ADMIN_ADDR": "127.0.0.1:0",
                "WS_PING_PERIOD": f"{PERIOD:g}s",
                "MAX_SESSIONS": "1",
                # What it asks on its own while a cable is cut has to be over before it is at rest.
                "REAP_ORPHANS": "false",
                "WS_HANDSHAKE_TIMEOUT": "5s",
                **environ,
            }
            with network.daemon.inside():
                daemon = running_daemon(kubeconfig, tmp_path, **environ)
                return await stack.enter_async_context(daemon)

        yield start_


async def connect(namespace, address):
    """A socket that is connected out of a namespace."""
    with namespace.inside():
        sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, address)
    return sock


@contextlib.asynccontextmanager
async def connected(namespace, address, data, **options):
    """A request out of a namespace, and its answer."""
    sock = await connect(namespace, address)
    async with rawws.connected(0, data, sock=sock, **options) as ws:
        yield ws


@pytest.fixture
def opened(network, daemon):
    """Opens sessions from the client's namespace."""

    @contextlib.asynccontextmanager
    async def opened_(target, **options):
        address = (CLIENTS[1], daemon.port)
        async with connected(network.client, address, request(daemon, target), **options) as ws:
            yield ws

    return opened_


@pytest.fixture
def sessions_open(network, daemon):
    """The gauge, as a scrape on the daemon's node finds it."""

    async def read():
        head = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
        async with connected(network.daemon, ("127.0.0.1", daemon.ports["admin"]), head) as answer:
            lines = answer.answer.body.decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("k8s_ws_proxy_sessions_open "))

    return read


CUTS = {
    "the cable is pulled at the other end": lambda cable: cable.pull(cable.ends[1]),
    "the cable is pulled at our end": lambda cable: cable.pull(cable.ends[0]),
    "all packets are lost": lambda cable: cable.lose(*cable.ends),
    "nothing comes any more": lambda cable: cable.lose(cable.ends[0]),
    "nothing goes any more": lambda cable: cable.lose(cable.ends[1]),
}
LEGS = {"client": "client_silent", "upstream": "upstream_silent"}


@pytest.fixture
def noticed(network, daemon, sessions_open, opened):
    """What must follow of a cut: the end with its reason in time, both legs closed, the slot free for another."""

    async def noticed_(leg, cut_at, *, within=2.0, reason=None):
        line = await daemon.event("session ended")
        assert (line["level"], line["reason"]) == ("warning", reason or LEGS[leg])
        # By the daemon's clock. Its looks come a period apart: one that comes late is late by less than another.
        took = datetime.fromisoformat(line["timestamp"]) - cut_at
        assert took < timedelta(seconds=(within + 1) * PERIOD), line
        await at_rest(daemon)
        assert await sessions_open() == 0
        network.cables[leg].mend()
        async with opened(script("exit 3")) as ws:
            assert (await ws.finish()).exit_code == 3

    return noticed_


@pytest.fixture
async def daemon(start):
    return await start()


@pytest.fixture
def cut(network):
    """Does it, and says when."""

    def cut_(leg, how):
        CUTS[how](network.cables[leg])
        return datetime.now(UTC)

    return cut_


def leave(ws):
    """Close the connection, once all was read: the daemon waits ten seconds for who doesn't."""
    ws.writer.transport.abort()


async def told_a_failure(ws):
    """What a client sees whose apiserver is lost."""
    ended = await ws.finish()
    leave(ws)
    assert ended.status["status"] == "Failure"
    assert (ended.exit_code, ended.code) == (None, frames.INTERNAL_ERROR)


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("leg", LEGS)
async def test_an_idle_terminal(network, cluster, opened, cut, noticed, leg, how):
    async with opened(on_terminal("echo ready; cat")) as ws:
        await ws.until(STDOUT, b"ready")
        await quiet(network)
        cut_at = cut(leg, how)
        if leg == "upstream":
            await told_a_failure(ws)
        else:
            await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 0)
        await noticed(leg, cut_at)


@pytest.mark.parametrize(
    "how", ["the cable is pulled at the other end", "nothing comes any more", "nothing goes any more"]
)
@pytest.mark.parametrize(
    ("leg", "target", "reason"),
    [
        ("client", proxy_log("web"), "client_silent"),
        ("client", api_log("web", follow="true"), "client_silent"),
        ("upstream", proxy_log("web"), "upstream_lost"),
        ("upstream", api_log("web", follow="true"), "upstream_lost"),
    ],
    ids=["client, /proxy", "client, /api", "upstream, /proxy", "upstream, /api"],
)
async def test_a_log_that_says_nothing(network, cluster, daemon, cut, noticed, leg, target, reason, how):
    """HTTP has no pings: the kernel asks, and gives up after twice the period, in whole seconds."""
    head = request(daemon, target)
    if target.startswith("/api"):
        lines = [f"GET {target} HTTP/1.1", "Host: x", *map(": ".join, daemon.headers(signed_path(target)).items())]
        head = "\r\n".join([*lines, "", ""]).encode()
    async with connected(network.client, (CLIENTS[1], daemon.port), head) as ws:
        assert ws.answer.status == (101 if target.startswith("/proxy") else 200)
        await daemon.event("session opened")
        await quiet(network)
        cut_at = cut(leg, how)
        if leg == "upstream":
            await (ws.finish() if ws.answer.status == 101 else ws.reader.read())
            leave(ws)
        else:
            await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 0)
        await noticed(leg, cut_at, within=3, reason=reason)


async def flooded(ws):
    """Take what comes, to its end."""
    while await ws.frame():
        pass
    leave(ws)


@pytest.mark.parametrize(
    "how", ["the cable is pulled at the other end", "nothing comes any more", "nothing goes any more"]
)
@pytest.mark.parametrize("leg", LEGS)
async def test_a_flood(cluster, opened, cut, noticed, leg, how):
    async with opened(script("exec yes")) as ws:
        for _ in range(100):
            await ws.frame()
        taking = asyncio.get_running_loop().create_task(flooded(ws))
        cut_at = cut(leg, how)
        await noticed(leg, cut_at)
        taking.cancel()
        await asyncio.wait([taking])


def sockets(daemon):
    """What the kernel holds for each connection of the daemon's, by the address of its other end: (unsent, unread)."""
    rows = [line.split() for line in Path(f"/proc/{daemon.process.pid}/net/tcp").read_text().splitlines()[1:]]
    held = {}
    for row in rows:
        packed, _, _ = row[2].partition(":")
        address = ".".join(str(byte) for byte in bytes.fromhex(packed)[::-1])
        if row[3] == ESTABLISHED:
            held[address] = tuple(int(queue, 16) for queue in row[4].split(":"))
    return held


async def quiet(network):
    """Wait until nothing is under way on either cable: what isn't acknowledged is repeated, which counts as life."""
    spaces = (network.client, network.daemon, network.apiserver)
    while any(queue != "00000000" for space in spaces for queue in unsent(space)):  # noqa: ASYNC110 - as below
        await asyncio.sleep(0.05)


def unsent(namespace):
    """The send queues of all connections in it, as the kernel writes them."""
    rows = [line.split() for line in Path(f"/proc/{namespace.pid}/net/tcp").read_text().splitlines()[1:]]
    return [row[4].partition(":")[0] for row in rows if row[3] == ESTABLISHED]


async def stuck(daemon):
    """Wait until the kernel has held the same for a second: whoever should take it takes nothing any more.

    Another process's sockets can only be looked at, there is nothing to await.
    """
    before, now = None, sockets(daemon)
    while before != now or not any(map(any, now.values())):
        await asyncio.sleep(1)
        before, now = now, sockets(daemon)


async def let_go(daemon, address, cut_at):
    """Wait until the leg to this address is closed, which has to be in time."""
    while address in sockets(daemon):  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.05)
    assert datetime.now(UTC) - cut_at < timedelta(seconds=3 * PERIOD)


async def test_a_reader_that_has_paused_and_is_gone(cluster, daemon, opened, cut, noticed):
    """It takes nothing, so there is output under way all the time, and probes of its window ever more seldom."""
    async with opened(script("exec yes"), limit=4096):
        await stuck(daemon)
        await asyncio.sleep(13)  # by now a kernel left to itself would wait 13 seconds between two probes
        cut_at = cut("client", "all packets are lost")
        await noticed("client", cut_at, within=2.5)


async def test_a_reader_that_has_paused_while_its_apiserver_is_lost(daemon, opened, cut, noticed):
    """Upstream isn't read meanwhile: its pong couldn't be seen. The reader gets what there was, and then the truth."""
    async with opened(script("exec yes"), limit=4096) as ws:
        await stuck(daemon)
        cut_at = cut("upstream", "all packets are lost")
        await let_go(daemon, APISERVERS[1], cut_at)
        await told_a_failure(ws)
        await noticed("upstream", datetime.now(UTC))


@pytest.fixture
async def pasting(daemon, opened):
    """A client in the middle of a paste into a program that doesn't read: it isn't read itself."""
    async with opened(script("exec sleep 1000")) as ws:

        async def paste():
            while True:
                await ws.send(STDIN, bytes(50_000))

        task = asyncio.get_running_loop().create_task(paste())
        await stuck(daemon)
        yield ws
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.usefixtures("pasting")
async def test_a_client_that_pastes_and_is_gone(cut, noticed):
    await noticed("client", cut("client", "all packets are lost"))


async def test_a_client_that_pastes_while_its_apiserver_is_lost(pasting, cut, noticed):
    cut_at = cut("upstream", "all packets are lost")
    said = []
    while (frame := await pasting.frame()).opcode != frames.CLOSE:  # it has no room for a pong
        said.append(frame)
    assert channels.parse_status(said[-1].payload[1:])["status"] == "Failure"
    assert frames.parse_close(frame.payload)[0] == frames.INTERNAL_ERROR
    leave(pasting)
    await noticed("upstream", cut_at, within=2.5)


class TestPatience:
    """What isn't a cut: nobody is taken for dead."""

    @pytest.fixture
    async def daemon(self, start):
        return await start(WS_PING_PERIOD="10s")

    @pytest.mark.parametrize("leg", LEGS)
    async def test_one_packet_in_twenty_is_lost_and_no_byte(self, network, opened, leg):
        data = os.urandom(2_000_000)
        network.cables[leg].lose(*network.cables[leg].ends, percent=5)
        async with opened(script("tee /dev/stderr | sha256sum >hash; cat hash")) as ws:

            async def paste():
                for offset in range(0, len(data), 30_000):
                    await ws.send(STDIN, data[offset : offset + 30_000])
                await end_stdin(ws)

            pasting = asyncio.get_running_loop().create_task(paste())
            ended = await ws.finish()
            await pasting
        assert ended.output[STDERR] == data
        assert ended.text(STDOUT).split()[0] == hashlib.sha256(data).hexdigest()
        assert (ended.exit_code, ended.code) == (0, frames.NORMAL)

    @pytest.mark.parametrize("leg", LEGS)
    @pytest.mark.parametrize("how", CUTS)
    async def test_a_cable_that_is_back_in_time_was_only_a_pause(self, network, opened, cut, leg, how):
        async with opened(proxy_exec("cat", tty="false")) as ws:
            await ws.send(STDIN, b"before\n")
            assert await ws.until(STDOUT, b"\n") == b"before\n"
            cut(leg, how)
            await ws.send(STDIN, b"meanwhile\n")
            await asyncio.sleep(1)
            network.cables[leg].mend()
            assert await ws.until(STDOUT, b"\n") == b"meanwhile\n"


class TestDialling:
    """A cut that is there before the session."""

    @pytest.fixture
    async def daemon(self, start):
        return await start(WS_HANDSHAKE_TIMEOUT="2s")

    @pytest.mark.parametrize(
        ("how", "status", "reason"),
        [
            ("the cable is pulled at our end", 502, "upstream_unreachable"),
            ("the cable is pulled at the other end", 504, "upstream_timeout"),
            ("nothing comes any more", 504, "upstream_timeout"),
            ("nothing goes any more", 504, "upstream_timeout"),
        ],
    )
    async def test_the_apiserver_cannot_be_dialled(
        self, network, daemon, opened, cut, sessions_open, how, status, reason
    ):
        lines = Lines(daemon)
        cut("upstream", how)
        async with connected(network.client, (CLIENTS[1], daemon.port), request(daemon, API)) as ws:
            assert ws.answer.status == status
            assert refusal_of(ws.answer, API)[1] == reason
        assert (await lines.event("session failed"))["reason"] == reason
        await at_rest(daemon)
        assert await sessions_open() == 0
        network.cables["upstream"].mend()
        async with opened(script("exit 3")) as ws:
            assert (await ws.finish()).exit_code == 3

    async def test_a_client_that_is_gone_before_its_answer(self, cluster, network, daemon, cut):
        """It asks, and its cable is pulled: the session comes to be, and nobody is there."""
        cluster.faults.hang()
        with await connect(network.client, (CLIENTS[1], daemon.port)) as sock:
            sock.send(request(daemon, script("cat")))
            await cluster.observed.wait_for(lambda: any("/exec" in seen.target for seen in cluster.observed.seen))
            cut("client", "all packets are lost")
            assert (await daemon.event("session failed"))["reason"] == "upstream_timeout"
            await at_rest(daemon)
