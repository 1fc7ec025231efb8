"""kubectl logs, as it is released, through the proxy with a client certificate."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio
from support import writers
from support.caller import proxy_exec, run
from support.daemon import running_daemon
from support.kubectl import start
from support.pki import Pki

from k8s_ws_proxy.cli.main import main
from k8s_ws_proxy.devcluster import DevCluster
from k8s_ws_proxy.devcluster.faults import Death

pytestmark = pytest.mark.asyncio(loop_scope="module")

BULK = writers.Bulk(100_000_000)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_cluster():
    pods = writers.writer("waits-too", "waits"), writers.writer("waits-again", "waits")
    async with DevCluster(writers.world(BULK.pod("bulk"), *pods)) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_daemon(shared_cluster, tmp_path_factory):
    """It is entered by a certificate, with the kubeconfig that our own command makes."""
    directory = tmp_path_factory.mktemp("daemon")
    pki, file = Pki(directory), directory / "operator.kubeconfig"
    kubeconfig = shared_cluster.write_kubeconfig(directory / "kubeconfig", "proxy")
    async with running_daemon(kubeconfig, directory, **pki.environ("operator")) as running:
        made = pki.callers.leaf("operator")
        url = f"https://127.0.0.1:{running.ports['https']}"
        words = ["--url", url, "--cacert", pki.servers.file, "--cert", made.cert, "--key", made.key, "-o", file]
        assert await asyncio.to_thread(main, ["kubeconfig", *map(str, words)]) == 0
        running.kubeconfig = file
        yield running


@pytest.fixture
def logs(shared_daemon):
    """Starts ``kubectl logs`` with a certificate, and a kubeconfig of our own making."""

    async def start_(*arguments):
        file = shared_daemon.kubeconfig
        return await start(file, file.parent, "logs", *arguments, stdin=-1, stdout=-1, stderr=-1)

    return start_


@pytest.fixture
def ran(logs):
    """Exit status, stdout and stderr of one."""

    async def ran_(*arguments):
        program = await logs(*arguments)
        stdout, stderr = await program.communicate()
        return program.returncode, stdout, stderr.decode()

    return ran_


async def tell(daemon, pod):
    ended = await run(daemon, proxy_exec("touch", "end", pod=pod, container="waits", tty="false"))
    assert ended.exit_code == 0


async def test_a_whole_log_and_parts_of_it(ran):
    assert await ran("-f", "four") == (0, b"one\ntwo\nthree\nfour\n", "")
    assert await ran("four", "--tail=2") == (0, b"three\nfour\n", "")
    assert await ran("four", "--limit-bytes=6") == (0, b"one\ntw", "")
    assert await ran("four", "--since=1h") == (0, b"one\ntwo\nthree\nfour\n", "")
    assert await ran("four", "--since-time=2101-01-01T00:00:00Z") == (0, b"", "")
    _, stdout, _ = await ran("four", "--timestamps")
    assert [line.split()[1] for line in stdout.splitlines()] == [b"one", b"two", b"three", b"four"]


async def test_bytes_as_they_are(ran):
    assert await ran("-f", "wild") == (0, writers.WILD, "")


async def test_one_container_of_several(ran):
    assert await ran("-f", "pair", "-c", "four") == (0, b"one\ntwo\nthree\nfour\n", "")


async def test_a_follower_sees_lines_come_and_ends_with_the_container(logs, shared_daemon):
    program = await logs("-f", "waits")
    assert await program.stdout.readline() == b"one\n"
    assert await program.stdout.readline() == b"two\n"
    await tell(shared_daemon, "waits")
    assert await program.communicate() == (b"three\n", b"")
    assert program.returncode == 0


async def test_a_follower_that_leaves_is_gone_upstream_too(logs, shared_cluster):
    program = await logs("-f", "waits-too")
    await program.stdout.readline()
    program.terminate()
    await program.communicate()
    await shared_cluster.observed.wait_for(lambda: shared_cluster.observed.open_streams == 0)


async def test_a_hundred_megabytes_by_hash(logs):
    program = await logs("-f", "bulk")
    stdout, stderr = await program.communicate()
    assert (program.returncode, stderr) == (0, b"")
    assert writers.sha256(stdout) == BULK.sha256


async def test_an_apiserver_that_dies_in_the_middle_is_an_error_to_kubectl(logs, shared_cluster):
    shared_cluster.faults.die_after(8, Death.EOF)
    program = await logs("-f", "waits-again")
    stdout, stderr = await program.communicate()
    assert (program.returncode, stdout) == (1, b"one\ntwo\n")
    assert b"unexpected EOF" in stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nope",), 'error: error from server (NotFound): pods "nope" not found in namespace "default"\n'),
        (
            ("four", "--previous"),
            'Error from server (BadRequest): previous terminated container "four" in pod "four" not found\n',
        ),
    ],
)
async def test_a_refusal_of_the_apiserver_is_kubectls_to_show(ran, arguments, message):
    assert await ran(*arguments) == (1, b"", message)
