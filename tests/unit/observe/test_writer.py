"""The log's way out, before a reader that is slow, gone, or there."""

from __future__ import annotations

import contextlib
import json
import os
import threading

import pytest

from k8s_ws_proxy.observe.writer import MOST, LogWriter

LINE = "x" * 999 + "\n"


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing
    for fd in (reading, writing):
        with contextlib.suppress(OSError):
            os.close(fd)


def read(fd, count):
    got = b""
    while len(got) < count:
        got += os.read(fd, count - len(got))
    return got


def test_lines_come_out_as_they_went_in(pipe):
    reading, writing = pipe
    writer = LogWriter(writing)
    wanted = "".join(f"{number} é\udcff\n" for number in range(1000))
    for line in wanted.splitlines(keepends=True):
        writer.write(line)
    writer.close()
    data = wanted.encode("utf-8", "backslashreplace")
    assert read(reading, len(data)) == data


@pytest.mark.parametrize("blocking", [True, False])
def test_what_nobody_reads_is_dropped_counted_and_said(pipe, blocking):
    reading, writing = pipe
    os.set_blocking(writing, blocking)
    counts = []
    writer = LogWriter(writing, dropped=counts.append)
    for _ in range(3 * MOST // 1000):
        writer.write(LINE)
    assert writer._held <= MOST
    assert sum(counts) > MOST // 1000
    got = bytearray()

    def drain():
        while b"dropped" not in got or not got.endswith(b"the last\n"):
            got.extend(os.read(reading, 65536))

    draining = threading.Thread(target=drain)
    draining.start()
    with writer._changed:
        assert writer._changed.wait_for(lambda: writer._held < MOST // 2, 30)
    writer.write("the last\n")
    draining.join(30)
    assert not draining.is_alive()
    *others, last = bytes(got).splitlines(keepends=True)
    kept = [line for line in others if line == LINE.encode()]
    said = [json.loads(line)["lines"] for line in others if line != LINE.encode()]
    assert sum(said) == sum(counts) == 3 * MOST // 1000 - len(kept)
    assert last == b"the last\n"


def test_a_reader_that_has_gone_costs_nothing_but_the_lines(pipe):
    reading, writing = pipe
    os.close(reading)
    writer = LogWriter(writing)
    for _ in range(5 * MOST // 1000):
        writer.write(LINE)
        if writer._held > MOST // 2:
            writer.close()
    writer.close()
    assert writer._held == 0
