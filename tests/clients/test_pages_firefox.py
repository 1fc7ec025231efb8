"""The main way in Firefox: a page, keys, output, a paste, an end."""

from __future__ import annotations

import hashlib
import json

import pytest
from support.browser import SHELL
from support.daemon import running_daemon
from support.firefox import firefox
from support.sessions import issue

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROWS = "[...document.querySelectorAll('.xterm-rows > div')].map((row) => row.textContent.trimEnd())"
CTRL = "\ue009"


async def test_a_shell_a_paste_and_an_end(shared_cluster, tmp_path):
    kubeconfig = shared_cluster.write_kubeconfig(tmp_path / "kubeconfig", "proxy")
    (tmp_path / "profile").mkdir()
    async with (
        running_daemon(kubeconfig, tmp_path, WEB_TERMINAL="true") as daemon,
        firefox(tmp_path / "profile") as window,
    ):

        async def show(*command):
            told = await issue(daemon, command=list(command))
            await window.goto("about:blank")
            await window.goto(f"{daemon.url}/terminal/#id={told['sessionId']}&ticket={told['ticket']}")
            await window.until("document.querySelector('#word')?.textContent === 'Open'")

        async def shows(row):
            await window.until(f"{ROWS}.includes({json.dumps(row)})")

        await show(*SHELL)
        assert await window.evaluate("location.href") == f"{daemon.url}/terminal/"
        await window.type("printf '\\e[38;2;9;8;7m%s\\e[0m\\n' 漢字\r")
        await shows("漢字")
        await window.type("yes 0123456789\r")
        await shows("0123456789")
        await window.chord(CTRL, "c")
        await window.until(f"{ROWS}.some((row) => row.includes('^C'))")
        await window.type("exit 5\r")
        await window.until("document.querySelector('#word').textContent === 'Ended'")
        assert "exit code 5" in await window.evaluate("document.querySelector('#state').textContent")
        text = "\n".join(f"{number:063d}" for number in range(16_000))
        await show("sh", "-c", f"stty raw -echo; echo ready; head -c {len(text)} | sha256sum")
        await shows("ready")
        await window.evaluate(
            f"""(() => {{
              const paste = new Event('paste', {{ bubbles: true, cancelable: true }});
              const data = {{ getData: () => {json.dumps(text)} }};
              Object.defineProperty(paste, 'clipboardData', {{ value: data }});
              document.querySelector('.xterm-helper-textarea').dispatchEvent(paste);
            }})()"""
        )
        digest = hashlib.sha256(text.replace("\n", "\r").encode()).hexdigest()
        await window.until(f"{ROWS}.some((row) => row.includes('{digest}'))")
        assert await window.evaluate("document.querySelectorAll('style').length") == 0
