"""``k8s-ws-proxy audit verify`` as a person or a job runs it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.trails import run

VERIFY = [sys.executable, "-m", "k8s_ws_proxy", "audit", "verify"]


def verify(*files, text=b""):
    done = subprocess.run([*VERIFY, *map(str, files)], input=text, capture_output=True, check=False)
    return done.returncode, done.stdout.decode().splitlines(), done.stderr.decode()


def written(path, lines, end=b"\n"):
    path.write_bytes(b"\n".join(lines) + end)
    return path


def test_a_whole_trail(tmp_path):
    lines = run()
    first, second = written(tmp_path / "audit.log.1", lines[:4]), written(tmp_path / "audit.log", lines[4:])
    assert verify(first, second) == (
        0,
        ["10 lines of 1 run of daemons, from 2025-06-01T12:00:01.000000Z to 2025-06-01T12:00:10.000000Z", "whole"],
        "",
    )
    assert (
        verify("-", text=first.read_bytes() + b"another line\n" + second.read_bytes())[:2] == verify(first, second)[:2]
    )


def test_the_first_fault_is_told_with_file_and_line(tmp_path):
    lines = run()
    del lines[6]
    first, second = written(tmp_path / "1", lines[:5]), written(tmp_path / "2", lines[5:])
    status, told, _ = verify(first, second)
    assert status == 1
    assert told[-1] == (
        f"not whole: {second}, line 2: removed: line 7 of the run a0 should stand before it, and is not there"
    )


def test_a_truncated_last_line_is_named_as_such(tmp_path):
    file = written(tmp_path / "audit.log", [*run(stopped=False)[:9], run()[9][:50]], end=b"")
    status, told, _ = verify(file)
    assert status == 1
    assert (
        told[-1]
        == f"not whole: {file}, line 10: cut: the file ends before this line does: it is the last one, and cut off"
    )


def test_what_begins_in_the_middle_is_told(tmp_path):
    status, told, _ = verify(written(tmp_path / "audit.log", run()[3:]))
    assert status == 0
    assert told[1] == "the run a0 begins with its line 4: what was before isn't here"


def test_a_file_without_lines_is_no_mistake(tmp_path):
    assert verify(written(tmp_path / "audit.log", []))[:2] == (0, ["0 lines of 0 runs of daemons", "whole"])


def test_a_line_of_many_megabytes_is_told_and_takes_no_memory(tmp_path):
    lines = run()
    lines[3] = b'{"audit": true, "x": "' + b"x" * 9_000_000 + b'"}'
    status, told, _ = verify(written(tmp_path / "audit.log", lines))
    assert status == 1
    assert "line 4: changed: it is longer than any line is" in told[-1]


@pytest.mark.parametrize("files", [[], ["--wrong", "x"]])
def test_a_wrong_command(files):
    assert verify(*files)[0] == 2


def test_a_file_that_cannot_be_read(tmp_path):
    status, _, error = verify(tmp_path / "nothing")
    assert status == 2
    assert "nothing can't be read: No such file or directory" in error
    assert verify(tmp_path)[0] == 2
