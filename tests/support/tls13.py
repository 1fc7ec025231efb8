"""A TLS 1.3 client that sends records of its own making (RFC 8446 §5, §7): those that no library sends, nor so many."""

from __future__ import annotations

import hashlib
import hmac
import socket
import ssl
import struct
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

APPLICATION_DATA = 23
HANDSHAKE = 22
ALERT = 21
KEY_UPDATE = b"\x18\x00\x00\x01"  # and whether one is wanted in answer (RFC 8446 §4.6.3)


def expand_label(secret, label, length, digest):
    """HKDF-Expand-Label with an empty context (RFC 8446 §7.1), for as much as one block of the hash gives."""
    name = b"tls13 " + label
    info = struct.pack("!HB", length, len(name)) + name + b"\x00"
    return hmac.digest(secret, info + b"\x01", digest)[:length]


class RawTls13:
    """A connection whose handshake Python's ``ssl`` makes, and whose records from then on are made here."""

    def __init__(self, address, context, *, server_hostname="proxy"):
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        with tempfile.NamedTemporaryFile() as log:
            context.keylog_filename = log.name
            tls = context.wrap_socket(socket.create_connection(address, timeout=30), server_hostname=server_hostname)
            lines = Path(log.name).read_text().splitlines()
        secrets = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        (secret,) = (value for name, value in secrets.items() if name.startswith("CLIENT_TRAFFIC_SECRET_0 "))
        self._digest, self._key_size = {
            "TLS_AES_256_GCM_SHA384": ("sha384", 32),
            "TLS_AES_128_GCM_SHA256": ("sha256", 16),
        }[tls.cipher()[0]]
        self._begin(bytes.fromhex(secret))
        self.socket = socket.socket(fileno=tls.detach())

    def _begin(self, secret):
        self._secret = secret
        self._aead = AESGCM(expand_label(secret, b"key", self._key_size, self._digest))
        self._iv = int.from_bytes(expand_label(secret, b"iv", 12, self._digest), "big")
        self._sequence = 0

    def record(self, content, kind=APPLICATION_DATA):
        """The wire bytes of one record."""
        inner = content + bytes((kind,))
        header = struct.pack("!BHH", APPLICATION_DATA, 0x0303, len(inner) + 16)
        nonce = (self._iv ^ self._sequence).to_bytes(12, "big")
        self._sequence += 1
        return header + self._aead.encrypt(nonce, inner, header)

    def key_update(self, *, requested=False):
        """The wire bytes of a KeyUpdate; what comes after it has other keys (RFC 8446 §7.2)."""
        wire = self.record(KEY_UPDATE + bytes((requested,)), HANDSHAKE)
        self._begin(expand_label(self._secret, b"traffic upd", hashlib.new(self._digest).digest_size, self._digest))
        return wire
