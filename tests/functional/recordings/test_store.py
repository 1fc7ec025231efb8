"""The store: a real S3 server, what it answers, and what is made of it; and servers that no real one would be."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import sys
from dataclasses import replace

import pytest
from support.objectstore import ACCESS, SECRET, always, liar, reply, s3_server, wire
from support.pki import Authority

from k8s_ws_proxy.errors import NotStored, StoreAway, StoreRefused, StoreUnusable
from k8s_ws_proxy.recordings import store as store_
from k8s_ws_proxy.recordings.store import PART, StoreSource, open_store
from k8s_ws_proxy.settings import StoreSettings

NAME = "2026/11/30/x.cast"


async def opened(settings):
    return await asyncio.to_thread(open_store, settings)


@pytest.fixture
async def store(s3):
    return await opened(s3.settings())


async def put(store, name, data):
    await store.put(name, io.BytesIO(data), len(data))


async def content(reading):
    return b"".join([data async for data in reading])


@contextlib.asynccontextmanager
async def lying(answer):
    """The store of a liar, and what it has seen."""
    async with liar(answer) as (settings, seen):
        yield await opened(settings), seen


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 70_000, PART, PART + 1, 2 * PART + 12345])
async def test_what_is_put_is_there(s3, store, size):
    data = os.urandom(size)
    await put(store, NAME, data)
    assert s3.objects() == {NAME: data}
    found = await store.head(NAME)
    assert (found.name, found.size) == (NAME, size)
    assert await content(store.read(NAME)) == data
    assert await store.holds(NAME, size, sha256(data))
    assert not await store.holds(NAME, size, sha256(data + b"x"))


async def test_who_reads_no_further_leaves_nothing_behind(store):
    await put(store, NAME, os.urandom(5_000_000))
    async with contextlib.aclosing(store.read(NAME)) as reading:
        assert await anext(reading)
    assert await store.head(NAME)


async def test_what_is_not_there(store):
    assert await store.head(NAME) is None
    assert not await store.holds(NAME, 0, sha256(b""))
    with pytest.raises(NotStored):
        await content(store.read(NAME))


async def test_a_list_is_of_a_path(store):
    names = {f"2026/11/{day}/{number}.cast" for day in ("29", "30") for number in range(3)} | {"2026/110/x.cast"}
    for name in names:
        await put(store, name, b"x")
    assert {found.name async for found in store.list()} == names
    assert {found.name async for found in store.list("2026/11")} == names - {"2026/110/x.cast"}
    assert [found.size async for found in store.list("2026/110")] == [1]
    assert [found async for found in store.list("2025")] == []


async def test_a_list_has_more_than_a_page(s3, store):
    directory = s3.object("2026/11/30")
    directory.mkdir(parents=True)
    for number in range(2500):
        (directory / f"{number}").touch()
    assert len([found async for found in store.list("2026")]) == 2500


async def test_no_such_bucket(s3, store):
    s3.bucket.rmdir()
    with pytest.raises(StoreRefused, match="no such bucket"):
        await put(store, NAME, b"x")


async def test_wrong_credentials_are_refused_and_new_ones_are_taken_from_the_secret(s3):
    source = StoreSource(s3.settings())

    async def now():
        return await asyncio.to_thread(source.store)

    s3.sign_as(ACCESS, "another-secret-that-is-wrong")
    with pytest.raises(StoreRefused, match=r"^the store answered 403 SignatureDoesNotMatch$"):
        await put(await now(), NAME, b"x")
    with pytest.raises(StoreRefused, match=r"^the store answered 403$"):
        await (await now()).head(NAME)
    before = await now()
    assert await now() is before
    s3.sign_as(ACCESS, SECRET)
    await put(await now(), NAME, b"x")
    assert await now() is not before


async def test_nobody_listens(s3, store):
    await s3.stop()
    with pytest.raises(StoreAway, match="no connection"):
        await put(store, NAME, b"x")
    await s3.start()
    await put(store, NAME, b"x")


async def test_a_connection_that_breaks_in_a_part_leaves_nothing(s3):
    async with wire(s3.port) as between:
        store = await opened(s3.settings(port=between.port))
        between.hold_after = PART + PART // 2
        putting = asyncio.get_running_loop().create_task(put(store, NAME, os.urandom(2 * PART)))
        await between.carried(PART + PART // 2)
        await s3.stop()
        between.cut()
        with pytest.raises(StoreAway):
            await putting
    assert s3.objects() == {}


def test_a_private_ca(tmp_path):
    settings = StoreSettings("s3://bucket", "https://127.0.0.1:1", ca_file=tmp_path / "ca.crt")
    with pytest.raises(StoreUnusable, match=r"can't be read \(No such file or directory\)"):
        open_store(settings)
    (tmp_path / "ca.crt").write_text("nonsense")
    with pytest.raises(StoreUnusable, match="with these options"):
        open_store(settings)


async def test_a_store_behind_a_private_ca(tmp_path):
    ours, other = Authority("ours", tmp_path), Authority("other", tmp_path)
    leaf = ours.leaf("store")
    async with s3_server(tmp_path, "--cert", str(leaf.cert), "--key", str(leaf.key)) as s3:
        settings = replace(s3.settings(), endpoint=f"https://127.0.0.1:{s3.port}")
        for ca in (None, other.file):
            with pytest.raises(StoreAway, match="certificate can't be verified"):
                await put(await opened(replace(settings, ca_file=ca)), NAME, b"data")
        assert s3.objects() == {}
        await put(await opened(replace(settings, ca_file=ours.file)), NAME, b"data")
        assert s3.objects() == {NAME: b"data"}


async def test_a_directory_is_a_store_too(tmp_path):
    store = await opened(StoreSettings(f"file://{tmp_path}/a/b"))
    await put(store, NAME, b"data")
    assert (tmp_path / "a" / "b" / NAME).read_bytes() == b"data"
    assert [found.name async for found in store.list("2026")] == [NAME]
    assert await content(store.read(NAME)) == b"data"
    assert await store.head("no") is None


@pytest.mark.parametrize("name", ["../x", "2026/../../x"])
async def test_a_name_leads_nowhere_else(s3, store, name):
    with pytest.raises(StoreRefused):
        await put(store, name, b"x")
    assert s3.objects() == {}


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(StoreUnusable, match=r"install k8s-ws-proxy\[store\]"):
        open_store(StoreSettings("s3://bucket"))


def secret(directory, **entries):
    for name, value in entries.items():
        (directory / name).write_bytes(value)
    return StoreSettings("s3://bucket/x", "https://s3.invalid", credentials_dir=directory)


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({}, "no entry such as AWS_ACCESS_KEY_ID"),
        ({"username": b"x"}, "no entry such as AWS_ACCESS_KEY_ID"),
        ({"AWS_ACCESS_KEY_ID": b"top-secret-value"}, r"\(Missing SecretAccessKey\)"),
        ({"AWS_NONSENSE": b"top-secret-value"}, r"\(Configuration key: 'aws_nonsense'\)"),
        ({"GOOGLE_SERVICE_ACCOUNT_KEY": b"top-secret-value"}, r"\(Configuration key: 'google_service_account_key'\)"),
        ({"AWS_ACCESS_KEY_ID": b"\xff\xfe"}, "aren't UTF-8"),
        ({"AWS_ACCESS_KEY_ID": b"x" * 70_000}, "too large"),
        ({"AWS_ALLOW_HTTP": b"top-secret-value"}, "with these options"),
    ],
)
def test_credentials_that_are_none(tmp_path, entries, told):
    with pytest.raises(StoreUnusable, match=told) as caught:
        open_store(secret(tmp_path, **entries))
    assert "top-secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_secret_that_is_not_mounted(tmp_path):
    with pytest.raises(StoreUnusable, match=r"can't be read \(No such file or directory\)"):
        open_store(secret(tmp_path / "no"))


def test_a_google_key_is_no_secret_of_a_message(tmp_path):
    (tmp_path / "GOOGLE_SERVICE_ACCOUNT_KEY").write_text('{"private_key": 12345678901, "type": "top-secret-value"}')
    with pytest.raises(StoreUnusable) as caught:
        open_store(StoreSettings("gs://bucket", credentials_dir=tmp_path))
    assert "top-secret" not in str(caught.value)
    assert "1234" not in str(caught.value)


# What no real server does, at a socket of our own.


async def test_accepts_and_loses():
    async def answer(line):
        yield reply("200 OK" if line.startswith(b"PUT") else "404 Not Found", "Content-Length: 0")

    async with lying(answer) as (store, _seen):
        await put(store, NAME, b"data")
        assert not await store.holds(NAME, 4, sha256(b"data"))


async def test_200_with_other_bytes_of_the_same_length():
    async def answer(line):
        if line.startswith(b"GET"):
            yield reply("200 OK", "Content-Length: 4", body=b"atad")
        else:
            yield reply("200 OK", "Content-Length: 4")

    async with lying(answer) as (store, _seen):
        assert not await store.holds(NAME, 4, sha256(b"data"))
        assert await store.holds(NAME, 4, sha256(b"atad"))


async def test_an_answer_without_an_end_is_not_read_to_it():
    gigabyte = 1 << 30
    pieces = 0

    async def answer(line):
        nonlocal pieces
        if line.startswith(b"HEAD"):
            yield reply("200 OK", "Content-Length: 4")
            return
        yield reply("200 OK", f"Content-Length: {gigabyte}")
        while True:
            pieces += 1
            yield bytes(1 << 20)

    async with lying(answer) as (store, _seen):
        assert not await store.holds(NAME, 4, sha256(b"data"))
    assert pieces < 64


async def test_byte_by_byte(monkeypatch):
    """Not for ever, however often a byte comes."""
    monkeypatch.setattr(store_, "_PATIENCE", 0.5)

    async def answer(line):
        yield reply("200 OK", "Content-Length: 4000")
        while line.startswith(b"GET"):
            yield b"x"
            await asyncio.sleep(0.01)

    async with lying(answer) as (store, _seen):
        with pytest.raises(StoreAway, match="in time"):
            await store.holds(NAME, 4000, sha256(b"data"))


@pytest.mark.parametrize("sent", [b"dat", b"data and more"])
async def test_another_length_than_was_said(sent):
    async def answer(line):
        if line.startswith(b"HEAD"):
            yield reply("200 OK", "Content-Length: 4")
        else:
            yield reply("200 OK", "Transfer-Encoding: chunked", body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(sent), sent))

    async with lying(answer) as (store, _seen):
        with pytest.raises(StoreAway):
            await store.holds(NAME, 4, sha256(b"data"))


async def test_a_redirect_takes_neither_the_recording_nor_the_credentials_elsewhere():
    async with lying(always(reply("200 OK", "Content-Length: 0"))) as (other, elsewhere):
        port = other._inner.config["endpoint"].rpartition(":")[2]
        location = f"Location: http://localhost:{port}/elsewhere"
        async with lying(always(reply("307 Temporary Redirect", location, "Content-Length: 0"))) as (store, seen):
            with pytest.raises(StoreRefused, match="307"):
                await put(store, NAME, b"what was recorded")
            assert seen
            with contextlib.suppress(StoreRefused, StoreAway):
                await store.head(NAME)
        told = b"".join(elsewhere)
        assert b"what was recorded" not in told
        assert b"the-access-key" not in told
        assert b"PUT" not in told


@pytest.mark.parametrize(
    ("status", "body", "kind", "told"),
    [
        ("500 Internal Server Error", b"", StoreAway, "the store answered 500"),
        ("503 Slow Down", b"<Error><Code>SlowDown</Code></Error>", StoreAway, "the store answered 503 SlowDown"),
        ("507 Insufficient Storage", b"", StoreAway, "the store answered 507"),
        ("400 Bad Request", b"<Code>EntityTooLarge</Code>", StoreRefused, "the store answered 400 EntityTooLarge"),
        ("403 Forbidden", b"<StringToSign>the-secret-key</StringToSign>", StoreRefused, "the store answered 403"),
        ("200 OK\r\nnonsense", b"", StoreAway, "the store can't be reached: "),
    ],
)
async def test_what_becomes_of_an_answer(monkeypatch, status, body, kind, told):
    monkeypatch.setattr(store_, "_RETRIES", 0)
    async with lying(always(reply(status, f"Content-Length: {len(body)}", body=body))) as (store, _seen):
        with pytest.raises(kind) as caught:
            await put(store, NAME, b"x")
    assert str(caught.value).startswith(told)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__
