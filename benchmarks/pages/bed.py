"""What the pages are measured on: the embedded cluster, the daemon, a bare WebSocket and Chromium, a process each."""

import http.client
import json
import math
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from benchmarks import process
from benchmarks.certs import HOST
from benchmarks.pages import chromium
from benchmarks.session import DEADLINE_SECONDS, RefusedError
from benchmarks.targets.base import SECRET
from k8s_ws_proxy.devcluster import DEFAULT_WORLD
from k8s_ws_proxy.wire.requests.signing_v2 import signed_headers_v2

_SESSIONS = "/proxy/sessions"
_SHELL = {"subresource": "exec", "namespace": "default", "pod": "shell", "container": "shell"}


@dataclass(frozen=True)
class Bed:
    """Where they are."""

    daemon: str
    bare: str
    browser: chromium.Chromium

    def terminal(self, *command: str) -> str:
        """The address of a session that was issued now."""
        body = json.dumps({**_SHELL, "command": command}).encode()
        # In the coming second: a daemon takes no signature from before its start.
        created, nonce = math.ceil(time.time()), secrets.token_urlsafe(16)
        signed = signed_headers_v2(SECRET.encode(), "POST", _SESSIONS, created=created, nonce=nonce, body=body)
        connection = http.client.HTTPConnection(self.daemon.removeprefix("http://"), timeout=DEADLINE_SECONDS)
        connection.request("POST", _SESSIONS, body, signed)
        answer = connection.getresponse()
        told = answer.read()
        connection.close()
        if answer.status != http.HTTPStatus.CREATED:
            raise RefusedError(f"{answer.status} {told!r}")
        issued = json.loads(told)
        return f"{self.daemon}/terminal/#{urlencode({'id': issued['sessionId'], 'ticket': issued['ticket']})}"


@contextmanager
def laid() -> Iterator[Bed]:
    """All of them listen."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, ExitStack() as stack:
        folder = Path(name)
        kubeconfig = stack.enter_context(_cluster(folder))
        port, bare = process.free_port(), process.free_port()
        secret = folder / "secret"
        secret.write_text(SECRET)
        env = _environ() | {
            "KUBECONFIG": str(kubeconfig),
            "SHARED_SECRET_FILE": str(secret),
            "WEB_TERMINAL": "true",
            "WS_PROXY_ADMIN_ADDR": "off",
            "WS_PROXY_LISTEN_ADDR": f"{HOST}:{port}",
        }
        stack.enter_context(process.running([sys.executable, "-m", "k8s_ws_proxy", "serve"], port, env))
        stack.enter_context(process.running([sys.executable, "-m", "benchmarks.pages.bare", str(bare)], bare))
        browser = stack.enter_context(chromium.running(folder))
        yield Bed(f"http://{HOST}:{port}", f"ws://{HOST}:{bare}/", browser)


@contextmanager
def _cluster(folder: Path) -> Iterator[Path]:
    """Its kubeconfig, from when that is written: after it listens, and before the users' tokens."""
    port = process.free_port()
    env = _environ() | {"TMPDIR": str(folder)}
    last = f"kdev-*/{DEFAULT_WORLD.users[-1].alias}.token"
    with process.running([sys.executable, "-m", "k8s_ws_proxy.devcluster", "--port", str(port)], port, env):
        deadline = time.monotonic() + process.START_SECONDS
        while not (found := list(folder.glob(last))):
            if time.monotonic() > deadline:
                raise process.EndedError("the embedded cluster has written no kubeconfig")
            time.sleep(0.01)
        yield found[0].with_name("kubeconfig")


def _environ() -> dict[str, str]:
    """Without what names the tests, which the daemon and the cluster don't know."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
