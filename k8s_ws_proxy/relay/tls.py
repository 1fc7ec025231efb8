"""TLS between bytes of the wire and content, without a socket: OpenSSL is fed and emptied through memory.

``ssl.SSLSocket`` reads by itself: one call goes on inside OpenSSL for as long as the kernel has records that hold no
content, and the peer decides how long that is. Here it gets what was read for it, and no more.

All connections share two memory buffers. OpenSSL takes all of what it is given into its own, and what it has to say
is taken away at once, so both are empty between any two calls; a pair for each connection would keep as much memory
as its largest block ever took.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import Any, Final

from k8s_ws_proxy.wire.framing.tls_records import RECORD

_INCOMING: Final = ssl.MemoryBIO()
_OUTGOING: Final = ssl.MemoryBIO()


class Tls:
    """One end of a TLS connection. ``object`` is for asking it about certificates and sessions.

    ``answers`` is what has to be sent besides what seal() returns: whoever calls takes it away. ``ended``: the peer has
    said that nothing more will come (close_notify). ``broken``: why nothing more can be read. ``left`` are the bytes of
    those that shake_hands() was given last that are none of the handshake's.
    """

    __slots__ = ("answers", "broken", "ended", "left", "object")

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_hostname: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self.object = context.wrap_bio(
            _INCOMING, _OUTGOING, server_side=server_side, server_hostname=server_hostname, session=session
        )
        self.answers = b""
        self.ended = False
        self.broken = ""
        self.left = 0

    def shake_hands(self, data: bytes) -> bool:
        """More of the peer's handshake: whether it is over. Raises ssl.SSLError."""
        _INCOMING.write(data)
        try:
            self.object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self.left = _INCOMING.pending
            self._leave()
        return True

    def open(self, data: memoryview, into: memoryview) -> int:
        """The content of ``data``, wire bytes, written ``into``: the bytes of it, what came before a break included.

        ``into`` must hold a record more than ``data``: the rest of one may have come before.
        """
        filled = 0
        read: Any = self.object.read  # with a buffer it gives a count, which its types don't know
        _INCOMING.write(data)
        try:
            while _INCOMING.pending:
                # A record at a time, and never in part: what is left would wait inside OpenSSL unseen.
                count: int = read(RECORD, into[filled:] if filled else into)
                if not count:  # close_notify (RFC 8446 §6.1); what comes after it is none of the connection's
                    self.ended = True
                    break
                filled += count
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # the same, where we have said it, too
            self.ended = True
        except ssl.SSLError as error:
            self.broken = str(error)
        finally:
            if _INCOMING.pending or _OUTGOING.pending:
                self._leave()
        return filled

    def seal(self, content: bytes | memoryview) -> bytes:
        """The wire bytes of ``content``. Raises ssl.SSLError."""
        try:
            self.object.write(content)
        except BaseException:
            _OUTGOING.read()
            raise
        return _OUTGOING.read()

    def say_goodbye(self) -> bytes:
        """The wire bytes of close_notify (RFC 8446 §6.1)."""
        with contextlib.suppress(ssl.SSLError, ValueError):
            self.object.unwrap()
        return _OUTGOING.read()

    def _leave(self) -> None:
        """Whatever happened, nothing of this connection stays behind in what it shares with others."""
        if _INCOMING.pending:
            _INCOMING.read()
        if _OUTGOING.pending:
            self.answers += _OUTGOING.read()
