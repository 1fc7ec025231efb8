"""``k8s-ws-proxy uninstall``: what the chart's hook runs before ``helm uninstall`` takes the proxy's rights away."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any, Final

from k8s_ws_proxy.cli.cluster import FAILED, UNFINISHED, USAGE, add_cluster, in_cluster
from k8s_ws_proxy.errors import RotationUnfinished
from k8s_ws_proxy.settings import seconds_of

if TYPE_CHECKING:
    from k8s_ws_proxy.rotation.api import Api

_HELP: Final = """\
Deletes the DaemonSet and waits until its pods are gone: each drains, tells its sessions, and hangs up what
they leave in their containers. It needs its rights for that, so this comes before they go. The chart runs it
as a hook of 'helm uninstall'. A DaemonSet that neither Helm nor Argo CD has installed is left alone.
"""
_STATUSES: Final = f"""\
exit status:
  0  done, or there was nothing to do
  {FAILED}  failed: the message says why and what to do
  {USAGE}  wrong usage
  {UNFINISHED}  some pods are still there (--timeout); with --go-on that is said, and the status is 0
"""


def add_to(commands: Any) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "uninstall",
        help="take the DaemonSet away, and wait until its pods have ended their sessions",
        description=_HELP,
        epilog=_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_cluster(parser.add_argument_group("the cluster"))
    parser.add_argument("--daemonset", default="k8s-ws-proxy", metavar="NAME", help="k8s-ws-proxy by default")
    parser.add_argument(
        "--timeout", type=_duration, default=120.0, metavar="TIME", help="for the pods to be gone, 2m by default"
    )
    parser.add_argument("--go-on", action="store_true", help="don't fail over pods that are still there then")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    async def run(api: Api) -> None:
        from k8s_ws_proxy.rotation.uninstall import take_down  # noqa: PLC0415 - see in_cluster

        try:
            await take_down(
                api, arguments.daemonset, timeout=arguments.timeout, say=lambda text: print(text, flush=True)
            )
        except RotationUnfinished as unfinished:
            if not arguments.go_on:
                raise
            print(f"k8s-ws-proxy: going on: {unfinished}", file=sys.stderr)

    return in_cluster(arguments, run)


def _duration(text: str) -> float:
    seconds = seconds_of(text)
    if seconds is None or seconds <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration such as 90s or 5m")
    return seconds
