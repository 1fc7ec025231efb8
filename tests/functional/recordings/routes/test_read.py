"""One recording and its receipt, as they are: whole, a range of it, or not there."""

from __future__ import annotations

import asyncio

import pytest
from support.caller import refusal_of
from support.recording_routes import LONG, NOBODYS, PATH, read, reason_of, request
from support.sessions import call

pytestmark = pytest.mark.asyncio(loop_scope="module")


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


async def head_of(daemon, session):
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    writer.write(request(daemon, f"{PATH}/{session}", "HEAD", {"Range": "bytes=0-1"}))
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


async def test_its_head(daemon, made):
    session = made.finished(LONG)
    head, body = await head_of(daemon, session)
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


@pytest.mark.parametrize("half", [b'[9, "o", "half', b'[9, "o", "' + b"x" * 200_000], ids=["short", "long"])
async def test_a_line_of_which_only_a_part_is_there_isn_t_there_yet(daemon, made, half):
    """A write is seen before all of it is there."""
    session = made.running(LONG + half)
    answer = await read(daemon, session)
    assert (answer.status, answer.body == LONG) == (200, True)
    for value, expected in (("bytes=10-", slice(10, None)), ("bytes=-20", slice(-20, None))):
        answer = await read(daemon, session, Range=value)
        start, stop, _ = expected.indices(len(LONG))
        assert (answer.status, answer.body == LONG[expected]) == (206, True)
        assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(LONG)}"
    answer = await read(daemon, session, Range=f"bytes={len(LONG)}-")
    assert (answer.status, answer.headers["content-range"]) == (416, f"bytes */{len(LONG)}")
    head, _ = await head_of(daemon, session)
    assert f"Content-Length: {len(LONG)}".encode() in head
    made.finish(session)
    assert (await read(daemon, session)).body == LONG + half  # what its receipt has the hash of


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
