"""`python -m k8s_ws_proxy.devcluster`: the cluster in the foreground, until SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path

from k8s_ws_proxy.devcluster import DEFAULT_WORLD, DevCluster


async def serve(port: int, directory: Path, audit_file: Path | None = None) -> None:
    """Run the cluster, and say on standard output where everything is.

    Raises OSError if it can't listen on the port, or can't write to the file.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with DevCluster(port=port, directory=directory, audit_file=audit_file) as cluster:
        await asyncio.to_thread(_introduce, cluster, directory)
        await stop.wait()


def _introduce(cluster: DevCluster, directory: Path) -> None:
    lines = [f"url         {cluster.url}", f"ca          {cluster.ca_file}"]
    lines.append(f"kubeconfig  {cluster.write_kubeconfig(directory / 'kubeconfig')}")
    for user in DEFAULT_WORLD.users:
        token = cluster.write_token(user.alias, directory / f"{user.alias}.token")
        lines.append(f"token       {token}  ({user.name})")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m k8s_ws_proxy.devcluster", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="TCP port on 127.0.0.1; any free one if not given")
    parser.add_argument("--audit-log", type=Path, help="append the audit log to this file, a JSON object a line")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kdev-") as directory:
        try:
            asyncio.run(serve(arguments.port, Path(directory), arguments.audit_log))
        except OSError as exc:
            reason = os.strerror(exc.errno or 0)
            what = f"write {exc.filename}" if exc.filename else f"listen on 127.0.0.1:{arguments.port}"
            sys.stderr.write(f"can't {what}: {reason}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
