"""Mixed load for an hour, and the daemon's memory meanwhile as a curve: ``make soak``, or for less time

::

    PYTHONPATH=tests .venv/bin/python tests/soak/hour.py --minutes 10 --into docs/soak

Everything that a session can do goes on at once: terminals, commands whose every byte and exit status is checked,
floods, readers that stop, clients that are cut off at any stage. What is lost is counted, and processes that are left
in the containers are; the exit status is 1 if anything was, or if memory grew by more than 5 % from the second quarter
to the last.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import matplotlib as mpl
from functional.test_leaks import STAGES
from matplotlib import pyplot as plt
from support.caller import PIPES, descriptors, memory, on_terminal, opened, proxy_exec, run, script
from support.daemon import running_daemon

from k8s_ws_proxy.devcluster import DevCluster
from k8s_ws_proxy.wire.framing.channels import STDIN, STDOUT

WANTED = "".join(f"{n}\n" for n in range(1, 5001))
EVERY = 2.0  # seconds between looks at the daemon


class Load:
    """What goes on, until ``until`` (monotonic seconds). ``done`` counts it by kind, ``lost`` holds what went wrong."""

    def __init__(self, daemon, until):
        self.daemon = daemon
        self.until = until
        self.done = {}
        self.lost = []

    async def again(self, what):
        """One after the other, until the time is over."""
        while time.monotonic() < self.until:
            name = what.__name__
            try:
                async with asyncio.timeout(240):
                    await what()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is counted and told
                self.lost.append(f"{name}: {error!r}"[:300])
            self.done[name] = self.done.get(name, 0) + 1
            await asyncio.sleep(random.uniform(0, 0.2))

    async def command(self):
        ended = await run(self.daemon, script("seq 1 5000; exit 7"))
        assert (ended.text(STDOUT), ended.exit_code) == (WANTED, 7), "bytes or an exit status were lost"

    async def paste(self):
        async with opened(self.daemon, script("head -c 500000 | cksum")) as ws:
            for _ in range(10):
                await ws.send(STDIN, b"x" * 50_000)
            assert (await ws.finish()).text(STDOUT).split()[1] == "500000"

    async def terminal(self):
        async with opened(self.daemon, on_terminal("cat")) as ws:
            for _ in range(random.randint(1, 8)):
                await ws.send(STDIN, b"typed\n")
                await ws.until(STDOUT, b"typed\r\ntyped\r\n")
                await asyncio.sleep(random.uniform(0, 2))

    async def flood(self):
        async with opened(self.daemon, on_terminal("exec yes")) as ws:
            seen, end = 0, time.monotonic() + random.uniform(0.5, 3)
            while time.monotonic() < end and seen < 20_000_000:
                frame = await ws.frame()
                seen += len(frame.payload)

    async def stalled(self):
        async with opened(self.daemon, proxy_exec("head", "-c", "3000000", "/dev/zero", **PIPES), limit=1024) as ws:
            await ws.until(STDOUT, b"\0")
            await asyncio.sleep(random.uniform(2, 10))
            ended = await ws.finish()
            assert ended.exit_code == 0

    async def cut_off(self):
        await random.choice(STAGES)(self.daemon)


async def watch(daemon, until, began, rows):
    """A row every EVERY seconds: time, memory in bytes, descriptors."""
    while time.monotonic() < until:
        rows.append((round(time.monotonic() - began, 1), memory(daemon, "VmRSS"), len(descriptors(daemon))))
        await asyncio.sleep(EVERY)


async def soak(minutes):
    with tempfile.TemporaryDirectory() as scratch:
        async with DevCluster() as cluster:
            kubeconfig = cluster.write_kubeconfig(Path(scratch) / "kubeconfig", "proxy")
            async with running_daemon(kubeconfig, Path(scratch), LOG_LEVEL="info", WS_PROXY_ADMIN_ADDR="off") as daemon:
                began = time.monotonic()
                load, rows = Load(daemon, began + 60 * minutes), []
                kinds = [load.command] * 3 + [load.paste] * 2 + [load.terminal] * 20
                kinds += [load.flood] * 2 + [load.stalled] * 6 + [load.cut_off] * 3
                await asyncio.gather(watch(daemon, load.until, began, rows), *map(load.again, kinds))
                daemon.raw_log.clear()
            # The daemon has gone down, and has hung up what was left of each terminal.
            try:
                async with asyncio.timeout(90):
                    await cluster.observed.wait_for(lambda: cluster.observed.running == 0)
            except TimeoutError:
                load.lost.append(f"{cluster.observed.running} processes are left in the containers")
            return load, rows


def plot(rows, file):
    mpl.use("Agg")
    _, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    axes.plot([row[0] / 60 for row in rows], [row[1] / 2**20 for row in rows], label="memory (RSS), MiB")
    axes.plot([row[0] / 60 for row in rows], [row[2] for row in rows], alpha=0.6, label="file descriptors")
    axes.set(title="Mixed load", xlabel="minutes", ylim=(0, None))
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    plt.savefig(file, dpi=110, metadata={"Software": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--into", type=Path, default=Path("docs/soak"), help="where soak.png and soak.json go")
    arguments = parser.parse_args()
    load, rows = asyncio.run(soak(arguments.minutes))
    quarter = len(rows) // 4
    first, last = (statistics.median(row[1] for row in part) for part in (rows[quarter : 2 * quarter], rows[-quarter:]))
    result = {
        "minutes": arguments.minutes,
        "done": load.done,
        "lost": load.lost,
        "median_memory_bytes": {"second quarter": first, "last quarter": last},
        "most_memory_bytes": max(row[1] for row in rows),
    }
    arguments.into.mkdir(parents=True, exist_ok=True)
    plot(rows, arguments.into / "soak.png")
    (arguments.into / "soak.json").write_text(json.dumps(result, indent=2) + "\n")
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return 1 if load.lost or last > first * 1.05 else 0


if __name__ == "__main__":
    sys.exit(main())
