"""``k8s-ws-proxy sessions watch`` and ``join`` through the apiserver, on a real terminal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time

import pytest
from support.caller import on_terminal
from support.command import Client
from support.daemon import SECRET
from support.fleet import CALLERS, WORLD, two_nodes
from support.listing import session_of
from support.screen import Screen, programs
from support.site import site

from k8s_ws_proxy.devcluster import Response
from k8s_ws_proxy.devcluster.faults import Death
from k8s_ws_proxy.rfc3339 import rfc3339
from k8s_ws_proxy.wire.framing.channels import RESIZE, STDIN, STDOUT

LEAVE = b"\x1d"
NOWHERE = "01995f3c-0000-7000-8000-000000000001"


@pytest.fixture
async def screen():
    screen = Screen()
    yield screen
    screen.close()


@pytest.fixture
async def at(tmp_path):
    async with site(tmp_path, WORLD) as one:
        (tmp_path / "secret").write_bytes(SECRET)
        yield one


@pytest.fixture
async def nodes(at, tmp_path):
    async with two_nodes(at, tmp_path) as daemons:
        yield daemons


def kubeconfig(at, tmp_path, user):
    return str(at.cluster.write_kubeconfig(tmp_path / f"kubeconfig-{user}", user))


@pytest.fixture
async def start_sessions(screen, at, tmp_path):
    """Starts ``sessions ...`` on the screen, as somebody who may look and no more; it is gone after the test."""
    async with programs(screen, tmp_path, KUBECONFIG=kubeconfig(at, tmp_path, "viewer")) as start:

        async def start_(*words, **streams):
            return await start("sessions", *words, **streams)

        yield start_


@pytest.fixture
def client(at, tmp_path):
    def client_(user="viewer"):
        return Client("", tmp_path / "secret", tmp_path, "sessions", KUBECONFIG=kubeconfig(at, tmp_path, user))

    return client_


async def test_a_terminal_is_watched_wherever_it_is(at, screen, nodes, start_sessions):
    async with session_of(nodes[1], "bob") as (bob, owner):
        await owner.send(RESIZE, b'{"Width":120,"Height":40}')
        await owner.until(STDOUT, b"here")
        process = await start_sessions("watch", bob[-12:], "--as", "carol")
        await screen.until(rf"session {bob} is on node-b\r\n".encode())
        await screen.until(rb"it is 120x40, and yours 80x24")
        await owner.until(STDOUT, b"carol watches from now on")
        assert screen.is_raw
        screen.type(b"not mine\r")
        await owner.send(STDIN, b"mine\n")
        await screen.until(rb"mine\r\n")
        screen.type(b"\x03")
        await screen.until(rb"left; the session goes on")
        assert await process.wait() == 0
        assert screen.is_restored
        assert b"not mine" not in await owner.until(STDOUT, b"carol has left")
    assert {seen.what for seen in at.cluster.observed.seen if seen.target.endswith("/watch")} == {"get pods/proxy"}
    await at.cluster.observed.wait_for(lambda: at.cluster.observed.open_streams == 0)


async def test_a_terminal_is_typed_into_wherever_it_is(screen, nodes, start_sessions):
    async with session_of(nodes[1], "bob") as (bob, owner):
        process = await start_sessions("join", bob, "--as", "carol")
        await owner.until(STDOUT, b"carol watches and may type from now on")
        screen.type(b"from a peer\r")
        await owner.until(STDOUT, b"from a peer")
        screen.type(b"and the last" + LEAVE)
        await screen.until(rb"left; the session goes on")
        assert await process.wait() == 0
        assert screen.is_restored
        seen = await owner.until(STDOUT, b"carol has left")
        assert b"and the last" in seen or await owner.until(STDOUT, b"and the last")


async def test_who_has_joined_is_told_how_it_ended(screen, nodes, start_sessions):
    async with session_of(nodes[0], "bob") as (bob, owner):
        process = await start_sessions("join", bob)
        await owner.until(STDOUT, b"may type from now on")
        await screen.until(rb"here")
        screen.type(b"\x03")  # goes there
        await screen.until(rb"the session has ended, with exit status 130")
        assert await process.wait() == 0
        assert screen.is_restored


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_who_is_killed_leaves_a_terminal_as_it_was(screen, nodes, start_sessions, number):
    async with session_of(nodes[0], "bob") as (bob, owner):
        process = await start_sessions("join", bob)
        await owner.until(STDOUT, b"may type from now on")
        await screen.until(rb"here")
        assert screen.is_raw
        process.send_signal(number)
        assert await process.wait() == -number
        assert screen.is_restored
        await owner.until(STDOUT, b"has left")


@pytest.mark.parametrize("how", [Death.EOF, Death.RESET])
async def test_an_apiserver_that_drops_it_is_said_and_the_session_lives_on(at, screen, nodes, start_sessions, how):
    async with session_of(nodes[0], "bob") as (bob, owner):
        at.cluster.faults.die_after(150, how)
        process = await start_sessions("join", bob)
        await owner.until(STDOUT, b"may type from now on")
        await owner.send(STDIN, b"more than it will carry " * 8 + b"\n")
        await screen.until(rb"the connection was lost. The session may go on")
        assert await process.wait() == 1
        assert screen.is_restored
        await owner.until(STDOUT, b"has left")


async def test_resizes_under_load_are_one_line_and_no_end(screen, nodes, start_sessions):
    # Without an echo, which would come in the middle of what the program says.
    async with session_of(nodes[0], "bob", on_terminal("stty -echo; echo here; cat")) as (bob, owner):
        await owner.until(STDOUT, b"here")
        process = await start_sessions("watch", bob)
        await owner.until(STDOUT, b"watches from now on")
        for number in range(200):
            await owner.send(RESIZE, b'{"Width":%d,"Height":50}' % (100 + number))
            await owner.send(STDIN, b"line %d\n" % number)
            screen.resize(80, 24 + number % 2)
        said, last = rb"it is \d+x50, and yours 80x2[45]: what doesn't fit is shown wrongly", rb"line 199\r\n"
        found = await screen.until(b"%b.*%b|%b.*%b" % (said, last, last, said))
        assert found.string[: found.end()].count(b"what doesn't fit") == 1
        screen.resize(400, 60)
        screen.type(LEAVE)
        await screen.until(rb"left; the session goes on")
        assert await process.wait() == 0
        assert screen.is_restored


async def test_who_stops_and_goes_on_is_raw_again(screen, nodes, start_sessions):
    async with session_of(nodes[0], "bob") as (bob, owner):
        process = await start_sessions("join", bob)
        await owner.until(STDOUT, b"may type from now on")
        process.send_signal(signal.SIGSTOP)
        screen.cook()
        process.send_signal(signal.SIGCONT)
        while not screen.is_raw:  # noqa: ASYNC110 - a terminal tells nobody
            await asyncio.sleep(0.01)
        screen.type(b"after\r")
        await owner.until(STDOUT, b"after")
        screen.type(LEAVE)
        assert await process.wait() == 0


async def test_an_id_that_nobody_has(client, nodes):
    for given in (NOWHERE, "abcd1234"):
        status, stdout, stderr = await client().run("watch", given)
        assert (status, stdout) == (1, b"")
        assert "no answer from node-down (pod proxy-node-down): 503: connection refused\n" in stderr
        assert f"there is no session{' whose id ends with' if given != NOWHERE else ''} {given}" in stderr


async def test_who_may_not_ask_the_pods(at, client, nodes):
    async with session_of(nodes[0], "bob") as (bob, _):
        status, _, stderr = await client("lister").run("watch", bob)
        assert status == 1
        assert "it needs a Role with 'get' on 'pods/proxy'" in stderr


async def test_to_a_pipe_without_a_terminal(client, nodes):
    async with session_of(nodes[0], "bob") as (bob, owner):
        await owner.until(STDOUT, b"here")
        process = await client().start("join", bob)
        process.stdin.write(b"piped\x1din\n")
        assert b"piped" in await owner.until(STDOUT, b"in\r\n")
        await owner.send(STDIN, b"\x04")
        stdout, stderr = await process.communicate()
        assert b"piped" in stdout
        assert process.returncode == 0
        assert b"the session has ended, with exit status 0" in stderr


class Liar:
    """What says that it has every session, and answers an upgrade with ``head``, and then nothing."""

    def __init__(self, session, head):
        self._session = session
        self._head = head
        self.upgrades = []

    async def serve(self, reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while request := await reader.readuntil(b"\r\n\r\n"):
                line, _, rest = request.partition(b"\r\n")
                if b"upgrade: websocket" in rest.lower():
                    self.upgrades.append(line)
                    writer.write(self._head)
                    await reader.read()
                    break
                told = json.dumps(
                    {"sessions": [self._session]} if line.split()[1] == b"/proxy/sessions" else self._session
                ).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(told), told))
        writer.close()


def told(session):
    """A session as a proxy tells it."""
    return {
        "sessionId": session,
        "state": "open",
        "subresource": "exec",
        "namespace": "default",
        "pod": "web",
        "container": "web",
        "command": ["sh"],
        "tty": True,
        "node": "node-z",
        "caller": {"mode": "rfc9421", "name": "secret"},
        "user": "jane",
        "groups": [],
        "reason": None,
        "peer": "10.0.0.1",
        "started": rfc3339(time.time()),
        "bytesIn": 0,
        "bytesOut": 0,
        "idleSeconds": 0.0,
        "watchers": [],
        "recordingPath": None,
    }


@pytest.fixture
async def lying(at):
    """Puts such a pod on a node."""
    async with contextlib.AsyncExitStack() as stack:

        async def lying_(node, session, head=b""):
            liar = Liar(told(session), head)
            server = await asyncio.start_server(liar.serve, "127.0.0.1", 0)
            stack.callback(server.close)
            at.add_node(node, server.sockets[0].getsockname(), port_number=CALLERS)
            return liar

        yield lying_


async def test_two_that_claim_the_same_session_are_both_named_and_neither_is_joined(at, client, lying):
    first, second = await lying("node-a", NOWHERE), await lying("node-b", NOWHERE)
    status, _, stderr = await client().run("join", NOWHERE[-8:])
    assert status == 1
    assert f"node-a and node-b each say that they have session {NOWHERE}" in stderr
    assert first.upgrades == second.upgrades == []


async def test_an_id_that_is_none_is_no_path(at, client, lying):
    liar = await lying("node-a", f"{NOWHERE}/../../../keys?x={NOWHERE[-8:]}")
    status, _, stderr = await client().run("join", NOWHERE[-8:])
    assert status == 1
    assert "there is no session whose id ends with" in stderr
    assert liar.upgrades == []


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "no answer from node-a (pod proxy-node-a): 500: invalid upgrade",
        ),
        (b"nonsense\r\n\r\n", "no answer from node-a (pod proxy-node-a): 500: "),
        (
            b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            "answered the upgrade, but not as RFC 6455 asks",
        ),
        (
            b'HTTP/1.1 404 X\r\nContent-Length: 47\r\n\r\n{"error": "Gone now.", "reason": "no_such_ses"}',
            "the proxy refused (404 no_such_ses): Gone now.",
        ),
    ],
    ids=["200", "nonsense", "half a 101", "a refusal"],
)
async def test_an_answer_that_is_no_upgrade(client, lying, head, said):
    liar = await lying("node-a", NOWHERE, head)
    status, _, stderr = await client().run("join", NOWHERE)
    assert status == 1
    assert said in stderr
    assert liar.upgrades == [b"GET /proxy/sessions/%s/join HTTP/1.1" % NOWHERE.encode()]


async def test_a_pod_that_is_gone_before_it_is_joined_is_named(at, client):
    async def has_it_and_is_gone(request):
        if request.path.endswith("/watch"):
            raise ConnectionResetError
        return Response(200, json.dumps(told(NOWHERE)).encode())

    at.add_node("node-a", has_it_and_is_gone, port_number=CALLERS)
    status, _, stderr = await client().run("watch", NOWHERE)
    assert status == 1
    assert "no answer from node-a (pod proxy-node-a): 503: " in stderr


async def test_an_upgrade_that_is_never_answered_is_left_by_ctrl_c(at, screen, start_sessions, lying):
    await lying("node-a", NOWHERE)
    process = await start_sessions("join", NOWHERE)
    await screen.until(rb"is on node-a")
    assert not screen.is_raw
    await at.cluster.observed.wait_for(lambda: at.cluster.observed.count("get pods/proxy") == 2)
    screen.type(b"\x03")
    assert await process.wait() == -signal.SIGINT
    assert screen.is_restored


async def test_the_key_to_leave_works_though_nobody_takes_what_was_typed(screen, nodes, start_sessions):
    target = on_terminal("stty raw -echo; echo here; exec sleep 1000")
    async with session_of(nodes[0], "bob", target) as (bob, _):
        process = await start_sessions("join", bob)
        await screen.until(rb"here")
        await screen.paste(b"x" * 700_000 + LEAVE)
        await screen.until(rb"left; the session goes on")
        assert await process.wait() == 0
        assert screen.is_restored
