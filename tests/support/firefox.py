"""Debian's Firefox, driven by WebDriver BiDi (W3C), which it speaks itself: playwright's is a Firefox of its own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import shutil
from typing import TYPE_CHECKING, Any

from websockets.asyncio.client import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from websockets.asyncio.client import ClientConnection

_PREFERENCES = {
    "app.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "remote.active-protocols": 1,
    "toolkit.telemetry.reportingpolicy.firstRun": False,
}


class Window:
    """Its one tab."""

    def __init__(self, bidi: ClientConnection) -> None:
        self._bidi = bidi
        self._ids = itertools.count(1)
        self._context = ""

    async def begin(self) -> None:
        """Take the tab that is there."""
        await self._call("session.new", capabilities={})
        tree = await self._call("browsingContext.getTree")
        self._context = tree["contexts"][0]["context"]

    async def goto(self, url: str) -> None:
        """Go there, and wait until it is loaded."""
        await self._call("browsingContext.navigate", context=self._context, url=url, wait="complete")

    async def evaluate(self, expression: str) -> Any:
        """What a script says that gives a string, a number or a boolean, or will."""
        done = await self._call(
            "script.evaluate", expression=expression, target={"context": self._context}, awaitPromise=True
        )
        assert done["type"] == "success", done
        return done["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait for it to be true. The test's time-out bounds the wait."""
        await self.evaluate(
            f"new Promise((resolve) => {{ const look = () => ({expression}) ? resolve(true) : setTimeout(look, 20);"
            " look(); })"
        )

    async def type(self, text: str) -> None:
        """Press a key for each character; U+E009 is Ctrl until U+E000 (WebDriver §17.4.2)."""
        actions = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        await self._keys(actions)

    async def chord(self, held: str, key: str) -> None:
        """Press it while another is held."""
        await self._keys(
            [
                {"type": "keyDown", "value": held},
                {"type": "keyDown", "value": key},
                {"type": "keyUp", "value": key},
                {"type": "keyUp", "value": held},
            ]
        )

    async def _keys(self, actions: list[dict[str, str]]) -> None:
        keyboard = {"type": "key", "id": "keyboard", "actions": actions}
        await self._call("input.performActions", context=self._context, actions=[keyboard])

    async def _call(self, method: str, **parameters: Any) -> Any:
        number = next(self._ids)
        await self._bidi.send(json.dumps({"id": number, "method": method, "params": parameters}))
        async for message in self._bidi:
            answer = json.loads(message)
            if answer.get("id") == number:
                assert answer["type"] == "success", answer
                return answer["result"]
        raise AssertionError("Firefox has gone")


@contextlib.asynccontextmanager
async def firefox(profile: Path) -> AsyncIterator[Window]:
    """It, without a window on a screen; ``profile`` is an empty directory."""
    program = shutil.which("firefox-esr") or shutil.which("firefox")
    assert program, "this test wants Debian's firefox-esr: make system"
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in _PREFERENCES.items()]
    (profile / "user.js").write_text("".join(lines))
    process = await asyncio.create_subprocess_exec(
        program,
        "--headless",
        "--no-remote",
        "--remote-debugging-port=0",
        "--profile",
        str(profile),
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "HOME": str(profile), "MOZ_DISABLE_CONTENT_SANDBOX": "1"},
    )
    assert process.stderr
    said = b""
    try:
        while not (found := re.search(rb"WebDriver BiDi listening on (ws://[\d.:]+)", said)):
            line = await process.stderr.readline()
            assert line, said
            said += line
        draining = asyncio.get_running_loop().create_task(process.stderr.read())
        try:
            async with connect(f"{found[1].decode()}/session", max_size=None) as bidi:
                window = Window(bidi)
                await window.begin()
                yield window
        finally:
            process.kill()
            await draining
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
