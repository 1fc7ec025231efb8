"""``k8s-ws-proxy sessions`` as a process, before a real daemon with open sessions."""

from __future__ import annotations

import json
import re
import signal

import pytest
from support import identities
from support.caller import PIPES, proxy_exec
from support.command import Client
from support.daemon import running_daemon
from support.listing import session_of

from k8s_ws_proxy.devcluster import DevCluster
from k8s_ws_proxy.wire.framing import channels

CAT = proxy_exec("cat", **PIPES)


@pytest.fixture
async def daemon(start):
    return await start(NODE_NAME="node-a")


@pytest.fixture
def client(daemon, tmp_path):
    return Client(daemon.url, tmp_path / "secret", tmp_path, "sessions")


@pytest.fixture
async def two(daemon):
    """A terminal of alice's, and a pipe of bob's."""
    async with session_of(daemon, "alice") as (terminal, ws), session_of(daemon, "bob", CAT) as (pipe, _):
        await ws.until(channels.STDOUT, b"here")
        yield terminal, pipe, ws


def cells(line):
    return re.split(r" {2,}", line)


async def test_the_list(client, two):
    alice, bob, _ = two
    status, stdout, stderr = await client.run("list")
    assert (status, stderr) == (0, "")
    head, *lines = stdout.decode().splitlines()
    assert cells(head) == ["ID", "STATE", "POD", "CONTAINER", "USER", "NODE", "AGE", "IDLE", "KIND"]
    assert [cells(line)[:6] for line in lines] == [
        [alice[-8:], "open", "default/shell", "shell", "alice", "node-a"],
        [bob[-8:], "open", "default/shell", "shell", "bob", "node-a"],
    ]
    assert [cells(line)[-1] for line in lines] == ["exec/tty", "exec"]
    assert all(re.fullmatch(r"\d+s", cell) for line in lines for cell in cells(line)[6:8])


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("-A",), {"alice", "bob"}),
        (("-n", "default", "--state", "open"), {"alice", "bob"}),
        (("--user", "bob"), {"bob"}),
        (("-n", "kube-system"), set()),
        (("--state", "issued"), set()),
    ],
)
async def test_filters(client, two, words, found):
    status, stdout, stderr = await client.run("list", "-o", "json", *words)
    assert (status, stderr) == (0, "")
    answer = json.loads(stdout)
    assert answer["silent"] == []
    assert {session["user"] for session in answer["sessions"]} == found
    status, stdout, stderr = await client.run("list", *words)
    assert status == 0
    assert len(stdout.decode().splitlines()) == len(found) + bool(found)
    assert ("there are no such sessions" in stderr) == (not found)


async def test_a_wide_list_has_whole_ids_and_what_was_run(client, two):
    status, stdout, _ = await client.run("list", "-o", "wide", "--user", "alice")
    _, line = stdout.decode().splitlines()
    assert status == 0
    assert line.startswith(two[0])
    assert line.endswith("why not   sh -c echo here; cat")


async def test_show(client, two):
    alice, _, _ = two
    for given in (alice, alice[-8:], alice.upper()):
        status, stdout, stderr = await client.run("show", given)
        assert (status, stderr) == (0, "")
        assert f"Session:     {alice}\nState:       open, idle for " in stdout.decode()
        assert "User:        alice\n" in stdout.decode()
    status, stdout, _ = await client.run("show", "-o", "json", alice)
    assert status == 0
    assert json.loads(stdout)["sessionId"] == alice


async def test_an_end_is_told_on_the_terminal_with_who_and_why(client, daemon, two):
    alice, bob, ws = two
    words = ("--as", "ops-jane", "--reason", "maintenance: 100% of it & more", alice[-8:])
    status, stdout, stderr = await client.run("end", *words)
    assert (status, stderr) == (0, "")
    assert stdout.decode() == f"ending session {alice}: alice in default/shell on node-a\n"
    sentence = "ended by ops-jane: maintenance: 100% of it & more"
    await ws.until(channels.STDOUT, f"k8s-ws-proxy: {sentence}.".encode())
    told = await ws.finish()
    assert told.status["reason"] == "Terminated"
    await daemon.event("session terminated", session=alice, by="ops-jane", why="maintenance: 100% of it & more")
    await daemon.event("session ended", session=alice)
    status, stdout, _ = await client.run("list", "-o", "json", "--state", "open")
    assert [session["sessionId"] for session in json.loads(stdout)["sessions"]] == [bob]


async def test_what_isn_t_there(client, two):
    unknown = "01995f3c-0000-7000-8000-000000000001"
    for command in ("show", "end"):
        status, stdout, stderr = await client.run(command, unknown)
        assert (status, stdout) == (1, b"")
        assert f"(404 no_such_session): There is no session {unknown} on this node" in stderr
        status, _, stderr = await client.run(command, "00000000")
        assert status == 1
        assert "no session whose id ends with 00000000" in stderr


async def test_watching_until_ctrl_c(client, daemon):
    async with session_of(daemon, "alice") as (first, _):
        process = await client.start("list", "-w")
        assert cells((await process.stdout.readline()).decode().strip())[0] == "ID"
        assert (await process.stdout.readline()).decode().startswith(f"{first[-8:]}   open ")
        async with session_of(daemon, "bob", CAT) as (second, _):
            assert (await process.stdout.readline()).decode().startswith(f"{second[-8:]}   open ")
        assert (await process.stdout.readline()).decode().startswith(f"{second[-8:]}   ended")
        process.send_signal(signal.SIGINT)
        stdout, stderr = await process.communicate()
        assert (process.returncode, stdout, stderr) == (0, b"", b"")


async def test_watching_one_state_as_a_machine(client, daemon):
    async with session_of(daemon, "alice", CAT) as (session, ws):
        process = await client.start("list", "-w", "-o", "json", "--state", "open")
        event = json.loads(await process.stdout.readline())
        assert (event["event"], event["session"]["sessionId"]) == ("session", session)
        await client.run("end", session)
        await ws.finish()
    while event["event"] != "ended":  # it may be seen while it is ending
        event = json.loads(await process.stdout.readline())
        assert event["session"]["sessionId"] == session
    process.send_signal(signal.SIGTERM)
    await process.communicate()
    assert process.returncode == -signal.SIGTERM


async def test_watching_goes_on_while_the_proxy_is_away_and_says_so(client, daemon, two):
    process = await client.start("list", "-w")
    for _ in range(3):
        await process.stdout.readline()
    await daemon.terminate(signal.SIGKILL)
    assert b"nothing listens at" in await process.stderr.readline()
    assert await process.stderr.readline() == b"Still watching.\n"
    process.send_signal(signal.SIGINT)
    stdout, _ = await process.communicate()
    assert (process.returncode, stdout) == (0, b"")


async def test_a_reader_that_leaves_is_no_error(client, two):
    process = await client.start("list", "-w", "-o", "json")
    await process.stdout.readline()
    process.stdout._transport.close()
    await client.run("end", two[0])
    stderr = await process.stderr.read()
    await process.wait()
    assert (process.returncode, stderr) == (-signal.SIGPIPE, b"")


async def test_nobody_there(client, daemon):
    status, stdout, stderr = await client.run("list")
    assert (status, stdout, stderr) == (0, b"", "k8s-ws-proxy: there are no sessions\n")
    assert json.loads((await client.run("list", "-o", "json"))[1]) == {"sessions": [], "silent": []}
    await daemon.terminate()
    status, _, stderr = await client.run("list", "-w")
    assert status == 1
    assert "nothing listens at" in stderr


async def test_a_proxy_that_takes_v1_only_gets_no_v1_signature(start, tmp_path):
    daemon = await start(ACCEPTED_SIGNATURES="v1")
    client = Client(daemon.url, tmp_path / "secret", tmp_path, "sessions")
    status, _, stderr = await client.run("list")
    assert status == 1
    assert "isn't enough for the session API" in stderr
    assert not [line for line in daemon.log if line.get("reason") == "signature_v2_required"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--url", "http://127.0.0.1:1", "--context", "x"), "--url asks one proxy and --context all of a cluster"),
        (("--workload", "x", "--cert", "c", "--key", "k"), "a certificate can't be shown through the apiserver"),
        (("--kubeconfig", "/nowhere"), "No cluster to work on"),
        (("--url", "http://127.0.0.1:1", "--cert", "c", "--key", "k"), "a certificate can only be shown over TLS"),
    ],
)
async def test_whom_to_ask_can_t_be_both(client, words, said):
    status, stdout, stderr = await client.run("list", *words)
    assert (status, stdout) == (1, b"")
    assert said in stderr


@pytest.fixture
async def by_user(tmp_path):
    """Where each acts as themselves."""
    async with DevCluster(identities.world(identities.CONSTRAINED, identities.REVIEWS)) as cluster:
        kubeconfig = cluster.write_kubeconfig(tmp_path / "kubeconfig", "proxy")
        async with running_daemon(kubeconfig, tmp_path, IDENTITY="user", NODE_NAME="node-a") as daemon:
            yield daemon, Client(daemon.url, tmp_path / "secret", tmp_path, "sessions")


async def test_who_may_not_is_told_what_would_allow_it(by_user):
    daemon, client = by_user
    async with session_of(daemon, "alice") as (session, ws):
        status, stdout, stderr = await client.run("list", "--as", "bob")
        assert (status, stdout, stderr) == (0, b"", "k8s-ws-proxy: there are no sessions\n")
        for command, verb in (("show", "get"), ("end", "delete")):
            status, stdout, stderr = await client.run(command, session, "--as", "bob")
            assert (status, stdout) == (1, b"")
            assert (
                f"(403 access_denied): bob may not {verb} sessions.terminal.openova.io in the namespace def" in stderr
            )
        status, _, stderr = await client.run("list")
        assert status == 1
        assert "Say for whom this is with --as USER" in stderr
        assert (await client.run("list", "--as", "alice"))[1].count(b"\n") == 2
        status, _, stderr = await client.run("end", session, "--as", "carol", "--as-group", "oidc:ops")
        assert (status, stderr) == (0, "")
        assert (await ws.finish()).status["message"] == "ended by carol"
