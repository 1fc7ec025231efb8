"""What is in a directory of recordings: found, listed in order, and never anything that lies outside of it."""

from __future__ import annotations

import json
import os
import tracemalloc
from datetime import UTC, datetime

import pytest
from support.archive import NOON, Recordings, begun, id_at

from k8s_ws_proxy.recordings.beneath import open_file, open_folder, read_file
from k8s_ws_proxy.recordings.catalogue import AT_ONCE, FIELDS, LATEST, Catalogue, Wanted
from k8s_ws_proxy.recordings.directory import DAEMONS, OPEN

HOUR = 3_600_000
DAY = 24 * HOUR


@pytest.fixture
def made(tmp_path):
    return Recordings(tmp_path / "recordings")


@pytest.fixture
def catalogue(made):
    made.root.mkdir()
    return Catalogue(made.root)


def listed(catalogue, **wanted):
    walk = catalogue.walk(Wanted(**wanted))
    found = []
    while not walk.over:
        found += walk.take(7, 60)
    return [known.id for known in found]


def test_what_is_told(made, catalogue):
    finished, running = made.finished(), made.running(b"12345", user=None)
    told = json.loads(catalogue.find(finished).told)
    assert tuple(told) == FIELDS
    assert (told["state"], told["ending"], told["exitCode"], told["size"]) == (
        "finished",
        "command_ended",
        0,
        made.cast(finished).stat().st_size,
    )
    told = json.loads(catalogue.find(running).told)
    assert tuple(told) == FIELDS
    assert (told["state"], told["ending"], told["size"], told["watchers"]) == ("recording", None, 5, [])
    assert told["recordingPath"] == f"2026/11/30/{running}.cast"
    assert "hmac" not in told


def test_newest_first_whatever_goes_on(made, catalogue):
    ids = [
        made.finished(at=NOON - 40 * DAY),
        made.running(at=NOON - DAY),
        made.finished(at=NOON - HOUR),
        made.running(at=NOON),
        made.finished(at=NOON + 1),
    ]
    assert listed(catalogue) == ids[::-1]


def test_filters(made, catalogue):
    a = made.finished(at=NOON, namespace="a", user="alice")
    b = made.running(at=NOON + 1, namespace="b", user="alice")
    c = made.finished(at=NOON + 2, namespace="a", user=None)
    assert listed(catalogue, namespace="a") == [c, a]
    assert listed(catalogue, user="alice") == [b, a]
    assert listed(catalogue, namespace="b", user="alice") == [b]
    assert listed(catalogue, user="") == []


def test_times_are_from_inclusive_to_exclusive(made, catalogue):
    ids = [made.finished(at=NOON + number * HOUR) for number in range(-30, 31, 5)]
    for start in range(-30, 31, 5):
        for end in range(-30, 31, 10):
            expected = [id_ for id_, at in zip(ids, range(-30, 31, 5), strict=True) if start <= at < end]
            assert listed(catalogue, start=NOON + start * HOUR, end=NOON + end * HOUR) == expected[::-1]
    assert listed(catalogue, start=0, end=0) == []
    assert listed(catalogue, start=LATEST, end=LATEST) == []
    assert listed(catalogue, start=0, end=LATEST) == ids[::-1]


def test_only_the_folders_of_its_days_are_looked_into(made, catalogue, monkeypatch):
    for number in range(40):
        made.finished(at=NOON - number * 15 * DAY)
    looked = []
    names = catalogue._names
    monkeypatch.setattr(catalogue, "_names", lambda folder: looked.append("/".join(folder)) or names(folder))
    listed(catalogue, start=NOON - DAY, end=NOON + DAY)
    assert [each for each in looked if each[:1] == "2"] == ["2026", "2026/11", "2026/11/30"]


@pytest.mark.parametrize("count", [AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 2 * AT_ONCE])
def test_a_day_with_more_than_is_kept_at_once(made, catalogue, count):
    ids = made.many(count)
    assert listed(catalogue) == ids[::-1]


def test_one_that_is_finished_and_still_open_is_there_once(made, catalogue):
    finished = made.finished()
    entry = made.root / DAEMONS / "x" / OPEN / finished
    entry.parent.mkdir(parents=True)
    entry.write_bytes(b"{}")
    assert listed(catalogue) == [finished]
    assert catalogue.find(finished).daemon is None


def test_whether_more_may_come(made, catalogue):
    session = made.running()
    known = catalogue.find(session)
    assert catalogue.goes_on(known)
    entry = made.root / DAEMONS / "one" / OPEN / session
    taken = made.root / DAEMONS / "two" / OPEN / session
    taken.parent.mkdir(parents=True)
    entry.rename(taken)
    assert catalogue.goes_on(known)
    made.finish(session)
    assert not catalogue.goes_on(known)
    assert not catalogue.goes_on(catalogue.find(session))


def test_what_was_taken_away_doesn_t_go_on(made, catalogue):
    session = made.running()
    known = catalogue.find(session)
    (made.root / DAEMONS / "one" / OPEN / session).unlink()
    assert not catalogue.goes_on(known)


def test_a_list_goes_on_where_it_was(made, catalogue):
    ids = made.many(50)
    walk = catalogue.walk(Wanted())
    first = [known.id for known in walk.take(20, 60)]
    assert (first, walk.last, walk.over) == (ids[:29:-1], ids[30], False)
    made.finished(at=NOON + HOUR)
    assert listed(catalogue, below=walk.last) == ids[29::-1]


def test_it_takes_a_bounded_time_and_no_more_than_was_asked_for(made, catalogue):
    made.many(50)
    walk = catalogue.walk(Wanted())
    assert len(walk.take(20, -1)) == 1, "it goes on, whatever the time"
    assert (walk.examined, walk.over) == (1, False)
    assert len(walk.take(20, 60)) == 20
    assert walk.examined == 21


@pytest.mark.parametrize(
    "receipt",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b"{" * 100_000,
        b" " * (1024 * 1024 + 1),
        json.dumps(
            {**begun(id_at(NOON)), "version": 1, "sha256": "", "recordingPath": "", "key": "", "hmac": ""}
        ).encode(),
    ],
    ids=["empty", "no fields", "a list", "no UTF-8", "deep", "too long", "another's"],
)
def test_a_broken_receipt_is_skipped_and_counted(made, catalogue, receipt):
    good, broken = made.finished(), made.finished(at=NOON + 1)
    made.receipt(broken).write_bytes(receipt)
    walk = catalogue.walk(Wanted())
    assert [known.id for known in walk.take(10, 60)] == [good]
    assert (walk.skipped, walk.over) == (1, True)
    assert catalogue.find(broken) is None


@pytest.mark.parametrize("change", [{"namespace": None}, {"namespace": 5}, {"user": ["a"]}, {"peer": "\ud800"}])
def test_a_receipt_that_says_whose_it_is_in_no_way_that_is_known_is_broken(made, catalogue, change):
    broken = made.finished()
    told = json.loads(made.receipt(broken).read_bytes())
    made.receipt(broken).write_bytes(json.dumps({**told, **change}).encode())
    assert catalogue.find(broken) is None


def test_a_long_command_is_shortened_in_a_list(made, catalogue):
    session = made.finished(command=["x" * 5000] * 20)
    assert json.loads(catalogue.find(session).told)["command"] == ["x" * 80 + "…"] * 16 + ["… 4 more"]
    assert json.loads(catalogue.receipt(session))["command"] == ["x" * 5000] * 20


def test_what_isn_t_there(made, catalogue):
    made.finished()
    for session in (id_at(NOON), id_at((1 << 48) - 1), "", "..", "x" * 36, id_at(NOON).upper()):
        assert catalogue.find(session) is None
        assert catalogue.receipt(session) is None
        assert catalogue.open(session) is None
    assert Catalogue(made.root / "2026").find(id_at(NOON)) is None


def test_other_names_are_passed_over(made, catalogue):
    session = made.finished()
    folder = made.cast(session).parent
    for name in ("x.json", f"{session}.json.new", "..json", f"{session}.cast.gz"):
        (folder / name).write_bytes(b"{}")
    for name in ("lost+found", "2026/13x", "20261/01/01", "2026/11/3"):
        (made.root / name).mkdir(parents=True)
    assert listed(catalogue) == [session]


def test_no_link_is_followed(made, catalogue, tmp_path):
    outside = Recordings(tmp_path / "outside")
    there = outside.finished(b"secret")
    session = made.finished()
    cast, receipt = made.cast(session), made.receipt(session)
    cast.unlink()
    cast.symlink_to(outside.cast(there))
    assert catalogue.open(session) is None
    content = receipt.read_bytes()
    receipt.unlink()
    (tmp_path / "receipt").write_bytes(content)
    receipt.symlink_to(tmp_path / "receipt")
    assert catalogue.find(session) is None
    other = made.finished(at=NOON - 400 * DAY)
    year = made.root / made.cast(other).relative_to(made.root).parts[0]
    year.rename(tmp_path / "year")
    year.symlink_to(tmp_path / "year")
    assert catalogue.find(other) is None
    assert listed(catalogue) == []


def test_what_is_no_file_is_none(made, catalogue):
    session = made.finished()
    made.cast(session).unlink()
    os.mkfifo(made.cast(session))
    assert catalogue.open(session) is None
    made.cast(session).unlink()
    made.cast(session).mkdir()
    assert catalogue.open(session) is None


def test_the_directory_itself_may_be_a_link(made, catalogue, tmp_path):
    session = made.finished(b"x")
    (tmp_path / "link").symlink_to(made.root)
    assert Catalogue(tmp_path / "link").find(session).id == session


@pytest.mark.parametrize("path", ["../secret", "a/../../secret", "", "/etc/passwd", "a//b", "."])
def test_no_path_leads_out(tmp_path, path):
    (tmp_path / "root" / "a").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"x")
    with pytest.raises(FileNotFoundError):
        open_file(tmp_path / "root", path)


def test_no_descriptor_is_left(made, catalogue, tmp_path):
    session = made.finished()
    made.running()
    before = os.listdir("/proc/self/fd")  # noqa: PTH208
    listed(catalogue)
    read_file(made.root, made.receipt(session).relative_to(made.root).as_posix(), 10)
    for path in ("2026/x/y", "2026/11/30", f"2026/11/30/{session}.cast/x"):
        with pytest.raises(FileNotFoundError):
            open_file(made.root, path)
    with pytest.raises(FileNotFoundError):
        open_folder(made.root, ("2026", ".."))
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


def test_thirty_thousand_take_no_more_memory_than_a_thousand(made, catalogue):
    folder = made.root / "2026/11/30"
    folder.mkdir(parents=True)
    for number in range(30_000):
        os.close(os.open(folder / f"{id_at(NOON + number)}.json", os.O_CREAT | os.O_WRONLY))
    walk = catalogue.walk(Wanted())
    tracemalloc.start()
    try:
        assert walk.take(100, 60) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert walk.skipped == 100
    assert peak < 2 * 1024 * 1024


def test_the_day_is_that_of_the_id(made):
    assert made.cast(id_at(NOON)).parent.relative_to(made.root).as_posix() == "2026/11/30"
    assert datetime.fromtimestamp(LATEST / 1000, UTC).year == 9999
