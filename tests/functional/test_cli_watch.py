"""``k8s-ws-proxy sessions watch`` and ``join`` on a real terminal."""

from __future__ import annotations

from functools import partial

import pytest
from support.caller import on_terminal
from support.command import Client
from support.listing import session_of
from support.screen import Screen, programs

from k8s_ws_proxy.wire.framing.channels import RESIZE, STDIN, STDOUT

LEAVE = b"\x1d"


@pytest.fixture
async def screen():
    screen = Screen()
    yield screen
    screen.close()


@pytest.fixture
async def start_sessions(screen, daemon, tmp_path):
    """Starts ``sessions ...`` on the screen; it is gone after the test."""
    async with programs(screen, tmp_path, K8S_WS_PROXY_URL=daemon.url) as start:
        yield partial(start, "sessions")


@pytest.mark.parametrize("key", [LEAVE, b"\x03"], ids=["ctrl-]", "ctrl-c"])
async def test_who_watches_sees_it_all_types_nothing_and_leaves(screen, daemon, start_sessions, key):
    async with session_of(daemon, "alice") as (session, owner):
        await owner.until(STDOUT, b"here")
        process = await start_sessions("watch", session[-12:], "--as", "carol")
        await screen.until(rb"here")
        await owner.until(STDOUT, b"carol watches from now on")
        assert screen.is_raw
        screen.type(b"not mine\r")
        await owner.send(STDIN, b"mine\n")
        await screen.until(rb"mine\r\n")
        screen.type(key)
        await screen.until(rb"left; the session goes on")
        assert await process.wait() == 0
        assert screen.is_restored
        assert b"not mine" not in await owner.until(STDOUT, b"carol has left")


async def test_who_joins_types_and_is_told_how_it_ended(screen, daemon, start_sessions):
    async with session_of(daemon, "alice") as (session, owner):
        process = await start_sessions("join", session)
        await owner.until(STDOUT, b"watches and may type from now on")
        screen.type(b"from a peer\r")
        await owner.until(STDOUT, b"from a peer")
        screen.type(b"\x03")  # goes there
        await screen.until(rb"the session has ended, with exit status 130")
        assert await process.wait() == 0
        assert screen.is_restored


async def test_what_the_program_asks_of_a_terminal_is_not_asked_of_this_one(screen, daemon, start_sessions):
    """It would answer besides the owner's, and the answer be typed."""
    script = r"echo here; read go; printf 'a\033'; sleep 0.1; printf '[6nb\033]11;?\007c\033[1md'; read end"
    async with session_of(daemon, "alice", on_terminal(script)) as (session, owner):
        await owner.until(STDOUT, b"here")
        await start_sessions("join", session)
        await owner.until(STDOUT, b"may type from now on")
        screen.type(b"\r")
        await owner.until(STDOUT, b"a\x1b[6nb\x1b]11;?\x07c\x1b[1md")
        await screen.until(rb"abc\x1b\[1md")


async def test_what_does_not_fit_is_said(screen, daemon, start_sessions):
    async with session_of(daemon, "alice") as (session, owner):
        await owner.send(RESIZE, b'{"Width":120,"Height":40}')
        await owner.until(STDOUT, b"here")
        await start_sessions("watch", session)
        await screen.until(rb"it is 120x40, and yours 80x24: what doesn't fit is shown wrongly")


async def test_who_joins_is_told_that_its_size_does_not_count(screen, daemon, start_sessions):
    async with session_of(daemon, "alice") as (session, owner):
        await owner.send(RESIZE, b'{"Width":120,"Height":40}')
        await owner.until(STDOUT, b"here")
        await start_sessions("join", session)
        await screen.until(rb"it is 120x40, and yours 80x24, which doesn't count: what doesn't fit is shown wrongly")


async def test_a_terminal_without_a_size_has_that_of_who_joins_it(screen, daemon, start_sessions):
    script = "trap 'stty size' WINCH; echo here; while :; do read line; done"
    async with session_of(daemon, "alice", on_terminal(script)) as (session, owner):
        await owner.until(STDOUT, b"here")
        process = await start_sessions("join", session)
        await owner.until(STDOUT, b"24 80")
        screen.resize(70, 20)
        await owner.until(STDOUT, b"20 70")
        assert b"doesn't fit" not in screen.shown
        screen.type(LEAVE)
        await screen.until(rb"left; the session goes on")
        assert await process.wait() == 0


async def test_who_is_ended_by_somebody_is_told(screen, daemon, start_sessions, tmp_path):
    async with session_of(daemon, "alice") as (session, owner):
        await owner.until(STDOUT, b"here")
        process = await start_sessions("watch", session)
        await owner.until(STDOUT, b"watches from now on")
        status, _, _ = await Client(daemon.url, tmp_path / "secret", tmp_path, "sessions").run(
            "end", session, "--as", "olga"
        )
        assert status == 0
        await screen.until(rb"ended by olga")
        await screen.until(rb"the session has ended\r\n")
        assert await process.wait() == 0
        assert screen.is_restored


async def test_without_a_url_and_a_cluster_it_is_said_how_to_name_one(daemon, tmp_path):
    status, _, stderr = await Client("", tmp_path / "secret", tmp_path, "sessions").run("watch", "abcd1234")
    assert status == 1
    assert "--url" in stderr
    status, _, stderr = await Client(daemon.url, tmp_path / "secret", tmp_path, "sessions").run("watch", "abcd1234")
    assert status == 1
    assert "no session whose id ends with abcd1234" in stderr
