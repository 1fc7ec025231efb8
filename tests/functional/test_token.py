"""An apiserver that changes under a running daemon: its tokens, its CA, its being there."""

from __future__ import annotations

import json

import pytest
import yaml
from support.caller import PIPES, api_exec, ask, get, on_terminal, opened, proxy_exec, run, script

from k8s_ws_proxy import __version__
from k8s_ws_proxy.devcluster import DevCluster
from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.framing.channels import STDIN, STDOUT

TRUE = proxy_exec("true", **PIPES)
API = api_exec("true", container="shell", stdout="true")
EXPIRED = {"token": "expired-1"}


@pytest.fixture
def token_file(cluster, tmp_path):
    """The file with the proxy's token, as a service account's volume holds it."""
    return cluster.write_token("proxy", tmp_path / "token")


@pytest.fixture
def kubeconfig(cluster, tmp_path, token_file):
    """A kubeconfig that names the token's file."""
    path = cluster.write_kubeconfig(tmp_path / "kubeconfig", "proxy")
    document = yaml.safe_load(path.read_text())
    document["users"][0]["user"] = {"tokenFile": str(token_file)}
    path.write_text(yaml.safe_dump(document))
    return path


def rotate(cluster, token_file, new):
    """The cluster takes ``new`` only, and the file holds it."""
    cluster.replace_token(cluster.token("proxy"), new)
    token_file.write_text(new)


def authorizations(dials):
    return [dict(seen.headers)["authorization"] for seen in dials]


def execs(cluster):
    return [seen for seen in cluster.observed.seen if "/exec" in seen.target]


@pytest.mark.parametrize("target", [TRUE, API], ids=["/proxy", "/api"])
async def test_no_session_fails_when_the_token_has_been_replaced(daemon, cluster, token_file, target):
    for number in range(5):
        rotate(cluster, token_file, f"token-{number}")
        assert (await run(daemon, target)).exit_code == 0
    sent = authorizations(execs(cluster))
    assert len(sent) == 10, "each time: refused with the old one, then the new one"
    assert sent[1::2] == [f"Bearer token-{number}" for number in range(5)]


async def test_it_is_read_again_only_once_for_a_session(daemon, cluster, token_file):
    cluster.replace_token(cluster.token("proxy"), "somewhere else")
    assert (await ask(daemon, API)).status == 401
    assert len(execs(cluster)) == 2
    token_file.write_text("somewhere else")
    assert (await run(daemon, TRUE)).exit_code == 0


async def test_running_sessions_live_through_the_end_of_their_token(daemon, cluster, token_file):
    async with opened(daemon, proxy_exec("cat", **PIPES)) as ws:
        rotate(cluster, token_file, "another")
        assert (await run(daemon, TRUE)).exit_code == 0
        await ws.send(STDIN, b"still here\n")
        assert await ws.until(STDOUT, b"\n") == b"still here\n"


async def test_white_space_around_a_token(daemon, cluster, token_file):
    rotate(cluster, token_file, "another")
    token_file.write_text("another\n")
    assert (await run(daemon, TRUE)).exit_code == 0


@pytest.mark.parametrize("harm", ["kubeconfig gone", "kubeconfig garbage", "kubeconfig odd", "CA gone"])
async def test_a_configuration_that_can_not_be_read_leaves_the_last_good_one(
    daemon, cluster, kubeconfig, token_file, harm
):
    assert (await run(daemon, TRUE)).exit_code == 0
    before = kubeconfig.read_bytes()
    if harm == "kubeconfig gone":
        kubeconfig.unlink()
    elif harm == "CA gone":
        text = before.decode().replace("ca.crt", "nope.crt")
        kubeconfig.write_text(text)
    else:
        kubeconfig.write_text("{" if harm == "kubeconfig garbage" else "[1, 2]")
    good = cluster.token("proxy")
    cluster.replace_token(good, "another")
    assert (await ask(daemon, API)).status == 401
    line = await daemon.event("the cluster configuration can't be read")
    assert line["level"] == "error"
    cluster.replace_token("another", good)
    assert (await run(daemon, TRUE)).exit_code == 0
    kubeconfig.write_bytes(before)
    rotate(cluster, token_file, "another")
    assert (await run(daemon, TRUE)).exit_code == 0


async def test_the_apiserver_comes_again_on_the_same_port(daemon, cluster):
    for _ in range(3):
        await cluster.stop_listening(drop=True)
        assert (await ask(daemon, API)).status == 502
        await cluster.start_listening()
        assert (await run(daemon, TRUE)).exit_code == 0


async def test_an_apiserver_that_goes_takes_its_sessions_with_a_failure(daemon, cluster):
    async with opened(daemon, on_terminal("echo up; cat")) as ws:
        await ws.until(STDOUT, b"up")
        await cluster.stop_listening(drop=True)
        ended = await ws.finish()
    assert ended.code == frames.INTERNAL_ERROR
    assert ended.status["status"] == "Failure"
    assert ended.exit_code is None


async def test_the_ca_is_replaced(tmp_path, start, cluster, kubeconfig):
    """Another apiserver with another CA on the same port; the files that the daemon reads are replaced, too."""
    daemon = await start()
    assert (await run(daemon, TRUE)).exit_code == 0
    await cluster.stop_listening(drop=True)
    async with DevCluster(port=cluster.port) as successor:
        async with opened(daemon, TRUE) as ws:
            ended = await ws.finish()
        assert ended.status["message"] == "The apiserver's certificate doesn't verify."
        assert ended.code == frames.INTERNAL_ERROR
        assert not execs(successor), "no token was shown to who isn't known"
        successor.write_kubeconfig(kubeconfig, "proxy")
        assert (await run(daemon, script("exit 3"))).exit_code == 3
        assert execs(successor)


async def test_a_client_certificate_instead_of_a_token(start, cluster, kubeconfig):
    cluster.write_kubeconfig(kubeconfig, "proxy", certificate=True)
    daemon = await start()
    assert (await run(daemon, script("exit 3"))).exit_code == 3
    assert "authorization" not in dict(cluster.observed.seen[-1].headers)


async def readiness(daemon):
    """Status and checks."""
    answer = await get(daemon, "/readyz")
    body = json.loads(answer.body)
    assert body.keys() == {"status", "checks"}
    assert body["checks"].keys() == {"keys", "apiserver", "audit", "shutdown"}
    assert body["status"] == ("ready" if answer.status == 200 else "not ready")
    return answer.status, body["checks"]


async def test_readiness_from_start_to_loss_and_back(start, cluster):
    await cluster.stop_listening()
    daemon = await start(ready=False)
    await daemon.event("the apiserver doesn't answer")
    status, checks = await readiness(daemon)
    assert status == 503
    assert (checks["keys"], checks["shutdown"]) == ("ok", "no")
    assert checks["apiserver"] != "ok"

    await cluster.start_listening()
    await daemon.event("the apiserver answers")
    assert await readiness(daemon) == (200, {"keys": "ok", "apiserver": "ok", "audit": "ok", "shutdown": "no"})

    before = sum(line["event"] == "the apiserver doesn't answer" for line in daemon.log)
    await cluster.stop_listening(drop=True)
    assert (await ask(daemon, API)).status == 502
    line = await daemon.event("the apiserver doesn't answer", count=before + 1)
    assert line["level"] == "error"
    status, checks = await readiness(daemon)
    assert status == 200, "every node would drop out at once"
    assert str(cluster.port) in checks["apiserver"]
    assert (await ask(daemon, API)).status == 502
    assert sum(line["event"] == "the apiserver doesn't answer" for line in daemon.log) == before + 1, "told once"

    await cluster.start_listening()
    assert (await run(daemon, TRUE)).exit_code == 0
    await daemon.event("the apiserver answers", count=2)
    assert await readiness(daemon) == (200, {"keys": "ok", "apiserver": "ok", "audit": "ok", "shutdown": "no"})


async def test_an_apiserver_that_refuses_has_answered(start, cluster):
    cluster.replace_token(cluster.token("proxy"), None)
    daemon = await start()
    assert (await readiness(daemon))[0] == 200


async def test_the_apiserver_is_told_who_asks(daemon, cluster):
    """For its audit log: on sessions, and on what the daemon asks by itself."""
    await run(daemon, proxy_exec("true", **PIPES))
    paths = {seen.target.partition("?")[0].rpartition("/")[2] for seen in cluster.observed.seen}
    assert {"exec", "version"} <= paths
    agents = {value for seen in cluster.observed.seen for name, value in seen.headers if name.lower() == "user-agent"}
    assert agents == {f"k8s-ws-proxy/{__version__}"}
