"""The routes for recordings on a running daemon: listed, read whole and in parts, followed, replayed with a ticket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import uuid
from urllib.parse import quote

import pytest
import pytest_asyncio
from support import rawws
from support.archive import NOON, Recordings, cast_of, id_at
from support.caller import Lines, at_rest, memory, refusal_of
from support.daemon import running_daemon
from support.sessions import call

from k8s_ws_proxy.observe import tasks
from k8s_ws_proxy.recordings.directory import DAEMONS

PATH = "/proxy/recordings"
NOBODYS = str(uuid.UUID("01980000-0000-7000-8000-000000000000"))
LONG = cast_of(*(b"line %06d of what was shown\r\n" % number for number in range(3000)))


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("recordings")


@pytest.fixture
def made(root):
    """Nothing is in it but what its daemon keeps there."""
    for path in (*root.glob("[0-9]*"), root / DAEMONS / "one"):
        shutil.rmtree(path, ignore_errors=True)
    return Recordings(root)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(shared_cluster, tmp_path_factory, root):
    directory = tmp_path_factory.mktemp("daemon")
    kubeconfig = shared_cluster.write_kubeconfig(directory / "kubeconfig", "proxy")
    more = {"NODE_NAME": "node-a", "ALLOWED_ORIGINS": "https://console.example"}
    async with running_daemon(kubeconfig, directory, RECORDING_DIR=str(root), **more) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def start(shared_cluster, tmp_path, root):
    async with contextlib.AsyncExitStack() as stack:
        kubeconfig = shared_cluster.write_kubeconfig(tmp_path / "kubeconfig", "proxy")

        async def start_(**environ):
            environ = {"RECORDING_DIR": str(root), **environ}
            return await stack.enter_async_context(running_daemon(kubeconfig, tmp_path, **environ))

        yield start_


def reason_of(answer):
    return refusal_of(answer, PATH)[1]


def request(daemon, target, method="GET", more=None, **who):
    lines = [f"{method} {target} HTTP/1.1", "Host: proxy"]
    headers = {**daemon.headers_v2(target, method=method, **who), **(more or {})}
    return ("\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items())]) + "\r\n\r\n").encode()


def with_ticket(daemon, target, ticket, method="GET", **more):
    headers = {"Authorization": f"Bearer {ticket}", **more}
    lines = [f"{method} {target} HTTP/1.1", "Host: proxy", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def ask(daemon, data):
    async with rawws.connected(daemon.port, data) as ws:
        return ws.answer


async def read(daemon, session, **more):
    return await ask(daemon, request(daemon, f"{PATH}/{session}", more=more))


async def listed(daemon, query="", **who):
    answer = await call(daemon, "GET", PATH + query, **who)
    assert answer.status == 200, answer
    return json.loads(answer.body)


async def ticket_for(daemon, session, **body):
    answer = await call(daemon, "POST", f"{PATH}/{session}/ticket", body)
    assert answer.status == 201, answer
    told = json.loads(answer.body)
    daemon.confidential.add(told["ticket"])
    return told


async def test_a_recording_as_it_is(daemon, made):
    session = made.finished(LONG)
    answer = await read(daemon, session)
    assert (answer.status, answer.body) == (200, LONG)
    headers = answer.headers
    assert headers["content-type"] == "application/x-asciicast"
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["accept-ranges"] == "bytes"
    assert headers["x-session-id"] == session
    assert headers["connection"] == "close"
    line = await daemon.event("recording read", session=session)
    assert (line["namespace"], line["mode"], line["name"]) == ("default", "rfc9421", "secret")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes=0-99", slice(0, 100)),
        ("bytes=100-", slice(100, None)),
        ("bytes=-70000", slice(-70000, None)),
        ("bytes=0-999999999", slice(None)),
        (f"bytes={len(LONG) - 1}-", slice(len(LONG) - 1, None)),
    ],
)
async def test_a_range(daemon, made, value, expected):
    session = made.finished(LONG)
    answer = await read(daemon, session, Range=value)
    start, stop, _ = expected.indices(len(LONG))
    assert (answer.status, answer.body) == (206, LONG[expected])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(LONG)}"


@pytest.mark.parametrize("value", ["bytes=0-1,5-6", "lines=1-2", "bytes=x", "bytes=5-1"])
async def test_what_is_no_range_that_is_known_gets_all_of_it(daemon, made, value):
    session = made.finished(LONG)
    answer = await read(daemon, session, Range=value)
    assert (answer.status, answer.body) == (200, LONG)


async def test_a_range_beyond_the_end(daemon, made):
    session = made.finished(LONG)
    answer = await read(daemon, session, Range=f"bytes={len(LONG)}-")
    assert (answer.status, reason_of(answer)) == (416, "bad_range")
    assert answer.headers["content-range"] == f"bytes */{len(LONG)}"


async def test_a_range_of_a_version(daemon, made):
    session = made.finished(LONG)
    tag = (await read(daemon, session)).headers["etag"]
    assert tag.startswith('"')
    same = await read(daemon, session, **{"Range": "bytes=5-9", "If-Range": tag})
    assert (same.status, same.body, same.headers["etag"]) == (206, LONG[5:10], tag)
    for other in ('"another"', f"W/{tag}", "Mon, 30 Nov 2026 12:00:00 GMT"):
        answer = await read(daemon, session, **{"Range": "bytes=5-9", "If-Range": other})
        assert (answer.status, answer.body) == (200, LONG), other
    made.cast(session).write_bytes(LONG + b"# more\n")
    answer = await read(daemon, session, **{"Range": "bytes=5-9", "If-Range": tag})
    assert (answer.status, answer.body) == (200, LONG + b"# more\n")


async def test_its_head(daemon, made):
    session = made.finished(LONG)
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    writer.write(request(daemon, f"{PATH}/{session}", "HEAD", {"Range": "bytes=0-1"}))
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert f"Content-Length: {len(LONG)}".encode() in head
    assert body == b""


async def test_an_empty_one(daemon, made):
    session = made.running(b"")
    for more in ({}, {"Range": "bytes=-5"}):
        answer = await read(daemon, session, **more)
        assert (answer.status, answer.body) == (200, b"")
    answer = await read(daemon, session, Range="bytes=0-")
    assert (answer.status, answer.headers["content-range"]) == (416, "bytes */0")


async def test_its_receipt(daemon, made):
    session = made.finished()
    answer = await call(daemon, "GET", f"{PATH}/{session}/receipt")
    assert (answer.status, answer.body) == (200, made.receipt(session).read_bytes())
    assert answer.headers["content-type"] == "application/json"
    running = made.running(b"x")
    answer = await call(daemon, "GET", f"{PATH}/{running}/receipt")
    assert (answer.status, reason_of(answer)) == (404, "no_such_recording")
    assert "when the session ends" in refusal_of(answer, PATH)[0]


async def test_of_a_session_that_goes_on_there_is_what_there_is(daemon, made):
    session = made.running(LONG)
    answer = await read(daemon, session)
    assert (answer.status, answer.body) == (200, LONG)
    assert "etag" not in answer.headers
    answer = await read(daemon, session, Range="bytes=10-19")
    assert (answer.status, answer.body) == (206, LONG[10:20])


async def test_what_comes_is_sent_until_the_session_ends(daemon, made):
    session = made.running(LONG[:1000])
    data = request(daemon, f"{PATH}/{session}?follow=true")
    async with rawws.connected(daemon.port, data) as ws:
        assert ws.answer.status == 200
        assert ws.answer.headers["transfer-encoding"] == "chunked"
        reading = tasks.start(rawws.read_chunks(ws.reader), name="read")
        offset = 1000
        with made.cast(session).open("ab") as file:
            while offset < len(LONG):
                file.write(LONG[offset : offset + 60_000])
                file.flush()
                offset += 60_000
                await asyncio.sleep(0.1)
            file.write(b"# the last line\n")
        made.finish(session)
        assert await reading == LONG + b"# the last line\n"
        assert await ws.reader.read() == b"\r\n"  # of the last chunk


async def test_what_is_finished_is_followed_to_its_end(daemon, made):
    session = made.finished(LONG)
    answer = await ask(daemon, request(daemon, f"{PATH}/{session}?follow=true"))
    assert answer.body == LONG


async def test_what_the_reader_says_meanwhile_is_dropped(start, made):
    """It might be taken for the beginning of another request, and that be refused in the middle of the answer."""
    daemon = await start(WS_HANDSHAKE_TIMEOUT="1s")
    session = made.running(LONG[:1000])
    async with rawws.connected(daemon.port, request(daemon, f"{PATH}/{session}?follow=true")) as ws:
        ws.writer.write(b"GET /proxy/rec")
        await ws.writer.drain()
        reading = tasks.start(rawws.read_chunks(ws.reader), name="read")
        await asyncio.sleep(1.5)  # a request would be overdue
        ws.writer.write(b"ordings HTTP/1.1\r\n\r\n" * 1000)
        made.finish(session)
        assert await reading == LONG[:1000]


async def test_a_reader_that_leaves_is_noticed(start, made):
    daemon = await start()
    session = made.running(LONG[:1000])
    before = daemon.descriptors()
    for _ in range(20):
        async with rawws.connected(daemon.port, request(daemon, f"{PATH}/{session}?follow=true")) as ws:
            await ws.reader.readline()
    await at_rest(daemon)
    while daemon.descriptors() > before + 2:  # noqa: ASYNC110 - another process's can only be looked at
        await asyncio.sleep(0.02)
    assert (await read(daemon, session)).body == LONG[:1000]


async def test_a_reader_that_takes_nothing_is_let_go_and_costs_nothing(start, made):
    daemon = await start(WS_HANDSHAKE_TIMEOUT="1s")
    session = made.finished(b"".join([cast_of(b"x"), b"# " + b"y" * 1_000_000 + b"\n"] * 64))
    before = memory(daemon, "VmRSS")
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(16):
            await stack.enter_async_context(idle(daemon, request(daemon, f"{PATH}/{session}")))
        lines = Lines(daemon)
        answer = await read(daemon, session)
        assert (answer.status, reason_of(answer)) == (429, "too_many_readers")
        assert answer.headers["retry-after"] == "5"
        while await ask_head(daemon, session) != 200:  # noqa: ASYNC110 - another process's can only be looked at
            await asyncio.sleep(0.1)
        assert memory(daemon, "VmRSS") - before < 24 * 1024 * 1024
        assert [line for line in lines.new if line.get("level") == "error"] == []


@contextlib.asynccontextmanager
async def idle(daemon, data):
    """A connection that asks, and reads nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port, limit=1024)
    writer.write(data)
    await reader.readline()
    writer.transport.pause_reading()
    try:
        yield
    finally:
        writer.transport.abort()


async def ask_head(daemon, session):
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    writer.write(request(daemon, f"{PATH}/{session}", "HEAD"))
    status = int((await reader.readline()).split()[1])
    writer.close()
    return status


async def test_places_for_readers(daemon, made):
    session = made.running(LONG[:1000])
    target = f"{PATH}/{session}?follow=true"
    async with contextlib.AsyncExitStack() as stack:

        async def follow(user):
            answer = (
                await stack.enter_async_context(rawws.connected(daemon.port, request(daemon, target, User=user)))
            ).answer
            return answer.status if answer.status == 200 else reason_of(answer)

        for user in ("a", "b", "c", "d"):
            assert [await follow(user) for _ in range(16)] == [200] * 16
            assert await follow(user) == "too_many_readers"
        assert await follow("e") == "too_many_readers"
        made.finish(session)
    while (await read(daemon, session)).status != 200:  # noqa: ASYNC110 - another process's can only be looked at
        await asyncio.sleep(0.05)


async def test_the_list(daemon, made):
    alices = made.finished(at=NOON, namespace="default")
    bobs = made.running(b"123", at=NOON + 5, user="bob", namespace="kube-system")
    found = await listed(daemon)
    assert {name: value for name, value in found.items() if name != "recordings"} == {
        "node": "node-a",
        "skipped": 0,
        "continue": None,
    }
    first, second = found["recordings"]
    assert (first["sessionId"], first["state"], first["size"], first["user"]) == (bobs, "recording", 3, "bob")
    assert (second["sessionId"], second["state"], second["ending"]) == (alices, "finished", "command_ended")
    for query, expected in (
        ("?user=bob", [bobs]),
        ("?namespace=default", [alices]),
        ("?namespace=default&user=bob", []),
        ("?from=2026-11-30T12:00:00.001Z", [bobs]),
        ("?to=2026-11-30T12:00:00.001Z", [alices]),
        (f"?from={quote('2026-11-30T14:00:00+02:00')}&to=2026-11-30T12:00:01Z", [bobs, alices]),
        ("?from=9999-12-31T23:59:59Z", []),
        ("?to=0001-01-01T00:00:00Z", []),
        ("?limit=1", [bobs]),
    ):
        assert [each["sessionId"] for each in (await listed(daemon, query))["recordings"]] == expected, query


@pytest.mark.parametrize(
    "query",
    [
        "?from=yesterday",
        "?from=2026-11-30",
        "?from=2026-11-30T12:00:00",
        "?from=2026-11-30T12:00:00+00:00",
        "?from=2026-13-30T12:00:00Z",
        "?from=0000-01-01T00:00:00Z",
        "?from=0001-01-01T00:00:00%2B23:59",
        "?from=2026-W01-1T00:00:00Z",
        "?to=" + "9" * 5000,
        "?limit=0",
        "?limit=1001",
        "?limit=-1",
        "?limit=%D9%A1",
        "?continue=",
        "?continue=abc",
        f"?continue={NOBODYS}",
        "?user=a&user=b",
        "?state=open",
    ],
)
async def test_a_bad_query(daemon, query):
    answer = await call(daemon, "GET", PATH + query)
    if "23:59" in query:  # before all time, and a date all the same
        assert answer.status in (200, 400)
        return
    assert (answer.status, reason_of(answer)) == (400, "bad_query")


async def test_ten_thousand_are_listed_a_page_at_a_time(daemon, made):
    ids = made.many(10_000, every=3_000, namespaces=("default", "kube-system"))
    found, query, pages = [], "?limit=1000", 0
    while query:
        page = await listed(daemon, query)
        found += [each["sessionId"] for each in page["recordings"]]
        query = page["continue"] and f"?limit=1000&continue={page['continue']}"
        pages += 1
    assert found == ids[::-1]
    assert pages >= 10
    page = await listed(daemon, "?user=nobody")
    assert (page["recordings"], page["continue"] is None) == ([], False), "it looks at so many for a page"


async def test_a_page_is_bounded_in_bytes(daemon, made):
    ids = [made.finished(at=NOON + number, command=["x" * 4000], reason="r" * 250) for number in range(600)]
    page = await listed(daemon, "?limit=1000")
    assert 200 < len(page["recordings"]) < 300
    rest = await listed(daemon, f"?limit=1000&continue={page['continue']}")
    told = [each["sessionId"] for each in page["recordings"] + rest["recordings"]]
    assert told == ids[::-1][: len(told)]


async def test_a_broken_receipt_is_counted(daemon, made):
    good, broken = made.finished(), made.finished(at=NOON + 1)
    made.receipt(broken).write_bytes(b"{")
    page = await listed(daemon)
    assert ([each["sessionId"] for each in page["recordings"]], page["skipped"]) == ([good], 1)
    assert reason_of(await read(daemon, broken)) == "no_such_recording"


async def test_what_isn_t_there(daemon, made):
    made.finished()
    for path in (NOBODYS, f"{NOBODYS}/receipt"):
        answer = await call(daemon, "GET", f"{PATH}/{path}")
        assert (answer.status, reason_of(answer)) == (404, "no_such_recording")
    answer = await call(daemon, "POST", f"{PATH}/{NOBODYS}/ticket", {})
    assert (answer.status, reason_of(answer)) == (404, "no_such_recording")


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../recordings",
        "%2e%2e",
        "%2e%2e%2fsecret",
        "..%2f..%2fsecret",
        "2026/11/30",
        f"{NOBODYS}.cast",
        f"{NOBODYS}%00",
        NOBODYS.upper().replace("0", "A", 1),
        "01980000-0000-4000-8000-000000000000",
        ".daemons",
        "x" * 10_000,
    ],
)
async def test_no_path_leads_out(daemon, made, path):
    made.finished()
    for suffix in ("", "/receipt"):
        answer = await call(daemon, "GET", f"{PATH}/{path}{suffix}")
        assert (answer.status, reason_of(answer)) == (404, "bad_path")


async def test_no_link_is_followed(daemon, made, tmp_path):
    session = made.finished()
    made.cast(session).unlink()
    made.cast(session).symlink_to(tmp_path / "secret")
    assert reason_of(await read(daemon, session)) == "no_such_recording"
    line = await daemon.event("request refused", path=f"{PATH}/{session}")
    assert line["detail"] == "its file isn't there"


async def test_what_is_removed_while_it_is_read_is_read_to_its_end(daemon, made):
    data = LONG * 100
    session = made.finished(data)
    async with idle_then_read(daemon, request(daemon, f"{PATH}/{session}")) as rest:
        made.cast(session).unlink()
        made.receipt(session).unlink()
        assert (await rest()).endswith(data)
    assert reason_of(await read(daemon, session)) == "no_such_recording"


async def test_what_is_cut_while_it_is_read_doesn_t_look_whole(daemon, made):
    data = LONG * 300
    session = made.finished(data)
    async with idle_then_read(daemon, request(daemon, f"{PATH}/{session}")) as rest:
        os.truncate(made.cast(session), 10)
        with contextlib.suppress(ConnectionResetError):
            assert len(await rest()) < len(data)
    await daemon.event("a recording can't be read to its end", session=session)


@contextlib.asynccontextmanager
async def idle_then_read(daemon, data):
    """A connection that asks, and waits before it reads."""
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port, limit=65536)
    writer.write(data)
    await reader.readline()
    yield reader.read
    writer.transport.abort()


async def test_a_directory_that_can_t_be_read_is_told_and_comes_back(start, made, tmp_path):
    link = tmp_path / "recordings"
    link.symlink_to(made.root)
    daemon = await start(RECORDING_DIR=str(link))
    session = made.finished()
    link.unlink()
    link.symlink_to(link)  # a link that leads to itself
    for target in (PATH, f"{PATH}/{session}", f"{PATH}/{session}/receipt"):
        answer = await call(daemon, "GET", target)
        assert (answer.status, reason_of(answer)) == (503, "recordings_unreadable")
    assert (await daemon.event("request refused", reason="recordings_unreadable"))["detail"]
    link.unlink()
    link.symlink_to(made.root)
    assert (await read(daemon, session)).status == 200


async def test_without_a_directory_there_are_none(start):
    daemon = await start(RECORDING_DIR="")
    for method, path in (
        ("GET", ""),
        ("GET", f"/{NOBODYS}"),
        ("GET", f"/{NOBODYS}/receipt"),
        ("POST", f"/{NOBODYS}/ticket"),
    ):
        answer = await call(daemon, method, PATH + path, {} if method == "POST" else None)
        assert (answer.status, reason_of(answer)) == (404, "no_such_recording")
        assert "RECORDING_DIR" in refusal_of(answer, PATH)[0]


async def test_credentials(daemon, made):
    session = made.finished()
    for path in (PATH, f"{PATH}/{session}", f"{PATH}/{session}/receipt"):
        answer = await ask(daemon, f"GET {path} HTTP/1.1\r\nHost: proxy\r\n\r\n".encode())
        assert answer.status == 401
        answer = await call(daemon, "GET", path, headers=daemon.headers(path))
        assert (answer.status, reason_of(answer)) == (401, "signature_v2_required")
        answer = await call(daemon, "DELETE", path)
        assert (answer.status, reason_of(answer)) == (405, "method_not_allowed")


async def test_a_ticket_shows_the_recording_and_its_receipt_once_each(daemon, made):
    session = made.finished(LONG)
    told = await ticket_for(daemon, session)
    assert told.keys() == {"sessionId", "ticket", "path", "expires"}
    assert told["path"] == f"{PATH}/{session}"
    for path, body in (("", LONG), ("/receipt", made.receipt(session).read_bytes())):
        answer = await ask(daemon, with_ticket(daemon, told["path"] + path, told["ticket"]))
        assert (answer.status, answer.body) == (200, body)
        answer = await ask(daemon, with_ticket(daemon, told["path"] + path, told["ticket"]))
        assert (answer.status, reason_of(answer)) == (401, "bad_ticket")


async def test_a_ticket_is_for_one_recording_and_for_nothing_else(daemon, made):
    session, other = made.finished(LONG), made.finished(LONG)
    ticket = (await ticket_for(daemon, session))["ticket"]
    for path in (f"{PATH}/{other}", f"{PATH}/{other}/receipt", f"{PATH}/{NOBODYS}"):
        assert reason_of(await ask(daemon, with_ticket(daemon, path, ticket))) == "bad_ticket"
    for path in (PATH, f"/proxy/sessions/{session}", f"{PATH}/{session}/ticket"):
        assert (await ask(daemon, with_ticket(daemon, path, ticket))).status == 401
    data = rawws.request(f"/proxy/sessions/{session}/watch", {"Authorization": f"Bearer {ticket}"})
    assert reason_of(await ask(daemon, data)) == "bad_ticket"
    head = await ask(daemon, with_ticket(daemon, f"{PATH}/{session}", ticket, "POST"))
    assert reason_of(head) == "method_not_allowed"
    bad = await ask(daemon, with_ticket(daemon, f"{PATH}/{session}", ticket, Range="bytes=99999999-"))
    assert reason_of(bad) == "bad_range"
    part = await ask(daemon, with_ticket(daemon, f"{PATH}/{session}", ticket, Range="bytes=0-9"))
    assert (part.status, part.body) == (206, LONG[:10])


async def test_who_reads_stands_in_the_audit_trail(daemon, made):
    session = made.finished(LONG)
    who = {"User": "alice", "Groups": '"ops"', "Reason": "INC-42"}
    for path, headers in (("", {"Range": "bytes=5-9"}), ("", {}), ("/receipt", {})):
        await ask(daemon, request(daemon, f"{PATH}/{session}{path}", more=headers, **who))
    await call(daemon, "POST", f"{PATH}/{session}/ticket", **who)
    issued = await daemon.audited("session.issued", session=session)
    lines = [line for line in daemon.trail if line["event"] == "recording.read" and line["session"] == session]
    for line in (*lines, issued):
        assert (line["user"], line["groups"], line["reason"]) == ("alice", ["ops"], "INC-42")
        assert line["caller"] == {"mode": "rfc9421", "name": "secret"}
        assert (line["target"]["namespace"], line["target"]["pod"], line["peer"]) == ("default", "shell", "127.0.0.1")
    assert [(line["part"], line["range"], line["follow"]) for line in lines] == [
        ("recording", f"bytes 5-9/{len(LONG)}", False),
        ("recording", None, False),
        ("receipt", None, False),
    ]
    assert {line["path"] for line in lines} == {f"2026/11/30/{session}.cast"}
    assert issued["use"] == "replay"


async def test_of_many_that_come_with_one_ticket_one_gets_it(daemon, made):
    session = made.finished(LONG)
    told = await ticket_for(daemon, session)
    answers = await asyncio.gather(*(ask(daemon, with_ticket(daemon, told["path"], told["ticket"])) for _ in range(16)))
    assert sorted(answer.status for answer in answers) == [200, *[401] * 15]


async def test_a_page_of_another_origin(daemon, made):
    session = made.finished(LONG)
    told = await ticket_for(daemon, session)
    asks = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}

    async def preflight(origin, path=""):
        lines = "".join(f"{name}: {value}\r\n" for name, value in {**asks, "Origin": origin}.items())
        return await ask(daemon, f"OPTIONS {told['path']}{path} HTTP/1.1\r\nHost: proxy\r\n{lines}\r\n".encode())

    for path in ("", "/receipt"):
        allowed = await preflight("https://console.example", path)
        assert allowed.status == 204
        assert allowed.headers["access-control-allow-origin"] == "https://console.example"
        assert "Authorization" in allowed.headers["access-control-allow-headers"]
    refused = await preflight("https://evil.example")
    assert refused.status == 401
    assert "access-control-allow-origin" not in refused.headers
    answer = await ask(daemon, with_ticket(daemon, told["path"], told["ticket"], Origin="https://evil.example"))
    assert (answer.status, reason_of(answer)) == (403, "origin_denied")
    answer = await ask(daemon, with_ticket(daemon, told["path"], told["ticket"], Origin="https://console.example"))
    assert (answer.status, answer.body) == (200, LONG)
    assert answer.headers["access-control-allow-origin"] == "https://console.example"
    assert answer.headers["vary"] == "Origin"
    same = await ticket_for(daemon, session)
    assert (await ask(daemon, with_ticket(daemon, told["path"], same["ticket"], Origin="http://proxy"))).status == 200


@pytest.mark.parametrize(
    ("body", "reason"), [({"expiresIn": 0}, "bad_body"), ({"mode": "observe"}, "bad_body"), ([], "bad_body")]
)
async def test_a_bad_order_for_a_ticket(daemon, made, body, reason):
    session = made.finished()
    answer = await call(daemon, "POST", f"{PATH}/{session}/ticket", body)
    assert (answer.status, reason_of(answer)) == (400, reason)


async def test_an_order_for_a_ticket_needs_no_body_and_says_how_it_is_reached(start, made):
    daemon = await start(PUBLIC_URL="wss://node-a.example/shells")
    session = made.finished()
    answer = await call(daemon, "POST", f"{PATH}/{session}/ticket")
    told = json.loads(answer.body)
    daemon.confidential.add(told["ticket"])
    assert told["url"] == f"https://node-a.example/shells{PATH}/{session}"


async def test_a_namespace_that_isn_t_allowed_any_more(start, made):
    daemon = await start(ALLOWED_NAMESPACES="default")
    seen, hidden = made.finished(), made.finished(namespace="kube-system", at=NOON + 1)
    assert [each["sessionId"] for each in (await listed(daemon))["recordings"]] == [seen]
    assert (await listed(daemon, "?namespace=kube-system"))["recordings"] == []
    answer = await read(daemon, hidden)
    assert reason_of(answer) == "no_such_recording"
    unknown = id_at(NOON)
    assert answer.body == (await read(daemon, unknown)).body.replace(unknown.encode(), hidden.encode())
