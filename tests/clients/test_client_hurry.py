"""What the pages' client leaves out after Ctrl-C, and when it goes on: in Node.js, its WebSocket and clock made up."""

from __future__ import annotations

import json
import subprocess

import pytest

from k8s_ws_proxy.web.browser_pages import BUILT

SCRIPT = """
let now = 1000;
let timers = [];
let socket;
performance.now = () => now;
globalThis.setTimeout = (due) => timers.push(due);
globalThis.WebSocket = class extends EventTarget {
  static OPEN = 1;
  readyState = 1;
  bufferedAmount = 0;
  sent = [];
  constructor() {
    super();
    socket = this;
  }
  send(message) {
    this.sent.push(message);
  }
};
const { connect } = await import('./client/client.js');
const KIB = 1024;

const settled = async () => {
  for (let turn = 0; turn < 20; turn += 1) await null;
};
const passes = async (ms) => {
  now += ms;
  const due = timers;
  timers = [];
  for (const each of due) each();
  await settled();
};

/** A session with `kib` of output that nobody has read yet, after hurry(). */
async function flooded(kib) {
  const session = connect({
    base: 'http://proxy.example/', id: '01995f3c-7a00-7d21-8c4e-5a1d3b0f6c1e', ticket: 'x'.repeat(43),
  });
  socket.dispatchEvent(new Event('open'));
  await settled();
  const told = [];
  const comes = (size) => socket.onmessage({ data: new Uint8Array(size + 1).fill(1).buffer });
  const ends = () => socket.dispatchEvent(Object.assign(new Event('close'), { code: 1000, reason: '' }));
  for (let each = 0; each < kib; each += 4) comes(4 * KIB);
  session.hurry();
  (async () => {
    for await (const { type, bytes, data } of session.messages()) told.push([type, bytes ?? data.length]);
  })();
  await passes(0);
  return { told, comes, ends };
}

const flood = await flooded(256);
const meanwhile = [];
for (let each = 0; each < 10; each += 1) {
  flood.comes(64 * KIB);
  await passes(20);
  meanwhile.push(flood.told.length);
}
flood.comes(3);
await passes(24);
meanwhile.push(flood.told.length);
await passes(2);

const endless = await flooded(256);
let held = 0;
while (!endless.told.length) {
  endless.comes(4 * KIB);
  await passes(20);
  held += 20;
}

const ended = await flooded(256);
ended.ends();
await passes(0);

const calm = await flooded(16);
console.log(JSON.stringify({ meanwhile, flood: flood.told, held, ended: ended.told, calm: calm.told }));
"""


@pytest.fixture(scope="module")
def told():
    run = subprocess.run(
        ["node", "--input-type=module", "-e", SCRIPT], cwd=BUILT.parent, check=True, capture_output=True, text=True
    )
    return json.loads(run.stdout)


def test_in_a_flood_nothing_is_read_until_nothing_more_comes(told):
    """And then it is said once how much was left out, and the newest is there."""
    assert told["meanwhile"] == [0] * 11
    (lost, size), *rest = told["flood"]
    assert lost == "lost"
    assert size + sum(size for _, size in rest) == (256 + 640) * 1024 + 3
    assert [kind for kind, _ in rest] == ["output"] * len(rest)
    assert rest[-1] == ["output", 3]
    assert sum(size for _, size in rest) <= 64 * 1024


def test_one_that_does_not_end_is_read_on_after_half_a_second(told):
    assert told["held"] == 500


def test_its_end_is_waited_for_no_longer(told):
    assert told["ended"][0][0] == "lost"
    assert sum(size for _, size in told["ended"]) == 256 * 1024


def test_where_little_waits_nothing_is_held(told):
    assert told["calm"] == [["output", 4096]] * 4
