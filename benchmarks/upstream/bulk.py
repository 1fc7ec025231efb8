"""Bulk in both directions, a thread each: OpenSSL works without the GIL, so no echo waits for a flood."""

import contextlib
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Self

from benchmarks import frames
from benchmarks.pace import Pace

FAREWELL = frames.server_frame(frames.STATUS + frames.SUCCESS) + frames.server_frame(
    frames.NORMAL_CLOSURE,
    frames.CLOSE,
)
HI = frames.server_frame(frames.STDOUT + b"hi\n")
_RUNS = 0.002  # seconds between a command's output and its end: the proxy is asleep by then
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


def paced(sock: ssl.SSLSocket, mb_per_second: int) -> None:
    """Messages of 8 to 32 KiB without end, each flushed alone, no faster than that; a burst of them arrives at once."""
    messages = [memoryview(frame) for frame in frames.burst(frames.stdout_frame)]
    size = sum(map(len, messages))
    pace = Pace(mb_per_second * 1e6, time.perf_counter())
    with _Held(sock) as held:
        while True:
            time.sleep(pace.wait(size, time.perf_counter()))
            for message in messages:
                _write(sock, message)
            held.release()


class _Held:
    """What OpenSSL writes is kept, record by record as it made them, until it is released in one piece.

    Otherwise the scheduler decides how many records a proxy finds at a time, and so does whoever else is at work.
    Beneath OpenSSL another socket is put in the place of the connection: nothing can be read meanwhile.
    """

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self._beneath, self._kept = socket.socketpair()
        self._connection = socket.socket(fileno=os.dup(sock.fileno()))
        os.dup2(self._beneath.fileno(), sock.fileno())
        self._kept.setblocking(False)
        self._buffer = bytearray(2 * frames.BLOCK_BYTES)

    def release(self) -> None:
        whole, count = memoryview(self._buffer), 0
        with contextlib.suppress(BlockingIOError):
            while got := self._kept.recv_into(whole[count:]):
                count += got
        self._connection.sendall(whole[:count])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self._beneath, self._kept, self._connection):
            sock.close()


def say_hi(sock: ssl.SSLSocket) -> None:
    """What `echo hi` says, then how it ended, and the close: each as soon as there is it, as from a container."""
    _write(sock, memoryview(HI))
    time.sleep(_RUNS)
    _write(sock, memoryview(frames.server_frame(frames.STATUS + frames.SUCCESS)))
    _write(sock, memoryview(frames.server_frame(frames.NORMAL_CLOSURE, frames.CLOSE)))
    sock.recv(65536)  # the answer to the close


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
