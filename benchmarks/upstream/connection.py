"""One connection of the source: TLS handshake, HTTP requests, then what the `command` asked for."""

import base64
import hashlib
import selectors
import socket
import ssl
from urllib.parse import parse_qs, urlsplit

from benchmarks import frames
from benchmarks.upstream import bulk, shell

# RFC 6455 §1.3
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_VERSION = b'{"major":"1","minor":"36","gitVersion":"v1.36.2"}'
_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_VERSION) + _VERSION
_SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: %s.channel.k8s.io\r\n\r\n"
)
# As the apiserver does, the first message is an empty one on channel 1.
_FIRST = frames.server_frame(frames.STDOUT)
_BULK = {
    "flood": bulk.flood,
    "flood-of-words": bulk.flood_of_words,
    "flood-when-told": bulk.flood_when_told,
    "flood-until-interrupted": bulk.flood_until_interrupted,
    "paced": bulk.paced,
    "say-hi": bulk.say_hi,
    "sink": bulk.sink,
}
# Open, and never read again.
_DEAF: list[ssl.SSLSocket] = []


class Connection:
    """The current handler is `self._on_data`; it is given what was read, and owns `self._buffer`."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, selector: selectors.BaseSelector) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector = selector
        self._sock = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        self._buffer = bytearray()
        self._on_data = self._on_request
        self._attached = True
        self.on_ready = self._handshake
        selector.register(self._sock, selectors.EVENT_READ, self)

    def _handshake(self) -> None:
        try:
            self._sock.do_handshake()
        except ssl.SSLWantReadError:
            return
        except OSError:
            self._close()
            return
        self.on_ready = self._read
        self._read()

    def _read(self) -> None:
        """Read until TLS has no more: what it holds back, the selector can't see."""
        try:
            while self._attached:
                data = self._sock.recv(16384)
                if not data:
                    self._close()
                    return
                self._buffer += data
                self._on_data()
        except ssl.SSLWantReadError:
            return
        except OSError:
            self._close()

    def _detach(self) -> None:
        self._attached = False
        self._selector.unregister(self._sock)

    def _close(self) -> None:
        self._detach()
        self._sock.close()

    def _on_request(self) -> None:
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        self._buffer = rest
        request, *lines = bytes(head).split(b"\r\n")
        fields = (line.partition(b":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in fields}
        target = urlsplit(request.split(b" ")[1].decode())
        if target.path.endswith("/log"):
            _, *numbers = parse_qs(target.query)["container"][0].split("-")
            self._detach()
            bulk.start(self._sock, bulk.log, *map(int, numbers))
            return
        if headers.get(b"upgrade", b"").lower() != b"websocket":
            self._sock.send(_OK)
            return
        if "/pods/hangs" in target.path:
            self._on_data = self._buffer.clear
            return
        accept = base64.b64encode(hashlib.sha1(headers[b"sec-websocket-key"] + _GUID).digest())
        offered = headers.get(b"sec-websocket-protocol", b"")
        version = b"v5" if b"v5.channel.k8s.io" in offered else b"v4"
        self._sock.send(_SWITCHED % (accept, version) + _FIRST)
        query = parse_qs(target.query, keep_blank_values=True)
        said, command = shell.understood(query.get("command", ["idle"]))
        if said:
            self._sock.send(frames.server_frame(frames.STDOUT + said))
        self._execute(command)

    def _execute(self, command: list[str]) -> None:
        name, *words = command
        if name in _BULK:
            self._detach()
            bulk.start(self._sock, _BULK[name], *map(int, words))
        elif name == "deaf":
            self._detach()
            _DEAF.append(self._sock)
        elif name == "end":
            self._sock.send(bulk.FAREWELL)
        else:
            self._on_data = self._on_echo if name == "echo" else self._on_idle
            if self._buffer:
                self._on_data()

    def _on_echo(self) -> None:
        for opcode, payload in frames.take(self._buffer):
            if opcode == frames.BINARY:
                self._sock.send(frames.server_frame(frames.STDOUT + payload[1:]))
            else:
                self._on_control(opcode, payload)

    def _on_idle(self) -> None:
        for opcode, payload in frames.take(self._buffer):
            self._on_control(opcode, payload)

    def _on_control(self, opcode: int, payload: bytes) -> None:
        if opcode == frames.PING:
            self._sock.send(frames.server_frame(payload, frames.PONG))
        elif opcode == frames.CLOSE:
            self._sock.send(frames.server_frame(payload, frames.CLOSE))
