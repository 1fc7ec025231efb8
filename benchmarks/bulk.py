"""Bulk at the client: bytes are read, or written, and counted; frames are not looked at."""

import math
import multiprocessing
import select
import selectors
import socket
import ssl
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

from benchmarks import frames
from benchmarks.pace import Pace
from benchmarks.session import DEADLINE_SECONDS, Session, open_session
from benchmarks.targets.base import Endpoint
from benchmarks.usage import Clock, Cpu

_FORK = multiprocessing.get_context("fork")
_BUFFER = 1024 * 1024
_NAP = 0.0001  # seconds


@dataclass(frozen=True)
class Window:
    """What passed between two moments, and what it cost."""

    count: int
    seconds: float
    cpu: Cpu

    @property
    def mb_per_second(self) -> float:
        return self.count / self.seconds / 1e6


class _Meter:
    """Leaves the first `warm_up` seconds out, then counts until `seconds` are over."""

    def __init__(self, warm_up: float, seconds: float, cpu: Callable[[], Cpu]) -> None:
        self._cpu = cpu
        self._seconds = seconds
        self._from = time.perf_counter() + warm_up
        self._until = self._from + seconds
        self._mark: tuple[int, float, Cpu] | None = None

    def window(self, count: int) -> Window | None:
        """Told the count so far, the window once it is over."""
        now = time.perf_counter()
        if self._mark is None:
            if now >= self._from:
                self._mark = count, now, self._cpu()
                self._until = now + self._seconds
            return None
        if now < self._until:
            return None
        count_before, before, cpu_before = self._mark
        return Window(count - count_before, now - before, self._cpu() - cpu_before)


def _block_in_the_kernel(sock: socket.socket) -> None:
    """Python's own time-out polls before every call; the kernel's costs nothing."""
    limit = struct.pack("ll", int(DEADLINE_SECONDS), 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    sock.settimeout(None)


def read(
    session: Session,
    warm_up: float,
    seconds: float,
    cpu: Callable[[], Cpu],
    ahead: Callable[[int], bool] = lambda _count: False,
) -> Window:
    """Read what one session is flooded with; nothing while so many bytes are `ahead` of somebody."""
    sock, buffer, count = session.sock, bytearray(_BUFFER), 0
    _block_in_the_kernel(sock)
    meter = _Meter(warm_up, seconds, cpu)
    while True:
        got = sock.recv_into(buffer)
        if not got:
            raise ConnectionResetError("the flood ended early")
        count += got
        while ahead(count):
            time.sleep(_NAP)
        if window := meter.window(count):
            return window


def write(
    session: Session,
    block: bytes,
    warm_up: float,
    seconds: float,
    cpu: Callable[[], Cpu],
    *,
    mb_per_second: float = math.inf,
) -> Window:
    """Write masked frames into a sink over and over, all at once, and go by the counts that it reports."""
    whole, sock = memoryview(block), session.sock
    _block_in_the_kernel(sock)
    reported = select.poll()
    reported.register(sock, select.POLLIN)
    meter = _Meter(warm_up, seconds, cpu)
    pace = Pace(mb_per_second * 1e6, time.perf_counter())
    while True:
        if wait := pace.wait(len(whole), time.perf_counter()):
            time.sleep(wait)
        left = whole
        while left:
            left = left[sock.send(left) :]
        if reported.poll(0) and (messages := session.receive()):
            window = meter.window(int(messages[-1][1:]))
            if window:
                return window


def _read_many(endpoint: Endpoint, sessions: int, warm_up: float, seconds: float, pipe: Connection) -> None:
    """Fair among its sessions: one read each in turn."""
    selector = selectors.DefaultSelector()
    for number in range(sessions):
        session = open_session(endpoint, "flood", 32768, 0)
        session.sock.setblocking(False)
        selector.register(session.sock, selectors.EVENT_READ, number)
    pipe.send(None)
    begin = pipe.recv() + warm_up
    buffer, counts, before = bytearray(frames.BLOCK_BYTES), [0] * sessions, [0] * sessions
    started = False
    while (now := time.perf_counter()) < begin + seconds:
        if not started and now >= begin:
            started, before = True, counts.copy()
        for key, _ in selector.select(1.0):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            try:
                counts[key.data] += sock.recv_into(buffer)
            except (BlockingIOError, ssl.SSLWantReadError):
                continue
    pipe.send([now - then for now, then in zip(counts, before, strict=True)])


def read_many(endpoint: Endpoint, sessions: int, warm_up: float, seconds: float) -> tuple[list[float], Cpu]:
    """MB/s of each of `sessions` floods, and their CPU; two processes read, so that they aren't the narrow place."""
    readers = []
    for share in (sessions // 2, sessions - sessions // 2):
        ours, theirs = _FORK.Pipe()
        arguments = (endpoint, share, warm_up, seconds, theirs)
        reader = _FORK.Process(target=_read_many, args=arguments, daemon=True)
        reader.start()
        theirs.close()
        readers.append((reader, ours))
    for _, pipe in readers:
        _receive(pipe, DEADLINE_SECONDS)
    begin = time.perf_counter()
    for _, pipe in readers:
        pipe.send(begin)
    clock = Clock(endpoint.pid)
    time.sleep(max(0.0, begin + warm_up - time.perf_counter()))
    begun = clock.now()
    time.sleep(max(0.0, begin + warm_up + seconds - time.perf_counter()))
    spent = clock.now() - begun
    counts = [count for _, pipe in readers for count in _receive(pipe, DEADLINE_SECONDS)]
    for reader, _ in readers:
        reader.join(DEADLINE_SECONDS)
    return [count / seconds / 1e6 for count in counts], spent


def _receive(pipe: Connection, seconds: float) -> list[int]:
    if not pipe.poll(seconds):
        raise TimeoutError(f"a reader said nothing for {seconds} s")
    try:
        answer: list[int] = pipe.recv()
    except EOFError as exc:
        raise ConnectionResetError("a reader died") from exc
    return answer


class Flood:
    """A session that is flooded, and read by a process of its own, for as long as the block lasts."""

    def __init__(self, endpoint: Endpoint, size: int) -> None:
        self._pipe, self._theirs = _FORK.Pipe()
        self._process = _FORK.Process(target=self._run, args=(endpoint, size, self._theirs), daemon=True)

    @staticmethod
    def _run(endpoint: Endpoint, size: int, pipe: Connection) -> None:
        session = open_session(endpoint, "flood", size, 0)
        _block_in_the_kernel(session.sock)
        buffer = bytearray(_BUFFER)
        session.sock.recv_into(buffer)
        pipe.send(None)
        while session.sock.recv_into(buffer):
            pass

    def __enter__(self) -> None:
        self._process.start()
        self._theirs.close()
        _receive(self._pipe, DEADLINE_SECONDS)

    def __exit__(self, *_: object) -> None:
        ended = not self._process.is_alive()
        self._process.kill()
        self._process.join()
        if ended:
            raise ConnectionResetError("the flood ended early")
