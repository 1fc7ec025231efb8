"""A TLS 1.2 client that sends records of its own making (RFC 5246 §6.2.3.3, RFC 5288 §3)."""

import hashlib
import hmac
import socket
import ssl
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HANDSHAKE = 22
_CIPHER = "ECDHE-ECDSA-AES128-GCM-SHA256"
_KEY, _SALT = 16, 4  # bytes


def _prf(secret: bytes, seed: bytes, length: int) -> bytes:
    """P_SHA256 (RFC 5246 §5)."""
    out, last = b"", seed
    while len(out) < length:
        last = hmac.digest(secret, last, hashlib.sha256)
        out += hmac.digest(secret, last + seed, hashlib.sha256)
    return out[:length]


class RawTls12:
    """A connection whose handshake Python's `ssl` makes in memory, and whose records from then on are made here."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHER)
        context.options |= ssl.OP_NO_TICKET
        with tempfile.NamedTemporaryFile() as log:
            context.keylog_filename = log.name
            server_random = self._shake_hands(sock, context)
            (line,) = (line for line in Path(log.name).read_text().splitlines() if line.startswith("CLIENT_RANDOM "))
        client_random, master = (bytes.fromhex(field) for field in line.split()[1:])
        keys = _prf(master, b"key expansion" + server_random + client_random, 2 * (_KEY + _SALT))
        self._aead, self._salt = AESGCM(keys[:_KEY]), keys[2 * _KEY : 2 * _KEY + _SALT]
        self._sequence = 1  # the Finished was the first
        self.socket = sock

    @staticmethod
    def _shake_hands(sock: socket.socket, context: ssl.SSLContext) -> bytes:
        """The server's random, which stands in the clear: after record and handshake headers and the version."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="proxy")
        heard = b""
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                data = sock.recv(65536)
                if not data:
                    raise ConnectionResetError("closed in the handshake") from None
                heard += data
                incoming.write(data)
            else:
                return heard[11:43]

    def record(self, content: bytes, kind: int) -> bytes:
        """The wire bytes of one record."""
        number = self._sequence.to_bytes(8, "big")
        self._sequence += 1
        header = bytes([kind, 3, 3])
        sealed = self._aead.encrypt(self._salt + number, content, number + header + len(content).to_bytes(2, "big"))
        return header + (8 + len(sealed)).to_bytes(2, "big") + number + sealed
