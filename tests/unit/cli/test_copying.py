"""A recording that comes faster than it is read."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from pathlib import Path

import pytest

from k8s_ws_proxy.cli import copying
from k8s_ws_proxy.cli.copying import copied
from k8s_ws_proxy.errors import ProxyError


class Sender:
    """Gives these parts, and knows when they were taken."""

    def __init__(self, *parts, then=None):
        self._parts = parts
        self._then = then
        self.all_taken = asyncio.Event()

    async def cast(self):
        for part in self._parts:
            yield part
        self.all_taken.set()
        if self._then is not None:
            raise self._then


async def read(cast, into, after=None):
    """Add what comes of the copy to ``into``, once ``after`` is so."""
    async with copied(cast) as copy:
        if after is not None:
            await after.wait()
        async for data in copy:
            into += data


async def test_all_of_it_is_taken_though_nobody_reads():
    parts = [os.urandom(100_000 * number) for number in range(1, 8)]
    sender = Sender(*parts)
    copy = bytearray()
    await read(sender.cast(), copy, sender.all_taken)
    assert copy == b"".join(parts)


async def test_it_is_read_before_it_is_over_and_the_file_is_begun_anew(monkeypatch):
    at = []
    write = copying._write
    monkeypatch.setattr(copying, "_write", lambda fd, data, where: at.append(where) or write(fd, data, where))
    queue = asyncio.Queue()

    async def cast():
        while part := await queue.get():
            yield part

    async with copied(cast()) as copy:
        for part in (b"one", b"two", b"three"):
            queue.put_nowait(part)
            assert await anext(copy) == part
        queue.put_nowait(b"")
        assert [data async for data in copy] == []
    assert at == [0, 0, 0]


async def test_what_goes_wrong_is_told_after_what_came_before():
    sender = Sender(b"one", b"two", then=ProxyError("it broke off"))
    copy = bytearray()
    with pytest.raises(ProxyError, match="it broke off"):
        await read(sender.cast(), copy, sender.all_taken)
    assert copy == b"onetwo"


async def held(data):
    """A recording that is never over."""
    yield data
    await asyncio.Event().wait()


@pytest.mark.parametrize("way", [BrokenPipeError, asyncio.CancelledError])
async def test_whichever_way_it_is_left_nothing_stays(way, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    cast, closed = held(b"one"), asyncio.Event()
    close = copying._Copy.close

    def close_and_tell(copy):
        close(copy)
        copy._worker.do(lambda: None, lambda _: closed.set(), pytest.fail)

    monkeypatch.setattr(copying._Copy, "close", close_and_tell)

    async def leave():
        async with copied(cast) as copy:
            assert await anext(copy) == b"one"
            assert open_below(tmp_path)
            raise way

    with pytest.raises(way):
        await leave()
    with pytest.raises(StopAsyncIteration):
        await anext(cast)
    await closed.wait()
    assert not open_below(tmp_path)
    assert not list(tmp_path.iterdir())


def open_below(directory):
    """Files there that this process has open."""
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(fd.readlink()))
    return [name for name in found if name.startswith(f"{directory}/")]


async def test_a_disk_that_is_full_is_told_after_what_it_holds(monkeypatch):
    files = iter((lambda fd: fd, lambda _: -1))
    monkeypatch.setattr(copying, "_write", lambda fd, data, at: os.pwrite(next(files)(fd), data, at))
    copy = bytearray()
    with pytest.raises(ProxyError, match=r"can't be kept meanwhile: Bad file descriptor\. Name another .* TMPDIR"):
        await read(Sender(b"one", b"two").cast(), copy)
    assert copy == b"one"


async def test_without_a_place_for_it(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(ProxyError, match="can't be kept meanwhile: No such file or directory"):
        await read(held(b"one"), bytearray())
