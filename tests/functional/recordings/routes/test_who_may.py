"""Who may have recordings: by a signature, by a ticket, from another page, in which namespaces; and who did."""

from __future__ import annotations

import asyncio
import json

import pytest
from support import rawws
from support.archive import NOON, id_at
from support.recording_routes import LONG, NOBODYS, PATH, ask, listed, read, reason_of, request
from support.sessions import call
from support.trails import chains_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


def with_ticket(daemon, target, ticket, method="GET", **more):
    headers = {"Authorization": f"Bearer {ticket}", **more}
    lines = [f"{method} {target} HTTP/1.1", "Host: proxy", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def ticket_for(daemon, session, **body):
    answer = await call(daemon, "POST", f"{PATH}/{session}/ticket", body)
    assert answer.status == 201, answer
    told = json.loads(answer.body)
    daemon.confidential.add(told["ticket"])
    return told


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


async def test_signed_beside_what_an_ingress_is_told(daemon, made):
    session = made.finished(LONG)
    more = {"Authorization": "Basic YWxpY2U6c2VjcmV0"}
    answer = await ask(daemon, request(daemon, f"{PATH}/{session}", more=more))
    assert (answer.status, answer.body) == (200, LONG)


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


async def test_what_a_receipt_says_that_somebody_else_wrote_leaves_the_trail_whole(daemon, made):
    odd = {"container": ["x"], "pod": None, "subresource": {"a": 1}, "tty": "yes"}
    session = made.finished(LONG, **odd)
    for path in ("", "/receipt"):
        assert (await ask(daemon, request(daemon, f"{PATH}/{session}{path}"))).status == 200
    assert (await call(daemon, "POST", f"{PATH}/{session}/ticket")).status == 201
    await daemon.audited("session.issued", session=session)
    lines = [line for line in daemon.trail if line["session"] == session]
    assert [line["event"] for line in lines] == ["recording.read", "recording.read", "session.issued"]
    for line in lines:
        target = line["target"]
        assert (target["namespace"], target["pod"], target["container"]) == ("default", "", None)
        assert (target["subresource"], target["tty"]) == ("", False)
    assert chains_of(line for line in daemon.raw_log if '"audit": true' in line).fault is None


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
