"""Whose DaemonSet is taken down: one that was installed by who runs hooks when they should. And whose pods are its."""

from __future__ import annotations

import json

import pytest

from k8s_ws_proxy.rotation.api import Answer
from k8s_ws_proxy.rotation.uninstall import take_down

# What the chart renders, whoever brings it to the cluster.
LABELS = {"app.kubernetes.io/instance": "release", "app.kubernetes.io/managed-by": "Helm"}


class Cluster:
    """An api with one DaemonSet, which has no pods, and knows what it was asked."""

    namespace = "catalyst-system"

    def __init__(self, metadata):
        self.found = {"metadata": {"uid": "1", **metadata}, "spec": {"selector": {"matchLabels": LABELS}}}
        self.asked = []

    async def request(self, method, path, **_):
        self.asked.append(method)
        body = self.found if path.endswith("/daemonsets/gate") else {"items": [], "metadata": {}}
        return Answer(200, json.dumps(body).encode(), 0.0, 0.0)


async def taken_down(metadata):
    cluster, told = Cluster({"labels": LABELS, **metadata}), []
    await take_down(cluster, "gate", timeout=5.0, say=told.append)
    return "DELETE" in cluster.asked, told


@pytest.mark.parametrize("mark", ["meta.helm.sh/release-name", "argocd.argoproj.io/tracking-id"])
async def test_one_that_was_installed_by_who_runs_hooks_is_taken_down(mark):
    gone, told = await taken_down({"annotations": {mark: "release", "deprecated.daemonset.template.generation": "1"}})
    assert gone
    assert told[-1] == "its pods are gone"


@pytest.mark.parametrize(
    "metadata",
    [{}, {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}}],
    ids=["plain", "applied"],
)
async def test_one_that_was_not_is_left_alone(metadata):
    gone, (told,) = await taken_down(metadata)
    assert not gone
    assert told == (
        "the DaemonSet catalyst-system/gate wasn't installed by helm, nor by Argo CD: nothing is taken down. "
        "To remove it: kubectl -n catalyst-system delete daemonset gate"
    )


DAEMONSET = {"kind": "DaemonSet", "name": "gate", "uid": "1", "controller": True}


class Gone:
    """An api where there is no DaemonSet any more, and pods that these own: each is gone when it was seen once."""

    namespace = "catalyst-system"

    def __init__(self, *owners):
        self.pods = [{"metadata": {"name": f"pod-{n}", "ownerReferences": [one]}} for n, one in enumerate(owners)]

    async def request(self, _method, path, **_):
        if path.endswith("/daemonsets/gate"):
            return Answer(404, b"{}", 0.0, 0.0)
        pods, self.pods = self.pods, []
        return Answer(200, json.dumps({"items": pods, "metadata": {}}).encode(), 0.0, 0.0)


async def test_of_one_that_is_gone_the_pods_that_are_left_are_waited_for():
    told = []
    await take_down(Gone(DAEMONSET, {**DAEMONSET, "uid": "2"}), "gate", timeout=60.0, say=told.append)
    assert told == ["2 of its pods are still there", "its pods are gone"]


@pytest.mark.parametrize(
    "other", [{"kind": "ReplicaSet"}, {"name": "gates"}, {"controller": False}], ids=["kind", "name", "no controller"]
)
async def test_another_s_pods_are_not(other):
    told = []
    await take_down(Gone({**DAEMONSET, **other}), "gate", timeout=60.0, say=told.append)
    assert told == ["there is no DaemonSet catalyst-system/gate: nothing to do"]
