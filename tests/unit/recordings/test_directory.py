"""Who has which place in a directory of recordings, and who takes over what."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from k8s_ws_proxy.recordings.directory import KEPT, OPEN, WAITING, Directory, create, write_whole
from k8s_ws_proxy.sessions.uuid7 import uuid7


@pytest.fixture
def opened(tmp_path):
    """Makes daemons' places in one directory; they are given up after the test."""
    made = []

    def opened_(**options):
        directory = Directory(tmp_path / "recordings", **options)
        directory.open()
        made.append(directory)
        return directory

    yield opened_
    for directory in made:
        directory.close()


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_each_daemon_has_a_place_of_its_own(opened):
    first, second = opened(), opened()
    assert first.own != second.own
    assert {each.name for each in first.own.iterdir()} == {"lock", "open", "waiting", "kept"}


def test_what_a_daemon_that_is_gone_has_left_is_taken_over(opened):
    dead, heir = opened(), opened()
    sessions = sorted(uuid7() for _ in range(3))
    for session in sessions:
        dead.enter(session, b"{}")
    dead.entry(WAITING, sessions[0]).touch()
    dead.entry(KEPT, sessions[1]).touch()
    assert heir.take_over() == ([], []), "it lives"
    dead.close()
    assert heir.take_over() == (sessions, [])
    assert heir.entry(WAITING, sessions[0]).exists()
    assert heir.entry(KEPT, sessions[1]).exists()
    assert not dead.own.exists()
    assert heir.take_over() == ([], [])


def test_what_a_killed_daemon_was_just_writing_is_removed(opened):
    dead, heir = opened(), opened()
    (dead.own / f"{uuid7()}.new").write_bytes(b"{")
    dead.close()
    assert heir.take_over() == ([], [])
    assert not dead.own.exists()


def test_daemons_that_start_at_once_share_it_without_loss(opened):
    """Each entry of a dead one goes to one of them, and no living one is taken for dead."""
    dead = opened()
    sessions = {uuid7() for _ in range(200)}
    for session in sessions:
        dead.enter(session, b"{}")
    dead.close()
    begin, taken = threading.Barrier(8), {}

    def start(number):
        begin.wait()
        for _ in range(5):  # again and again, between the others' starts
            directory = opened()
            found, problems = directory.take_over()
            assert problems == []
            taken.setdefault(number, []).extend(found)
            for session in found:
                assert directory.entry(OPEN, session).exists()

    threads = [threading.Thread(target=start, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [session for each in taken.values() for session in each]
    assert sorted(found) == sorted(sessions)
    assert len(taken) == 8


def test_two_threads_that_open_it_take_one_place_and_one_descriptor(tmp_path):
    directory = Directory(tmp_path)
    before, begin, failed = descriptors(), threading.Barrier(8), []

    def open_():
        begin.wait()
        try:
            directory.open()
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=open_) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert descriptors() == before + 1
    directory.close()
    assert descriptors() == before


def test_a_lock_that_cannot_be_had_is_not_taken_for_one(tmp_path, monkeypatch):
    """Where locks aren't to be had for a while, as on NFS, the next look tries again, and no descriptor is left."""
    directory = Directory(tmp_path)
    real, before = fcntl.flock, descriptors()

    def flock(fd, how):
        if how & fcntl.LOCK_NB:
            raise OSError(37, "No locks available")
        real(fd, how)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", flock)
        for _ in range(3):
            with pytest.raises(OSError, match="No locks"):
                directory.open()
    assert descriptors() == before
    directory.open()
    other = Directory(tmp_path)
    other.open()
    assert other.take_over() == ([], [])
    assert directory.own.exists()
    directory.close()
    other.close()


def test_a_place_that_was_taken_away_is_taken_again(opened):
    directory = opened()
    directory.root.rename(directory.root.with_name("elsewhere"))
    before = descriptors()
    directory.open()
    assert descriptors() == before
    assert (directory.own / "lock").exists()
    other = opened()
    assert other.take_over() == ([], []), "it is locked again"


def test_names_that_are_no_sessions_are_left_where_they_are(opened):
    dead, heir = opened(), opened()
    session = uuid7()
    for name in (
        "x",
        "..x",
        "a" * 200,
        os.fsdecode(b"\xff\xfe"),
        session.upper(),
        "018f4e2a-0000-4000-8000-000000000000",
    ):
        (dead.own / "open" / name).write_text("{}")
    dead.enter(session, b"{}")
    dead.close()
    assert heir.take_over() == ([session], [])
    assert [each.name for each in (heir.own / "open").iterdir()] == [session]
    assert len(list((dead.own / "open").iterdir())) == 6
    assert heir.take_over() == ([], []), "and no start stumbles over them"


def test_links_lead_nobody_elsewhere(opened, tmp_path):
    """Whoever may write into the directory, and plants one in a daemon's or a state's place."""
    heir = opened()
    elsewhere = tmp_path / "elsewhere"
    session = uuid7()
    (elsewhere / "open").mkdir(parents=True)
    (elsewhere / "open" / session).write_text("{}")
    (heir.root / ".daemons" / "link").symlink_to(elsewhere)
    planted = heir.root / ".daemons" / "planted"
    planted.mkdir()
    (planted / "open").symlink_to(elsewhere / "open")
    (elsewhere / "kept").mkdir()
    linked = heir.root / ".daemons" / "linked"
    linked.mkdir()
    (linked / "lock").symlink_to(elsewhere / "lock")
    found, problems = heir.take_over()
    assert found == []
    assert [each.split(":")[0] for each in problems] == ["linked"]
    assert sorted(each.name for each in elsewhere.iterdir()) == ["kept", "open"], "nothing was made there"
    assert (elsewhere / "open" / session).exists()


def test_what_cannot_be_taken_holds_up_nothing(opened, monkeypatch):
    """And what had been taken before is told of."""
    heir, whole, broken = opened(), opened(), opened()
    first, second = sorted((whole, broken), key=lambda each: each.own)
    sessions = sorted(uuid7() for _ in range(3))
    first.enter(sessions[0], b"{}")
    first.enter(sessions[1], b"{}")
    second.enter(sessions[2], b"{}")
    whole.close()
    broken.close()
    real = os.rename

    def rename(source, *rest, **options):
        if os.fspath(source).endswith(sessions[1]):
            raise OSError(28, "No space left on device")
        return real(source, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", rename)
        found, problems = heir.take_over()
    assert sorted(found) == sorted([sessions[0], sessions[2]])
    assert problems == [f"{first.own.name}: No space left on device"]
    assert heir.take_over() == ([sessions[1]], [])


def test_what_is_open_or_waits_is_spoken_for_whoever_s_it_is(opened):
    one, other = opened(), opened()
    sessions = [uuid7() for _ in range(3)]
    one.enter(sessions[0], b"{}")
    other.entry(WAITING, sessions[1]).touch()
    other.entry(KEPT, sessions[2]).touch()
    assert one.spoken_for() == set(sessions[:2])


@pytest.mark.parametrize("uploads", [False, True])
def test_what_is_done_waits_where_there_is_a_store(opened, uploads):
    directory = opened(uploads=uploads)
    session = uuid7()
    for _ in range(2):  # the second time by the next daemon, after a crash before it was told
        directory.enter(session, b"{}")
        directory.done(session)
        assert directory.entry(OPEN, session).exists(), "until it was told"
        directory.forget(session)
        assert not directory.entry(OPEN, session).exists()
        assert directory.entry(WAITING, session).exists() is uploads


def test_an_entry_is_there_as_a_whole_or_not_at_all(opened, monkeypatch):
    directory = opened()
    session = uuid7()
    directory.enter(session, b"before")

    def rename(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", rename)
        with pytest.raises(OSError, match="No space"):
            directory.enter(session, b"after")
    assert directory.entry(OPEN, session).read_bytes() == b"before"
    assert sorted(each.name for each in directory.own.iterdir()) == ["kept", "lock", "open", "waiting"]


@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_what_stands_where_a_file_is_to_be_written_is_neither_waited_for_nor_followed(opened, tmp_path, kind):
    """Whoever may write there knows a session's id as soon as its file is made."""
    directory, victim = opened(), tmp_path / "victim"
    victim.write_text("kept")
    session = uuid7()
    directory.enter(session, b"before")
    receipt = directory.receipt(session)
    receipt.parent.mkdir(parents=True)
    for fresh in (directory.own / f"{session}.new", receipt.with_name(f"{receipt.name}.new")):
        if kind == "link":
            fresh.symlink_to(victim)
        else:
            os.mkfifo(fresh)
    with pytest.raises(OSError, match="symbolic link" if kind == "link" else "No such device"):
        directory.enter(session, b"after")
    with pytest.raises(OSError, match="symbolic link" if kind == "link" else "No such device"):
        write_whole(receipt, b"after")
    assert victim.read_text() == "kept"
    directory.enter(session, b"after")
    assert directory.entry(OPEN, session).read_bytes() == b"after"


def test_a_folder_that_is_removed_as_it_is_made_is_made_again(tmp_path, monkeypatch):
    """Another daemon's retention removes empty folders."""
    path = tmp_path / "2026/11/30/file"
    real, times = os.open, []

    def open_(where, *rest, **options):
        if where == path and not times:
            times.append(1)
            path.parent.rmdir()
        return real(where, *rest, **options)

    monkeypatch.setattr(os, "open", open_)
    os.close(create(path))
    assert path.exists()


def test_a_file_is_never_made_over_another_or_through_a_link(tmp_path):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for name in ("file", "link"):
        with pytest.raises(FileExistsError):
            create(tmp_path / name)
    assert not (tmp_path / "target").exists()
    (tmp_path / "receipt.new").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic link"):
        write_whole(tmp_path / "receipt", b"x")
    assert not (tmp_path / "target").exists()


def test_too_little_room_and_nothing_to_write_on(opened, monkeypatch):
    directory = opened()
    directory.check(0)
    with pytest.raises(OSError, match="less than 1125899906842624 bytes are free"):
        directory.check(1 << 50)
    old = (directory.own / "lock").stat().st_mtime
    os.utime(directory.own / "lock", (1, 1))
    directory.check(0)
    assert (directory.own / "lock").stat().st_mtime >= old, "who removes what is old leaves it"

    def utime(*_arguments, **_options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", utime)
    with pytest.raises(OSError, match="Read-only"):
        directory.check(0)
