"""docs/observed.md, "What stays", and who waits for whom: processes, clients, containers."""

import asyncio
import hashlib
import os
from pathlib import Path

import pytest

from k8s_ws_proxy.devcluster import DevCluster

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
CAT = {"stdin": "1", "stdout": "1"}
TTY = {"stdin": "1", "stdout": "1", "tty": "1"}
STREAMS = pytest.mark.parametrize("streams", [{"stdout": "1"}, TTY], ids=["pipes", "tty"])
STAYS = ("sh", "-c", "echo $$; exec sleep 5000")


def running(*pids):
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


async def gone(cluster):
    await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 0)


async def alive(clients, pid):
    return (await clients.run("kill", "-0", str(pid))).exit_code == 0


@STREAMS
@pytest.mark.parametrize("offer", [V5, V4])
async def test_the_process_stays_alive_after_a_close_frame(cluster, clients, streams, offer):
    client = await clients.exec(*STAYS, streams=streams, offer=[offer])
    pid = int(await client.message(1))
    await client.close_frame()
    ended = await client.rest()
    assert (ended.close, ended.channel(3)) == ((1000, b""), b"")
    await gone(cluster)
    assert await alive(clients, pid)


@STREAMS
@pytest.mark.parametrize("leave", ["reset", "leave"])
async def test_the_process_stays_alive_after_a_drop_on_v5(cluster, clients, streams, leave):
    client = await clients.exec(*STAYS, streams=streams)
    pid = int(await client.message(1))
    getattr(client, leave)()
    await gone(cluster)
    assert await alive(clients, pid)


@STREAMS
@pytest.mark.parametrize("leave", ["reset", "leave"])
async def test_a_v4_connection_dropped_without_a_close_frame_kills(cluster, clients, streams, leave):
    client = await clients.exec(*STAYS, streams=streams, offer=[V4])
    await client.message(1)
    getattr(client, leave)()
    await cluster.observed.wait_for(lambda: cluster.observed.running == 0)


async def test_a_program_that_reads_stdin_without_a_tty_ends_by_itself(cluster, clients):
    client = await clients.exec("sh", "-c", "echo up; cat", streams=CAT)
    await client.until(b"up")
    client.leave()
    await cluster.observed.wait_for(lambda: cluster.observed.running == 0)


async def test_an_abandoned_shell_on_a_tty_can_still_work(cluster, clients):
    client = await clients.exec("sh", streams=TTY)
    await client.stdin(b"mkfifo go done; echo $((1+1)) > file; read x < go; echo > done\n")
    await client.until(b"done\r\n")
    client.leave()
    await gone(cluster)
    ended = await clients.sh("while [ ! -p go ]; do :; done; echo > go; read x < done; cat file")
    assert ended.stdout == b"2\n"
    assert cluster.observed.running == 1


async def test_output_nobody_reads_any_more_holds_the_process_and_does_not_end_it(cluster, clients):
    client = await clients.exec("sh", "-c", "echo $$; exec cat /dev/zero", streams={"stdout": "1"})
    pid = int((await client.message(1)).split(b"\n")[0])
    client.leave()
    await gone(cluster)
    assert await alive(clients, pid)


@STREAMS
async def test_children_that_hold_the_streams_do_not_hold_up_the_status(clients, streams):
    script = "trap '' HUP; sleep 5000 & head -c 11000 /dev/zero | tr '\\0' x; exit 4"
    for _ in range(20):
        ended = await clients.sh(script, streams=streams)
        assert (len(ended.stdout), ended.exit_code) == (11000, 4)


async def test_a_child_that_writes_for_ever_does_not_hold_up_the_status(clients):
    ended = await clients.sh("cat /dev/zero & echo parent >&2; exit 5")
    assert (ended.stderr, ended.exit_code) == (b"parent\n", 5)


async def moved(clients, pid):
    """Bytes the process has written, by the kernel's count."""
    ended = await clients.run("cat", f"/proc/{pid}/io")
    return int(ended.stdout.split(b"wchar: ")[1].split()[0])


@STREAMS
async def test_a_client_that_does_not_read_holds_the_process_back_and_nothing_is_lost(clients, streams):
    await clients.sh("head -c 40000000 /dev/urandom > random")
    client = await clients.exec("sh", "-c", "stty raw 2>/dev/null; echo $$; exec cat random", streams=streams)
    pid, _, beginning = (await client.message(1)).partition(b"\n")
    # Another session moves 64 MB meanwhile: this one would have come as far, were it not held back.
    other = await clients.run("head", "-c", "64000000", "/dev/zero")
    assert len(other.stdout) == 64000000
    assert await moved(clients, int(pid)) < 16_000_000
    ended = await client.rest()
    digest = await clients.run("sha256sum", "random")
    assert ended.exit_code == 0
    assert hashlib.sha256(beginning + ended.stdout).hexdigest() == digest.stdout.split()[0].decode()


async def test_a_process_that_does_not_read_holds_the_client_back_and_nothing_is_lost(clients):
    await clients.run("mkfifo", "go")
    client = await clients.exec("sh", "-c", "read x < go; exec sha256sum", streams=CAT)
    data = os.urandom(40_000_000)
    handed_over = 0

    async def send():
        nonlocal handed_over
        for start in range(0, len(data), 50_000):
            await client.stdin(data[start : start + 50_000])
            handed_over = start
        await client.end_stdin()

    sending = asyncio.get_running_loop().create_task(send())
    other = await clients.run("head", "-c", "64000000", "/dev/zero")
    assert len(other.stdout) == 64000000
    assert handed_over < 16_000_000
    await clients.sh("echo > go")
    await sending
    ended = await client.rest()
    assert ended.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


@pytest.mark.slow
async def test_the_last_output_comes_before_the_status_hundreds_of_times(clients):
    for number in range(200):
        ended = await clients.sh(f"head -c 60000 /dev/zero; printf end{number} >&2")
        assert (len(ended.stdout), ended.stderr) == (60000, b"end%d" % number)
        ended = await clients.sh(f"printf end{number}", streams=TTY)
        assert ended.stdout == b"end%d" % number


async def test_nothing_is_left_when_the_cluster_stops(clients, cluster):
    script = """
        echo $$
        tmux -f /dev/null new-session -d 'sleep 4999' && tmux list-panes -F '#{pane_pid}'
        setsid sleep 4998 & echo $!
        exec sleep 5000
    """
    async with DevCluster() as short_lived:
        theirs = type(clients)(short_lived)
        client = await theirs.exec("sh", "-c", script)
        text = b""
        while text.count(b"\n") < 3:
            text += await client.message(1)
        pids = [int(line) for line in text.split()]
        assert running(*pids) == pids
    assert running(*pids) == []
    assert (short_lived.observed.open_streams, short_lived.observed.running) == (0, 0)
    assert (await client.rest()).close is None


async def test_a_killed_containers_successor_starts_afresh(cluster, clients):
    client = await clients.exec("sh", "-c", "echo up; exec sleep 5000", streams=TTY)
    await client.until(b"up")
    await cluster.delete_pod("default", "shell")
    assert (await client.rest()).exit_code == 137
    assert (await clients.run("echo", "again")).stdout == b"again\n"


async def test_no_descriptor_is_left_behind(cluster, clients):
    await clients.run("true")
    before = descriptors()
    for _ in range(50):
        one = await clients.exec("cat", streams=TTY)
        two = await clients.exec("cat", streams=CAT)
        await one.stdin(b"\x04")
        await two.end_stdin()
        await asyncio.gather(one.rest(), two.rest())
        for client in (one, two):
            client.writer.close()
            await client.writer.wait_closed()
    await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 0)
    assert descriptors() <= before
