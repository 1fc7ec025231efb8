"""Start a process, wait until it listens, end it."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.certs import HOST

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 20.0
STOP_SECONDS = 3.0


class EndedError(Exception):
    """A process ended, or stayed deaf, when it should have served; the text holds the end of what it said."""


def free_port() -> int:
    """A port that nobody listens on, below the range that outgoing connections are given theirs from."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        return port


def await_listening(process: subprocess.Popen[bytes], port: int, said: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            ended = process.poll()
            if ended is not None or time.monotonic() > deadline:
                text = f"{process.args!r} (exit {ended}) does not listen:\n{_end_of(said)}"
                raise EndedError(text) from None
            time.sleep(0.01)
        else:
            return


def _end_of(said: Path) -> str:
    return said.read_text(errors="replace")[-2000:]


@contextmanager
def running(argv: Sequence[str], port: int, env: Mapping[str, str] | None = None, folder: Path = ROOT) -> Iterator[int]:
    """The process id of `argv`, run in `folder`, from when `port` takes connections; ended when the block is left."""
    with tempfile.NamedTemporaryFile() as said:
        process = subprocess.Popen(
            argv,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            await_listening(process, port, Path(said.name))
            yield process.pid
        except OSError as exc:
            # What went wrong at the client may be a crash here, still being written down.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
                raise EndedError(f"{process.args!r} ended by itself:\n{_end_of(Path(said.name))}") from exc
            raise
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
