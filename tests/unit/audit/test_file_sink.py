"""The audit file: rotated, full, taken away, torn, shared."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import subprocess
import sys
import threading

import pytest
from structlog.testing import capture_logs
from support.trails import chains_of, run

from k8s_ws_proxy.audit.file_sink import MOST, AuditFile, FileSink
from k8s_ws_proxy.audit.opened import opened
from k8s_ws_proxy.audit.trail import Trail
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.settings import parse
from k8s_ws_proxy.wire.audit.events import DaemonStarted, SessionOpened, Subject
from k8s_ws_proxy.wire.audit.line import GENESIS, digest


def value(counter):
    return counter.labels("file")._value.get()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.log"


def trail(sink, daemon="a0"):
    return Trail([sink], node="n1", daemon=daemon, prev=sink.digest, cut=sink.cut)


def lines(*paths):
    return [line for path in paths for line in path.read_bytes().splitlines(keepends=True)]


def test_lines_stand_in_it_in_their_order(path):
    sink, before = FileSink(path), value(metrics.AUDIT_WRITTEN)
    told = trail(sink)
    for number in range(1000):
        told.emit(SessionOpened(Subject(session=f"s{number}")))
    told.close()
    chains = chains_of(lines(path))
    assert (chains.lines, chains.fault) == (1000, None)
    assert value(metrics.AUDIT_WRITTEN) - before == 1000
    assert (sink.trouble, sink.waiting, sink.oldest) == ("", 0, 0.0)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_group_may_read_it_and_others_may_not(path, umask):
    before = os.umask(umask)
    try:
        AuditFile(path).open()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_file_that_is_there_keeps_its_mode(path):
    path.touch(mode=0o600)
    AuditFile(path).open()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_next_run_goes_on_from_the_last_line(path):
    for daemon in ("a0", "a1", "a2"):
        told = trail(FileSink(path), daemon)
        told.emit(DaemonStarted())
        told.emit(SessionOpened())
        told.close()
    chains = chains_of(lines(path))
    assert (chains.lines, len(chains.runs), chains.fault) == (6, 3, None)
    del (gone := lines(path))[3]
    assert chains_of(gone).fault is not None


def test_what_was_torn_is_cut_off_and_told(path):
    whole = run("a0", 4, stopped=False)
    path.write_bytes(b"\n".join(whole) + b"\n" + run("a0", 5)[4][:77])
    sink = FileSink(path)
    assert (sink.digest, sink.cut) == (digest(whole[-1]), 77)
    told = trail(sink, "a1")
    told.emit(DaemonStarted(cut=told.cut))
    told.close()
    chains = chains_of(lines(path))
    assert (chains.lines, chains.fault) == (5, None)


def test_what_another_daemon_is_writing_is_not_torn(path):
    ours, theirs = AuditFile(path), AuditFile(path)
    ours.open()
    os.write(ours._fd, run()[0][:50])
    theirs.open()
    assert theirs.cut == 0
    assert path.stat().st_size == 50


def test_a_file_of_something_else_loses_nothing(path):
    path.write_bytes(b"root:x:0")
    told = trail(FileSink(path))
    told.emit(DaemonStarted())
    told.close()
    assert path.read_bytes().startswith(b"root:x:0\n{")
    assert chains_of(lines(path)).fault is None


def test_a_file_that_was_moved_is_followed_by_another_at_a_hangup(path):
    told = trail(FileSink(path))
    moved = path.with_suffix(".1")
    done = threading.Event()

    def load():
        for number in range(3000):
            told.emit(SessionOpened(Subject(session=f"s{number}")))
        done.set()

    loading = threading.Thread(target=load)
    loading.start()
    names = []
    while not done.is_set() or len(names) < 3:
        if path.exists():
            names.append(path.rename(moved.with_suffix(f".{len(names) + 1}")))
            told.reopen()
    loading.join()
    told.close()
    chains = chains_of(lines(*names, *([path] if path.exists() else [])))
    assert (chains.lines, chains.fault) == (3000, None)
    assert len(names) >= 3


def test_a_file_that_was_taken_away_is_made_again(path):
    told = trail(FileSink(path))
    told.emit(DaemonStarted())
    wait_for(lambda: path.stat().st_size)
    path.unlink()
    wait_for(path.exists, lambda: told.emit(SessionOpened()))
    told.close()


def wait_for(there, meanwhile=lambda: None):
    """The test's time-out bounds it."""
    pause = threading.Event()
    while not there():
        meanwhile()
        pause.wait(0.01)


@pytest.mark.parametrize("wrong", ["directory", "fifo", "nowhere"])
def test_what_is_no_file_is_said_and_tried_again(tmp_path, wrong):
    path = tmp_path / wrong / "audit.log" if wrong == "nowhere" else tmp_path / "audit.log"
    if wrong == "directory":
        path.mkdir()
    elif wrong == "fifo":
        os.mkfifo(path)
    before = value(metrics.AUDIT_FAILURES)
    sink = FileSink(path)
    assert sink.digest == GENESIS
    assert sink.trouble
    assert value(metrics.AUDIT_FAILURES) > before
    told = trail(sink)
    told.emit(DaemonStarted())
    assert not told.available
    if wrong == "nowhere":
        path.parent.mkdir()
    elif wrong == "directory":
        path.rmdir()
    else:
        path.unlink()
    wait_for(lambda: told.available and not sink.waiting)
    told.close()
    assert chains_of(lines(path)).lines == 1


def test_what_cannot_be_opened_again_is_troubled_without_a_line_to_write(tmp_path):
    """Else a session would be let in that has no trail."""
    path = tmp_path / "logs" / "audit.log"
    path.parent.mkdir()
    sink = FileSink(path)
    before = value(metrics.AUDIT_FAILURES)
    path.parent.rename(tmp_path / "moved")
    sink.reopen()
    wait_for(lambda: value(metrics.AUDIT_FAILURES) >= before + 2)
    assert sink.trouble == "No such file or directory"
    path.parent.mkdir()
    wait_for(lambda: not sink.trouble)
    assert path.exists()
    sink.close()


def all_written(*trails):
    wait_for(lambda: not any(sink.waiting for told in trails for sink in told._sinks))


BOUND = 6_000  # bytes: some ten lines


def test_before_it_gets_too_large_it_is_begun_anew_and_one_before_it_is_kept(path):
    before = path.with_name("audit.log.1")
    told, seen, largest = trail(FileSink(path, BOUND)), 0, 0
    with capture_logs() as log:
        for number in range(100):
            told.emit(SessionOpened(Subject(session=f"s{number}")))
            all_written(told)
            largest = max(largest, path.stat().st_size)
            seen += before.exists() and len(lines(path)) == 1
    told.close()
    assert largest <= BOUND
    assert seen > 3
    assert BOUND * 0.8 < before.stat().st_size <= BOUND
    kept = lines(before, path)
    chains = chains_of(kept)
    assert chains.fault is None
    assert (chains.runs["a0"].first, chains.runs["a0"].last) == (100 - len(kept) + 1, 100)
    assert sorted(path.parent.iterdir()) == [path, before]
    (said,) = log
    assert said["event"].startswith("the audit file has come to its size and is begun anew")
    assert (said["before"], said["max_bytes"], said["log_level"]) == (str(before), BOUND, "warning")


def test_a_crowd_of_lines_is_bounded_too_and_none_is_lost_or_doubled(path):
    """As many as a batch has, and a line that is larger than others."""
    told = trail(FileSink(path, 1_000_000))
    for number in range(1500):
        told.emit(SessionOpened(Subject(session=f"s{number}", command=("x" * (100_000 if number == 700 else 300),))))
    all_written(told)
    told.close()
    before = path.with_name("audit.log.1")
    assert max(before.stat().st_size, path.stat().st_size) <= 1_000_000
    chains = chains_of(lines(before, path))
    assert (chains.lines, chains.fault) == (1500, None)


def test_the_setting_bounds_it(path):
    settings, _ = parse({"AUDIT_LOG": str(path), "AUDIT_LOG_MAX_SIZE": "1Mi"})
    told = opened(settings.audit, None, node="n1", daemon="a0")
    for _ in range(19):
        told.emit(SessionOpened(Subject(command=("x" * 100_000,))))
        all_written(told)
    told.close()
    assert [len(lines(each)) for each in (path.with_name("audit.log.1"), path)] == [10, 9]


def test_runs_one_after_the_other_are_whole_over_both_files(path):
    before = path.with_name("audit.log.1")
    for number in range(20):
        told = trail(FileSink(path, BOUND), f"a{number}")
        told.emit(DaemonStarted())
        for _ in range(3):
            told.emit(SessionOpened())
        all_written(told)
        told.close()
        assert chains_of(lines(*filter(os.path.exists, (before, path)))).fault is None
    assert before.exists()


def test_of_two_daemons_on_it_one_moves_it_and_no_line_is_lost(path):
    """What the other has moved isn't moved once more, over what was kept."""
    told = [trail(FileSink(path, BOUND), daemon) for daemon in ("a0", "b0")]
    before = path.with_name("audit.log.1")
    for number in range(100):
        told[number % 2].emit(SessionOpened(Subject(session=f"s{number}")))
        all_written(*told)
        kept = [json.loads(line)["session"] for line in lines(*filter(os.path.exists, (before, path)))]
        assert kept == [f"s{each}" for each in range(number + 1 - len(kept), number + 1)]
        assert len(kept) > 7 or len(kept) == number + 1
    for each in told:
        each.close()


def test_one_that_has_been_idle_writes_to_the_file_that_is_there(path):
    """It is moved twice meanwhile, and the one that it had open is gone."""
    busy, idle = trail(FileSink(path, BOUND)), trail(FileSink(path, BOUND), "b0")
    idle.emit(SessionOpened())
    all_written(idle)
    for _ in range(3):
        busy.emit(SessionOpened(Subject(command=("x" * (BOUND // 2),))))
        all_written(busy)
    idle.emit(SessionOpened(Subject(session="after")))
    idle.close()
    busy.close()
    assert json.loads(lines(path)[-1])["session"] == "after"


def test_two_that_would_move_it_at_the_same_time_do_so_once(path):
    ours, theirs = AuditFile(path), AuditFile(path)
    for file in (ours, theirs):
        file.append(b"a line\n")
    holding = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(holding, fcntl.LOCK_EX)
    assert not ours.move_away()
    assert path.read_bytes() == b"a line\n" * 2
    os.close(holding)
    assert ours.move_away()
    ours.append(b"another\n")
    assert not theirs.move_away()
    assert (ours.before.read_bytes(), path.read_bytes()) == (b"a line\n" * 2, b"another\n")


def test_a_file_that_can_t_be_moved_away_grows_on_and_that_is_said_once(path):
    path.with_name("audit.log.1").mkdir()
    told = trail(FileSink(path, BOUND))
    with capture_logs() as log:
        for number in range(30):
            told.emit(SessionOpened(Subject(session=f"s{number}")))
            all_written(told)
        told.close()
    assert path.stat().st_size > BOUND
    assert chains_of(lines(path)).lines == 30
    assert [(said["event"], said["error"]) for said in log] == [
        ("the audit file can't be moved away, and grows beyond its size", "Is a directory")
    ]


FULL = """
import json, resource, signal, sys, time
from pathlib import Path
from k8s_ws_proxy.audit.file_sink import FileSink
from k8s_ws_proxy.audit.trail import Trail
from k8s_ws_proxy.wire.audit.events import SessionOpened, Subject
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sink = FileSink(Path(sys.argv[1]))
trail = Trail([sink], daemon="a0")
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
for number in range(100):
    trail.emit(SessionOpened(Subject(session=f"s{number}")))
while not sink.trouble:
    time.sleep(0.01)
full = Path(sys.argv[1]).read_bytes()
told = {"trouble": sink.trouble, "size": len(full), "whole": full.endswith(b"\\n"), "waiting": sink.waiting}
print(json.dumps(told), file=sys.stderr)  # the log is on the other one
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
while sink.waiting or sink.trouble:
    time.sleep(0.01)
trail.close()
"""


def test_a_disk_that_is_full_loses_nothing_and_tears_nothing(path):
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True)
    told = json.loads(done.stderr)
    assert told["trouble"] in ("File too large", "No space left on device")
    assert 0 < told["size"] <= 10_000
    assert told["whole"]
    assert told["waiting"]
    chains = chains_of(lines(path))
    assert (chains.lines, chains.fault) == (100, None)


def test_what_there_is_no_room_for_is_counted_and_the_gap_is_seen(path):
    path.mkdir()
    sink = FileSink(path)
    told = trail(sink)
    before = value(metrics.AUDIT_LOST)
    event = SessionOpened(Subject(command=("x" * 120_000,)))
    for _ in range(2 * MOST // 120_000):
        told.emit(event)
    assert sink._held <= MOST
    lost = value(metrics.AUDIT_LOST) - before
    assert lost > 50
    path.rmdir()
    wait_for(lambda: not sink.waiting)
    told.emit(event)
    told.close()
    assert "removed" in str(chains_of(lines(path)).fault)
