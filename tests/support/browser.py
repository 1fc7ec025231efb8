"""A real browser before the pages: Debian's Chromium, driven by playwright."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING, Any

from playwright.async_api import async_playwright

from support.sessions import issue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, Page

    from support.daemon import Daemon

# Nobody is asked but the daemon, and no sandbox is wanted of who is root in a container.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_ROWS = "[...document.querySelectorAll('.xterm-rows > div')].map((row) => row.textContent.trimEnd())"
CONSOLE = "https://console.example"
"""The origin of somebody else's pages, which may send tickets and have a new session."""
SHELL = ["env", "LANG=C.UTF-8", "PS1=$ ", "HISTFILE=", "bash", "--norc", "--noprofile", "-i"]


def program() -> str:
    """Where it is."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert found, "Debian's chromium is wanted: make system"
    return found


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """It, without a window."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program(), args=ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


class Tab:
    """One page of ours. ``complaints`` are what the browser has to say of it: errors, and what its policy forbids."""

    def __init__(self, page: Page, daemon: Daemon) -> None:
        self.page = page
        self.daemon = daemon
        self.complaints: list[str] = []
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    async def show(self, told: dict[str, Any], page: str = "terminal", **more: str) -> None:
        """Go where a session that was issued is opened, or joined."""
        said = {"id": told["sessionId"], "ticket": told["ticket"], **more}
        fragment = "&".join(f"{name}={value}" for name, value in said.items())
        await self.page.goto(f"{self.daemon.url}/{page}/#{fragment}")

    async def open(self, *command: str, **order: Any) -> dict[str, Any]:
        """A session that is issued for this, and open; a shell if no command is named."""
        told = await issue(self.daemon, command=list(command) or SHELL, **order)
        await self.show(told)
        await self.state("Open")
        return told

    async def state(self, word: str) -> str:
        """The line of state, once its word is this one."""
        await self.page.locator("#word", has_text=word).wait_for()
        return await self.page.locator("#state").inner_text()

    async def shows(self, text: str) -> None:
        """Wait until the terminal has a row that holds this."""
        await self.page.wait_for_function(f"(text) => {_ROWS}.some((row) => row.includes(text))", arg=text)

    async def shows_row(self, text: str) -> None:
        """Wait until the terminal has a row that is this."""
        await self.page.wait_for_function(f"(text) => {_ROWS}.some((row) => row === text)", arg=text)

    async def shows_rows(self, *rows: str) -> None:
        """Wait until the terminal's rows are these, and empty ones."""
        await self.page.wait_for_function(
            f"(rows) => {_ROWS}.join('\\n').trimEnd() === rows.join('\\n')", arg=list(rows)
        )

    async def rows(self) -> list[str]:
        """What the terminal shows, without the empty rows at its end."""
        rows: list[str] = await self.page.evaluate(_ROWS)
        while rows and not rows[-1]:
            rows.pop()
        return rows

    async def type(self, text: str) -> None:
        """Press a key for each of its characters."""
        await self.page.keyboard.type(text)

    async def press(self, keys: str) -> None:
        """Press such as ``Control+c``."""
        await self.page.keyboard.press(keys)

    async def paste(self, text: str) -> None:
        """What the browser does when it is told to paste: the clipboard isn't anybody else's to set."""
        await self.page.evaluate(
            """(text) => {
              const data = new DataTransfer();
              data.setData('text/plain', text);
              const paste = new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true });
              document.querySelector('.xterm-helper-textarea').dispatchEvent(paste);
            }""",
            text,
        )

    async def click(self, text: str) -> None:
        """Click where the row that holds this begins."""
        box = await self.page.locator(".xterm-rows > div", has_text=text).first.bounding_box()
        assert box
        await self.page.mouse.move(box["x"] + 10, box["y"] + 8)
        await self.page.mouse.move(box["x"] + 20, box["y"] + 8)  # a link is one as soon as the mouse is over it
        await self.page.mouse.click(box["x"] + 20, box["y"] + 8)
