"""A body in chunks on its way to somebody who takes them apart himself: only where it ends is looked for.

That takes a walk over all of it, since a chunk may hold whatever a last one is made of. Chunks of one size, such as
lines of a fixed length or blocks, are stepped over many at a time, with strided slices that run in C (as in
``frame_scan``); others cost a quarter of a microsecond each.
"""

from __future__ import annotations

from typing import Final

from k8s_ws_proxy.wire.http.body import CR, CRLF, LF, SIZES, Body, BodyViolation

_FIRST_RUN: Final = 8  # chunks: shorter runs aren't worth the slices
_LONGEST_WAIT: Final = 1024  # chunks to go one by one before a run is tried again


class Passage(Body):
    """``complete``: the last chunk has gone by, and its trailers (RFC 9112 §7.1). What breaks the coding never is."""

    __slots__ = ("_broken", "_penalty", "_wait")

    def __init__(self) -> None:
        super().__init__(chunked=True)
        self._broken = False
        self._wait = 0
        self._penalty = _FIRST_RUN

    def passed(self, view: memoryview) -> None:
        """These bytes have gone by."""
        if self._broken or self.complete:
            return
        try:
            self.walk(bytes(view), [])
        except BodyViolation:
            self._broken = True

    def _whole_chunks(self, data: bytes, view: memoryview, pos: int, pieces: list[bytes | memoryview]) -> int:  # noqa: ARG002
        """Walk over the chunks at ``pos`` that are there as a whole; the offset after them."""
        end = len(data)
        while (eol := data.find(CRLF, pos)) >= 0:
            stop = eol + 2 + (size := SIZES[data[pos:eol]])
            if size < 0 or stop + 2 > end or data[stop] != CR or data[stop + 1] != LF:
                break
            stride = stop + 2 - pos
            if self._wait:
                self._wait -= 1
            elif (count := (end - pos) // stride) >= _FIRST_RUN:
                run = _alike(data, pos, min(count, _FIRST_RUN), stride, eol + 2 - pos)
                if run == _FIRST_RUN:
                    run = _alike(data, pos, count, stride, eol + 2 - pos)
                    self._penalty = _FIRST_RUN
                else:
                    self._wait = self._penalty = min(2 * self._penalty, _LONGEST_WAIT)
                pos += (run - 1) * stride
            pos += stride
        return pos


def _alike(data: bytes, pos: int, count: int, stride: int, size: int) -> int:
    """How many chunks in a row, from ``pos``, have the size line of ``size`` bytes that stands there, and an end."""
    stop = pos + count * stride
    run = count
    for offset in (*range(pos, pos + size), pos + stride - 2, pos + stride - 1):
        column = data[offset:stop:stride]
        expected = data[offset : offset + 1]
        if column != expected * count:
            run = min(run, count - len(column.lstrip(expected)))
    return run
