"""What NATS has not acknowledged: kept in order, over restarts, and let go of when it is sent."""

from __future__ import annotations

import pytest

from k8s_ws_proxy.audit import spool as module
from k8s_ws_proxy.audit.spool import Spool, left_behind, size_of_others


def opened(directory):
    spool = Spool(directory)
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


def test_one_that_is_in_use_is_left_alone_and_the_others_are_taken_oldest_first(tmp_path):
    for name in ("b", "a", "c"):
        spool = opened(tmp_path / name)
        spool.append(name.encode())
        if name != "b":
            spool.close()
    (tmp_path / "lost+found").mkdir()
    found = list(left_behind(tmp_path, "c"))
    assert [drained(spool) for spool in found] == [[b"a"]]
    with pytest.raises(BlockingIOError):
        opened(tmp_path / "b")
    assert size_of_others(tmp_path, "c") == 4


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
