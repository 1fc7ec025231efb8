"""What the kernel says of a process, and of a connection (proc(5), /proc/PID/stat and /proc/PID/net/tcp)."""

import fcntl
import sys
from pathlib import Path

_SIOCOUTQNSD = 0x894B  # linux/sockios.h


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


def unsent(sock):
    """Bytes that were written to a TCP socket and haven't left: behind the peer's window, above all (tcp(7))."""
    return int.from_bytes(fcntl.ioctl(sock.fileno(), _SIOCOUTQNSD, bytes(4)), sys.byteorder)


def unread(port, peer_port):
    """Bytes that lie unread in the socket of TCP ``port`` whose peer has ``peer_port``, both of this machine."""
    ends = f":{port:04X}", f":{peer_port:04X}"
    for table in ("tcp", "tcp6"):  # a socket that takes both is among the latter
        for line in Path("/proc/self/net", table).read_text().splitlines()[1:]:
            _, local, remote, _, queues, *_ = line.split()
            if (local[-5:], remote[-5:]) == ends:
                return int(queues.partition(":")[2], 16)
    return 0
