"""Start and stop: exit statuses, the line that says it listens, and the way down with sessions under way."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import signal
import socket
import sys

import pytest
from support import rawws
from support.caller import (
    PIPES,
    V4,
    V5,
    api_exec,
    ask,
    close,
    get,
    on_terminal,
    opened,
    proxy_exec,
    refusal_of,
    request,
    script,
    with_query,
)
from support.command import start_command
from support.daemon import SERVE, running_daemon
from support.pki import Pki

from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.framing.channels import STATUS, STDERR, STDIN, STDOUT

SHUTTING_DOWN = "the proxy on this node is shutting down"


@pytest.fixture
def start(start):
    """As an operator starts it: a fork has another start."""
    return functools.partial(start, program=SERVE)


async def serve(**environ):
    """Run ``serve`` to its end: exit status, stdout, stderr."""
    process = await start_command(
        "serve",
        environ={"PATH": os.environ["PATH"], **environ},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await process.communicate()
    return process.returncode, stdout.decode(), stderr.decode()


MISTAKES = {
    "no secret at all": ({}, ["SHARED_SECRET_FILE or SHARED_SECRET_DIR must be set"]),
    "an unreadable secret": ({"SHARED_SECRET_FILE": "{tmp}/nope"}, ["{tmp}/nope can't be read"]),
    "an empty secret": ({"SHARED_SECRET_FILE": "{tmp}/empty"}, ["{tmp}/empty is empty"]),
    "a directory without a key": ({"SHARED_SECRET_DIR": "{tmp}/dir"}, ["no usable key in {tmp}/dir"]),
    "a directory that isn't there": ({"SHARED_SECRET_DIR": "{tmp}/nope"}, ["{tmp}/nope can't be read"]),
    "half a key pair": ({"TLS_CERT_FILE": "{tmp}/x"}, ["TLS_CERT_FILE and TLS_KEY_FILE must be set together"]),
    "the other half": ({"TLS_KEY_FILE": "{tmp}/x"}, ["TLS_CERT_FILE and TLS_KEY_FILE must be set together"]),
    "an allow-list without TLS": (
        {"CLIENT_CERT_ALLOWED_SUBJECTS": "a"},
        ["CLIENT_CERT_ALLOWED_SUBJECTS needs the TLS"],
    ),
    "an allow-list without a client CA": (
        {"CLIENT_CERT_ALLOWED_SUBJECTS": "a", "TLS_CERT_FILE": "{tmp}/x", "TLS_KEY_FILE": "{tmp}/x"},
        ["TLS_CLIENT_CA_FILE"],
    ),
    "a number": ({"HMAC_SKEW_SECONDS": "5m"}, ["HMAC_SKEW_SECONDS must be a whole number", "'5m'"]),
    "a negative number": ({"HMAC_SKEW_SECONDS": "-1"}, ["HMAC_SKEW_SECONDS must be a whole number"]),
    "a duration": ({"WS_PING_PERIOD": "30"}, ["WS_PING_PERIOD must be a duration", "'30'"]),
    "another duration": ({"WS_HANDSHAKE_TIMEOUT": "soon"}, ["WS_HANDSHAKE_TIMEOUT must be a duration"]),
    "a level": ({"LOG_LEVEL": "loud"}, ["LOG_LEVEL must be one of debug, info, warn, error"]),
    "a boolean": ({"TMUX_CASCADE": "perhaps"}, ["TMUX_CASCADE must be true or false"]),
    "an address": ({"WS_PROXY_LISTEN_ADDR": "8080"}, ["WS_PROXY_LISTEN_ADDR must be HOST:PORT or :PORT"]),
    "a port": ({"WS_PROXY_LISTEN_ADDR": ":65536"}, ["WS_PROXY_LISTEN_ADDR must be HOST:PORT or :PORT"]),
    "several at once": (
        {"LOG_LEVEL": "loud", "HMAC_SKEW_SECONDS": "x", "WS_PING_PERIOD": "x", "SHARED_SECRET_FILE": "{tmp}/empty"},
        ["LOG_LEVEL", "HMAC_SKEW_SECONDS", "WS_PING_PERIOD", "{tmp}/empty is empty"],
    ),
}


@pytest.mark.parametrize(("environ", "sentences"), MISTAKES.values(), ids=MISTAKES)
async def test_wrong_settings_end_it_with_2_and_every_mistake(tmp_path, environ, sentences):
    (tmp_path / "empty").touch()
    (tmp_path / "dir").mkdir()
    (tmp_path / "secret").write_text("x" * 44)
    environ = {name: value.format(tmp=tmp_path) for name, value in environ.items()}
    if not any(name.startswith("SHARED") for name in environ) and environ:
        environ["SHARED_SECRET_FILE"] = str(tmp_path / "secret")
    status, stdout, stderr = await serve(**environ)
    assert (status, stdout) == (2, "")
    assert "Traceback" not in stderr
    assert stderr.startswith("k8s-ws-proxy: the settings are wrong:\n  - ")
    for sentence in sentences:
        assert sentence.format(tmp=tmp_path) in stderr
    if len(sentences) > 2:
        assert stderr.count("\n  - ") == len(sentences)


async def test_a_tls_key_with_a_pass_phrase_is_not_asked_for(tmp_path):
    pki = Pki(tmp_path)
    pki.servers.leaf("proxy", passphrase=b"secret")
    (tmp_path / "secret").write_text("x" * 44)
    status, stdout, stderr = await serve(**pki.environ(), SHARED_SECRET_FILE=str(tmp_path / "secret"))
    assert (status, stdout) == (2, "")
    assert stderr.count("\n  - ") == 1
    assert f"TLS_KEY_FILE {pki.server.key} has a pass phrase" in stderr


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
async def test_a_port_that_is_taken_ends_it_with_1(kubeconfig, tmp_path, family):
    (tmp_path / "secret").write_text("x" * 44)
    host = "127.0.0.1" if family is socket.AF_INET else "::1"
    with socket.create_server((host, 0), family=family) as taken:
        port = taken.getsockname()[1]
        status, _, stderr = await serve(
            WS_PROXY_LISTEN_ADDR=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            WS_PROXY_ADMIN_ADDR="off",
            SHARED_SECRET_FILE=str(tmp_path / "secret"),
            KUBECONFIG=str(kubeconfig),
        )
    assert status == 1
    assert "Traceback" not in stderr
    (line,) = [line for line in map(json.loads, stderr.splitlines()) if line.get("level") == "error"]
    assert line["event"] == "can't listen"
    assert "in use" in line["error"]


async def test_without_a_stderr_it_serves_all_the_same(kubeconfig, tmp_path):
    """A log that goes nowhere is nobody's outage."""
    (tmp_path / "secret").write_text("x" * 44)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-m", "k8s_ws_proxy", "serve"),
        env={
            "PATH": os.environ["PATH"],
            "WS_PROXY_LISTEN_ADDR": f"127.0.0.1:{port}",
            "WS_PROXY_ADMIN_ADDR": "off",
            "SHARED_SECRET_FILE": str(tmp_path / "secret"),
            "KUBECONFIG": str(kubeconfig),
        },
    )
    try:
        while True:
            assert process.returncode is None
            with contextlib.suppress(ConnectionRefusedError):
                async with rawws.connected(port, b"GET /healthz HTTP/1.1\r\nHost: proxy\r\n\r\n") as ws:
                    assert ws.answer.status == 200
                break
            await asyncio.sleep(0.01)
    finally:
        process.terminate()
        assert await process.wait() == 0


async def test_once_it_listens_it_says_so(daemon):
    line = await daemon.event("listening")
    assert line == {
        "event": "listening",
        "level": "info",
        "listener": "http",
        "address": "127.0.0.1:0",
        "port": daemon.port,
        "timestamp": line["timestamp"],
    }
    assert (await get(daemon, "/healthz")).status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_a_signal_ends_it_with_0(daemon, number):
    assert await daemon.terminate(number) == 0
    assert [line["event"] for line in daemon.log[-2:]] == ["shutting down", "shut down"]
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", daemon.port)


async def test_a_hang_up_has_it_look_at_its_files(start, tmp_path):
    daemon = await start(KUBECONFIG=str(tmp_path / "kubeconfig"))
    (tmp_path / "kubeconfig").write_text("{}")  # looked at every half minute
    daemon.process.send_signal(signal.SIGHUP)
    await daemon.event("looking at the files again")
    await daemon.event("the cluster configuration can't be read")
    assert (await get(daemon, "/readyz")).status == 200
    assert await daemon.terminate() == 0


async def test_a_signal_while_a_client_is_connected_but_has_asked_nothing(daemon):
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    try:
        assert await daemon.terminate() == 0
        assert await reader.read() == b""
    finally:
        writer.transport.abort()


async def test_a_signal_while_a_request_is_half_way(daemon):
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    try:
        writer.write(b"GET /proxy/exec/default/shell HTTP/1.1\r\nHost:")
        await writer.drain()
        assert (await get(daemon, "/healthz")).status == 200  # by now it has been read
        assert await daemon.terminate() == 0
        assert await reader.read() == b""
    finally:
        writer.transport.abort()


@contextlib.asynccontextmanager
async def being_dialled(daemon, cluster, target, **options):
    """A caller whose dial the cluster has seen and won't answer; leaves its answer behind."""
    cluster.faults.hang()
    before = len(cluster.observed.seen)
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    try:
        writer.write(request(daemon, target, **options))
        await cluster.observed.wait_for(lambda: any("/pods/" in seen.target for seen in cluster.observed.seen[before:]))
        yield reader
    finally:
        writer.transport.abort()


DIALS = {
    "exec": (script("true"), {}),
    "a terminal": (on_terminal("true"), {}),
    "on the apiserver's path": (api_exec("true", **PIPES), {}),
    "attach": (with_query("/proxy/attach/default/shell/shell"), {}),
    "a log": (with_query("/proxy/logs/default/shell/shell"), {}),
    "a port-forward": (with_query("/proxy/portforward/default/shell", ports="80"), {"subprotocols": [V4]}),
}


@pytest.mark.parametrize(("target", "options"), DIALS.values(), ids=DIALS)
async def test_who_is_being_dialled_when_the_drain_ends_is_told_to_try_elsewhere(start, cluster, target, options):
    daemon = await start(DRAIN_TIMEOUT="0s", WS_HANDSHAKE_TIMEOUT="1h")
    async with being_dialled(daemon, cluster, target, **options) as reader:
        daemon.process.send_signal(signal.SIGTERM)
        answer = await rawws.read_answer(reader)
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert refusal_of(answer, target)[1] == "shutting_down"
        assert await reader.read() == b""
        daemon.process.send_signal(signal.SIGTERM)  # a terminal's dial may be a command that has to be hung up
        assert await daemon.wait() == 0
    assert (await daemon.event("request refused"))["reason"] == "shutting_down"
    events = [line["event"] for line in daemon.log]
    assert "client left before the session opened" not in events
    assert "the apiserver doesn't answer" not in events


async def test_a_second_signal_during_a_dial(start, cluster):
    daemon = await start(DRAIN_TIMEOUT="1h", WS_HANDSHAKE_TIMEOUT="1h")
    async with being_dialled(daemon, cluster, script("true")) as reader:
        daemon.process.send_signal(signal.SIGTERM)
        await daemon.event("shutting down", sessions=1)  # two signals at once would be one
        daemon.process.send_signal(signal.SIGTERM)
        assert (await rawws.read_answer(reader)).status == 503
        assert await daemon.wait() == 0


@pytest.mark.parametrize("offer", [V5, V4])
async def test_the_way_down(start, cluster, offer):
    """Unready and refusing at once; what runs goes on, until it is told on its terminal and closed."""
    daemon = await start(DRAIN_TIMEOUT="1h")
    async with opened(daemon, on_terminal("echo up; cat"), subprotocols=[offer]) as ws:
        await ws.until(STDOUT, b"up\r\n")
        daemon.process.send_signal(signal.SIGTERM)
        await daemon.event("shutting down", sessions=1, drain_seconds=3600.0)
        ready = await get(daemon, "/readyz")
        assert ready.status == 503
        assert json.loads(ready.body)["checks"]["shutdown"] == "the daemon is going down"
        assert (await get(daemon, "/healthz")).status == 200
        assert (await ask(daemon, proxy_exec("true"))).status == 503
        await ws.send(STDIN, b"still here\n")
        await ws.until(STDOUT, b"still here\r\nstill here\r\n")
        daemon.process.send_signal(signal.SIGTERM)
        ended = await ws.finish()
    assert ended.text(STDOUT) == f"\r\nk8s-ws-proxy: {SHUTTING_DOWN}.\r\n"
    assert (ended.code, ended.reason) == (frames.GOING_AWAY, SHUTTING_DOWN)
    assert ended.status["status"] == "Failure"
    assert ended.status["message"] == SHUTTING_DOWN
    assert ended.exit_code is None
    assert await daemon.wait() == 0
    line = await daemon.event("session ended")
    assert (line["reason"], line["close_code"], line["level"]) == ("drained", frames.GOING_AWAY, "info")
    await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 0)


@pytest.mark.parametrize("deadline", ["0s", "300ms"])
async def test_on_pipes_the_last_line_is_on_stderr_when_the_deadline_has_come(start, deadline):
    daemon = await start(DRAIN_TIMEOUT=deadline)
    async with opened(daemon, script("echo up; cat")) as ws:
        await ws.until(STDOUT, b"up\n")
        daemon.process.send_signal(signal.SIGTERM)
        ended = await ws.finish()
    assert ended.output.keys() == {STDERR, STATUS}
    assert SHUTTING_DOWN in ended.text(STDERR)
    assert await daemon.wait() == 0


async def test_sessions_that_end_in_time_end_as_always_and_it_goes_with_the_last(start):
    daemon = await start(DRAIN_TIMEOUT="1h")
    async with opened(daemon, script("read x; exit 3")) as ws, opened(daemon, on_terminal("cat")) as other:
        daemon.process.send_signal(signal.SIGTERM)
        await daemon.event("shutting down", sessions=2)
        await ws.send(STDIN, b"x\n")
        ended = await ws.finish()
        assert (ended.exit_code, ended.code) == (3, frames.NORMAL)
        await close(other)
        await other.finish()
    assert await daemon.wait() == 0
    assert "ending sessions" not in [line["event"] for line in daemon.log]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_a_second_signal_ends_them_at_once(start, number):
    daemon = await start(DRAIN_TIMEOUT="1h")
    async with opened(daemon, on_terminal("cat")) as ws:
        daemon.process.send_signal(signal.SIGTERM)
        await daemon.event("shutting down")
        daemon.process.send_signal(number)
        ended = await ws.finish()
    assert ended.code == frames.GOING_AWAY
    assert ended.status["message"] == SHUTTING_DOWN
    assert await daemon.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
async def test_no_signal_in_its_last_moments_is_how_it_ended(start, number):
    """logrotate's, say, which is for all daemons that there are."""
    daemon = await start()
    daemon.process.send_signal(signal.SIGTERM)
    await daemon.event("shut down")
    while daemon.process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(daemon.process.pid, number)  # Popen's own would take the status away from asyncio
        await asyncio.sleep(0.001)
    assert await daemon.wait() == 0
    assert "background task failed" not in [line["event"] for line in daemon.log]


async def test_a_client_that_takes_nothing_does_not_hold_it_up(start, cluster):
    daemon = await start(DRAIN_TIMEOUT="0s")
    async with opened(daemon, script("exec yes"), limit=1024) as ws:
        await ws.until(STDOUT, b"y\n")
        daemon.process.send_signal(signal.SIGTERM)
        assert await daemon.wait() == 0
    line = await daemon.event("session ended")
    assert line["reason"] == "drained"
    await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 0)


async def test_it_starts_without_an_apiserver_and_is_unready_until_that_answers(cluster, start):
    await cluster.stop_listening()
    daemon = await start(ready=False)
    line = await daemon.event("the apiserver doesn't answer")
    assert line["level"] == "error"
    ready = await get(daemon, "/readyz")
    assert ready.status == 503
    assert json.loads(ready.body)["checks"]["apiserver"] != "ok"
    await cluster.start_listening()
    await daemon.event("the apiserver answers")
    assert (await get(daemon, "/readyz")).status == 200


async def test_it_starts_without_a_usable_kubeconfig_and_says_so(start, tmp_path, cluster):
    missing = tmp_path / "later"
    daemon = await start(ready=False, KUBECONFIG=str(missing))
    assert (await daemon.event("the cluster configuration can't be read"))["level"] == "error"
    ready = await get(daemon, "/readyz")
    assert ready.status == 503
    assert "apiserver" in json.loads(ready.body)["checks"]["apiserver"]
    async with opened(daemon, proxy_exec("true")) as ws:
        ended = await ws.finish()
    assert ended.status["message"] == "The proxy doesn't know where the apiserver is."
    assert ended.code == frames.INTERNAL_ERROR


@pytest.mark.parametrize("level", ["warn", "error"])
async def test_that_it_listens_is_told_at_every_level(kubeconfig, tmp_path, level):
    async with running_daemon(kubeconfig, tmp_path, ready=False, program=SERVE, LOG_LEVEL=level) as daemon:
        assert (await daemon.event("listening", listener="http"))["level"] == "info"
        assert await daemon.terminate() == 0
    # On a busy machine it may say that, too.
    assert {line["event"] for line in daemon.log} - {"the event loop stands still"} == {"listening"}
