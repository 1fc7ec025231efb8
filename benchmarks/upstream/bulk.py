"""Bulk in both directions, a thread each: OpenSSL works without the GIL, so no echo waits for a flood."""

import contextlib
import select
import ssl
import threading
from collections.abc import Callable

from benchmarks import frames

FAREWELL = frames.server_frame(frames.STATUS + frames.SUCCESS) + frames.server_frame(
    frames.NORMAL_CLOSURE,
    frames.CLOSE,
)
_LOG_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"


def flood(sock: ssl.SSLSocket, size: int, total: int) -> None:
    """Channel-1 frames of `size` bytes: `total` bytes of them, made up to whole frames; 0 is without end."""
    frame = frames.stdout_frame(size)
    block = memoryview(frames.repeated(frame))
    if not total:
        while True:
            _write(sock, block)
    left = -(-total // len(frame)) * len(frame)
    while left:
        part = block[:left]
        _write(sock, part)
        left -= len(part)
    _write(sock, memoryview(FAREWELL))
    while sock.recv(65536):
        pass


def flood_when_told(sock: ssl.SSLSocket, size: int) -> None:
    """The same without an end, from when the client has said something."""
    if sock.recv(65536):
        flood(sock, size, 0)


def flood_of_words(sock: ssl.SSLSocket) -> None:
    """A shell that says `x` without a newline and without an end."""
    while True:
        _write(sock, memoryview(frames.repeated(frames.server_frame(frames.STDOUT + b"x" * 8000))))


def flood_until_interrupted(sock: ssl.SSLSocket, size: int) -> None:
    """Channel-1 frames of `size` bytes until a Ctrl-C comes, then how many bytes of output it were, and the end.

    No frame is begun after the Ctrl-C: what is seen of the flood from then on was under way before.
    """
    frame = frames.pattern_frame(size)
    sock.setblocking(False)
    incoming, count = bytearray(), 0
    while not any(payload == frames.STDIN + frames.CTRL_C for _, payload in frames.take(incoming)):
        count += size - 1
        left = memoryview(frame)
        while left:
            try:
                left = left[sock.send(left) :]
            except ssl.SSLWantWriteError:
                select.select([sock], [sock], [])
            _read_what_came(sock, incoming)
    sock.setblocking(True)
    _write(sock, memoryview(frames.server_frame(frames.STDOUT + frames.tally(count)) + FAREWELL))
    while sock.recv(65536):
        pass


def _read_what_came(sock: ssl.SSLSocket, incoming: bytearray) -> None:
    try:
        data = sock.recv(65536)
    except ssl.SSLWantReadError:
        return
    if not data:
        raise ConnectionResetError("the reader has gone")
    incoming += data


def log(sock: ssl.SSLSocket, line: int, chunk: int) -> None:
    """Lines of `line` bytes without end, in chunks of about `chunk` bytes, as an apiserver sends a log."""
    content = (b"." * (line - 1) + b"\n") * max(1, chunk // line)
    block = memoryview(frames.repeated(b"%x\r\n%b\r\n" % (len(content), content)))
    _write(sock, memoryview(_LOG_HEAD))
    while True:
        _write(sock, block)


def sink(sock: ssl.SSLSocket, step: int) -> None:
    """Read and throw away; at every `step` bytes say on channel 1 how many there were, as decimal digits."""
    buffer = memoryview(bytearray(frames.BLOCK_BYTES))
    count, report_at = 0, step
    while got := sock.recv_into(buffer):
        count += got
        if count >= report_at:
            report_at = count + step
            _write(sock, memoryview(frames.server_frame(frames.STDOUT + b"%d" % count)))


def _write(sock: ssl.SSLSocket, data: memoryview) -> None:
    while data:
        data = data[sock.send(data) :]


def start(sock: ssl.SSLSocket, work: Callable[..., None], *arguments: int) -> None:
    """Give the socket, blocking from now on, to a thread; closed when the work ends or the peer goes."""
    sock.setblocking(True)

    def run() -> None:
        with sock, contextlib.suppress(OSError):
            work(sock, *arguments)

    threading.Thread(target=run, name=work.__name__, daemon=True).start()
