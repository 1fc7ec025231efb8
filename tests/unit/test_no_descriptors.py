"""No descriptor is left for a connection to the apiserver: nobody blames it, and nothing that goes on for ever ends."""

from __future__ import annotations

import asyncio
import errno

import pytest
from structlog.testing import capture_logs

from k8s_ws_proxy.auth.principal import Mode, Principal
from k8s_ws_proxy.errors import Reason, Refusal, UpstreamNotTried
from k8s_ws_proxy.kube import dial
from k8s_ws_proxy.kube.access import Access
from k8s_ws_proxy.kube.apiserver import Apiserver
from k8s_ws_proxy.sessions import orphans, reaper
from k8s_ws_proxy.sessions.quotas import quotas
from k8s_ws_proxy.sessions.registry import Registry
from k8s_ws_proxy.web import app
from k8s_ws_proxy.web.upstream import reach
from k8s_ws_proxy.wire.container.orphans import Place, Process
from k8s_ws_proxy.wire.requests.target import ExecTarget, Streams

KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: it
clusters: [{name: it, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: it, user: {}}]
contexts: [{name: it, context: {cluster: it, user: it}}]
"""
SHELL = ExecTarget("default", "web", "app", Streams(stdin=True, stdout=True, stderr=False, tty=True), ("sh",))
PLACE = Place("default", "web", "app")


@pytest.fixture
async def access(tmp_path):
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    access = Access({"KUBECONFIG": str(tmp_path / "kubeconfig")})
    await access.reread()
    access.succeeded()
    return access


@pytest.fixture
def tries(monkeypatch):
    """The attempts at a connection: each fails for want of a descriptor."""
    tried = []

    async def connect(endpoint):
        tried.append(endpoint)
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(dial, "connect", connect)
    return tried


async def test_the_apiserver_is_not_blamed(access, tries):
    with pytest.raises(UpstreamNotTried):
        await dial.get(access, "/version")
    assert len(tries) == 1
    assert access.reachable


async def test_the_caller_is_told_that_it_is_ours(access, tries):
    until = asyncio.get_running_loop().time() + 60
    registry = Registry(quotas(1), lambda: 0.0)
    with pytest.raises(Refusal) as refusal:
        await reach(lambda: dial.dial(access, "/"), access, registry, until=until, within=60, drop=print)
    assert refusal.value.reason is Reason.NO_DESCRIPTORS
    assert "Too many open files" in refusal.value.detail


async def test_the_probe_goes_on(access, tries, monkeypatch):
    monkeypatch.setattr(app, "_PROBE", 0)
    monkeypatch.setattr(app, "_PROBE_FIRST", 0)
    probe = asyncio.ensure_future(app._probe_apiserver(access, Apiserver(access)))  # noqa: TID251
    try:
        while len(tries) < 3:
            assert not probe.done()
            await asyncio.sleep(0)
    finally:
        probe.cancel()


async def test_a_hang_up_is_tried_again_and_given_up_aloud(access, tries, monkeypatch):
    monkeypatch.setattr(reaper, "_RETRIES", (0.0, 0.0, 0.0))
    ours = orphans.Orphans(Apiserver(access), patience=60)
    with capture_logs() as log:
        orphans.Orphan(ours, Apiserver(access), PLACE, Process("17", "4711")).ended("5e55", told=False)
        await ours.settle()
    assert len(tries) == 3
    assert [line["event"] for line in log] == ["hanging up a process", "a process may be left behind"]


async def test_a_terminal_s_dial_says_it_too(access, tries):
    slot = Registry(quotas(1), lambda: 0.0).admit(Principal(Mode.HMAC, "2025"), SHELL, "10.0.0.1")
    until = asyncio.get_running_loop().time() + 60
    with pytest.raises(UpstreamNotTried):
        await orphans.Orphans(Apiserver(access), patience=60).dial(Apiserver(access), SHELL, slot, until)


async def test_what_there_is_no_time_for_is_given_up_before_the_last_line(access, tries, monkeypatch):
    monkeypatch.setattr(reaper, "_RETRIES", (3600.0,))
    ours = orphans.Orphans(Apiserver(access), patience=60)
    orphans.Orphan(ours, Apiserver(access), PLACE, Process("17", "4711")).ended("5e55", told=False)
    (under_way,) = ours._reaper.under_way
    with capture_logs() as log, pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await ours.settle()
    assert log == [
        {"event": "processes may be left behind", "log_level": "warning", "count": 1, "detail": "no time left"}
    ]
    assert under_way.cancelled(), "and says nothing more"
