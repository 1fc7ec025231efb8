"""What is made of what a daemon that was killed, or its machine, has left of a recording."""

from __future__ import annotations

import errno
import os
import random
import stat
from types import SimpleNamespace

import orjson
import pytest
from support.recorder import SECRET
from support.recordings import Cast, read

from k8s_ws_proxy.recordings import interrupted
from k8s_ws_proxy.recordings.directory import OPEN, Directory, write_whole
from k8s_ws_proxy.recordings.paths import path_of
from k8s_ws_proxy.sessions.uuid7 import uuid7
from k8s_ws_proxy.wire.recording.receipt import End, File, entry, sealed

KNOWN = {
    "sessionId": "",
    "namespace": "default",
    "pod": "web",
    "container": "app",
    "user": "alice",
    "command": ["sh"],
    "timestamp": 1_700_000_000,
}
HEADER = b'{"version":3,"term":{"cols":80,"rows":24},"timestamp":1700000000,"title":"t"}\n'
WHOLE = (
    HEADER
    + b'[0.5, "o", "a\\r\\n"]\n'
    + '[0.000001, "o", "Grüße €𝄞"]\n'.encode()
    + b'# a comment\n[1.0, "r", "90x25"]\n'
)


@pytest.fixture
def directory(tmp_path):
    made = Directory(tmp_path / "recordings")
    made.open()
    yield made
    made.close()


def finish_interrupted(directory, session, secret):
    """As it is done, and told."""
    found = interrupted.finish_interrupted(directory, session, secret)
    directory.forget(session)
    return found


@pytest.fixture
def leave(directory):
    """Leaves a recording as a crash does: what is known of it, and its file, where there is one."""

    def leave_(cast, known=KNOWN, session=None):
        session = session or uuid7()
        entered = entry({**known, "sessionId": session}, SECRET) if isinstance(known, dict) else known
        directory.enter(session, entered)
        if cast is not None:
            directory.cast(session).parent.mkdir(parents=True, exist_ok=True)
            directory.cast(session).write_bytes(cast)
        return session

    return leave_


def lines(data):
    """As many bytes as make whole lines."""
    return data[: data.rfind(b"\n") + 1]


def test_a_file_cut_at_every_byte(directory, leave):
    """Its whole lines are kept, it can be played, and its receipt is of it."""
    for cut in range(len(WHOLE) + 1):
        session = leave(WHOLE[:cut])
        assert finish_interrupted(directory, session, SECRET) is not None
        cast, receipt = read(directory.root, session, SECRET)
        assert cast.comments[-1] == "interrupted"
        data = directory.cast(session).read_bytes()
        kept = lines(WHOLE[:cut])
        assert data.startswith(kept)
        assert data.removeprefix(kept).count(b"\n") == (1 if kept else 2), (
            "a comment, and a header where there was none"
        )
        assert cast.header["title"] == ("t" if kept else "default/web/app")
        assert (receipt["ending"], receipt["user"], receipt["exitCode"]) == ("interrupted", "alice", None)
        assert (receipt["bytesIn"], receipt["bytesOut"], receipt["problem"]) == (None, None, "interrupted")
        assert receipt["replaced"] is None, "who counted was killed"
        assert "timestamp" not in receipt
        assert not directory.spoken_for()


ANN = {"user": "ann", "mode": "observe", "since": "2026-11-30T12:00:00.000Z"}


@pytest.mark.parametrize(
    ("entered", "told"),
    [([ANN, ANN], [ANN, ANN]), ([ANN, 5, None], [ANN]), (None, []), ("ann", []), ({"user": "ann"}, [])],
    ids=repr,
)
def test_who_had_watched_is_told_as_far_as_it_can_be_read(directory, leave, entered, told):
    session = leave(WHOLE, {**KNOWN, "watchers": entered})
    finish_interrupted(directory, session, SECRET)
    assert read(directory.root, session, SECRET)[1]["watchers"] == told


@pytest.mark.parametrize(
    "tail",
    [
        b"\0" * 4096,
        b"\0" * 4096 + b"\n",
        b"\0" * (9 * 1024 * 1024),
        b"\n\n\n",
        b'[0.5, "o", "\xff\xfe"]\n',
        b"# \xff\xfe\n",
        b'[0.5, "o", "a"\n',
        b'"a string"\n12\nnull\n',
        b'\0\0\0[0.5, "o", "what comes after it"]\n',
        b"x" * (9 * 1024 * 1024) + b"\n",
        b"[" * 100_000 + b"\n",
        random.Random(1).randbytes(100_000) + b"\n",
    ],
    ids=lambda tail: repr(tail[:12]) + str(len(tail)),
)
def test_a_tail_of_other_bytes_is_cut_off(directory, leave, tail):
    """As a machine that lost its power leaves them. What comes after it goes, too: a player stops there."""
    session = leave(WHOLE + tail + b'[0.5, "o", "lost"]\n')
    finish_interrupted(directory, session, SECRET)
    assert directory.cast(session).read_bytes() == WHOLE + b"# interrupted\n"
    read(directory.root, session, SECRET)


def test_the_longest_line_is_one(directory, leave):
    line = orjson.dumps([1.5, "o", "\1" * 250_000]) + b"\n"
    assert len(line) > 1_500_000 - 1
    session = leave(HEADER + line * 3)
    finish_interrupted(directory, session, SECRET)
    assert len(read(directory.root, session, SECRET)[0].events) == 3


def test_without_a_recording_there_is_nothing_to_finish(directory, leave):
    session = leave(None)
    assert finish_interrupted(directory, session, SECRET) is None
    assert not directory.spoken_for()
    assert not directory.receipt(session).exists()


@pytest.mark.parametrize("uploads", [False, True])
def test_one_that_has_its_receipt_is_only_told(tmp_path, uploads):
    """Its daemon was killed before it could: as often as that happens, what the receipt says."""
    directory = Directory(tmp_path, uploads=uploads)
    directory.open()
    session = uuid7()
    directory.enter(session, b"{}")
    directory.cast(session).parent.mkdir(parents=True)
    directory.cast(session).write_bytes(WHOLE)
    begun = {**KNOWN, "sessionId": session}
    file = File(path_of(session), 7, "0" * 64, 1, "recording failed: No space left on device")
    receipt = sealed(begun, End("2026-11-30T16:00:00.000Z", "command_ended", 7, 1, 2), file, SECRET)
    write_whole(directory.receipt(session), receipt)
    for _ in range(2):
        found = interrupted.finish_interrupted(directory, session, SECRET)
        assert (found.file, found.ending) == (file, "command_ended")
        assert (found.known["user"], found.known["exitCode"]) == ("alice", 7)
        assert directory.spoken_for() == {session}
    assert directory.cast(session).read_bytes() == WHOLE
    assert directory.receipt(session).read_bytes() == receipt
    directory.forget(session)
    assert directory.spoken_for() == ({session} if uploads else set())
    directory.close()


@pytest.mark.parametrize("known", [KNOWN, b"", orjson.dumps(KNOWN)], ids=["known", "lost", "not sealed"])
def test_what_was_finished_and_not_told_is_told_alike(directory, leave, known):
    session = leave(WHOLE, known)
    first = interrupted.finish_interrupted(directory, session, SECRET)
    again = interrupted.finish_interrupted(directory, session, SECRET)
    assert (again.file, again.ending) == (first.file, "interrupted") == (first.file, first.ending)
    assert (again.known or {}).get("user") == (first.known or {}).get("user") == ("alice" if known is KNOWN else None)


@pytest.mark.parametrize("which", ["another key's", "another session's", "changed", "none", "empty"])
def test_nobody_s_word_is_taken_for_a_receipt_that_is_not_sealed(directory, leave, which):
    session = leave(WHOLE)
    begun = {**KNOWN, "sessionId": uuid7() if which == "another session's" else session}
    end = End("2026-11-30T16:00:00.000Z", "command_ended", 7, 1, 2)
    receipt = sealed(begun, end, File(path_of(session), 7, "0" * 64), b"x" if which == "another key's" else SECRET)
    match which:
        case "changed":
            receipt = receipt.replace(b"alice", b"mallory")
        case "none":
            receipt = b"{}\n"
        case "empty":
            receipt = b""
    write_whole(directory.receipt(session), receipt)
    assert interrupted.finish_interrupted(directory, session, SECRET) is None
    assert directory.receipt(session).read_bytes() == receipt
    assert directory.cast(session).read_bytes() == WHOLE


@pytest.mark.parametrize(
    "known", [b"", b"{", b"[]", b"null", b"\xff", b'{"timestamp": "x"}', b"\0" * 300, b'{"a": 1}'], ids=repr
)
def test_where_what_was_known_is_lost_it_is_finished_and_says_so(directory, leave, known):
    session = leave(WHOLE, known)
    finish_interrupted(directory, session, SECRET)
    cast, receipt = read(directory.root, session, SECRET)
    assert receipt["problem"] == "interrupted; what was known of the session is lost"
    assert cast.comments[-1] == receipt["problem"]
    assert (receipt["namespace"], receipt["user"], receipt["command"]) == ("", "", None)
    assert receipt["began"].startswith("20")
    assert not directory.spoken_for()


def test_one_that_somebody_made_up_is_told_from_those_that_were(directory, leave):
    """Who may write there, and has no key, has neither a session made up nor another's begin taken for its own."""
    other = uuid7()
    ended = {"ending": "command_ended", "exitCode": 0, "hmac": "ä"}
    for known in (
        orjson.dumps({**KNOWN, "sessionId": other, **ended}),
        entry({**KNOWN, "sessionId": other}, SECRET),  # of a session that was
        entry({**KNOWN, "sessionId": ""}, b"another key"),
        entry({**KNOWN, "sessionId": ""}, SECRET).replace(b"alice", b"mallory"),
        orjson.dumps({**KNOWN, "size": 2**60}),
    ):
        session = leave(WHOLE, known.replace(b'"sessionId":""', f'"sessionId":"{uuid7()}"'.encode()))
        found = finish_interrupted(directory, session, SECRET)
        _, receipt = read(directory.root, session, SECRET)
        assert receipt["problem"] == "interrupted; what was known of the session isn't sealed with this key"
        assert (receipt["sessionId"], receipt["ending"], receipt["exitCode"]) == (session, "interrupted", None)
        assert found.known is None, "the audit trail takes nobody's word for it"


@pytest.mark.parametrize("kind", ["link", "folder", "fifo"])
def test_what_is_no_file_is_not_touched(directory, leave, tmp_path, kind):
    """It is no OSError: there is no use in trying again."""
    session = leave(None)
    path = directory.cast(session)
    path.parent.mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.write_bytes(b"somebody's, without a last line")
    match kind:
        case "link":
            path.symlink_to(victim)
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
    with pytest.raises(ValueError, match="it isn't a file"):
        finish_interrupted(directory, session, SECRET)
    assert victim.read_bytes() == b"somebody's, without a last line"


@pytest.mark.parametrize("kind", ["link", "folder", "fifo", "socket"])
def test_what_stands_in_the_entry_s_place_is_neither_waited_for_nor_followed(directory, leave, tmp_path, kind):
    session = leave(WHOLE)
    place = directory.entry(OPEN, session)
    elsewhere = place.rename(tmp_path / "elsewhere")
    match kind:
        case "link":
            place.symlink_to(elsewhere)
        case "folder":
            place.mkdir()
        case "fifo":
            os.mkfifo(place)
        case "socket":
            os.mknod(place, stat.S_IFSOCK | 0o600)
    if kind == "folder":  # it can't be taken away as a file is
        with pytest.raises(IsADirectoryError):
            finish_interrupted(directory, session, SECRET)
    else:
        finish_interrupted(directory, session, SECRET)
        assert not directory.spoken_for()
    _, receipt = read(directory.root, session, SECRET)
    assert receipt["problem"] == "interrupted; what was known of the session is lost"


@pytest.mark.parametrize("where", ["write", "fdatasync", "ftruncate"])
def test_where_the_disk_is_full_it_can_be_tried_again(directory, leave, monkeypatch, where):
    session = leave(WHOLE + b"torn")

    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(interrupted, "os", SimpleNamespace(**{**vars(os), where: full}))
        with pytest.raises(OSError, match="No space"):
            finish_interrupted(directory, session, SECRET)
    assert directory.spoken_for() == {session}
    finish_interrupted(directory, session, SECRET)
    cast, _ = read(directory.root, session, SECRET)
    assert isinstance(cast, Cast)
    assert directory.cast(session).read_bytes().startswith(WHOLE)
    assert not directory.spoken_for()


@pytest.mark.parametrize("left", [WHOLE + b"torn", b""], ids=["some lines", "nothing"])
@pytest.mark.parametrize("known", [KNOWN, b"", orjson.dumps(KNOWN)], ids=["known", "lost", "not sealed"])
def test_it_may_be_tried_as_often_as_it_takes(directory, leave, monkeypatch, left, known):
    """What is said at the end fits where the receipt doesn't. It is said once, and the session ended when it did."""
    session = leave(left, known)
    ended = 1_700_000_123_456_789_000
    os.utime(directory.cast(session), ns=(ended, ended))

    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(interrupted, "write_whole", full)
        for _ in range(3):
            with pytest.raises(OSError, match="No space"):
                finish_interrupted(directory, session, SECRET)
    finish_interrupted(directory, session, SECRET)
    cast, receipt = read(directory.root, session, SECRET)
    assert cast.comments == (["a comment"] if left else []) + [receipt["problem"]]
    assert receipt["ended"] == "2023-11-14T22:15:23.456Z"


def test_who_may_write_a_recording_and_not_set_its_time_finishes_it(directory, leave, monkeypatch):
    """As of a file that isn't one's own."""
    session = leave(WHOLE)

    def forbidden(*_arguments, **_options):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(interrupted, "os", SimpleNamespace(**{**vars(os), "utime": forbidden}))
    finish_interrupted(directory, session, SECRET)
    read(directory.root, session, SECRET)
