"""The audit trail by NATS JetStream, with the real server: away, killed, full, hung; nothing is lost or twice."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest
from support import rawws
from support.caller import PIPES, get, proxy_exec, request, run, script
from support.daemon import told as found_in
from support.nats import NatsServer, Operator
from support.pki import Authority
from support.trails import chains_of
from support.trails import run as lines_of

from k8s_ws_proxy.audit import spool as spools
from k8s_ws_proxy.audit.nats_link import NatsLink
from k8s_ws_proxy.errors import AuditError
from k8s_ws_proxy.sessions.uuid7 import uuid7
from k8s_ws_proxy.settings import NatsSettings

TRUE = script("exit 0")
OUT = "audit lines don't get out to NATS; they are kept"
AGAIN = "audit lines get out to NATS again"


@pytest.fixture
async def nats_server(tmp_path):
    server = NatsServer(tmp_path / "nats")
    await server.start()
    await server.stream()
    yield server
    await server.stop(signal.SIGKILL)


@pytest.fixture
def environ(nats_server, tmp_path):
    return {"AUDIT_NATS_URL": nats_server.url, "AUDIT_DIR": str(tmp_path / "spool")}


async def sessions(daemon, count):
    for _ in range(count):
        assert (await run(daemon, TRUE)).exit_code == 0


def place(line):
    return line["daemon"], line["seq"]


def kept(tmp_path):
    """How many lines wait on disk."""
    return sum(path.read_bytes().count(b"\n") for path in spooled(tmp_path) if path.name.isdigit())


def whole(lines, daemons):
    """All lines of these runs, each once, in order."""
    expected = [line for daemon in daemons for line in daemon.trail]
    assert sorted(lines, key=place) == sorted(expected, key=place)
    for run_ in {line["daemon"] for line in lines}:
        numbers = [line["seq"] for line in lines if line["daemon"] == run_]
        assert numbers == list(range(1, len(numbers) + 1))


def spooled(tmp_path):
    return [path for path in (tmp_path / "spool").rglob("*") if path.is_file()]


async def test_each_event_has_its_subject_and_the_same_line_as_the_log(start, nats_server, environ, tmp_path):
    daemon = await start(**environ)
    await sessions(daemon, 2)
    assert await daemon.terminate() == 0
    messages = await nats_server.messages()
    assert [line for _, line, _ in messages] == [
        line.strip().encode() for line in daemon.raw_log if '"audit": true' in line
    ]
    for subject, line, message_id in messages:
        read = json.loads(line)
        assert subject == f"catalyst.events.k8s-ws-proxy.{read['event']}"
        assert message_id == f"{read['daemon']}-{read['seq']}"
    assert json.loads(messages[-1][1])["event"] == "daemon.stopped"
    assert chains_of(line for _, line, _ in messages).fault is None
    assert spooled(tmp_path) == []


async def test_a_subject_of_ones_own(start, nats_server, environ):
    await nats_server.stream()
    daemon = await start(**environ, AUDIT_NATS_SUBJECT="catalyst.events.k8s-ws-proxy.all", AUDIT_LOG="off")
    await sessions(daemon, 1)
    assert await daemon.terminate() == 0
    assert {subject for subject, _, _ in await nats_server.messages()} == {"catalyst.events.k8s-ws-proxy.all"}
    assert not daemon.trail


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
async def test_away_and_back(start, nats_server, environ, tmp_path, number):
    daemon = await start(**environ, AUDIT_REQUIRED="true", WS_PROXY_ADMIN_ADDR="127.0.0.1:0")
    await sessions(daemon, 2)
    await nats_server.stop(number)
    await sessions(daemon, 3)
    await daemon.event(OUT)
    waiting = [line for line in (await metrics(daemon)).splitlines() if 'waiting{sink="nats"}' in line]
    assert float(waiting[0].split()[-1]) > 0
    assert spooled(tmp_path)
    await nats_server.start()
    await daemon.event(AGAIN)
    await sessions(daemon, 1)
    assert await daemon.terminate() == 0
    whole(await nats_server.lines(), [daemon])


async def metrics(daemon):
    async with rawws.connected(daemon.ports["admin"], b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n") as connection:
        return connection.answer.body.decode()


async def test_killed_again_and_again_under_load(start, nats_server, environ):
    daemon = await start(**environ)
    over = asyncio.Event()

    async def load():
        while not over.is_set():
            await sessions(daemon, 1)

    loading = [asyncio.get_running_loop().create_task(load()) for _ in range(2)]
    for number in range(3):
        await daemon.audited("session.ended", count=6 * number + 4)
        await nats_server.stop(signal.SIGKILL)
        await daemon.event(OUT, count=number + 1)
        await nats_server.start()
        await daemon.event(AGAIN, count=number + 1)
    over.set()
    await asyncio.gather(*loading)
    await nats_server.until(lambda lines: len(lines) == len(daemon.trail))
    assert await daemon.terminate() == 0
    whole(await nats_server.lines(), [daemon])


async def test_a_stream_that_is_full_refuses_and_loses_nothing(start, nats_server, environ):
    await nats_server.stream(max_msgs=3)
    daemon = await start(**environ)
    await sessions(daemon, 4)
    line = await daemon.event(OUT)
    assert line["error"] == "the stream refuses: maximum messages exceeded"
    assert [line["seq"] for line in await nats_server.lines()] == [1, 2, 3]
    await nats_server.stream()
    await daemon.event(AGAIN)
    assert await daemon.terminate() == 0
    whole(await nats_server.lines(), [daemon])


async def test_a_stream_that_is_not_there_yet(start, tmp_path):
    server = NatsServer(tmp_path / "nats")
    await server.start()
    daemon = await start(AUDIT_NATS_URL=server.url, AUDIT_DIR=str(tmp_path / "spool"))
    line = await daemon.event(OUT)
    assert line["error"].startswith("no stream takes catalyst.events.k8s-ws-proxy.daemon.started")
    await server.stream()
    await daemon.event(AGAIN)
    assert await daemon.terminate() == 0
    whole(await server.lines(), [daemon])
    await server.stop(signal.SIGKILL)


async def test_an_answer_that_is_lost_makes_no_second_line(start, nats_server, environ):
    """The server has taken it and is silent: it is sent again, and known by its id."""
    daemon = await start(**environ)
    await nats_server.until(lambda lines: len(lines) == 1)
    nats_server.freeze()
    await sessions(daemon, 2)
    line = await daemon.event(OUT)  # after ten seconds without an answer
    assert "NATS can't be reached" in line["error"]
    nats_server.thaw()  # what is in its sockets is taken now, too
    await daemon.event(AGAIN)
    await sessions(daemon, 1)
    assert await daemon.terminate() == 0
    whole(await nats_server.lines(), [daemon])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
async def test_what_a_daemon_leaves_is_sent_by_the_next_one_first(start, nats_server, environ, tmp_path, number):
    await nats_server.stop()
    before = []
    for count in (2, 1):
        daemon = await start(**environ)
        await sessions(daemon, count)
        await daemon.audited("session.ended", count=count)
        while kept(tmp_path) < sum(len(each.trail) for each in [*before, daemon]):  # noqa: ASYNC110 - a thread writes it
            await asyncio.sleep(0.02)
        await daemon.terminate(number)
        before.append(daemon)
    await nats_server.start()
    daemon = await start(**environ)
    await daemon.event("audit lines that a daemon before has left are sent")
    await sessions(daemon, 1)
    assert await daemon.terminate() == 0
    lines = await nats_server.lines()
    whole(lines, [*before, daemon])
    runs = list(dict.fromkeys(line["daemon"] for line in lines))
    assert runs == sorted(runs)
    assert len(runs) == 3
    assert spooled(tmp_path) == []


@pytest.fixture
def left(tmp_path, monkeypatch):
    """What a run before has left, two lines a file: its directory, and its lines."""
    monkeypatch.setattr(spools, "_SEGMENT", 500)
    daemon = uuid7()
    spool = spools.Spool(tmp_path / "spool" / daemon, [].append)
    spool.open()
    lines = lines_of(daemon)
    for line in lines:
        spool.append(line)
    spool.close()
    return spool.directory, lines


async def read_metric(daemon, name):
    found = [line for line in (await metrics(daemon)).splitlines() if line.startswith(f'{name}{{sink="nats"}}')]
    return float(found[0].split()[-1])


async def test_a_file_that_is_gone_is_lost_and_counted_and_the_rest_is_sent(start, nats_server, environ, left):
    await nats_server.stop()
    directory, lines = left
    daemon = await start(**environ, WS_PROXY_ADMIN_ADDR="127.0.0.1:0")
    await daemon.event(OUT)
    gone = directory / f"{2:010d}"
    count = gone.read_bytes().count(b"\n")
    gone.unlink()
    await nats_server.start()
    line = await daemon.event("audit lines are lost to NATS: somebody has removed them from the disk")
    assert line["lines"] == count
    await sessions(daemon, 1)
    await nats_server.until(lambda got: any(line["event"] == "session.ended" for line in got))
    assert await read_metric(daemon, "k8s_ws_proxy_audit_lines_lost_total") == count
    assert await daemon.terminate() == 0
    got = await nats_server.lines()
    assert len([line for line in got if line["daemon"] == directory.name]) == len(lines) - count
    whole([line for line in got if line["daemon"] != directory.name], [daemon])
    assert not directory.exists()


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_a_run_before_that_cannot_be_read_is_said_and_holds_up_nothing(start, nats_server, environ, left, when):
    """A directory stands in a file's place: the error is the kernel's, as one of a disk would be."""
    directory, lines = left
    bad = directory / f"{2:010d}"
    data = bad.read_bytes()

    def spoil():
        bad.unlink()
        bad.mkdir()

    if when == "before":
        spoil()
    else:
        await nats_server.stop()
    daemon = await start(**environ, WS_PROXY_ADMIN_ADDR="127.0.0.1:0")
    if when == "meanwhile":
        await daemon.event(OUT)
        spoil()
        await nats_server.start()
    said = await daemon.event("what a daemon before has left for NATS can't be read or removed; it is tried again")
    assert (said["directory"], said["error"]) == (str(directory), "Is a directory")
    await sessions(daemon, 1)
    await nats_server.until(lambda got: any(line["event"] == "session.ended" for line in got))
    assert await read_metric(daemon, "k8s_ws_proxy_audit_oldest_waiting_seconds") > 0
    bad.rmdir()
    bad.write_bytes(data)
    daemon.process.send_signal(signal.SIGHUP)
    await nats_server.until(lambda got: sum(line["daemon"] == directory.name for line in got) == len(lines))
    assert await daemon.terminate() == 0
    whole([line for line in await nats_server.lines() if line["daemon"] != directory.name], [daemon])
    assert not directory.exists()


async def test_lines_of_ones_own_that_cannot_be_read_back_are_told_to_wait(start, nats_server, environ, tmp_path):
    await nats_server.stop()
    daemon = await start(**environ, WS_PROXY_ADMIN_ADDR="127.0.0.1:0")
    long = script(f"exit 0; {'x' * 100_000}")
    for _ in range(12):  # more than a file has
        assert (await run(daemon, long)).exit_code == 0
    await daemon.audited("session.ended", count=12)
    while kept(tmp_path) < len(daemon.trail):  # noqa: ASYNC110 - a thread writes it
        await asyncio.sleep(0.02)
    (bad,) = (path for path in spooled(tmp_path) if path.name == f"{2:010d}")
    away = bad.with_suffix(".away")
    bad.rename(away)
    bad.mkdir()
    await nats_server.start()
    await daemon.event(OUT, error="what is kept on disk can't be read: Is a directory")
    assert await read_metric(daemon, "k8s_ws_proxy_audit_oldest_waiting_seconds") > 0
    assert await read_metric(daemon, "k8s_ws_proxy_audit_lines_lost_total") == 0
    bad.rmdir()
    away.rename(bad)
    await sessions(daemon, 1)
    await daemon.event(AGAIN, count=2)
    assert await daemon.terminate() == 0
    whole(await nats_server.lines(), [daemon])


async def test_in_a_rolling_upgrade_each_sends_its_own_and_the_new_one_what_the_old_one_leaves(
    start, nats_server, environ
):
    old, new = await start(**environ), await start(**environ)
    await sessions(old, 1)
    await sessions(new, 1)
    await nats_server.stop()
    await sessions(old, 1)
    await old.event(OUT)
    assert await old.terminate() == 0
    await nats_server.start()
    new.process.send_signal(signal.SIGHUP)
    await nats_server.until(lambda lines: sum(line["event"] == "daemon.stopped" for line in lines) == 1)
    assert await new.terminate() == 0
    whole(await nats_server.lines(), [old, new])
    assert chains_of(line for _, line, _ in await nats_server.messages()).fault is None


async def test_a_buffer_that_is_full_refuses_sessions_and_takes_them_again(start, nats_server, environ):
    await nats_server.stop()
    daemon = await start(**environ, AUDIT_LOG="off", AUDIT_REQUIRED="true", AUDIT_MAX_BUFFER="1Mi")
    long = script(f"exit 0; {'x' * 100_000}")
    while True:
        async with rawws.connected(daemon.port, request(daemon, long)) as ws:
            if ws.answer.status == 503:
                break
            await ws.finish()
    refused = await daemon.event("request refused", reason="audit_unavailable")
    assert refused["detail"].startswith("nats: AUDIT_MAX_BUFFER is full; NATS can't be reached")
    assert json.loads((await get(daemon, "/readyz")).body)["checks"]["audit"] == refused["detail"]
    await nats_server.start()
    await daemon.event(AGAIN)
    await nats_server.until(lambda lines: any(line["event"] == "session.refused" for line in lines))
    assert (await run(daemon, TRUE)).exit_code == 0
    assert await daemon.terminate() == 0
    lines = await nats_server.lines()
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert lines[-1]["event"] == "daemon.stopped"


async def test_a_disk_that_is_full_sends_from_memory(start, nats_server, environ, tmp_path):
    """A tmpfs without room: NATS takes them as they come, and nothing is refused."""
    spool = tmp_path / "spool"
    spool.mkdir()
    mount = await asyncio.create_subprocess_exec("mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", spool)
    assert await mount.wait() == 0, "a tmpfs can't be mounted here"
    try:
        (spool / "ballast").write_bytes(b"x" * 8 * 1024)
        daemon = await start(**environ, AUDIT_REQUIRED="true")
        await sessions(daemon, 5)
        assert await daemon.terminate() == 0
        whole(await nats_server.lines(), [daemon])
        await nats_server.stop()
        daemon = await start(**environ, AUDIT_LOG="off", AUDIT_REQUIRED="true")
        await daemon.event("audit lines for NATS can't be kept on disk; they are in memory")
        await daemon.event(OUT)
        async with rawws.connected(daemon.port, request(daemon, TRUE)) as ws:
            assert ws.answer.status == 503
        await nats_server.start()
        await daemon.event(AGAIN)
        await sessions(daemon, 1)
        assert await daemon.terminate() == 0
        lines = [line for line in await nats_server.lines() if line["event"] == "session.refused"]
        assert [line["refusal"] for line in lines] == ["audit_unavailable"]
    finally:
        umount = await asyncio.create_subprocess_exec("umount", "-l", spool)
        assert await umount.wait() == 0


async def test_a_line_that_is_too_long_for_the_server_is_counted_and_the_rest_goes_on(start, nats_server, environ):
    await nats_server.stream(max_msg_size=4096)
    daemon = await start(**environ, WS_PROXY_ADMIN_ADDR="127.0.0.1:0")
    assert (await run(daemon, script(f"exit 0; {'x' * 8000}"))).exit_code == 0
    await sessions(daemon, 1)
    await daemon.event("an audit line is lost to NATS")
    await nats_server.until(lambda lines: sum(line["event"] == "session.ended" for line in lines) == 2)
    assert 'k8s_ws_proxy_audit_lines_lost_total{sink="nats"} 1.0' in await metrics(daemon)
    assert await daemon.terminate() == 0
    assert "removed" in str(chains_of(line for _, line, _ in await nats_server.messages()).fault)


async def test_credentials_by_file_and_not_without(start, tmp_path):
    operator = Operator()
    server = NatsServer(tmp_path / "nats", operator.config, **operator.connect())
    await server.start()
    await server.stream()
    file = tmp_path / "nats.creds"
    environ = {"AUDIT_NATS_URL": server.url, "AUDIT_DIR": str(tmp_path / "spool")}
    daemon = await start(**environ, AUDIT_NATS_CREDENTIALS=str(file))
    line = await daemon.event(OUT)
    assert line["error"] == f"AUDIT_NATS_CREDENTIALS {file} can't be read: No such file or directory"
    file.write_text("nonsense")
    await daemon.event(OUT, error=f"AUDIT_NATS_CREDENTIALS {file} isn't a credentials file: a user's JWT and its seed")
    file.write_text(Operator().credentials())  # of somebody else's operator
    await daemon.logged(lambda line: "authorization" in str(line.get("error", "")).lower())
    file.write_text(operator.credentials())
    await daemon.event(AGAIN)
    await sessions(daemon, 1)
    assert await daemon.terminate() == 0
    whole(await server.lines(), [daemon])
    assert found_in(daemon.raw_log, {operator.seed, operator.user_jwt}) == []
    await server.stop(signal.SIGKILL)


async def test_tls_with_a_ca_and_no_server_without_it(start, tmp_path):
    authority = Authority("servers", tmp_path)
    leaf = authority.leaf("localhost", dns=("localhost",))
    config = f"tls {{ cert_file: {leaf.cert}, key_file: {leaf.key} }}"
    server = NatsServer(tmp_path / "nats", config, tls=authority.client(), tls_hostname="localhost")
    await server.start()
    await server.stream()
    environ = {"AUDIT_NATS_URL": f"tls://localhost:{server.port}", "AUDIT_DIR": str(tmp_path / "spool")}
    daemon = await start(**environ)
    line = await daemon.event(OUT)
    assert "certificate" in line["error"].lower()
    assert await daemon.terminate() == 0
    daemon = await start(**environ, AUDIT_NATS_CA_FILE=str(authority.file))
    await daemon.event("audit lines that a daemon before has left are sent")
    assert await daemon.terminate() == 0
    assert len({line["daemon"] for line in await server.lines()}) == 2
    await server.stop(signal.SIGKILL)


async def test_a_server_without_tls_is_told_nothing_where_tls_is_wanted(start, nats_server, environ):
    environ["AUDIT_NATS_URL"] = f"tls://127.0.0.1:{nats_server.port}"
    daemon = await start(**environ)
    line = await daemon.event(OUT)
    assert line["error"] == "NATS can't be reached: the server speaks no TLS, and AUDIT_NATS_URL wants it"
    assert await nats_server.lines() == []


async def test_nor_is_it_told_anything_when_it_is_tried_again(nats_server, tmp_path):
    server = f"tls://127.0.0.1:{nats_server.port}"
    link = NatsLink(NatsSettings((server,), "any", None, None, tmp_path / "spool", 2**20), "k8s-ws-proxy")
    for _ in range(3):
        with pytest.raises(AuditError, match="the server speaks no TLS"):
            await link.publish("catalyst.events.k8s-ws-proxy.any", b"{}", "1")
    await link.close()
    assert await nats_server.lines() == []


async def test_who_comes_with_nats_away_is_not_held_up(start, nats_server, environ):
    """The daemon's loop does nothing of it: its watchdog would say so, and the fixture looks."""
    nats_server.freeze()
    daemon = await start(**environ)
    await asyncio.gather(*(run(daemon, proxy_exec("true", **PIPES)) for _ in range(20)))
    nats_server.thaw()
    assert await daemon.terminate() == 0
