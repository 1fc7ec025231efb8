"""What NATS has not acknowledged: kept in order, over restarts, and let go of when it is sent."""

from __future__ import annotations

import os

import pytest

from k8s_ws_proxy.audit import spool as module
from k8s_ws_proxy.audit.spool import Spool, other_runs, size_of_others


def opened(directory, lost=None):
    """One that was taken; ``lost`` gets the numbers of lines that are gone."""
    spool = Spool(directory, [].append if lost is None else lost.append)
    spool.open()
    return spool


def drained(spool, count=None):
    lines = []
    while (line := spool.first()) is not None and (count is None or len(lines) < count):
        lines.append(line)
        spool.forget()
    return lines


def files(directory):
    return sorted(path.name for path in directory.iterdir() if path.name.isdigit())


LINES = [b"line %d" % number for number in range(50)]


@pytest.fixture(params=[60, 1024 * 1024], ids=["many files", "one file"])
def segment(request, monkeypatch):
    monkeypatch.setattr(module, "_SEGMENT", request.param)


@pytest.mark.usefixtures("segment")
def test_what_goes_in_comes_out_in_its_order(tmp_path):
    spool = opened(tmp_path / "a")
    for line in LINES:
        spool.append(line)
    assert (spool.waiting, spool.size) == (50, sum(map(len, LINES)) + 50)
    assert drained(spool) == LINES
    assert (spool.waiting, spool.size, spool.first()) == (0, 0, None)


@pytest.mark.usefixtures("segment")
@pytest.mark.parametrize("sent", [0, 1, 7, 49, 50])
def test_the_next_one_goes_on_where_it_was_acknowledged(tmp_path, sent):
    spool = opened(tmp_path / "a")
    for line in LINES:
        spool.append(line)
    drained(spool, sent)
    spool.close()
    again = opened(tmp_path / "a")
    assert again.waiting == 50 - sent
    assert drained(again) == LINES[sent:]


@pytest.mark.usefixtures("segment")
def test_put_in_and_taken_out_by_turns_and_taken_up_again(tmp_path):
    """Files that are sent go, and their numbers don't come again."""
    got, spool = [], opened(tmp_path / "a")
    for number, line in enumerate(LINES):
        spool.append(line)
        if number % 3 == 2:
            got += drained(spool)
        if number % 10 == 8:
            spool.close()
            spool = opened(tmp_path / "a")
    assert got + drained(spool) == LINES
    assert len(files(tmp_path / "a")) <= 1


def test_what_was_torn_is_none(tmp_path):
    spool = opened(tmp_path / "a")
    spool.append(b"whole")
    spool.close()
    with (tmp_path / "a" / files(tmp_path / "a")[0]).open("ab") as file:
        file.write(b"tor")
    again = opened(tmp_path / "a")
    assert again.waiting == 1
    assert drained(again) == [b"whole"]
    assert again.first() is None


def test_a_position_that_cannot_be_read_sends_all_again(tmp_path):
    spool = opened(tmp_path / "a")
    spool.append(b"one")
    drained(spool)
    spool.close()
    (tmp_path / "a" / "sent").write_bytes(b"nonsense")
    assert drained(opened(tmp_path / "a")) == [b"one"]


@pytest.mark.parametrize("sent", [b"1 -5\n", b"1 99999999999999999999999999\n", b"9 5\n", b"99999999999999 1\n"])
@pytest.mark.usefixtures("segment")
def test_a_position_that_is_nowhere_sends_all_again(tmp_path, sent):
    spool = opened(tmp_path / "a")
    for line in LINES:
        spool.append(line)
    spool.close()
    (tmp_path / "a" / "sent").write_bytes(sent)
    again = opened(tmp_path / "a")
    assert again.waiting == 50
    assert drained(again) == LINES


@pytest.mark.parametrize("taken", [0, 3, 20])
@pytest.mark.parametrize("its_own", [True, False])
def test_a_file_that_somebody_removes_is_lost_and_the_rest_goes_on(tmp_path, monkeypatch, taken, its_own):
    monkeypatch.setattr(module, "_SEGMENT", 60)  # eight lines, as they are here
    lost = []
    spool = opened(tmp_path / "a", lost)
    for line in LINES:
        spool.append(line)
    if not its_own:
        spool.close()
        spool = opened(tmp_path / "a", lost)
    got = drained(spool, taken)
    for number in (4, 6):
        (tmp_path / "a" / f"{number:010d}").unlink()
    got += drained(spool)
    assert lost == [len(LINES) - len(got)]
    assert got == [line for line in LINES if line in got]
    assert len(got) < 42
    assert (spool.waiting, spool.size) == (0, 0)
    spool.append(b"more")
    assert drained(spool) == [b"more"]


@pytest.mark.parametrize("length", [0, 20])
def test_a_file_that_somebody_makes_shorter_is_lost_from_there_on(tmp_path, length):
    lost = []
    spool = opened(tmp_path / "a", lost)
    for line in LINES:
        spool.append(line)
    os.truncate(tmp_path / "a" / files(tmp_path / "a")[0], length)
    got = drained(spool)
    assert got == LINES[: len(got)]
    assert lost == [50 - len(got)]
    assert (spool.waiting, spool.size) == (0, 0)


def test_the_runs_of_others_and_their_size(tmp_path):
    for name in ("b", "a", "c"):
        opened(tmp_path / name).append(name.encode())
    (tmp_path / "lost+found").mkdir()
    assert other_runs(tmp_path, "c") == ["a", "b"]
    assert size_of_others(tmp_path, "c") == 4
    with pytest.raises(BlockingIOError):
        opened(tmp_path / "b")


def test_one_that_is_sent_is_removed(tmp_path):
    spool = opened(tmp_path / "a")
    spool.append(b"x")
    drained(spool)
    spool.remove()
    assert not (tmp_path / "a").exists()
    assert not spool.is_open


def test_only_its_user_may_read_it(tmp_path):
    spool = opened(tmp_path / "a")
    spool.append(b"x")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "a").iterdir())
