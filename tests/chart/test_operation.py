"""An installation's life with the rights that the chart gives and no others: the hook, the pods, a rotation."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys

import pytest
from support.caller import opened, script
from support.chart import grants, notes, render
from support.node import Node

from k8s_ws_proxy.devcluster import Container, DevCluster, ForeignPod, Pod, User, World
from k8s_ws_proxy.devcluster.resources import DAEMONSETS, SECRETS

NAMESPACE = "catalyst-system"
# Everything is called otherwise than by default: what one part of the chart says, the others must have heard.
VALUES = {
    "workloadName": "gate",
    "hmacSecret": {"name": "theirs", "key": "entry"},
    "adminPort": 9999,
    "hmacSkewSeconds": 60,
    "rotation": {"rbac": {"create": True}},
}


@pytest.fixture
def rendered():
    return render(VALUES)


@pytest.fixture
async def cluster(rendered):
    users = (
        User("hook", "hook", grants(rendered.one("Role", "gate-hmac-bootstrap"))),
        User("proxy", "proxy", grants(rendered.one("ClusterRole", "gate"))),
        User("operator", "operator", grants(rendered.one("Role", "gate-rotation"))),
    )
    pods = (Pod("shell", (Container("shell"),)),)
    async with DevCluster(World(pods, users, ("default", NAMESPACE))) as running:
        yield running


@pytest.fixture
def command(cluster, tmp_path):
    """Runs a command line of ours as a user of the cluster; what it prints."""

    async def run(*words, user):
        kubeconfig = cluster.write_kubeconfig(tmp_path / f"{user}.kubeconfig", user)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "k8s_ws_proxy", *words),
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KUBECONFIG": str(kubeconfig)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        told, _ = await process.communicate()
        assert process.returncode == 0, told.decode()
        return told.decode()

    return run


@pytest.fixture
def hook(rendered, command):
    """Runs the Job's container."""
    (container,) = rendered.pods["Job gate-hmac-bootstrap"]["containers"]
    return lambda: command(*container["args"], user="hook")


def entries(cluster):
    """The Secret's."""
    data = cluster.state.store.get(SECRETS, NAMESPACE, "theirs")["data"]
    return {name: base64.b64decode(value) for name, value in data.items()}


async def test_the_hook_makes_the_secret(cluster, hook):
    told = await hook()
    made = entries(cluster)
    assert made.keys() == {"entry"}
    assert len(base64.b64decode(made["entry"], validate=True)) == 32
    assert made["entry"].decode() not in told


async def test_an_upgrade_keeps_the_key(cluster, hook):
    await hook()
    made = entries(cluster)
    assert "left alone" in await hook()
    assert entries(cluster) == made


async def test_a_secret_that_somebody_made_is_left_alone(cluster, hook):
    data = {"entry": base64.b64encode(b"somebody's own key, of forty-odd bytes").decode()}
    metadata = {"name": "theirs", "namespace": NAMESPACE}
    cluster.state.store.create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
    await hook()
    assert entries(cluster) == {"entry": b"somebody's own key, of forty-odd bytes"}


def rotation():
    """The words of the notes' command that rotates the key."""
    (line,) = (line.split() for line in notes(VALUES).splitlines() if "keys rotate" in line)
    assert line[0] == "k8s-ws-proxy"
    return line[1:]


async def test_a_key_is_rotated_with_the_chart_s_rights_and_the_notes_command(
    cluster, rendered, hook, command, tmp_path
):
    await hook()
    old = entries(cluster)["entry"]
    made = rendered.one("DaemonSet", "gate")
    cluster.state.store.create(DAEMONSETS, {**made, "metadata": {**made["metadata"], "generation": 1}})
    node = Node(rendered, tmp_path)
    async with cluster.mount_secret(NAMESPACE, "theirs", node.files("theirs")), node.run(cluster) as daemon:
        labels = made["spec"]["template"]["metadata"]["labels"]
        (admin,) = (port["containerPort"] for port in rendered.proxy["ports"] if port["name"] == "admin")
        ports = {admin: ("127.0.0.1", daemon.ports["admin"])}
        cluster.state.add_pod(ForeignPod("gate-2x4fz", NAMESPACE, labels, ports=ports, daemonset="gate"))
        told = await command(*rotation(), "--overlap", "1s", "--output", "json", user="operator")
        assert json.loads(told.splitlines()[-1])["event"] == "done"
        rotated = entries(cluster)
        assert rotated.keys() == {"entry"}
        assert rotated["entry"] != old
        daemon.secret = rotated["entry"]
        async with opened(daemon, script("echo in")) as ws:
            assert (await ws.finish()).text(1) == "in\n"
