"""``k8s-ws-proxy keys``: make, look at, rotate and retire the key that callers sign with."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from k8s_ws_proxy.cli.parser import CommandParser
from k8s_ws_proxy.errors import ProxyError, RotationRefused, RotationUnfinished
from k8s_ws_proxy.rotation.generate import new_key
from k8s_ws_proxy.settings import seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from k8s_ws_proxy.rotation.api import Api
    from k8s_ws_proxy.rotation.plan import Intent

FAILED: Final = 1
USAGE: Final = 2
REFUSED: Final = 3
UNFINISHED: Final = 4

_STATUS: Final[dict[type[ProxyError], int]] = {RotationRefused: REFUSED, RotationUnfinished: UNFINISHED}

_HELP: Final = """\
The key that callers sign with stands in a Secret. These commands make it, say how things stand, and replace
it while callers go on: a new key is added, waited for on every node, made the current one, and the old one
taken away once nobody uses it. Each can be stopped at any time and run again, also by somebody else.
"""
_STATUSES: Final = f"""\
exit status:
  0  done
  {FAILED}  failed: the message says why and what to do
  {USAGE}  wrong usage
  {REFUSED}  refused: a rotation is in a state where this can't be meant
  {UNFINISHED}  not done in time (--timeout); run again, it goes on
  130, 143  stopped by a signal; run again, it goes on
"""


def add_to(commands: Any) -> None:
    """Add this command and its own to the parser."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser(
        "keys", help="make, look at and rotate the shared key", description=_HELP, formatter_class=raw
    )
    own = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=CommandParser)

    def add(name: str, run: Callable[[argparse.Namespace], int], text: str, more: str = "") -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = own.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}. {more}".strip(),
            epilog=_STATUSES if name != "generate" else None,
            formatter_class=raw,
        )
        made.set_defaults(run=run)
        return made

    add(
        "generate", _generate, "print a new key", "32 random bytes as base64 text, on standard output and nowhere else."
    )
    parser = add("bootstrap", _bootstrap, "make the Secret with a new key, where there is none")
    _add_cluster(parser)
    parser = add("status", _status, "say which keys there are, and which pods have them")
    _add_cluster(parser)
    _add_proxies(parser)
    parser = add("rotate", _rotate, "replace the key while callers go on", _ROTATE)
    _add_cluster(parser)
    _add_proxies(parser)
    _add_waiting(parser)
    parser.add_argument(
        "--until",
        choices=("staged", "promoted", "retired"),
        default="retired",
        help="stop when every pod accepts the new key (staged), when it is the current one (promoted), or at the end",
    )
    parser.add_argument(
        "--immediate",
        action="store_true",
        help="for a key that has leaked: replace it now, with no overlap; callers that haven't read the new one are "
        "refused",
    )
    parser.add_argument("--force", action="store_true", help="begin another rotation although one is under way")
    parser = add("retire", _retire, "take old keys away once nobody uses them", _RETIRE)
    _add_cluster(parser)
    _add_proxies(parser)
    _add_waiting(parser)
    parser.add_argument(
        "--now", action="store_true", help="also if they are still used: who signs with them is refused"
    )


_ROTATE: Final = """It adds a new key to the Secret, waits until every
pod accepts it, makes it the current one, waits until nobody has used the old one for the overlap, takes
it away, and waits until every pod has dropped it. Sessions under way are never touched."""
_RETIRE: Final = """It is what 'rotate' ends with: after a
'rotate --until promoted', or where a rotation was stopped."""


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the Secret")
    group.add_argument(
        "--kubeconfig", metavar="FILE", help="else KUBECONFIG, the pod's service account, or the default"
    )
    group.add_argument("--context", help="of the kubeconfig, in the place of its current one")
    group.add_argument("-n", "--namespace", help="else the context's, or the pod's own")
    group.add_argument("--secret", default="k8s-ws-proxy-hmac", metavar="NAME", help="k8s-ws-proxy-hmac by default")
    group.add_argument("--key", default="secret", metavar="ENTRY", help="the entry callers read, 'secret' by default")


def _add_proxies(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the proxies")
    group.add_argument("--daemonset", default="k8s-ws-proxy", metavar="NAME", help="k8s-ws-proxy by default")
    group.add_argument("--selector", metavar="LABELS", help="find the pods by these labels, not by a DaemonSet")
    group.add_argument("--admin-port", type=_port, metavar="PORT", help="else as the DaemonSet says, or 9090")
    group.add_argument(
        "--concurrency",
        type=_positive,
        default=50,
        metavar="N",
        help="requests at once to the apiserver, 50 by default",
    )
    group.add_argument(
        "--rate", type=_positive, default=100, metavar="N", help="requests a second to the apiserver, 100 by default"
    )
    parser.add_argument(
        "-o", "--output", choices=("text", "json"), default="text", help="for a person, or JSON lines for a machine"
    )


def _add_waiting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--overlap",
        type=_duration,
        metavar="DURATION",
        help="how long the old key must be unused; twice the proxies' HMAC_SKEW_SECONDS by default, 10m",
    )
    parser.add_argument(
        "--waive",
        action="append",
        default=[],
        metavar="NODE[,NODE]",
        help="don't wait for the pods on these nodes; what they accept isn't known",
    )
    parser.add_argument(
        "--timeout", type=_duration, default=3600.0, metavar="DURATION", help="give up waiting after it, 1h by default"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and change nothing")


def _generate(_arguments: argparse.Namespace) -> int:
    print(new_key().decode())
    return 0


def _bootstrap(arguments: argparse.Namespace) -> int:
    async def bootstrap(api: Api) -> None:
        from k8s_ws_proxy.rotation.bootstrap import bootstrap  # noqa: PLC0415 - see _in_cluster

        print(await bootstrap(api, arguments.secret, arguments.key))

    return _in_cluster(arguments, bootstrap)


def _status(arguments: argparse.Namespace) -> int:
    async def status(api: Api) -> None:
        from k8s_ws_proxy.cli.keys_status import show  # noqa: PLC0415 - see _in_cluster

        await show(api, _what(arguments), machine=arguments.output == "json")

    return _in_cluster(arguments, status)


def _rotate(arguments: argparse.Namespace) -> int:
    from k8s_ws_proxy.rotation.plan import Intent, Verb  # noqa: PLC0415 - see _in_cluster
    from k8s_ws_proxy.rotation.record import Until  # noqa: PLC0415

    until = Until(arguments.until)
    if arguments.immediate and until is not Until.RETIRED:
        print("k8s-ws-proxy: --immediate leaves no step to stop at: leave out --until", file=sys.stderr)
        return USAGE
    return _run(arguments, Intent(Verb.ROTATE, until=until, force=arguments.force, immediate=arguments.immediate))


def _retire(arguments: argparse.Namespace) -> int:
    from k8s_ws_proxy.rotation.plan import Intent, Verb  # noqa: PLC0415 - see _in_cluster

    return _run(arguments, Intent(Verb.RETIRE, unused=not arguments.now))


def _run(arguments: argparse.Namespace, intent: Intent) -> int:
    from k8s_ws_proxy.cli.keys_output import progress  # noqa: PLC0415 - see _in_cluster

    waived = frozenset(node.strip() for words in arguments.waive for node in words.split(",") if node.strip())
    intent = replace(intent, overlap=arguments.overlap, waived=waived)

    async def run(api: Api) -> None:
        from k8s_ws_proxy.rotation.run import Run  # noqa: PLC0415

        with progress(machine=arguments.output == "json") as told:
            one = Run(api, _what(arguments), intent, told)
            await (one.dry() if arguments.dry_run else one.to_the_end(arguments.timeout))

    return _in_cluster(arguments, run)


def _what(arguments: argparse.Namespace) -> Any:
    from k8s_ws_proxy.rotation.run import What  # noqa: PLC0415 - see _in_cluster

    return What(arguments.secret, arguments.key, arguments.daemonset, arguments.selector, arguments.admin_port)


def _in_cluster(arguments: argparse.Namespace, command: Callable[[Api], Coroutine[Any, Any, None]]) -> int:
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

    try:
        return _until_a_signal(run())
    except ProxyError as error:
        status = _STATUS.get(type(error), FAILED)
        if getattr(arguments, "output", "text") == "json":
            print(json.dumps({"event": "error", "error": str(error), "status": status}), flush=True)
        print(f"k8s-ws-proxy: {error}", file=sys.stderr)
        return status


def _until_a_signal(work: Coroutine[Any, Any, None]) -> int:
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
        print("\nk8s-ws-proxy: stopped. Nothing is lost: run it again, and it goes on from here", file=sys.stderr)
        return 128 + caught[0]
    return 0


def _duration(text: str) -> float:
    seconds = seconds_of(text)
    if seconds is None or seconds < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration such as 90s, 10m or 1h30m")
    return seconds


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: a number from 1 to 65535")
    return int(text)
