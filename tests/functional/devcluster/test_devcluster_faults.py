"""What can be made to go wrong, and what can be looked at."""

import asyncio
import socket

import pytest

from k8s_ws_proxy.devcluster import Death, DevCluster

V4 = "v4.channel.k8s.io"


async def test_the_next_upgrades_are_refused_and_those_after_them_are_not(cluster, clients, path):
    cluster.faults.refuse(503, b'{"kind":"Status","reason":"ServiceUnavailable"}', times=2)
    cluster.faults.refuse(302, b"elsewhere", content_type="text/plain")
    answers = [await clients.ask(path("true")) for _ in range(4)]
    assert [answer.code for answer in answers] == [503, 503, 302, 101]
    assert (await answers[0].json())["reason"] == "ServiceUnavailable"
    assert await answers[2].body() == b"elsewhere"


async def test_a_plain_request_takes_no_fault(cluster, clients):
    cluster.faults.refuse(503)
    assert (await clients.ask("/version", upgrade=False)).code == 200


async def test_a_hanging_upgrade_is_never_answered(cluster, clients, path):
    cluster.faults.hang()
    client = await clients.connect()
    asking = asyncio.get_running_loop().create_task(client.request(path("true"), clients.headers()))
    await cluster.observed.wait_for(lambda: len(cluster.observed.seen) == 1)
    assert (await clients.run("true")).exit_code == 0
    assert not asking.done()
    client.leave()
    with pytest.raises(asyncio.IncompleteReadError):
        await asking


@pytest.mark.parametrize("sent", [0, 1, 2, 3, 5, 1000, 100_000])
async def test_it_dies_after_exactly_so_many_bytes(cluster, clients, sent):
    cluster.faults.die_after(sent)
    client = await clients.exec("head", "-c", "200000", "/dev/zero")
    assert len(await client.reader.read()) == sent
    assert (await clients.run("true")).exit_code == 0


@pytest.mark.parametrize("sent", [0, 5])
async def test_it_dies_by_a_reset(cluster, clients, sent):
    cluster.faults.die_after(sent, Death.RESET)
    client = await clients.exec("cat", streams={"stdin": "1", "stdout": "1"})
    if sent:
        await client.stdin(b"more than there is room for")
    with pytest.raises(ConnectionResetError):
        await client.reader.read()


async def test_the_port_can_be_closed_and_opened_again(cluster, clients):
    url = cluster.url
    open_before = await clients.exec("cat", streams={"stdin": "1", "stdout": "1"})
    await cluster.stop_listening()
    with pytest.raises(ConnectionRefusedError):
        await clients.connect()
    await open_before.stdin(b"still")
    assert await open_before.message(1) == b"still"
    await cluster.start_listening()
    assert cluster.url == url
    assert (await clients.run("true")).exit_code == 0


async def test_closing_the_port_can_drop_what_is_open(cluster, clients):
    client = await clients.exec("cat", streams={"stdin": "1", "stdout": "1"})
    await client.frame()
    await cluster.stop_listening(drop=True)
    with pytest.raises(ConnectionResetError):
        await client.reader.read()
    await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 0)


async def test_what_was_asked_can_be_looked_at(cluster, clients, path):
    target = path("sh", "-c", "exit 0")
    await clients.ask(target, offer=["v5.channel.k8s.io", V4])
    (seen,) = cluster.observed.seen
    assert (seen.method, seen.target, seen.offered) == ("GET", target, ("v5.channel.k8s.io", V4))
    assert ("authorization", f"Bearer {cluster.token('admin')}") in seen.headers


async def test_open_streams_and_running_processes_are_counted(cluster, clients):
    client = await clients.exec("cat", streams={"stdin": "1", "stdout": "1"})
    await client.stdin(b"x")
    await client.message(1)
    assert (cluster.observed.open_streams, cluster.observed.running) == (1, 1)
    await client.end_stdin()
    await client.rest()
    await cluster.observed.wait_for(lambda: (cluster.observed.open_streams, cluster.observed.running) == (0, 0))


async def test_who_was_accepted_when_the_port_was_closed_holds_up_no_end():
    """asyncio has asked for a protocol then, and finds that there is nothing to connect it to; or it connects later."""
    async with DevCluster() as own:
        server = own._running.server
        server._connection()
        await own.stop_listening()
        late = server._connection()
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        far.setblocking(False)
        await loop.connect_accepted_socket(lambda: late, near)
    assert await loop.sock_recv(far, 1) == b""
    far.close()
