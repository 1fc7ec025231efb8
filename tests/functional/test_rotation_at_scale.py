"""A rotation over very many nodes: every kubelet late by its own time, callers later still, some nodes dead."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import itertools
import json
import random
import sys
import time

import pytest
from support.site import NAMESPACE, OLD, SECRET_NAME, site

from k8s_ws_proxy.devcluster import Response
from k8s_ws_proxy.devcluster.resources import SECRETS
from k8s_ws_proxy.rfc3339 import rfc3339
from k8s_ws_proxy.wire.requests.signing import key_fingerprint

DEAD = 3


class Node:
    """A stand-in for a node's proxy, kubelet and caller. Both see the Secret as it was some seconds ago."""

    def __init__(self, at, kubelet, caller):
        self._at = at
        self.kubelet = kubelet
        self.caller = caller
        self.started = time.time()

    def accepts(self, when):
        return self._at.keys_at(when - self.kubelet)

    def signs_with(self, when):
        return self._at.keys_at(when - self.caller)["secret"]

    def last_used(self, key, now):
        """Its caller signs all the time: until now, or until it had read the next key."""
        used = None
        for since, until, signed in self._at.reigns(now, self.caller):
            if signed == key and until > self.started:
                used = max(since, min(until, now))
        return used

    def moments(self):
        """Just before and after anything changed here."""
        changes = [change + late for change in self._at.changes() for late in (self.kubelet, self.caller)]
        return [when + aside for when in changes for aside in (-0.001, 0.001)]

    async def __call__(self, _request):
        now = time.time()
        keys = [
            {
                "id": name,
                "fingerprint": key_fingerprint(key.encode()),
                "since": rfc3339(self.started),
                "last_used": None if (used := self.last_used(key, now)) is None else rfc3339(used),
            }
            for name, key in self.accepts(now).items()
        ]
        told = {"started": rfc3339(self.started), "now": rfc3339(now), "keys": keys}
        return Response(200, json.dumps(told).encode())


class Past:
    """The Secret as it has been."""

    def __init__(self, at):
        self._at = at
        self.began = time.time()

    def keys_at(self, when):
        store = self._at.cluster.state.store
        moment = dt.datetime.fromtimestamp(max(when, self.began), dt.UTC)
        found = store.as_of(SECRETS, NAMESPACE, SECRET_NAME, moment)
        return {name: base64.b64decode(value).decode() for name, value in found["data"].items()}

    def changes(self):
        """When it changed."""
        history = self._at.cluster.state.store._history[SECRETS.qualified, (NAMESPACE, SECRET_NAME)]
        return [since.timestamp() for since, _ in history]

    def reigns(self, now, late):
        """From when until when callers that are ``late`` sign with which key."""
        times = [0.0, *(when + late for when in self.changes()[1:]), now]
        return [
            (since, until, self.keys_at(since - late)["secret"])
            for since, until in itertools.pairwise(times)
            if since <= now
        ]


async def rotate(at, nodes, *, kubelets, callers, words):
    """A rotation over that many nodes, of which some are dead and some restart; nobody is refused."""
    chance = random.Random(4)  # the same site each time
    at.make_secret()
    past = Past(at)
    made = [Node(past, chance.uniform(0, kubelets), chance.uniform(0, callers)) for _ in range(nodes)]
    for number, node in enumerate(made):
        at.add_node(f"node-{number:04}", node)
    for number in range(DEAD):
        at.add_node(f"node-dead-{number}")
    waived = ",".join(f"node-dead-{number}" for number in range(DEAD))
    began = time.time()
    command = await at.start_command("rotate", "--output", "json", "--waive", waived, *words)
    running = asyncio.get_running_loop().create_task(at.end(command))
    await command.event("promoted")
    for node in made[:: max(1, nodes // 20)]:
        node.started = time.time()
    ran = await running
    took = time.time() - began
    assert ran.status == 0, ran
    assert ran.names() == ["begin", "staged", "promoted", "removed", "done"]
    requests = ran.event("done")["requests"]
    assert requests == sum(at.cluster.observed.count(what) for what in WHAT)
    for node in made:
        for when in node.moments():
            assert node.signs_with(when) in node.accepts(when).values(), "a caller would have been refused"
    assert OLD not in at.keys.values()
    return ran, took


WHAT = ("get daemonsets.apps", "get secrets", "patch secrets", "list pods", "get pods/proxy")


@pytest.fixture
async def at(tmp_path):
    async with site(tmp_path) as one:
        yield one
        one.assert_nothing_secret_was_told()


async def test_a_hundred_nodes(at):
    ran, _ = await rotate(at, 100, kubelets=1.5, callers=2.5, words=("--overlap", "3s", "--concurrency", "20"))
    assert at.cluster.observed.most_under_way <= 20
    # Each is asked once for the new key, again if it was late, and then for each of the other two steps.
    assert at.cluster.observed.count("get pods/proxy") <= 100 * 6
    assert ran.event("done")["waived"] == [f"node-dead-{number}" for number in range(DEAD)]


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_five_thousand_nodes(at):
    """As an operator runs it, with the defaults; docs/operations.md has what it prints."""
    ran, took = await rotate(at, 5000, kubelets=90, callers=120, words=())
    assert at.cluster.observed.most_under_way <= 50
    requests = ran.event("done")["requests"]
    assert requests <= 100 * took, "more than --rate a second"
    by_what = {what: at.cluster.observed.count(what) for what in WHAT}
    sys.stderr.write(json.dumps({"seconds": round(took), "requests": requests, **by_what}))
