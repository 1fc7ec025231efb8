"""Recordings are taken to a real S3 server, whatever it does; and nothing is removed here that isn't there."""

from __future__ import annotations

import asyncio
import io
import os
import threading

import pytest
from support.objectstore import ACCESS, SECRET, always, liar, reply, s3_server, wire
from support.waiting import Site, uploading

from k8s_ws_proxy.errors import StoreRefused
from k8s_ws_proxy.observe.metrics import RECORDING_UPLOADS, RECORDINGS_WAITING, RECORDINGS_WAITING_OLDEST
from k8s_ws_proxy.recordings import uploads as uploads_
from k8s_ws_proxy.recordings.paths import path_of, receipt_of
from k8s_ws_proxy.recordings.store import Store, open_store
from k8s_ws_proxy.recordings.uploads import LARGE
from k8s_ws_proxy.recordings.waiting import Unfit, Waiting


@pytest.fixture
async def site(tmp_path):
    return Site(tmp_path / "recordings")


async def opened(settings):
    return await asyncio.to_thread(open_store, settings)


@pytest.fixture
def quick(monkeypatch):
    """Little patience between attempts, and none with the directory."""
    monkeypatch.setattr(uploads_, "_backed_off", lambda _times, _longest: 0.05)


@pytest.fixture
def counted():
    """How often each outcome has been counted during the test."""

    def now():
        return {
            labels["outcome"]: sample.value
            for sample in RECORDING_UPLOADS.collect()[0].samples
            if (labels := sample.labels) and sample.name.endswith("_total")
        }

    before = now()
    return lambda outcome: now()[outcome] - before[outcome]


async def test_stored_as_it_is_and_kept(s3, site, counted):
    sessions = [site.write(size) for size in (0, 1, 50_000, LARGE, 6_000_000)]
    files = site.files(*sessions)
    async with uploading(site, s3.settings()):
        await site.became("stored", *sessions)
    assert s3.objects() == files
    assert site.files(*sessions) == files
    assert all(site.states(session) == {"kept"} for session in sessions)
    assert counted("stored") == 5


async def test_one_that_comes_later(s3, site):
    async with uploading(site, s3.settings()) as uploads:
        await site.became("stored", site.write())
        session = site.write()
        uploads.wake()
        await site.became("stored", session)


async def test_the_receipt_comes_after_the_recording(s3, site, monkeypatch):
    """Who finds a receipt in the store finds its recording."""
    names, put = [], Store.put

    async def told(store, name, file, size):
        names.append(name)
        await put(store, name, file, size)

    monkeypatch.setattr(Store, "put", told)
    async with uploading(site, s3.settings()):
        session = site.write()
        await site.became("stored", session)
    assert names == [path_of(session), receipt_of(path_of(session))]


async def test_removed_when_it_was_kept_long_enough(s3, site):
    young, old = site.write(), site.write()
    async with uploading(site, s3.settings()):
        await site.became("stored", young, old)
    site.age(old, 3700)
    site.age(young, 3500)
    async with uploading(site, s3.settings()):
        await site.became("forgotten", old)
    assert site.files(old) == {}
    assert site.states(old) == set()
    assert len(site.files(young)) == 2
    assert site.states(young) == {"kept"}
    assert len(s3.objects()) == 4


async def test_what_is_kept_is_not_looked_at_with_each_that_comes(s3, site):
    """There may be an hour's."""
    async with uploading(site, s3.settings()) as uploads:
        for _ in range(20):
            session = site.write()
            uploads.wake()
            await site.became("stored", session)
    assert [what for what, _ in site.seen].count("looked at what is kept") <= 2


async def test_the_time_to_keep_is_over_while_it_runs(s3, site):
    session = site.write()
    async with uploading(site, s3.settings(keep=0.5)):
        await site.became("forgotten", session)
    assert site.files(session) == {}
    assert len(s3.objects()) == 2


@pytest.fixture(params=["may list the bucket", "may not"])
def rights(request, monkeypatch):
    """S3 says 403 of what isn't there to who may not list the bucket (Amazon S3 API, HeadObject)."""
    if request.param == "may not":
        head = Store.head

        async def refused(store, name):
            if (found := await head(store, name)) is None:
                raise StoreRefused("403")
            return found

        monkeypatch.setattr(Store, "head", refused)


@pytest.mark.usefixtures("rights")
@pytest.mark.parametrize("gone", [".cast", ".json"])
async def test_what_the_store_has_lost_is_stored_again(s3, site, gone, counted):
    session = site.write()
    async with uploading(site, s3.settings()):
        await site.became("stored", session)
    files = s3.objects()
    store = await opened(s3.settings())
    await store._library.delete_async(store._inner, path_of(session).replace(".cast", gone))
    site.age(session, 4000)
    async with uploading(site, s3.settings()):
        await site.became("lost", session)
        await site.happened("stored", 2)
    assert s3.objects() == files == site.files(session)
    assert site.states(session) == {"kept"}
    assert counted("lost") == 1


async def test_what_a_store_has_that_refuses_everything_is_not_taken_for_lost(s3, site, quick, counted):
    kept = site.write()
    async with uploading(site, s3.settings()):
        await site.became("stored", kept)
    site.age(kept, 4000)
    s3.sign_as(ACCESS, "wrong")
    async with uploading(site, s3.settings()):
        await site.until(lambda: counted("refused") >= 3)
        assert site.states(kept) == {"kept"}
        s3.sign_as(ACCESS, SECRET)
        await site.became("forgotten", kept)
    assert counted("lost") == 0


async def test_what_was_cut_short_in_the_store_is_stored_again(s3, site):
    session = site.write()
    async with uploading(site, s3.settings()):
        await site.became("stored", session)
    files = s3.objects()
    await (await opened(s3.settings())).put(path_of(session), io.BytesIO(b"short"), 5)
    site.age(session, 4000)
    async with uploading(site, s3.settings()):
        await site.became("lost", session)
        await site.happened("stored", 2)
    assert s3.objects() == files


async def test_while_the_store_is_away_nothing_is_removed(s3, site, quick):
    session, kept = site.write(), site.write(state="kept")
    site.age(kept, 4000)
    await s3.stop()
    async with uploading(site, s3.settings()):
        await site.happened("tried", 3)
        assert len(site.files(session, kept)) == 4
        await s3.start()
        await site.became("stored", session)
        await site.became("lost", kept)  # it never was there
        await site.became("stored", kept)
    assert s3.objects() == site.files(session, kept)


async def test_a_thousand_after_an_outage(s3, site, monkeypatch):
    sessions = [site.write() for _ in range(1000)]
    await s3.stop()
    async with wire(s3.port) as between, uploading(site, s3.settings(port=between.port)) as uploads:
        await site.happened("away", 2)
        # Four at the first time, then one that asks whether the store is back, and not one for each that waits.
        assert len([what for what, _ in site.seen if what == "tried"]) <= 6
        assert RECORDINGS_WAITING._value.get() == 1000
        await s3.start()
        uploads._paused_until = 0
        monkeypatch.setattr(uploads_, "_backed_off", lambda _times, _longest: 0.05)
        uploads.wake()
        await site.became("stored", *sessions)
        await site.until(lambda: not RECORDINGS_WAITING._value.get())
    assert s3.objects() == site.files(*sessions)
    assert between.connections < 100


async def test_a_crowd_holds_up_nobody(s3, site):
    """Others have their turns meanwhile, many for each recording. What blocks a turn, the tests' detector finds."""
    sessions = [site.write() for _ in range(300)]
    done = asyncio.get_running_loop().create_task(site.became("stored", *sessions))
    turns = 0
    async with uploading(site, s3.settings()):
        while not done.done():
            await asyncio.sleep(0)
            turns += 1
    assert turns > 10 * len(sessions)


async def test_large_ones_hold_up_no_small_ones(s3, site):
    async with wire(s3.port) as between:
        between.hold_after = 500_000
        large = [site.write(8_000_000) for _ in range(3)]
        async with uploading(site, s3.settings(port=between.port)) as uploads:
            await between.carried(500_000)
            small = [site.write() for _ in range(5)]
            uploads.wake()
            await site.became("stored", *small)
            assert not {("stored", each) for each in large} & set(site.seen)
            between.hold_after = 0
            between.released.set()
            await site.became("stored", *large)


async def test_killed_in_the_middle_of_a_part(s3, site, quick):
    session = site.write(12_000_000)
    async with wire(s3.port) as between:
        between.hold_after = 7_000_000
        async with uploading(site, s3.settings(port=between.port)):
            await between.carried(7_000_000)
            await s3.stop()
            between.cut()
            assert s3.objects() == {}
            between.hold_after = 0
            await s3.start()
            await site.became("stored", session)
    assert s3.objects() == site.files(session)


async def test_wrong_credentials_until_they_are_right(s3, site, quick, counted):
    sessions = [site.write() for _ in range(10)]
    s3.sign_as(ACCESS, "wrong")
    async with uploading(site, s3.settings()):
        await site.happened("tried", 6)
        assert s3.objects() == {}
        s3.sign_as(ACCESS, SECRET)
        await site.became("stored", *sessions)
    assert s3.objects() == site.files(*sessions)
    assert counted("refused") >= 3


async def test_a_secret_that_is_not_there_yet(s3, site, quick):
    session = site.write()
    for entry in s3.credentials.iterdir():
        entry.unlink()
    async with uploading(site, s3.settings()):
        await site.happened("away")
        s3.sign_as(ACCESS, SECRET)
        await site.became("stored", session)


def vanished(site, session):
    (site.root / path_of(session)).unlink()


def without_receipt(site, session):
    (site.root / receipt_of(path_of(session))).unlink()


def changed(site, session):
    with (site.root / path_of(session)).open("r+b") as file:
        file.write(b"x")


def longer(site, session):
    with (site.root / path_of(session)).open("ab") as file:
        file.write(b"x")


def replaced_by_a_link(site, session):
    cast = site.root / path_of(session)
    elsewhere = site.root.with_name("elsewhere")
    cast.rename(elsewhere)
    cast.symlink_to(elsewhere)


def a_day_that_is_a_link(site, session):
    day = (site.root / path_of(session)).parent
    elsewhere = site.root.with_name("elsewhere")
    elsewhere.mkdir()
    for name in (f"{session}.cast", f"{session}.json"):
        (day / name).rename(elsewhere / name)
    (site.root / "1999").symlink_to(elsewhere)
    other = site.root / "day"
    day.rename(other)
    day.symlink_to(elsewhere)


def a_fifo(site, session):
    vanished(site, session)
    os.mkfifo(site.root / path_of(session))


def another_receipt(site, session):
    other = site.write(state="open")
    (site.root / receipt_of(path_of(session))).write_bytes(site.files(other)[receipt_of(path_of(other))])


def no_receipt(site, session):
    (site.root / receipt_of(path_of(session))).write_bytes(b"{}")


WRONG = [
    vanished,
    without_receipt,
    changed,
    longer,
    replaced_by_a_link,
    a_day_that_is_a_link,
    a_fifo,
    another_receipt,
    no_receipt,
]


@pytest.mark.parametrize("what", WRONG)
async def test_one_that_is_not_for_the_store_holds_up_no_other(s3, site, what):
    bad = site.write()
    what(site, bad)
    async with uploading(site, s3.settings()) as uploads:
        await site.became("unfit", bad)
        if what is a_day_that_is_a_link:
            (site.root / path_of(bad)).parent.unlink()
        good = [site.write() for _ in range(5)]
        uploads.wake()
        await site.became("stored", *good)
    assert s3.objects() == site.files(*good)
    if what is not a_day_that_is_a_link:  # its recording is gone since then, which is found out at some time
        assert site.states(bad) == {"waiting"}


async def test_one_that_was_removed_waits_for_nothing(s3, site, counted):
    session = site.write()
    vanished(site, session)
    without_receipt(site, session)
    async with uploading(site, s3.settings()):
        await site.became("forgotten", session)
    assert site.states(session) == set()
    assert counted("gone") == 1
    assert s3.objects() == {}


async def test_what_the_store_refuses_for_its_own_sake_holds_up_no_other(s3, site):
    bad = site.write()
    s3.object(path_of(bad)).mkdir(parents=True)  # a directory there, for the server that keeps objects as files
    good = [site.write() for _ in range(20)]
    async with uploading(site, s3.settings()):
        await site.became("stored", *good)
    assert site.states(bad) == {"waiting"}


async def test_names_that_are_not_ours_are_left_alone(s3, site):
    for name in ("x", "..x", "01890a5d-ac96-774b-bcce-b302099a8057.new", "0" * 255):
        (site.own / "waiting" / name).touch()
        (site.own / "kept" / name).touch()
    session = site.write()
    async with uploading(site, s3.settings(keep=0)):
        await site.became("forgotten", session)
    assert len(list((site.own / "waiting").iterdir())) == len(list((site.own / "kept").iterdir())) == 4


async def test_a_link_in_the_place_of_an_entry_harms_nothing(s3, site, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("data")
    session = site.write()
    entry = site.own / "waiting" / session
    entry.unlink()
    entry.symlink_to(precious)
    async with uploading(site, s3.settings(keep=0)):
        await site.became("forgotten", session)
    assert precious.read_text() == "data"


async def test_nothing_is_removed_through_a_link(s3, site, tmp_path):
    session = site.write()
    async with uploading(site, s3.settings()):
        await site.became("stored", session)
    site.age(session, 4000)
    day = (site.root / path_of(session)).parent
    day.rename(tmp_path / "elsewhere")
    day.symlink_to(tmp_path / "elsewhere")
    async with uploading(site, s3.settings()):
        await site.became("unfit", session)
    assert len(list((tmp_path / "elsewhere").iterdir())) == 2


async def test_a_day_that_becomes_a_link_meanwhile_is_not_taken_for_removed(site, tmp_path):
    session, waiting = site.write(state="kept"), Waiting(site.root, site.own)
    sealed = await asyncio.to_thread(waiting.sealed, session)
    day = (site.root / path_of(session)).parent
    day.rename(tmp_path / "elsewhere")
    day.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unfit):
        await asyncio.to_thread(waiting.remove, sealed, session)
    assert site.states(session) == {"kept"}
    assert len(list((tmp_path / "elsewhere").iterdir())) == 2


async def test_the_next_daemon_goes_on(s3, site, tmp_path):
    """What a daemon was killed over is in its directory, as the next one takes it over: by a rename."""
    waits, kept, again = site.write(), site.write(state="kept"), site.write()
    async with uploading(site, s3.settings()):
        await site.became("stored", waits, again)
    (site.own / "kept" / again).rename(site.own / "waiting" / again)  # killed before it could say that it was there
    site.age(waits, 4000)
    site.age(kept, 10)
    late = site.write()
    new = Site(tmp_path / "recordings", "fedcba9876543210")
    for state in ("waiting", "kept"):
        for entry in (site.own / state).iterdir():
            entry.rename(new.own / state / entry.name)
    async with wire(s3.port) as between, uploading(new, s3.settings(port=between.port)):
        await new.became("stored", late, again)
        await new.became("forgotten", waits)
        assert between.sent < 20_000
    assert new.states(kept) == {"kept"}
    assert new.files(waits) == {}


async def test_what_comes_back_as_something_else_stays_here(site, quick):
    """It says yes to everything, and has other bytes."""
    session = site.write(5)

    async def answer(line):
        length = "Content-Length: " + ("0" if line.startswith(b"PUT") else "5")
        yield reply("200 OK", length, body=b"other" if line.startswith(b"GET") else b"")

    async with liar(answer) as (settings, _seen), uploading(site, settings):
        await site.became("different", session)
        await site.happened("away")
    assert site.states(session) == {"waiting"}
    assert len(site.files(session)) == 2


async def test_who_takes_and_forgets_is_believed_nothing(site, quick):
    session = site.write(5)

    async def answer(line):
        yield reply("200 OK" if line.startswith(b"PUT") else "404 Not Found", "Content-Length: 0")

    async with liar(answer) as (settings, seen), uploading(site, settings):
        await site.became("different", session)
    assert any(head.startswith(b"PUT") for head in seen)
    assert site.states(session) == {"waiting"}


async def test_who_may_not_ask_what_is_not_there_may_store(site):
    """S3 answers 403 in the place of 404 to who may not list the bucket."""
    session = site.write(5)
    stored = {}

    async def answer(line):
        method, path, _ = line.split()
        body = site.files(session)[path.decode().removeprefix("/bucket/x/")]
        if method == b"PUT":
            stored[path] = body
            yield reply("200 OK", "Content-Length: 0")
        elif path in stored:
            yield reply("200 OK", f"Content-Length: {len(body)}", body=body if method == b"GET" else b"")
        else:
            yield reply("403 Forbidden", "Content-Length: 0")

    async with liar(answer) as (settings, _seen), uploading(site, settings):
        await site.became("stored", session)
    assert len(stored) == 2


async def test_an_endless_answer_holds_up_no_end(site, monkeypatch):
    monkeypatch.setattr(uploads_, "_LAST_CHANCE", 0.1)
    session = site.write(5)
    endless = always(b"HTTP/1.1 200 OK\r\nX: ", *[b"x" * 1000] * 10)
    async with liar(endless) as (settings, _seen), uploading(site, settings):
        await site.became("tried", session)
    assert site.states(session) == {"waiting"}


@pytest.mark.netns
async def test_out_of_space(tmp_path, site, quick):
    """A large one doesn't fit into the server's disk of 4 MiB, and holds up no small one; later it does."""
    async with s3_server(tmp_path / "other", space="4m") as s3:
        large = site.write(6_000_000)
        small = [site.write() for _ in range(5)]
        async with uploading(site, s3.settings()):
            await site.became("stored", *small)
            await site.until(lambda: {what for what, which in site.seen if which == large} & {"refused", "store_away"})
            assert site.states(large) == {"waiting"}
            assert len(site.files(large)) == 2
            s3.grow("64m")
            await site.became("stored", large)
        assert s3.objects() == site.files(large, *small)


async def test_what_waits_is_stored_when_the_daemon_ends(s3, site):
    async with uploading(site, s3.settings()) as uploads:
        await site.became("stored", site.write())
        last = [site.write() for _ in range(20)]  # nobody wakes it
        await uploads.close()
    assert all(site.states(session) == {"kept"} for session in last)


async def test_an_end_waits_for_no_store_that_is_away(s3, site):
    session = site.write()
    await s3.stop()
    async with uploading(site, s3.settings()):
        await site.became("tried", session)
    assert site.states(session) == {"waiting"}


async def test_an_end_in_the_middle_of_a_large_one(s3, site, monkeypatch):
    monkeypatch.setattr(uploads_, "_LAST_CHANCE", 0.1)
    session = site.write(12_000_000)
    async with wire(s3.port) as between:
        between.hold_after = 1_000_000
        async with uploading(site, s3.settings(port=between.port)):
            await between.carried(1_000_000)
    assert site.states(session) == {"waiting"}
    assert s3.objects() == {}
    async with uploading(site, s3.settings()):
        await site.became("stored", session)


async def test_a_disk_that_hangs_holds_up_no_end(s3, site, monkeypatch):
    monkeypatch.setattr(uploads_, "_LAST_CHANCE", 0.1)
    comes_back, take = threading.Event(), site.take

    def hanging(session):
        taken = take(session)
        comes_back.wait()
        return taken

    monkeypatch.setattr(site, "take", hanging)
    session = site.write()
    async with uploading(site, s3.settings()):
        await site.became("tried", session)
    comes_back.set()
    assert site.states(session) == {"waiting"}


async def test_how_many_wait_and_since_when(s3, site):
    await s3.stop()
    sessions = [site.write() for _ in range(3)]
    site.age(sessions[1], 500, "waiting")
    async with uploading(site, s3.settings()) as uploads:
        await site.happened("tried")
        (family,) = RECORDINGS_WAITING_OLDEST.collect()
        assert 500 <= family.samples[0].value < 600
        assert RECORDINGS_WAITING._value.get() == 3
        await s3.start()
        uploads._paused_until = 0
        uploads.wake()
        await site.became("stored", *sessions)
        await site.until(lambda: uploads._oldest is None)
        assert RECORDINGS_WAITING._value.get() == 0
        (family,) = RECORDINGS_WAITING_OLDEST.collect()
        assert family.samples[0].value == 0


async def test_a_directory_that_is_taken_away_and_comes_back(s3, site, quick, tmp_path):
    async with uploading(site, s3.settings()) as uploads:
        await site.became("stored", site.write())
        session = site.write()
        site.root.rename(tmp_path / "away")
        uploads.wake()
        await site.happened("away")
        (tmp_path / "away").rename(site.root)
        await site.became("stored", session)


def test_waits_double_and_are_bounded():
    for times in range(1, 100):
        most = min(60.0, 2.0 ** (times - 1))
        waits = [uploads_._backed_off(times, 60.0) for _ in range(50)]
        assert all(most / 2 <= wait <= most for wait in waits)
        assert len(set(waits)) > 1


@pytest.mark.parametrize("options", [("--read-only",)])
async def test_a_store_that_may_not_be_written_to(tmp_path, site, quick, options):
    async with s3_server(tmp_path / "other", *options) as s3:
        session = site.write()
        async with uploading(site, s3.settings()):
            await site.happened("tried", 2)
        assert site.states(session) == {"waiting"}
        assert len(site.files(session)) == 2
