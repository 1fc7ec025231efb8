"""Which handler a path has, and the one place for a path that has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k8s_ws_proxy.errors import Reason, Refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from aiohttp import web

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Router:
    """``rows`` are shapes of paths, in which ``{}`` stands for any one segment, each with its handler.

    Nothing is percent-decoded: what stands before us and looks at paths must see them as we do. Who asks for another
    path gets what ``otherwise`` answers. Handlers look at names and methods themselves: both are told only to a caller
    who was let in.
    """

    def __init__(self, rows: Iterable[tuple[str, Handler]], otherwise: Handler) -> None:
        self._rows: dict[int, list[tuple[list[str], Handler]]] = {}
        for shape, handler in rows:
            segments = shape.split("/")
            self._rows.setdefault(len(segments), []).append((segments, handler))
        self._otherwise = otherwise

    def handler(self, raw_target: str) -> Handler:
        """The one of an HTTP request target in origin form; the first row that fits decides."""
        segments = raw_target.partition("?")[0].split("/")
        for shape, handler in self._rows.get(len(segments), ()):
            if all(wanted in ("{}", segment) for wanted, segment in zip(shape, segments, strict=True)):
                return handler
        return self._otherwise


def check_method(request: web.BaseRequest, *allowed: str, text: str) -> None:
    """Raises Refusal(``method_not_allowed``), which says ``text``, where the method isn't one of ``allowed``."""
    if request.method not in allowed:
        refusal = Refusal(Reason.METHOD_NOT_ALLOWED, text)
        refusal.allow = allowed
        raise refusal
