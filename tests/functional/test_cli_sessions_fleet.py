"""``k8s-ws-proxy sessions`` for every proxy of a cluster: each pod is asked through the apiserver's pod proxy."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import sys
import time

import pytest
from support.command import Client
from support.daemon import SECRET
from support.fleet import CALLERS, WORLD, two_nodes
from support.listing import session_of
from support.site import site

from k8s_ws_proxy.devcluster import Response
from k8s_ws_proxy.errors import Refusal
from k8s_ws_proxy.rfc3339 import rfc3339
from k8s_ws_proxy.sessions.uuid7 import uuid7
from k8s_ws_proxy.wire.framing import channels
from k8s_ws_proxy.wire.requests.message_signature import Message
from k8s_ws_proxy.wire.requests.signing import Key
from k8s_ws_proxy.wire.requests.signing_v2 import Terms, verify


@pytest.fixture
async def at(tmp_path):
    async with site(tmp_path, WORLD) as one:
        (tmp_path / "secret").write_bytes(SECRET)
        yield one


class Fleet(Client):
    """Runs a command that finds the proxies by a kubeconfig."""

    strict = False  # what is under way when it ends is left to the system


@pytest.fixture
def client(at, tmp_path):
    def client_(user="operator"):
        kubeconfig = at.cluster.write_kubeconfig(tmp_path / f"kubeconfig-{user}", user)
        return Fleet("", tmp_path / "secret", tmp_path, "sessions", KUBECONFIG=str(kubeconfig))

    return client_


@pytest.fixture
async def nodes(at, tmp_path):
    """Two nodes with real proxies, and one where nothing answers."""
    async with two_nodes(at, tmp_path) as daemons:
        yield daemons


DOWN = "k8s-ws-proxy: no answer from node-down (pod proxy-node-down): 503: connection refused\n"


async def test_every_node_s_sessions_and_the_one_that_doesn_t_answer_is_named(client, nodes):
    first, second = nodes
    async with session_of(first, "alice") as (alice, _), session_of(second, "bob") as (bob, _):
        status, stdout, stderr = await client().run("list")
        assert (status, stderr) == (4, DOWN)
        _, *lines = stdout.decode().splitlines()
        assert [(line.split()[0], line.split()[5]) for line in lines] == [
            (alice[-8:], "node-a"),
            (bob[-8:], "node-b"),
        ]
        status, stdout, stderr = await client("viewer").run("list", "-o", "json", "--user", "bob", "--as", "jane")
        assert (status, stderr) == (4, DOWN)
        answer = json.loads(stdout)
        assert [session["sessionId"] for session in answer["sessions"]] == [bob]
        assert answer["silent"] == [{"node": "node-down", "pod": "proxy-node-down", "why": "503: connection refused"}]


async def test_one_is_found_wherever_it_is(client, nodes):
    _, second = nodes
    async with session_of(second, "bob") as (bob, _):
        for given in (bob, bob[-8:]):
            status, stdout, stderr = await client("viewer").run("show", given)
            assert (status, stderr) == (0, "")
            assert "Node:        node-b\n" in stdout.decode()
    status, _, stderr = await client().run("show", "01995f3c-0000-7000-8000-000000000001")
    assert status == 1
    assert stderr == (
        f"{DOWN}k8s-ws-proxy: there is no session 01995f3c-0000-7000-8000-000000000001 on the 2 nodes that answered, "
        "or not any more\n"
    )


async def test_one_is_ended_wherever_it_is_and_nothing_else_is_asked_to(at, client, nodes):
    _, second = nodes
    async with session_of(second, "bob") as (bob, ws):
        status, _, stderr = await client("viewer").run("end", bob)
        assert status == 1
        assert "it needs a Role with 'delete' on 'pods/proxy'" in stderr
        status, _, stderr = await client().run("end", bob[-8:])
        assert status == 1
        assert f"if it is {bob} that is meant, give the whole id" in stderr
        status, stdout, stderr = await client().run("end", bob, "--as", "jane", "--reason", "ticket 7: 100% & more")
        assert (status, stderr) == (0, "")
        assert stdout.decode() == f"ending session {bob}: bob in default/shell on node-b\n"
        assert await ws.until(channels.STDOUT, b"k8s-ws-proxy: ended by jane: ticket 7: 100% & more.")
    assert at.cluster.observed.count("delete pods/proxy") == 2  # the viewer's was refused


async def test_who_may_not_ask_is_told_once(at, client, nodes):
    status, stdout, stderr = await client("lister").run("list")
    assert (status, stdout, stderr.count("\n")) == (1, b"", 1)
    assert "it needs a Role with 'get' on 'pods/proxy'" in stderr


async def test_the_secret_of_another_site_opens_nothing_and_that_is_said_once(client, nodes, tmp_path):
    (tmp_path / "secret").write_bytes(b"another secret, which is as long as it must be")
    status, stdout, stderr = await client().run("list")
    assert (status, stdout) == (1, b"")
    assert stderr.count("no answer from 2 nodes: node-a, node-b: 401 bad_signature") == 1
    assert "Is the file named by --secret-file" in stderr


async def test_watching_tells_who_falls_silent_and_ends_nobody_s_session(client, nodes):
    first, second = nodes
    async with session_of(first, "alice") as (alice, _), session_of(second, "bob"):
        process = await client().start("list", "-w")
        for _ in range(3):
            await process.stdout.readline()
        assert (await process.stderr.readline()).decode() == DOWN
        second.process.kill()
        assert (await process.stderr.readline()).startswith(b"k8s-ws-proxy: no answer from node-b (pod proxy-node-b):")
        await client().run("end", alice)
        line = (await process.stdout.readline()).decode()
        assert line.startswith(alice[-8:])
        assert line.split()[1] in {"ending", "ended"}
        process.terminate()
        await process.communicate()


async def test_the_port_is_the_daemonset_s(at, client, nodes):
    at.set_environ({"SHARED_SECRET_DIR": "/keys", "WS_PROXY_LISTEN_ADDR": ":8081"})
    status, _, stderr = await client().run("list")
    assert (status, "no answer from 3 nodes: node-a, node-b, node-down: 503" in stderr) == (1, True)
    status, _, stderr = await client().run("list", "--port", str(CALLERS))
    assert (status, stderr) == (4, f"k8s-ws-proxy: there are no sessions\n{DOWN}")


async def test_a_daemonset_that_isn_t_there(client, at):
    status, _, stderr = await client("reader").run("list", "--workload", "default/other")
    assert status == 1
    assert "there is no DaemonSet default/other: name it with --workload NAMESPACE/NAME" in stderr
    status, _, stderr = await client().run("list")
    assert status == 1
    assert "no pod of the DaemonSet default/k8s-ws-proxy runs" in stderr


class Node:
    """A stand-in for a node's proxy, which checks what it is sent as a proxy does."""

    def __init__(self, name, sessions=2, *, late=0.0, text="x" * 100):
        self._name = name
        self._late = late
        self.requests = 0
        self.sessions = [
            {
                "sessionId": uuid7(),
                "state": "open",
                "subresource": "exec",
                "namespace": "default",
                "pod": f"web-{name}-{number}",
                "container": "web",
                "command": ["sh", "-c", text],
                "tty": True,
                "node": name,
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
            for number in range(sessions)
        ]

    async def __call__(self, request):
        self.requests += 1
        await asyncio.sleep(self._late)
        values = {}
        for name, value in request.headers:
            values.setdefault(name, []).append(value)
        message = Message(request.method, request.target, lambda name: values.get(name.lower(), []))
        terms = Terms(max_age=60, started=0)
        headers = [name for name, _ in request.headers]
        try:
            verify(message, headers, has_body=False, keys=[Key("secret", SECRET)], now=time.time(), terms=terms)
        except Refusal as refusal:
            return _refusal(401, refusal.reason.value)
        if values["x-catalyst-node"] != [self._name]:
            return _refusal(421, "wrong_node")
        if request.path == "/proxy/sessions":
            return Response(200, json.dumps({"node": self._name, "sessions": self.sessions}).encode())
        wanted = request.path.rpartition("/")[2]
        found = next((each for each in self.sessions if each["sessionId"] == wanted), None)
        if found is None:
            return _refusal(404, "no_such_session")
        if request.method == "DELETE":
            return Response(202, json.dumps(found).encode())
        return Response(200, json.dumps(found).encode())


def _refusal(status, reason):
    return Response(status, json.dumps({"error": "No.", "reason": reason}).encode(), "application/json; charset=utf-8")


MEASURED = """
import pathlib, sys
from k8s_ws_proxy.cli.main import main
status = main(sys.argv[2:])
pathlib.Path(sys.argv[1]).write_text(pathlib.Path("/proc/self/status").read_text())
sys.exit(status)
"""


async def crowd(at, client, number, *, dead=3, sessions=2):
    """List and end at so many nodes, of which some don't answer; what it took."""
    made = [Node(f"node-{each:04}", sessions, late=0.002) for each in range(number)]
    for each, node in enumerate(made):
        at.add_node(f"node-{each:04}", node, port_number=CALLERS)
    for each in range(dead):
        at.add_node(f"node-dead-{each}", Node("", late=60), port_number=CALLERS)
    observed, took = at.cluster.observed, {}
    began = time.monotonic()
    process = (sys.executable, "-c", MEASURED, str(at.directory / "measured"))
    status, stdout, stderr = await client().run("list", program=process)
    took["list"] = round(time.monotonic() - began, 1)
    took["MiB"] = int(re.search(r"VmHWM:\s+(\d+)", (at.directory / "measured").read_text())[1]) >> 10
    assert status == 4, stderr[-2000:]
    names = ", ".join(f"node-dead-{each}" for each in range(dead))
    assert stderr == f"k8s-ws-proxy: no answer from {dead} nodes: {names}: not within 5 s\n"
    assert len(stdout.splitlines()) == 1 + sessions * number
    assert len({line.split()[0] for line in stdout.splitlines()}) == 1 + sessions * number
    assert observed.most_under_way <= 32
    assert observed.count("get pods/proxy") == number + dead
    session = made[number * 2 // 3].sessions[0]["sessionId"]
    began = time.monotonic()
    status, stdout, stderr = await client().run("end", session)
    took["end"] = round(time.monotonic() - began, 1)
    assert (status, stderr) == (0, "")
    assert observed.count("delete pods/proxy") == 1
    assert observed.most_under_way <= 32
    return took


async def test_a_hundred_nodes(at, client):
    await crowd(at, client, 100)


async def test_the_time_for_all_has_an_end_and_who_wasn_t_heard_by_then_is_named(at, client):
    at.add_node("node-a", Node("node-a"), port_number=CALLERS)
    for each in range(3):
        at.add_node(f"node-late-{each}", Node("", late=60), port_number=CALLERS)
    status, stdout, stderr = await client().run("list", "--timeout", "1s", "--concurrency", "2")
    assert status == 4
    assert len(stdout.splitlines()) == 3
    assert stderr == (
        "k8s-ws-proxy: no answer from 3 nodes: node-late-0, node-late-1, node-late-2: the time for all of them was "
        "over, 1 s\n"
    )


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (_refusal(404, "bad_path"), "it has no session API: an older version?"),
        (Response(200, b"hello"), "what answers on port 8080 isn't k8s-ws-proxy"),
        (Response(200, b'{"sessions": [{}]}'), "what answers on port 8080 isn't k8s-ws-proxy"),
        (Response(200, b"[" + b" " * (9 << 20)), "it has more than 8 MiB to tell"),
        (_refusal(421, "wrong_node"), "421 wrong_node: No."),
        (_refusal(429, "too_many_requests"), "429 too_many_requests: No. Try again in a while."),
        (_refusal(401, "replayed"), "401 replayed: No."),
    ],
)
async def test_a_node_that_answers_something_else(at, client, answer, why):
    async def other(_request):
        return answer

    at.add_node("node-a", Node("node-a"), port_number=CALLERS)
    at.add_node("node-b", other, port_number=CALLERS)
    status, stdout, stderr = await client().run("list")
    assert status == 4
    assert len(stdout.splitlines()) == 3
    assert stderr.startswith(f"k8s-ws-proxy: no answer from node-b (pod proxy-node-b): {why}")


@pytest.mark.parametrize(("late", "why"), [(60, "not within 5 s"), (0, "what answers on port 8080 isn't k8s-ws-proxy")])
async def test_where_an_end_isn_t_answered_it_is_said_that_the_session_may_go_on(at, client, late, why):
    node = Node("node-a")

    async def ends_nothing(request):
        if request.method != "DELETE":
            return await node(request)
        await asyncio.sleep(late)
        return Response(200, b"hello")

    at.add_node("node-a", ends_nothing, port_number=CALLERS)
    status, stdout, stderr = await client().run("end", node.sessions[0]["sessionId"])
    assert (status, stdout) == (1, b"")
    assert stderr == f"k8s-ws-proxy: it may go on: no answer from node-a (pod proxy-node-a): {why}\n"


async def test_a_node_that_says_it_is_another_is_shown_as_the_one_that_was_asked(at, client):
    liar = Node("node-a", 1)
    liar.sessions[0]["node"] = "node-z"
    at.add_node("node-a", liar, port_number=CALLERS)
    _, stdout, _ = await client().run("list", "-o", "json")
    assert [session["node"] for session in json.loads(stdout)["sessions"]] == ["node-a"]
    _, stdout, _ = await client().run("show", liar.sessions[0]["sessionId"])
    assert "Node:        node-a\n" in stdout.decode()


@pytest.mark.parametrize("reason", ["expired", "replayed"])
async def test_a_signature_that_came_to_nothing_by_chance_is_made_anew_once(at, client, reason):
    node, signatures = Node("node-a"), []

    async def begins(request):
        signatures.append(dict(request.headers)["signature"])
        return _refusal(401, reason) if len(signatures) == 1 else await node(request)

    at.add_node("node-a", begins, port_number=CALLERS)
    status, stdout, stderr = await client().run("list")
    assert (status, stderr, len(stdout.splitlines())) == (0, "", 3)
    assert len(signatures) == len(set(signatures)) == 2


async def test_what_a_pod_refuses_says_nothing_of_the_apiserver_s_credentials_and_load(at, client):
    refusals = [(401, "bad_signature"), (429, "too_many_requests")]
    for number, refusal in enumerate(refusals):

        async def refuses(_request, refusal=refusal):
            return _refusal(*refusal)

        at.add_node(f"node-{number}", refuses, port_number=CALLERS)
    status, _, stderr = await client().run("list")
    assert (status, stderr.count("no answer from")) == (1, 2)
    assert at.cluster.observed.count("get pods/proxy") == 2, "each was asked once"


async def test_a_busy_apiserver_is_given_the_time_it_asks_for_and_what_waits_is_signed_afterwards(at, client):
    node, waited = Node("node-a"), []

    async def looks(request):
        created = re.search(r";created=(\d+)", dict(request.headers)["signature-input"])
        waited.append(time.time() - int(created[1]))
        return await node(request)

    at.add_node("node-a", looks, port_number=CALLERS)
    later = dataclasses.replace(at.status(429, "later"), headers=(("Retry-After", "3"),))
    at.cluster.faults.refuse_request("get", "pods/proxy", later)
    began = time.monotonic()
    status, stdout, stderr = await client().run("list")
    assert (status, stderr, len(stdout.splitlines())) == (0, "", 3)
    assert time.monotonic() - began >= 3
    assert max(waited) < 2.5


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_five_thousand_nodes(at, client):
    """With the defaults; docs/reference/command-line.md says what it takes."""
    took = await crowd(at, client, 5000)
    assert took["MiB"] < 128
    sys.stderr.write(json.dumps(took))
