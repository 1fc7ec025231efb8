"""The pages in a browser (docs/guides/browser.md): what ``make pages`` has built, read once, served from memory.

Everybody may have them, whoever they are: they hold no secret, log nothing, and ask nobody. What they do goes through
the session API, with a ticket that stands in the part of their address that never reaches a server.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import html
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiohttp import web

from k8s_ws_proxy.errors import Reason
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.web.api_callers import transport_of
from k8s_ws_proxy.web.errors import closing
from k8s_ws_proxy.web.router import check_method
from k8s_ws_proxy.web.transport import address_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from k8s_ws_proxy.settings import WebTerminalSettings
    from k8s_ws_proxy.web.router import Handler
    from k8s_ws_proxy.web.transport import StreamTransport

BUILT: Final = Path(__file__).parent / "pages" / "dist"
MOST: Final = 64
"""Answers that are under way at once: whoever doesn't read theirs holds no more than these."""
_PART: Final = 32 * 1024  # bytes that are written at once: what one who doesn't read leaves here
_QUEUED: Final = 64 * 1024  # bytes that one leaves in the kernel
_WITHIN: Final = 10.0  # seconds in which the last of these must have arrived
_LOOK: Final = 0.05  # seconds between looks whether they have
_WORTH_IT: Final = 512  # bytes; shorter files aren't compressed
_NOT_AT_ALL: Final = re.compile(r"[ \t]*q=0(\.0{0,3})?[ \t]*", re.ASCII | re.IGNORECASE)  # RFC 9110 §12.4.2
_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".wasm": "application/wasm"}
_FOR_EVER: Final = "public, max-age=31536000, immutable"  # RFC 8246: another content has another name
_ALL: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Served:
    """One file as it is sent; ``zipped`` is empty where that is no shorter."""

    body: bytes
    zipped: bytes
    tag: str
    headers: Mapping[str, str]


class BrowserPages:
    """Answers for them, by path."""

    def __init__(self, pages: Mapping[str, Served], assets: Mapping[str, Served]) -> None:
        self._pages = pages
        self._assets = assets
        self._under_way: dict[StreamTransport, str] = {}  # to which address, the oldest first

    @classmethod
    async def made(cls, settings: WebTerminalSettings | None) -> BrowserPages | None:
        """None where they are off. Raises OSError where they weren't built."""
        return await asyncio.to_thread(cls.read, settings) if settings else None

    @classmethod
    def read(cls, settings: WebTerminalSettings, built: Path = BUILT) -> BrowserPages:
        """From the disk: to be called where waiting for it harms nobody. Raises OSError where they weren't built."""
        pages = {}
        for path in sorted(built.glob("*.html")):
            headers = {
                **_ALL,
                "Content-Security-Policy": _policy(path.stem, settings),
                "Cross-Origin-Opener-Policy": "same-origin",
                "Cache-Control": "no-store",
            }
            pages[path.stem] = _served(path, _with_settings(path.read_text("utf-8"), settings).encode(), headers)
        assets = {
            path.name: _served(path, path.read_bytes(), {**_ALL, "Cache-Control": _FOR_EVER})
            for path in sorted((built / "assets").iterdir())
        }
        if not pages:
            raise FileNotFoundError(f"no pages in {built}: make pages builds them")
        return cls(pages, assets)

    def rows(self) -> list[tuple[str, Handler]]:
        """Their routes: each file has its own, so that nothing in a path is ever looked for on a disk."""
        return [
            *((f"/{name}/", self._page(name, served)) for name, served in self._pages.items()),
            *((f"/assets/{name}", self._handler(served)) for name, served in self._assets.items()),
        ]

    def _page(self, name: str, served: Served) -> Handler:
        count = metrics.PAGES.labels(name)
        answer = self._handler(served)

        async def page(request: web.BaseRequest) -> web.StreamResponse:
            answered = await answer(request)
            count.inc()
            return answered

        return page

    def _handler(self, served: Served) -> Handler:
        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            transport_of(request).request_began()
            check_method(request, "GET", "HEAD", text="This path is read by GET.")
            zipped = bool(served.zipped) and _takes_gzip(request)
            tag = f'"{served.tag}{"-gzip" if zipped else ""}"'
            headers = {**served.headers, "ETag": tag, "Vary": "Accept-Encoding"}
            if _knows(request, tag):
                return closing(web.Response(status=304, headers=headers))
            if zipped:
                headers["Content-Encoding"] = "gzip"
            return await self._send(request, headers, served.zipped if zipped else served.body)

        return answer

    async def _send(self, request: web.BaseRequest, headers: Mapping[str, str], body: bytes) -> web.StreamResponse:
        """Part by part, until it has arrived: whoever doesn't read holds little, and of too many one has to go."""
        transport = transport_of(request)
        transport.bound_queue(_QUEUED)
        answer = closing(web.StreamResponse(headers=headers))
        answer.content_length = len(body)
        self._under_way[transport] = address_of(transport.get_extra_info("peername"))
        if len(self._under_way) > MOST:
            self._make_room()
        try:
            await answer.prepare(request)
            if request.method != "HEAD":
                for start in range(0, len(body), _PART):
                    await answer.write(memoryview(body)[start : start + _PART])
            await answer.write_eof()
            async with asyncio.timeout(_WITHIN):
                while transport.unsent():  # noqa: ASYNC110 - the kernel tells nobody
                    await asyncio.sleep(_LOOK)
        except TimeoutError:
            transport.reset()
        finally:
            self._under_way.pop(transport, None)
        return answer

    def _make_room(self) -> None:
        """The oldest has to go of those to the address that has most: a crowd that comes from one pushes out itself."""
        ((crowded, _),) = Counter(self._under_way.values()).most_common(1)
        oldest = next(each for each, address in self._under_way.items() if address == crowded)
        del self._under_way[oldest]
        oldest.reset()
        metrics.REFUSALS.labels(Reason.TOO_MANY_CONNECTIONS.value).inc()


def _served(path: Path, body: bytes, headers: Mapping[str, str]) -> Served:
    zipped = gzip.compress(body, 9, mtime=0) if len(body) >= _WORTH_IT else b""
    kind = _TYPES[path.suffix]
    return Served(
        body,
        zipped if len(zipped) < len(body) else b"",
        hashlib.sha256(body).hexdigest()[:32],
        {**headers, "Content-Type": kind if kind == "application/wasm" else f"{kind}; charset=utf-8"},
    )


def _policy(page: str, settings: WebTerminalSettings) -> str:
    """What a page may do (Content Security Policy Level 3): nothing but what comes from here.

    asciinema-player's terminal is WebAssembly, and it makes its controls out of markup of its own.
    """
    replay = page == "replay"
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self' 'wasm-unsafe-eval'" if replay else "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "img-src 'self' data:",
            "font-src 'self'",
            f"frame-ancestors {settings.frame_ancestors}",
            "base-uri 'none'",
            "form-action 'none'",
            *(() if replay else ("require-trusted-types-for 'script'", "trusted-types 'none'")),
        )
    )


def _with_settings(page: str, settings: WebTerminalSettings) -> str:
    """What the pages' scripts have to know, as attributes of the page."""
    return page.replace("__CLIPBOARD__", str(settings.clipboard).lower()).replace(
        "__ORIGINS__", html.escape(" ".join(sorted(settings.origins)))
    )


def _takes_gzip(request: web.BaseRequest) -> bool:
    """RFC 9110 §12.5.3: it is named, and not with the weight 0."""
    for value in request.headers.getall("Accept-Encoding", []):
        for part in value.split(","):
            coding, _, weight = part.partition(";")
            if coding.strip().lower() in ("gzip", "x-gzip") and not _NOT_AT_ALL.fullmatch(weight):
                return True
    return False


def _knows(request: web.BaseRequest, tag: str) -> bool:
    """RFC 9110 §13.1.2: the comparison is a weak one."""
    known = [
        part.strip().removeprefix("W/")
        for value in request.headers.getall("If-None-Match", [])
        for part in value.split(",")
    ]
    return tag in known or "*" in known
