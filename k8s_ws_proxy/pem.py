"""PEM files and what OpenSSL makes of them: what it passes over in silence, and what it would ask a terminal for."""

from __future__ import annotations

import contextlib
import re
import ssl
from typing import TYPE_CHECKING, Any, Final

from k8s_ws_proxy.errors import CertificateError

if TYPE_CHECKING:
    from collections.abc import Callable

NO_CHECK_TIME: Final = ssl.VerifyFlags(0x200000)  # X509_V_FLAG_NO_CHECK_TIME
_BEGIN: Final = re.compile(rb"^-----BEGIN [A-Z0-9 ]+-----[ \t]*\r?$", re.MULTILINE)
_END: Final = re.compile(rb"^-----END [A-Z0-9 ]+-----[ \t]*\r?$", re.MULTILINE)
_NOTHING: Final = re.compile(rb"(\s|#[^\n]*(\n|$))*")


def check_whole(data: bytes) -> None:
    """OpenSSL ends at what it doesn't take for a block, without a word, and the rest is missing. Raises ValueError.

    Text before a block is usual; after the last one only comments are.
    """
    ends = [end.end() for end in _END.finditer(data)]
    if ends and not _NOTHING.fullmatch(data, ends[-1]):
        raise ValueError("there is something after its last block")
    if len(_BEGIN.findall(data)) != data.count(b"-----BEGIN "):
        raise ValueError("a block in it doesn't begin on a line of its own")


def no_pass_phrase(text: str) -> Callable[[], str]:
    """For ``load_cert_chain``, which else asks the terminal. Raises CertificateError(``text``) when it is asked."""

    def refuse() -> str:
        raise CertificateError(text)

    return refuse


def trust_partial_chains(context: ssl.SSLContext) -> None:
    """Take an intermediate CA that is named for a root, as Go's servers and clients do (X509_V_FLAG_PARTIAL_CHAIN)."""
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN


def shown(asked: ssl.SSLContext, showing: ssl.SSLContext, *, server_side: bool) -> dict[str, Any]:
    """What ``asked`` gets to know of the certificate that ``showing`` shows, which it must trust.

    In a TLS handshake that never leaves memory; ``server_side`` says whether ``asked`` is the server. Raises
    ssl.SSLError, and ValueError for a name that isn't UTF-8.
    """
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    side = asked.wrap_bio(up, down, server_side=server_side)
    unfinished = [side, showing.wrap_bio(down, up, server_side=not server_side)]
    while unfinished:
        for each in list(unfinished):
            with contextlib.suppress(ssl.SSLWantReadError):
                each.do_handshake()
                unfinished.remove(each)
    return side.getpeercert() or {}
