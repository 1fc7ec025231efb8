"""``k8s-ws-proxy exec -it`` on a real terminal: what a person sits at, and how it is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
from functools import partial
from pathlib import Path

import pytest
from support.screen import Screen, programs

from k8s_ws_proxy.cli.terminal import Terminal


@pytest.fixture
async def screen():
    screen = Screen()
    yield screen
    screen.close()


@pytest.fixture
async def start_exec(screen, daemon, tmp_path):
    """Starts ``exec`` on the screen; it is gone after the test."""
    async with programs(screen, tmp_path, K8S_WS_PROXY_URL=daemon.url) as start:
        yield partial(start, "exec")


def sh(text):
    return ("default/web", "-it", "--", "sh", "-c", text)


READY = "echo ready; exec sleep 1000"


async def test_a_shell_is_typed_into_and_its_exit_code_handed_on(screen, start_exec):
    process = await start_exec("default/web", "-it", "--", "sh")
    screen.type(b"tty >/dev/null && echo a-$((1 + 1))-b\r")
    await screen.until(rb"a-2-b\r\n")
    assert screen.is_raw
    screen.type(b"exit 7\r")
    assert await process.wait() == 7
    assert screen.is_restored


async def test_ctrl_c_goes_to_the_container(screen, start_exec):
    process = await start_exec(*sh("trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.1; done"))
    await screen.until(rb"ready")
    screen.type(b"\x03")
    await screen.until(rb"caught")
    assert await process.wait() == 9
    assert screen.is_restored


async def test_the_size_is_told_at_the_start_and_when_it_changes(screen, start_exec):
    screen.resize(101, 37)
    process = await start_exec(*sh("trap 'stty size' WINCH; stty size; echo ready; while :; do sleep 0.1; done"))
    # The first size comes right after the process has started: it may see 0 0 first, and be told by a WINCH.
    await screen.until(rb"37 101\r\n")
    screen.resize(132, 43)
    await screen.until(rb"43 132\r\n")
    process.terminate()
    assert await process.wait() == -signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
async def test_the_terminal_is_restored_after_a_signal(screen, start_exec, number):
    process = await start_exec(*sh(READY))
    await screen.until(rb"ready")
    assert screen.is_raw
    process.send_signal(number)
    assert await process.wait() == -number
    assert screen.is_restored


async def test_the_terminal_is_restored_after_a_signal_while_output_is_stuck(screen, start_exec):
    """Ctrl-S, say: the terminal takes no more, and the signal must not wait for it."""
    process = await start_exec(*sh("yes"))
    await screen.until(rb"y\r\ny\r\n")
    asyncio.get_running_loop().remove_reader(screen.master)
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == -signal.SIGTERM
    assert screen.is_restored


async def test_the_terminal_is_restored_when_the_proxy_dies(screen, start_exec, daemon):
    process = await start_exec(*sh(READY))
    await screen.until(rb"ready")
    daemon.process.kill()
    await screen.until(rb"k8s-ws-proxy: the connection to the proxy was lost; how the command ended isn't known\r\n")
    assert await process.wait() == 1
    assert screen.is_restored


async def test_the_terminal_is_restored_when_the_pod_is_deleted(screen, start_exec, cluster):
    process = await start_exec(*sh(READY))
    await screen.until(rb"ready")
    await cluster.delete_pod("default", "web")
    assert await process.wait() == 137
    assert screen.is_restored


async def test_the_terminal_is_restored_when_its_output_goes_nowhere(screen, start_exec):
    reader, writer = os.pipe()
    os.close(reader)
    process = await start_exec(*sh("echo x"), stdout=writer)
    os.close(writer)
    assert await process.wait() == -signal.SIGPIPE
    assert screen.is_restored


async def test_the_terminal_isnt_touched_when_there_is_no_session(screen, start_exec):
    process = await start_exec("default/web", "-it", "--url", "http://127.0.0.1:1", "--", "sh")
    await screen.until(rb"nothing listens at http://127.0.0.1:1: [^\n]*\r\n")
    assert await process.wait() == 1
    assert screen.is_restored


async def test_a_terminal_that_is_hung_up_ends_the_session(start_exec, screen, cluster):
    process = await start_exec(*sh(READY))
    await screen.until(rb"ready")
    os.kill(process.pid, signal.SIGSTOP)
    os.kill(process.pid, signal.SIGHUP)
    os.kill(process.pid, signal.SIGCONT)
    assert await process.wait() == -signal.SIGHUP
    await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 0)


async def test_after_a_stop_the_terminal_is_raw_again(screen, start_exec):
    process = await start_exec("default/web", "-it", "--", "sh")
    screen.type(b"echo re''ady\r")
    await screen.until(rb"ready")
    os.kill(process.pid, signal.SIGSTOP)
    termios.tcsetattr(screen.slave, termios.TCSANOW, screen.before)  # as the shell does that gets the terminal back
    os.kill(process.pid, signal.SIGCONT)
    screen.type(b"\recho ag''ain\r")
    await screen.until(rb"again")
    assert screen.is_raw
    screen.type(b"exit\r")
    assert await process.wait() == 0
    assert screen.is_restored


async def test_t_alone_gives_a_terminal_and_leaves_ours_as_it_is(screen, start_exec):
    process = await start_exec("default/web", "-t", "--", "sh", "-c", f"test -t 1 && {READY}")
    await screen.until(rb"ready")
    assert screen.is_restored
    screen.type(b"\x03")  # not raw, so the kernel makes a SIGINT of it
    assert await process.wait() == -signal.SIGINT


async def test_with_i_alone_the_terminal_stays_cooked_and_ctrl_d_ends_stdin(screen, start_exec):
    process = await start_exec("default/web", "-i", "--", "cat")
    screen.type(b"line\n")
    await screen.until(rb"line\r\nline\r\n")  # the terminal's echo and cat's
    assert screen.is_restored
    screen.type(b"\x04")
    assert await process.wait() == 0


async def test_raw_mode_is_left_by_an_exception_too(screen):
    seen = []
    with pytest.raises(ZeroDivisionError), Terminal(screen.slave).raw():
        seen.append(1 / (not screen.is_raw))
    assert screen.is_restored


async def test_a_terminal_without_a_size_says_none(screen):
    screen.resize(0, 0)
    assert Terminal(screen.slave).size() is None
    screen.resize(90, 30)
    assert Terminal(screen.slave).size() == (90, 30)


@pytest.fixture
async def start_dev(screen, tmp_path):
    """Starts ``dev`` on the screen; it is gone after the test."""
    (tmp_path / "tmp").mkdir()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # an activated virtual environment
    environ = {"PATH": path, "HOME": str(tmp_path), "TMPDIR": str(tmp_path / "tmp")}
    started = []

    async def start_dev_(*words):
        program = ["setsid", "--ctty", "k8s-ws-proxy", "dev", "--port", "0", *words]
        started.append(await asyncio.create_subprocess_exec(*program, env=environ, **screen.streams))
        return started[-1]

    yield start_dev_
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_the_line_that_dev_prints_is_a_shell_on_another_terminal(screen, start_dev):
    dev = await start_dev()
    line = (await screen.until(rb"\n  (k8s-ws-proxy exec [^\r]*)\r\n.*Ctrl-C ends it.\r\n"))[1].decode()
    with contextlib.closing(Screen()) as other:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        shell = await asyncio.create_subprocess_exec("sh", "-c", line, env={"PATH": path}, **other.streams)
        other.type(b"echo $HOSTNAME-$((40 + 2))\r")
        await other.until(rb"web-42\r\n")
        other.type(b"exit 6\r")
        assert await shell.wait() == 6
        assert other.is_restored
    screen.type(b"\x03")
    assert await dev.wait() == 0


async def test_the_demo_hands_over_a_shell(screen, start_dev):
    demo = await start_dev("--demo")
    await screen.until(rb"exit code: 3\r\n.*-it [^\r]*\r\n")
    screen.type(b"echo $HOSTNAME-$((40 + 2))\r")
    await screen.until(rb"web-42\r\n")
    screen.type(b"exit\r")
    await screen.until(rb"That was it")
    assert await demo.wait() == 0
    assert screen.is_restored


async def test_the_demo_gives_the_terminal_back_when_it_is_ended(screen, start_dev, tmp_path):
    demo = await start_dev("--demo")
    await screen.until(rb"-it [^\r]*\r\n")
    screen.type(b"echo $HOSTNAME-$((40 + 2))\r")
    await screen.until(rb"web-42\r\n")
    demo.terminate()
    assert await demo.wait() == 128 + signal.SIGTERM
    assert screen.is_restored
    assert not list((tmp_path / "tmp").iterdir())
