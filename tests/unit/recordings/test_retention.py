"""Which recordings go: the oldest, and never one that somebody still wants."""

from __future__ import annotations

import os
import tracemalloc

import pytest

from k8s_ws_proxy.recordings import retention
from k8s_ws_proxy.recordings.directory import KEPT, WAITING, Directory
from k8s_ws_proxy.recordings.paths import path_of
from k8s_ws_proxy.recordings.retention import Clock, Keep, clear

NOW = 2_000_000_000.0
DAY = 86400.0


@pytest.fixture
def directory(tmp_path):
    made = Directory(tmp_path / "recordings")
    made.open()
    yield made
    made.close()


def session(seconds, number=0):
    """The id of one that began then."""
    return f"{int(seconds * 1000) >> 16:08x}-{int(seconds * 1000) & 0xFFFF:04x}-7000-8000-{number:012x}"


class Machine:
    """Its clock, which is set, and what nobody sets."""

    def __init__(self):
        self.wall, self.steady = NOW, 1000.0
        self.clock = Clock(lambda: self.wall, lambda: self.steady)

    def look(self, passes=60.0, *, set_by=0.0):
        """By how much it was set forward, as far as that is doubted."""
        self.steady += passes
        self.wall += passes + set_by
        now, ahead = self.clock.look()
        assert now == self.wall
        return ahead


def test_a_clock_that_is_set_by_little_or_back_is_gone_by():
    machine = Machine()
    assert [machine.look(set_by=by) for by in (0, 299, 299, -299, -1e9, 0, 299)] == [0] * 7


def test_one_that_is_set_forward_is_doubted_for_a_day():
    machine = Machine()
    assert machine.look(set_by=1e9) == 1e9
    assert machine.look(DAY - 1) == 1e9
    assert machine.look(1) == 0
    assert machine.look() == 0


def test_one_that_is_set_forward_again_is_doubted_for_a_day_from_then_on():
    machine = Machine()
    assert machine.look(set_by=600) == 600
    assert machine.look(DAY - 1, set_by=1e9) == 1e9 + 600
    assert machine.look(DAY - 1) == 1e9 + 600
    assert machine.look(1) == 0


def test_one_that_is_set_back_is_gone_by_again():
    machine = Machine()
    assert machine.look(set_by=1e9) == 1e9
    assert machine.look(set_by=-5e8) == 5e8, "not far enough"
    assert machine.look(set_by=-5e8 + 60) == 0
    assert machine.look(set_by=600) == 600


def test_that_a_machine_slept_is_no_jump():
    """Both go on meanwhile."""
    assert Machine().look(30 * DAY) == 0
    assert Clock().look()[1] == 0


def put(directory, began, size=100, number=0, *, receipt=True):
    """A recording of ``size`` bytes, half of them its receipt's."""
    found = session(began, number)
    cast = directory.cast(found)
    cast.parent.mkdir(parents=True, exist_ok=True)
    for path in (cast, directory.receipt(found)) if receipt else (cast,):
        path.write_bytes(b"x" * (size // 2))
        os.utime(path, (began, began))
    return found


def left(directory):
    return sorted({path.stem for path in directory.root.glob("*/*/*/*")})


def test_no_limit_is_none():
    assert not Keep()
    assert Keep(age=1.0)
    assert Keep(size=1)


def test_by_age(directory):
    old, young = put(directory, NOW - 3 * DAY), put(directory, NOW - DAY)
    assert clear(directory, Keep(age=2 * DAY), NOW) == (1, None)
    assert left(directory) == [young]
    assert not (directory.root / path_of(old)).parent.exists(), "nor is the empty folder left"


def test_by_size_the_oldest_first(directory):
    sessions = [put(directory, NOW - days * DAY) for days in (5, 4, 3, 2, 1)]
    assert clear(directory, Keep(size=299), NOW) == (3, None)
    assert left(directory) == sessions[3:]
    assert clear(directory, Keep(size=299), NOW) == (0, None)


def test_one_that_is_open_or_waits_stays_whoever_s_it_is(directory):
    other = Directory(directory.root)
    other.open()
    open_, waiting, free = (put(directory, NOW - days * DAY) for days in (5, 4, 3))
    directory.enter(open_, b"{}")
    other.entry(WAITING, waiting).touch()
    assert clear(directory, Keep(age=1.0, size=1), NOW) == (1, None)
    assert left(directory) == sorted([open_, waiting])
    assert free not in left(directory)
    other.close()


@pytest.mark.parametrize("uploads", [True, False])
def test_where_the_store_was_switched_off_nothing_waits_for_it(tmp_path, uploads):
    """What a daemon with a store has left goes as any other, and stays until then: the store may come back."""
    before = Directory(tmp_path / "recordings", uploads=True)
    before.open()
    old, older = put(before, NOW - DAY), put(before, NOW - 2 * DAY)
    for session_, state in ((old, WAITING), (older, KEPT)):
        before.entry(state, session_).touch()
    before.close()
    directory = Directory(tmp_path / "recordings", uploads=uploads)
    directory.open()
    directory.take_over()
    assert clear(directory, Keep(age=3 * DAY), NOW) == (0, None)
    assert directory.entry(WAITING, old).exists()
    assert clear(directory, Keep(age=DAY / 2), NOW) == (1 if uploads else 2, None)
    assert (directory.cast(old).exists(), directory.cast(older).exists()) == (uploads, False)
    assert directory.entry(WAITING, old).exists() == directory.entry(KEPT, older).exists() == uploads
    directory.close()


def test_one_that_begins_meanwhile_stays(directory, monkeypatch):
    """Its file is found after it was looked who is spoken for, or before: neither removes it."""
    old = put(directory, NOW - DAY)
    began = []
    real = retention._recordings

    def recordings(day):
        real(day)
        began.append(put(directory, NOW - DAY + 1, 10_000, len(began)))  # begins as the files are being looked at
        directory.enter(began[-1], b"{}")
        return real(day)

    monkeypatch.setattr(retention, "_recordings", recordings)
    assert clear(directory, Keep(size=1), NOW) == (1, None)
    assert began
    assert left(directory) == began
    assert old not in began


def test_a_receipt_without_its_recording_goes_too(directory):
    old = put(directory, NOW - 3 * DAY)
    directory.cast(old).unlink()
    assert clear(directory, Keep(age=DAY), NOW) == (1, None)
    assert left(directory) == []


def test_one_that_can_not_be_removed_keeps_no_other(directory):
    """As one in a folder that root has copied in. Root may remove that, too, so here a folder stands in its place."""
    stuck, old = put(directory, NOW - 5 * DAY), put(directory, NOW - 3 * DAY)
    directory.cast(stuck).unlink()
    directory.cast(stuck).mkdir()
    removed, problem = clear(directory, Keep(age=DAY), NOW)
    assert (removed, type(problem)) == (1, IsADirectoryError)
    assert not directory.cast(old).exists()


def test_the_folders_of_others_and_other_files_stay(directory):
    put(directory, NOW - 3 * DAY)
    note = directory.cast(session(NOW - 3 * DAY)).parent / "note.cast"
    note.write_text("somebody's")
    elsewhere = directory.root / "lost+found"
    elsewhere.mkdir()
    assert clear(directory, Keep(age=DAY), NOW) == (1, None)
    assert note.exists()
    assert elsewhere.exists()


def test_links_are_not_followed(directory, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "01" / "01").mkdir(parents=True)
    victim = elsewhere / "01" / "01" / f"{session(1)}.cast"
    victim.write_text("x")
    os.utime(victim, (1, 1))
    (directory.root / "2020").symlink_to(elsewhere)
    assert clear(directory, Keep(age=DAY), NOW) == (0, None)
    assert victim.exists()


def test_what_another_daemon_clears_at_the_same_time_is_no_error(directory, monkeypatch):
    put(directory, NOW - 3 * DAY)
    put(directory, NOW - 33 * DAY)
    real = os.scandir
    months = []

    def scandir(path):
        if os.fspath(path).endswith(path_of(session(NOW - 3 * DAY))[:7]) and not months:
            months.append(path)
            for each in sorted(directory.root.glob("2*/**/*"), reverse=True):
                each.unlink() if each.is_file() else each.rmdir()
        return real(path)

    monkeypatch.setattr(retention.os, "scandir", scandir)
    clear(directory, Keep(age=DAY), NOW)
    assert months
    assert left(directory) == []


def test_a_year_s_take_no_more_memory_than_a_day_s(directory):
    """What is held at once is a day's, of however many there are."""

    def most():
        tracemalloc.start()
        try:
            clear(directory, Keep(age=400 * DAY, size=1_000_000_000), NOW)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    for number in range(200):
        put(directory, NOW - DAY, number=number)
    of_a_day = most()
    for days in range(2, 20):
        for number in range(200):
            put(directory, NOW - days * DAY, number=number)
    assert most() < 3 * of_a_day, "one day, and the next that is read"
