"""The audit trail of a running daemon: each event, who and what stands in it, and that nothing is missing."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import signal
import sys

import pytest
from support import rawws
from support.caller import PIPES, TTY, V5, api_exec, ask, get, proxy_exec, refusal_of, request, run, script, signed_path
from support.daemon import tokens_in
from support.daemon import told as found_in
from support.pki import Pki
from support.sessions import SESSIONS, call, issue, presented
from support.trails import chains_of

from k8s_ws_proxy.wire.framing.channels import RESIZE, STDIN, STDOUT

WHO = {"User": "alice", "Groups": '"ops", "dev"', "Reason": "INC-42"}
ALICE = {"user": "alice", "groups": ["ops", "dev"], "reason": "INC-42", "caller": {"mode": "rfc9421", "name": "secret"}}


def has(line, facts):
    assert {name: line[name] for name in facts} == facts


async def done(*command):
    """What a command prints, and its exit status."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    told, _ = await process.communicate()
    return told.decode(), process.returncode


def trail_of(daemon):
    return chains_of(line for line in daemon.raw_log if line.startswith('{"audit": true'))


async def ran(daemon, target, **who):
    async with rawws.connected(
        daemon.port, rawws.request(target, daemon.headers_v2(target, **who), subprotocols=(V5,))
    ) as ws:
        assert ws.answer.status == 101, ws.answer
        return ws.answer.headers["x-session-id"], await ws.finish()


async def test_a_session_from_its_opening_to_its_end(start):
    daemon = await start(NODE_NAME="node-1")
    session, ended = await ran(daemon, script("echo in; exit 7"), **WHO)
    assert ended.exit_code == 7
    opened, over = await daemon.audited("session.opened"), await daemon.audited("session.ended")
    common = {
        **ALICE,
        "session": session,
        "node": "node-1",
        "peer": "127.0.0.1",
        "command": ["sh", "-c", "echo in; exit 7"],
        "target": {
            "subresource": "exec",
            "namespace": "default",
            "pod": "shell",
            "container": "shell",
            "alias": None,
            "tty": False,
            "ports": None,
        },
    }
    has(opened, common)
    has(over, {**common, "ending": "command_ended", "opened": True, "exitCode": 7, "closeCode": 1000, "bytesIn": 0})
    assert over["bytesOut"] > 0
    assert over["durationSeconds"] >= 0


async def test_the_run_s_first_and_last_line(start):
    daemon = await start(NODE_NAME="node-1", AUDIT_REQUIRED="true")
    assert (await run(daemon, script("exit 0"))).exit_code == 0
    assert await daemon.terminate() == 0
    lines = daemon.trail
    has(
        lines[0],
        {"event": "daemon.started", "seq": 1, "prev": "0" * 64, "keys": ["secret"], "required": True, "cut": 0},
    )
    assert (lines[-1]["event"], len({line["daemon"] for line in lines})) == ("daemon.stopped", 1)
    chains = trail_of(daemon)
    assert (chains.fault, chains.lines) == (None, len(lines))
    assert [each.stopped for each in chains.runs.values()] == [True]


async def test_what_was_issued_and_opened(daemon):
    told = await issue(daemon, who=WHO, command=["sh", "-c", "exit 0"], tty=False)
    issued = await daemon.audited("session.issued")
    has(issued, {**ALICE, "session": told["sessionId"], "use": "stream", "command": ["sh", "-c", "exit 0"]})
    assert issued["expires"] == told["expires"]
    async with presented(daemon, told["path"], told["ticket"]) as ws:
        await ws.finish()
    has(await daemon.audited("session.opened"), {**ALICE, "session": told["sessionId"]})


async def test_who_ends_it_and_who_was_in_it(daemon):
    target = proxy_exec("cat", **TTY)
    async with rawws.connected(
        daemon.port, rawws.request(target, daemon.headers_v2(target, **WHO), subprotocols=(V5,))
    ) as ws:
        session = ws.answer.headers["x-session-id"]
        one = f"{SESSIONS}/{session}?reason=enough"
        assert (await call(daemon, "DELETE", one, User="carol")).status == 202
        await ws.finish()
    ended = await daemon.audited("session.terminated")
    has(ended, {**ALICE, "session": session, "byUser": "carol", "byPeer": "127.0.0.1", "why": "enough"})
    assert ended["by"] == {"mode": "rfc9421", "name": "secret"}
    has(await daemon.audited("session.ended"), {"session": session, "ending": "terminated"})


async def test_one_that_was_issued_and_is_withdrawn(daemon):
    told = await issue(daemon, who=WHO, command=["id"])
    assert (await call(daemon, "DELETE", f"{SESSIONS}/{told['sessionId']}", User="carol")).status == 202
    has(
        await daemon.audited("session.terminated"),
        {**ALICE, "session": told["sessionId"], "byUser": "carol", "command": ["id"]},
    )


async def test_who_joins_and_leaves(daemon):
    target = proxy_exec("cat", **TTY)
    async with rawws.connected(
        daemon.port, rawws.request(target, daemon.headers_v2(target, **WHO), subprotocols=(V5,))
    ) as ws:
        await ws.send(RESIZE, b'{"Width":100,"Height":30}')
        session = ws.answer.headers["x-session-id"]
        one = f"{SESSIONS}/{session}"
        answer = await call(daemon, "POST", f"{one}/ticket", {"mode": "peer"}, User="dave")
        ticket = json.loads(answer.body)
        daemon.confidential.add(ticket["ticket"])
        has(await daemon.audited("session.issued"), {"session": session, "user": "dave", "use": "peer"})
        async with presented(daemon, ticket["path"], ticket["ticket"]) as watcher:
            watch = watcher.answer.headers["x-session-id"]
            joined = await daemon.audited("session.watched")
            has(joined, {"session": session, "user": "dave", "watch": watch, "watchMode": "peer"})
            assert joined["target"]["pod"] == "shell"
        left = await daemon.audited("session.unwatched")
        has(left, {"session": session, "user": "dave", "watch": watch, "watchMode": "peer", "ending": "client_left"})
        await ws.send(STDIN, b"\x04")
        await ws.finish()
    await daemon.audited("session.ended", session=session)
    assert [line["event"] for line in daemon.trail if line["event"] in ("session.opened", "session.ended")] == [
        "session.opened",
        "session.ended",
    ]


async def test_a_request_that_proves_nothing_names_nobody(daemon):
    headers = {**daemon.headers_v2(target := proxy_exec("id"), **WHO), "Signature": "sig1=:AAAA:"}
    async with rawws.connected(daemon.port, rawws.request(target, headers, subprotocols=(V5,))) as ws:
        assert ws.answer.status == 401
    refused = await daemon.audited("session.refused")
    has(refused, {"caller": None, "user": None, "groups": [], "reason": None, "command": None, "target": None})
    has(refused, {"status": 401, "method": "GET", "path": signed_path(target), "peer": "127.0.0.1", "session": None})


async def test_a_request_that_may_not_names_who_it_is(start):
    daemon = await start(ALLOWED_NAMESPACES="other")
    target = proxy_exec("id", **PIPES)
    async with rawws.connected(
        daemon.port, rawws.request(target, daemon.headers_v2(target, **WHO), subprotocols=(V5,))
    ) as ws:
        assert ws.answer.status == 403
    refused = await daemon.audited("session.refused")
    has(refused, {**ALICE, "refusal": "namespace_denied", "status": 403, "command": None})
    has(refused["target"], {"subresource": "exec", "namespace": "default", "pod": "shell"})


async def test_one_too_many_says_which_command_it_was(start):
    daemon = await start(MAX_SESSIONS="1")
    async with rawws.connected(daemon.port, request(daemon, proxy_exec("cat", **TTY))) as ws:
        assert ws.answer.status == 101
        target = proxy_exec("x" * 5000, **PIPES)
        async with rawws.connected(
            daemon.port, rawws.request(target, daemon.headers_v2(target, **WHO), subprotocols=(V5,))
        ) as other:
            assert other.answer.status == 429
        refused = await daemon.audited("session.refused")
        has(refused, {**ALICE, "refusal": "too_many_sessions"})
        assert len(refused["command"][0]) < 100
        assert len(refused["commandSha256"]) == 64


async def test_what_the_apiserver_refuses(daemon, cluster):
    cluster.faults.refuse(403, b"no")
    target = proxy_exec("id", **PIPES)
    session, _ = await ran(daemon, target, **WHO)
    refused = await daemon.audited("session.refused")
    has(refused, {**ALICE, "session": session, "refusal": "upstream_refused", "status": 403, "command": ["id"]})


async def test_who_leaves_before_it_opens_may_have_begun_a_command_which_is_whole(daemon, cluster, dials):
    command, before = "echo " + "x" * 9000, len(dials())
    cluster.faults.hang()
    _, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    writer.write(request(daemon, script(command)))
    await cluster.observed.wait_for(lambda: len(dials()) == before + 1)
    writer.transport.abort()
    left = await daemon.audited("session.ended")
    has(left, {"opened": False, "ending": "client_left", "command": ["sh", "-c", command]})


async def test_a_long_command_is_whole_when_it_opens_and_known_again_at_the_end(daemon):
    command = f"exit 0; {'x' * 60_000}"
    session, _ = await ran(daemon, script(command), **WHO)
    opened, over = await daemon.audited("session.opened"), await daemon.audited("session.ended")
    assert opened["command"] == ["sh", "-c", command]
    assert len(over["command"][2]) < 100
    assert opened["commandSha256"] == over["commandSha256"]
    assert opened["session"] == over["session"] == session


async def test_keys_that_change(start, tmp_path):
    secret, keys = tmp_path / "shared", tmp_path / "keys"
    secret.write_bytes(b"a" * 40)
    keys.mkdir()
    (keys / "one").write_bytes(b"1" * 40)
    daemon = await start(SHARED_SECRET_FILE=str(secret), SHARED_SECRET_DIR=str(keys))
    daemon.confidential |= {"a" * 40, "1" * 40, "b" * 40, "2" * 40}
    secret.write_bytes(b"b" * 40)
    daemon.process.send_signal(signal.SIGHUP)
    has(await daemon.audited("keys.changed"), {"keys": ["shared", "one"], "replaced": ["shared"], "added": []})
    (keys / "two").write_bytes(b"2" * 40)
    daemon.process.send_signal(signal.SIGHUP)
    has(await daemon.audited("keys.changed", added=["two"]), {"keys": ["shared", "one", "two"], "removed": []})
    (keys / "one").unlink()
    has(await daemon.audited("keys.changed", removed=["one"]), {"keys": ["shared", "two"]})


async def test_a_certificate_that_changes(start, tmp_path):
    pki = Pki(tmp_path)
    environ = pki.environ()
    daemon = await start(**environ)
    (tmp_path / "fresh").mkdir()
    fresh = Pki(tmp_path / "fresh").environ()
    for name in ("TLS_KEY_FILE", "TLS_CERT_FILE"):
        shutil.copy(fresh[name], environ[name])
    daemon.process.send_signal(signal.SIGHUP)
    changed = await daemon.audited("tls.changed")
    shown, _ = await done("openssl", "x509", "-in", fresh["TLS_CERT_FILE"], "-noout", "-fingerprint", "-sha256")
    assert changed["certificateSha256"] == shown.partition("=")[2].strip().replace(":", "").lower()
    assert len(changed["clientCasSha256"]) == 1
    assert changed["expires"].endswith("Z")


async def test_a_crowd_that_nobody_knows_has_ten_lines_a_second_and_is_counted(daemon):
    bad = {"X-Catalyst-Timestamp": "12", "X-Catalyst-HMAC": "0" * 64}
    target = proxy_exec("id")
    for _ in range(50):
        assert (await ask(daemon, target, headers=bad)).status == 401
    count, seen = 0, 0
    while count < 50:
        seen += 1
        line = await daemon.audited("session.refused", count=seen)
        count += line["omitted"] or 1
    assert count == 50
    lines = [line for line in daemon.trail if line.get("event") == "session.refused"]
    assert max(line["omitted"] for line in lines) > 0
    assert trail_of(daemon).fault is None


async def test_a_path_that_is_none_and_the_operators_listener_have_no_line(start):
    daemon = await start(WS_PROXY_ADMIN_ADDR="127.0.0.1:0")
    assert (await ask(daemon, "/nothing", headers={})).status == 404
    async with rawws.connected(daemon.ports["admin"], b"POST /metrics HTTP/1.1\r\nHost: a\r\n\r\n") as connection:
        assert connection.answer.status == 405
    assert await daemon.terminate() == 0
    assert not [line for line in daemon.trail if line.get("event") == "session.refused"]


async def test_nothing_secret_is_in_any_line(start, cluster, tmp_path, kubeconfig):
    """Credentials of every kind, in their places and in wrong ones."""
    pki = Pki(tmp_path)
    daemon = await start(**pki.environ(), AUDIT_LOG=str(tmp_path / "audit.log"))
    secret = daemon.secret.decode()
    typed = secrets.token_urlsafe(24)
    target = proxy_exec("cat", **PIPES)
    async with rawws.connected(
        daemon.port, rawws.request(target, daemon.headers_v2(target, **WHO), subprotocols=(V5,))
    ) as ws:
        await ws.send(STDIN, typed.encode() + b"\n")
        await ws.until(STDOUT, typed.encode())
    told = await issue(daemon, command=["true"], tty=False)
    async with presented(daemon, told["path"], told["ticket"]) as ws:
        await ws.finish()
    async with presented(daemon, told["path"], told["ticket"]) as ws:
        assert ws.answer.status == 401
    signed = daemon.headers(signed_path(target))
    await ask(daemon, target, headers={**signed, "Authorization": f"Bearer {secret}", "X-Catalyst-User": "alice"})
    await ask(daemon, target, headers={**signed, "X-Catalyst-HMAC": secret})
    await ask(daemon, f"{target}&token={secret}", headers={})
    await ask(daemon, target, headers={"Authorization": f"Bearer {told['ticket']}"})
    cluster.faults.refuse(500, b"no")
    await ran(daemon, target)
    assert await daemon.terminate() == 0
    lines = (tmp_path / "audit.log").read_text().splitlines()
    assert chains_of(lines).fault is None
    assert len(lines) > 8
    confidential = daemon.confidential | tokens_in(kubeconfig) | {typed, secret, told["ticket"]}
    assert len(confidential) > 6
    assert found_in(lines, confidential) == []


async def test_files_that_were_rotated_under_load_hold_everything(start, tmp_path):
    path = tmp_path / "audit.log"
    daemon = await start(AUDIT_LOG=str(path))
    over = asyncio.Event()
    target = script("exit 0")

    async def load():
        sessions = []
        while not over.is_set() or len(sessions) < 3:
            sessions.append((await ran(daemon, target))[0])
        return sessions

    loading = [asyncio.get_running_loop().create_task(load()) for _ in range(3)]
    names = []
    for number in range(5):
        await daemon.event("session opened", count=4 * number + 4)
        while not path.exists():  # noqa: ASYNC110 - the daemon makes it
            await asyncio.sleep(0.01)
        names.append(path.rename(tmp_path / f"audit.log.{number}"))
        daemon.process.send_signal(signal.SIGHUP)
    over.set()
    sessions = [session for done in await asyncio.gather(*loading) for session in done]
    assert await daemon.terminate() == 0
    text, status = await done(sys.executable, "-m", "k8s_ws_proxy", "audit", "verify", *names, path)
    assert (text.splitlines()[-1], status) == ("whole", 0)
    lines = [json.loads(line) for name in (*names, path) for line in name.read_text().splitlines()]
    for event in ("session.opened", "session.ended"):
        assert sorted(line["session"] for line in lines if line["event"] == event) == sorted(sessions)
    assert (lines[0]["event"], lines[-1]["event"]) == ("daemon.started", "daemon.stopped")


async def test_a_daemon_that_was_killed_leaves_a_file_that_the_next_one_goes_on_with(start, tmp_path):
    path = tmp_path / "audit.log"
    for _ in range(2):
        daemon = await start(AUDIT_LOG=str(path))
        await ran(daemon, script("exit 0"))
        while b"session.ended" not in path.read_bytes().splitlines()[-1]:  # noqa: ASYNC110 - a thread writes it
            await asyncio.sleep(0.01)
        await daemon.terminate(signal.SIGKILL)
    daemon = await start(AUDIT_LOG=str(path))
    assert await daemon.terminate() == 0
    lines = path.read_bytes().splitlines()
    chains = chains_of(lines)
    assert (chains.fault, len(chains.runs)) == (None, 3)
    del lines[len(lines) // 2]
    assert chains_of(lines).fault is not None


async def test_off_is_off(start):
    daemon = await start(AUDIT_LOG="off")
    await ran(daemon, script("exit 0"))
    assert json.loads((await get(daemon, "/readyz")).body)["checks"]["audit"] == "off"
    assert await daemon.terminate() == 0
    assert not daemon.trail


@pytest.mark.parametrize("required", ["true", "false"])
async def test_while_it_can_be_written_nowhere(start, tmp_path, required):
    path = tmp_path / "nowhere" / "audit.log"
    daemon = await start(AUDIT_LOG=str(path), AUDIT_REQUIRED=required)
    ready = await get(daemon, "/readyz")
    assert ready.status == 200
    assert json.loads(ready.body)["checks"]["audit"] == "file: No such file or directory"
    target = script("exit 0")
    async with rawws.connected(daemon.port, request(daemon, target)) as ws:
        if required == "false":
            assert ws.answer.status == 101
        else:
            assert (ws.answer.status, refusal_of(ws.answer, target)[1]) == (503, "audit_unavailable")
            assert ws.answer.headers["retry-after"] == "5"
    if required == "true":
        answer = await call(daemon, "POST", SESSIONS, {"subresource": "exec", "namespace": "default", "pod": "shell"})
        assert refusal_of(answer, SESSIONS)[1] == "audit_unavailable"
        async with rawws.connected(daemon.port, request(daemon, api_exec("id", stdout="true"))) as ws:
            assert ws.answer.status == 503
    path.parent.mkdir()
    await daemon.event("the audit file is written again")
    assert (await run(daemon, target)).exit_code == 0
    assert await daemon.terminate() == 0
    assert chains_of(path.read_bytes().splitlines()).fault is None
    assert json.loads(path.read_bytes().splitlines()[0])["event"] == "daemon.started"


async def test_a_disk_that_fills_up_refuses_the_new_and_keeps_the_old(start, tmp_path):
    """A tmpfs of 64 KiB; nothing of what happened while it was full is missing when there is room again."""
    disk = tmp_path / "disk"
    disk.mkdir()
    text, status = await done("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk)
    assert status == 0, f"a tmpfs can't be mounted here: {text}"
    try:
        (disk / "ballast").write_bytes(b"x" * 48 * 1024)
        daemon = await start(AUDIT_LOG=str(disk / "audit.log"), AUDIT_REQUIRED="true")
        target = script("exit 0; " + "x" * 3000)
        while True:
            async with rawws.connected(daemon.port, request(daemon, target)) as ws:
                if ws.answer.status == 503:
                    break
                await ws.finish()
        line = await daemon.event("request refused", reason="audit_unavailable")
        assert line["detail"] == "file: No space left on device"
        assert (disk / "audit.log").read_bytes().endswith(b"}\n")
        (disk / "ballast").unlink()
        await daemon.event("the audit file is written again")
        assert (await run(daemon, script("exit 0"))).exit_code == 0
        assert await daemon.terminate() == 0
        chains = chains_of((disk / "audit.log").read_bytes().splitlines())
        assert chains.fault is None
        assert all(each.stopped for each in chains.runs.values())
    finally:
        assert (await done("umount", "-l", disk))[1] == 0
