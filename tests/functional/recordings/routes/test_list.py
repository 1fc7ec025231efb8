"""The list of recordings: what is in it, by what it is chosen, and its pages."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from support.archive import NOON
from support.recording_routes import NOBODYS, PATH, listed, read, reason_of
from support.sessions import call

pytestmark = pytest.mark.asyncio(loop_scope="module")


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
        ("?from=0001-01-01T00:00:00%2B23:59", [bobs, alices]),  # before all time, and a date all the same
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
