"""Chromium without a window, driven by its own protocol (CDP), of which no more is switched on than is asked for.

Playwright has a page's WebSockets told to it, message by message, as long as it drives that page. In a flood this would
be measured, too, and would go on when the flood has ended.
"""

import http.client
import itertools
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from support.browser import ARGUMENTS, program
from websockets.sync.client import connect

from benchmarks import process
from benchmarks.certs import HOST

_WITHIN = 120.0  # seconds in which it has said something, or it hangs
_WIDTH, _HEIGHT = 800, 480
# Beside what tests start it with: no page is slowed down because another one is before it.
_MORE = (
    "--headless=new",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
)

Event = dict[str, Any]


class ScriptError(Exception):
    """A script in a page failed, or there is no page."""


class Connection(Protocol):
    """Where Chromium is told what to do."""

    def send(self, message: str) -> None:
        """Tell it."""

    def recv(self, timeout: float | None = None) -> str | bytes:
        """What it says next; TimeoutError if that is nothing."""


class Chromium:
    """All of it. What it tells by itself waits until somebody asks for it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self._events: list[Event] = []

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        to = {"sessionId": session} if session else {}
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters, **to}))
        while True:
            said = self._said()
            if said.get("id") != number:
                self._events.append(said)
            elif "error" in said:
                raise ScriptError(f"{method}: {said['error']}")
            else:
                result: dict[str, Any] = said["result"]
                return result

    def told(self, method: str, session: str = "") -> list[Event]:
        """What has been told so far, by a method that begins like this; it isn't told again."""
        told = [event for event in self._events if _is(event, method, session)]
        self._events = [event for event in self._events if not _is(event, method, session)]
        return told

    def await_told(self, method: str, session: str = "", wanted: Callable[[Event], bool] = lambda _: True) -> Event:
        """The first that is `wanted`."""
        seen = self._events
        while True:
            for at, event in enumerate(seen):
                if _is(event, method, session) and wanted(event["params"]):
                    return seen.pop(at)
            seen.append(self._said())

    def _said(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self._connection.recv(_WITHIN))
        return said

    @contextmanager
    def profile(self) -> Iterator["Profile"]:
        """Somebody who was never here, with a cache of their own; gone when the block is left."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        try:
            yield Profile(self, context)
        finally:
            self.call("Target.disposeBrowserContext", browserContextId=context)


def _is(event: Event, method: str, session: str) -> bool:
    return str(event.get("method")).startswith(method) and event.get("sessionId", "") == session


class Profile:
    """One person's browser."""

    def __init__(self, browser: Chromium, context: str) -> None:
        self._browser = browser
        self._context = context

    @contextmanager
    def tab(self, script: str) -> Iterator["Tab"]:
        """A new one, in whose pages `script` runs before their own."""
        call = self._browser.call
        target = call("Target.createTarget", url="about:blank", browserContextId=self._context)["targetId"]
        session = call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self._browser, session)
        tab.call("Page.enable")
        tab.call("Page.setLifecycleEventsEnabled", enabled=True)
        tab.call("Page.addScriptToEvaluateOnNewDocument", source=script)
        tab.call("Emulation.setFocusEmulationEnabled", enabled=True)
        size = {"width": _WIDTH, "height": _HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        tab.call("Emulation.setDeviceMetricsOverride", **size)
        try:
            yield tab
        finally:
            call("Target.closeTarget", targetId=target)


class Tab:
    """One page."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser = browser
        self._session = session

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def told(self, method: str) -> list[Event]:
        return self._browser.told(method, self._session)

    def go(self, url: str) -> None:
        """Until all that the page names is loaded."""
        gone = self.call("Page.navigate", url=url)
        if "errorText" in gone:
            raise ScriptError(f"no page: {gone['errorText']}")

        def loaded(event: Event) -> bool:
            return bool(event["name"] == "load" and event["loaderId"] == gone["loaderId"])

        self._browser.await_told("Page.lifecycleEvent", self._session, loaded)

    def evaluate(self, expression: str) -> Any:
        """What comes of it in the end, as JSON has it."""
        said = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in said:
            raise ScriptError(f"{expression}: {said['exceptionDetails']}")
        return said["result"].get("value")


@contextmanager
def running(folder: Path) -> Iterator[Chromium]:
    """Its own files go to `folder`."""
    port = process.free_port()
    flags = [f"--remote-debugging-port={port}", f"--user-data-dir={folder / 'chromium'}"]
    argv = [program(), *ARGUMENTS, *_MORE, *flags, "about:blank"]
    with (
        process.running(argv, port, os.environ | {"HOME": str(folder)}),
        connect(_address(port), max_size=None, compression=None) as connection,
    ):
        yield Chromium(connection)


def _address(port: int) -> str:
    asked = http.client.HTTPConnection(HOST, port, timeout=_WITHIN)
    asked.request("GET", "/json/version")
    address: str = json.loads(asked.getresponse().read())["webSocketDebuggerUrl"]
    asked.close()
    return address
