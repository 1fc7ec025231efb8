"""What holds for every test: nothing blocks the event loop, and hypothesis tries the same examples each time.

And the cluster and the daemon that a module's tests share.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from typing import TYPE_CHECKING

import hypothesis
import pytest
import pytest_asyncio
from blockbuster import blockbuster_ctx
from support import netns
from support.daemon import running_daemon
from support.forks import fork_server

from k8s_ws_proxy.devcluster import DevCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

hypothesis.settings.register_profile("ci", derandomize=True, max_examples=60, deadline=None)
hypothesis.settings.register_profile("deep", max_examples=5000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# A shell that starts us in the background, and nohup, have these ignored, and every process that a test starts would
# inherit that: what is tested is how a person finds them.
for number, default in (
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, default)


def pytest_configure(config: pytest.Config) -> None:
    """Namespaces that are asked for by name and can't be had are an error."""
    if config.option.markexpr == "netns" and (why := netns.why_not()):
        raise pytest.UsageError(f"these tests can't run here: {why}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what takes longest, and leave out what needs namespaces where there can be none."""
    _spread(items, workers=getattr(config, "workerinput", {}).get("workercount", 1))
    wanting = [item for item in items if item.get_closest_marker("netns")]
    if not wanting or not netns.why_not():
        return
    config.hook.pytest_deselected(items=wanting)
    items[:] = [item for item in items if item not in wanting]


def _spread(items: list[pytest.Item], *, workers: int) -> None:
    """Have each worker begin with some of the slow ones: each is given as many tests in a row, and steals later."""
    slow = [item for item in items if item.get_closest_marker("slow")]
    others = [item for item in items if not item.get_closest_marker("slow")]
    edges = [len(others) * number // workers for number in range(workers + 1)]
    items.clear()
    for number, (start, end) in enumerate(itertools.pairwise(edges)):
        items += slow[number::workers] + others[start:end]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left out, and why."""
    if why := netns.why_not():
        terminalreporter.section(
            "NOT TESTED HERE: what needs namespaces, cut wires above all (docs/reliability.md)", yellow=True
        )
        terminalreporter.write_line(why)


@pytest.fixture(autouse=True, scope="session")
def _nothing_blocks() -> Iterator[None]:
    """A blocking call below this package's code on a thread with a running event loop raises BlockingError.

    Only below this package's: what a test or pytest itself does to files is nobody's latency.
    """
    with blockbuster_ctx("k8s_ws_proxy"):
        yield


@pytest.fixture(autouse=True, scope="session")
def _daemons_are_forks() -> Iterator[None]:
    """Daemons share what it costs to import them, but for those that are started as a ``program``."""
    with fork_server():
        yield


@pytest.fixture
async def failures():
    """What callbacks of the test's event loop have raised."""
    raised = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context["exception"]))
    return raised


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_cluster():
    """One cluster for a module's tests, which run in the module's event loop and leave it as it was."""
    async with DevCluster() as running:
        yield running


@pytest.fixture(scope="module")
def shared_environ() -> dict[str, str]:
    """What a module's daemon is started with, where that isn't what is so by default."""
    return {}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_daemon(shared_cluster, tmp_path_factory, shared_environ):
    """One daemon for a module's tests."""
    directory = tmp_path_factory.mktemp("daemon")
    shared_cluster.write_kubeconfig(directory / "kubeconfig", "proxy")
    async with running_daemon(directory / "kubeconfig", directory, **shared_environ) as running:
        yield running
