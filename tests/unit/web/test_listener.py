"""The descriptor that is kept for the last ones who come."""

from __future__ import annotations

import asyncio
import errno
import os
import socket

import pytest

from k8s_ws_proxy.relay.read_budget import ReadBudget
from k8s_ws_proxy.settings import Address
from k8s_ws_proxy.web.handshakes import Handshakes
from k8s_ws_proxy.web.listener import Listener, bind
from k8s_ws_proxy.web.pending import PendingConnections


@pytest.fixture
async def listener():
    loop = asyncio.get_running_loop()
    made = Listener(
        bind(Address("127.0.0.1", 0)),
        asyncio.Protocol,
        loop=loop,
        block=ReadBudget(loop.time).block,
        head_timeout=1.0,
        pending=PendingConnections(loop, lambda: 1),
        idle=PendingConnections(loop, lambda: 1),
        handshakes=Handshakes(loop),
    )
    yield made
    made.close()


def refuse_to_open(*_):
    raise OSError(errno.EMFILE, "Too many open files")


async def test_who_comes_when_nothing_can_be_opened_is_told(listener):
    with socket.create_connection(("127.0.0.1", listener.port)) as waiting:
        listener._turn_away("Too many open files")
        assert waiting.recv(12) == b"HTTP/1.1 503"


async def test_a_spare_that_another_thread_has_taken_is_not_closed_for_it(listener, monkeypatch, tmp_path):
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse_to_open)
        listener._turn_away("Too many open files")
    # The number of the one given up is the lowest free: now it is this file's.
    with (tmp_path / "somebody's").open("wb") as file:
        with monkeypatch.context() as patched:
            patched.setattr(os, "open", refuse_to_open)
            listener._turn_away("Too many open files")
        file.write(b"still open")
        file.flush()
        listener._resume()
        with socket.create_connection(("127.0.0.1", listener.port)) as waiting:
            listener._turn_away("Too many open files")
            assert waiting.recv(12) == b"HTTP/1.1 503"
