"""What the kernel says of a process, and of a connection (proc(5), /proc/PID/stat and /proc/PID/net/tcp)."""

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


def unread(port, peer_port):
    """Bytes for TCP ``port`` from ``peer_port``, both of this machine, that nobody has read, wherever they are.

    A reader that is quick empties its own socket again and again while the sender's still holds the rest.
    """
    there, here = f":{port:04X}", f":{peer_port:04X}"
    found = 0
    for table in ("tcp", "tcp6"):  # a socket that takes both is among the latter
        for line in Path("/proc/self/net", table).read_text().splitlines()[1:]:
            _, local, remote, _, queues, *_ = line.split()
            waiting_to_go, unread_here = (int(queue, 16) for queue in queues.split(":"))
            if (local[-5:], remote[-5:]) == (there, here):
                found += unread_here
            elif (local[-5:], remote[-5:]) == (here, there):
                found += waiting_to_go
    return found
