"""Nobody comes in who shouldn't: every odd request is a logged 4xx, and the apiserver never hears of it.

Each carries a good signature, so that nothing but its oddity keeps it out.
"""

from __future__ import annotations

import asyncio
import json
import random

import pytest
import pytest_asyncio
from support.caller import PIPES, api_exec, at_rest, proxy_exec, request, run, signed_path
from support.daemon import SECRET, told

from k8s_ws_proxy.wire.requests.signing import signed_headers

pytestmark = pytest.mark.asyncio(loop_scope="module")

TARGET = proxy_exec("true", **PIPES)
PATH = signed_path(TARGET)
KEY = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="


@pytest.fixture(scope="module")
def shared_environ():
    """No connection is kept ready: it would stay for ten seconds, and some tests wait until there is none."""
    return {"READY_CONNECTIONS": "0"}


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def kept_out(shared_daemon, shared_cluster, shared_lines):
    """No session is asked for at the apiserver, nothing goes wrong inside, and the next caller is served."""
    before = len(shared_cluster.observed.seen)
    yield
    assert [seen.target for seen in shared_cluster.observed.seen[before:] if seen.target != "/version"] == []
    assert (await run(shared_daemon, TARGET)).exit_code == 0
    assert not [line for line in shared_lines.new if line["level"] == "error"]
    assert len(shared_daemon.log) + len(shared_daemon.trail) == len(shared_daemon.raw_log), "every line is JSON"
    assert "Traceback" not in "".join(shared_daemon.raw_log)


async def answer_to(daemon, data):
    """The status of what comes back; None if the connection is closed without a word."""
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    try:
        writer.write(data)
        return int((await reader.readuntil(b"\r\n\r\n")).split()[1])
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    finally:
        writer.transport.abort()


async def refused(daemon, lines, data):
    """Assert a 4xx, and a line in the log that says why."""
    status = await answer_to(daemon, data)
    assert status is not None
    assert 400 <= status < 500, status
    line = await lines.event("request refused")
    assert line["status"] == status


def signed(daemon, target=TARGET):
    return [f"{name}: {value}" for name, value in daemon.headers(signed_path(target)).items()]


def head(daemon, *, line=None, host=("Host: proxy",), target=TARGET, upgrade=("Upgrade: websocket",), more=(), **other):
    """A good request, with what is given in the place of its parts."""
    parts = [
        line or f"GET {target} HTTP/1.1",
        *host,
        *upgrade,
        *other.get("connection", ("Connection: Upgrade",)),
        *other.get("version", ("Sec-WebSocket-Version: 13",)),
        *other.get("key", (KEY,)),
        *(signed(daemon, target) if "credential" not in other else other["credential"]),
        *more,
    ]
    return "\r\n".join([*parts, "", ""]).encode("utf-8", "surrogateescape")


ODD = {
    "a length and chunks": {"more": ("Content-Length: 4", "Transfer-Encoding: chunked")},
    "chunks and a length": {"more": ("Transfer-Encoding: chunked", "Content-Length: 4")},
    "chunks": {"more": ("Transfer-Encoding: chunked",)},
    "chunks, spelt oddly": {"more": ("Transfer-Encoding: xchunked",)},
    "chunks twice": {"more": ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked")},
    "chunks that aren't last": {"more": ("Transfer-Encoding: chunked, identity",)},
    "identity": {"more": ("Transfer-Encoding: identity",)},
    "chunks after a tab": {"more": ("Transfer-Encoding:\tchunked",)},
    "chunks before a vertical tab": {"more": ("Transfer-Encoding: chunked\x0b",)},
    "a length": {"more": ("Content-Length: 4",)},
    "a length of twice nothing": {"more": ("Content-Length: 00",)},
    "an Expect": {"more": ("Expect: 100-continue",)},
    "an Expect of something else": {"more": ("Expect: junk",)},
    "two lengths": {"more": ("Content-Length: 0", "Content-Length: 4")},
    "two lengths of nothing": {"more": ("Content-Length: 0", "Content-Length: 0")},
    "a list of lengths of nothing": {"more": ("Content-Length: 0, 0",)},
    "a length of nothing, and chunks": {"more": ("Content-Length: 0", "Transfer-Encoding: chunked")},
    "a length of nothing, and an Expect": {"more": ("Content-Length: 0", "Expect: 100-continue")},
    "a list of lengths": {"more": ("Content-Length: 4, 4",)},
    "a length with a sign": {"more": ("Content-Length: +4",)},
    "a length of nothing with a sign": {"more": ("Content-Length: +0",)},
    "a negative length": {"more": ("Content-Length: -1",)},
    "a hexadecimal length": {"more": ("Content-Length: 0x4",)},
    "a huge length": {"more": ("Content-Length: 99999999999999999999",)},
    "no host": {"host": ()},
    "two hosts": {"host": ("Host: proxy", "Host: other")},
    "two equal hosts": {"host": ("Host: proxy", "Host: proxy")},
    "a host with a space": {"host": ("Host: pro xy",)},
    "a host with a path": {"host": ("Host: proxy/proxy/exec",)},
    "a host with a user": {"host": ("Host: user@proxy",)},
    "a folded header": {"more": ("X: a", " b")},
    "a folded credential": {"more": ("X-More: a", "\tb")},
    "a header without a name": {"more": (": x",)},
    "a header without a colon": {"more": ("colon",)},
    "a space before the colon": {"upgrade": ("Upgrade : websocket",)},
    "a NUL in a header": {"more": ("X: a\0b",)},
    "a CR in a header": {"more": ("X: a\rb",)},
    "a header's name that isn't one": {"more": ("X(y): z",)},
    "a header's name that isn't ASCII": {"more": ("X\udcff: z",)},
    "no upgrade": {"upgrade": ()},
    "an upgrade to something else": {"upgrade": ("Upgrade: h2c",)},
    "an upgrade to something alike": {"upgrade": ("Upgrade: websockets",)},
    "an upgrade to TLS": {"upgrade": ("Upgrade: TLS/1.0",)},
    "an upgrade that isn't wanted": {"connection": ("Connection: keep-alive",)},
    "an upgrade that is only quoted": {"connection": ('Connection: "Upgrade"',)},
    "no version": {"version": ()},
    "an old version": {"version": ("Sec-WebSocket-Version: 8",)},
    "two versions": {"version": ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8")},
    "two equal versions": {"version": ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 13")},
    "a list of versions": {"version": ("Sec-WebSocket-Version: 13, 8",)},
    "no key": {"key": ()},
    "two keys": {"key": (KEY, KEY)},
    "a short key": {"key": ("Sec-WebSocket-Key: AAAA",)},
    "HTTP/1.0": {"line": f"GET {TARGET} HTTP/1.0"},
    "HTTP/0.9": {"line": f"GET {TARGET}"},
    "HTTP/2.0": {"line": f"GET {TARGET} HTTP/2.0"},
    "HTTP/1.2": {"line": f"GET {TARGET} HTTP/1.2"},
    "http/1.1": {"line": f"GET {TARGET} http/1.1"},
    "a tab for a space": {"line": f"GET\t{TARGET} HTTP/1.1"},
    "a space at the end": {"line": f"GET {TARGET} HTTP/1.1 "},
    "absolute form": {"line": f"GET http://proxy{TARGET} HTTP/1.1"},
    "absolute form of elsewhere": {"line": f"GET https://kubernetes.default{TARGET} HTTP/1.1"},
    "authority form": {"line": "GET proxy:443 HTTP/1.1"},
    "CONNECT": {"line": "CONNECT kubernetes.default:443 HTTP/1.1"},
    "CONNECT with a path": {"line": f"CONNECT {TARGET} HTTP/1.1"},
    "asterisk form": {"line": "OPTIONS * HTTP/1.1"},
    "HEAD": {"line": f"HEAD {TARGET} HTTP/1.1"},
    "POST": {"line": f"POST {TARGET} HTTP/1.1"},
    "get": {"line": f"get {TARGET} HTTP/1.1"},
    "TRACE": {"line": f"TRACE {TARGET} HTTP/1.1"},
    "a method that isn't one": {"line": f"GE T {TARGET} HTTP/1.1"},
    "PRI": {"line": "PRI * HTTP/2.0"},
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
async def test_an_odd_request(shared_daemon, shared_lines, odd):
    await refused(shared_daemon, shared_lines, head(shared_daemon, **odd))


PATHS = [
    "/proxy/exec/default/shell/../shell/shell",
    "/proxy/exec/default/./shell/shell",
    "/proxy/exec/default/%2e%2e/shell",
    "//proxy/exec/default/shell/shell",
    "/proxy//exec/default/shell/shell",
    "/proxy/exec/default/shell/shell/",
    "/proxy/exec/default/shell%2Fshell",
    "/proxy/exec/default/shell%00/shell",
    "/proxy/exec/default/shell;x=y/shell",
    "/proxy/exec/default\\shell/shell",
    "/proxy/exec/DEFAULT/shell/shell",
    "/PROXY/exec/default/shell/shell",
    "/proxy/exec/default/shell./shell",
    "/proxy/exec/default/sh%0d%0aell/shell",
    "/proxy/exec/default/%EF%BC%8E%EF%BC%8E/shell",
    "/proxy/exec/default/%zz/shell",
    "/%70roxy/exec/default/shell/shell/x",
    "/api/v1/namespaces/default/pods/shell/exec/x",
    "/api/v1/namespaces/default/pods/shell/proxy",
    "/api/v1/namespaces/default/pods/shell/ephemeralcontainers",
    "/api/v1/namespaces/default/secrets/x",
    "/api/v1/nodes/x/proxy",
    "/apis/apps/v1/namespaces/default/deployments",
    "/metrics",
    "/keys",
]


@pytest.mark.parametrize("path", PATHS)
async def test_an_odd_path(shared_daemon, shared_lines, path):
    await refused(shared_daemon, shared_lines, head(shared_daemon, target=path))


def reordered(daemon):
    """Signed as path:timestamp."""
    import hashlib  # noqa: PLC0415
    import hmac  # noqa: PLC0415

    timestamp = daemon.headers(PATH)["X-Catalyst-Timestamp"]
    signature = hmac.new(SECRET, f"{PATH}:{timestamp}".encode(), hashlib.sha256).hexdigest()
    return {"X-Catalyst-Timestamp": timestamp, "X-Catalyst-HMAC": signature}


def changed(**changes):
    def change(daemon):
        good = daemon.headers(PATH)
        return {**good, **{name.replace("_", "-"): change_(good) for name, change_ in changes.items()}}

    return change


NAME, TIME = "X-Catalyst-HMAC", "X-Catalyst-Timestamp"
CREDENTIALS = {
    "none": lambda _: {},
    "of another path": lambda daemon: daemon.headers("/proxy/exec/default/web/web"),
    "of the path with its query": lambda daemon: daemon.headers(TARGET),
    "of the other route": lambda daemon: daemon.headers(signed_path(api_exec())),
    "of another key": lambda daemon: signed_headers(b"k" * 44, PATH, int(daemon.headers(PATH)[TIME])),
    "of no key": lambda daemon: signed_headers(b"", PATH, int(daemon.headers(PATH)[TIME])),
    "re-ordered": reordered,
    "replayed with a later time": changed(X_Catalyst_Timestamp=lambda good: str(int(good[TIME]) + 1)),
    "replayed with zeros before the time": changed(X_Catalyst_Timestamp=lambda good: "0" + good[TIME]),
    "too old": lambda daemon: daemon.headers(PATH, now=1_700_000_000),
    "of the future": lambda daemon: daemon.headers(PATH, now=4_000_000_000),
    "a time with a sign": changed(X_Catalyst_Timestamp=lambda good: "+" + good[TIME]),
    "a time with a fraction": changed(X_Catalyst_Timestamp=lambda good: good[TIME] + ".0"),
    "truncated": changed(X_Catalyst_HMAC=lambda good: good[NAME][:-2]),
    "half of it": changed(X_Catalyst_HMAC=lambda good: good[NAME][:32]),
    "empty": changed(X_Catalyst_HMAC=lambda _: ""),
    "longer": changed(X_Catalyst_HMAC=lambda good: good[NAME] + "00"),
    "backwards": changed(X_Catalyst_HMAC=lambda good: good[NAME][::-1]),
    "one bit off": changed(X_Catalyst_HMAC=lambda good: f"{int(good[NAME], 16) ^ 1:064x}"),
    "two in one": changed(X_Catalyst_HMAC=lambda good: f"{good[NAME]}, {good[NAME]}"),
    "in quotes": changed(X_Catalyst_HMAC=lambda good: f'"{good[NAME]}"'),
    "with 0x": changed(X_Catalyst_HMAC=lambda good: "0x" + good[NAME]),
    "under another name": lambda daemon: {
        name.replace("-", "_"): value for name, value in daemon.headers(PATH).items()
    },
    "as a cookie": lambda daemon: {"Cookie": "; ".join("=".join(pair) for pair in daemon.headers(PATH).items())},
    "a token in its place": lambda _: {"Authorization": "Bearer admin"},
}


@pytest.mark.parametrize("make", CREDENTIALS.values(), ids=CREDENTIALS)
async def test_a_credential_that_is_not_good(shared_daemon, shared_lines, make):
    credential = [f"{name}: {value}" for name, value in make(shared_daemon).items()]
    await refused(shared_daemon, shared_lines, head(shared_daemon, credential=credential))


async def test_a_credential_in_the_query_is_none(shared_daemon, shared_lines):
    query = "&".join("=".join(pair) for pair in shared_daemon.headers(PATH).items())
    await refused(shared_daemon, shared_lines, head(shared_daemon, target=f"{TARGET}&{query}", credential=()))


SPLICES = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b"\xff",
    b"%0d%0a",
    b"\r\n\r\n",
    b"chunked",
    b"HTTP/1.1",
    b"/",
]


@pytest.mark.parametrize("seed", range(12))
async def test_damaged_at_random_and_without_a_credential(shared_daemon, shared_lines, seed):
    """Bytes are taken out, doubled and put in, with the credential spoilt: nothing of it is let in."""
    rng = random.Random(seed)
    before = await at_rest(shared_daemon)
    for _ in range(40):
        data = bytearray(head(shared_daemon).replace(b"X-Catalyst-HMAC: ", b"X-Catalyst-HMAC: 00"))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data))
            match rng.randrange(3):
                case 0:
                    del data[at : at + rng.randint(1, 40)]
                case 1:
                    data[at:at] = data[at : at + rng.randint(1, 40)]
                case _:
                    data[at:at] = rng.choice(SPLICES)
        reader, writer = await asyncio.open_connection("127.0.0.1", shared_daemon.port)
        try:
            writer.write(bytes(data))
            writer.write_eof()
            answer = await reader.read()
        except ConnectionError:
            answer = b""
        finally:
            writer.transport.abort()
        assert answer == b"" or 400 <= int(answer.split()[1]) < 500, (bytes(data), answer)
    assert await at_rest(shared_daemon) - before == set()


FORGERIES = [
    '%0a{"event": "session opened", "level": "info"}',
    '%0d%0a{"event": "forged"}%0d%0a',
    "%1b[2J%1b[31mforged",
    "%e2%80%a8forged%c2%85forged",
    '","event":"forged","x":"',
]


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_the_log_can_not_be_forged(shared_daemon, shared_lines, forgery):
    for target in (f"/proxy/exec/default/{forgery}/shell", f"/{forgery}", f"{PATH}/{forgery}"):
        await answer_to(shared_daemon, head(shared_daemon, target=target))
        await answer_to(shared_daemon, head(shared_daemon, more=(f"X-Forged: {forgery}",), credential=()))
    await shared_lines.event("request refused")
    # A test before this one may have had so many refused that how many more it were is said now.
    assert {line["event"] for line in shared_lines.new} - {"more requests refused"} == {"request refused"}


async def test_nor_by_a_command_or_a_subprotocol(shared_daemon, shared_lines, shared_cluster):
    before = len(shared_cluster.observed.seen)
    text = 'x\n{"event": "forged"}\r\n\x1b[31m'
    assert (await run(shared_daemon, proxy_exec("true", text, **PIPES))).exit_code == 0
    line = await shared_lines.event("session opened")
    assert line["command"] == ["true", text]
    del shared_cluster.observed.seen[before:]
    await answer_to(shared_daemon, request(shared_daemon, TARGET, subprotocols=['","event":"forged']))
    assert "forged" not in {line["event"] for line in shared_lines.new}


async def test_many_at_once(shared_daemon, shared_lines):
    """A hundred and fifty callers without a credential at the same time are a hundred and fifty refusals."""
    data = head(shared_daemon, credential=())
    answers = await asyncio.gather(*(answer_to(shared_daemon, data) for _ in range(150)))
    assert answers == [401] * 150
    await at_rest(shared_daemon)


async def test_what_looks_for_secrets_in_logs_finds_them():
    """Every daemon's log is searched when it has ended (tests/support/daemon.py)."""
    secret, signature = SECRET.decode(), "0123456789abcdef" * 4
    clean = [json.dumps({"event": "session opened", "key_id": "secret"})]
    assert told(clean, {secret, signature}) == []
    for leak in (secret, signature, signature.upper()):
        line = json.dumps({"event": "x", "detail": f"got {leak}"})
        assert told([*clean, line], {secret, signature}) == [line]
