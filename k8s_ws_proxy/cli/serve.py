"""``k8s-ws-proxy serve``: the daemon."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.errors import CertificateError, KeySourceError, SettingsError, StoreUnusable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from k8s_ws_proxy.audit.trail import Trail
    from k8s_ws_proxy.keyring import KeySource, Reading
    from k8s_ws_proxy.settings import Settings

_HELP = """\
Run the proxy. Everything is set by environment variables; README lists them all.

  SHARED_SECRET_FILE   the secret that callers sign with (or SHARED_SECRET_DIR: several)
  WS_PROXY_LISTEN_ADDR where to listen, ":8080" by default
  KUBECONFIG           how to reach the apiserver, when not running in a cluster

Exit status: 2 with every mistake listed if the settings are wrong, 1 if it can't listen,
0 after SIGTERM or SIGINT. A second signal ends the sessions that are still running at once,
a third one waits for nothing. SIGHUP has it look at its files at once; it does so by itself, too.
The file of AUDIT_LOG it opens anew then.
"""


def add_to(commands: Any) -> None:
    """Add this command to the parser."""
    import argparse as argparse_  # noqa: PLC0415 - only for the constant

    parser = commands.add_parser(
        "serve", help="run the proxy", description=_HELP, formatter_class=argparse_.RawDescriptionHelpFormatter
    )
    parser.set_defaults(run=run)


def run(_arguments: argparse.Namespace) -> int:
    """Serve until a signal; the exit status. Raises SettingsError."""
    return serve(os.environ)


def serve(environ: Mapping[str, str]) -> int:
    """Serve with the settings in ``environ``. Raises SettingsError."""
    from k8s_ws_proxy.audit.opened import opened  # noqa: PLC0415 - the other commands don't need it
    from k8s_ws_proxy.observe import log, metrics  # noqa: PLC0415
    from k8s_ws_proxy.observe.writer import LogWriter  # noqa: PLC0415
    from k8s_ws_proxy.sessions.descriptors import raise_limit  # noqa: PLC0415
    from k8s_ws_proxy.sessions.uuid7 import uuid7  # noqa: PLC0415
    from k8s_ws_proxy.settings import doubts  # noqa: PLC0415

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there are files to look at again
    settings, source, reading = prepare(environ)
    fd = sys.stderr.fileno()
    writer = LogWriter(fd, tty=os.isatty(fd), dropped=metrics.LOG_DROPPED.inc)
    log.configure(settings.log_level, writer)
    audit = opened(settings.audit, writer, node=settings.node_name, daemon=uuid7())
    try:
        for sentence in doubts(settings):
            log.logger().warning("doubtful setting", problem=sentence)
        raise_limit()
        asyncio.run(_serve(settings, source, reading, environ, audit))
    except OSError as error:
        log.logger().error("can't listen", error=str(error))
        return 1
    finally:
        audit.close()
        writer.close()
    return 0


def prepare(environ: Mapping[str, str]) -> tuple[Settings, KeySource, Reading]:
    """The settings and the first reading of the keys. Raises SettingsError with all that is wrong with either."""
    from k8s_ws_proxy import settings as settings_  # noqa: PLC0415
    from k8s_ws_proxy.certificates import make_context  # noqa: PLC0415
    from k8s_ws_proxy.keyring import KeySource  # noqa: PLC0415

    settings, mistakes = settings_.parse(environ)
    source = KeySource(settings.secret_file, settings.secret_dir)
    reading = None
    if settings.secret_file is not None or settings.secret_dir is not None:
        try:
            reading = source.read()
        except KeySourceError as error:
            mistakes.append(str(error))
    if settings.tls is not None:
        try:
            make_context(settings.tls, ask_for_certificate=bool(settings.allowed_subjects))
        except CertificateError as error:
            mistakes.append(str(error))
    if settings.recording is not None and settings.recording.store is not None:
        from k8s_ws_proxy.recordings.store import open_store, refuse_own_directory  # noqa: PLC0415

        try:
            refuse_own_directory(settings.recording.store, settings.recording.directory)
            open_store(settings.recording.store)
        except StoreUnusable as error:
            mistakes.append(f"RECORDING_STORE: {error}")
    if settings.audit.nats is not None and (lacking := [each for each in ("nats", "nacl") if find_spec(each) is None]):
        needs = " and ".join(lacking)
        mistakes.append(f"AUDIT_NATS_URL needs {needs}, which isn't installed here: pip install 'k8s-ws-proxy[audit]'")
    if mistakes or reading is None:
        raise SettingsError(mistakes)
    return settings, source, reading


async def _serve(
    settings: Settings, source: KeySource, reading: Reading, environ: Mapping[str, str], audit: Trail
) -> None:
    from k8s_ws_proxy.sessions.drain import DrainDeadline  # noqa: PLC0415
    from k8s_ws_proxy.web.app import running  # noqa: PLC0415

    loop = asyncio.get_running_loop()
    stop, deadline = asyncio.Event(), DrainDeadline()

    def end() -> None:
        if stop.is_set():
            deadline.more()
        stop.set()

    # Not by the loop, which makes a signal deadly again when it lets go of it: in that moment another one may come.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: loop.call_soon_threadsafe(end))
    try:
        async with running(settings, source, reading, environ, audit) as daemon:
            signal.signal(signal.SIGHUP, lambda _number, _frame: loop.call_soon_threadsafe(daemon.look_again))
            await stop.wait()
            await daemon.shut_down(deadline)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what it would look at is let go of from here on
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # All is done: another signal, in the moment that the interpreter takes to end, isn't how it ended.
            signal.signal(number, signal.SIG_IGN)
