"""How much of a recording that is still written is whole: the kernel shows a write before all of it is there.

This blocks: it is for threads.
"""

from __future__ import annotations

import os
from typing import Final

_PART: Final = 64 * 1024  # bytes that are looked at, at once


def whole_lines(fd: int, since: int = 0) -> int:
    """The bytes up to the end of the last whole line, or ``since``, the end of one, if no other has come.

    Fewer where it has been cut back behind that: a disk that fails may take lines away again. Raises OSError.
    """
    end = os.fstat(fd).st_size
    if end < since:
        return end
    while end > since:
        begin = max(since, end - _PART)
        found = os.pread(fd, end - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return since
