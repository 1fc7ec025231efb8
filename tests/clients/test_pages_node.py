"""The pages' client by itself, in Node.js, on a WebSocket that says what a test wants."""

from __future__ import annotations

import json
import subprocess

import pytest

from k8s_ws_proxy.web.browser_pages import BUILT

ID = "01a228a2-c159-7876-8e1f-c7802b22c43a"
TICKET = "x" * 43
BEGIN = f"""
import {{ connect }} from './client/client.js';

let asked = 0;
globalThis.fetch = async () => {{
  asked += 1;
  return new Response('{{"reason": "bad_ticket", "error": "no"}}', {{ status: 401 }});
}};
class Fake extends EventTarget {{
  static OPEN = 1;
  constructor(url, protocols) {{
    super();
    Object.assign(this, {{ url: String(url), protocols, protocol: '', readyState: 0, bufferedAmount: 0, sent: [] }});
    Fake.made = this;
  }}
  send(message) {{
    this.sent.push(message);
  }}
  begin(protocol) {{
    Object.assign(this, {{ protocol, readyState: 1 }});
    this.dispatchEvent(new Event('open'));
  }}
  say(channel, text) {{
    const said = typeof text === 'string' ? new TextEncoder().encode(text) : new Uint8Array(text);
    this.onmessage({{ data: (channel === null ? said : new Uint8Array([channel, ...said])).buffer }});
  }}
  end(code, reason = '') {{
    this.readyState = 3;
    this.dispatchEvent(Object.assign(new Event('close'), {{ code, reason }}));
  }}
  close() {{
    setTimeout(() => this.end(this.readyState === 1 ? 1000 : 1006));
  }}
}}
globalThis.WebSocket = Fake;
const open = (mode = 'open') => connect({{ base: 'https://proxy.example/', id: '{ID}', ticket: '{TICKET}', mode }});
const all = async (session) => {{
  const messages = [];
  for await (const {{ data, ...message }} of session.messages()) {{
    messages.push(data ? new TextDecoder('latin1').decode(data) : message);
  }}
  return [messages, (await session.ended).kind];
}};
const tell = (what) => console.log(JSON.stringify(what));
"""


def told(script):
    """What a script tells that has ``open``, ``all`` and ``Fake``."""
    run = subprocess.run(
        ["node", "--input-type=module", "-e", BEGIN + script],
        cwd=BUILT.parent,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return json.loads(run.stdout)


@pytest.mark.parametrize("refused", ["", "Fake.made.end(1006);"], ids=["before an answer", "after a refusal"])
def test_who_leaves_before_it_is_open_has_left(refused):
    """And nobody is asked why it isn't: with the answer nothing would be done."""
    reason, asked = told(
        f"""
        const session = open();
        {refused}
        session.close();
        tell([await session.opened.catch(({{ reason }}) => reason), asked]);
        """
    )
    assert reason == "left"
    assert asked == 0


def test_who_is_refused_is_told_why():
    reason = "await session.opened.catch(({ reason }) => reason)"
    assert told(f"const session = open(); Fake.made.end(1006); tell({reason});") == "bad_ticket"


GONE = 'unable to upgrade connection: container not found ("web")'
AWAY = "error dialing backend: dial tcp 10.1.0.7:10250: connect: connection refused"


@pytest.mark.parametrize(
    ("before", "message", "kind"),
    [
        ("", GONE, "pod_gone"),  # it crashes and is started anew: between the two there is none
        ("", AWAY, "not_opened"),
        ("made.say(1, '');", AWAY, "lost_upstream"),  # an apiserver's first message is empty
        ("made.say(1, 'x');", GONE, "lost_upstream"),
        ("""made.say(253, '{"watchers": 1}');""", AWAY, "lost_upstream"),
        ("""made.say(253, '{"tty": false, "stdin": true}');""", AWAY, "not_opened"),
        ("""made.say(4, '{"Width": 80, "Height": 24}');""", AWAY, "lost_upstream"),
    ],
)
def test_what_fails_before_anything_came_was_never_opened(before, message, kind):
    status = json.dumps({"status": "Failure", "message": message, "reason": "InternalError", "code": 500})
    _, ended = told(
        f"""
        const session = open();
        const {{ made }} = Fake;
        made.begin('v5.channel.k8s.io');
        {before}
        made.say(3, {status!r});
        made.end(1011, 'm');
        tell(await all(session));
        """
    )
    assert ended == kind


FAILED = json.dumps({"status": "Failure", "message": 'pods "web" not found', "reason": "NotFound", "code": 404})


def log(script):
    """What all is told of a log of which this comes."""
    return told(
        f"""
        const session = open();
        const {{ made }} = Fake;
        made.begin('binary.k8s.io');
        {script}
        tell([session.log, ...(await all(session))]);
        """
    )


def test_a_log_is_asked_for_before_a_terminal_and_by_who_joins_not_at_all():
    offered = told("open(); const first = Fake.made.protocols; open('peer'); tell([first, Fake.made.protocols]);")
    bearer = f"base64url.bearer.authorization.k8s.io.{TICKET}"
    assert offered == [["binary.k8s.io", "v5.channel.k8s.io", bearer], ["v5.channel.k8s.io", bearer]]


def test_a_log_comes_byte_for_byte_whatever_its_lines_begin_with():
    lines = ["\x03{}\n", "one\n", "\x03 two\n", "\xfe three\n", "\xff\x00", "\x01\n"]
    said = "".join(f"made.say(null, {[ord(each) for each in line]});" for line in lines)
    assert log(said + "made.end(1000);") == [True, lines, "output_ended"]


@pytest.mark.parametrize(
    ("ended", "messages", "kind"),
    [
        ("made.end(1011, 'm');", [], "pod_gone"),
        ("made.end(1000);", ["\x03" + FAILED], "output_ended"),  # a container may log anything
        ("made.say(null, 'x\\n'); made.end(1011, 'm');", ["\x03" + FAILED, "x\n"], "lost_upstream"),
    ],
)
def test_a_log_that_there_is_none_of_is_told_by_its_only_message(ended, messages, kind):
    assert log(f"made.say(3, {FAILED!r}); {ended}") == [True, messages, kind]


def test_of_a_log_that_is_not_read_the_oldest_is_left_out():
    told_of = log(
        """
        const line = 'x'.repeat(1024 * 1024 - 1) + String.fromCharCode(10);
        for (let number = 0; number < 6; number += 1) made.say(null, line);
        made.end(1000);
        """
    )[1]
    lost = told_of[0]["bytes"]
    assert lost > 0
    assert lost + sum(map(len, told_of[1:])) == 6 * 1024 * 1024
