"""``k8s-ws-proxy attach`` as a process: a container's own process on pipes and on a terminal."""

from __future__ import annotations

import os
import signal

import pytest
from support.command import Client, unnamed
from support.kubectl import Terminal


@pytest.fixture
def client(daemon, tmp_path):
    return Client(daemon.url, tmp_path / "secret", tmp_path, "attach")


async def test_it_hears_and_is_heard(client, daemon):
    process = await client.start("default/web", "-i")
    process.stdin.write(b"hello\n")
    assert await process.stdout.readline() == b"echo: hello\n"
    process.send_signal(signal.SIGINT)
    _, stderr = await process.communicate()
    assert (process.returncode, stderr) == (-signal.SIGINT, b"")
    ended = await daemon.event("session ended")
    assert (ended["subresource"], ended["reason"], ended["tty"]) == ("attach", "client_left", False)


async def test_it_only_listens_without_i(client, daemon):
    listening = await client.start("default/web", "-c", "web")
    opened = await daemon.event("session opened")
    assert opened["container"] == "web"
    typing = await client.start("default/web", "-i")
    typing.stdin.write(b"to all\n")
    for process in (listening, typing):
        assert await process.stdout.readline() == b"echo: to all\n"
        process.terminate()
        await process.communicate()


async def test_a_terminal(client):
    terminal = Terminal(90, 20)
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), terminal.slave)
    process = await client.start("default/term", "-it", terminal=True, **streams)
    await terminal.open()
    await terminal.until(b"press enter for a prompt\r\n")
    terminal.type(b"hello\r")
    await terminal.until(b"echo: hello\r\n")
    os.kill(process.pid, signal.SIGTERM)
    await terminal.rest()
    assert await process.wait() == -signal.SIGTERM


async def test_refusals_are_told(client, start, tmp_path):
    status, stdout, stderr = await client.run("default/nope")
    assert (status, stdout, unnamed(stderr)) == (1, b"", 'k8s-ws-proxy: pods "nope" not found\n')
    daemon = await start(ALLOWED_SUBRESOURCES="exec")
    status, _, stderr = await Client(daemon.url, tmp_path / "secret", tmp_path, "attach").run("default/web")
    assert status == 1
    assert "(403 subresource_denied): attach is switched off at this proxy (ALLOWED_SUBRESOURCES).\n" in stderr
    assert "Ask whoever runs the proxy to switch it on." in stderr


async def test_a_command_is_a_wrong_use(client):
    status, _, stderr = await client.run("default/web", "--", "sh")
    assert status == 2
    assert "unrecognized arguments" in stderr
