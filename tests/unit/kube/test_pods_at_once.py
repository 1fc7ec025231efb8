"""Pods may be large, and hundreds may be looked up at once: so many are held, and large ones hold nobody up."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest

from k8s_ws_proxy.kube import dial, pods
from k8s_ws_proxy.kube.access import Access
from k8s_ws_proxy.kube.apiserver import Apiserver
from k8s_ws_proxy.wire.requests.impersonation import Identity

AT_ONCE = 16
POD = {"kind": "Pod", "metadata": {"annotations": {}}, "spec": {"containers": [{"name": "one"}, {"name": "two"}]}}


async def found(apiserver):
    return (await pods.Defaults(lambda: 0.0).find(apiserver, "default", "web")).container == "one"


async def bare(apiserver):
    return await pods.lacks_terminal(apiserver, "default", "web", "two")


async def meant(apiserver):
    return await pods.resolve(apiserver, "default", "web", label="app", node="") == "web"


LOOK_UPS = [found, bare, meant]


class Gate:
    """Stands for the apiserver's answers, which come when it is opened. ``most`` were waited for at once."""

    def __init__(self, pod):
        self.open = asyncio.Event()
        self.now = self.most = 0
        self._body = json.dumps(pod).encode()

    async def get(self, *_asked, **_posted):
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.open.wait()
        finally:
            self.now -= 1
        return 200, "application/json", self._body


@pytest.fixture
def answers(monkeypatch):
    def made(pod):
        gate = Gate(pod)
        monkeypatch.setattr(dial, "get", gate.get)
        return gate

    return made


async def test_so_many_are_read_at_once_whoever_asks_and_whatever_for(answers):
    gate, apiserver = answers(POD), Apiserver(Access({}))
    others = [apiserver.acting_for(Identity(f"user-{number}", ())) for number in range(20)]
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(look_up(each)) for each in others for look_up in LOOK_UPS]
        while gate.now < AT_ONCE:  # noqa: ASYNC110 - each turn of the loop lets some begin
            await asyncio.sleep(0)
        gate.open.set()
    assert all(task.result() for task in asked)
    assert gate.most == AT_ONCE


async def test_who_waits_no_longer_keeps_nobody_from_a_turn(answers):
    gate, apiserver = answers(POD), Apiserver(Access({}))
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(bare(apiserver)) for _ in range(2 * AT_ONCE)]
        while gate.now < AT_ONCE:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
        for task in asked:
            task.cancel()
    assert (gate.now, gate.most) == (0, AT_ONCE)
    gate.open.set()
    assert await bare(apiserver)


@pytest.mark.parametrize(("size", "aside"), [(1_000, False), (1_000_000, True)])
@pytest.mark.parametrize("look_up", [found, bare])
async def test_a_large_one_is_made_out_in_a_thread(answers, monkeypatch, look_up, size, aside):
    gate = answers({**POD, "status": {"message": "x" * size}})
    gate.open.set()
    threads, loads = [], json.loads

    def noted(body):
        threads.append(threading.current_thread())
        return loads(body)

    monkeypatch.setattr(pods.json, "loads", noted)
    assert await look_up(Apiserver(Access({})))
    assert [thread is not threading.main_thread() for thread in threads] == [aside]
