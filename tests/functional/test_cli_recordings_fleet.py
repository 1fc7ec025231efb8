"""``k8s-ws-proxy recordings`` for every proxy of a cluster: each pod is asked through the apiserver's pod proxy."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json

import pytest
from support.archive import NOON, Recordings, cast_of, id_at
from support.command import Client
from support.daemon import SECRET, running_daemon
from support.fleet import CALLERS, WORLD
from support.site import site

DOWN = "k8s-ws-proxy: no answer from node-down (pod proxy-node-down): 503: connection refused\n"
LARGE = cast_of(*(hashlib.sha256(b"%d" % number).hexdigest().encode() * 8 + b"\r\n" for number in range(20_000)))


class Fleet(Client):
    """Runs a command that finds the proxies by a kubeconfig."""

    strict = False  # what is under way when it ends is left to the system


@pytest.fixture
async def nodes(tmp_path):
    """Two nodes with real proxies and recordings, and one where nothing answers; and a client of all."""
    async with site(tmp_path, WORLD) as at, contextlib.AsyncExitStack() as stack:
        (tmp_path / "secret").write_bytes(SECRET)
        daemons = {}
        kubeconfig = at.cluster.write_kubeconfig(tmp_path / "kubeconfig-proxy", "proxy")

        async def start(node):
            own = tmp_path / node
            made = Recordings(own / "recordings")
            made.root.mkdir(parents=True)
            environ = {"NODE_NAME": node, "RECORDING_DIR": str(made.root)}
            daemon = await stack.enter_async_context(running_daemon(kubeconfig, own, **environ))
            daemons[node] = daemon
            at.add_node(node, ("127.0.0.1", daemon.port), port_number=CALLERS)
            return made

        first, second = await asyncio.gather(*map(start, ("node-a", "node-b")))
        at.add_node("node-down")
        viewer = at.cluster.write_kubeconfig(tmp_path / "kubeconfig-viewer", "viewer")
        client = Fleet("", tmp_path / "secret", tmp_path, "recordings", KUBECONFIG=str(viewer))
        client.daemons = daemons
        yield first, second, client


async def test_every_node_s_newest_first_and_who_doesn_t_answer_is_named(nodes):
    first, second, client = nodes
    ids = [
        first.finished(at=NOON),
        second.running(b"x", at=NOON + 1, node="node-b"),
        first.finished(at=NOON + 2, user="bob"),
    ]
    status, stdout, stderr = await client.run("list")
    assert (status, stderr) == (4, DOWN)
    lines = stdout.decode().splitlines()[1:]
    assert [(line.split()[0], line.split()[5]) for line in lines] == [
        (ids[2], "node-a"),
        (ids[1], "node-b"),
        (ids[0], "node-a"),
    ]
    status, stdout, _ = await client.run("list", "-o", "json", "--user", "alice", "--limit", "1")
    told = json.loads(stdout)
    assert (status, [each["sessionId"] for each in told["recordings"]], told["more"]) == (4, [ids[1]], True)
    assert told["silent"] == [{"node": "node-down", "pod": "proxy-node-down", "why": "503: connection refused"}]


async def test_pages_of_every_node(nodes):
    first, second, client = nodes
    ids = sorted(first.many(1500) + second.many(1200), reverse=True)
    status, stdout, _ = await client.run("list", "-o", "json", "--limit", "5000")
    assert (status, [each["sessionId"] for each in json.loads(stdout)["recordings"]]) == (4, ids)


async def test_one_is_found_wherever_it_is_and_read_in_parts(nodes, tmp_path):
    first, second, client = nodes
    assert len(LARGE) > 2 * 4 * 1024 * 1024
    for made in (first, second):
        session = made.finished(LARGE)
        into = tmp_path / f"{session}.cast"
        status, _, stderr = await client.run("get", session, "-o", str(into), "--receipt")
        assert (status, stderr) == (0, "")
        assert into.read_bytes() == LARGE
        assert into.with_suffix(".json").read_bytes() == made.receipt(session).read_bytes()
    exact = b"# " + b"x" * (256 * 1024 - 3) + b"\n"
    session = second.running(exact)
    assert await client.run("get", session, "-o", "-") == (0, exact, "")
    empty = second.running(b"")
    assert await client.run("get", empty, "-o", "-") == (0, b"", "")


async def test_what_no_node_has(nodes):
    _, _, client = nodes
    for words in (("get", "-o", "-"), ("get", "--receipt", "-o", "x.cast"), ("play",), ("play", "--follow")):
        status, stdout, stderr = await client.run(words[0], id_at(NOON), *words[1:])
        assert (status, stdout, stderr.startswith(DOWN)) == (1, b"", True), words
        assert "there is no recording" in stderr
        assert "on 2 nodes that answered" in stderr


async def test_where_nobody_answers_nobody_says_that_there_is_none(nodes, tmp_path):
    first, _, client = nodes
    session = first.finished()
    (tmp_path / "secret").write_bytes(b"another key that is as long as it has to be")
    for words in (("get", session, "-o", "-"), ("play", session), ("verify", session)):
        status, stdout, stderr = await client.run(*words)
        assert (status, stdout) == (2 if words[0] == "verify" else 1, b"")
        assert "no answer from 2 nodes: node-a, node-b: 401 bad_signature" in stderr
        assert DOWN in stderr
        assert "no node has said whether there is a recording" in stderr
        assert "there is no recording" not in stderr


async def test_what_some_node_has_is_verified(nodes):
    first, second, client = nodes
    for made in (first, second):
        session = made.finished(LARGE)
        status, stdout, _ = await client.run("verify", session)
        assert (status, b"as the proxy wrote them" in stdout) == (0, True)
        made.cast(session).write_bytes(LARGE[:-1])
        status, stdout, _ = await client.run("verify", session)
        assert (status, b"the recording was changed" in stdout) == (1, True)
    status, stdout, stderr = await client.run("verify", id_at(NOON))
    assert (status, stdout, "on 2 nodes that answered" in stderr) == (2, b"", True)
    assert stderr.startswith(DOWN)


async def test_one_that_goes_on_is_followed_through_the_apiserver(nodes):
    first, second, client = nodes
    for made in (first, second):
        for begun in (cast_of(b"one\r\n", every=0), b""):
            session = made.running(begun)
            process = await client.start("play", session, "--follow")
            if begun:
                assert await process.stdout.readline() == b"one\r\n"
            with made.cast(session).open("ab") as file:
                file.write(b'[0.1, "o", "two\\r\\n"]\n' if begun else cast_of(b"two\r\n", every=0))
            assert await process.stdout.readline() == b"two\r\n"
            made.finish(session)
            _, stderr = await process.communicate()
            assert (process.returncode, stderr) == (0, b"")


async def test_a_node_that_breaks_off_is_told(nodes):
    first, _, client = nodes
    session = first.running(cast_of(b"one\r\n", every=0))
    process = await client.start("play", session, "--follow")
    assert await process.stdout.readline() == b"one\r\n"
    client.daemons["node-a"].process.kill()
    _, stderr = await process.communicate()
    assert (process.returncode, b"broke off in the middle" in stderr) == (1, True)
