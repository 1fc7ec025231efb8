"""What ``k8s-ws-proxy recordings`` does, once it is clear where they are."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.cli.cluster import FAILED, UNFINISHED
from k8s_ws_proxy.cli.connection import connection
from k8s_ws_proxy.cli.copying import copied
from k8s_ws_proxy.cli.exec import finish, say
from k8s_ws_proxy.cli.exporting import as_text, as_v2
from k8s_ws_proxy.cli.playing import play
from k8s_ws_proxy.cli.recordings_source import PART, OneProxyRecordings, directory_at
from k8s_ws_proxy.cli.recordings_table import lines_of
from k8s_ws_proxy.cli.session import Ending
from k8s_ws_proxy.cli.sessions_ask import naming_silence, say_silent
from k8s_ws_proxy.cli.sessions_source import THE_API
from k8s_ws_proxy.cli.sign import read_secret
from k8s_ws_proxy.cli.signals import cancelled_by_signals
from k8s_ws_proxy.cli.signing import signing
from k8s_ws_proxy.cli.verifying import Found, judged, look, receipt_beside, secrets_of
from k8s_ws_proxy.errors import ClusterConfigError, ProxyError
from k8s_ws_proxy.recordings.paths import is_session

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from k8s_ws_proxy.cli.playing import Pace
    from k8s_ws_proxy.cli.recordings_source import RecordingSource

    Source = Callable[[], contextlib.AbstractAsyncContextManager[RecordingSource]]
    Work = Callable[[Source], Awaitable[Ending]]
    """A command: what it is given says where recordings are, if it has to ask."""

_RATE: Final = 1000.0  # requests a second: how many are under way is what bounds them
_MODE: Final = 0o600  # of what was somebody's terminal


def run(arguments: argparse.Namespace, work: Work) -> int:
    """Do ``work``; the exit status. Raises ProxyError."""
    try:
        return finish(asyncio.run(_run(partial(_source, arguments), work)))
    except KeyboardInterrupt:  # before there was a loop that could take it
        return finish(Ending(signal=signal.SIGINT))


async def _run(source: Source, work: Work) -> Ending:
    with cancelled_by_signals() as caught:
        try:
            return await work(source)
        except asyncio.CancelledError:
            if not caught:
                raise
            return Ending(signal=caught[0])
        except BrokenPipeError:
            return Ending(signal=signal.SIGPIPE)  # quietly, as every program in a pipe


@contextlib.asynccontextmanager
async def _source(arguments: argparse.Namespace) -> AsyncIterator[RecordingSource]:
    """Where they are. Raises ProxyError."""
    if arguments.directory:
        yield directory_at(arguments.directory)
        return
    if arguments.store is not None:
        from k8s_ws_proxy.cli.recordings_store import store_at  # noqa: PLC0415 - the library takes its time

        yield store_at(arguments.store)
        return
    signs = signing(arguments, say)
    signs.given = (*signs.given, THE_API)
    if arguments.url:
        yield OneProxyRecordings(connection(arguments, signs))
        return
    from k8s_ws_proxy.cli.recordings_fleet import RecordingsFleet  # noqa: PLC0415 - see sessions_ask
    from k8s_ws_proxy.rotation.api import Where, connected  # noqa: PLC0415
    from k8s_ws_proxy.rotation.pods import find_callers  # noqa: PLC0415

    secret = read_secret(arguments.secret_file)
    namespace, name = arguments.workload
    where = Where(arguments.kubeconfig, arguments.context, namespace, arguments.concurrency, _RATE)
    try:
        async with connected(where) as api:
            daemons = await find_callers(api, name, arguments.port)
            at_once, within = arguments.concurrency, arguments.timeout
            fleet = RecordingsFleet(api, daemons, signs, secret, at_once=at_once, within=within)
            with naming_silence(fleet):
                yield fleet
    except ClusterConfigError as error:
        raise ProxyError(f"{error}. To ask one proxy, say where it is with --url") from error


def listed(wanted: Mapping[str, str], limit: int, *, as_json: bool) -> Work:
    """List those that ``wanted`` leaves, ``limit`` of them."""
    return partial(_list, wanted=wanted, limit=limit, as_json=as_json)


async def _list(where: Source, *, wanted: Mapping[str, str], limit: int, as_json: bool) -> Ending:
    async with where() as source:
        found = await source.listed(wanted, limit)
        silent = source.silent
        asked = source.asked
    if as_json:
        print('{"recordings": [', end="")
        for number, each in enumerate(found.recordings):
            print(",\n" if number else "", json.dumps(each), sep="", end="")
        told = [{"node": each.node, "pod": each.pod, "why": each.why} for each in silent]
        print(f'], "more": {json.dumps(found.more)}, "skipped": {found.skipped}, "silent": {json.dumps(told)}}}')
    else:
        for line in lines_of(found.recordings):
            print(line)
    print(end="", flush=True)
    if not as_json and not found.recordings and not found.skipped and len(silent) < asked:
        say("there are no such recordings" if wanted else "there are no recordings")
    if not as_json and found.more:
        say(f"there are more than these {len(found.recordings)}: raise --limit, or say --from and --to")
    if found.skipped:
        say(f"{found.skipped} couldn't be read, or their receipts are broken")
    say_silent(silent)
    if not silent:
        return Ending(status=0)
    return Ending(status=UNFINISHED if len(silent) < asked else FAILED)


def fetched(session: str, into: str, *, receipt: bool) -> Work:
    """Fetch one into a file."""
    return partial(_fetch, session=session, into=into, receipt=receipt)


async def _fetch(where: Source, *, session: str, into: str, receipt: bool) -> Ending:
    async with where() as source:
        sealed = await source.receipt(session) if receipt else b""
        await _write(source.cast(session), into)
    if receipt:
        await _write(_once(sealed), str(receipt_beside(Path(into))))
    return Ending(status=0)


def played(recording: str, pace: Pace, *, raw: bool, follow: bool) -> Work:
    """Play one."""
    return partial(_play, recording=recording, pace=pace, raw=raw, follow=follow)


async def _play(where: Source, *, recording: str, pace: Pace, raw: bool, follow: bool) -> Ending:
    async with _cast(where, recording, follow=follow, slowly=True) as cast:
        return await play(cast, pace, raw=raw)


def exported(recording: str, form: str, into: str) -> Work:
    """Write one in another form."""
    return partial(_export, recording=recording, form=form, into=into)


async def _export(where: Source, *, recording: str, form: str, into: str) -> Ending:
    async with _cast(where, recording) as cast:
        await _write(as_v2(cast) if form == "v2" else as_text(cast), into)
    return Ending(status=0)


def verified(cast: str, receipt: str | None, secret_files: Sequence[str], secret_dir: str | None) -> int:
    """Say what is to be said of a recording and its receipt, both files; the exit status. Raises ProxyError."""
    path = Path(cast)
    finding = look(path, Path(receipt) if receipt else receipt_beside(path), secrets_of(secret_files, secret_dir))
    print(f"{cast}: {finding.sentence}")
    return finding.found


def verified_there(session: str, secret_files: Sequence[str], secret_dir: str | None) -> Work:
    """The same of what somebody tells of an id. It goes by, and is kept nowhere."""
    return partial(_verify, session=session, secret_files=secret_files, secret_dir=secret_dir)


async def _verify(where: Source, *, session: str, secret_files: Sequence[str], secret_dir: str | None) -> Ending:
    digest = hashlib.sha256()
    try:
        secrets = secrets_of(secret_files, secret_dir)
        async with where() as source:
            sealed = await source.receipt(session)
            async with contextlib.aclosing(source.cast(session)) as cast:
                async for data in cast:
                    digest.update(data)
    except ProxyError as error:
        return Ending(Found.UNKNOWN, str(error))
    finding = judged("what stands in its receipt's place", sealed, digest.hexdigest(), secrets)
    print(f"{session}: {finding.sentence}")
    return Ending(finding.found)


@contextlib.asynccontextmanager
async def _cast(
    where: Source, recording: str, *, follow: bool = False, slowly: bool = False
) -> AsyncIterator[AsyncIterator[bytes]]:
    """What is in a file, or what somebody tells of an id, also where it is read ``slowly``. Raises ProxyError."""
    file = "/dev/stdin" if recording == "-" else recording
    if file != recording or not is_session(recording.lower()) or os.path.lexists(file):  # noqa: ASYNC240 - nothing waits
        if follow:
            raise ProxyError("--follow asks a proxy for a session's id: it isn't for a file")
        yield _of_file(file)
        return
    async with where() as source, contextlib.aclosing(source.cast(recording.lower(), follow=follow)) as cast:
        if source.waits or not slowly:
            yield cast
            return
        async with copied(cast) as parts:
            yield parts


async def _of_file(name: str) -> AsyncIterator[bytes]:
    try:
        with Path(name).open("rb") as file:  # noqa: ASYNC230 - there is nothing else to be done meanwhile
            while data := file.read(PART):
                yield data
    except OSError as error:
        raise ProxyError(f"{name} can't be read: {error.strerror}") from error


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _write(parts: AsyncIterator[bytes], into: str) -> None:
    """Into standard output, or a file that is there as a whole or not at all. Raises ProxyError."""
    if into == "-":
        async for data in parts:
            sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    path = Path(into)
    fresh = path.with_name(f"{path.name}.part")
    try:
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
        try:
            with os.fdopen(fd, "wb") as file:
                async for data in parts:
                    file.write(data)
            fresh.rename(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ProxyError(f"{path} can't be written: {error.strerror}") from error
