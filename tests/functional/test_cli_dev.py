"""``k8s-ws-proxy dev``, ``dev --demo`` and ``sign`` as processes: what a newcomer types."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import sys
import time
from pathlib import Path
from urllib.parse import parse_qsl

import aiohttp
import pytest

from k8s_ws_proxy.wire.framing.channels import V5
from k8s_ws_proxy.wire.requests.bearer import SUBPROTOCOL_PREFIX
from k8s_ws_proxy.wire.requests.signing import HMAC_HEADER, TIMESTAMP_HEADER, Key, verify

PROGRAM = [sys.executable, "-m", "k8s_ws_proxy"]


@pytest.fixture
async def start(tmp_path):
    """Starts the program with a temporary directory of its own; it is gone after the test."""
    (tmp_path / "tmp").mkdir()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # an activated virtual environment
    environ = {"PATH": path, "HOME": str(tmp_path), "TMPDIR": str(tmp_path / "tmp")}
    started = []

    async def start_(*words, program=PROGRAM, extra=None, **streams):
        streams = {"stdin": asyncio.subprocess.DEVNULL, **dict.fromkeys(("stdout", "stderr"), -1), **streams}
        process = await asyncio.create_subprocess_exec(*program, *words, env=environ | (extra or {}), **streams)
        started.append(process)
        return process

    yield start_
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def introduction(process):
    """What ``dev`` prints: its proxy's ``exec`` line and the one with kubectl."""
    text = (await process.stdout.readuntil(b"Ctrl-C ends it.\n")).decode()
    (through_proxy,) = re.findall(r"^  (k8s-ws-proxy exec .*)$", text, re.MULTILINE)
    (straight,) = re.findall(r"^  (KUBECONFIG=.*)$", text, re.MULTILINE)
    return through_proxy, straight


async def test_dev_without_a_stderr_serves_all_the_same(start):
    words = ["sh", "-c", 'exec "$@" 2>&-', "sh", *PROGRAM]
    dev = await start("dev", "--port", "0", program=words, stderr=asyncio.subprocess.DEVNULL)
    line, _ = await introduction(dev)
    shell = await start("-c", line, program=["sh"], stdin=asyncio.subprocess.PIPE)
    stdout, _ = await shell.communicate(b"echo $((40 + 2))\n")
    assert stdout == b"42\n"
    dev.send_signal(signal.SIGTERM)
    assert await dev.wait() == 0


async def test_the_line_that_dev_prints_works_as_it_is(start, tmp_path):
    """On a terminal: test_cli_terminal.py."""
    dev = await start("dev", "--port", "0")
    line, _ = await introduction(dev)
    shell = await start("-c", line, program=["sh"], stdin=asyncio.subprocess.PIPE)
    stdout, stderr = await shell.communicate(b"echo $HOSTNAME-$((40 + 2)); exit 6\n")
    assert (shell.returncode, stdout) == (6, b"web-42\n"), stderr
    (secret_file,) = (tmp_path / "tmp").glob("*/secret")
    assert secret_file.stat().st_mode & 0o777 == 0o600
    dev.send_signal(signal.SIGINT)
    assert await dev.wait() == 0
    assert not list((tmp_path / "tmp").iterdir()), "nothing is left behind"


async def test_the_address_for_a_browser_opens_a_shell_each_time(start):
    dev = await start("dev", "--port", "0")
    text = (await dev.stdout.readuntil(b"Ctrl-C ends it.\n")).decode()
    (address,) = re.findall(r"^  (http://127\.0\.0\.1:\d+/[\w-]{22})$", text, re.MULTILINE)
    async with aiohttp.ClientSession() as session:
        pages = []
        for _ in range(2):
            async with session.get(address, allow_redirects=False) as answer:
                assert (answer.status, answer.headers["Cache-Control"]) == (303, "no-store")
                pages.append(answer.headers["Location"])
        (page, said), (_, again) = (
            (page, dict(parse_qsl(said))) for page, _, said in (p.partition("#") for p in pages)
        )
        assert said["ticket"] != again["ticket"]
        assert (said["back"], said["name"]) == (address, "default/web")
        async with session.get(page) as answer:
            assert answer.status == 200
            assert address.rpartition("/")[0] in await answer.text(), "the page may lead back there"
        stream = page.replace("/terminal/", f"/proxy/sessions/{said['id']}/stream")
        async with session.ws_connect(stream, protocols=[V5, SUBPROTOCOL_PREFIX + said["ticket"]]) as ws:
            await ws.send_bytes(b"\0echo $HOSTNAME-$((40 + 2)); exit\n")
            output = b"".join([message.data[1:] async for message in ws])
            assert b"web-42" in output
        for other in (address[:-1], address + "/", address.rpartition("/")[0] + "/"):
            async with session.get(other, allow_redirects=False) as answer:
                assert answer.status == 404
        async with session.post(address) as answer:
            assert answer.status == 404


async def test_without_pages_there_is_no_address_for_a_browser(start):
    dev = await start("dev", "--port", "0", extra={"WEB_TERMINAL": "false"})
    assert b"browser, and" not in await dev.stdout.readuntil(b"Ctrl-C ends it.\n")


async def test_recordings_and_the_audit_trail_are_kept_where_the_environment_says(start, tmp_path):
    trail, recordings = tmp_path / "audit.log", tmp_path / "recordings"
    kept = {"AUDIT_LOG": str(trail), "RECORD": "all", "RECORDING_DIR": str(recordings)}
    dev = await start("dev", "--port", "0", extra=kept)
    line, _ = await introduction(dev)
    shell = await start("-c", line, program=["sh"], stdin=asyncio.subprocess.PIPE)
    await shell.communicate(b"exit\n")
    dev.send_signal(signal.SIGINT)
    assert await dev.wait() == 0
    told = [json.loads(line) for line in trail.read_text().splitlines()]
    # A signature of the second in which the daemon started counts as older than it: the client signs once more.
    told = [line for line in told if line.get("refusal") != "expired"]
    expected = ["daemon.started", "session.opened", "session.ended", "recording.finished", "daemon.stopped"]
    assert sorted(line["event"] for line in told) == sorted(expected)
    (recording,) = recordings.rglob("*.cast")
    (finished,) = (line for line in told if line["event"] == "recording.finished")
    assert finished["path"] == str(recording.relative_to(recordings))


async def test_the_kubectl_line_reaches_the_same_cluster(start):
    dev = await start("dev", "--port", "0")
    _, line = await introduction(dev)
    batch = line.replace(" -it ", " ").replace(" -- sh", " -- sh -c 'echo $HOSTNAME'")
    kubectl = await start("-c", batch, program=["sh"])
    stdout, stderr = await kubectl.communicate()
    assert (kubectl.returncode, stdout) == (0, b"web\n"), stderr


async def test_the_port_forward_line_reaches_the_pod_s_port(start):
    dev = await start("dev", "--port", "0")
    text = (await dev.stdout.readuntil(b"Ctrl-C ends it.\n")).decode()
    (line,) = re.findall(r"^  (k8s-ws-proxy port-forward .*)$", text, re.MULTILINE)
    forward = await start("-c", f"exec {line}", program=["sh"])
    told = await forward.stdout.readline()
    port = int(told.decode().removeprefix("Forwarding from 127.0.0.1:").partition(" ")[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    assert (await reader.read()).endswith(b"\r\n\r\nhello from the pod web\n")
    writer.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_dev_cleans_up_although_a_session_runs(start, tmp_path, number):
    dev = await start("dev", "--port", "0")
    line, _ = await introduction(dev)
    words = shlex.split(line.replace(" -it ", " ").removesuffix(" sh"))
    session = await start(*words[1:], "sh", "-c", "echo started $$; exec sleep 1000")
    started = await session.stdout.readline()
    dev.send_signal(number)
    assert await dev.wait() == 0
    assert await session.wait() == 1
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.split()[1]), 0)
    assert not list((tmp_path / "tmp").iterdir())


async def test_dev_honours_the_settings_of_the_environment(start):
    dev = await start("dev", "--port", "0", extra={"ALLOWED_NAMESPACES": "team-a", "SHARED_SECRET_DIR": "/no/such"})
    line, _ = await introduction(dev)
    words = shlex.split(line.replace(" -it ", " "))
    refused = await start(*words[1:])
    _, stderr = await refused.communicate()
    assert refused.returncode == 1
    assert b"403 namespace_denied" in stderr
    allowed = await start(*shlex.split(line.replace("default/web -it", "team-a/web"))[1:-1], "echo", "yes")
    assert (await allowed.communicate())[0] == b"yes\n"


async def test_dev_tells_all_that_is_wrong_with_the_environment(start, tmp_path):
    dev = await start("dev", "--port", "0", extra={"TMUX_CASCADE": "perhaps", "WS_PING_PERIOD": "soon"})
    _, stderr = await dev.communicate()
    assert dev.returncode == 2
    assert b"TMUX_CASCADE" in stderr
    assert b"WS_PING_PERIOD" in stderr
    assert not list((tmp_path / "tmp").iterdir())


async def test_dev_says_that_its_port_is_taken(start):
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        dev = await start("dev", "--port", str(port))
        _, stderr = await dev.communicate()
    assert dev.returncode == 1
    assert f"can't listen on 127.0.0.1:{port}: Address already in use. --port 0 takes any" in stderr.decode()


@pytest.mark.parametrize("package", ["websockets", "cryptography"])
async def test_dev_without_its_extra_says_how_to_install_it(start, package):
    absent = f"import sys; sys.modules[{package!r}] = None; from k8s_ws_proxy.cli.main import main; "
    dev = await start("dev", "--port", "0", program=[sys.executable, "-c", f"{absent}sys.exit(main())"])
    _, stderr = await dev.communicate()
    assert dev.returncode == 1
    assert re.search(rf"dev needs {package}\S*, which isn't installed here: pip install", stderr.decode())


async def test_the_demo_without_a_terminal_shows_all_three_and_ends_well(start, tmp_path):
    demo = await start("dev", "--demo", "--port", "0")
    stdout, stderr = await demo.communicate()
    shown = stdout.decode()
    assert (demo.returncode, stderr) == (0, b"")
    assert "$ k8s-ws-proxy exec default/web --url http://127.0.0.1:" in shown
    assert "stdout: hello from the pod web\nstderr: and this is stderr\nexit code: 3\n" in shown
    assert not list((tmp_path / "tmp").iterdir())


async def test_the_demo_without_a_terminal_fails_when_the_session_does(start):
    demo = await start("dev", "--demo", "--port", "0", extra={"ALLOWED_NAMESPACES": "team-a"})
    stdout, stderr = await demo.communicate()
    assert demo.returncode == 1
    assert b"stderr: k8s-ws-proxy: the proxy refused (403 namespace_denied)" in stdout
    assert b'"reason": "namespace_denied"' in stderr, "the proxy's log is shown"


@pytest.mark.parametrize(
    ("given", "signed"),
    [
        ("/proxy/exec/default/web/web", "/proxy/exec/default/web/web"),
        ("/proxy/exec/default/web?command=sh&tty=true", "/proxy/exec/default/web"),
        ("http://127.0.0.1:8080/proxy/exec/default/web", "/proxy/exec/default/web"),
        ("/proxy/exec/default/we%62", "/proxy/exec/default/web"),
    ],
)
async def test_what_sign_prints_is_accepted(start, tmp_path, given, signed):
    (tmp_path / "secret").write_text(f"  {'s' * 44}\n")
    process = await start("sign", given, "--secret-file", str(tmp_path / "secret"))
    stdout, stderr = await process.communicate()
    assert (process.returncode, stderr) == (0, b"")
    headers = dict(line.split(": ") for line in stdout.decode().splitlines())
    key = Key("secret", b"s" * 44)
    accepted = verify(
        [headers[TIMESTAMP_HEADER]], [headers[HMAC_HEADER]], path=signed, keys=[key], now=time.time(), skew=300
    )
    assert accepted is key


async def test_sign_without_a_secret_says_where_to_get_it(start):
    process = await start("sign", "/proxy/exec/default/web")
    _, stderr = await process.communicate()
    assert process.returncode == 1
    assert b"name its file with --secret-file or SHARED_SECRET_FILE" in stderr


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ((), ("serve", "exec", "sign", "dev")),
        (("serve",), ("SHARED_SECRET_FILE", "WS_PROXY_LISTEN_ADDR", "KUBECONFIG", "Exit status")),
        (("exec",), ("NAMESPACE/POD", "-c CONTAINER", "-- COMMAND", "--url", "K8S_WS_PROXY_URL", "Exit status")),
        (("sign",), ("PATH", "--secret-file", "--timestamp")),
        (("dev",), ("--port", "--demo", "Ctrl-C")),
    ],
)
async def test_help_says_what_there_is(start, command, told):
    process = await start(*command, "--help")
    stdout, stderr = await process.communicate()
    assert (process.returncode, stderr) == (0, b"")
    assert all(word in stdout.decode() for word in told)
