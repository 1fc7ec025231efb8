"""``k8s-ws-proxy dev``: the proxy in front of an embedded cluster, for trying things out."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import secrets
import shlex
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from k8s_ws_proxy.cli.serve import prepare
from k8s_ws_proxy.errors import ProxyError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

_HELP = """\
Run the proxy in front of an embedded cluster, on loopback, and print a command to paste into another
terminal. The cluster's pods are directories and processes on this machine: nothing is isolated.

The settings of `serve` that are in the environment hold here, too, for example TMUX_CASCADE=true; the
secret, the address and the apiserver are dev's own. Everything is gone when it ends, at Ctrl-C.
"""

DEFAULT_PORT: Final = 8080


def add_to(commands: Any) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "dev",
        help="run the proxy in front of an embedded cluster",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--port",
        type=int,
        default=DEFAULT_PORT,
        help=f"the proxy's port on 127.0.0.1, {DEFAULT_PORT} by default; 0 takes any that is free",
    )
    parser.add_argument(
        "--demo",
        action="store_true",
        help="run a command through the proxy, check what comes of it, then give you a shell if this is a terminal",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run it until a signal. Raises ProxyError."""
    if not 0 <= arguments.port <= 65535:
        raise ProxyError(f"--port must be between 0 and 65535, and is {arguments.port}")
    with tempfile.TemporaryDirectory(prefix="k8s-ws-proxy-dev-") as directory:
        return asyncio.run(_run(arguments.port, Path(directory), demo=arguments.demo))


@dataclass(frozen=True, slots=True)
class Playground:
    """What runs, and how to reach it."""

    url: str
    secret_file: Path
    kubeconfig: Path
    cluster_url: str

    def exec_line(self, *words: str) -> list[str]:
        """The words of an ``exec`` command line through the proxy; ``words`` come after the program and ``exec``."""
        connection = ["--url", self.url, "--secret-file", str(self.secret_file)]
        at = words.index("--") if "--" in words else len(words)
        return ["exec", *words[:at], *connection, *words[at:]]


def program() -> list[str]:
    """How a person calls this program from here."""
    beside = Path(sys.executable).with_name("k8s-ws-proxy")
    found = shutil.which("k8s-ws-proxy")
    if found is not None and (not beside.exists() or Path(found).samefile(beside)):
        return ["k8s-ws-proxy"]
    if beside.exists():
        with contextlib.suppress(ValueError):
            return [str(beside.relative_to(Path.cwd()))]
        return [str(beside)]
    return [sys.executable, "-m", "k8s_ws_proxy"]


async def _run(port: int, directory: Path, *, demo: bool) -> int:
    from k8s_ws_proxy.observe import log  # noqa: PLC0415 - the other commands don't need what this one starts

    loop = asyncio.get_running_loop()
    me = asyncio.current_task()
    assert me is not None
    caught: list[int] = []

    def on_signal(number: int) -> None:
        if not caught:
            me.cancel()
        caught.append(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal, number)
    try:
        with _log_file(directory, demo=demo) as stream:
            log.configure(os.environ.get("LOG_LEVEL", "info").lower() if not demo else "debug", stream)
            async with playground(port, directory, os.environ) as ground:
                if demo:
                    from k8s_ws_proxy.cli.demo import show  # noqa: PLC0415

                    return await show(ground, directory / "log")
                _introduce(ground)
                await loop.create_future()
    except asyncio.CancelledError:
        if not caught:
            raise
    return 128 + caught[0] if demo else 0


@contextlib.asynccontextmanager
async def playground(port: int, directory: Path, environ: Mapping[str, str]) -> AsyncIterator[Playground]:
    """Cluster and proxy, with their files in ``directory``, until the block is left. Raises ProxyError."""
    try:
        from k8s_ws_proxy.devcluster.cluster import DevCluster  # noqa: PLC0415 - an extra, maybe not installed
    except ModuleNotFoundError as error:
        raise ProxyError(
            f"dev needs the package {error.name}, which isn't installed: pip install 'k8s-ws-proxy[dev]'"
        ) from error
    from k8s_ws_proxy.web.app import running  # noqa: PLC0415

    async with DevCluster(directory=directory / "cluster") as cluster:
        kubeconfig = await asyncio.to_thread(cluster.write_kubeconfig, directory / "kubeconfig", user="admin")
        own = await asyncio.to_thread(cluster.write_kubeconfig, directory / "proxy.kubeconfig", user="proxy")
        secret_file = directory / "secret"
        await asyncio.to_thread(_write_secret, secret_file)
        theirs = {name: value for name, value in environ.items() if name != "SHARED_SECRET_DIR"}
        settings, source, reading = prepare(
            {
                **theirs,
                "WS_PROXY_LISTEN_ADDR": f"127.0.0.1:{port}",
                "SHARED_SECRET_FILE": str(secret_file),
                "KUBECONFIG": str(own),
                "DRAIN_TIMEOUT": environ.get("DRAIN_TIMEOUT") or "0s",  # nobody waits for a playground
            }
        )
        async with contextlib.AsyncExitStack() as stack:
            try:
                daemon = await stack.enter_async_context(running(settings, source, reading, {"KUBECONFIG": str(own)}))
            except OSError as error:
                why = os.strerror(error.errno or 0)
                raise ProxyError(
                    f"can't listen on 127.0.0.1:{port}: {why}. --port 0 takes any port that is free"
                ) from error
            try:
                yield Playground(f"http://127.0.0.1:{daemon.ports['http']}", secret_file, kubeconfig, cluster.url)
            finally:
                await asyncio.shield(daemon.shut_down())


def _write_secret(path: Path) -> None:
    path.touch(mode=0o600)
    path.write_text(secrets.token_urlsafe(32) + "\n")


@contextlib.contextmanager
def _log_file(directory: Path, *, demo: bool) -> Any:
    """In a demo the log would be in the way of a shell: it goes to a file, and is shown if something is wrong."""
    if not demo:
        yield sys.stderr
        return
    with (directory / "log").open("w", encoding="utf-8", buffering=1) as file:
        yield file


def _introduce(ground: Playground) -> None:
    line = shlex.join(program() + ground.exec_line("default/web", "-it", "--", "sh"))
    print(f"The proxy listens on {ground.url}, before an embedded cluster with the pods shell, web, term and plain.")
    print()
    print("A shell through the proxy, from another terminal:")
    print()
    print(f"  {line}")
    print()
    print(f"The same cluster without the proxy ({ground.cluster_url}):")
    print()
    print(f"  KUBECONFIG={shlex.quote(str(ground.kubeconfig))} kubectl exec -it web -- sh")
    print()
    print("Ctrl-C ends it.", flush=True)
