"""``k8s-ws-proxy keys``: make, look at, rotate and retire the key that callers sign with."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from k8s_ws_proxy.cli.cluster import FAILED, REFUSED, UNFINISHED, USAGE, add_cluster, in_cluster
from k8s_ws_proxy.cli.parser import CommandParser, port_number, whole_number
from k8s_ws_proxy.rotation.generate import new_key
from k8s_ws_proxy.settings import seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from k8s_ws_proxy.rotation.api import Api
    from k8s_ws_proxy.rotation.plan import Intent

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
A rotation that was begun with --force goes on without it: with it, another one is begun.
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
        help="for a key that has leaked: replace it now, with no overlap. Callers are refused until both they and "
        "their node have the new one",
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
    add_cluster(group)
    group.add_argument("--secret", default="k8s-ws-proxy-hmac", metavar="NAME", help="k8s-ws-proxy-hmac by default")
    group.add_argument("--key", default="secret", metavar="ENTRY", help="the entry callers read, 'secret' by default")


def _add_proxies(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the proxies")
    group.add_argument("--daemonset", default="k8s-ws-proxy", metavar="NAME", help="k8s-ws-proxy by default")
    group.add_argument("--selector", metavar="LABELS", help="find the pods by these labels, not by a DaemonSet")
    group.add_argument("--admin-port", type=port_number, metavar="PORT", help="else as the DaemonSet says, or 9090")
    group.add_argument(
        "--concurrency",
        type=whole_number,
        default=50,
        metavar="N",
        help="requests at once to the apiserver, 50 by default",
    )
    group.add_argument(
        "--rate", type=whole_number, default=100, metavar="N", help="requests a second to the apiserver, 100 by default"
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
        from k8s_ws_proxy.rotation.bootstrap import bootstrap  # noqa: PLC0415 - see in_cluster

        print(await bootstrap(api, arguments.secret, arguments.key))

    return in_cluster(arguments, bootstrap)


def _status(arguments: argparse.Namespace) -> int:
    async def status(api: Api) -> None:
        from k8s_ws_proxy.cli.keys_status import show  # noqa: PLC0415 - see in_cluster

        await show(api, _what(arguments), machine=arguments.output == "json")

    return in_cluster(arguments, status)


def _rotate(arguments: argparse.Namespace) -> int:
    from k8s_ws_proxy.rotation.plan import Intent, Verb  # noqa: PLC0415 - see in_cluster
    from k8s_ws_proxy.rotation.record import Until  # noqa: PLC0415

    until = Until(arguments.until)
    if arguments.immediate and until is not Until.RETIRED:
        print("k8s-ws-proxy: --immediate leaves no step to stop at: leave out --until", file=sys.stderr)
        return USAGE
    return _run(arguments, Intent(Verb.ROTATE, until=until, force=arguments.force, immediate=arguments.immediate))


def _retire(arguments: argparse.Namespace) -> int:
    from k8s_ws_proxy.rotation.plan import Intent, Verb  # noqa: PLC0415 - see in_cluster

    return _run(arguments, Intent(Verb.RETIRE, unused=not arguments.now))


def _run(arguments: argparse.Namespace, intent: Intent) -> int:
    from k8s_ws_proxy.cli.keys_output import progress  # noqa: PLC0415 - see in_cluster

    waived = frozenset(node.strip() for words in arguments.waive for node in words.split(",") if node.strip())
    intent = replace(intent, overlap=arguments.overlap, waived=waived)

    async def run(api: Api) -> None:
        from k8s_ws_proxy.rotation.run import Run  # noqa: PLC0415

        with progress(machine=arguments.output == "json") as told:
            one = Run(api, _what(arguments), intent, told)
            await (one.dry() if arguments.dry_run else one.to_the_end(arguments.timeout))

    return in_cluster(arguments, run)


def _what(arguments: argparse.Namespace) -> Any:
    from k8s_ws_proxy.rotation.run import What  # noqa: PLC0415 - see in_cluster

    return What(arguments.secret, arguments.key, arguments.daemonset, arguments.selector, arguments.admin_port)


def _duration(text: str) -> float:
    seconds = seconds_of(text)
    if seconds is None or seconds < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration such as 90s, 10m or 1h30m")
    return seconds
