"""An upgrade's request and its 101, as far as they are what they always are: in one pass each.

h11 takes a request and an answer apart into objects and checks each part, which is a tenth of what an opening costs.
What isn't plainly right here is None, and left to h11: this decides nothing that h11 would decide otherwise.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_TOKEN: Final = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+"  # RFC 9110 §5.6.2
# §5.5. A line can be matched in one way only: whoever answers decides how long a match takes otherwise.
_VALUE: Final = rb"[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?"
_REQUEST: Final = re.compile(rb"GET [\x21-\x7e]+ HTTP/1\.1\r\n(?:%s: (?:%s)?\r\n)++\r\n" % (_TOKEN, _VALUE))
# RFC 9112 §4, §5; without the foldings that nobody writes any more.
_ANSWER: Final = re.compile(
    rb"HTTP/1\.1 101(?: [\t\x20-\x7e\x80-\xff]*+)?\r\n((?:%s:[\t ]*+(?:%s[\t ]*+)?\r\n)*+)\r\n" % (_TOKEN, _VALUE)
)
_LONGEST: Final = 8 * 1024  # bytes of a head; an apiserver's 101 has two hundred
# A 101 has no body (RFC 9110 §15.2); h11 looks at what these say all the same.
_OF_A_BODY: Final = (b"content-length", b"transfer-encoding")


def request_head(path: str, headers: Sequence[tuple[str, str]]) -> bytes | None:
    """The GET of ``path`` with ``headers``, of which the first is Host; None where h11 has to judge it."""
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
    try:
        head = "\r\n".join(lines).encode()
    except UnicodeEncodeError:
        return None
    # A value can't add a line of its own: as many must be there as were put in.
    if head.count(b"\n") != len(headers) + 2 or not _REQUEST.fullmatch(head) or not head.isascii():
        return None
    return head


def switched(data: bytes) -> tuple[list[tuple[bytes, bytes]], bytes] | None:
    """The headers of the 101 that ``data`` begins with, names in small letters, and the bytes after it.

    None where it isn't one, or isn't whole, or h11 has to judge it.
    """
    answer = _ANSWER.match(data, 0, _LONGEST)
    if answer is None:
        return None
    headers = []
    for line in answer[1].split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        headers.append((name.lower(), value.strip(b" \t")))
    if any(name in _OF_A_BODY for name, _ in headers):
        return None
    return headers, data[answer.end() :]
