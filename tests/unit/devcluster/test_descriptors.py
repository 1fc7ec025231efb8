"""What the embedded cluster reads of a process."""

from __future__ import annotations

import asyncio
import os

import pytest

from k8s_ws_proxy.devcluster.descriptors import Source


@pytest.fixture
async def terminal():
    """What reads it, and the path of its other side, which nobody holds."""
    master, slave = os.openpty()
    path = os.ttyname(slave)
    os.close(slave)
    source = Source(master)
    yield source, path
    source.close()


def write(path, data):
    """As a process that opens its terminal, writes, and ends."""
    slave = os.open(path, os.O_WRONLY | os.O_NOCTTY)
    os.write(slave, data)
    os.close(slave)


async def started(source):
    """A read that has already asked the kernel."""
    reading = asyncio.get_running_loop().create_task(source.read(4096))
    await asyncio.sleep(0)
    return reading


async def test_a_terminal_that_nobody_holds_is_read_again_when_its_process_has_ended(terminal):
    source, path = terminal
    reading = await started(source)
    write(path, b"last words")
    source.writer_ended()
    assert await reading == b"last words"
    assert await source.read(4096) == b""


async def test_a_terminal_that_nobody_holds_has_ended_with_its_process(terminal):
    source, _path = terminal
    reading = await started(source)
    assert not reading.done()
    source.writer_ended()
    assert await reading == b""


async def test_a_terminal_that_nobody_holds_can_be_closed(terminal):
    source, _path = terminal
    reading = await started(source)
    source.close()
    assert await reading == b""
