"""All recordings of a daemon: its threads held up, its disk failing, and what another daemon has left."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import threading
import weakref
from functools import partial
from types import SimpleNamespace

import orjson
import pytest
from structlog.testing import capture_logs
from support.recorder import SECRET, Held, Recorders, recording, settled
from support.recordings import read
from support.slots import value

from k8s_ws_proxy.errors import Refusal
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.recordings import cast_file, directory, interrupted, recorder, retention
from k8s_ws_proxy.recordings.directory import Directory
from k8s_ws_proxy.recordings.recorder import Recorder
from k8s_ws_proxy.sessions.uuid7 import uuid7
from k8s_ws_proxy.settings import StoreSettings
from k8s_ws_proxy.wire.recording.receipt import entry

HEADER = b'{"version":3,"term":{"cols":80,"rows":24},"timestamp":1700000000,"title":"t"}\n'


@pytest.fixture
def often(monkeypatch):
    """Looks are frequent."""
    monkeypatch.setattr(recorder, "_LOOK", 0.03)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "recordings"


@pytest.fixture
def dead(root):
    """What a daemon that is gone has left: the sessions that it had open."""

    def left(count=1, cast=HEADER, secret=SECRET):
        gone = Directory(root)
        gone.open()
        sessions = sorted(uuid7() for _ in range(count))
        for session in sessions:
            known = {"sessionId": session, "namespace": "default", "user": "alice", "timestamp": 1_700_000_000}
            gone.enter(session, entry(known, secret))
            gone.cast(session).parent.mkdir(parents=True, exist_ok=True)
            gone.cast(session).write_bytes(cast)
        gone.close()
        return sessions

    return partial(asyncio.to_thread, left)


def failing(monkeypatch, module, name, number=errno.ENOSPC):
    """That function of the module's ``os`` fails."""

    def fail(*_arguments, **_options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module, "os", SimpleNamespace(**{**vars(os), name: fail}))


async def what_is_left(root):
    """What a daemon finds that begins now."""

    def take_over():
        other = Directory(root)
        other.open()
        found = other.take_over()
        other.close()
        return found

    return await asyncio.to_thread(take_over)


def entries(root):
    return sorted(path.name for path in root.glob(".daemons/*/open/*"))


# A session begins.


async def test_who_has_to_be_recorded_does_not_wait_for_a_disk_that_hangs(root, monkeypatch):
    monkeypatch.setattr(recorder, "_PATIENCE", 0.2)
    async with recording(root) as (recorders, made):
        disk = Held(monkeypatch, directory, "statvfs")
        with pytest.raises(Refusal, match="has to be recorded"):
            await recorders.begin(made)
        await settled(lambda: made.writer.at_it() > 0.2)
        with monkeypatch.context() as patch:
            patch.setattr(made.writer, "do", None)  # nothing more is asked of it
            with pytest.raises(Refusal, match="has to be recorded"):
                await recorders.begin(made)
            first, second = recorders.registry.open_slots()
            second.release()
        first.release()
        assert made.problem == "the disk doesn't answer"
        disk.let_go()
        await made.writer.rest()
        assert list(root.rglob("*.cast")) == []
        assert entries(root) == []
        session = await recorders.begin(made)
        assert made.problem == ""
        session.ends()


async def test_who_does_not_have_to_be_goes_on_without(root, monkeypatch):
    monkeypatch.setattr(recorder, "_PATIENCE", 0.2)
    async with recording(root, required=False) as (recorders, made):
        disk = Held(monkeypatch, directory, "statvfs")
        before = value(metrics.RECORDING_FAILURES)
        slot = await recorders.unrecorded(made)
        assert slot.log.record.recording == ""
        assert value(metrics.RECORDING_FAILURES) == before + 1
        disk.let_go()
        await made.writer.rest()
        assert list(root.rglob("*.cast")) == [], "what was made too late is taken away, also while the session goes on"
        assert entries(root) == []
        slot.release()


async def test_a_dial_that_fails_keeps_nothing(root):
    async with recording(root) as (recorders, made):
        slot, found = await recorders.prepare(made)
        assert entries(root) == [slot.id]
        gone = weakref.ref(found)
        del found
        slot.release()
        await made.writer.rest()
        assert list(root.rglob("*.cast")) == []
        assert entries(root) == []
        del slot
        await settled(lambda: made.writer.at_it() == 0)
        gc.collect()
        assert gone() is None


async def test_what_has_ended_is_let_go(root):
    async with recording(root) as (recorders, made):
        session = await recorders.begin(made)
        session.says(b"x" * 100_000)
        session.ends()
        gone = weakref.ref(session.recording)
        del session
        await settled(lambda: recorders.finished)
        await made.writer.rest()
        await settled(lambda: gc.collect() >= 0 and gone() is None)
        assert value(metrics.RECORDINGS_OPEN) == 0


# It goes on.


@pytest.mark.usefixtures("often")
async def test_an_fsync_that_takes_long_holds_up_nobody(root, monkeypatch):
    async with recording(root) as (recorders, made):
        session = await recorders.begin(made)
        disk = Held(monkeypatch, cast_file, "fdatasync")
        session.says(b"x" * 40_000)
        await settled(disk.entered.is_set)
        session.says(b"y" * 40_000)
        other = await recorders.begin(made)
        other.says(b"z" * 40_000)
        await settled(lambda: session.recording.held == other.recording.held == 0)
        assert not session.recording.full
        disk.let_go()
        session.ends()
        other.ends()
        await settled(lambda: len(recorders.finished) == 2)
        assert read(root, session.id, SECRET)[0].text() == "x" * 40_000 + "y" * 40_000


@pytest.mark.usefixtures("often")
async def test_a_disk_that_does_not_answer_for_long_is_told_of(root, monkeypatch):
    async with recording(root) as (recorders, made):
        session = await recorders.begin(made)
        disk = Held(monkeypatch, cast_file, "fdatasync")
        session.says(b"x" * 40_000)
        await settled(disk.entered.is_set)
        now = made.clock
        made.clock = lambda: now() + 31
        await settled(lambda: made.problem)
        assert made.problem == "the disk hasn't answered for 30 s"
        assert value(metrics.RECORDING_AVAILABLE) == 0
        disk.let_go()
        await settled(lambda: not made.problem)
        session.ends()


@pytest.mark.usefixtures("often")
async def test_a_disk_that_has_much_to_do_and_answers_does_not_hang(root, monkeypatch):
    async with recording(root) as (recorders, made):
        sessions = [await recorders.begin(made) for _ in range(2)]
        disk = Held(monkeypatch, cast_file, "fdatasync")
        for session in sessions:
            session.says(b"x" * 40_000)
        await settled(disk.entered.is_set)
        made._keeper.since += 31  # the first is kept by now
        now = made.clock
        made.clock = lambda: now() + 31
        (await recorders.begin(made)).ends()
        assert made.problem == ""
        disk.let_go()
        for session in sessions:
            session.ends()


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("required", [True, False])
async def test_while_the_disk_keeps_nothing_nobody_who_has_to_be_recorded_is_taken(root, monkeypatch, required):
    """Making a file and writing it is done in memory, also where nothing comes to the disk any more."""
    async with recording(root, required=required) as (recorders, made):
        session = await recorders.begin(made)
        disk = Held(monkeypatch, cast_file, "fdatasync")
        session.says(b"x" * 40_000)
        await settled(disk.entered.is_set)
        now = made.clock
        made.clock = lambda: now() + 31
        with capture_logs() as log:
            await settled(lambda: made.problem)
            if required:
                with pytest.raises(Refusal, match="has to be recorded"):
                    await recorders.begin(made)
                recorders.registry.open_slots()[-1].release()
            else:
                other = await recorders.begin(made)
                other.says(b"it may yet be kept")
                other.ends()
            assert made.problem == "the disk hasn't answered for 30 s"
            assert value(metrics.RECORDING_AVAILABLE) == 0
            disk.let_go()
            await settled(lambda: not made.problem)
        told = [
            line["event"] for line in log if "can't be recorded" in line["event"] or "recorded again" in line["event"]
        ]
        assert told == ["sessions can't be recorded", "sessions can be recorded again"]
        (await recorders.begin(made)).ends()
        session.ends()


@pytest.mark.usefixtures("often")
async def test_a_file_that_is_taken_away_while_nothing_is_said_is_missed(root):
    async with recording(root) as (recorders, made):
        session = await recorders.begin(made)
        session.recording.file._path.unlink()
        await settled(lambda: session.bridge.given_up)
        session.ends()


# It ends.


@pytest.mark.usefixtures("often")
async def test_a_receipt_that_cannot_be_written_comes_when_it_can(root, monkeypatch):
    async with recording(root) as (recorders, made):
        session = await recorders.begin(made)
        with monkeypatch.context() as patch:
            failing(patch, directory, "fsync")
            session.ends()
            await settled(lambda: session.recording.problem)
            assert (
                session.recording.problem == "recording failed: its receipt can't be written: No space left on device"
            )
            assert entries(root) == [session.id]
        await settled(lambda: recorders.finished)
        assert read(root, session.id, SECRET)[1]["problem"] == "", "it is whole"
        await settled(lambda: not entries(root))


@pytest.mark.usefixtures("often")
async def test_a_receipt_that_can_never_be_written_is_not_tried_for_ever(root, monkeypatch):
    async with recording(root) as (recorders, made):
        session = await recorders.begin(made)
        tried = []

        def sealed(*arguments):
            tried.append(arguments)
            raise ValueError("it can't be")

        monkeypatch.setattr(cast_file, "sealed", sealed)
        session.ends()
        await settled(lambda: session.recording.problem)
        other = await recorders.begin(made)
        other.recording.file._path.unlink()
        await settled(lambda: other.bridge.given_up)  # some looks later
        assert len(tried) == 1
        other.ends()
        await settled(lambda: len(tried) == 2)


@pytest.mark.usefixtures("often")
async def test_a_directory_that_is_removed_and_comes_back(root):
    """What is recorded fails, and is told of; new ones are recorded again; every receipt comes."""
    async with recording(root, store=StoreSettings("s3://bucket")) as (recorders, made):
        session = await recorders.begin(made)
        session.says(b"x")
        for path in sorted(root.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        root.rmdir()
        await settled(lambda: session.bridge.given_up)
        other = await recorders.begin(made)
        other.says(b"again")
        session.ends()
        other.ends()
        await settled(lambda: len(recorders.finished) == 2)
        assert read(root, other.id, SECRET)[0].text() == "again"
        assert "taken away" in orjson.loads(made.directory.receipt(session.id).read_bytes())["problem"]


# The daemon ends.


async def test_what_is_under_way_when_the_daemon_ends_is_finished(root, monkeypatch):
    recorders = Recorders(root)
    made = await recorders.start()
    session = await recorders.begin(made)
    slot, _ = await recorders.prepare(made)
    await made.writer.rest()
    disk = Held(monkeypatch, cast_file, "write")
    session.says(b"x" * 40_000)
    await settled(disk.entered.is_set)
    session.says(b"y")
    session.ends()
    slot.release()  # its dial failed in the last moment
    closing = recorders.closing(made)
    await settled(lambda: made.writer.at_it() > 0.05)
    assert not closing.done()
    disk.let_go()
    await closing
    assert read(root, session.id, SECRET)[0].text() == "x" * 40_000 + "y"
    assert entries(root) == []
    assert len(list(root.rglob("*.cast"))) == 1
    assert await what_is_left(root) == ([], [])
    assert not made.directory.own.exists(), "the place was given up"


async def test_a_disk_that_hangs_does_not_keep_a_daemon_from_ending(root, monkeypatch):
    """And nobody takes over what its threads may still be at."""
    monkeypatch.setattr(recorder, "_LAST_CHANCE", 0.1)
    recorders = Recorders(root)
    made = await recorders.start()
    session = await recorders.begin(made)
    await made.writer.rest()
    disk = Held(monkeypatch, cast_file, "write")
    session.says(b"x" * 40_000)
    session.ends()
    await settled(disk.entered.is_set)
    await made.close()
    assert recorders.finished == []
    assert await what_is_left(root) == ([], [])
    assert entries(root) == [session.id]
    disk.let_go()


def test_what_is_finished_too_late_to_be_told_is_told_by_the_next(root, monkeypatch):
    """The threads go on while the process ends, and nobody is there to hear of it."""
    monkeypatch.setattr(recorder, "_LAST_CHANCE", 0.1)
    disk = Held(monkeypatch, directory, "fsync")

    async def one():
        recorders = Recorders(root)
        made = await recorders.start()
        (keeper,) = (thread for thread in threading.enumerate() if thread.name == "recordings kept")
        session = await recorders.begin(made)
        session.says(b"x")
        session.ends()
        await settled(disk.entered.is_set)
        await made.close()
        assert recorders.finished == []
        return made.directory, keeper, session.id

    async def next_one():
        async with recording(root) as (recorders, _made):
            await settled(lambda: recorders.finished and not entries(root))
            return recorders.finished

    left, keeper, session = asyncio.run(one())
    disk.let_go()
    keeper.join()
    receipt = read(root, session, SECRET)[1]
    assert entries(root) == [session]
    left.close()  # as the process's end does
    ((told, event),) = asyncio.run(next_one())
    assert (told, event.ending, event.sha256) == (session, "command_ended", receipt["sha256"])
    assert event.subject.target.namespace == receipt["namespace"]


@pytest.mark.usefixtures("often")
async def test_an_entry_stays_until_it_was_told_and_is_told_once(root, monkeypatch):
    async with recording(root) as (recorders, made):
        real, failed = Directory.forget, []

        def forget(self, session):
            assert [found for found, _ in recorders.finished] == [session]
            if len(failed) < 3:
                failed.append(session)
                raise OSError(errno.EIO, "Input/output error")
            real(self, session)

        monkeypatch.setattr(Directory, "forget", forget)
        session = await recorders.begin(made)
        session.ends()
        await settled(lambda: len(failed) == 3 and not entries(root))
        assert len(recorders.finished) == 1


# What a daemon that is gone has left.


async def test_what_it_had_open_is_finished(root, dead):
    sessions = await dead(20)
    async with recording(root) as (recorders, _made):
        await settled(lambda: len(recorders.finished) == 20)
        assert sorted(session for session, _ in recorders.finished) == sessions
        for session in sessions:
            assert read(root, session, SECRET)[1]["ending"] == "interrupted"
        await settled(lambda: not entries(root))


@pytest.mark.usefixtures("often")
async def test_what_it_had_open_is_told_once_though_its_entry_cannot_be_taken_away(root, dead, monkeypatch):
    real, tried = Directory.forget, []

    def forget(self, session):
        assert [found for found, _ in recorders.finished] == [session]
        tried.append(session)
        if len(tried) < 4:
            raise OSError(errno.EIO, "Input/output error")
        real(self, session)

    await dead()
    monkeypatch.setattr(Directory, "forget", forget)
    async with recording(root) as (recorders, _made):
        await settled(lambda: not entries(root))
        assert len(tried) == 4
        assert len(recorders.finished) == 1


@pytest.mark.parametrize(("secret", "user"), [(SECRET, "alice"), (b"another key", None)], ids=["sealed", "not"])
async def test_the_audit_trail_has_whose_it_was_where_that_is_sealed(root, dead, secret, user):
    (session,) = await dead(secret=secret)
    async with recording(root) as (recorders, _made):
        await settled(lambda: recorders.finished)
        subject = recorders.finished[0][1].subject
        assert (subject.session, subject.user) == (session, user)
        assert (None if subject.target is None else subject.target.namespace) == (user and "default")


async def test_a_long_one_holds_up_no_receipt_of_others(root, dead, monkeypatch):
    await dead()
    disk = Held(monkeypatch, interrupted, "fdatasync")
    async with recording(root) as (recorders, made):
        await settled(disk.entered.is_set)
        session = await recorders.begin(made)
        session.ends()
        await settled(lambda: recorders.finished)
        assert [found for found, _ in recorders.finished] == [session.id]
        disk.let_go()
        await settled(lambda: len(recorders.finished) == 2)


@pytest.mark.usefixtures("often")
async def test_a_directory_that_answers_late_loses_none(root, dead, monkeypatch):
    """The daemon begins without, and finishes them when it can."""
    monkeypatch.setattr(recorder, "_PATIENCE", 0.1)
    sessions = await dead(3)
    disk = Held(monkeypatch, directory, "scandir")
    async with recording(root) as (recorders, made):
        assert made.problem == "the disk doesn't answer"
        disk.let_go()
        await settled(lambda: len(recorders.finished) == 3)
        assert sorted(session for session, _ in recorders.finished) == sessions


@pytest.mark.usefixtures("often")
async def test_a_directory_that_fails_at_first_loses_none(root, dead, monkeypatch):
    sessions = await dead(3)
    with monkeypatch.context() as patch:
        failing(patch, directory, "scandir", errno.EIO)
        recorders = Recorders(root)
        made = await recorders.start()
        assert made.problem == "Input/output error"
    await settled(lambda: len(recorders.finished) == 3)
    assert sorted(session for session, _ in recorders.finished) == sessions
    assert made.problem == ""
    await made.close()


@pytest.mark.usefixtures("often")
async def test_a_disk_that_was_full_when_the_daemon_began_loses_none(root, dead, monkeypatch):
    """As after a crash that was for the full disk."""
    sessions = await dead(3)
    tried = []
    with monkeypatch.context() as patch:
        failing(patch, directory, "fsync")
        recorders = Recorders(root)
        made = await recorders.start()
        patch.setattr(made._leftovers, "_finished", lambda *found: tried.append(found))
        await settled(lambda: made._leftovers.idle)
        assert (tried, entries(root)) == ([], sessions)
    await settled(lambda: len(recorders.finished) == 3)
    for session in sessions:
        assert read(root, session, SECRET)[0].comments[-1] == "interrupted"
    await made.close()


@pytest.mark.usefixtures("often")
async def test_what_cannot_be_finished_is_tried_ever_more_seldom_and_told_once(root, dead, monkeypatch):
    """Each attempt reads all of it."""
    looks, tried, real = [], [], Directory.take_over
    monkeypatch.setattr("k8s_ws_proxy.recordings.leftovers._MOST_PASSED", 16)
    monkeypatch.setattr(Directory, "take_over", lambda self: (looks.append(self), real(self))[1])
    problems = iter([errno.ENOSPC] * 3 + [errno.EIO] * 3)

    def finish(_directory, session, _secret):
        tried.append((session, len(looks)))
        number = next(problems, 0)
        if number:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr("k8s_ws_proxy.recordings.leftovers.finish_interrupted", finish)
    (session,) = await dead()
    with capture_logs() as log:
        async with recording(root):
            await settled(lambda: len(tried) == 7)
            at = len(looks)
            await settled(lambda: len(looks) > at + 20)
    assert tried == [(session, look) for look in (1, 2, 4, 8, 16, 32, 48)]
    told = [line["error"] for line in log if line["event"] == "a recording can't be finished"]
    assert told == ["No space left on device", "Input/output error"]


@pytest.mark.usefixtures("often")
async def test_what_can_never_be_finished_holds_up_nothing_and_is_not_tried_again(root, dead, monkeypatch):
    sessions = await dead(3)
    path = Directory(root).cast(sessions[1])
    path.unlink()
    path.mkdir()
    real, tried = interrupted.finish_interrupted, []

    def finish(directory, session, secret):
        tried.append(session)
        return real(directory, session, secret)

    monkeypatch.setattr("k8s_ws_proxy.recordings.leftovers.finish_interrupted", finish)
    async with recording(root) as (recorders, made):
        await settled(lambda: len(recorders.finished) == 2)
        session = await recorders.begin(made)
        session.recording.file._path.unlink()
        await settled(lambda: session.bridge.given_up)  # some looks later
        session.ends()
        assert sorted(tried) == sessions
        assert made.problem == ""


@pytest.mark.usefixtures("often")
async def test_what_a_daemon_has_left_that_ended_later_is_finished_too(root, dead):
    """As in an upgrade, in which the new one begins while the old one still has sessions."""
    async with recording(root) as (recorders, _made):
        sessions = await dead(3)
        await settled(lambda: len(recorders.finished) == 3)
        assert sorted(session for session, _ in recorders.finished) == sessions
        await settled(lambda: not entries(root))
        assert len(list(root.glob(".daemons/*/"))) == 1, "nothing of it stays behind"


@pytest.mark.usefixtures("often")
async def test_what_cannot_be_taken_over_is_told_once(root, dead, monkeypatch):
    looks, real = [], Directory.take_over

    def take_over(self):
        looks.append(self)
        return real(self)

    monkeypatch.setattr(Directory, "take_over", take_over)
    (root / ".daemons" / "broken" / "lock").mkdir(parents=True)
    with capture_logs() as log:
        async with recording(root) as (recorders, _made):
            await settled(lambda: len(looks) > 2)
            await dead()
            await settled(lambda: recorders.finished)
    told = [line["problems"] for line in log if line["event"] == "what a daemon has left can't be taken over"]
    assert told == [["broken: Is a directory"]]


@pytest.mark.usefixtures("often")
async def test_two_daemons_on_one_directory(root):
    """Each finishes its own, whoever looks meanwhile."""
    first, second = Recorders(root), Recorders(root)
    one, other = await first.start(), await second.start()
    sessions = [await first.begin(one), await second.begin(other)]
    for session in sessions:
        session.says(session.id.encode())
    third = Recorders(root)
    late = await third.start()
    for session in sessions:
        session.ends()
    await settled(lambda: first.finished and second.finished)
    assert third.finished == []
    for session, each in zip(sessions, (first, second), strict=True):
        assert [found for found, _ in each.finished] == [session.id]
        assert read(root, session.id, SECRET)[0].text() == session.id
    for each in (one, other, late):
        await each.close()


# What is too old.


@pytest.mark.usefixtures("often")
async def test_what_cannot_be_removed_keeps_nobody_from_being_recorded(root, monkeypatch):
    async with recording(root, max_age=1.0) as (recorders, made):
        tried = []

        def clear(*_arguments):
            tried.append(1)
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(recorder, "clear", clear)
        await settled(lambda: tried)
        session = await recorders.begin(made)
        session.ends()
        await settled(lambda: recorders.finished)
        assert made.problem == ""
        assert isinstance(made, Recorder)
        assert retention.clear is not clear


@pytest.fixture
def old(root):
    """Puts a recording there that ended long ago."""

    def put():
        cast = Directory(root).cast(uuid7())
        cast.parent.mkdir(parents=True, exist_ok=True)
        cast.write_bytes(HEADER)
        os.utime(cast, (1, 1))
        return cast

    return put


@pytest.mark.usefixtures("often")
async def test_what_is_too_old_goes(root, old):
    cast = old()
    async with recording(root, max_age=60.0) as (recorders, made):
        running = await recorders.begin(made)
        await settled(lambda: not cast.exists())
        assert running.recording.file._path.exists()
        running.ends()


@pytest.mark.usefixtures("often")
async def test_a_clock_that_jumps_makes_nothing_old(root, old, monkeypatch):
    """What is too much goes all the same. It is told once, and what to do."""
    monkeypatch.setattr(recorder, "_CLEARING", 0.0)
    looks, ahead = [], 0.0

    def told(log):
        return [(line["seconds"], "set it back" in line["do"]) for line in log if "the clock was set" in line["event"]]

    def clear(_directory, keep, _now):
        looks.append((keep.age, keep.size))
        return 0, None

    monkeypatch.setattr(recorder, "clear", clear)
    monkeypatch.setattr(retention.Clock, "look", lambda _self: (0.0, ahead))
    with capture_logs() as log:
        async with recording(root, max_age=60.0, max_bytes=5):
            await settled(lambda: looks)
            assert set(looks) == {(60.0, 5)}
            ahead = 1e9
            await settled(lambda: looks.count((0.0, 5)) > 3)
            ahead = 0.0
            at = len(looks) + 1  # one may be under way
            await settled(lambda: (60.0, 5) in looks[at:])
        async with recording(root.with_name("by age only"), max_age=60.0):
            ahead = 600.0
            await settled(lambda: len(told(log)) == 2)
            at = len(looks) + 1
            ahead = 0.0
            await settled(lambda: len(looks) > at)
            assert (0.0, 0) not in looks
    assert told(log) == [(1_000_000_000, True), (600, True)]


TOO_LITTLE = {"min_free": 2**62}  # bytes, more than any disk has


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("keep", [{"max_age": 60.0}, {"max_bytes": 1}], ids=lambda keep: next(iter(keep)))
async def test_what_is_too_old_or_too_much_goes_also_while_there_is_too_little_room(root, old, keep):
    cast = old()
    async with recording(root, **TOO_LITTLE, **keep) as (_recorders, made):
        await settled(lambda: not cast.exists())
        assert "bytes are free" in made.problem


@pytest.mark.usefixtures("often")
async def test_it_goes_also_where_there_is_no_room_for_the_daemon_s_own_place(root, old, dead, monkeypatch):
    """As when it begins on a disk that is full to the last block."""
    await dead()
    cast = old()

    def full(_self):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Directory, "_take_place", full)
    async with recording(root, max_age=60.0) as (_recorders, made):
        await settled(lambda: not cast.exists())
        assert made.problem == "No space left on device"


async def test_who_is_refused_for_want_of_room_has_what_is_too_old_looked_at_now(root, old, monkeypatch):
    monkeypatch.setattr(recorder, "_LOOK", 3600.0)
    cast = old()
    async with recording(root, **TOO_LITTLE, max_age=60.0) as (recorders, made):
        with pytest.raises(Refusal, match="has to be recorded"):
            await recorders.begin(made)
        await settled(lambda: not cast.exists())
        recorders.registry.open_slots()[0].release()


@pytest.mark.parametrize(("problem", "seconds"), [("", 60), ("less than 5 bytes are free", 10)], ids=["room", "none"])
async def test_it_is_looked_for_sooner_while_there_is_too_little_room(root, monkeypatch, problem, seconds):
    looks, now = [], 0
    monkeypatch.setattr(recorder, "_LOOK", 3600.0)
    monkeypatch.setattr(recorder, "clear", lambda *_: (looks.append(now) or 0, None))
    async with recording(root, max_age=60.0) as (_recorders, made):
        made.clock, made.problem = lambda: now, problem
        for now in range(0, 121, 2):  # noqa: B007 - it is what the clock tells
            made._clear()
            await made._tidier.rest()
    assert looks == list(range(0, 121, seconds))


@pytest.mark.usefixtures("often")
async def test_what_can_never_be_removed_is_told_once(root, monkeypatch):
    monkeypatch.setattr(recorder, "_CLEARING", 0.0)
    monkeypatch.setattr(recorder, "_CLEARING_SHORT", 0.0)
    answers = iter(["Permission denied", "Permission denied", "Read-only file system", "", "Read-only file system"])
    tried = []

    def clear(*_arguments):
        tried.append(next(answers, "Read-only file system"))
        return 0, OSError(errno.EACCES, tried[-1]) if tried[-1] else None

    monkeypatch.setattr(recorder, "clear", clear)
    with capture_logs() as log:
        async with recording(root, **TOO_LITTLE, max_age=1.0):
            await settled(lambda: len(tried) > 7)
    told = [line["error"] for line in log if line["event"] == "old recordings can't be removed"]
    assert told == ["Permission denied", "Read-only file system", "Read-only file system"]
