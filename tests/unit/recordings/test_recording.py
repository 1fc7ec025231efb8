"""What a recording hands over, and when: its session moved by hand, its disk held up where it has to be."""

from __future__ import annotations

import errno
import os
from types import SimpleNamespace

import orjson
import pytest
from support.recorder import SECRET, Held, recording, settled
from support.recordings import read

from k8s_ws_proxy.recordings import cast_file, directory
from k8s_ws_proxy.recordings import recorder as recorder_module
from k8s_ws_proxy.recordings.directory import DAEMONS, OPEN
from k8s_ws_proxy.recordings.recording import STUCK, Recording
from k8s_ws_proxy.sessions.record import Watcher, WatchMode
from k8s_ws_proxy.wire.recording.receipt import is_genuine

MIB = 1024 * 1024


@pytest.fixture
async def made(tmp_path):
    async with recording(tmp_path / "recordings") as found:
        yield found


@pytest.fixture
def clock(monkeypatch):
    """Moves the clock of a recorder."""

    def move(recorder, seconds):
        now = recorder.clock
        recorder.clock = lambda: now() + seconds

    return move


class Flood:
    """Says as much as it may, as a session that is read whenever its recording isn't full."""

    def __init__(self, session):
        self.session = session
        self.said = 0

    def on(self, portion=64 * 1024, most=100 * MIB):
        while not self.session.recording.full and self.said < most:
            self.session.says(b"x" * portion)
            self.said += portion
        return self.said


async def test_it_is_finished_once(made):
    """Also where it was to hand over something in a moment, and its session ended before."""
    recorders, recorder = made
    session = await recorders.begin(recorder)
    session.says(b"last words")
    session.ends()
    assert isinstance(session.recording, Recording)
    await settled(lambda: recorders.finished)
    session.recording.hand_over()  # as the moment does
    other = await recorders.begin(recorder)
    other.ends()
    await settled(lambda: len(recorders.finished) > 1)
    assert [found for found, _ in recorders.finished] == [session.id, other.id]


async def test_what_it_turned_out_to_be_is_written_down_before_it_is_finished(made, monkeypatch):
    """A session without output that ends at once: its receipt knows the pod, and nothing of it stays open."""
    recorders, recorder = made
    slot, found = await recorders.prepare(recorder)
    entering = Held(monkeypatch, directory, "utime")  # what the next session begins with
    slot.log.resolved("web-0")
    other = recorders.starting(recorder)
    await settled(entering.entered.is_set)
    session = recorders.opened(slot, found)  # its writing waits behind the other's begin
    session.ends()
    await settled(lambda: recorder.writer.at_it() > 0.05)
    assert recorders.finished == []
    entering.let_go()
    (await other).ends()
    await settled(lambda: recorders.finished)
    assert read(recorders.root, session.id, SECRET)[1]["pod"] == "web-0"
    await settled(lambda: not (recorder.directory.own / "open" / session.id).exists())


async def test_a_disk_that_hangs_holds_back_the_session_and_nobody_else(made, monkeypatch):
    """Nothing is dropped, what waits is bounded, and it goes on when the disk does."""
    recorders, recorder = made
    session = await recorders.begin(recorder)
    await recorder.writer.rest()
    disk = Held(monkeypatch, cast_file, "write")
    flood = Flood(session)
    assert flood.on() <= 2 * MIB + 64 * 1024
    await settled(disk.entered.is_set)
    before = flood.said
    assert flood.on() == before, "while the disk hangs it isn't read"
    assert session.bridge.went_on == 0
    assert recorders.budget.held == session.recording.held >= 2 * MIB
    disk.let_go()
    await settled(lambda: session.bridge.went_on)
    assert flood.on() > before
    session.ends()
    await settled(lambda: recorders.finished)
    cast, receipt = read(recorders.root, session.id, SECRET)
    assert cast.text() == "x" * flood.said
    assert receipt["problem"] == ""
    assert recorders.budget.held == 0


async def test_of_all_sessions_together_so_much_waits_and_no_more(made, monkeypatch):
    recorders, recorder = made
    sessions = [await recorders.begin(recorder) for _ in range(60)]
    await recorder.writer.rest()
    disk = Held(monkeypatch, cast_file, "write")
    floods = [Flood(session) for session in sessions]
    for flood in floods:
        flood.on(8 * 1024)
    crowd = recorders.budget.held
    assert crowd <= 8 * MIB + 512 * 1024 + 60 * (16 + 9) * 1024
    assert all(flood.said >= 16 * 1024 for flood in floods), "each may have a little waiting"
    assert sum(flood.on(8 * 1024) for flood in floods) == sum(flood.said for flood in floods)
    disk.let_go()
    for session in sessions:
        session.ends()
    await settled(lambda: len(recorders.finished) == 60)
    assert recorders.budget.held == 0
    for flood in floods:
        assert read(recorders.root, flood.session.id, SECRET)[0].text() == "x" * flood.said


async def test_what_is_little_is_handed_over_at_once_where_it_holds_back_its_session(made, monkeypatch):
    """Nothing more comes to make it much: it isn't read."""
    recorders, recorder = made
    monkeypatch.setattr(recorder_module, "_GATHER", 3600.0)
    session = await recorders.begin(recorder)
    await recorder.writer.rest()
    session.says(b"x" * 20_000)
    monkeypatch.setattr(recorder_module, "_CROWDED", 0)
    assert session.recording.full
    await settled(lambda: session.bridge.went_on)
    assert session.recording.held == 0
    session.ends()


async def test_what_is_little_is_written_of_many_in_one_go_and_one_that_fails_fails_alone(made, monkeypatch):
    recorders, recorder = made
    sessions = [await recorders.begin(recorder) for _ in range(100)]
    await recorder.writer.rest()
    turns = []
    monkeypatch.setattr(
        recorder.writer, "do_each", lambda works, real=recorder.writer.do_each: (turns.append(len(works)), real(works))
    )
    broken = sessions[10].recording.file._fd
    sessions[10].recording.file._fd = -1
    for session in sessions:
        session.says(b"little")
    await settled(lambda: sum(each.recording.held > 0 for each in sessions) == 0)
    assert turns == [64, 36]
    assert [number for number, each in enumerate(sessions) if each.recording.problem] == [10]
    sessions[10].recording.file._fd = broken
    for session in sessions:
        session.ends()
    await settled(lambda: len(recorders.finished) == len(sessions))
    casts = [read(recorders.root, each.id, SECRET)[0] for each in sessions]
    assert [number for number, cast in enumerate(casts) if cast.text() != "little"] == [10]


def watched_by(root):
    """Who stands in the entries of sessions that go on."""
    entries = [orjson.loads(path.read_bytes()) for path in root.glob(f"{DAEMONS}/*/{OPEN}/*")]
    assert all(is_genuine(each, SECRET) for each in entries)
    return [watcher["user"] for each in entries for watcher in each.get("watchers", [])]


def watcher(user):
    return Watcher("", user, WatchMode.OBSERVE, 1_796_040_000)


async def test_who_watches_is_written_down_and_after_what_is_being_written(made, monkeypatch):
    """For the receipt of a session whose daemon is killed."""
    recorders, recorder = made
    session = await recorders.begin(recorder)
    await recorder.writer.rest()
    session.slot.watched(watcher("ann"))
    await settled(lambda: watched_by(recorders.root) == ["ann"])
    await settled(lambda: recorder.writer.at_it() == 0)
    disk = Held(monkeypatch, cast_file, "write")
    session.says(b"x" * MIB)
    await settled(disk.entered.is_set)
    session.slot.watched(watcher("bob"))
    assert watched_by(recorders.root) == ["ann"]
    disk.let_go()
    await settled(lambda: watched_by(recorders.root) == ["ann", "bob"])
    session.ends()
    session.slot.watched(watcher("eve"))
    await settled(lambda: recorders.finished)
    cast, receipt = read(recorders.root, session.id, SECRET)
    assert [each["user"] for each in receipt["watchers"]] == ["ann", "bob"]
    assert cast.text() == "x" * MIB
    assert watched_by(recorders.root) == [], "nothing of it is open any more"


async def test_however_many_come_to_watch_it_is_one_work_with_what_was_said(made, monkeypatch):
    """Each entry has all who came before. Who comes again and again keeps nothing else from being written."""
    recorders, recorder = made
    session = await recorders.begin(recorder)
    await recorder.writer.rest()
    entered = []
    monkeypatch.setattr(
        recorder.directory, "enter", lambda *known, real=recorder.directory.enter: (entered.append(1), real(*known))
    )
    for number in range(1001):
        session.slot.watched(watcher(f"user-{number}"))
    session.says(b"said")
    await settled(lambda: session.recording.held == 0)
    assert (len(entered), len(watched_by(recorders.root))) == (1, 1000)
    session.slot.watched(watcher("one more than are remembered"))
    session.ends()
    await settled(lambda: recorders.finished)
    assert len(entered) == 1
    assert read(recorders.root, session.id, SECRET)[0].text() == "said"


@pytest.mark.parametrize("required", [True, False])
async def test_a_disk_that_takes_nothing_for_long_has_failed(tmp_path, monkeypatch, clock, required):
    async with recording(tmp_path / "recordings", required=required) as (recorders, recorder):
        session = await recorders.begin(recorder)
        await recorder.writer.rest()
        disk = Held(monkeypatch, cast_file, "write")
        flood = Flood(session)
        flood.on()
        await settled(disk.entered.is_set)
        session.recording.look(recorder.clock())
        assert not session.recording.problem
        clock(recorder, STUCK + 1)
        session.recording.look(recorder.clock())
        assert session.recording.problem == "recording failed: the disk took nothing for 30 s"
        assert (session.bridge.given_up is not None, session.bridge.went_on > 0) == (required, not required)
        assert not session.recording.full
        assert session.recording.held < 600 * 1024, "what nobody will write isn't kept"
        session.says(b"y" * MIB)
        assert session.recording.held < 600 * 1024
        session.ends()
        disk.let_go()
        await settled(lambda: recorders.finished)
        assert recorders.budget.held == 0
        cast, receipt = read(recorders.root, session.id, SECRET)
        assert cast.comments == [receipt["problem"]] == ["recording failed: the disk took nothing for 30 s"]
        assert "y" not in cast.text()


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT], ids=errno.errorcode.get)
async def test_a_write_that_fails(tmp_path, monkeypatch, required, number):
    async with recording(tmp_path / "recordings", required=required) as (recorders, recorder):
        session = await recorders.begin(recorder)
        session.says(b"before")
        session.recording.hand_over()
        await recorder.writer.rest()
        await settled(lambda: session.recording.held == 0)

        def write(*_arguments):
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(cast_file, "os", SimpleNamespace(**{**vars(os), "write": write}))
            session.says(b"lost" * 10_000)
            await settled(lambda: session.recording.problem)
        assert session.recording.problem == f"recording failed: {os.strerror(number)}"
        assert (session.bridge.given_up is not None) == required
        session.says(b"nor this")
        session.ends()
        await settled(lambda: recorders.finished)
        cast, receipt = read(recorders.root, session.id, SECRET)
        assert (cast.text(), receipt["problem"]) == ("before", session.recording.problem)
        assert recorders.budget.held == 0
        assert len(recorders.finished) == 1


async def test_one_that_fails_while_it_is_full_goes_on_or_is_given_up_once(made, monkeypatch):
    recorders, recorder = made
    session = await recorders.begin(recorder)
    await recorder.writer.rest()
    disk = Held(monkeypatch, cast_file, "write")
    Flood(session).on()
    assert session.recording.full
    for _ in range(2):
        session.recording.fail("the first reason counts" if not session.recording.problem else "not this one")
    assert session.recording.problem == "recording failed: the first reason counts"
    assert not session.recording.full
    disk.let_go()
    session.ends()
    await settled(lambda: recorders.finished)
    assert recorders.budget.held == 0
    assert len(recorders.finished) == 1


async def test_a_session_that_ends_while_a_write_is_under_way_is_kept_whole(made, monkeypatch):
    recorders, recorder = made
    session = await recorders.begin(recorder)
    await recorder.writer.rest()
    disk = Held(monkeypatch, cast_file, "write")
    session.says(b"a" * 600_000)
    await settled(disk.entered.is_set)
    session.says(b"b" * 100)
    session.ends()
    await settled(lambda: recorder.writer.at_it() > 0.05)
    assert recorders.finished == []
    disk.let_go()
    await settled(lambda: recorders.finished)
    assert read(recorders.root, session.id, SECRET)[0].text() == "a" * 600_000 + "b" * 100
