"""What runs before have left for NATS: sent the oldest first; one that can't be read holds up no other."""

from __future__ import annotations

import errno
import shutil

import pytest
from structlog.testing import capture_logs

from k8s_ws_proxy.audit import spool as module
from k8s_ws_proxy.audit.left_behind import LeftBehind
from k8s_ws_proxy.audit.spool import Spool

UNREADABLE = "what a daemon before has left for NATS can't be read or removed; it is tried again"


@pytest.fixture(autouse=True)
def segment(monkeypatch):
    monkeypatch.setattr(module, "_SEGMENT", 40)  # five of these lines


def lines_of(name, count):
    return [b"%s %06d" % (name.encode(), number) for number in range(count)]


def leave(root, name, count=10):
    """The lines of a run that has ended."""
    spool = Spool(root / name, [].append)
    spool.open()
    for line in lines_of(name, count):
        spool.append(line)
    spool.close()
    return lines_of(name, count)


def drained(left, count=None):
    lines = []
    while (count is None or len(lines) < count) and (found := left.first()) is not None:
        spool, line = found
        lines.append(line)
        spool.forget()
    return lines


def unreadable(root, name, number):
    """A directory stands in a file's place: the errors are the kernel's. What puts the file back."""
    path = root / name / f"{number:010d}"
    data = path.read_bytes()
    path.unlink()
    path.mkdir()

    def mend():
        path.rmdir()
        path.write_bytes(data)

    return mend


def refuses(_spool):
    raise PermissionError(errno.EACCES, "Permission denied")


@pytest.fixture
def lost():
    return []


@pytest.fixture
def left(tmp_path, lost):
    return LeftBehind(tmp_path, "f", lost.append)


def test_all_of_it_is_sent_the_oldest_first_and_removed(tmp_path, left, lost):
    expected = [line for name in ("a", "b", "c") for line in leave(tmp_path, name)]
    leave(tmp_path, "f")
    assert drained(left) == expected
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (left.waiting, left.unread_since, lost) == (0, 0.0, [])


def test_one_whose_daemon_lives_is_left_alone(tmp_path, left):
    lives = Spool(tmp_path / "a", [].append)
    lives.open()
    lives.append(b"x")
    expected = leave(tmp_path, "b")
    with capture_logs() as log:
        assert drained(left) == expected
    assert UNREADABLE not in [line["event"] for line in log]
    assert left.unread_since == 0.0


@pytest.mark.parametrize("when", ["before it is taken", "after"])
def test_one_that_cannot_be_read_is_said_once_and_holds_up_no_other(tmp_path, left, lost, when):
    bad, good = leave(tmp_path, "a"), leave(tmp_path, "b")
    got = [] if when == "before it is taken" else drained(left, 1)
    mend = unreadable(tmp_path, "a", 2)
    with capture_logs() as log:
        got += drained(left)
        assert left.unread_since > 0
        since = left.unread_since
        for _ in range(3):
            left.look_soon()
            assert drained(left) == []
    said = [line for line in log if line["event"] == UNREADABLE]
    assert [(line["directory"], line["error"]) for line in said] == [(str(tmp_path / "a"), "Is a directory")]
    assert left.unread_since == since
    assert good == [line for line in got if line in good]
    mend()
    left.look_soon()
    got += drained(left)
    assert sorted(got) == sorted(bad + good)
    assert (left.waiting, left.unread_since, lost) == (0, 0.0, [])


def test_an_empty_line_holds_up_nothing(tmp_path, left):
    """Somebody's edit: it is no line of the trail, as whoever sends it finds out."""
    mine = leave(tmp_path, "01", 3)
    path = next((tmp_path / "01").glob("0*"))
    path.write_bytes(path.read_bytes().replace(mine[1], b""))
    other = leave(tmp_path, "02", 3)
    assert drained(left) == [mine[0], b"", mine[2], *other]


def test_one_that_cannot_be_removed_is_said_once(tmp_path, left, monkeypatch):
    leave(tmp_path, "01", 3)
    monkeypatch.setattr(Spool, "remove", refuses)
    with capture_logs() as log:
        for _ in range(3):
            drained(left)
            left.look_soon()
    assert [line["error"] for line in log if line["event"] == UNREADABLE] == ["Permission denied"]


def test_one_that_is_removed_is_waited_for_no_more(tmp_path, left):
    leave(tmp_path, "a")
    unreadable(tmp_path, "a", 2)
    assert drained(left) == []
    assert left.unread_since > 0
    shutil.rmtree(tmp_path / "a")
    left.look_soon()
    assert drained(left) == []
    assert (left.waiting, left.unread_since) == (0, 0.0)


def test_a_run_that_is_removed_while_it_is_sent_is_lost(tmp_path, left, lost):
    leave(tmp_path, "a")
    expected = leave(tmp_path, "b")
    assert drained(left, 2) == lines_of("a", 2)
    shutil.rmtree(tmp_path / "a")
    got = drained(left)
    assert got == [*lines_of("a", 10)[2:5], *expected], "what of its open file is left is sent"
    assert lost == [5]


def test_what_is_sent_takes_no_room_before_all_of_it_is(tmp_path, left):
    leave(tmp_path, "a", 100)
    drained(left, 1)
    before = left.size
    assert before == sum(len(line) + 1 for line in lines_of("a", 100))
    drained(left, 60)
    left.look_soon()
    drained(left, 1)
    assert left.size < before / 2
    assert left.waiting == 38
