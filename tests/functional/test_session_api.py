"""The session API on a running daemon: issued, opened by ticket, listed, shown, ended."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import uuid
from datetime import UTC, datetime

import pytest
from support import rawws
from support.caller import PIPES, TTY, V5, get, proxy_exec, refusal_of, request
from support.pki import Pki
from support.sessions import SESSIONS, SHELL, call, issue, listed, presented

from k8s_ws_proxy.wire.framing.channels import STDIN, STDOUT
from k8s_ws_proxy.wire.requests.bearer import SUBPROTOCOL_PREFIX

SHARED = pytest.mark.asyncio(loop_scope="module")
NOBODYS = str(uuid.UUID("01980000-0000-7000-8000-000000000000"))


def reason_of(answer):
    return refusal_of(answer, SESSIONS)[1]


async def run_to_end(daemon, told, **options):
    async with presented(daemon, told["path"], told["ticket"], **options) as ws:
        assert ws.answer.status == 101, ws.answer
        return ws.answer, await ws.finish()


@SHARED
@pytest.mark.parametrize("browser", [True, False], ids=["as a browser", "as a program"])
async def test_what_was_issued_is_opened_by_its_ticket(shared_daemon, shared_lines, browser):
    who = {"User": "alice", "Groups": '"ops"', "Reason": "INC-42"}
    told = await issue(shared_daemon, who=who, command=["sh", "-c", "echo in; exit 7"], tty=False)
    assert told.keys() == {"sessionId", "ticket", "path", "expires", "recordingPath"}
    assert told["path"] == f"{SESSIONS}/{told['sessionId']}/stream"
    assert 50 < (datetime.fromisoformat(told["expires"]) - datetime.now(UTC)).total_seconds() < 61
    answer, ended = await run_to_end(shared_daemon, told, browser=browser)
    assert (ended.text(STDOUT), ended.exit_code, ended.code) == ("in\n", 7, 1000)
    assert answer.headers["sec-websocket-protocol"] == V5
    assert answer.headers["x-session-id"] == told["sessionId"]
    line = await shared_lines.event("session opened")
    assert (line["session"], line["user"], line["groups"], line["caller_reason"]) == (
        told["sessionId"],
        "alice",
        1,
        "INC-42",
    )
    assert (await shared_lines.event("session issued"))["session"] == told["sessionId"]


@SHARED
async def test_attach_and_logs_are_issued_too(shared_daemon):
    web = {"pod": "web", "container": "web"}
    attach = await issue(shared_daemon, **web, subresource="attach", tty=False)
    async with presented(shared_daemon, attach["path"], attach["ticket"]) as ws:
        assert ws.answer.status == 101
    log = await issue(shared_daemon, subresource="log")
    async with presented(shared_daemon, log["path"], log["ticket"]) as ws:
        assert ws.answer.status == 101


@SHARED
@pytest.mark.parametrize(
    ("order", "spoken"),
    [({"subresource": "log"}, "binary.k8s.io"), ({"command": ["true"], "tty": False}, V5)],
    ids=["log", "exec"],
)
async def test_who_offers_a_log_s_subprotocol_first_is_told_which_it_is(shared_daemon, order, spoken):
    told = await issue(shared_daemon, **order)
    offered = ["binary.k8s.io", V5, SUBPROTOCOL_PREFIX + told["ticket"]]
    data = rawws.request(told["path"], {}, subprotocols=offered)
    async with rawws.connected(shared_daemon.port, data) as ws:
        assert (ws.answer.status, ws.answer.headers["sec-websocket-protocol"]) == (101, spoken)


@SHARED
async def test_a_ticket_is_good_once(shared_daemon):
    told = await issue(shared_daemon, command=["true"], tty=False)

    async def come():
        async with presented(shared_daemon, told["path"], told["ticket"]) as ws:
            if ws.answer.status == 101:
                return (await ws.finish()).exit_code
            return reason_of(ws.answer)

    outcomes = await asyncio.gather(*(come() for _ in range(20)))
    assert sorted(map(str, outcomes)) == ["0", *["bad_ticket"] * 19]


@SHARED
async def test_what_is_no_upgrade_does_not_use_it_up(shared_daemon):
    told = await issue(shared_daemon, command=["true"], tty=False)
    plain = await call(shared_daemon, "GET", told["path"], headers={"Authorization": f"Bearer {told['ticket']}"})
    assert reason_of(plain) == "upgrade_required"
    posted = await call(shared_daemon, "POST", told["path"], b"", headers={"Authorization": f"Bearer {told['ticket']}"})
    assert reason_of(posted) == "method_not_allowed"
    async with presented(shared_daemon, told["path"].replace(told["sessionId"], NOBODYS), told["ticket"]) as ws:
        assert reason_of(ws.answer) == "bad_ticket"
    assert (await run_to_end(shared_daemon, told))[1].exit_code == 0


async def test_it_expires(start):
    daemon = await start()
    told = await issue(daemon, expiresIn=1)
    (waiting,) = await listed(daemon)
    assert (waiting["sessionId"], waiting["state"]) == (told["sessionId"], "issued")
    while await listed(daemon):  # noqa: ASYNC110 - it is only seen by looking
        await asyncio.sleep(0.05)
    async with presented(daemon, told["path"], told["ticket"]) as ws:
        assert (ws.answer.status, reason_of(ws.answer)) == (401, "bad_ticket")


async def test_it_is_good_in_the_daemon_that_issued_it(start):
    first, second = await start(), await start()
    told = await issue(first, command=["true"], tty=False)
    async with presented(second, told["path"], told["ticket"]) as ws:
        assert reason_of(ws.answer) == "bad_ticket"


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://proxy", 101),
        ("https://console.example", 101),
        ("https://evil.example", 403),
        ("null", 403),
        ("https://proxy.evil.example", 403),
    ],
)
async def test_from_whose_page(start, origin, status):
    daemon = await start(ALLOWED_ORIGINS="https://console.example,https://other.example")
    told = await issue(daemon, command=["true"], tty=False)
    async with presented(daemon, told["path"], told["ticket"], Origin=origin) as ws:
        assert ws.answer.status == status
        if status == 403:
            assert reason_of(ws.answer) == "origin_denied"
    if status == 403:
        assert (await run_to_end(daemon, told))[1].exit_code == 0, "it wasn't used up"


@SHARED
async def test_one_credential_at_a_time(shared_daemon):
    told = await issue(shared_daemon)
    for more in (shared_daemon.headers_v2(told["path"]), shared_daemon.headers(told["path"])):
        async with presented(shared_daemon, told["path"], told["ticket"], **more) as ws:
            assert reason_of(ws.answer) == "two_credentials"
    async with presented(shared_daemon, told["path"], told["ticket"], **{"X-Catalyst-User": "bob"}) as ws:
        assert reason_of(ws.answer) == "identity_unsigned"
    async with presented(shared_daemon, told["path"], told["ticket"]) as ws:
        assert ws.answer.status == 101


@SHARED
@pytest.mark.parametrize("signed", ["v2", "v1", "none"])
async def test_the_stream_takes_nothing_else(shared_daemon, signed):
    path = (await issue(shared_daemon))["path"]
    sent = {
        "v2": shared_daemon.headers_v2(path, User="alice"),
        "v1": shared_daemon.headers(path),
        "none": {"Authorization": "Basic YWxpY2U6c2VjcmV0"},
    }[signed]
    async with rawws.connected(shared_daemon.port, rawws.request(path, sent, subprotocols=[V5])) as ws:
        assert (ws.answer.status, reason_of(ws.answer)) == (401, "bad_ticket")
        assert b"a ticket and nothing else" in ws.answer.body


@SHARED
async def test_what_another_scheme_says_is_for_whoever_stands_in_front(shared_daemon):
    basic = {"Authorization": "Basic YWxpY2U6c2VjcmV0"}
    told = await issue(shared_daemon, command=["true"], tty=False)
    assert (await run_to_end(shared_daemon, told, **basic))[1].exit_code == 0
    signed = {**shared_daemon.headers_v2(SESSIONS), **basic}
    assert (await call(shared_daemon, "GET", SESSIONS, headers=signed)).status == 200


@SHARED
@pytest.mark.parametrize("good", [True, False], ids=["good", "refused"])
async def test_who_waits_until_it_may_send_its_body_is_told_so_once_its_head_is_good(shared_daemon, good):
    body = json.dumps(SHELL).encode()
    sent = shared_daemon.headers_v2(SESSIONS, method="POST", body=body)
    if not good:
        sent["Signature"] = shared_daemon.headers_v2(SESSIONS, method="POST", body=b"x")["Signature"]
    lines = [f"POST {SESSIONS} HTTP/1.1", "Host: proxy", "Expect: 100-continue", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in sent.items()]
    async with rawws.connected(shared_daemon.port, ("\r\n".join(lines) + "\r\n\r\n").encode()) as connection:
        if not good:
            assert reason_of(connection.answer) == "bad_signature"
            return
        assert (connection.answer.status, connection.answer.headers) == (100, {})
        await connection.send_raw(body)
        answer = await rawws.read_answer(connection.reader)
        assert answer.status == 201
        shared_daemon.confidential.add(json.loads(answer.body)["ticket"])
        one = f"{SESSIONS}/{json.loads(answer.body)['sessionId']}"
        signed = "".join(f"{name}: {value}\r\n" for name, value in shared_daemon.headers_v2(one).items())
        await connection.send_raw(f"GET {one} HTTP/1.1\r\nHost: proxy\r\n{signed}\r\n".encode())
        assert (await rawws.read_answer(connection.reader)).status == 200, "and the connection goes on"


@SHARED
@pytest.mark.parametrize("credential", ["v1", "none"])
@pytest.mark.parametrize(
    ("method", "path"), [("POST", SESSIONS), ("GET", SESSIONS), ("DELETE", f"{SESSIONS}/{NOBODYS}")]
)
async def test_v1_is_not_enough(shared_daemon, credential, method, path):
    headers = shared_daemon.headers(path) if credential == "v1" else {}
    body = SHELL if method == "POST" else None
    answer = await call(shared_daemon, method, path, body, headers=headers)
    assert answer.status == 401
    assert reason_of(answer) == ("signature_v2_required" if credential == "v1" else "missing_timestamp")


@SHARED
async def test_a_signature_for_one_method_is_not_good_for_another(shared_daemon):
    told = await issue(shared_daemon)
    one = f"{SESSIONS}/{told['sessionId']}"
    answer = await call(shared_daemon, "DELETE", one, headers=shared_daemon.headers_v2(one))
    assert reason_of(answer) == "bad_signature"
    assert (await call(shared_daemon, "GET", one)).status == 200


@pytest.mark.parametrize(
    ("order", "status", "reason"),
    [
        ({"pod": "Web"}, 404, "bad_path"),
        ({"namespace": "kube-system"}, 403, "namespace_denied"),
        ({"subresource": "log"}, 403, "subresource_denied"),
        ({"image": "x"}, 400, "bad_body"),
        ({"command": ["a\0b"]}, 400, "bad_query"),
        ({"record": True}, 503, "recording_unavailable"),
    ],
)
async def test_what_the_stream_would_refuse_is_refused_now(start, order, status, reason):
    daemon = await start(ALLOWED_NAMESPACES="default", ALLOWED_SUBRESOURCES="exec,attach")
    answer = await call(daemon, "POST", SESSIONS, {**SHELL, **order})
    assert (answer.status, reason_of(answer)) == (status, reason)
    assert await listed(daemon) == []


async def test_where_no_more_sessions_fit_none_is_issued(start):
    daemon = await start(MAX_SESSIONS="1")
    async with rawws.connected(daemon.port, request(daemon, proxy_exec("cat", **PIPES))) as ws:
        assert ws.answer.status == 101
        answer = await call(daemon, "POST", SESSIONS, SHELL)
        assert (answer.status, reason_of(answer), answer.headers["retry-after"]) == (429, "too_many_sessions", "5")


async def test_so_many_tickets_and_no_more(start):
    daemon = await start(MAX_TICKETS="2", PUBLIC_URL="wss://{node}.example/shells/", NODE_NAME="node-1")
    first, _ = [await issue(daemon) for _ in range(2)]
    assert first["url"] == f"wss://node-1.example/shells{first['path']}"
    answer = await call(daemon, "POST", SESSIONS, SHELL)
    assert (answer.status, reason_of(answer)) == (429, "too_many_tickets")


async def test_a_session_is_told_as_it_goes_on(start):
    daemon = await start(NODE_NAME="node-1")
    command = ["sh", "-c", "echo ready; read x; exit 3"]
    told = await issue(daemon, who={"User": "alice", "Groups": '"ops"', "Reason": "help"}, command=command, tty=True)
    one = f"{SESSIONS}/{told['sessionId']}"
    (waiting,) = await listed(daemon)
    assert (waiting["state"], waiting["idleSeconds"]) == ("issued", None)
    async with presented(daemon, told["path"], told["ticket"]) as ws:
        await ws.until(STDOUT, b"ready")
        shown = json.loads((await call(daemon, "GET", one)).body)
        started = datetime.fromisoformat(shown.pop("started"))
        assert abs((datetime.now(UTC) - started).total_seconds()) < 60
        assert shown.pop("bytesOut") > len("ready")
        assert 0 <= shown.pop("idleSeconds") < 60
        assert shown.pop("bytesIn") >= 0
        assert shown == {
            "sessionId": told["sessionId"],
            "state": "open",
            "subresource": "exec",
            "namespace": "default",
            "pod": "shell",
            "container": "shell",
            "command": command,
            "tty": True,
            "node": "node-1",
            "caller": {"mode": "rfc9421", "name": "secret"},
            "user": "alice",
            "groups": ["ops"],
            "reason": "help",
            "peer": "127.0.0.1",
            "watchers": [],
            "recordingPath": None,
        }
        await ws.send(STDIN, b"\n")
        assert (await ws.finish()).exit_code == 3
    await daemon.event("session ended")
    answer = await call(daemon, "GET", one)
    assert (answer.status, reason_of(answer)) == (404, "no_such_session")


async def test_the_list_is_filtered(start):
    daemon = await start()
    async with contextlib.AsyncExitStack() as stack:
        for name in ("alice", "bob"):
            told = await issue(daemon, who={"User": name}, command=["cat"], tty=False)
            ws = await stack.enter_async_context(presented(daemon, told["path"], told["ticket"]))
            await ws.send(STDIN, b"x\n")
            await ws.until(STDOUT, b"x")
        await issue(daemon, who={"User": "carol"})
        v1 = await stack.enter_async_context(rawws.connected(daemon.port, request(daemon, proxy_exec("cat", **PIPES))))
        assert v1.answer.status == 101

        async def users(query=""):
            return [session["user"] for session in await listed(daemon, query)]

        assert sorted(map(str, await users())) == ["None", "alice", "bob", "carol"]
        assert await users("?user=bob") == ["bob"]
        assert await users("?state=issued") == ["carol"]
        assert await users("?state=open&user=carol") == []
        assert await users("?namespace=team-a") == []
        for query in ("?state=gone", "?pod=shell", "?user=a&user=b"):
            answer = await call(daemon, "GET", SESSIONS + query)
            assert (answer.status, reason_of(answer)) == (400, "bad_query")


@pytest.mark.slow
async def test_it_ends_though_its_client_reads_nothing(start):
    """That its kernel answers for it is no reason to wait."""
    daemon = await start()
    async with rawws.connected(daemon.port, request(daemon, proxy_exec("yes", "x" * 1000, **TTY)), limit=4096) as ws:
        one = f"{SESSIONS}/{ws.answer.headers['x-session-id']}"
        told = {"idleSeconds": 0}
        while told["idleSeconds"] < 1:
            await asyncio.sleep(0.05)
            told = json.loads((await call(daemon, "GET", one)).body)
        assert (await call(daemon, "DELETE", one)).status == 202
        assert (await daemon.event("session ended"))["reason"] == "terminated"
        await daemon.event("process hung up")
        while (await call(daemon, "GET", one)).status != 404:  # noqa: ASYNC110 - it is only seen by looking
            await asyncio.sleep(0.05)


async def test_who_ends_it_and_why_stands_on_its_terminal(start):
    daemon = await start()
    async with rawws.connected(daemon.port, request(daemon, proxy_exec("sleep", "1017", **TTY))) as ws:
        assert ws.answer.status == 101
        one = f"{SESSIONS}/{ws.answer.headers['x-session-id']}"
        answer = await call(daemon, "DELETE", f"{one}?reason=shift%20is%20over", User="carol")
        assert answer.status == 202
        ended = await ws.finish()
    assert ended.text(STDOUT).endswith("k8s-ws-proxy: ended by carol: shift is over.\r\n")
    assert (ended.status["reason"], ended.status["code"]) == ("Terminated", 403)
    assert (ended.code, ended.reason) == (1008, "ended by carol: shift is over")
    assert (await daemon.event("session ended"))["reason"] == "terminated"
    line = await daemon.event("session terminated")
    assert (line["by"], line["why"]) == ("carol", "shift is over")
    await daemon.event("process hung up")


async def test_one_without_a_terminal_is_told_on_stderr_and_a_log_by_its_close(start):
    daemon = await start()
    for order, channel in (({"command": ["cat"], "tty": False}, 2), ({"subresource": "log"}, None)):
        told = await issue(daemon, **order)
        async with presented(daemon, told["path"], told["ticket"]) as ws:
            assert ws.answer.status == 101
            assert (await call(daemon, "DELETE", f"{SESSIONS}/{told['sessionId']}")).status == 202
            ended = await ws.finish()
        assert (ended.code, ended.reason) == (1008, "ended by secret")
        if channel is not None:
            assert ended.text(channel).endswith("ended by secret.\r\n")


@SHARED
async def test_one_that_waits_is_ended_by_taking_its_ticket(shared_daemon):
    told = await issue(shared_daemon)
    assert (await call(shared_daemon, "DELETE", f"{SESSIONS}/{told['sessionId']}")).status == 202
    async with presented(shared_daemon, told["path"], told["ticket"]) as ws:
        assert reason_of(ws.answer) == "bad_ticket"


@SHARED
@pytest.mark.parametrize(("method", "allow"), [("PUT", "GET, POST"), ("DELETE", "GET, POST")])
async def test_there_are_only_these_methods(shared_daemon, method, allow):
    answer = await call(shared_daemon, method, SESSIONS)
    assert (answer.status, answer.headers["allow"]) == (405, allow)


@SHARED
@pytest.mark.parametrize(
    "path",
    [
        "/proxy/sessions/x",
        "/proxy/sessions/",
        f"{SESSIONS}/{NOBODYS}/",
        f"{SESSIONS}/{NOBODYS.upper().replace('0', 'A')}",
    ],
)
async def test_what_is_no_id_is_no_path(shared_daemon, path):
    answer = await call(shared_daemon, "GET", path)
    assert (answer.status, reason_of(answer)) == (404, "bad_path")


async def test_a_daemon_that_goes_down_issues_nothing(start):
    daemon = await start(DRAIN_TIMEOUT="20s")
    async with rawws.connected(daemon.port, request(daemon, proxy_exec("cat", **PIPES))) as ws:
        assert ws.answer.status == 101
        daemon.process.terminate()
        await daemon.event("shutting down")
        answer = await call(daemon, "POST", SESSIONS, SHELL)
        assert (answer.status, reason_of(answer)) == (503, "shutting_down")


async def test_a_certificate_is_good_enough(start, tmp_path):
    pki = Pki(tmp_path)
    daemon = await start(**pki.environ("alice"))
    client = pki.servers.client(pki.callers.leaf("alice"))
    answer = await call(daemon, "POST", SESSIONS, SHELL, headers={}, tls=client)
    assert answer.status == 201, answer
    daemon.confidential.add(json.loads(answer.body)["ticket"])
    answer = await call(daemon, "GET", SESSIONS, headers={}, tls=client)
    assert json.loads(answer.body)["sessions"][0]["caller"] == {"mode": "client_cert", "name": "alice"}


async def test_they_are_counted_by_how_far_they_are(start):
    daemon = await start(WS_PROXY_ADMIN_ADDR="127.0.0.1:0")

    async def counted():
        page = (await get(daemon, "/metrics", port=daemon.ports["admin"])).body.decode()
        found = re.findall(r'k8s_ws_proxy_sessions\{state="(\w+)",subresource="exec"\} (\d+)', page)
        return {state: int(float(value)) for state, value in found if float(value)}

    assert await counted() == {}
    told = await issue(daemon, command=["cat"], tty=False)
    assert await counted() == {"issued": 1}
    async with presented(daemon, told["path"], told["ticket"]) as ws:
        await ws.send(STDIN, b"x\n")
        await ws.until(STDOUT, b"x")
        assert await counted() == {"open": 1}


async def test_a_ticket_is_told_to_whoever_asked_for_it_and_a_label_names_nobody(start):
    """The log is searched for it at the end of each test."""
    daemon = await start(WS_PROXY_ADMIN_ADDR="127.0.0.1:0")
    told = await issue(daemon, who={"User": "alice@example.com"}, command=["cat"], tty=False)
    waits = await issue(daemon, command=["cat"], tty=False)
    one = f"{SESSIONS}/{told['sessionId']}"
    async with presented(daemon, told["path"], told["ticket"]) as ws:
        await ws.send(STDIN, b"x\n")
        await ws.until(STDOUT, b"x")
        async with presented(daemon, told["path"], told["ticket"]) as again:
            refused = again.answer
        answers = [
            refused,
            await call(daemon, "GET", SESSIONS),
            await call(daemon, "GET", one),
            *[await get(daemon, path, port=daemon.ports["admin"]) for path in ("/keys", "/readyz", "/metrics")],
        ]
    assert [answer.status for answer in answers] == [401, 200, 200, 200, 200, 200]
    for answer in answers:
        page = f"{answer.headers} {answer.body.decode()}"
        for ticket in (told["ticket"], waits["ticket"]):
            assert ticket not in page
            assert hashlib.sha256(ticket.encode()).hexdigest() not in page
    assert "alice@example.com" in answers[1].body.decode()
    metrics = answers[-1].body.decode()
    labels = set(re.findall(r'\w+="([^"]*)"', metrics))
    assert "exec" in labels
    assert not labels & {"alice@example.com", SHELL["pod"], SHELL["namespace"], told["sessionId"]}


async def test_a_body_that_does_not_come_is_waited_for_no_longer_than_a_handshake(start, tmp_path):
    pki = Pki(tmp_path)
    daemon = await start(WS_HANDSHAKE_TIMEOUT="500ms", **pki.environ("alice"))
    client = pki.servers.client(pki.callers.leaf("alice"))
    head = f"POST {SESSIONS} HTTP/1.1\r\nHost: proxy\r\nContent-Length: 2\r\n\r\n".encode()
    async with rawws.connected(daemon.ports["https"], head, tls=client) as connection:
        assert reason_of(connection.answer) == "request_timeout"


async def test_a_long_list_is_told_in_parts(daemon):
    """It isn't put into words in one turn, nor kept for a reader that is slow."""
    groups = ", ".join(f'"{number:060}"' for number in range(60))
    issued = [await issue(daemon, who={"User": "alice", "Groups": groups}) for _ in range(60)]
    answer = await call(daemon, "GET", SESSIONS)
    assert answer.headers["transfer-encoding"] == "chunked"
    assert len(answer.body) > 200_000
    assert [each["sessionId"] for each in json.loads(answer.body)["sessions"]] == [each["sessionId"] for each in issued]


async def test_what_is_no_utf8_is_told_escaped(daemon):
    target = "/proxy/exec/default/shell/shell?command=cat&command=%ff"
    data = rawws.request(target, daemon.headers_v2(target), subprotocols=(V5,))
    async with rawws.connected(daemon.port, data) as ws:
        assert ws.answer.status == 101
        (told,) = await listed(daemon)
        assert told["command"] == ["cat", "\\udcff"]
