"""``k8s-ws-proxy recordings`` on what is in the store, without a proxy."""

from __future__ import annotations

import asyncio
import json

import pytest
from support.archive import NOON, Recordings, cast_of, id_at
from support.command import Client

DAY = 86_400_000
STORE = ("--store", "s3://bucket/all/of/it")


@pytest.fixture
def archive(s3):
    """The objects, as files that the server has: put there before it was asked anything."""
    return Recordings(s3.object(""))


@pytest.fixture
def client(s3, tmp_path):
    environ = {name: value for name, value in s3.environ().items() if name != "RECORDING_STORE"}
    return Client("", None, tmp_path, "recordings", **environ)


def ids(stdout):
    return [each["sessionId"] for each in json.loads(stdout)["recordings"]]


async def test_the_list(client, archive):
    old = archive.finished(at=NOON - 400 * DAY, user="bob")
    before = archive.finished(at=NOON - DAY, namespace="kube-system")
    some = [archive.finished(at=NOON + second) for second in range(3)]
    every = [*reversed(some), before, old]
    for words, found in (
        ((), every),
        (("-n", "default", "--user", "bob"), [old]),
        (("--from", "2026-11-30"), every[:3]),
        (("--from", "2026-11-29", "--to", "2026-11-30"), [before]),
        (("--limit", "2"), every[:2]),
    ):
        status, stdout, stderr = await client.run("list", "-o", "json", *words, *STORE)
        assert (status, ids(stdout), stderr) == (0, found, ""), words
        assert json.loads(stdout)["more"] == ("--limit" in words)
    status, stdout, _ = await client.run("list", *STORE)
    assert status == 0
    assert [line.split()[0] for line in stdout.decode().splitlines()[1:]] == every


async def test_a_day_with_more_than_are_kept_at_once(client, archive):
    found = archive.many(2500)
    status, stdout, _ = await client.run("list", "-o", "json", "--limit", "2400", *STORE)
    assert status == 0
    assert ids(stdout) == found[::-1][:2400]


async def test_what_is_none_of_ours_is_left_out(client, archive):
    session = archive.finished()
    cast = archive.cast(session)
    archive.receipt(archive.finished()).write_bytes(b"{}")
    archive.receipt(archive.finished()).write_bytes(b"x" * 2_000_000)
    for name in ("x.json", f"{session}.json.json", ".json", "notes/2026.json"):
        (cast.parent / name).parent.mkdir(exist_ok=True)
        (cast.parent / name).write_text("{}")
    (archive.root / "lost+found" / "11").mkdir(parents=True)
    (archive.root / "lost+found" / "11" / "x.json").write_text("{}")
    status, stdout, stderr = await client.run("list", "-o", "json", *STORE)
    assert (status, ids(stdout)) == (0, [session])
    assert "2 couldn't be read" in stderr


async def test_get_with_its_receipt_and_verify(client, archive, tmp_path):
    data = cast_of(*(b"line %d\r\n" % number for number in range(50_000)))
    session = archive.finished(data)
    into = tmp_path / "x.cast"
    assert await client.run("get", session, "-o", str(into), "--receipt", *STORE) == (0, b"", "")
    assert into.read_bytes() == data
    (tmp_path / "secret").write_bytes(archive.secret)
    status, stdout, _ = await client.run("verify", str(into), "--secret-file", str(tmp_path / "secret"))
    assert status == 0, stdout
    assert await client.run("get", session, "-o", "-", *STORE) == (0, data, "")


async def test_verify_what_is_in_the_store(client, archive, tmp_path):
    session, changed, unsealed = (archive.finished(cast_of(b"line\r\n" * 50_000)) for _ in range(3))
    with archive.cast(changed).open("ab") as file:
        file.write(b"# one more\n")
    archive.receipt(unsealed).unlink()
    key = tmp_path / "secret"
    key.write_bytes(archive.secret)

    async def verified(*words):
        status, stdout, stderr = await client.run("verify", *words)
        return status, stdout.decode() + stderr

    good = (0, f"{session}: the recording and its receipt are as the proxy wrote them.\n")
    assert await verified(session, "--secret-file", str(key), *STORE) == good
    assert await verified(session, "--secret-file", str(key), "--dir", str(archive.root)) == good
    for where in (STORE, ("--dir", str(archive.root))):
        status, text = await verified(changed, "--secret-file", str(key), *where)
        assert (status, f"{changed}: the recording was changed" in text) == (1, True), text
        for words, said in (
            ((session,), "no key was given"),
            ((unsealed,), "there is no receipt"),
            ((id_at(NOON - DAY),), "there is no receipt"),
            (("x.cast",), "name a session's id"),
            ((session, "--receipt", "x.json"), "name a session's id"),
            ((session, "--secret-file", str(tmp_path / "none")), "none"),
            ((session, "--dir", "x", "--store", "s3://bucket/x"), "leave the other options out"),
        ):
            status, text = await verified(*words, *where)
            assert (status, said in text) == (2, True), (words, text)


async def test_play_and_export(client, archive):
    session = archive.finished(cast_of(b"hello\r\n"))
    status, stdout, _ = await client.run("export", session, "--format", "text", *STORE)
    assert (status, stdout) == (0, b"hello\n")
    status, stdout, _ = await client.run("play", session, "-i", "0.01", *STORE)
    assert status == 0
    assert b"hello" in stdout
    status, _, stderr = await client.run("play", session, "--follow", *STORE)
    assert status == 1
    assert "what is in the store is finished" in stderr


async def test_what_is_not_there(client, tmp_path):
    for words in (("get", id_at(NOON), "-o", str(tmp_path / "x.cast")), ("play", id_at(NOON))):
        status, _, stderr = await client.run(*words, *STORE)
        assert status == 1
        assert "there is no recording" in stderr
    assert not list(tmp_path.glob("x*"))
    status, _, stderr = await client.run("list", *STORE)
    assert status == 0
    assert "there are no recordings" in stderr


async def test_a_store_that_does_not_answer_or_refuses(client, s3, archive):
    archive.finished()
    s3.sign_as("ACCESSKEYACCESSK", "wrong")
    status, _, stderr = await client.run("list", *STORE)
    assert status == 1
    assert "the store answered 403" in stderr
    await s3.stop()
    status, _, stderr = await client.run("list", *STORE)
    assert status == 1
    assert "the store can't be reached: no connection to it" in stderr


async def test_the_status_is_the_command_s_however_busy_the_library_is(client, s3):
    await s3.stop()
    ended = await asyncio.gather(*(client.run("list", *STORE) for _ in range(12)))
    assert {status for status, _, _ in ended} == {1}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--store", "https://bucket"), "RECORDING_STORE must be s3://BUCKET/PREFIX"),
        (("--store", ""), "--store names no store"),
        ((*STORE, "--dir", "/tmp"), "--dir reads from a directory and asks nobody"),
        ((*STORE, "--url", "http://127.0.0.1:1"), "--store reads from the store and asks no proxy"),
    ],
)
async def test_what_can_not_be_meant(client, words, told):
    status, _, stderr = await client.run("list", *words)
    assert status != 0
    assert told in stderr
