"""Before anything is timed: does every byte come through this target, with its status and its close?"""

from benchmarks import frames
from benchmarks.session import open_session
from benchmarks.targets.base import Endpoint

_TOTAL = 8 * 1024 * 1024
_SIZE = 1000
_STEP = 1024 * 1024
_END = [(frames.BINARY, frames.STATUS + frames.SUCCESS), (frames.CLOSE, frames.NORMAL_CLOSURE)]


class WrongError(Exception):
    """What came out is not what went in."""


def check(endpoint: Endpoint) -> None:
    """A flood to its end, a sink's count, a keystroke's echo."""
    _check_flood(endpoint)
    sink = open_session(endpoint, "sink", _STEP)
    with sink.sock:
        sink.sock.sendall(frames.stdin_frame(_STEP))
        if int(sink.await_message()[1:]) < _STEP:
            raise WrongError("the sink's count is less than what was sent")
    echo = open_session(endpoint, "echo")
    with echo.sock:
        echo.keystroke()


def _check_flood(endpoint: Endpoint) -> None:
    frame = frames.stdout_frame(_SIZE)
    due = -(-_TOTAL // len(frame)) * (_SIZE - 1)
    session = open_session(endpoint, "flood", _SIZE, _TOTAL)
    seen: list[tuple[int, bytes]] = []
    count = 0
    with session.sock as sock:
        while not seen or seen[-1][0] != frames.CLOSE:
            data = sock.recv(65536)
            if not data:
                raise WrongError(f"EOF without a close, after {count} of {due} bytes and {seen[-1:]}")
            session.buffer += data
            for opcode, payload in frames.take(session.buffer):
                if opcode == frames.BINARY and payload[:1] == frames.STDOUT:
                    count += len(payload) - 1
                elif opcode != frames.PING:
                    seen.append((opcode, payload))
    if count != due or seen != _END:
        raise WrongError(f"{count} of {due} bytes, then {seen}")
