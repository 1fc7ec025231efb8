"""What is to be hung up, in a file that outlives the process."""

from __future__ import annotations

import asyncio
import json
import os
import threading

import pytest
from structlog.testing import capture_logs

from k8s_ws_proxy.sessions import journal
from k8s_ws_proxy.sessions.journal import MOST, Journal, entry_of, line_of
from k8s_ws_proxy.wire.container.orphans import Place, Process
from k8s_ws_proxy.wire.requests.impersonation import Identity

PLACE = Place("default", "web-0", "app")
DEFAULT = Place("default", "web-1", None)


def process(number):
    return Process(str(number), f"{number}000")


async def opened(directory):
    """A journal, and what it has found; what the proxy itself has started as a pair."""
    journal = Journal(directory, asyncio.get_running_loop())
    found = await asyncio.to_thread(journal.open)
    return journal, [entry if entry[2] else entry[:2] for entry in found]


async def written(directory, count):
    """Wait until so many processes stand in the file."""
    file = directory / "processes"
    while not file.exists() or len(file.read_bytes().splitlines()) <= count:  # noqa: ASYNC110 - a thread writes it
        await asyncio.sleep(0)


def killed(one):
    """The process is gone, and what the kernel knows of it: the file stays as it is."""
    os.close(one._lock)
    one._lock = None


async def test_what_a_daemon_that_was_killed_has_left_is_found(tmp_path):
    first, found = await opened(tmp_path)
    assert found == []
    first.add(PLACE, process(1))
    first.add(DEFAULT, process(2))
    await written(tmp_path, 2)
    killed(first)
    second, found = await opened(tmp_path)
    assert found == [(PLACE, process(1)), (DEFAULT, process(2))]
    await second.close()
    third, found = await opened(tmp_path)
    assert len(found) == 2, "nobody has hung them up"
    for entry in found:
        third.remove(*entry[:2])
    await third.close()
    assert (await opened(tmp_path))[1] == []


async def test_nothing_else_is_written_down(tmp_path):
    one, _ = await opened(tmp_path)
    one.add(PLACE, process(1))
    await written(tmp_path, 1)
    boot, line = (tmp_path / "processes").read_bytes().splitlines()
    assert len(boot) == 36
    assert json.loads(line) == ["default", "web-0", "app", "1", "1000"]
    assert (tmp_path / "processes").stat().st_mode & 0o777 == 0o600
    await one.close()


async def test_after_another_boot_the_numbers_mean_others(tmp_path):
    (tmp_path / "processes").write_bytes(b"another-boot\n" + line_of(PLACE, process(1)))
    assert (await opened(tmp_path))[1] == []


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"null",
        b"[]",
        b'["default", "web", "app", "1"]',
        b'["default", "web", "app", 1, 1000]',
        b'["default", "web", "app", "1", "1000", "alice"]',
        b'["default", "web", "app", "1", "1000", "alice", "ops"]',
        b'["default", "web", "app", "1", "1000", "system:admin", []]',
        b'["default", "web", "app", "1", "1000", "alice", ["system:masters"]]',
        b'["default", "web", "app", "1", "1000", "alice", [1]]',
        b'["default", "web", "app", "1", "1000", "a\\r\\nImpersonate-Group: x", []]',
        b'["default", "../web", "app", "1", "1000"]',
        b'["default", "web", "a b", "1", "1000"]',
        b'["default", "web", "app", "1; reboot", "1000"]',
        b'["default", "web", "app", "1", "' + b"1" * 600 + b'"]',
        b"\xff",
        b"[" * 5000,
    ],
)
async def test_lines_that_cannot_be_read_are_left_out_and_said_to_be(tmp_path, line):
    boot = journal._BOOT_ID.read_bytes()
    (tmp_path / "processes").write_bytes(boot + line + b"\n" + line_of(PLACE, process(1)))
    with capture_logs() as log:
        one, found = await opened(tmp_path)
    assert found == [(PLACE, process(1))]
    assert [(entry["log_level"], entry["lines"]) for entry in log] == [("warning", 1)]
    await one.close()


def test_a_line_says_what_it_was_made_of():
    for entry in (
        (PLACE, process(1), None),
        (DEFAULT, process(2), None),
        (PLACE, process(1), Identity("älice")),
        (PLACE, process(1), Identity("alice", ("ops", "CN=dev,OU=eng"))),
    ):
        assert entry_of(line_of(*entry)) == entry


async def test_one_whose_groups_take_too_much_is_said_and_left_out(tmp_path):
    one, _ = await opened(tmp_path)
    with capture_logs() as log:
        one.add(PLACE, process(1), Identity("alice", tuple("g" * 1000 for _ in range(40))))
    assert [entry["log_level"] for entry in log] == ["warning"]
    one.add(PLACE, process(2))
    await one.close()
    assert (await opened(tmp_path))[1] == [(PLACE, process(2))]


async def test_as_whom_it_was_started_is_found_and_does_not_take_more_room_than_the_rest(tmp_path):
    whom = Identity("alice", tuple(f"group {number}" * 10 for number in range(40)))
    first, _ = await opened(tmp_path)
    for number in range(MOST):
        first.add(PLACE, process(number), whom)
    assert first._size <= 2 * 1024 * 1024
    await first.close()
    second, found = await opened(tmp_path)
    assert found[-1] == (PLACE, process(MOST - 1), whom)
    assert len(found) == len(first._live)
    await second.close()


async def test_a_file_that_is_too_long_is_read_up_to_a_bound(tmp_path):
    lines = b"".join(line_of(PLACE, process(number)) for number in range(MOST + 1000)) * 20
    (tmp_path / "processes").write_bytes(journal._BOOT_ID.read_bytes() + lines)
    one, found = await opened(tmp_path)
    assert len(found) == MOST
    one.add(PLACE, process(1))
    await one.close()
    assert (tmp_path / "processes").stat().st_size < 1024 * 1024


async def test_the_file_holds_few_that_have_ended(tmp_path):
    one, _ = await opened(tmp_path)
    for number in range(2000):
        one.add(PLACE, process(number))
        one.remove(PLACE, process(number))
        await asyncio.sleep(0)
    one.add(PLACE, process(9999))
    await one.close()
    assert (await opened(tmp_path))[1] == [(PLACE, process(9999))]


async def test_two_daemons_do_not_hang_up_each_others(tmp_path):
    first, _ = await opened(tmp_path)
    first.add(PLACE, process(1))
    await written(tmp_path, 1)
    with capture_logs() as log:
        second, found = await opened(tmp_path)
    assert found == []
    assert "another daemon" in log[0]["error"]
    second.add(PLACE, process(2))
    await second.close()
    await first.close()
    assert (await opened(tmp_path))[1] == [(PLACE, process(1))]


async def test_a_directory_that_cannot_be_used_is_said_once_and_harms_nothing(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with capture_logs() as log:
        one, found = await opened(tmp_path / "file" / "below")
        one.add(PLACE, process(1))
        one.remove(PLACE, process(1))
        await one.close()
    assert found == []
    assert [entry["log_level"] for entry in log] == ["warning"]


async def test_a_disk_that_is_full_is_said_once_and_tried_again(tmp_path, monkeypatch):
    one, _ = await opened(tmp_path)
    tried = asyncio.Queue()
    put, loop = one._put, asyncio.get_running_loop()
    full = True

    def write(data, *, anew):
        loop.call_soon_threadsafe(tried.put_nowait, data)
        if full:
            raise OSError(28, "No space left on device")
        put(data, anew=anew)

    monkeypatch.setattr(one, "_put", write)
    with capture_logs() as log:
        for number in range(3):
            one.add(PLACE, process(number))
            await tried.get()
            while one._busy:  # noqa: ASYNC110 - it hears of it in passing
                await asyncio.sleep(0)
        assert [entry["error"] for entry in log] == ["[Errno 28] No space left on device"]
    full = False
    one.add(PLACE, process(3))
    await written(tmp_path, 4)
    await one.close()


async def test_a_disk_that_hangs_holds_up_nobody_and_little_waits(tmp_path, monkeypatch):
    one, _ = await opened(tmp_path)
    go_on = threading.Event()
    monkeypatch.setattr(one, "_put", lambda *_args, **_named: go_on.wait())
    monkeypatch.setattr(journal, "_LAST_CHANCE", 0.01)
    for number in range(MOST + 10):
        one.add(PLACE, process(number))
    assert len(one._live) == MOST
    assert len(one._pending) <= journal._MOST_BYTES
    assert one._thread._orders.qsize() <= 1
    await one.close()
    go_on.set()


async def test_while_a_disk_hangs_no_more_waits_than_the_file_would_hold(tmp_path, monkeypatch):
    """However many come and go meanwhile; and then the file says who is there."""
    one, _ = await opened(tmp_path)
    go_on, put, most = threading.Event(), one._put, 0

    def write(data, *, anew):
        go_on.wait()
        put(data, anew=anew)

    monkeypatch.setattr(one, "_put", write)
    for number in range(MOST // 2):  # so many are there all the time
        one.add(PLACE, process(number))
    for number in range(MOST, 4 * MOST):
        one.add(PLACE, process(number))
        one.remove(PLACE, process(number))
        most = max(most, len(one._pending))
    one.add(DEFAULT, process(1))
    assert most <= journal._MOST_BYTES
    go_on.set()
    await one.close()
    there = [(PLACE, process(number)) for number in range(MOST // 2)]
    assert (await opened(tmp_path))[1] == [*there, (DEFAULT, process(1))]


async def test_of_too_many_the_oldest_is_forgotten(tmp_path):
    """As of a file that is too long: what has just begun is the likeliest to be there still."""
    one, _ = await opened(tmp_path)
    for number in range(MOST + 3):
        one.add(PLACE, process(number))
    await one.close()
    assert (await opened(tmp_path))[1] == [(PLACE, process(number)) for number in range(3, MOST + 3)]
