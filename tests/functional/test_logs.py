"""Logs through the proxy, as lines on a WebSocket and as a plain body (the contract, "Logs")."""

from __future__ import annotations

import asyncio
import json

import pytest
import pytest_asyncio
from support import writers
from support.caller import V4, V5, ask, at_rest, close, memory, proxy_exec, refusal_of, reset_peak, run, say, script
from support.daemon import running_daemon
from support.logs import (
    api_log,
    followed,
    get_log,
    next_line,
    plain,
    proxy_log,
    read_log,
    refused_plain,
    to_its_end,
    to_its_end_at_once,
)
from support.writers import FOUR, LONG, WILD

from k8s_ws_proxy.devcluster import DevCluster
from k8s_ws_proxy.devcluster.faults import Death
from k8s_ws_proxy.wire.framing import frames

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1 << 20
LINES = [f"{line}\n".encode() for line in FOUR]


@pytest.fixture(scope="module")
def bulk():
    return writers.Bulk(100_000_000)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_cluster():
    async with DevCluster(writers.world()) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def own_cluster(bulk):
    """For tests that write what others read."""
    pods = bulk.pod("bulk"), bulk.pod("bulk-later", at_once=False)
    async with DevCluster(writers.world(*pods)) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def own_daemon(own_cluster, tmp_path):
    kubeconfig = own_cluster.write_kubeconfig(tmp_path / "kubeconfig", "proxy")
    async with running_daemon(kubeconfig, tmp_path) as running:
        yield running


@pytest.fixture
def seen(shared_cluster):
    before = len(shared_cluster.observed.seen)
    return lambda: [each.target for each in shared_cluster.observed.seen[before:] if "/log" in each.target]


async def tell(daemon, pod):
    """Let a container that waits go on."""
    assert (await run(daemon, proxy_exec("touch", "end", pod=pod, container=pod, tty="false"))).exit_code == 0


class TestLines:
    """``/proxy/logs``."""

    async def test_one_binary_message_for_each_line_and_close_1000(self, shared_daemon):
        log = await read_log(shared_daemon, proxy_log("four"))
        assert log.lines == LINES
        assert (log.code, log.reason) == (frames.NORMAL, "")

    async def test_what_is_asked_upstream(self, shared_daemon, seen):
        await read_log(shared_daemon, proxy_log("four"))
        await read_log(shared_daemon, proxy_log("four", follow="false", tailLines="2"))
        await read_log(shared_daemon, "/proxy/logs/default/four?follow=false")
        path = "/api/v1/namespaces/default/pods/four/log"
        assert seen() == [
            f"{path}?container=four&follow=true&tailLines=100",
            f"{path}?container=four&tailLines=2",
            f"{path}?tailLines=100",
        ]

    async def test_the_last_lines_only(self, shared_daemon):
        await read_log(shared_daemon, proxy_log("four"))
        log = await read_log(shared_daemon, proxy_log("four", tailLines="2"))
        assert log.lines == LINES[2:]
        assert (await read_log(shared_daemon, proxy_log("four", tailLines="0"))).lines == []

    async def test_bytes_are_as_the_kubelet_gave_them(self, shared_daemon):
        log = await read_log(shared_daemon, proxy_log("wild"))
        assert log.content == WILD
        assert [line.count(b"\n") for line in log.lines] == [1] * WILD.count(b"\n") + [0]
        assert log.code == frames.NORMAL

    async def test_a_line_over_a_mebibyte_is_split_and_not_dropped(self, shared_daemon):
        log = await read_log(shared_daemon, proxy_log("long"))
        assert [len(line) for line in log.lines] == [*[MIB] * 5, 8, 6]
        assert log.content == b"x" * LONG + b"\nafter\n"
        assert log.code == frames.NORMAL

    async def test_a_log_without_content(self, shared_daemon):
        log = await read_log(shared_daemon, proxy_log("quick"))
        assert (log.lines, log.code) == ([], frames.NORMAL)

    async def test_a_pod_without_a_node_has_none_either(self, shared_daemon):
        log = await read_log(shared_daemon, proxy_log("pending"))
        assert (log.lines, log.code) == ([], frames.NORMAL)

    async def test_a_hundred_megabytes_by_hash(self, own_daemon, bulk):
        async with followed(own_daemon, proxy_log("bulk-later"), limit=MIB) as ws:
            await tell(own_daemon, "bulk-later")  # the tail is of what there was before, which is nothing
            log = await to_its_end_at_once(ws)
        assert writers.sha256(log.content) == bulk.sha256
        assert all(line.endswith(b"\n") for line in log.lines[:-1])
        assert log.code == frames.NORMAL

    async def test_lines_come_as_they_are_written_and_a_follower_ends_with_its_container(self, own_daemon):
        async with followed(own_daemon, proxy_log("waits")) as ws:
            assert await next_line(ws) == b"one\n"
            assert await next_line(ws) == b"two\n"
            await tell(own_daemon, "waits")
            assert await next_line(ws) == b"three\n"
            log = await to_its_end(ws)
        assert (log.lines, log.code) == ([], frames.NORMAL)

    async def test_a_line_without_an_end_comes_with_the_end(self, own_daemon):
        async with followed(own_daemon, proxy_log("unfinished")) as ws:
            assert await next_line(ws) == b"one\n"
            await tell(own_daemon, "unfinished")
            log = await to_its_end(ws)
        assert (log.lines, log.code) == ([b"and a half"], frames.NORMAL)

    async def test_since_and_timestamps_let_a_client_go_on_where_it_stopped(self, own_daemon):
        first = await read_log(own_daemon, proxy_log("spaced", timestamps="true"))
        assert [line.split(b" ", 1)[1] for line in first.lines] == [b"one\n", b"two\n", b"three\n"]
        seen_last = first.lines[1].split(b" ")[0].decode()
        again = await read_log(own_daemon, proxy_log("spaced", timestamps="true", since=seen_last, tailLines="10000"))
        assert again.lines == first.lines[1:], "whole seconds: what came in the same one comes again"
        assert [line for line in again.lines if line.split(b" ")[0].decode() > seen_last] == first.lines[2:]

    async def test_the_run_before(self, own_daemon):
        log = await read_log(own_daemon, proxy_log("twice"))
        assert log.lines == [b"run 1\n"]
        await run(own_daemon, "/proxy/attach/default/twice/twice?tty=false")
        assert (await read_log(own_daemon, proxy_log("twice"))).lines == [b"run 2\n"]
        assert (await read_log(own_daemon, proxy_log("twice", previous="true"))).lines == [b"run 1\n"]

    @pytest.mark.parametrize(
        ("offered", "answered"),
        [((), None), ((V4,), V4), ((V5, V4), V5), (("binary.k8s.io",), "binary.k8s.io"), (("x", V4), V4)],
    )
    async def test_subprotocols_change_nothing_in_the_messages(self, shared_daemon, offered, answered):
        async with followed(shared_daemon, proxy_log("four"), subprotocols=offered) as ws:
            assert ws.answer.headers.get("sec-websocket-protocol") == answered
            assert (await to_its_end(ws)).lines == LINES

    async def test_an_unknown_subprotocol_is_refused(self, shared_daemon):
        answer = await ask(shared_daemon, proxy_log("four"), subprotocols=["base64.binary.k8s.io"])
        assert answer.status == 400
        text, reason = refusal_of(answer, "/proxy/")
        assert reason == "unknown_subprotocol"
        assert "binary.k8s.io" in text

    async def test_a_plain_get_is_told_to_upgrade(self, shared_daemon):
        answer = await refused_plain(shared_daemon, proxy_log("four"))
        assert answer.status == 426
        assert answer.headers["upgrade"] == "websocket"

    async def test_pings_are_answered_and_what_the_client_says_means_nothing(self, own_daemon):
        async with followed(own_daemon, proxy_log("waits")) as ws:
            await next_line(ws)
            await next_line(ws)
            await ws.send_frame(frames.BINARY, b"\0stdin")
            await ws.send_frame(frames.TEXT, b"hello")
            await ws.send_frame(frames.BINARY, b"\x04" * 100_000)
            await ws.send_frame(frames.BINARY, b"\xff\0")
            await ws.send_frame(frames.PING, b"are you there")
            pong = await ws.frame()
            assert (pong.opcode, pong.payload) == (frames.PONG, b"are you there")
            await tell(own_daemon, "waits")
            assert (await to_its_end(ws)).lines == [b"three\n"]

    async def test_a_client_that_breaks_the_protocol(self, own_daemon, own_cluster):
        async with followed(own_daemon, proxy_log("waits")) as ws:
            await next_line(ws)
            await next_line(ws)
            await ws.send_raw(b"\xf2\x80\0\0\0\0")
            log = await to_its_end(ws)
        assert log.code == frames.PROTOCOL_ERROR
        await own_cluster.observed.wait_for(lambda: own_cluster.observed.open_streams == 0)

    @pytest.mark.parametrize("how", ["close frame", "drop"])
    async def test_a_client_that_leaves_is_gone_upstream_too(self, own_daemon, own_cluster, how):
        async with followed(own_daemon, proxy_log("waits")) as ws:
            await next_line(ws)
            await next_line(ws)
            if how == "close frame":
                await close(ws)
                assert (await to_its_end(ws)).code == frames.NORMAL
        await own_cluster.observed.wait_for(lambda: own_cluster.observed.open_streams == 0)
        line = await own_daemon.event("session ended")
        assert (line["reason"], line["subresource"], line["follow"]) == ("client_left", "log", True)
        assert "exit_code" not in line
        await at_rest(own_daemon)

    @pytest.mark.parametrize(
        ("target", "code", "message"),
        [
            (proxy_log("nope"), 404, 'pods "nope" not found'),
            (proxy_log("four", "nope"), 400, "container nope is not valid for pod four"),
            (
                proxy_log("four", previous="true"),
                400,
                'previous terminated container "four" in pod "four" not found',
            ),
        ],
    )
    async def test_a_refusal_of_the_apiserver_is_told_after_the_101(
        self, shared_daemon, shared_lines, target, code, message
    ):
        log = await read_log(shared_daemon, target)
        assert log.status["message"] == message
        assert log.status["code"] == code
        assert (log.code, log.reason) == (frames.INTERNAL_ERROR, message)
        line = await shared_lines.event("session failed")
        assert (line["level"], line["reason"], line["subresource"]) == ("warning", "upstream_refused", "log")

    @pytest.mark.parametrize("death", Death)
    @pytest.mark.parametrize("sent", [0, 10, 1_000_000])
    async def test_an_apiserver_that_dies_in_the_middle_is_1011(self, own_daemon, own_cluster, death, sent):
        own_cluster.faults.die_after(sent, death)
        async with followed(own_daemon, proxy_log("bulk-later")) as ws:
            if sent:
                await tell(own_daemon, "bulk-later")
            log = await to_its_end(ws)
        assert log.code == frames.INTERNAL_ERROR
        assert log.reason == "The apiserver's connection ended before the log did."
        if death is Death.EOF:
            assert len(log.content) == sent, "all there was, a line without an end at last"
        assert (await own_daemon.event("session ended", subresource="log"))["reason"] == "upstream_lost"

    async def test_an_apiserver_that_is_down(self, shared_daemon, shared_cluster):
        shared_cluster.faults.kubelet_up = False
        try:
            log = await read_log(shared_daemon, proxy_log("four"))
        finally:
            shared_cluster.faults.clear()
        assert log.code == frames.INTERNAL_ERROR
        assert "containerLogs" in log.reason
        assert log.status["code"] == 500


class TestBody:
    """``/api/v1/.../log`` by plain HTTP."""

    async def test_the_body_is_the_log(self, shared_daemon):
        await get_log(shared_daemon, api_log("four", follow="true"))
        answer = await get_log(shared_daemon, api_log("four"))
        assert (answer.status, answer.body, answer.whole) == (200, b"one\ntwo\nthree\nfour\n", True)
        assert answer.headers["content-type"] == "text/plain"
        assert answer.headers["connection"] == "close"
        assert "date" in answer.headers

    async def test_what_is_asked_upstream(self, shared_daemon, seen):
        target = api_log("four", container="four", tailLines="3", timestamps="true", limitBytes="10", pretty="true")
        await get_log(shared_daemon, target)
        await get_log(shared_daemon, api_log("four"))
        path = "/api/v1/namespaces/default/pods/four/log"
        assert seen() == [f"{path}?container=four&timestamps=true&tailLines=3&limitBytes=10", path]

    async def test_bytes_are_as_the_kubelet_gave_them(self, shared_daemon):
        assert (await get_log(shared_daemon, api_log("wild", follow="true"))).body == WILD

    async def test_a_hundred_megabytes_by_hash(self, own_daemon, bulk):
        answer = await get_log(own_daemon, api_log("bulk", follow="true"))
        assert writers.sha256(answer.body) == bulk.sha256
        assert answer.whole

    async def test_lines_come_as_they_are_written_and_a_follower_ends_with_its_container(self, own_daemon):
        async with plain(own_daemon, api_log("waits", follow="true")) as asked:
            body = b""
            while body != b"one\ntwo\n":
                body += await asked.next()
            await tell(own_daemon, "waits")
            answer = await asked.rest()
        assert (answer.body, answer.whole) == (b"three\n", True)
        line = await own_daemon.event("session ended", subresource="log")
        assert (line["reason"], line["close_code"], line["level"]) == ("log_ended", None, "info")

    async def test_a_log_without_content(self, shared_daemon):
        for pod in ("quick", "pending"):
            answer = await get_log(shared_daemon, api_log(pod))
            assert (answer.status, answer.body, answer.whole) == (200, b"", True)

    async def test_a_client_that_leaves_is_gone_upstream_too(self, own_daemon, own_cluster):
        async with plain(own_daemon, api_log("waits", follow="true")) as asked:
            await asked.next()
        await own_cluster.observed.wait_for(lambda: own_cluster.observed.open_streams == 0)
        assert (await own_daemon.event("session ended"))["reason"] == "client_left"
        await at_rest(own_daemon)

    async def test_a_second_request_on_the_connection_is_not_looked_at(self, shared_daemon):
        target = api_log("four", follow="true")
        async with plain(shared_daemon, target) as asked:
            asked.writer.write(b"GET /healthz HTTP/1.1\r\nHost: proxy\r\n\r\n")
            answer = await asked.rest()
            assert answer.whole
            assert await asked.reader.read() == b""

    @pytest.mark.parametrize("death", Death)
    @pytest.mark.parametrize("sent", [0, 10, 1_000_000])
    async def test_an_apiserver_that_dies_in_the_middle_leaves_a_body_without_an_end(
        self, own_daemon, own_cluster, death, sent
    ):
        own_cluster.faults.die_after(sent, death)
        answer = await get_log(own_daemon, api_log("bulk", follow="true"))
        assert answer.status == 200
        assert not answer.whole
        if death is Death.EOF:
            assert len(answer.body) == sent

    @pytest.mark.parametrize(
        ("target", "code", "message"),
        [
            (api_log("nope"), 404, 'pods "nope" not found'),
            (api_log("four", previous="true"), 400, 'previous terminated container "four" in pod "four" not found'),
        ],
    )
    async def test_a_refusal_of_the_apiserver_is_passed_on(self, shared_daemon, target, code, message):
        answer = await get_log(shared_daemon, target)
        status = json.loads(answer.body)
        assert (answer.status, status["code"], status["message"]) == (code, code, message)
        assert status["kind"] == "Status"

    async def test_an_apiserver_that_does_not_answer(self, shared_cluster, tmp_path):
        kubeconfig = shared_cluster.write_kubeconfig(tmp_path / "kubeconfig", "proxy")
        async with running_daemon(kubeconfig, tmp_path, WS_HANDSHAKE_TIMEOUT="300ms") as daemon:
            shared_cluster.faults.hang()
            answer = await refused_plain(daemon, api_log("four"))
            assert answer.status == 504
            assert refusal_of(answer, "/api/")[1] == "upstream_timeout"
            shared_cluster.faults.hang()
            log = await read_log(daemon, proxy_log("four"))
            assert (log.code, log.status["code"]) == (frames.INTERNAL_ERROR, 504)

    @pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
    async def test_only_get(self, shared_daemon, seen, method):
        answer = await get_log(shared_daemon, api_log("four"), method=method)
        assert answer.status == 405
        assert answer.headers["allow"] == "GET"
        assert seen() == []

    @pytest.mark.parametrize(("version", "length"), [("1.0", 0), ("1.1", 3)])
    async def test_not_by_http_1_0_nor_with_a_body(self, shared_daemon, seen, version, length):
        target = api_log("four")
        lines = [f"GET {target} HTTP/{version}", "Host: proxy", f"Content-Length: {length}"]
        lines += [f"{name}: {value}" for name, value in shared_daemon.headers(target).items()]
        answer = await say(shared_daemon, ("\r\n".join(lines) + "\r\n\r\n" + "x" * length).encode())
        assert (answer.status, refusal_of(answer, target)[1]) == (400, "bad_handshake")
        assert seen() == []

    async def test_without_a_credential(self, shared_daemon, seen):
        answer = await refused_plain(shared_daemon, api_log("four"), headers={})
        assert answer.status == 401
        assert refusal_of(answer, "/api/")[1] == "missing_timestamp"
        assert seen() == []

    async def test_a_websocket_where_one_is_asked_for(self, shared_daemon):
        log = await read_log(shared_daemon, api_log("four", follow="true"), subprotocols=["binary.k8s.io"])
        assert (log.lines, log.code) == (LINES, frames.NORMAL)
        answer = await ask(shared_daemon, api_log("nope"))
        assert answer.status == 404
        assert json.loads(answer.body)["message"] == 'pods "nope" not found'


BAD = {
    "tailLines": ["-1", "x", "10001"],
    "since": ["yesterday", "2025-02-30T00:00:00Z"],
    "container": ["X"],
}
BAD_API = {
    "tailLines": ["-1", "x"],
    "limitBytes": ["0", "x"],
    "sinceSeconds": ["0", "1.5"],
    "sinceTime": ["yesterday"],
    "stream": ["both"],
    "container": ["X"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
async def test_a_bad_parameter_on_proxy_logs(shared_daemon, seen, name, value):
    target = f"/proxy/logs/default/four?{name}={value}"
    answer = await ask(shared_daemon, target)
    assert answer.status == 400
    text, reason = refusal_of(answer, target)
    assert reason == "bad_query"
    assert name in text
    assert seen() == []


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD_API.items() for value in values])
async def test_a_bad_parameter_on_the_apiservers_path(shared_daemon, seen, name, value):
    target = api_log("four", **{name: value})
    answer = await refused_plain(shared_daemon, target)
    assert answer.status == 400
    text, reason = refusal_of(answer, target)
    assert reason == "bad_query"
    assert name in text
    assert seen() == []


@pytest.mark.parametrize("kind", ["lines", "body"])
async def test_a_slow_reader_holds_the_log_back(own_daemon, own_cluster, kind):
    """With 100 MB to come and nobody reading, the daemon holds little, and the upstream connection stands still."""
    reset_peak(own_daemon)
    before = memory(own_daemon)
    target, opening = (proxy_log("bulk"), followed) if kind == "lines" else (api_log("bulk", follow="true"), plain)
    async with opening(own_daemon, target, limit=1 << 16) as slow:
        # Time for all of the log, if it weren't held back: others get four times as much meanwhile.
        ended = await asyncio.gather(*(run(own_daemon, script("head -c 100000000 /dev/zero")) for _ in range(4)))
        assert [each.exit_code for each in ended] == [0, 0, 0, 0]
        assert own_cluster.observed.open_streams == 1
        assert memory(own_daemon) - before < 8 * MIB
        if kind == "body":
            answer = await slow.rest()
            assert (len(answer.body), answer.whole) == (100_000_000, True)


async def test_shutting_down_ends_a_follower_with_1001_and_a_body_without_its_end(own_cluster, tmp_path):
    kubeconfig = own_cluster.write_kubeconfig(tmp_path / "kubeconfig", "proxy")
    async with (
        running_daemon(kubeconfig, tmp_path, DRAIN_TIMEOUT="0s") as daemon,
        followed(daemon, proxy_log("waits")) as ws,
        plain(daemon, api_log("waits", follow="true")) as asked,
    ):
        await next_line(ws)
        await next_line(ws)
        await asked.next()
        ending = asyncio.get_running_loop().create_task(daemon.terminate())
        log = await to_its_end(ws)
        assert (log.lines, log.code) == ([], frames.GOING_AWAY)
        assert log.reason == "the proxy on this node is shutting down"
        assert not (await asked.rest()).whole
        asked.writer.close()
        assert await ending == 0
    assert {line["reason"] for line in daemon.log if line["event"] == "session ended"} == {"drained"}


async def test_a_follower_without_news_is_pinged_and_one_that_does_not_answer_is_closed(own_cluster, tmp_path):
    kubeconfig = own_cluster.write_kubeconfig(tmp_path / "kubeconfig", "proxy")
    async with running_daemon(kubeconfig, tmp_path, WS_PING_PERIOD="1s") as daemon:
        async with followed(daemon, proxy_log("silent")) as ws:
            for _ in range(3):
                ping = await ws.frame()
                assert ping.opcode == frames.PING
                await ws.send_frame(frames.PONG, ping.payload)
            while (frame := await ws.frame()).opcode == frames.PING:
                pass
            assert frames.parse_close(frame.payload)[0] == frames.GOING_AWAY
        assert (await daemon.event("session ended"))["reason"] == "client_silent"


async def test_logs_can_be_switched_off(shared_cluster, tmp_path):
    kubeconfig = shared_cluster.write_kubeconfig(tmp_path / "kubeconfig", "proxy")
    async with running_daemon(kubeconfig, tmp_path, ALLOWED_SUBRESOURCES="exec,attach") as daemon:
        answer = await ask(daemon, proxy_log("four"))
        assert (answer.status, refusal_of(answer, "/proxy/")[1]) == (403, "subresource_denied")
        answer = await refused_plain(daemon, api_log("four"))
        assert (answer.status, refusal_of(answer, "/api/")[1]) == (403, "subresource_denied")


async def test_an_alias_names_a_workload(own_cluster, tmp_path):
    kubeconfig = own_cluster.write_kubeconfig(tmp_path / "kubeconfig", "proxy")
    async with running_daemon(kubeconfig, tmp_path, POD_ALIAS_LABEL="app") as daemon:
        answer = await get_log(daemon, api_log("no-such-app"))
        assert answer.status == 404
        log = await read_log(daemon, "/proxy/logs/default/four?follow=true")
        assert log.lines == LINES
