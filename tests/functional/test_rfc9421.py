"""RFC 9421 signatures at a running daemon: once, whole, and not to be traded for less."""

from __future__ import annotations

import asyncio
import math
import random
import time

import pytest
import pytest_asyncio
from support import rawws
from support.caller import V5, ask, refusal_of, run, script

from k8s_ws_proxy.wire.requests.signing_v2 import content_digest

TARGET = script("echo in; exit 7")
SHARED = pytest.mark.asyncio(loop_scope="module")


async def come(daemon, target, headers):
    """The exit status of a session, or the reason why there is none; and the answer."""
    async with rawws.connected(daemon.port, rawws.request(target, headers, subprotocols=(V5,))) as ws:
        if ws.answer.status != 101:
            return refusal_of(ws.answer, target)[1], ws.answer
        return (await ws.finish()).exit_code, ws.answer


@SHARED
async def test_who_signs_with_it_comes_in_and_is_named(shared_daemon, shared_lines):
    who = {"User": "alice@example.com", "Groups": '"ops", "CN=dev,OU=eng"', "Reason": "INC%2042"}
    status, answer = await come(shared_daemon, TARGET, shared_daemon.headers_v2(TARGET, **who))
    assert status == 7
    for event in ("session opened", "session ended"):
        line = await shared_lines.event(event)
        assert line["session"] == answer.headers["x-session-id"]
        assert {name: line[name] for name in ("mode", "key_id", "user", "groups", "caller_reason")} == {
            "mode": "rfc9421",
            "key_id": "secret",
            "user": "alice@example.com",
            "groups": 2,
            "caller_reason": "INC 42",
        }


@SHARED
@pytest.mark.parametrize(
    "target", [TARGET, TARGET.replace("/proxy/exec/default/shell/shell", "/proxy/exec/default/shell/db")]
)
async def test_a_command_cannot_be_changed_on_the_way(shared_daemon, target):
    headers = shared_daemon.headers_v2(TARGET)
    assert (await come(shared_daemon, target.replace("7", "8"), headers))[0] == "bad_signature"


@SHARED
async def test_nor_sent_again(shared_daemon):
    headers = shared_daemon.headers_v2(TARGET)
    assert (await come(shared_daemon, TARGET, headers))[0] == 7
    assert (await come(shared_daemon, TARGET, headers))[0] == "replayed"


@SHARED
async def test_of_a_hundred_at_once_one_gets_in(shared_daemon):
    headers = shared_daemon.headers_v2(TARGET)
    outcomes = [
        outcome for outcome, _ in await asyncio.gather(*(come(shared_daemon, TARGET, headers) for _ in range(100)))
    ]
    assert sorted(map(str, outcomes)) == ["7", *["replayed"] * 99]


@SHARED
async def test_every_dialect_and_route_takes_it(shared_daemon):
    for target in (
        "/api/v1/namespaces/default/pods/shell/exec?container=shell&command=true&stdout=true",
        "/proxy/logs/default/shell/shell?tailLines=1&follow=false",
        "/proxy/attach/default/web/web?tty=false",
    ):
        headers = shared_daemon.headers_v2(target)
        async with rawws.connected(shared_daemon.port, rawws.request(target, headers, subprotocols=(V5,))) as ws:
            assert ws.answer.status == 101, ws.answer


@SHARED
@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"created": 0}, "expired"),
        ({"nonce": "short"}, "replayed"),
        ({"secret": b"x" * 32}, "bad_signature"),
        ({"method": "POST"}, "bad_signature"),
        ({"User": "al ice"}, "malformed_identity"),
        ({"Node": "another"}, "wrong_node"),
    ],
)
async def test_what_is_wrong_is_told_with_its_status_and_in_the_log(shared_daemon, shared_lines, changed, reason):
    outcome, answer = await come(shared_daemon, TARGET, shared_daemon.headers_v2(TARGET, **changed))
    assert outcome == reason
    assert answer.status == {"malformed_identity": 400, "wrong_node": 421}.get(reason, 401)
    assert ("www-authenticate" in answer.headers) == (answer.status == 401)
    line = await shared_lines.event("request refused")
    assert (line["reason"], line["status"], line["level"]) == (reason, answer.status, "warning")


@SHARED
async def test_a_body_is_read_when_its_signature_is_good_and_then_it_is_no_upgrade(shared_daemon):
    for body, sent, reason in ((b"{}", b"{}", "bad_handshake"), (b"{}", b"[]", "digest_mismatch")):
        headers = shared_daemon.headers_v2(TARGET, body=body)
        assert headers["Content-Digest"] == content_digest(body)
        data = rawws.request(TARGET, {**headers, "Content-Length": str(len(sent))}, subprotocols=(V5,)) + sent
        async with rawws.connected(shared_daemon.port, data) as ws:
            assert refusal_of(ws.answer, TARGET)[1] == reason


@SHARED
async def test_a_body_that_is_too_long_is_refused(shared_daemon):
    body = bytes(100_000)
    headers = {**shared_daemon.headers_v2(TARGET, body=body), "Content-Length": str(len(body))}
    async with rawws.connected(shared_daemon.port, rawws.request(TARGET, headers, subprotocols=(V5,)) + body) as ws:
        text, reason = refusal_of(ws.answer, TARGET)
    assert reason == "malformed_request"
    assert "65536" in text


async def test_a_body_that_does_not_come_is_waited_for_no_longer_than_a_handshake(start):
    daemon = await start(WS_HANDSHAKE_TIMEOUT="300ms")
    headers = {**daemon.headers_v2(TARGET, body=b"{}"), "Content-Length": "2"}
    async with rawws.connected(daemon.port, rawws.request(TARGET, headers, subprotocols=(V5,))) as ws:
        assert refusal_of(ws.answer, TARGET)[1] == "request_timeout"


@SHARED
async def test_two_credentials_are_none(shared_daemon):
    both = shared_daemon.headers_v2(TARGET) | shared_daemon.headers(TARGET.partition("?")[0])
    assert (await come(shared_daemon, TARGET, both))[0] == "two_credentials"


@SHARED
async def test_without_its_signature_what_it_covered_is_a_lie(shared_daemon):
    headers = shared_daemon.headers_v2(TARGET, User="alice")
    left = {"X-Catalyst-User": headers["X-Catalyst-User"]}
    assert (await come(shared_daemon, TARGET, left))[0] == "missing_timestamp"
    signed = left | shared_daemon.headers(TARGET.partition("?")[0])
    assert (await come(shared_daemon, TARGET, signed))[0] == "identity_unsigned"


async def test_a_daemon_that_takes_v2_only(start):
    daemon = await start(ACCEPTED_SIGNATURES="v2")
    assert refusal_of(await ask(daemon, TARGET), TARGET)[1] == "signature_v2_required"
    assert refusal_of(await ask(daemon, TARGET, headers={}), TARGET)[1] == "signature_v2_required"
    assert (await come(daemon, TARGET, daemon.headers_v2(TARGET)))[0] == 7


async def test_a_daemon_that_takes_v1_only(start):
    daemon = await start(ACCEPTED_SIGNATURES="v1")
    assert (await come(daemon, TARGET, daemon.headers_v2(TARGET)))[0] == "signature_not_accepted"
    assert (await run(daemon, TARGET)).exit_code == 7


async def test_a_restart_opens_no_window(start):
    first = await start()
    headers = first.headers_v2(TARGET)
    assert (await come(first, TARGET, headers))[0] == 7
    await first.terminate()
    created = int(headers["Signature-Input"].partition("created=")[2].partition(";")[0])
    while time.time() < created:  # noqa: ASYNC110 - a clock has nothing to wait for
        await asyncio.sleep(0.01)
    second = await start()
    outcome, answer = await come(second, TARGET, headers)
    assert outcome == "expired"
    assert b"sign anew" in answer.body
    assert (await come(second, TARGET, second.headers_v2(TARGET)))[0] == 7


async def test_on_another_node_it_is_good_once_unless_it_names_its_own(start, kubeconfig, tmp_path):
    here, there = await start(NODE_NAME="node-1"), await start(NODE_NAME="node-2")
    anywhere, only_here = here.headers_v2(TARGET), here.headers_v2(TARGET, Node="node-1")
    for daemon in (here, there):
        assert (await come(daemon, TARGET, anywhere))[0] == 7
        assert (await come(daemon, TARGET, anywhere))[0] == "replayed"
    outcome, answer = await come(there, TARGET, only_here)
    assert (outcome, answer.status) == ("wrong_node", 421)
    assert (await come(here, TARGET, only_here))[0] == 7


async def test_a_signature_grows_old(start):
    daemon = await start(SIGNATURE_MAX_AGE="1h")
    old = daemon.headers_v2(TARGET, created=math.ceil(time.time()) - 600)
    assert (await come(daemon, TARGET, old))[0] == "expired", "older than the daemon"
    ahead = daemon.headers_v2(TARGET, created=math.ceil(time.time()) + 3000)
    assert (await come(daemon, TARGET, ahead))[0] == 7
    assert (await come(daemon, TARGET, ahead))[0] == "replayed"


DOCUMENTED = {
    *("malformed_signature", "signature_incomplete", "expired", "replayed", "bad_signature", "malformed_identity"),
    *("two_credentials", "missing_timestamp", "malformed_request"),
}


@pytest_asyncio.fixture(loop_scope="module")
async def unharmed(shared_daemon, shared_lines):
    """Nothing goes wrong inside, and the next caller is served."""
    yield
    assert not [line for line in shared_lines.new if line["level"] == "error"]
    assert (await run(shared_daemon, TARGET)).exit_code == 7


@SHARED
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.usefixtures("unharmed")
async def test_whatever_stands_in_the_headers_nothing_but_documented_errors_come_out(shared_daemon, seed):
    """Each header of a good request with a piece cut out, doubled, or put in the place of another."""
    rng = random.Random(seed)
    pieces = [
        "=",
        '"',
        "(",
        ")",
        ";",
        ":",
        ",",
        "\\",
        " ",
        "?1",
        "created=1",
        'x="y"',
        "é",
        "\t",
        "@method",
        "A" * 5000,
    ]
    for _ in range(60):
        headers = shared_daemon.headers_v2(TARGET, User="alice", Groups='"ops"', Reason="why")
        good = dict(headers)
        for name in rng.sample(sorted(headers), rng.randint(1, 3)):
            value = headers[name]
            start, end = sorted(rng.choices(range(len(value) + 1), k=2))
            piece = rng.choice([*pieces, value[start:end] * 2, ""])
            headers[name] = value[:start] + piece + value[end:]
        outcome, answer = await come(shared_daemon, TARGET, headers)
        if outcome == 7:  # another way to write the same: white space, as RFC 9651 allows it
            assert {name: "".join(value.split()) for name, value in headers.items()} == {
                name: "".join(value.split()) for name, value in good.items()
            }
        else:
            assert outcome in DOCUMENTED, headers
            assert 400 <= answer.status < 500
