"""Those who mean well, each a process of its own that keeps time: who probes, who types, 100 who wait, one flood."""

import contextlib
import multiprocessing
import os
import select
import selectors
import signal
import socket
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

from benchmarks import frames
from benchmarks.certs import HOST
from benchmarks.process import EndedError
from benchmarks.session import Session, open_session
from benchmarks.siege.bed import Besieged

FORK = multiprocessing.get_context("fork")
IDLE = 100
GIVE_UP = 15.0  # seconds for any one answer: then it counts as so long, and as lost
_PROBE = b"GET /healthz HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\n\r\n"
_PROBE_EVERY = 0.01  # seconds
_TYPE_EVERY = 0.02
Seen = dict[str, float]


class Watcher:
    """`work` runs in a process; each question is answered with what was seen since the one before."""

    def __init__(self, work: Callable[[Besieged, Connection], None], bed: Besieged) -> None:
        self._pipe, theirs = FORK.Pipe()
        self._process = FORK.Process(target=work, args=(bed, theirs), name=work.__name__, daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self._pid = self._process.pid
        theirs.close()
        if self._answer():
            raise EndedError(f"{work.__name__} doesn't come in")

    def look(self) -> None:
        """Ask what was seen; seen() awaits the answer, so that all can be asked at the same moment."""
        with contextlib.suppress(OSError):
            self._pipe.send(False)

    def seen(self) -> Seen:
        return self._answer()

    def end(self) -> Seen:
        """Have it bring its session to its end: what was lost."""
        with contextlib.suppress(OSError):
            self._pipe.send(True)
        return self._answer()

    def pause(self) -> None:
        """Leave the processors to others, until go_on()."""
        os.kill(self._pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._pid, signal.SIGCONT)

    def stop(self) -> None:
        self._process.kill()
        self._process.join()

    def _answer(self) -> Seen:
        try:
            answer: Seen = self._pipe.recv() if self._pipe.poll(3 * GIVE_UP) else {"lost": 1}
        except (EOFError, OSError):
            return {"lost": 1}
        return answer


def probe(bed: Besieged, pipe: Connection) -> None:
    """`/healthz` as a kubelet asks it, each time by a connection of its own."""
    longest, lost = 0.0, 0
    pipe.send({})
    while True:
        before = time.perf_counter()
        try:
            with socket.create_connection((HOST, bed.http), GIVE_UP) as sock:
                sock.sendall(_PROBE)
                lost += not sock.recv(4096).startswith(b"HTTP/1.1 200 ")
        except OSError:
            lost += 1
        longest = max(longest, time.perf_counter() - before)
        if pipe.poll():
            pipe.recv()
            pipe.send({"longest_ms": longest * 1e3, "lost": lost})
            longest, lost = 0.0, 0
        time.sleep(_PROBE_EVERY)


def typist(bed: Besieged, pipe: Connection) -> None:
    """A letter every 20 ms, another one each time, and its echo awaited."""
    session = open_session(bed.caller(), "echo")
    session.sock.settimeout(GIVE_UP)
    longest, number = 0.0, 0
    pipe.send({})
    while True:
        letter = bytes([97 + number % 26])
        number += 1
        before = time.perf_counter()
        lost = not _echoed(session, letter)
        longest = max(longest, time.perf_counter() - before)
        if pipe.poll() or lost:
            pipe.recv()
            pipe.send({"longest_ms": longest * 1e3, "lost": lost})
            longest = 0.0
            if lost:
                return
        time.sleep(_TYPE_EVERY)


def _echoed(session: Session, letter: bytes) -> bool:
    try:
        session.sock.sendall(frames.client_frame(frames.STDIN + letter))
        return session.await_message() == frames.STDOUT + letter
    except OSError:
        return False


def idle(bed: Besieged, pipe: Connection) -> None:
    """Terminals at which nobody types; at the end each is asked whether it still echoes."""
    sessions = [open_session(bed.caller(), "echo") for _ in range(IDLE)]
    selector = selectors.DefaultSelector()
    for session in sessions:
        assert _echoed(session, b"a")
        selector.register(session.sock, selectors.EVENT_READ, session)
    selector.register(pipe, selectors.EVENT_READ)
    pipe.send({})
    gone: set[int] = set()
    while True:
        for key, _ in selector.select():
            if key.data is not None:
                try:
                    key.data.receive()
                except OSError:
                    gone.add(key.fd)
                    selector.unregister(key.fileobj)
                continue
            if pipe.recv():
                pipe.send({"lost": sum(not _echoed(session, b"z") for session in sessions)})
                return
            pipe.send({"lost": len(gone)})


def flood(bed: Besieged, pipe: Connection) -> None:
    """Reads what it can, every byte held against what it should be; ended by a Ctrl-C and a tally."""
    session = open_session(bed.caller(), "flood-until-interrupted", 32768)
    session.sock.setblocking(True)
    output = _Output(session)
    output.read()
    pipe.send({})
    since, before = time.perf_counter(), output.count
    while True:
        try:
            if session.sock.pending() or select.select([session.sock], [], [], 0.1)[0]:  # type: ignore[union-attr]
                output.read()
        except OSError:
            output.right = False
        if not output.right:
            pipe.recv()
            pipe.send({"lost": 1})
            return
        if not pipe.poll():
            continue
        if pipe.recv():
            pipe.send({"lost": not output.ended_well()})
            return
        now = time.perf_counter()
        pipe.send({"lost": 0, "mb_per_second": (output.count - before) / (now - since) / 1e6})
        since, before = now, output.count


class _Output:
    """What a flood's pattern has come to."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._size = 32767
        self._pattern = frames.pattern(self._size) * 2
        self._tally = b""
        self._closed = False
        self.count = 0
        self.right = True

    def read(self) -> None:
        data = self._session.sock.recv(256 * 1024)
        if not data:
            raise ConnectionResetError("the flood ended")
        self._session.buffer += data
        for opcode, payload in frames.take(self._session.buffer):
            if opcode == frames.PING:
                self._session.sock.sendall(frames.client_frame(payload, frames.PONG))
            elif opcode == frames.CLOSE:
                self._closed = payload[:2] == frames.NORMAL_CLOSURE
            elif payload[:1] == frames.STDOUT:
                self._take(payload[1:])

    def _take(self, content: bytes) -> None:
        at = self.count % self._size
        if content == self._pattern[at : at + len(content)]:
            self.count += len(content)
        elif content.startswith(b"\n"):
            self._tally += content
        else:
            self.right = False

    def ended_well(self) -> bool:
        try:
            self._session.sock.settimeout(GIVE_UP)
            self._session.sock.sendall(frames.client_frame(frames.STDIN + frames.CTRL_C))
            while not self._closed:
                self.read()
        except OSError:
            return False
        return self.right and self._tally == frames.tally(self.count)
