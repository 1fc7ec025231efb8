"""What the kernel says of a process (proc(5), /proc/PID/stat)."""

from pathlib import Path


def fields(pid):
    """The fields after the name, which may hold anything: state is 0, process group 2, start time 19, in ticks."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def alive(pid):
    """Whether there is such a process; one that has ended and is still to be collected is none."""
    try:
        return fields(pid)[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def started(pid):
    """When it started, in ticks since the machine did."""
    return fields(pid)[19]
