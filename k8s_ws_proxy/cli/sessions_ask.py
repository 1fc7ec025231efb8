"""What ``k8s-ws-proxy sessions`` does, once it is clear who is asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from k8s_ws_proxy.cli.answers import Refused
from k8s_ws_proxy.cli.cluster import FAILED, UNFINISHED
from k8s_ws_proxy.cli.connection import connection
from k8s_ws_proxy.cli.exec import finish, say
from k8s_ws_proxy.cli.session import Ending
from k8s_ws_proxy.cli.sessions_source import THE_API, OneProxy, several
from k8s_ws_proxy.cli.sessions_table import ENDED, Changes, Row, Table, at_length, row_of
from k8s_ws_proxy.cli.sign import read_secret
from k8s_ws_proxy.cli.signals import cancelled_by_signals
from k8s_ws_proxy.cli.signing import signing
from k8s_ws_proxy.errors import ClusterConfigError, ProxyError

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from k8s_ws_proxy.cli.sessions_source import Asked, SessionJson, Silent, Source
    from k8s_ws_proxy.cli.signing import Signing

    Work = Callable[[Source], Awaitable[Ending]]
    """A command, and how it ends."""

_WHOLE: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_RATE: Final = 1000.0  # requests a second: how many are under way is what bounds them


def run(arguments: argparse.Namespace, work: Work) -> int:
    """Do ``work``; the exit status. Raises ProxyError."""
    signs = signing(arguments, say)
    signs.given = (*signs.given, THE_API)
    try:
        return finish(asyncio.run(_run(arguments, signs, work)))
    except KeyboardInterrupt:  # before there was a loop that could take it
        return finish(Ending(signal=signal.SIGINT))


async def _run(arguments: argparse.Namespace, signs: Signing, work: Work) -> Ending:
    with cancelled_by_signals() as caught:
        try:
            async with _source(arguments, signs) as source:
                return await work(source)
        except asyncio.CancelledError:
            if not caught:
                raise
            if arguments.watch and caught[0] == signal.SIGINT:
                return Ending(status=0)  # the end that there is
            return Ending(signal=caught[0])
        except BrokenPipeError:
            return Ending(signal=signal.SIGPIPE)  # quietly, as every program in a pipe


@contextlib.asynccontextmanager
async def _source(arguments: argparse.Namespace, signs: Signing) -> AsyncIterator[Source]:
    """Who is asked. Raises ProxyError."""
    if arguments.url:
        yield OneProxy(connection(arguments, signs))
        return
    # The client costs half a second and 35 MiB, which nobody should pay who asks one proxy.
    from k8s_ws_proxy.cli.sessions_fleet import Fleet  # noqa: PLC0415
    from k8s_ws_proxy.rotation.api import Where, connected  # noqa: PLC0415
    from k8s_ws_proxy.rotation.pods import find_callers  # noqa: PLC0415

    secret = read_secret(arguments.secret_file)
    namespace, name = arguments.workload
    where = Where(arguments.kubeconfig, arguments.context, namespace, arguments.concurrency, _RATE)
    try:
        async with connected(where) as api:
            daemons = await find_callers(api, name, arguments.port)
            yield Fleet(api, daemons, signs, secret, at_once=arguments.concurrency, within=arguments.timeout)
    except ClusterConfigError as error:
        raise ProxyError(f"{error}. To ask one proxy, say where it is with --url") from error


def listed(wanted: Mapping[str, str], output: str) -> Work:
    """List the sessions that ``wanted`` leaves."""
    return partial(_list_json if output == "json" else _list, wanted=wanted, wide=output == "wide")


async def _list(source: Source, *, wanted: Mapping[str, str], wide: bool) -> Ending:
    rows = await _rows(source, wanted, wide=wide)
    rows.sort(key=lambda row: row.order)
    for line in Table(wide=wide).lines(rows, source.now()):
        print(line)
    _flush()
    if not rows and len(source.silent) < source.asked:
        say("there are no such sessions" if wanted else "there are no sessions")
    return _tell_silence(source)


async def _list_json(source: Source, *, wanted: Mapping[str, str], wide: bool) -> Ending:
    """As they come: nothing of them is kept."""
    del wide
    before = '{"sessions": ['

    def take(sessions: list[SessionJson]) -> None:
        nonlocal before
        for session in sessions:
            print(before, json.dumps(session), sep="", end="")
            before = ",\n"

    await source.gather(wanted, take)
    silent = [{"node": each.node, "pod": each.pod, "why": each.why} for each in source.silent]
    print("" if before.startswith(",") else before, f'], "silent": {json.dumps(silent)}}}', sep="")
    _flush()
    return _tell_silence(source)


def watched(wanted: Mapping[str, str], output: str) -> Work:
    """List them, and go on with what changes until a signal comes."""
    return partial(_watch, wanted=wanted, output=output)


async def _watch(source: Source, *, wanted: Mapping[str, str], output: str) -> Ending:
    changes, table, silence = Changes(), Table(wide=output == "wide"), _Silence()
    # What leaves a state is news, too, so this is looked at here.
    state = wanted.get("state")
    asked_for = {name: value for name, value in wanted.items() if name != "state"}
    told: dict[str, SessionJson] = {}
    while True:
        fresh: dict[str, SessionJson] | None = {} if output == "json" else None
        rows = await silence.unless_lost(_rows(source, asked_for, wide=output == "wide", into=fresh))
        if rows is not None:
            unheard = silence.changed(source)
            shown = [row for row in rows if state in (None, row.state) or row.id in changes.known]
            news = changes.since(shown, unheard)
            if fresh is None:
                for line in table.lines(news, source.now()):
                    print(line)
            else:
                _print_events(news, told | fresh)
                told = {id_: fresh.get(id_) or told[id_] for id_ in changes.known}
            _flush()
        await asyncio.sleep(source.interval)


def _print_events(news: Sequence[Row], told: Mapping[str, SessionJson]) -> None:
    for row in news:
        event = "ended" if row.state == ENDED else "session"
        print(json.dumps({"event": event, "session": told[row.id]}))


def shown(session: str, output: str) -> Work:
    """Show one."""
    return partial(_show, session=session, output=output)


async def _show(source: Source, *, session: str, output: str) -> Ending:
    with naming_silence(source):
        told = await source.show(await _whole(source, session))
    for line in [json.dumps(told, indent=2)] if output == "json" else at_length(told, source.now()):
        print(line)
    _flush()
    return Ending(status=0)


def ended(session: str, reason: str) -> Work:
    """End one."""
    return partial(_end, session=session, reason=reason)


async def _end(source: Source, *, session: str, reason: str) -> Ending:
    if not reason.isprintable():
        raise ProxyError("--reason: it can hold printable characters only")
    with naming_silence(source):
        whole = await _whole(source, session, sure=True)
        row = row_of(await source.end(whole, reason), wide=False)
    print(f"ending session {row.id}: {row.user} in {row.pod} on {row.node}")
    _flush()
    return Ending(status=0)


def joined(session: str, *, peer: bool) -> Work:
    """Show the terminal of one, and with ``peer`` type into it."""
    return partial(_join, session=session, peer=peer)


async def _join(source: Source, *, session: str, peer: bool) -> Ending:
    from k8s_ws_proxy.cli.watch import watch_session  # noqa: PLC0415 - the other commands don't need it

    with naming_silence(source):
        whole = await _whole(source, session, sure=peer)
        return await watch_session(source.joined(whole, peer=peer), peer=peer)


async def _rows(
    source: Source, wanted: Mapping[str, str], *, wide: bool, into: dict[str, SessionJson] | None = None
) -> list[Row]:
    rows: list[Row] = []

    def take(sessions: list[SessionJson]) -> None:
        made = [row_of(session, wide=wide) for session in sessions]
        rows.extend(made)
        if into is not None:
            into.update(zip((row.id for row in made), sessions, strict=True))

    await source.gather(wanted, take)
    return rows


async def _whole(source: Source, session: str, *, sure: bool = False) -> str:
    """The id that ends so. ``sure``: not where a node might have another one. Raises ProxyError."""
    if _WHOLE.fullmatch(session):
        return session
    found: dict[str, list[str]] = {}

    def take(sessions: list[SessionJson]) -> None:
        for row in [row_of(each, wide=False) for each in sessions]:
            # What isn't an id might, in a path, ask for something else than a person means.
            if row.id.endswith(session) and _WHOLE.fullmatch(row.id):
                found.setdefault(row.id, []).append(row.node)

    await source.gather({}, take)
    if not found:
        raise ProxyError(f"there is no session whose id ends with {session}, or none that you may list")
    if len(found) > 1:
        raise ProxyError(f"several ids end with {session}: {', '.join(sorted(found))}. Give more of it")
    ((whole, nodes),) = found.items()
    if len(nodes) > 1:
        raise ProxyError(several(whole, nodes))
    if sure and source.silent:
        raise ProxyError(
            f"of the nodes that answered one has a session whose id ends so, but not all did: if it is {whole} that is "
            "meant, give the whole id"
        )
    source.first = nodes[0]
    return whole


class _Silence:
    """Who doesn't answer, told when it changes."""

    def __init__(self) -> None:
        self._nodes: set[str] = set()
        self._asked = False
        self._lost = False

    async def unless_lost(self, asking: Awaitable[list[Row]]) -> list[Row] | None:
        """What ``asking`` gives; None where nobody can be asked now, unless that was so at once. Raises ProxyError."""
        try:
            rows = await asking
        except ProxyError as error:
            if isinstance(error, Refused) or not self._asked:
                raise
            if not self._lost:
                say(f"{error}\nStill watching.")
            self._lost = True
            return None
        if self._lost:
            say("there are answers again")
        self._asked, self._lost = True, False
        return rows

    def changed(self, source: Source) -> set[str]:
        """The nodes that are silent now."""
        now = {silent.node for silent in source.silent}
        say_silent([silent for silent in source.silent if silent.node not in self._nodes])
        if back := sorted(self._nodes - now):
            say(f"there is no lack of answers from {', '.join(back)} any more")
        self._nodes = now
        return now


@contextlib.contextmanager
def naming_silence(source: Asked) -> Any:
    """Who hasn't answered may be why it failed."""
    try:
        yield
    except ProxyError:
        say_silent(source.silent)
        raise


def _tell_silence(source: Source) -> Ending:
    """Name them; the exit status that follows."""
    say_silent(source.silent)
    if not source.silent:
        return Ending(status=0)
    return Ending(UNFINISHED if len(source.silent) < source.asked else FAILED)


def say_silent(silent: Sequence[Silent]) -> None:
    """Name those who didn't answer, and why."""
    by_reason: dict[str, list[Silent]] = {}
    for each in silent:
        by_reason.setdefault(each.why, []).append(each)
    for why, those in by_reason.items():
        if len(those) == 1:
            say(f"no answer from {those[0].node} (pod {those[0].pod}): {why}")
        else:
            say(f"no answer from {len(those)} nodes: {', '.join(each.node for each in those)}: {why}")


def _flush() -> None:
    """So that whoever has closed the other side is noticed here."""
    print(end="", flush=True)
