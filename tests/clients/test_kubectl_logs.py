"""kubectl logs, as it is released, straight against the embedded cluster."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from support import kubectl, writers

from k8s_ws_proxy.devcluster import DevCluster

STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ")


@pytest.fixture
async def cluster():
    async with DevCluster(writers.world()) as running:
        yield running


async def start(kubeconfig, home, *arguments):
    return await kubectl.start(kubeconfig, home, *arguments, stdin=-1, stdout=-1, stderr=-1)


@pytest.fixture
def logs(cluster, tmp_path):
    async def run(*arguments, user="admin"):
        file = cluster.write_kubeconfig(tmp_path / f"{user}.kubeconfig", user)
        program = await start(file, tmp_path, "logs", *arguments)
        stdout, stderr = await program.communicate()
        return program.returncode, stdout, stderr.decode()

    return run


@pytest.fixture
def ran(logs):
    """As ``logs``, when the container has ended: its log is whole then."""

    async def ran_(pod, *arguments):
        await logs(pod, "-f", *(("-c", arguments[1]) if arguments[:1] == ("-c",) else ()))
        return await logs(pod, *arguments)

    return ran_


async def test_the_whole_log(ran):
    assert await ran("four") == (0, b"one\ntwo\nthree\nfour\n", "")


async def test_both_streams_in_the_order_of_their_lines(ran):
    assert await ran("both") == (0, b"out\nerr\nout again\n", "")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [("0", b""), ("1", b"four\n"), ("3", b"two\nthree\nfour\n"), ("9", b"one\ntwo\nthree\nfour\n")],
)
async def test_tail(ran, lines, expected):
    assert await ran("four", f"--tail={lines}") == (0, expected, "")


async def test_tail_of_a_line_without_an_end(ran):
    assert await ran("wild", "--tail=1") == (0, b"no newline at the end\xf0\x9f", "")


async def test_bytes_as_they_are(ran):
    assert await ran("wild") == (0, writers.WILD, "")


async def test_limit(ran):
    assert await ran("four", "--limit-bytes=6") == (0, b"one\ntw", "")
    assert await ran("four", "--limit-bytes=6", "-f") == (0, b"one\ntw", "")


async def test_timestamps(ran):
    _, stdout, _ = await ran("four", "--timestamps")
    assert STAMP.sub(b"", stdout) == b"one\ntwo\nthree\nfour\n"
    assert len(STAMP.findall(stdout)) == 4
    written = datetime.fromisoformat(stdout.split()[0].decode())
    assert abs(datetime.now(UTC) - written) < timedelta(minutes=5)


async def test_since_time_takes_whole_seconds(ran):
    _, stdout, _ = await ran("spaced", "--timestamps")
    times = [line.split()[0].decode() for line in stdout.splitlines()]
    assert await ran("spaced", f"--since-time={times[1]}") == (0, b"two\nthree\n", "")
    later = (datetime.fromisoformat(times[1]) + timedelta(seconds=1)).isoformat()
    assert await ran("spaced", f"--since-time={later}") == (0, b"three\n", "")
    assert await ran("spaced", "--since-time=2001-01-01T00:00:00Z") == (0, b"one\ntwo\nthree\n", "")
    assert await ran("spaced", "--since-time=2101-01-01T00:00:00Z") == (0, b"", "")


async def test_since_seconds(ran):
    assert await ran("four", "--since=1h") == (0, b"one\ntwo\nthree\nfour\n", "")
    _, stdout, _ = await ran("spaced", "--since=1s")
    assert stdout in (b"two\nthree\n", b"three\n", b"")  # as time goes by


async def test_since_and_tail_together(ran):
    assert await ran("four", "--since=1h", "--tail=2") == (0, b"three\nfour\n", "")


async def test_a_follower_sees_lines_come_and_ends_with_the_container(cluster, tmp_path):
    file = cluster.write_kubeconfig(tmp_path / "kubeconfig")
    program = await start(file, tmp_path, "logs", "-f", "waits")
    assert await program.stdout.readline() == b"one\n"
    assert await program.stdout.readline() == b"two\n"
    told = await start(file, tmp_path, "exec", "waits", "--", "touch", "end")
    await told.communicate()
    assert await program.communicate() == (b"three\n", b"")
    assert program.returncode == 0
    await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 0)


async def test_a_follower_of_nothing_yet(cluster, tmp_path):
    file = cluster.write_kubeconfig(tmp_path / "kubeconfig")
    program = await start(file, tmp_path, "logs", "-f", "silent")
    await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 1)
    told = await start(file, tmp_path, "exec", "silent", "--", "touch", "end")
    await told.communicate()
    assert await program.communicate() == (b"", b"")
    assert program.returncode == 0


async def test_a_follower_that_leaves_is_let_go(cluster, tmp_path):
    file = cluster.write_kubeconfig(tmp_path / "kubeconfig")
    program = await start(file, tmp_path, "logs", "-f", "waits")
    await program.stdout.readline()
    program.terminate()
    await program.communicate()
    await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 0)


async def test_a_deleted_pods_followers_end(cluster, tmp_path):
    file = cluster.write_kubeconfig(tmp_path / "kubeconfig")
    program = await start(file, tmp_path, "logs", "-f", "waits")
    await program.stdout.readline()
    await program.stdout.readline()
    await cluster.delete_pod("default", "waits")
    assert await program.communicate() == (b"", b"")
    assert program.returncode == 0


async def test_the_run_before(cluster, ran, tmp_path):
    file = cluster.write_kubeconfig(tmp_path / "kubeconfig")
    assert await ran("twice") == (0, b"run 1\n", "")
    attached = await start(file, tmp_path, "attach", "twice")
    await attached.communicate()
    assert await ran("twice") == (0, b"run 2\n", "")
    assert await ran("twice", "--previous") == (0, b"run 1\n", "")


async def test_one_container_of_several(ran, logs):
    assert await ran("pair", "-c", "four") == (0, b"one\ntwo\nthree\nfour\n", "")
    code, stdout, stderr = await logs("pair")
    assert (code, stdout.splitlines()[0]) == (0, b"one")
    assert "Defaulted container" in stderr


async def test_what_has_completed_still_has_its_log(logs):
    assert await logs("done") == (0, b"one\ntwo\nthree\nfour\n", "")
    assert await logs("quick") == (0, b"", "")


async def test_a_pending_pod_has_nothing(logs):
    assert await logs("pending") == (0, b"", "")


@pytest.mark.parametrize(
    ("arguments", "user", "message"),
    [
        (("nope",), "admin", 'error: error from server (NotFound): pods "nope" not found in namespace "default"\n'),
        (("four", "-c", "nope"), "admin", "error: container nope is not valid for pod four out of: four\n"),
        (
            ("four", "--previous"),
            "admin",
            'Error from server (BadRequest): previous terminated container "four" in pod "four" not found\n',
        ),
        (
            ("gone",),
            "admin",
            (
                'Error from server (BadRequest): container "gone" in pod "gone" is waiting to start: '
                "No such file or directory\n"
            ),
        ),
        (
            ("four",),
            "get-only",
            (
                'Error from server (Forbidden): pods "four" is forbidden: User '
                '"system:serviceaccount:default:get-only" cannot get resource "pods/log" in API group "" in the '
                'namespace "default"\n'
            ),
        ),
    ],
)
async def test_a_refusal(logs, arguments, user, message):
    assert await logs(*arguments, user=user) == (1, b"", message)


async def test_a_node_that_is_down(cluster, logs):
    cluster.faults.kubelet_up = False
    code, _, stderr = await logs("four")
    assert code == 1
    assert re.fullmatch(
        r'Error from server: Get "https://[^"]+/containerLogs/default/four/four": dial tcp .*\n', stderr
    )


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("tailLines=-1", 422, "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ("limitBytes=0", 422, "limitBytes: Invalid value: 0: must be greater than 0"),
        ("sinceSeconds=0", 422, "sinceSeconds: Invalid value: 0: must be greater than 0"),
        (
            "sinceSeconds=1&sinceTime=2025-01-01T00:00:00Z",
            422,
            "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
        ),
        ("tailLines=x", 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("tailLines=9223372036854775808", 400, "value out of range"),
        ("sinceTime=yesterday", 400, "cannot parse"),
    ],
)
async def test_parameters_that_kubectl_checks_itself(cluster, tmp_path, query, code, message):
    file = cluster.write_kubeconfig(tmp_path / "kubeconfig")
    path = f"/api/v1/namespaces/default/pods/four/log?{query}"
    program = await start(file, tmp_path, "get", "--raw", path, "-v=8")
    _, stderr = await program.communicate()
    assert program.returncode == 1
    assert f"{code} " in stderr.decode()
    assert message in stderr.decode().replace('\\"', '"')


async def test_ten_megabytes(tmp_path):
    bulk = writers.Bulk(10_000_000)
    async with DevCluster(writers.world(bulk.pod("bulk"))) as cluster:
        file = cluster.write_kubeconfig(tmp_path / "kubeconfig")
        program = await start(file, tmp_path, "logs", "-f", "bulk")
        stdout, _ = await program.communicate()
    assert writers.sha256(stdout) == bulk.sha256
