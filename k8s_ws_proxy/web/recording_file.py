"""A recording as an answer: all of it, a range, or what there is and what comes (RFC 9110 §14)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from aiohttp import web

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.web.api_callers import transport_of
from k8s_ws_proxy.wire.http.byte_range import OutOfRange, byte_range

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable, Mapping

    from k8s_ws_proxy.recordings.readers import Reading

_Found = TypeVar("_Found")

CONTENT_TYPE: Final = "application/x-asciicast"
POLL: Final = 0.5
"""Seconds between two looks at a file that grows; its writer has it flushed within one."""
_PART: Final = 64 * 1024  # bytes that are read, and kept for a reader, at once


class FileAnswer:
    """The answer with the file that ``reading`` has open.

    Of what grows there is no ETag, and nothing but whole lines. A client that takes nothing for
    ``WS_HANDSHAKE_TIMEOUT`` is let go by its transport.
    """

    def __init__(
        self,
        request: web.BaseRequest,
        reading: Reading,
        *,
        session: str,
        headers: Mapping[str, str],
        keepalive: float,
    ) -> None:
        self._request = request
        self._reading = reading
        self._session = session
        self._headers = {**headers, "Content-Type": CONTENT_TYPE}
        self._keepalive = keepalive
        self._span = range(0)
        self._status = 200

    def of(self, found: os.stat_result, lines: int | None) -> None:
        """What there is of it is ``found``; of what grows the bytes of its whole ``lines``.

        Raises Refusal(``bad_range``).
        """
        size = found.st_size if lines is None else lines
        self._headers["Accept-Ranges"] = "bytes"
        tag = "" if lines is not None else f'"{found.st_ino:x}-{size:x}-{found.st_mtime_ns:x}"'
        if tag:
            self._headers["ETag"] = tag
        self._span = range(size)
        if (wanted := self._range(size, tag)) is not None:
            self._headers["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{size}"
            self._span, self._status = wanted, 206

    @property
    def part(self) -> str | None:
        """The range that is sent; None where it is all of it."""
        return self._headers.get("Content-Range")

    async def send(self) -> web.StreamResponse:
        """What there is, or the range of it that is asked for."""
        answer = web.StreamResponse(status=self._status, headers=self._headers)
        answer.content_length = len(self._span)
        await self._prepare(answer)
        if self._request.method == "HEAD":
            return answer
        await self._pass_on(answer, self._span)
        return answer

    async def follow(self, goes_on: Callable[[], bool]) -> web.StreamResponse:
        """What there is, and what comes, until nothing more may come; ``goes_on`` is asked in a thread."""
        del self._headers["Accept-Ranges"]
        answer = web.StreamResponse(headers=self._headers)
        await self._prepare(answer)
        offset, over = 0, False
        while (end := await self._asked(self._end(offset, finished=over))) is not None:
            if end < offset:
                self._break_off("it is shorter than it was")
                break
            if offset < end:
                if not await self._pass_on(answer, range(offset, end)):
                    break
                offset = end
            elif over:
                break
            else:
                over = not await self._asked(self._reading.ask(goes_on))
                if not over:
                    await asyncio.sleep(POLL)
        return answer

    async def _end(self, since: int, *, finished: bool) -> int:
        """Up to where it may be sent: what is ``finished`` is as its receipt says, whatever stands in it."""
        return (await self._reading.stat()).st_size if finished else await self._reading.whole_lines(since)

    async def _pass_on(self, answer: web.StreamResponse, span: range) -> bool:
        """These bytes, a part at a time; whether they were all there."""
        offset = span.start
        while offset < span.stop:
            data = await self._asked(self._reading.read(offset, min(_PART, span.stop - offset)))
            if not data:
                if data is not None:  # else the disk has said why
                    self._break_off("it is shorter than it was")
                return False
            await answer.write(data)
            offset += len(data)
        return True

    async def _prepare(self, answer: web.StreamResponse) -> None:
        answer.force_close()
        transport_of(self._request).answers_last(self._keepalive)
        await answer.prepare(self._request)

    async def _asked(self, question: Awaitable[_Found]) -> _Found | None:
        """What the disk says; None where it can't, and the connection is broken off."""
        try:
            return await question
        except OSError as error:
            self._break_off(str(error) or "the disk doesn't answer")
            return None

    def _break_off(self, why: str) -> None:
        """What was sent isn't whole, and must not look so."""
        logger().error("a recording can't be read to its end", session=self._session, error=why)
        transport_of(self._request).abort()

    def _range(self, size: int, tag: str) -> range | None:
        headers = self._request.headers
        values = headers.getall("Range", [])
        if len(values) != 1 or self._request.method != "GET":
            return None
        # §13.1.5: another version than that is sent whole; a date is none of ours, since we send none.
        if (known := headers.get("If-Range")) is not None and (not tag or known.strip() != tag):
            return None
        try:
            return byte_range(values[0], size)
        except OutOfRange:
            refusal = Refusal(Reason.BAD_RANGE, f"None of these bytes are there: it has {size}.")
            refusal.size = size
            raise refusal from None
