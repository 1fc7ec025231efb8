"""Connections to the apiserver in advance, by a daemon as a process: who opens one of several sessions has one."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from support import rawws
from support.caller import PIPES, ask, opened, proxy_exec, run, script
from support.sessions import issue

from k8s_ws_proxy.devcluster import DevCluster
from k8s_ws_proxy.wire.framing.channels import STDIN, STDOUT

TRUE = proxy_exec("true", **PIPES)
MOST = 3


@pytest.fixture
async def daemon(start):
    return await start(WS_PROXY_ADMIN_ADDR="127.0.0.1:0", READY_CONNECTIONS=str(MOST))


async def samples(daemon):
    """How many are ready, and what connections sessions were opened on."""
    async with rawws.connected(daemon.ports["admin"], b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n") as connection:
        page = connection.answer.body.decode()
    found = {
        (sample.name.removeprefix("k8s_ws_proxy_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    return found["ready_connections",], found["dials_total", "ready"], found["dials_total", "new"]


async def holds(daemon, count):
    """Wait until so many are ready: it dials by itself. The test's time-out bounds the wait."""
    while True:
        if (await samples(daemon))[0] == count:
            return


async def lost(cluster, *, left):
    """Wait until of the cluster's connections none is left but so many."""
    while True:
        if len(there(cluster)) == left:
            return
        await asyncio.sleep(0.02)


async def fill(daemon):
    for _ in range(MOST + 1):
        assert (await run(daemon, TRUE)).exit_code == 0
    await holds(daemon, MOST)


def there(cluster):
    """The connections that the cluster has, whoever uses them or not."""
    return set(cluster._running.server._streams)


def execs(cluster):
    return [seen for seen in cluster.observed.seen if "/exec" in seen.target]


async def test_sessions_one_after_the_other_are_opened_on_connections_that_are_there(daemon, cluster):
    await fill(daemon)
    _, ready, new = await samples(daemon)
    for _ in range(MOST):
        assert (await run(daemon, script("echo hello; exit 3"))).exit_code == 3
    assert (await samples(daemon))[1:] == (ready + MOST, new)
    assert len(execs(cluster)) == ready + new + MOST, "each command was asked for once"


async def test_who_issues_one_has_a_connection_made_for_it(daemon):
    assert (await samples(daemon)) == (0, 0, 0)
    await daemon.event("the apiserver answers")
    await issue(daemon, namespace="default", pod="shell", command=["true"])
    await holds(daemon, 1)


async def test_without_traffic_or_where_none_may_be_there_are_none(start, daemon, cluster):
    assert (await run(daemon, TRUE)).exit_code == 0
    assert (await samples(daemon))[0] == 0, "one session is no traffic"
    off = await start(WS_PROXY_ADMIN_ADDR="127.0.0.1:0", READY_CONNECTIONS="0")
    for _ in range(5):
        assert (await run(off, TRUE)).exit_code == 0
    assert await samples(off) == (0, 0, 5)


async def test_an_apiserver_that_restarts_takes_them_with_it_and_no_session_fails(daemon, cluster):
    await fill(daemon)
    await cluster.stop_listening(drop=True)
    await cluster.start_listening()
    for _ in range(MOST + 1):
        assert (await run(daemon, TRUE)).exit_code == 0
    await holds(daemon, MOST)


async def test_none_is_older_than_its_token(start, cluster, kubeconfig, tmp_path):
    """The token is read again when a session is refused with the old one: what was made by that is closed then."""
    token = cluster.write_token("proxy", tmp_path / "token")
    document = yaml.safe_load(kubeconfig.read_text())
    document["users"][0]["user"] = {"tokenFile": str(token)}
    kubeconfig.write_text(yaml.safe_dump(document))
    daemon = await start(WS_PROXY_ADMIN_ADDR="127.0.0.1:0", READY_CONNECTIONS=str(MOST))
    await fill(daemon)
    before = there(cluster)
    cluster.replace_token(cluster.token("proxy"), "another")
    token.write_text("another")
    assert (await run(daemon, TRUE)).exit_code == 0
    sent = [dict(seen.headers)["authorization"] for seen in execs(cluster)]
    assert sent[-2:][1] == "Bearer another"
    while before & there(cluster):  # noqa: ASYNC110 - the daemon closes them
        await asyncio.sleep(0.02)
    await holds(daemon, MOST)


async def test_another_ca_closes_those_that_the_old_one_vouched_for(daemon, cluster, kubeconfig):
    await fill(daemon)
    async with DevCluster() as other:
        other.write_kubeconfig(kubeconfig, "proxy")
        daemon.process.send_signal(signal.SIGHUP)
        await lost(cluster, left=0)
        await fill(daemon)
        assert len(execs(other)) == MOST + 1
        assert not there(cluster)


async def test_a_daemon_that_goes_down_closes_them_at_once_and_not_its_sessions(daemon, cluster):
    await fill(daemon)
    async with opened(daemon, proxy_exec("cat", **PIPES)) as ws:
        await holds(daemon, MOST)
        daemon.process.send_signal(signal.SIGTERM)
        await daemon.event("shutting down", sessions=1)
        await lost(cluster, left=1)
        await ws.send(STDIN, b"still here\n")
        assert await ws.until(STDOUT, b"\n") == b"still here\n"
        answer = await ask(daemon, TRUE)
        assert json.loads(answer.body)["reason"] == "shutting_down"
    assert await daemon.wait() == 0


async def test_many_at_once(daemon, cluster):
    """Who finds none ready dials; and afterwards there are no more than may be."""
    await fill(daemon)
    before = len(execs(cluster))
    ended = await asyncio.gather(*(run(daemon, TRUE) for _ in range(60)))
    assert {each.exit_code for each in ended} == {0}
    assert len(execs(cluster)) == before + 60
    await holds(daemon, MOST)
