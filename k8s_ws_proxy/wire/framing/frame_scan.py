"""The hot loop: step over whole data frames without looking at their payloads.

This is the one place where speed decides how the code looks. A terminal's flood is thousands of frames in a block,
and a step of plain Python costs about 100 ns; so after a frame the same header is looked for at the same distance
all the way down the block, with strided slices that run in C. A run of 4,000 frames of 64 bytes then costs some tens
of microseconds instead of some hundreds. Where sizes vary, the loop goes frame by frame and tries again less often.
``benchmarks/`` measures both.
"""

from __future__ import annotations

from typing import Final

from k8s_ws_proxy.wire.framing.channels import STATUS

_FIN_BINARY: Final = 0x82
_FIRST_RUN: Final = 8  # frames: shorter runs aren't worth three slices


def scan_whole_frames(buf: bytearray, pos: int, end: int, *, masked: bool, watching: bool = True) -> int:
    """The offset of the first frame in ``buf[pos:end]`` that needs a closer look, or of what remains.

    Passed over are complete, unfragmented binary messages of 1 to 65,535 bytes with a well-formed header; from a
    server (``masked`` false) those on the status channel are not, unless ``watching`` is off: then there is none.
    """
    mask_bit, mask_size = (0x80, 4) if masked else (0, 0)
    watched = -1 if masked or not watching else STATUS
    wait = 0  # frames to go one by one before a run is tried again
    penalty = _FIRST_RUN
    while end - pos >= 3 and buf[pos] == _FIN_BINARY:
        length = buf[pos + 1] - mask_bit
        if 0 < length < 126:
            size = 2
        elif length == 126 and end - pos >= 5:
            length = buf[pos + 2] << 8 | buf[pos + 3]
            size = 4
            if length < 126:
                return pos
        else:
            return pos
        stride = size + mask_size + length
        after = pos + stride
        if after > end or (watched >= 0 and buf[pos + size] == watched):
            return pos
        if wait:
            wait -= 1
        elif (count := (end - pos) // stride) >= _FIRST_RUN:
            run = _same_headers(buf, pos, min(count, _FIRST_RUN), stride, size, watched)
            if run == _FIRST_RUN:
                run = _same_headers(buf, pos, count, stride, size, watched)
                penalty = _FIRST_RUN
            else:
                wait = penalty = min(penalty * 2, 1024)
            after = pos + run * stride
        pos = after
    return pos


def same_messages(buf: bytes, pos: int, count: int, stride: int, size: int) -> int:
    """How many frames in a row, from ``pos``, begin with the ``size`` bytes that stand there; ``count`` at most."""
    run = _same_headers(buf, pos, min(count, _FIRST_RUN), stride, size, -1)
    return _same_headers(buf, pos, count, stride, size, -1) if run == _FIRST_RUN else run


def _same_headers(buf: bytes | bytearray, pos: int, count: int, stride: int, size: int, watched: int) -> int:
    """How many frames in a row, from ``pos``, have the header that stands there, and not the watched channel."""
    stop = pos + count * stride
    run = count
    for offset in range(pos, pos + size):
        column = buf[offset:stop:stride]
        expected = bytes((buf[offset],))
        if column != expected * count:
            run = min(run, count - len(column.lstrip(expected)))
    if watched >= 0 and (found := buf[pos + size : stop : stride].find(watched)) >= 0:
        run = min(run, found)
    return run
