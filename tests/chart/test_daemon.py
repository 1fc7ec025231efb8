"""The real daemon, started with the DaemonSet's arguments and environment, and files where its mounts are."""

from __future__ import annotations

import pytest
from aiohttp import ClientSession
from support import rawws
from support.caller import opened, request, script
from support.chart import render
from support.daemon import SECRET
from support.node import Node
from support.pki import Authority

from k8s_ws_proxy.devcluster import DevCluster


@pytest.fixture
async def cluster():
    async with DevCluster() as running:
        yield running


@pytest.fixture
def node(tmp_path):
    node = Node(render(), tmp_path)
    node.write("k8s-ws-proxy-hmac", {"secret": SECRET})
    return node


async def test_a_caller_with_the_secret_comes_in(cluster, node):
    async with node.run(cluster) as daemon, opened(daemon, script("echo in")) as ws:
        ended = await ws.finish()
    assert (ended.text(1), ended.code) == ("in\n", 1000)


async def test_an_entry_that_a_rotation_adds_is_another_key(cluster, node):
    async with node.run(cluster) as daemon:
        node.write("k8s-ws-proxy-hmac", {"next": b"x" * 44})
        await daemon.event("keys loaded", key_ids=["next", "secret"])


async def test_the_probes_and_prometheus_find_an_answer_where_they_ask(cluster, node):
    rendered = render({"podMonitor": {"enabled": True}})
    (endpoint,) = rendered.one("PodMonitor")["spec"]["podMetricsEndpoints"]
    asked = [rendered.proxy[probe]["httpGet"] for probe in ("livenessProbe", "readinessProbe")]
    async with node.run(cluster) as daemon, ClientSession() as client:
        # The log calls the listeners as the chart calls their ports.
        assert daemon.ports.keys() == {port["name"] for port in rendered.proxy["ports"]}
        for each in (*asked, endpoint):
            async with client.get(f"http://127.0.0.1:{daemon.ports[each['port']]}{each['path']}") as answer:
                assert answer.status == 200


async def test_the_subject_that_the_certificate_is_issued_with_comes_in_and_no_other(cluster, tmp_path):
    rendered = render({"tls": {"enabled": True, "clientSubject": "terminal"}})
    issued = rendered.one("Certificate", "k8s-ws-proxy-client-tls")["spec"]["commonName"]
    names = rendered.one("Certificate", "k8s-ws-proxy-server-tls")["spec"]["dnsNames"]
    ca = Authority("ca", tmp_path)
    server = ca.leaf("server", dns=tuple(names))
    node = Node(rendered, tmp_path)
    node.write("k8s-ws-proxy-hmac", {"secret": SECRET})
    # What cert-manager writes for a leaf that a CA has issued.
    files = {"tls.crt": server.cert, "tls.key": server.key, "ca.crt": ca.file}
    node.write("k8s-ws-proxy-server-tls", {name: path.read_bytes() for name, path in files.items()})
    async with node.run(cluster) as daemon:
        assert daemon.ports.keys() == {port["name"] for port in rendered.proxy["ports"]}
        for subject, status in ((issued, 101), ("somebody", 401)):
            unsigned = request(daemon, script("echo in"), headers={})
            client = ca.client(ca.leaf(subject))
            async with rawws.connected(daemon.ports["https"], unsigned, tls=client) as ws:
                assert ws.answer.status == status
