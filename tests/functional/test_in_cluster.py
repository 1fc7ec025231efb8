"""The daemon as it runs in a pod: its service account's files, that the kubelet replaces under it."""

from __future__ import annotations

import pytest
from support.answers import API
from support.caller import PIPES, ask, opened, proxy_exec, run, script
from support.daemon import SERVE, running_daemon

from k8s_ws_proxy.devcluster import DevCluster
from k8s_ws_proxy.wire.framing.channels import STDIN, STDOUT

# A pod's file system as far as it matters: in a mount namespace of the daemon's own, gone with it.
IN_A_POD = """
set -e
mount -t tmpfs none /run
mkdir -p /run/secrets/kubernetes.io/serviceaccount
mount --bind "$1" /run/secrets/kubernetes.io/serviceaccount
shift
exec "$@"
"""


@pytest.fixture
def account(cluster):
    """The files, as they stand when the daemon starts."""
    return cluster.service_account_dir("proxy")


@pytest.fixture
async def daemon(cluster, account, tmp_path):
    variables = {
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": str(cluster.port),
        "KUBECONFIG": "",
        # One that listens no more, and doesn't end either, would go on to serve what was connected to it before.
        "READY_CONNECTIONS": "0",
    }
    pod = ["unshare", "--mount", "sh", "-c", IN_A_POD, "pod", str(account), *SERVE]
    async with running_daemon(tmp_path / "none", tmp_path, program=pod, **variables) as running:
        yield running


@pytest.mark.netns
async def test_three_tokens_expire_and_are_replaced_and_then_the_ca(cluster, account, daemon):
    """Refused as long as the kubelet is late, and no longer; what runs is not touched by any of it."""
    async with opened(daemon, proxy_exec("cat", **PIPES)) as ws:
        for number in range(3):
            cluster.replace_token(cluster.token("proxy"), f"token-{number}")
            assert (await ask(daemon, API)).status == 401
            cluster.service_account_dir("proxy")
            assert (await run(daemon, script("exit 3"))).exit_code == 3
            await ws.send(STDIN, b"still here %d\n" % number)
            assert await ws.until(STDOUT, b"\n") == b"still here %d\n" % number
        await cluster.stop_listening()
        async with DevCluster(port=cluster.port) as successor:
            assert (await ask(daemon, API)).status == 502
            assert not [seen for seen in successor.observed.seen if "/exec" in seen.target], "no token was shown to it"
            for file in successor.service_account_dir("proxy").iterdir():
                (account / file.name).write_bytes(file.read_bytes())
            assert (await run(daemon, script("exit 4"))).exit_code == 4
            await ws.send(STDIN, b"and here\n")
            assert await ws.until(STDOUT, b"\n") == b"and here\n"
    reasons = [line["reason"] for line in daemon.log if line["event"] == "session failed"]
    assert reasons == ["upstream_refused"] * 3 + ["upstream_unreachable"]
