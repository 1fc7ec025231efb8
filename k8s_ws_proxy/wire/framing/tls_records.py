"""Where TLS records end, how many there are, and how long a handshake may be: looked at before OpenSSL has them.

OpenSSL makes room for a handshake message as soon as it is announced, up to 128 KiB of it, and takes any number of
records. So while a handshake is under way it gets whole records of which each was looked at, and none of those behind
the handshake, which are the session's already; and its bytes, its records and the ClientHello's length have bounds.
"""

from __future__ import annotations

from typing import Final

HEADER: Final = 5  # bytes: content type, version, length (RFC 8446 §5.1)
RECORD: Final = 16384  # bytes of content in a record at most (RFC 8446 §5.1)
_LONGEST: Final = RECORD + 2048  # bytes of a protected record that TLS 1.2 allows (RFC 5246 §6.2.3)
_HANDSHAKE: Final = 22  # the content type of the first record (RFC 8446 §5.1)
# Bytes. A ClientHello with a post-quantum key share and a ticket with a certificate in it has some four KiB; a
# chain of three certificates with RSA keys of 4096 bits six.
MAX_HELLO: Final = 16 * 1024
MAX_HANDSHAKE: Final = 64 * 1024
MAX_RECORDS: Final = 32  # a handshake takes less than ten
_CHANGE_CIPHER_SPEC: Final = 20
_MAX_CHANGES: Final = 2  # OpenSSL drops further ones without a word, any number of them; one means well (RFC 8446 §5)


class HandshakeRefused(Exception):
    """The peer's handshake isn't TLS, or is longer than any that means well."""


class HandshakeRecords:
    """One side's records until its handshake is over. Bytes are read as ``want`` says, and then told to take()."""

    __slots__ = ("_changes", "_header", "_hello", "_left", "_total", "records")

    def __init__(self) -> None:
        self._header = b""
        self._hello: bytes | None = b""  # the first bytes of the first message, until its length is known
        self._left = 0  # bytes of the record under way
        self._total = 0
        self._changes = 0
        self.records = 0  # that have begun

    @property
    def want(self) -> int:
        """How many bytes may be read now, so that none of the next record are."""
        return self._left or HEADER - len(self._header)

    @property
    def between(self) -> bool:
        """The last record is complete, and no other has begun."""
        return not self._left and not self._header

    def take(self, data: bytes) -> None:
        """``data`` was read, ``want`` bytes of it at most. Raises HandshakeRefused."""
        self._total += len(data)
        if self._left:
            self._left -= len(data)
            if self._hello is not None:
                self._look_at_hello(data)
            return
        self._header += data
        if len(self._header) == HEADER:
            self._begin()

    def _begin(self) -> None:
        first, self._left = self._header[0], int.from_bytes(self._header[3:], "big")
        self._header = b""
        self.records += 1
        if self._hello is not None and first != _HANDSHAKE:
            raise HandshakeRefused("it doesn't begin with a TLS handshake")
        self._changes += first == _CHANGE_CIPHER_SPEC
        if self._changes > _MAX_CHANGES:
            raise HandshakeRefused("it changes its cipher again and again")
        if self._left > _LONGEST:
            raise HandshakeRefused("a record is longer than TLS allows")
        if self.records > MAX_RECORDS or self._total + self._left > MAX_HANDSHAKE:
            raise HandshakeRefused(f"the handshake has over {MAX_RECORDS} records or {MAX_HANDSHAKE} bytes")

    def _look_at_hello(self, data: bytes) -> None:
        """The first message is a ClientHello or a ServerHello: its type, and its length in three bytes."""
        assert self._hello is not None
        self._hello = (self._hello + data)[:4]
        if len(self._hello) == 4:
            length, self._hello = int.from_bytes(self._hello[1:], "big"), None
            if length > MAX_HELLO:
                raise HandshakeRefused(f"its first message has {length} bytes; {MAX_HELLO} is the most")


class RecordCounter:
    """How many records there are in what comes: each is work, however little it carries."""

    __slots__ = ("_header", "_left")

    def __init__(self) -> None:
        self._header = b""  # of the next record, where it was cut
        self._left = 0  # bytes of the record under way

    def count(self, wire: memoryview) -> int:
        """How many begin in ``wire``, which goes on where the last one ended; a cut header doesn't begin one yet."""
        begun, end = 0, len(wire)
        pos = self._left
        if self._header:
            pos = HEADER - len(self._header)
            self._header += bytes(wire[:pos])
            if len(self._header) < HEADER:
                return 0
            pos += self._header[3] << 8 | self._header[4]
            self._header = b""
            begun = 1
        while pos + HEADER <= end:
            pos += HEADER + (wire[pos + 3] << 8 | wire[pos + 4])
            begun += 1
        if pos < end:
            self._header = bytes(wire[pos:])
            self._left = 0
        else:
            self._left = pos - end
        return begun
