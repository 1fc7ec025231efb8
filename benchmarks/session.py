"""The client's end of a session: connect, upgrade, and then the bare socket."""

import contextlib
import math
import secrets
import socket
import ssl
import time
from dataclasses import dataclass
from urllib.parse import urlencode

from benchmarks import frames
from benchmarks.certs import HOST
from benchmarks.targets.base import SECRET, Endpoint
from k8s_ws_proxy.wire.requests.signing_v2 import signed_headers_v2

PATH = "/api/v1/namespaces/bench/pods/bench-0/exec"
LOG_PATH = "/api/v1/namespaces/bench/pods/bench-0/log"
# Nothing here takes longer, however noisy the machine; past it the run fails loudly.
DEADLINE_SECONDS = 30.0


class RefusedError(ConnectionError):
    """The answer was not what was asked for."""


@dataclass
class Session:
    """An upgraded socket, and what came with the 101's head; its id, where the target has given it one."""

    sock: socket.socket | ssl.SSLSocket
    buffer: bytearray
    id: str = ""

    def close(self) -> None:
        self.sock.close()

    def keystroke(self) -> None:
        """One byte of stdin, and its echo awaited."""
        self.sock.sendall(KEYSTROKE)
        self.await_message()

    def await_message(self) -> bytes:
        """The latest message, as soon as there is one."""
        while not (messages := self.receive()):
            pass
        return messages[-1]

    def take_more(self) -> None:
        """Read once, whatever it is."""
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionResetError("the session ended while a message was awaited")
        self.buffer += data

    def receive(self) -> list[bytes]:
        """Read once: the messages that hold more than their channel. Pings on the way are answered."""
        self.take_more()
        messages = []
        for opcode, payload in frames.take(self.buffer):
            if opcode == frames.PING:
                self.sock.sendall(frames.client_frame(payload, frames.PONG))
            elif opcode == frames.CLOSE:
                raise ConnectionResetError(f"closed while a message was awaited: {payload!r}")
            elif len(payload) > 1:
                messages.append(payload)
        return messages


KEYSTROKE = frames.client_frame(frames.STDIN + b"x")


def upgrade(endpoint: Endpoint, path: str, signed: dict[str, str] | None = None) -> dict[str, str]:
    return {
        "Host": f"{HOST}:{endpoint.port}",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
        "Sec-WebSocket-Protocol": "v5.channel.k8s.io",
    } | (endpoint.headers(path) if signed is None else signed)


def open_session(endpoint: Endpoint, *command: str | int) -> Session:
    """A session in which the source does `command`, from when the 101 has been read."""
    words = [("command", str(word)) for word in command]
    streams = [(name, "true") for name in ("stdin", "stdout", "tty")]
    query = urlencode([*words, ("container", "shell"), *streams])
    return _asked(endpoint, f"{PATH}?{query}", upgrade(endpoint, PATH), 101)


def run_echo_hi(endpoint: Endpoint) -> None:
    """A whole session that says `hi`: to the closes of both sides."""
    query = urlencode([("command", "say-hi"), ("container", "shell"), ("stdout", "true"), ("stderr", "true")])
    session = _asked(endpoint, f"{PATH}?{query}", upgrade(endpoint, PATH), 101)
    told: list[bytes] = []
    with session.sock as sock:
        while frames.NORMAL_CLOSURE not in told:
            told += [payload for opcode, payload in frames.take(session.buffer) if opcode != frames.PING]
            if frames.NORMAL_CLOSURE not in told:
                session.take_more()
        # And gone, as kubectl is. Who doesn't wait for the answer to its close may be gone already.
        with contextlib.suppress(ConnectionError):
            sock.sendall(frames.client_frame(frames.NORMAL_CLOSURE, frames.CLOSE))
    told = [payload for payload in told if len(payload) > 1]
    if told != [frames.STDOUT + b"hi\n", frames.STATUS + frames.SUCCESS, frames.NORMAL_CLOSURE]:
        raise ConnectionResetError(f"not what `echo hi` says: {told}")


def open_log(endpoint: Endpoint, container: str) -> Session:
    """The log of this container by plain HTTP, from when the answer's head has been read."""
    headers = {"Host": f"{HOST}:{endpoint.port}"} | endpoint.headers(LOG_PATH)
    return _asked(endpoint, f"{LOG_PATH}?follow=true&container={container}", headers, 200)


def open_lines(endpoint: Endpoint, container: str) -> Session:
    """The same by WebSocket, a line a message."""
    path = f"/proxy/logs/bench/bench-0/{container}"
    return _asked(endpoint, path, upgrade(endpoint, path), 101)


def open_watch(endpoint: Endpoint, session: str) -> Session:
    """Somebody who watches the session with this id, signed with v2 as that has to be."""
    path = f"/proxy/sessions/{session}/watch"
    # In the coming second: a target takes no signature from before its start, and that was just now.
    signed = signed_headers_v2(
        SECRET.encode(), "GET", path, created=math.ceil(time.time()), nonce=secrets.token_urlsafe(16)
    )
    return _asked(endpoint, path, upgrade(endpoint, path, signed), 101)


def _asked(endpoint: Endpoint, target: str, headers: dict[str, str], status: int) -> Session:
    sock: socket.socket | ssl.SSLSocket = socket.create_connection((HOST, endpoint.port), DEADLINE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if endpoint.tls is not None:
        sock = endpoint.tls.wrap_socket(sock, server_hostname="localhost")
    lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    head, end, data = b"", b"", bytearray()
    while not end:
        received = sock.recv(65536)
        if not received:
            raise RefusedError(f"closed in the head: {bytes(data)!r}")
        data += received
        head, end, rest = bytes(data).partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 %d " % status):
        raise RefusedError(bytes(data[:500]).decode(errors="replace"))
    fields = (line.partition(b":") for line in head.split(b"\r\n"))
    named = {name.lower(): value.strip().decode() for name, _, value in fields}
    return Session(sock, bytearray(rest), named.get(b"x-session-id", ""))
