"""Connections to the apiserver that are there in advance: how many, how old, whose, and what may become of them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import ssl
from types import SimpleNamespace

import pytest
from support.pki import Pki

from k8s_ws_proxy.devcluster import DEFAULT_WORLD, DevCluster, User
from k8s_ws_proxy.errors import UpstreamUnreachable
from k8s_ws_proxy.kube import dial, ready
from k8s_ws_proxy.kube.access import Access
from k8s_ws_proxy.kube.apiserver import Apiserver
from k8s_ws_proxy.kube.config import Endpoint
from k8s_ws_proxy.kube.connect import connect
from k8s_ws_proxy.kube.ready import LAPSES, OLDEST, Demand, Ready
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.wire.requests.impersonation import Identity

MOST = 4
EXEC = "/api/v1/namespaces/default/pods/shell/exec?command=true&stdout=true&container=shell"


@pytest.mark.parametrize(
    ("openings", "expected", "now", "worth"),
    [
        pytest.param([], [], 0, 0, id="nobody comes"),
        pytest.param([0], [], 0, 0, id="one opening says nothing of a next one"),
        pytest.param([0, 9], [], 9, 1, id="two do"),
        pytest.param([0, 9], [], LAPSES, 0, id="for so long"),
        pytest.param([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [], 9, MOST, id="never more than the most"),
        pytest.param([], [0], 0, 1, id="somebody is about to"),
        pytest.param([], [0], LAPSES, 0, id="and didn't"),
        pytest.param([], [0] * 100, 0, MOST, id="a hundred are"),
        pytest.param([1], [0], 1, 0, id="and did"),
    ],
)
def test_how_many_are_worth_keeping(openings, expected, now, worth):
    demand = Demand(MOST)
    for time in expected:
        demand.expected(time)
    for time in openings:
        demand.opened(time)
    assert demand.worth(now) == worth


def test_none_are_where_none_may_be():
    demand = Demand(0)
    demand.opened(0)
    demand.opened(0)
    demand.expected(0)
    assert demand.worth(0) == 0


async def until(true):
    """Whoever changes it is on the other side of a socket. The test's time-out bounds the wait."""
    while True:
        if true():
            return
        await asyncio.sleep(0.01)


class Server:
    """An apiserver as far as TLS goes: ``here`` are those who are connected, in the order of their coming."""

    def __init__(self):
        self.here = []
        self.said = asyncio.Queue()  # of whoever says something: the connection, and that

    async def serve(self, reader, writer):
        self.here.append(writer)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                self.said.put_nowait((writer, data))
        writer.close()
        self.here.remove(writer)

    async def has(self, count):
        await until(lambda: len(self.here) == count)

    async def lost(self, writers):
        """None of them is there any more."""
        await until(lambda: not set(writers) & set(self.here))


@pytest.fixture
def pki(tmp_path):
    return Pki(tmp_path)


@pytest.fixture
async def server(pki):
    running = Server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.server.cert, pki.server.key)
    listener = await asyncio.start_server(running.serve, "127.0.0.1", 0, ssl=context)
    running.port = listener.sockets[0].getsockname()[1]
    running.listener = listener
    yield running
    listener.close()
    for writer in running.here:
        writer.transport.abort()


@pytest.fixture
def endpoint(server, pki):
    return Endpoint("127.0.0.1", server.port, "", "proxy", pki.servers.client(), "bearer one")


@pytest.fixture
def access(endpoint):
    return SimpleNamespace(known=endpoint, reachable=True, on_change=None)


async def at_once():
    await asyncio.sleep(0)


@pytest.fixture
def state():
    return SimpleNamespace(room=True)


@pytest.fixture
async def pool(access, state, monkeypatch):
    monkeypatch.setattr(ready, "_SOON", 0.001)
    monkeypatch.setattr(ready, "_LOOK", 0.02)
    made = Ready(access, MOST, turn=at_once, room=lambda: state.room, within=5.0)
    yield made
    made.close()


async def holds(count):
    await until(lambda: metrics.READY._value.get() == count)


async def filled(pool, endpoint, server):
    for _ in range(MOST + 1):
        assert pool.take(endpoint) is None
    await holds(MOST)
    await server.has(MOST)


async def test_they_are_there_after_the_first_openings_and_each_is_given_once(pool, endpoint, server):
    await filled(pool, endpoint, server)
    made = list(server.here)
    taken = [pool.take(endpoint) for _ in range(MOST)]
    assert pool.take(endpoint) is None
    for number, stream in enumerate(taken):
        assert stream.begin(memoryview(b"%d" % number)) == 1
        assert await server.said.get() == (made[number], b"%d" % number), "the oldest first"
        stream.close()


async def test_a_thousand_openings_at_once_make_no_more_than_the_most(pool, endpoint, server):
    await filled(pool, endpoint, server)
    taken = [stream for _ in range(1000) if (stream := pool.take(endpoint)) is not None]
    assert len(taken) == MOST
    await holds(MOST)
    await asyncio.sleep(0.1)
    assert len(server.here) == 2 * MOST
    for stream in taken:
        stream.close()


async def test_they_are_gone_when_nobody_comes_any_more(pool, endpoint, server, monkeypatch):
    await filled(pool, endpoint, server)
    monkeypatch.setattr(ready, "LAPSES", 0.0)
    await server.has(0)
    await holds(0)
    assert pool._next_look is None, "nothing wakes up for it any more"


async def test_an_old_one_is_not_used_and_another_made(pool, endpoint, server, monkeypatch):
    await filled(pool, endpoint, server)
    first = list(server.here)
    later = pool._loop.time() + OLDEST
    monkeypatch.setattr(ready, "LAPSES", 3600.0)
    monkeypatch.setattr(pool, "_loop", SimpleNamespace(time=lambda: later, call_later=pool._loop.call_later))
    stream = pool.take(endpoint)
    assert stream is None
    await holds(MOST)
    await server.lost(first)


@pytest.mark.parametrize("how", ["closes", "half-closes", "resets", "speaks"])
async def test_one_that_isn_t_silent_any_more_is_let_go_and_another_made(pool, endpoint, server, how):
    await filled(pool, endpoint, server)
    gone = server.here[0]
    match how:
        case "closes":
            gone.close()
        case "half-closes":  # a FIN without TLS's close_notify
            gone.transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
        case "resets":
            gone.transport.abort()
        case "speaks":
            gone.write(b"HTTP/1.1 408 Request Time-out\r\n\r\n")
    await server.lost([gone])
    await holds(MOST)
    await server.has(MOST)


@pytest.mark.parametrize("unread", [pytest.param(False, id="silent"), pytest.param(True, id="tickets-before")])
async def test_one_that_has_closed_in_this_very_turn_is_not_given(pool, endpoint, server, monkeypatch, unread):
    """Its end is in the kernel, and the event loop hasn't said so yet; nor, maybe, of TLS's words before it."""
    if unread:
        monkeypatch.setattr(pool, "_said", lambda _one: None)
    await filled(pool, endpoint, server)
    for writer in list(server.here):
        writer.transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
    while not all(one.stream.peer_gone() for one in pool._idle):
        pass  # the kernel's doing: the event loop has no turn
    assert pool.take(endpoint) is None


async def test_one_that_goes_on_to_say_nothing_is_let_go(pool, endpoint, server):
    """TLS's own words have no content: tickets are two of them, KeyUpdates have no end."""
    await filled(pool, endpoint, server)
    one, others = pool._idle[0], list(pool._idle)[1:]
    for _ in range(ready._MOST_WORDS):
        pool._said(one)
    pool._said(one)
    assert one not in pool._idle
    assert list(pool._idle) == others, "their tickets are no reason"


async def test_another_configuration_lets_go_of_all(pool, access, endpoint, server):
    await filled(pool, endpoint, server)
    before = list(server.here)
    access.known = dataclasses.replace(endpoint, authorization="bearer two")
    access.on_change()
    assert not pool._idle
    await holds(MOST)
    await server.lost(before)


@pytest.mark.parametrize(
    "what",
    [
        {"authorization": "bearer two"},
        {"tls": ssl.create_default_context()},
        {"tls_inputs": b"another certificate"},
        {"server_name": "localhost"},
        {"host": "127.0.0.2"},
    ],
    ids=lambda what: next(iter(what)),
)
async def test_none_is_given_for_another_configuration_than_its_own(pool, endpoint, server, what):
    """Also where nobody said that there is another: a token, a client certificate, a CA, an address."""
    await filled(pool, endpoint, server)
    before = list(server.here)
    assert pool.take(dataclasses.replace(endpoint, **what)) is None
    await server.lost(before)


async def test_a_configuration_that_changes_while_one_is_made(pool, access, endpoint, server, monkeypatch):
    another = dataclasses.replace(endpoint, authorization="bearer two")

    async def connect_(asked):
        stream = await connect(asked)
        access.known = another
        return stream

    monkeypatch.setattr(ready, "connect", connect_)
    for _ in range(MOST + 1):
        pool.take(endpoint)
    await holds(MOST)
    assert {one.endpoint for one in pool._idle} == {another}


async def test_without_descriptors_none_is_made_and_what_there_is_is_given_up(
    pool, endpoint, server, state, monkeypatch
):
    for name in ("LAPSES", "OLDEST"):
        monkeypatch.setattr(ready, name, 3600.0)
    await filled(pool, endpoint, server)
    state.room = False
    await server.has(0)
    for _ in range(MOST + 1):
        assert pool.take(endpoint) is None
    await asyncio.sleep(0.1)
    assert not server.here
    state.room = True
    pool.take(endpoint)
    await holds(MOST)


@pytest.mark.parametrize("how", ["nobody listens", "it doesn't verify", "it stalls"])
async def test_an_apiserver_that_can_t_be_had_is_for_who_dials_to_find_out(
    pool, access, endpoint, server, pki, how, monkeypatch
):
    tries = []

    async def connect_(asked):
        tries.append(asked)
        return await connect(asked)

    monkeypatch.setattr(ready, "connect", connect_)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        match how:
            case "nobody listens":
                server.listener.close()
            case "it doesn't verify":
                access.known = dataclasses.replace(endpoint, server_name="another")
            case "it stalls":
                pool._within = 0.05
                access.known = dataclasses.replace(endpoint, port=silent.getsockname()[1])
        for _ in range(MOST + 1):
            pool.take(endpoint)
        await until(lambda: len(tries) > 1)
        assert not pool._idle
        pool.close()
        assert len(tries) < 20, "one after the other, a while between them"


async def test_while_the_apiserver_is_known_not_to_answer_none_is_tried(pool, access, endpoint, server):
    access.reachable = False
    for _ in range(MOST + 1):
        pool.take(endpoint)
    await asyncio.sleep(0.1)
    assert not server.here


async def test_closed_it_lets_go_of_all_at_once_and_makes_none(pool, endpoint, server):
    await filled(pool, endpoint, server)
    pool.close()
    await server.has(0)
    for _ in range(MOST + 1):
        assert pool.take(endpoint) is None
    pool.expect()
    await asyncio.sleep(0.05)
    assert not server.here


async def test_closed_while_one_is_made(pool, endpoint, server, monkeypatch):
    making = asyncio.Event()

    async def connect_(asked):
        making.set()
        return await connect(asked)

    monkeypatch.setattr(ready, "connect", connect_)
    pool.expect()
    await making.wait()
    pool.close()
    await server.has(0)
    assert not pool._idle


async def test_tickets_that_came_while_it_waited_are_resumed_by(pool, endpoint, server):
    await filled(pool, endpoint, server)
    await until(lambda: pool._idle[0].words)
    stream = await connect(endpoint)
    assert stream.tls.session_reused
    stream.close()


class Counting:
    """Access, as far as a dial wants it."""

    def __init__(self, endpoint):
        self.endpoint = self.known = endpoint
        self.reachable = True
        self.on_change = None
        self.read = 0

    def succeeded(self):
        pass

    def failed(self, error):
        self.error = error

    async def reread(self):
        self.read += 1
        self.known = self.endpoint = dataclasses.replace(self.endpoint, authorization=f"bearer {self.read}")


async def test_one_that_takes_nothing_is_passed_over_and_the_command_is_asked_for_once(endpoint, server, monkeypatch):
    """It broke after it was looked at: the socket takes no byte, so nobody can have got one."""
    access = Counting(endpoint)
    pool = Ready(access, MOST, turn=at_once, room=lambda: True, within=5.0)
    await filled(pool, endpoint, server)
    for one in list(pool._idle)[:2]:
        one.stream.socket.shutdown(socket.SHUT_WR)  # a write is EPIPE, and a read says nothing
    dialling = asyncio.ensure_future(dial.dial(access, EXEC, ready=pool))  # noqa: TID251
    writer, data = await server.said.get()
    assert data.startswith(b"GET " + EXEC.encode())
    assert server.said.empty()
    assert access.read == 0, "the apiserver isn't blamed"
    writer.transport.abort()
    with pytest.raises(UpstreamUnreachable):
        await dialling
    pool.close()


@pytest.mark.parametrize("in_advance", [True, False])
async def test_what_was_sent_is_not_asked_for_again_whatever_became_of_it(endpoint, server, in_advance):
    """Not even where the configuration has changed meanwhile: the command may have begun."""
    access = Counting(endpoint)
    pool = Ready(access, MOST, turn=at_once, room=lambda: True, within=5.0)
    if in_advance:
        await filled(pool, endpoint, server)
    dialling = asyncio.ensure_future(dial.dial(access, EXEC, ready=pool))  # noqa: TID251
    writer, _ = await server.said.get()
    writer.transport.abort()
    with pytest.raises(UpstreamUnreachable):
        await dialling
    assert access.read == 1, "for the next one"
    assert server.said.empty()
    pool.close()


async def test_a_connection_is_nobody_s(tmp_path):
    """Who asks, and for whom, is said by each request: what was made before either of them came serves both."""
    users = [User(name, f"{name}@example.com", DEFAULT_WORLD.user("proxy").grants) for name in ("alice", "bob")]
    async with DevCluster(dataclasses.replace(DEFAULT_WORLD, users=(*DEFAULT_WORLD.users, *users))) as cluster:
        access = Access({"KUBECONFIG": str(cluster.write_kubeconfig(tmp_path / "kubeconfig", "admin"))})
        await access.reread()
        pool = Ready(access, MOST, turn=at_once, room=lambda: True, within=5.0)
        apiserver = Apiserver(access, None, pool)
        assert (await apiserver.get("/version"))[0] == 200
        for _ in users:
            apiserver.expect()
        await holds(len(users))
        made = {one.stream for one in pool._idle}
        for user in users:
            upstream = await apiserver.acting_for(Identity(user.name, ())).dial(EXEC)
            assert upstream.stream in made
            upstream.stream.close()
        sent = [dict(seen.headers) for seen in cluster.observed.seen if "/exec" in seen.target]
        named = [{name.lower(): value for name, value in headers.items()} for headers in sent]
        assert [headers["impersonate-user"] for headers in named] == [user.name for user in users]
        assert len({headers["authorization"] for headers in named}) == 1
        pool.close()
