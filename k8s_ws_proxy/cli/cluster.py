"""What the commands share that work on the cluster itself: which one, and until when."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from k8s_ws_proxy.errors import ProxyError, RotationRefused, RotationUnfinished

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Coroutine

    from k8s_ws_proxy.rotation.api import Api

FAILED: Final = 1
USAGE: Final = 2
REFUSED: Final = 3
UNFINISHED: Final = 4

_STATUS: Final[dict[type[ProxyError], int]] = {RotationRefused: REFUSED, RotationUnfinished: UNFINISHED}


def add_cluster(group: argparse._ArgumentGroup) -> None:
    """Add the options that say which cluster, and where in it."""
    add_kubeconfig(group)
    group.add_argument("-n", "--namespace", help="else the context's, or the pod's own")


def add_kubeconfig(group: argparse._ArgumentGroup) -> None:
    """Add the options that say which cluster."""
    group.add_argument(
        "--kubeconfig", metavar="FILE", help="else KUBECONFIG, the pod's service account, or the default"
    )
    group.add_argument("--context", help="of the kubeconfig, in the place of its current one")


def in_cluster(arguments: argparse.Namespace, command: Callable[[Api], Coroutine[Any, Any, None]]) -> int:
    """Run ``command`` with the cluster that the arguments name; the exit status."""
    try:
        return _run_in_cluster(arguments, command)
    except KeyboardInterrupt:  # before there was a loop that could take it
        return 128 + signal.SIGINT


def _run_in_cluster(arguments: argparse.Namespace, command: Callable[[Api], Coroutine[Any, Any, None]]) -> int:
    # The client costs half a second and 35 MiB, which no other command should pay.
    from k8s_ws_proxy.rotation.api import Where, connected  # noqa: PLC0415

    where = Where(
        arguments.kubeconfig,
        arguments.context,
        arguments.namespace,
        getattr(arguments, "concurrency", 1),
        getattr(arguments, "rate", 100),
    )

    async def run() -> None:
        async with connected(where) as api:
            await command(api)

    tell = partial(_tell, machine=getattr(arguments, "output", "text") == "json")
    try:
        number = _until_a_signal(run())
    except ProxyError as error:
        status = _STATUS.get(type(error), FAILED)
        print(f"k8s-ws-proxy: {error}", file=sys.stderr)
        tell("error", str(error), error=str(error), status=status)
        return status
    if number is None:
        return 0
    # By force it would begin another rotation each time.
    how = ", without --force if it has added a key" if getattr(arguments, "force", False) else ""
    stopped = f"stopped. Nothing is lost: run it again{how}, and it goes on from here"
    print(f"\nk8s-ws-proxy: {stopped}", file=sys.stderr)
    tell("stopped", stopped, status=128 + number)
    return 128 + number


def _tell(event: str, sentence: str, *, machine: bool, **facts: object) -> None:
    """Say it on standard output, too, where JSON lines are wanted."""
    if machine:
        from k8s_ws_proxy.cli.keys_output import ForMachine  # noqa: PLC0415 - only the keys' commands have it

        with contextlib.suppress(OSError):  # Ctrl-C goes to whoever reads it, too, who is gone first
            ForMachine().step(event, sentence, **facts)


def _until_a_signal(work: Coroutine[Any, Any, None]) -> int | None:
    """Do it; the signal that ended it before it was done."""
    caught: list[int] = []

    async def run() -> None:
        task = asyncio.current_task()
        assert task is not None

        def on_signal(number: int) -> None:
            caught.append(number)
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                asyncio.get_running_loop().add_signal_handler(number, on_signal, number)
        await work

    try:
        asyncio.run(run())
    except asyncio.CancelledError:
        if not caught:
            raise
        return caught[0]
    return None
