"""``k8s-ws-proxy logs`` as a process: what a person and a script rely on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal

import pytest
from support import writers
from support.caller import proxy_exec, run
from support.command import Client, unnamed
from support.daemon import running_daemon

from k8s_ws_proxy.devcluster import DevCluster
from k8s_ws_proxy.devcluster.faults import Death

BULK = writers.Bulk(10_000_000)


@pytest.fixture
async def cluster():
    async with DevCluster(writers.world(BULK.pod("bulk"), BULK.pod("later", at_once=False))) as running:
        yield running


@pytest.fixture
def client(daemon, tmp_path):
    return Client(daemon.url, tmp_path / "secret", tmp_path, "logs")


@pytest.fixture
def ended(client):
    """Wait for a container's end: its log is whole then."""

    async def ended_(pod, *words):
        status, _, stderr = await client.run("-f", f"default/{pod}", *words)
        assert (status, stderr) == (0, "")

    return ended_


async def test_the_log(client, ended):
    await ended("four")
    assert await client.run("default/four") == (0, b"one\ntwo\nthree\nfour\n", "")


async def test_one_container_of_several(client, ended):
    await ended("pair", "-c", "four")
    assert await client.run("default/pair", "-c", "four", "--tail", "1") == (0, b"four\n", "")


async def test_the_last_lines(client, ended):
    await ended("four")
    assert await client.run("default/four", "--tail", "2") == (0, b"three\nfour\n", "")
    assert await client.run("--tail=0", "default/four") == (0, b"", "")


async def test_bytes_as_they_are(client):
    assert await client.run("-f", "default/wild") == (0, writers.WILD, "")
    status, stdout, _ = await client.run("-f", "default/long")
    assert (status, stdout) == (0, b"x" * writers.LONG + b"\nafter\n")


async def test_ten_megabytes_followed(client, daemon):
    process = await client.start("-f", "default/later")
    await daemon.event("session opened", subresource="log")
    assert (await run(daemon, proxy_exec("touch", "end", pod="later", container="later", tty="false"))).exit_code == 0
    stdout, stderr = await process.communicate()
    assert (process.returncode, stderr) == (0, b"")
    assert writers.sha256(stdout) == BULK.sha256


async def test_a_follower_sees_lines_as_they_come_and_ends_with_the_container(client, daemon):
    process = await client.start("-f", "default/waits")
    assert await process.stdout.readline() == b"one\n"
    assert await process.stdout.readline() == b"two\n"
    assert (await run(daemon, proxy_exec("touch", "end", pod="waits", container="waits", tty="false"))).exit_code == 0
    assert await process.communicate() == (b"three\n", b"")
    assert process.returncode == 0


async def test_timestamps_and_since(client, ended):
    await ended("spaced")
    _, stdout, _ = await client.run("default/spaced", "--timestamps")
    lines = stdout.splitlines(keepends=True)
    assert [re.sub(rb"^\S+Z ", b"", line) for line in lines] == [b"one\n", b"two\n", b"three\n"]
    last = lines[-1].split()[0].decode()
    assert (await client.run("default/spaced", "--since", last))[1] == b"three\n"
    assert (await client.run("default/spaced", "--since", "1h30m"))[1] == b"one\ntwo\nthree\n"
    assert (await client.run("default/spaced", "--since", "2101-01-01T00:00:00Z"))[1] == b""


async def test_the_run_before(client, ended, daemon):
    await ended("twice")
    await run(daemon, "/proxy/attach/default/twice/twice?tty=false")
    assert await client.run("default/twice", "--previous") == (0, b"run 1\n", "")
    assert (await client.run("-p", "default/four"))[0] == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("default/nope",), 'pods "nope" not found'),
        (("default/four", "-c", "nope"), "container nope is not valid for pod four"),
        (("default/four", "-p"), 'previous terminated container "four" in pod "four" not found'),
    ],
)
async def test_what_can_t_be_shown_is_said(client, words, told):
    status, stdout, stderr = await client.run(*words)
    assert (status, stdout, unnamed(stderr)) == (1, b"", f"k8s-ws-proxy: {told}\n")


async def test_what_can_t_be_asked_for_is_said(client):
    told = "say in which namespace the pod is: NAMESPACE/POD, for example default/four"
    assert await client.run("four") == (1, b"", f"k8s-ws-proxy: {told}\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--tail", "x"), "argument --tail: 'x' isn't a number from 0 to 10000"),
        (("--tail", "10001"), "argument --tail: '10001' isn't a number from 0 to 10000"),
        (("--since", "yesterday"), "argument --since: 'yesterday' isn't a time, such as 5m or 2006-01-02T15:04:05Z"),
        (("--since=-5m",), "argument --since: '-5m' isn't a time"),
    ],
)
async def test_a_wrong_use(client, words, told):
    status, stdout, stderr = await client.run("default/four", *words)
    assert (status, stdout) == (2, b"")
    assert told in stderr


async def test_a_log_that_is_cut_off_is_not_a_success(client, cluster):
    cluster.faults.die_after(8, Death.EOF)
    status, stdout, stderr = await client.run("-f", "default/waits")
    assert (status, stdout, unnamed(stderr)) == (
        1,
        b"one\ntwo\n",
        "k8s-ws-proxy: the log was cut off: The apiserver's connection ended before the log did.\n",
    )


async def test_a_proxy_that_shuts_down_says_so(cluster, tmp_path):
    kubeconfig = cluster.write_kubeconfig(tmp_path / "kubeconfig", "proxy")
    async with running_daemon(kubeconfig, tmp_path, DRAIN_TIMEOUT="0s") as daemon:
        process = await Client(daemon.url, tmp_path / "secret", tmp_path, "logs").start("-f", "default/waits")
        await process.stdout.readline()
        await daemon.terminate()
        _, stderr = await process.communicate()
    assert process.returncode == 1
    told = "k8s-ws-proxy: the log was cut off: the proxy on this node is shutting down\n"
    assert unnamed(stderr.decode()) == told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_ends_it_as_it_ends_every_program(client, cluster, number):
    process = await client.start("-f", "default/waits")
    await process.stdout.readline()
    process.send_signal(number)
    _, stderr = await process.communicate()
    assert (process.returncode, stderr) == (-number, b"")
    await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 0)


async def test_head_gets_its_lines_and_ends_it_quietly(client, cluster):
    reader, writer = os.pipe()
    process = await client.start("-f", "default/bulk", "--tail", "10000", stdout=writer)
    os.close(writer)
    assert (await asyncio.to_thread(os.read, reader, 5)).startswith(b"line ")
    os.close(reader)
    _, stderr = await process.communicate()
    assert (process.returncode, stderr) == (-signal.SIGPIPE, b"")
    await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 0)


async def test_a_full_disk_is_said(client):
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(open("/dev/full", "wb"))  # noqa: ASYNC230, PTH123
        status, _, stderr = await client.run("-f", "default/four", stdout=full)
    assert (status, stderr) == (1, "k8s-ws-proxy: the output can't be written: No space left on device\n")
