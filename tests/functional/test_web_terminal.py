"""The pages for a browser as they are served: to everybody, from memory, and kept apart from other pages."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import re
import socket

import pytest
from support import rawws
from support.daemon import running_daemon

from k8s_ws_proxy.web.browser_pages import BUILT, MOST

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGES = ["/terminal/", "/watch/", "/replay/"]
WASM = "'wasm-unsafe-eval'"
ASSETS = [f"/assets/{path.name}" for path in sorted((BUILT / "assets").iterdir())]


@pytest.fixture(scope="module")
def shared_environ():
    """Whoever takes nothing of an answer is waited for as long as a busy machine may need for all the others."""
    return {"WEB_TERMINAL": "true", "WS_PROXY_ADMIN_ADDR": "127.0.0.1:0", "WS_HANDSHAKE_TIMEOUT": "5m"}


@pytest.fixture
def daemon(shared_daemon):
    return shared_daemon


async def ask(daemon, path, method="GET", listener="http", **headers):
    lines = [f"{method} {path} HTTP/1.1", "Host: proxy", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    async with rawws.connected(daemon.ports[listener], ("\r\n".join(lines) + "\r\n\r\n").encode()) as connection:
        return connection.answer


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_may_do_nothing_but_what_it_is_for(daemon, path):
    answer = await ask(daemon, path)
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    replay = path == "/replay/"  # whose player is WebAssembly, and makes its controls of markup
    assert answer.headers["content-security-policy"] == (
        f"default-src 'none'; script-src 'self'{' ' + WASM if replay else ''}; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; font-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
        + ("" if replay else "; require-trusted-types-for 'script'; trusted-types 'none'")
    )
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert "set-cookie" not in answer.headers
    assert not re.search(rb"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=|https?://", answer.body)
    named = set(re.findall(rb'(?:src|href)="\.\.(/assets/[^"]+)"', answer.body))
    assert {name.decode() for name in named} <= set(ASSETS)
    assert len(named) == 2


@pytest.mark.parametrize("path", ASSETS)
async def test_an_asset_is_kept_for_ever_and_sent_compressed(daemon, path):
    plain = await ask(daemon, path)
    assert plain.status == 200
    assert plain.body == (BUILT / path.removeprefix("/")).read_bytes()
    assert plain.headers["cache-control"] == "public, max-age=31536000, immutable"
    zipped = await ask(daemon, path, Accept_Encoding="br;q=1.0, gzip;q=0.8")
    assert zipped.headers["content-encoding"] == "gzip"
    assert gzip.decompress(zipped.body) == plain.body
    assert zipped.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    assert zipped.headers["etag"] != plain.headers["etag"]
    for refused in ("br, gzip;q=0", "gzip ; Q=0.000", "GZIP;q=0."):
        assert (await ask(daemon, path, Accept_Encoding=refused)).body == plain.body
    assert (await ask(daemon, path, Accept_Encoding="gzip;Q=0.001")).body == zipped.body
    known = await ask(daemon, path, If_None_Match=f'"other", W/{plain.headers["etag"]}')
    assert (known.status, known.body) == (304, b"")


async def test_head_has_the_length_and_nothing_else(daemon):
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    writer.write(b"HEAD /terminal/ HTTP/1.1\r\nHost: proxy\r\n\r\n")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    size = len((await ask(daemon, "/terminal/")).body)
    assert head.startswith(b"HTTP/1.1 200")
    assert f"content-length: {size}\r\n".encode() in head.lower()
    assert body == b""


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_a_page_is_only_read(daemon, method):
    answer = await ask(daemon, "/terminal/", method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "path",
    [
        "/terminal",
        "/terminal//",
        "/terminal/index.html",
        "/Terminal/",
        "/assets/",
        "/assets/../terminal/",
        "/assets/%2e%2e/LICENSES",
        "/assets/page.css",
        "/LICENSES",
    ],
)
async def test_nothing_else_is_there(daemon, path):
    assert (await ask(daemon, path)).status == 404


async def test_pages_are_counted_and_not_logged(daemon):
    before = (await ask(daemon, "/metrics", listener="admin")).body
    lines = len(daemon.log)
    for _ in range(3):
        await ask(daemon, "/watch/?ticket=a-ticket-in-a-query-is-no-credential")
    after = (await ask(daemon, "/metrics", listener="admin")).body
    counted = [int(float(re.search(rb'_pages_total\{page="watch"\} (\S+)', text)[1])) for text in (before, after)]
    assert counted[1] - counted[0] == 3
    assert daemon.log[lines:] == []
    assert (await ask(daemon, "/terminal/", listener="admin")).status == 404, "the operators' listener has none"


@contextlib.asynccontextmanager
async def asked_from(daemon, address, path, count=1):
    """Connections from this address on which the answer to a request has begun, and isn't read."""
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        asked = []
        for _ in range(count):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            sock.setblocking(False)
            sock.bind((address, 0))
            await loop.sock_connect(sock, ("127.0.0.1", daemon.port))
            await loop.sock_sendall(sock, f"GET {path} HTTP/1.1\r\nHost: proxy\r\n\r\n".encode())
            assert await loop.sock_recv(sock, 12) == b"HTTP/1.1 200"
            asked.append(sock)
        yield asked


async def whole(sock, size):
    """Whether all of an answer of this size arrives."""
    read = 0
    try:
        while data := await asyncio.get_running_loop().sock_recv(sock, 1 << 20):
            read += len(data)
    except ConnectionResetError:
        return False
    return read > size


async def test_who_does_not_read_makes_room_for_who_does(daemon):
    """More than there is room for ask for the largest file, and take none of it: the rest is served all the same."""
    largest = max(ASSETS, key=lambda path: (BUILT / path.removeprefix("/")).stat().st_size)
    size = (BUILT / largest.removeprefix("/")).stat().st_size
    async with (
        asked_from(daemon, "127.0.0.1", largest) as (first,),
        asked_from(daemon, "127.0.0.2", largest, MOST + 8) as crowd,
    ):
        answer = await ask(daemon, largest)
        assert (answer.status, len(answer.body)) == (200, size)
        # The oldest had to go of the address that has most, and each of the others still gets all of it.
        assert await whole(first, size)
        assert [await whole(sock, size) for sock in crowd] == [False] * 10 + [True] * (MOST - 2)


async def test_off_there_is_none(shared_cluster, tmp_path):
    async with running_daemon(shared_cluster.write_kubeconfig(tmp_path / "kubeconfig", "proxy"), tmp_path) as off:
        for path in (*PAGES, *ASSETS):
            assert (await ask(off, path)).status == 404


async def test_who_may_have_it_in_a_frame_and_what_it_may_know_is_said(shared_cluster, tmp_path):
    kubeconfig = shared_cluster.write_kubeconfig(tmp_path / "kubeconfig", "proxy")
    more = {
        "WEB_FRAME_ANCESTORS": "self,https://console.example",
        "WEB_CLIPBOARD": "true",
        "ALLOWED_ORIGINS": "https://console.example,https://b.example:8443",
    }
    async with running_daemon(kubeconfig, tmp_path, WEB_TERMINAL="true", **more) as daemon:
        answer = await ask(daemon, "/terminal/")
    assert "; frame-ancestors https://console.example 'self'; " in answer.headers["content-security-policy"]
    assert b'data-clipboard="true" data-origins="https://b.example:8443 https://console.example"' in answer.body
