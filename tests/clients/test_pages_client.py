"""The pages' client without a view, in a real Chromium: another console's page would have it so."""

from __future__ import annotations

import hashlib
import json

import pytest
import pytest_asyncio
from support.sessions import call, issue

from k8s_ws_proxy.web.browser_pages import BUILT

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLIENT = BUILT.parent / "client/client.js"
# Reads as slowly as an event loop that is kept busy by something else.
TAKEN = """async (session, wait) => {
  const parts = [];
  let lost = 0;
  for await (const message of session.messages()) {
    if (message.type === 'output') parts.push(message.data);
    if (message.type === 'lost') lost += message.bytes;
    if (wait) await new Promise((resolve) => setTimeout(resolve));
  }
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', await new Blob(parts).arrayBuffer()));
  const { kind, exitCode } = await session.ended;
  return { kind, exitCode, lost, hash: Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join('') };
}"""


@pytest_asyncio.fixture(loop_scope="module")
async def page(tab):
    """A page that has the client's module, as ``client``."""
    await tab.page.route("**/client.js", lambda route: route.fulfill(path=CLIENT, content_type="text/javascript"))
    await tab.page.goto(f"{tab.daemon.url}/terminal/")
    await tab.page.evaluate("import('/client.js').then((module) => { window.client = module; })")
    return tab.page


def connect(daemon, told, **more):
    """An expression for the session that was issued so."""
    asked = {"base": daemon.url, "id": told["sessionId"], "ticket": told["ticket"], **more}
    return f"client.connect({json.dumps(asked)})"


async def test_who_reads_slowly_loses_nothing(page, daemon):
    told = await issue(daemon, command=["sh", "-c", "seq 1 2000000; exit 9"], tty=False)
    taken = await page.evaluate(f"({TAKEN})({connect(daemon, told, kept=1024 * 1024)}, true)")
    meant = "".join(f"{number}\n" for number in range(1, 2_000_001)).encode()
    assert taken == {
        "kind": "command_ended",
        "exitCode": 9,
        "lost": 0,
        "hash": hashlib.sha256(meant).hexdigest(),
    }


async def test_stdin_ends_after_all_that_was_typed(page, daemon):
    told = await issue(daemon, command=["sha256sum"], tty=False)
    text = "0123456789abcdef" * 65536
    taken = await page.evaluate(
        f"""(text) => {{
          const session = {connect(daemon, told)};
          session.type(text);
          session.closeStdin();
          return ({TAKEN})(session, false);
        }}""",
        text,
    )
    printed = f"{hashlib.sha256(text.encode()).hexdigest()}  -\n".encode()
    assert (taken["exitCode"], taken["hash"]) == (0, hashlib.sha256(printed).hexdigest())


async def test_who_joins_may_paste_a_megabyte_too(page, daemon):
    """What a browser sends in fragments is put together, up to a bound."""
    size = 1024 * 1024
    told = await issue(daemon, command=["sh", "-c", f"stty raw -echo; printf ready; head -c {size} | sha256sum"])
    await page.evaluate(
        f"""() => {{
          window.owner = {connect(daemon, told)};
          window.taken = ({TAKEN})(owner, false);
          return owner.opened;
        }}"""
    )
    answer = await call(daemon, "POST", f"/proxy/sessions/{told['sessionId']}/ticket", {"mode": "peer"})
    ticket = json.loads(answer.body)["ticket"]
    shown = await page.evaluate(
        f"""async (text) => {{
          const peer = {connect(daemon, {**told, "ticket": ticket}, mode="peer")};
          const messages = peer.messages();
          let shown = '';
          while (!shown.includes('ready')) {{
            const {{ value }} = await messages.next();
            if (value.type === 'output') shown += new TextDecoder().decode(value.data);
          }}
          void peer.type(text);
          for await (const message of messages) {{
            if (message.type === 'output') shown += new TextDecoder().decode(message.data);
          }}
          return shown + (await peer.ended).kind;
        }}""",
        "x" * size,
    )
    assert hashlib.sha256(b"x" * size).hexdigest() in shown
    assert shown.endswith("command_ended")
