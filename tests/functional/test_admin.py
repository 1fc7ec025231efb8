"""The operators' listener: metrics that move as sessions do, and the keys without a key in them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support import rawws
from support.caller import PIPES, ask, get, proxy_exec, run, script
from support.daemon import SECRET

from k8s_ws_proxy.wire.requests.signing import key_fingerprint

OTHER = b"other-" + b"o" * 40
TARGET = proxy_exec("true", **PIPES)


@pytest.fixture
async def daemon(start):
    return await start(WS_PROXY_ADMIN_ADDR="127.0.0.1:0")


async def admin(daemon, path, method="GET"):
    data = f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    async with rawws.connected(daemon.ports["admin"], data) as connection:
        return connection.answer


async def samples(daemon):
    """Every sample of the page, by name and labels."""
    answer = await admin(daemon, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name.removeprefix("k8s_ws_proxy_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


async def keys(daemon):
    return json.loads((await admin(daemon, "/keys")).body)


def age(told, then):
    return (datetime.fromisoformat(told["now"]) - datetime.fromisoformat(then)).total_seconds()


async def test_a_session_moves_the_metrics(daemon):
    before = await samples(daemon)
    assert before["sessions_ended_total", "command_ended"] == 0
    assert (await run(daemon, script("echo hello"))).exit_code == 0
    await daemon.event("session ended")
    after = await samples(daemon)
    assert after["sessions_opened_total", "exec"] == 1
    assert after["sessions_ended_total", "command_ended"] == 1
    assert after["key_requests_total", "secret", "v1"] == 1
    assert after["key_requests_total", "secret", "v2"] == 0
    assert after["bytes_total", "out"] > len("hello\n")
    for histogram in ("handshake_seconds", "dial_seconds", "session_seconds"):
        assert before[f"{histogram}_count",] == 0
        assert after[f"{histogram}_count",] == after[f"{histogram}_bucket", "+Inf"] == 1
    assert 0 < after["dial_seconds_sum",] <= after["handshake_seconds_sum",] <= 10


async def test_a_refusal_moves_its_reason_and_no_histogram(daemon):
    await ask(daemon, TARGET, headers={})
    after = await samples(daemon)
    assert after["refusals_total", "missing_timestamp"] == 1
    assert after["handshake_seconds_count",] == 0
    assert not any(name == "sessions_opened_total" for name, *_ in after)


async def test_a_failed_dial_is_a_refusal_and_no_session(daemon, cluster):
    cluster.faults.refuse(500, b"no")
    async with rawws.connected(daemon.port, rawws.request(TARGET, daemon.headers(TARGET.partition("?")[0]))) as ws:
        await ws.finish()
    after = await samples(daemon)
    assert after["refusals_total", "upstream_refused"] == 1
    assert after["dial_seconds_count",] == after["handshake_seconds_count",] == after["session_seconds_count",] == 0


async def test_the_build_stands_on_the_page(daemon):
    from k8s_ws_proxy import __version__  # noqa: PLC0415

    page = (await admin(daemon, "/metrics")).body.decode()
    assert re.search(rf'^k8s_ws_proxy_build_info\{{.*version="{re.escape(__version__)}"\}} 1\.0$', page, re.MULTILINE)


async def test_the_keys_are_told_by_fingerprint_with_their_use(start, tmp_path):
    directory = tmp_path / "keys"
    directory.mkdir()
    (directory / "second").write_bytes(OTHER)
    daemon = await start(WS_PROXY_ADMIN_ADDR="127.0.0.1:0", SHARED_SECRET_DIR=str(directory))
    told = await keys(daemon)
    assert [(key["id"], key["fingerprint"], key["last_used"]) for key in told["keys"]] == [
        ("secret", key_fingerprint(SECRET), None),
        ("second", key_fingerprint(OTHER), None),
    ]
    for key in told["keys"]:
        assert 0 <= age(told, key["since"]) < 300
    assert abs(datetime.now(UTC) - datetime.fromisoformat(told["started"])).total_seconds() < 300
    await ask(daemon, TARGET, headers={**daemon.headers(TARGET), "X-Catalyst-HMAC": "0" * 64})
    assert [key["last_used"] for key in (await keys(daemon))["keys"]] == [None, None]
    daemon.secret = OTHER
    await run(daemon, TARGET)
    told = await keys(daemon)
    assert told["keys"][0]["last_used"] is None
    assert 0 <= age(told, told["keys"][1]["last_used"]) < 300
    text = json.dumps(told)
    assert SECRET.decode() not in text
    assert OTHER.decode() not in text


async def test_a_key_that_could_be_guessed_has_no_fingerprint(start):
    daemon = await start(WS_PROXY_ADMIN_ADDR="127.0.0.1:0", secret=b"short")
    (key,) = (await keys(daemon))["keys"]
    assert (key["id"], key["fingerprint"]) == ("secret", None)


@pytest.mark.parametrize("path", ["/metrics", "/keys"])
async def test_callers_have_no_business_there(daemon, path):
    assert (await get(daemon, path)).status == 404


@pytest.mark.parametrize("path", ["/metrics", "/keys", "/healthz", "/readyz"])
async def test_what_is_served_is_read_only(daemon, path):
    assert (await admin(daemon, path)).status == 200
    assert (await admin(daemon, path, method="POST")).status == 405


@pytest.mark.parametrize("path", ["/", "/keys/", "/keys/secret", "/proxy/exec/default/shell", "/%6beys"])
async def test_nothing_else_is_there(daemon, path):
    answer = await admin(daemon, path)
    assert (answer.status, json.loads(answer.body)["reason"]) == (404, "bad_path")


async def test_it_can_be_turned_off(start):
    daemon = await start(WS_PROXY_ADMIN_ADDR="off")
    assert set(daemon.ports) == {"http"}


async def test_a_port_that_is_taken_is_named_with_its_setting(start, daemon):
    with pytest.raises(AssertionError, match=r"in use.*WS_PROXY_ADMIN_ADDR"):
        await start(WS_PROXY_ADMIN_ADDR=f"127.0.0.1:{daemon.ports['admin']}")
