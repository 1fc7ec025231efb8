"""The contract, "Requests" and "Credentials": every route, every bad path, every verdict of the vectors."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
import pytest_asyncio
from support import rawws
from support.caller import (
    PIPES,
    TTY,
    Lines,
    api_exec,
    ask,
    get,
    opened,
    proxy_exec,
    refusal_of,
    run,
    say,
    with_query,
)
from support.daemon import running_daemon

from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.framing.channels import STDERR, STDIN, STDOUT

pytestmark = pytest.mark.asyncio(loop_scope="module")

STREAMS = {"stdin": "true", "stdout": "true"}

ROUTES = {
    "/proxy/exec/{namespace}/{pod}/{container}": proxy_exec("echo", "here", **PIPES),
    "/proxy/exec/{namespace}/{pod}": proxy_exec("echo", "here", pod="web", container=None, **PIPES),
    "/proxy/attach/{namespace}/{pod}/{container}": with_query("/proxy/attach/default/web/web", **PIPES),
    "/proxy/attach/{namespace}/{pod}": with_query("/proxy/attach/default/web", **PIPES),
    "/api/v1/namespaces/{namespace}/pods/{pod}/exec": api_exec("echo", "here", pod="web", stdout="true"),
    "/api/v1/namespaces/{namespace}/pods/{pod}/attach": with_query(
        "/api/v1/namespaces/default/pods/web/attach", **STREAMS
    ),
    "another namespace": proxy_exec("echo", "here", namespace="team-a", pod="web", container="web", **PIPES),
    "percent-encoded letters": "/proxy/e%78ec/def%61ult/%77eb/web?command=echo&command=here&tty=false",
}


@pytest.mark.parametrize("target", ROUTES.values(), ids=ROUTES)
async def test_route(shared_daemon, target):
    async with opened(shared_daemon, target) as ws:
        if "attach" in target:
            await ws.send(STDIN, b"here\n")
            assert await ws.until(STDOUT, b"\n") == b"echo: here\n"
        else:
            assert await ws.until(STDOUT, b"\n") == b"here\n"


LONG_LABEL = "a" * 64
LONG_SUBDOMAIN = ".".join(["a" * 62] * 4) + ".aaa"
BAD_PATHS = [
    "/",
    "/proxy",
    "/proxy/",
    "/proxy/exec",
    "/proxy/exec/",
    "/proxy/exec/default",
    "/proxy/exec/default/",
    "/proxy/exec/default/shell/",
    "/proxy/exec/default//shell",
    "/proxy/exec//shell/shell",
    "//proxy/exec/default/shell/shell",
    "/proxy//exec/default/shell/shell",
    "/proxy/exec/default/shell/shell/",
    "/proxy/exec/default/shell/shell/more",
    "/proxy/exec/default/shell/..",
    "/proxy/exec/default/shell/../shell",
    "/proxy/exec/../default/shell/shell",
    "/proxy/exec/./default/shell/shell",
    "/proxy/exec/default/shell/%2e%2e",
    "/proxy/exec/default/shell%2Fshell/shell",
    "/proxy/exec/default/shell%2fshell",
    "/proxy%2Fexec/default/shell/shell",
    "/proxy/exec/default/shell%00/shell",
    "/proxy/exec/default/shell/shell%00",
    "/proxy/exec/default/shell%0a/shell",
    "/proxy/exec/default/shell%20/shell",
    "/proxy/exec/default/%ff/shell",
    "/proxy/exec/default/sh%c3%a9ll/shell",
    "/proxy/exec/default/shell%/shell",
    "/proxy/exec/default/shell%2/shell",
    "/proxy/exec/default/shell%zz/shell",
    "/proxy/exec/default/%2573hell/shell",
    "/proxy/exec/Default/shell/shell",
    "/proxy/exec/default/SHELL/shell",
    "/proxy/exec/default/shell/Shell",
    "/proxy/exec/default/shell/-shell",
    "/proxy/exec/default/shell/shell-",
    "/proxy/exec/default/sh_ell/shell",
    "/proxy/exec/default/.shell/shell",
    "/proxy/exec/default/shell./shell",
    "/proxy/exec/default/sh..ell/shell",
    "/proxy/exec/de.fault/shell/shell",
    "/proxy/exec/default/shell/sh.ell",
    f"/proxy/exec/{LONG_LABEL}/shell/shell",
    f"/proxy/exec/default/shell/{LONG_LABEL}",
    f"/proxy/exec/default/{LONG_SUBDOMAIN}/shell",
    "/proxy/exec/default/shell/shell;x",
    "/PROXY/exec/default/shell/shell",
    "/proxy/EXEC/default/shell/shell",
    "/proxy/run/default/shell/shell",
    "/exec/default/shell/shell",
    "/api",
    "/api/",
    "/api/v1",
    "/api/v1/namespaces/default/pods/shell",
    "/api/v1/namespaces/default/pods/shell/",
    "/api/v1/namespaces/default/pods/shell/exec/",
    "/api/v1/namespaces/default/pods/shell/exec/shell",
    "/api/v1/namespaces/default/pods//exec",
    "/api/v1/namespaces//pods/shell/exec",
    "/api/v1/namespaces/default/pods/SHELL/exec",
    "/api/v1/namespaces/default/pods/%2e%2e/exec",
    "/api/v1/namespaces/default/pods/shell%2Fexec",
    "/api/v1/namespaces/default/pods/shell/proxy",
    "/api/v1/namespaces/default/services/shell/exec",
    "/api/v2/namespaces/default/pods/shell/exec",
    "/apis/v1/namespaces/default/pods/shell/exec",
    "/healthz/",
    "/readyz/x",
    "/metrics",
]


@pytest.mark.parametrize("path", BAD_PATHS, ids=[path[:60] for path in BAD_PATHS])
async def test_bad_path_is_404_before_any_authentication(shared_daemon, shared_cluster, path, shared_lines):
    before = [seen for seen in shared_cluster.observed.seen if seen.target != "/version"]
    answer = await ask(shared_daemon, path, headers={})
    assert answer.status == 404
    text, reason = refusal_of(answer, path)
    assert reason == "bad_path"
    assert "/api/v1/namespaces/NAMESPACE/pods/POD/{exec,attach,log,portforward}" in text
    line = await shared_lines.event("request refused")
    assert (line["level"], line["reason"], line["status"]) == ("debug", "bad_path", 404)
    assert [seen for seen in shared_cluster.observed.seen if seen.target != "/version"] == before


@pytest.mark.parametrize("path", ["/proxy/exec/default/shell/", "/api/v1/namespaces/default/pods/SHELL/exec"])
async def test_bad_path_is_404_with_a_good_signature_and_on_a_plain_get(shared_daemon, path):
    assert (await ask(shared_daemon, path)).status == 404
    assert (await get(shared_daemon, path)).status == 404


QUERY_DEFAULTS = {
    "/proxy: a terminal unless tty=false": (proxy_exec("sh", "-c", "test -t 0 && test -t 1 && test -t 2"), 0),
    "/proxy tty=false: pipes": (proxy_exec("sh", "-c", "test -t 0 || test -t 1 || test -t 2", tty="false"), 1),
    "/proxy tty=true: a terminal": (proxy_exec("test", "-t", "0", tty="true"), 0),
    "/proxy tty=anything: a terminal": (proxy_exec("test", "-t", "0", tty="maybe"), 0),
    "/proxy tty=FALSE: pipes": (proxy_exec("test", "-t", "0", tty="FALSE"), 1),
    "/proxy stdin=false: nothing to read": (proxy_exec("sh", "-c", "! read x", stdin="false", tty="false"), 0),
    "/api: tty absent is off": (api_exec("test", "-t", "0", container="shell", stdin="true", stdout="true"), 1),
    "/api: tty=true is a terminal": (api_exec("test", "-t", "0", container="shell", **STREAMS, tty="true"), 0),
    "/api: stdin absent is off": (api_exec("sh", "-c", "! read x", container="shell", stdout="true"), 0),
    "/api: no stream named at all: as on /proxy": (api_exec("test", "-t", "0", container="shell"), 0),
}


@pytest.mark.parametrize(("target", "code"), QUERY_DEFAULTS.values(), ids=QUERY_DEFAULTS)
async def test_query_default_as_the_container_sees_it(shared_daemon, target, code):
    assert (await run(shared_daemon, target)).exit_code == code


async def test_no_command_is_a_shell(shared_daemon):
    for target in (proxy_exec(**TTY), api_exec(container="shell", **STREAMS, tty="true")):
        async with opened(shared_daemon, target) as ws:
            await ws.send(STDIN, b"echo $0 $((6*7)); exit 6\n")
            await ws.until(STDOUT, b"/bin/sh 42\r\n")
            assert (await ws.finish()).exit_code == 6


@pytest.mark.parametrize(
    ("parameters", "channels"),
    [
        ({}, {STDOUT, STDERR}),
        ({"stdout": "false"}, {STDERR}),
        ({"stderr": "false"}, {STDOUT}),
        ({"stderr": "false", "stdin": "false"}, {STDOUT}),
    ],
    ids=["all", "stdout=false", "stderr=false", "stderr=false stdin=false"],
)
async def test_streams_are_on_unless_false(shared_daemon, parameters, channels):
    ended = await run(shared_daemon, proxy_exec("sh", "-c", "echo out; echo err >&2", **PIPES, **parameters))
    assert {channel for channel in (STDOUT, STDERR) if ended.output.get(channel)} == channels
    assert ended.exit_code == 0


async def test_stderr_together_with_tty_is_not_sent_upstream(shared_daemon, shared_cluster):
    ended = await run(shared_daemon, proxy_exec("sh", "-c", "echo err >&2", tty="true", stderr="true"))
    assert ended.text(STDOUT) == "err\r\n"
    assert "stderr" not in shared_cluster.observed.seen[-1].target


@pytest.mark.parametrize("target", [proxy_exec("a\0b"), api_exec("a\0b")], ids=["/proxy", "/api"])
async def test_a_nul_in_an_argument_is_a_bad_query(shared_daemon, target):
    answer = await ask(shared_daemon, target)
    assert answer.status == 400
    assert refusal_of(answer, target)[1] == "bad_query"


@pytest.mark.parametrize("container", ["Shell", "a_b", "..", "a/b", "x" * 64, "a\0"])
async def test_a_bad_container_parameter_is_a_bad_query(shared_daemon, container):
    for target in (api_exec("true", container=container), f"{proxy_exec(container=None)}?container={container[:1]}%2F"):
        answer = await ask(shared_daemon, target)
        assert answer.status == 400
        assert refusal_of(answer, target)[1] == "bad_query"


VERDICTS = json.loads((Path(__file__).parents[1] / "vectors" / "hmac_v1_verdicts.json").read_text())
# The daemon goes by the real clock. What isn't about the window is replayed in one that reaches back to the vectors'
# own time; what is too old or too new then is too old now.
EVER = "999999999"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon_with(shared_cluster, tmp_path_factory):
    """A daemon for each pair of secret and window."""
    daemons = {}
    async with contextlib.AsyncExitStack() as stack:

        async def daemon_with_(secret, skew):
            if (secret, skew) not in daemons:
                directory = tmp_path_factory.mktemp("daemon")
                kubeconfig = shared_cluster.write_kubeconfig(directory / "kubeconfig", "proxy")
                starting = running_daemon(kubeconfig, directory, secret=secret, HMAC_SKEW_SECONDS=skew)
                daemons[secret, skew] = await stack.enter_async_context(starting)
            return daemons[secret, skew]

        yield daemon_with_


@pytest.mark.parametrize("vector", VERDICTS, ids=[vector["name"] for vector in VERDICTS])
async def test_verdict(daemon_with, vector):
    skew = str(vector["skew_seconds"]) if vector["expect"] == "expired" else EVER
    daemon = await daemon_with(bytes.fromhex(vector["secret_hex"]), skew)
    lines = await Lines.begin(daemon)
    target = vector["path"] + (f"?{vector['query']}" if vector["query"] else "")
    if vector["expect"] == "ok":
        async with rawws.connected(daemon.port, rawws.request(target, vector["headers"])) as ws:
            assert ws.answer.status == 101
            line = await lines.event("session opened")
            assert (line["mode"], line["key_id"]) == ("hmac", "secret")
            await ws.send_frame(frames.CLOSE, b"")
            await ws.finish()
        return
    answer = await ask(daemon, target, headers=vector["headers"])
    assert answer.status == 401
    assert refusal_of(answer, target)[1] == vector["expect"]
    line = await lines.event("request refused")
    assert (line["level"], line["reason"]) == ("warning", vector["expect"])


@pytest.mark.parametrize("name", ["X-Catalyst-Timestamp", "X-Catalyst-HMAC"])
async def test_a_header_that_comes_twice_is_malformed(shared_daemon, name):
    path = "/proxy/exec/default/shell/shell"
    signed = shared_daemon.headers(path)
    data = rawws.request(path, [*signed.items(), (name, signed[name])])
    answer = await say(shared_daemon, data)
    assert answer.status == 401
    assert refusal_of(answer, path)[1] == ("malformed_hmac" if "HMAC" in name else "malformed_timestamp")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_probe(shared_daemon, path):
    answer = await get(shared_daemon, path)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert json.loads(answer.body)["status"] == {"/healthz": "ok", "/readyz": "ready"}[path]
