"""Containers that write a log: each its own pod, named after what it writes."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass, replace
from functools import cached_property

from k8s_ws_proxy.devcluster.world import DEFAULT_WORLD, Container, Phase, Pod, World

FOUR = ("one", "two", "three", "four")
# Goes on until somebody touches the file, which an exec in the same pod does: HOME is the pod's own.
UNTIL_TOLD = 'until [ -e "$HOME/end" ]; do sleep 0.05; done'
LONG = 5 * 1024 * 1024 + 7  # bytes of a line, its newline not among them
WILD = bytes(range(256)) + b"\0\0\r\r\n\n\xff\xfe\n\xc3\x28\n\r\n\0\nno newline at the end\xf0\x9f"

SCRIPTS = {
    "four": "printf 'one\\ntwo\\nthree\\nfour\\n'",
    "both": "echo out; sleep 0.2; echo err >&2; sleep 0.2; echo out again",
    "waits": f"printf 'one\\ntwo\\n'; {UNTIL_TOLD}; echo three",
    "unfinished": f"printf 'one\\nand a half'; {UNTIL_TOLD}",
    "silent": f"{UNTIL_TOLD}",
    "spaced": "echo one; sleep 2.1; echo two; sleep 2.1; echo three",
    "twice": 'n=$(cat "$HOME/n" 2>/dev/null || echo 0); echo $((n + 1)) > "$HOME/n"; echo "run $((n + 1))"',
    "long": f"head -c {LONG} /dev/zero | tr '\\0' x; echo; echo after",
    "wild": "printf '" + "".join(f"\\{byte:03o}" for byte in WILD) + "'",
}


def writer(name: str, *containers: str, phase: Phase = Phase.RUNNING) -> Pod:
    """A pod whose containers run the scripts of these names; its only one is called as it is."""
    return Pod(
        name, tuple(Container(each, ("/bin/sh", "-c", SCRIPTS[each])) for each in containers or (name,)), phase=phase
    )


def world(*more: Pod) -> World:
    """The default world, with all writers, and ``more``."""
    pods = [
        *(writer(name) for name in SCRIPTS),
        writer("pair", "four", "both"),
        writer("done", "four", phase=Phase.COMPLETED),
        Pod("gone", (Container("gone", ("/no/such/program",)),)),
    ]
    return replace(DEFAULT_WORLD, pods=(*DEFAULT_WORLD.pods, *pods, *more))


@dataclass(frozen=True)
class Bulk:
    """Numbered lines, no two of them equal: whatever is lost, doubled or swapped changes the hash."""

    size: int

    @property
    def script(self) -> str:
        """What writes it."""
        lines = f"seq -f 'line %.0f of a log that is neither short nor long, as lines go' 1 {self.size // 56}"
        return f"{lines} | head -c {self.size}"

    @cached_property
    def sha256(self) -> str:
        """In hex. Made for who asks: every worker imports the modules that have one."""
        data = subprocess.run(["sh", "-c", self.script], check=True, stdout=subprocess.PIPE).stdout
        assert len(data) == self.size
        return sha256(data)

    def pod(self, name: str, *, at_once: bool = True) -> Pod:
        """A pod whose only container writes it, perhaps not before it is told to, and ends."""
        script = self.script if at_once else f"{UNTIL_TOLD}; {self.script}"
        return Pod(name, (Container(name, ("/bin/sh", "-c", script)),))


def sha256(data: bytes) -> str:
    """In hex."""
    return hashlib.sha256(data).hexdigest()
