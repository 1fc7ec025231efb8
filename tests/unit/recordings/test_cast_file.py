"""The file of a recording, on a disk that fails where it may."""

from __future__ import annotations

import errno
import os
from hashlib import sha256
from types import SimpleNamespace

import orjson
import pytest
from support.recorder import SECRET
from support.recordings import Cast, read

from k8s_ws_proxy.recordings import cast_file
from k8s_ws_proxy.recordings.cast_file import CastFile, Data, Gone, Resized
from k8s_ws_proxy.recordings.directory import Directory
from k8s_ws_proxy.sessions.uuid7 import uuid7
from k8s_ws_proxy.wire.framing.channels import STDERR, STDOUT
from k8s_ws_proxy.wire.recording.asciicast import Heading
from k8s_ws_proxy.wire.recording.receipt import End, Verdict, verify

END = End("2026-11-30T16:00:00.000Z", "command_ended", 7, 1, 2)


@pytest.fixture
def directory(tmp_path):
    made = Directory(tmp_path / "recordings")
    yield made
    made.close()


@pytest.fixture
def file(directory):
    """One that was created."""
    session = uuid7()
    begun = {"sessionId": session, "namespace": "default", "pod": "alias", "container": None}
    made = CastFile(directory, session, Heading("default/alias", 1_700_000_000, ["sh"]), begun, SECRET)
    made.create(0)
    return made


class Failing:
    """The module's ``os``, of which some functions fail while ``error`` is set; a write takes ``room`` bytes before."""

    def __init__(self, monkeypatch, *names):
        self.error = 0
        self.room = 0
        self._names = names
        found = {**vars(os), **{name: self._failing(name) for name in names}}
        monkeypatch.setattr(cast_file, "os", SimpleNamespace(**found))

    def _failing(self, name):
        def call(*arguments):
            if not self.error:
                return getattr(os, name)(*arguments)
            if name == "write" and self.room:
                room, self.room = self.room, 0
                return os.write(arguments[0], arguments[1][:room])
            raise OSError(self.error, os.strerror(self.error))

        return call


def finish(file, problem="", end=END):
    """And tell of it."""
    found = file.finish(9.0, end, problem, SECRET)
    file.forget()
    return found


def test_from_begin_to_end(directory, file):
    file.entered("default/web/app", "web-0", "app")
    assert file.write([Resized(0.1, 100, 30), Data(0.2, STDOUT, "ä".encode()[:1]), Data(0.3, STDERR, b"e")]) > 0
    file.sync()
    told = finish(file)
    cast, receipt = read(directory.root, file.session, SECRET)
    assert cast.header["title"] == "default/web/app"
    assert cast.header["term"] == {"cols": 100, "rows": 30}
    assert [each[1:] for each in cast.events] == [("o", "e"), ("o", "\ufffd"), ("x", "7")]
    assert (receipt["pod"], receipt["container"], receipt["replaced"]) == ("web-0", "app", 1)
    assert (told.path, told.size, told.sha256) == (receipt["recordingPath"], receipt["size"], receipt["sha256"])
    assert not directory.spoken_for()


def test_its_entry_stays_until_it_was_told(directory, file):
    file.finish(9.0, END, "", SECRET)
    assert directory.receipt(file.session).exists()
    assert directory.spoken_for() == {file.session}
    file.forget()
    assert not directory.spoken_for()


def test_one_that_never_began_leaves_nothing(directory, file):
    assert directory.spoken_for() == {file.session}
    file.discard()
    assert not directory.cast(file.session).exists()
    assert not directory.spoken_for()
    file.discard()


def test_what_cannot_be_made_leaves_nothing(directory):
    directory.open()
    session = uuid7()
    directory.cast(session).parent.parent.mkdir(parents=True)
    directory.cast(session).parent.write_text("a file in the folder's place")
    begun = {"sessionId": session, "namespace": "default", "pod": "web", "container": None}
    with pytest.raises(FileExistsError):
        CastFile(directory, session, Heading("t", 0), begun, SECRET).create(0)
    assert not directory.spoken_for()


def test_what_is_much_is_written_in_portions(directory, file, monkeypatch):
    """Two megabytes of control characters are twelve of JSON."""
    sizes = []
    write = lambda fd, data: sizes.append(len(data)) or os.write(fd, data)  # noqa: E731
    monkeypatch.setattr(cast_file, "os", SimpleNamespace(**{**vars(os), "write": write}))
    told = file.write([Data(0.1, STDOUT, b"\x00" * 65_536)] * 32)
    assert told == sum(sizes) > 12_000_000
    assert max(sizes) < 1_500_000
    finish(file)
    assert read(directory.root, file.session, SECRET)[0].text() == "\x00" * 65_536 * 32


def test_a_disk_that_is_full_after_a_portion(directory, file, monkeypatch):
    """What was written before stays, and is in the hash."""
    disk = Failing(monkeypatch, "write")
    events = [Data(0.1, STDOUT, b"x" * 600_000)] * 4
    with pytest.raises(OSError, match="No space"):
        file.write(_until(events, 3, lambda: setattr(disk, "error", errno.ENOSPC)))
    disk.error = 0
    finish(file, problem="recording failed: No space left on device")
    cast, receipt = read(directory.root, file.session, SECRET)
    assert (cast.text(), receipt["problem"]) == ("x" * 1_200_000, "recording failed: No space left on device")


def _until(events, number, do):
    for at, event in enumerate(events, 1):
        if at == number:
            do()
        yield event


@pytest.mark.parametrize("room", [0, 1, 50, 400, 5000])
@pytest.mark.parametrize("first", [True, False], ids=["the first write", "a later one"])
def test_a_disk_that_is_full_in_the_middle_leaves_whole_lines(directory, file, monkeypatch, room, first):
    disk = Failing(monkeypatch, "write")
    if not first:
        file.write([Data(0.1, STDOUT, b"before")])
    disk.error, disk.room = errno.ENOSPC, room
    with pytest.raises(OSError, match="No space"):
        file.write([Data(0.2, STDOUT, b"x" * 10_000)])
    data = directory.cast(file.session).read_bytes()
    assert data == b"" if first else Cast(data).text() == "before"
    told = finish(file, "recording failed: No space left on device")  # nor is there room for its end
    assert told.problem == "recording failed: No space left on device"
    receipt = read_receipt(directory, file)
    assert (receipt["size"], receipt["problem"]) == (len(data), told.problem)


@pytest.mark.parametrize("first", [True, False], ids=["the first write", "a later one"])
def test_where_there_is_room_again_its_end_says_what_happened(directory, file, monkeypatch, first):
    """Also where not even the header could be written before: every file can be played."""
    disk = Failing(monkeypatch, "write", "ftruncate")
    if not first:
        file.write([Data(0.1, STDOUT, b"before")])
    disk.error, disk.room = errno.EIO, 20  # and what was written of it can't be cut off now
    with pytest.raises(OSError, match="Input/output"):
        file.write([Data(0.2, STDOUT, b"x" * 10_000)])
    disk.error = 0
    finish(file, "recording failed: Input/output error")
    cast, _ = read(directory.root, file.session, SECRET)
    assert cast.comments == ["recording failed: Input/output error"]
    assert cast.text() == ("" if first else "before")
    assert cast.of("x") == []


@pytest.mark.parametrize("first", [True, False], ids=["the first write", "a later one"])
def test_there_is_no_receipt_of_a_file_that_cannot_be_cut_until_it_is(directory, file, monkeypatch, first):
    """What a write has left in it, of which nothing could be taken back, isn't in its hash."""
    disk = Failing(monkeypatch, "write", "ftruncate")
    if not first:
        file.write([Data(0.1, STDOUT, b"before")])
    disk.error, disk.room = errno.EIO, 20
    with pytest.raises(OSError, match="Input/output"):
        file.write([Data(0.2, STDOUT, b"x" * 10_000)])
    problem = "recording failed: Input/output error"
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output"):
            finish(file, problem)
        assert not directory.receipt(file.session).exists()
        assert directory.spoken_for() == {file.session}
    disk.error = 0
    finish(file, problem)
    cast, receipt = read(directory.root, file.session, SECRET)
    assert (cast.text(), cast.comments) == ("" if first else "before", [problem])
    assert receipt["problem"] == problem
    assert not directory.spoken_for()


@pytest.mark.parametrize("first", [True, False], ids=["nothing is in it", "something is"])
def test_an_end_that_is_cut_in_the_middle_is_written_again(directory, file, monkeypatch, first):
    disk = Failing(monkeypatch, "write", "ftruncate")
    if not first:
        file.write([Data(0.1, STDOUT, b"before")])
    disk.error, disk.room = errno.EROFS, 5
    with pytest.raises(OSError, match="Read-only"):
        finish(file)
    disk.error = 0
    finish(file)
    cast, receipt = read(directory.root, file.session, SECRET)
    problem = "recording failed: its end can't be written: Read-only file system"
    assert (cast.text(), cast.comments, receipt["problem"]) == ("" if first else "before", [problem], problem)


def test_one_that_is_gone_need_not_be_cut(directory, file, monkeypatch):
    """As where another disk was mounted in its place, since the first was broken."""
    disk = Failing(monkeypatch, "write", "ftruncate")
    disk.error, disk.room = errno.EIO, 20
    with pytest.raises(OSError, match="Input/output"):
        file.write([Data(0.2, STDOUT, b"x" * 10_000)])
    directory.root.rename(directory.root.with_name("elsewhere"))
    problem = "recording failed: Input/output error"
    finish(file, problem)
    assert read_receipt(directory, file)["problem"] == problem


def test_an_end_that_cannot_be_written_is_told(directory, file, monkeypatch):
    disk = Failing(monkeypatch, "write")
    file.write([Data(0.1, STDOUT, b"before")])
    disk.error = errno.ENOSPC
    finish(file)
    _, receipt = read(directory.root, file.session, SECRET)
    assert receipt["problem"] == "recording failed: its end can't be written: No space left on device"


def test_a_disk_that_lost_something_is_told_of_also_where_it_says_so_once(directory, file, monkeypatch):
    """As Linux does (fsync(2), EIO): the session may have ended by then, and know nothing of it."""
    disk = Failing(monkeypatch, "fdatasync")
    file.write([Data(0.1, STDOUT, b"lost")])
    disk.error = errno.EIO
    with pytest.raises(OSError, match="Input/output"):
        file.sync()
    disk.error = 0
    finish(file)
    _, receipt = read(directory.root, file.session, SECRET)
    assert receipt["problem"] == "recording failed: Input/output error"


@pytest.mark.parametrize("how", ["removed", "renamed", "replaced", "directory moved", "directory removed"])
def test_a_file_that_is_taken_away_is_missed_and_has_its_receipt(directory, file, how):
    file.write([Data(0.1, STDOUT, b"before")])
    file.sync()
    path = directory.cast(file.session)
    match how:
        case "removed":
            path.unlink()
        case "renamed":
            path.rename(path.with_suffix(".moved"))
        case "replaced":
            path.unlink()
            path.write_text("other")
        case "directory moved":
            directory.root.rename(directory.root.with_name("elsewhere"))
        case "directory removed":
            for each in sorted(directory.root.rglob("*"), reverse=True):
                each.unlink() if each.is_file() else each.rmdir()
            directory.root.rmdir()
    for _ in range(2):
        with pytest.raises(Gone):
            file.sync()
    finish(file)
    assert "taken away" in read_receipt(directory, file)["problem"]


def test_a_receipt_that_cannot_be_written_is_written_later(directory, file, monkeypatch):
    file.write([Data(0.1, STDOUT, b"kept")])
    real = os.rename

    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", full)
        with pytest.raises(OSError, match="No space"):
            finish(file)
        assert os.rename is not real
    assert directory.spoken_for() == {file.session}
    finish(file, "what is said now comes too late")
    cast, receipt = read(directory.root, file.session, SECRET)
    assert (cast.text(), cast.of("x"), receipt["problem"]) == ("kept", ["7"], "")
    assert not directory.spoken_for()


def test_the_hash_is_of_what_was_recorded_not_of_what_stands_there(directory, file):
    """Whoever may write into the file while the session goes on is found out."""
    file.write([Data(0.1, STDOUT, b"rm -rf /\r\n")])
    path = directory.cast(file.session)
    path.write_bytes(path.read_bytes().replace(b"rm -rf", b"ls -al"))
    finish(file)
    receipt = directory.receipt(file.session).read_bytes()
    assert verify(receipt, sha256(path.read_bytes()).hexdigest(), [SECRET]) is Verdict.RECORDING_CHANGED


def read_receipt(directory, file):
    return orjson.loads(directory.receipt(file.session).read_bytes())
