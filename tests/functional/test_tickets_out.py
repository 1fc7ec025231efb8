"""As many tickets as there may be, all out at once in a running daemon: what they take, and that each is still good."""

from __future__ import annotations

import asyncio
import functools
import json
import math
import secrets
import sys
import time

import pytest
from support import rawws
from support.caller import at_rest, memory, refusal_of
from support.daemon import SERVE
from support.sessions import SESSIONS, call, presented

from k8s_ws_proxy.wire.requests.signing_v2 import signed_headers_v2

pytestmark = pytest.mark.none_ready

MIB = 1024 * 1024
MAX_TICKETS = 10_000  # as it is where nobody says otherwise
FIRST = 100  # after which the daemon has loaded what it needs
CONNECTIONS = 4
WHO = {"X-Catalyst-User": "alice@example.com", "X-Catalyst-Groups": '"oidc:ops"', "X-Catalyst-Reason": "INC-42"}
ORDER = json.dumps(
    {"subresource": "exec", "namespace": "default", "pod": "shell", "command": ["sh", "-c", "exit 7"], "expiresIn": 600}
).encode()


@pytest.fixture
def start(start):
    """As an operator starts it: a fork has its memory from elsewhere."""
    return functools.partial(start, program=SERVE)


async def issue(daemon, count):
    """So many sessions, one after another on one connection: what was answered of each."""
    told = []
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    for _ in range(count):
        # Not daemon.headers_v2: it has the log searched for each, and ten thousand are as many as there are lines.
        signed = signed_headers_v2(
            daemon.secret,
            "POST",
            SESSIONS,
            created=math.ceil(time.time()),
            nonce=secrets.token_urlsafe(24),
            more=WHO,
            body=ORDER,
        )
        fields = {"Host": "proxy", "Content-Length": str(len(ORDER)), **signed}
        lines = [f"POST {SESSIONS} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + ORDER)
        answer = await rawws.read_answer(reader)
        assert answer.status == 201, answer
        told.append(json.loads(answer.body))
    writer.close()
    return told


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_ten_thousand_tickets_take_what_is_said_of_them(start):
    """25 MiB, as docs/design/choices.md says; the nonces of what issued them are besides, and in the sum there."""
    daemon = await start()
    await issue(daemon, FIRST)
    await at_rest(daemon)
    before = memory(daemon, "VmRSS")
    each = (MAX_TICKETS - FIRST) // CONNECTIONS
    told = [one for part in await asyncio.gather(*(issue(daemon, each) for _ in range(CONNECTIONS))) for one in part]
    await at_rest(daemon)
    held = memory(daemon, "VmRSS") - before
    sys.stdout.write(f"{len(told)} tickets: {held / MIB:.1f} MiB, {held / len(told):.0f} bytes each\n")
    assert len({one["ticket"] for one in told}) == MAX_TICKETS - FIRST
    daemon.confidential |= {one["ticket"] for one in told[::200]}
    answer = await call(daemon, "POST", SESSIONS, json.loads(ORDER))
    assert (answer.status, refusal_of(answer, SESSIONS)[1]) == (429, "too_many_tickets")
    for one in (told[0], told[-1]):
        async with presented(daemon, one["path"], one["ticket"]) as ws:
            assert ws.answer.status == 101, ws.answer
            assert (await ws.finish()).exit_code == 7
    assert held < (25 + 2 + 4) * MIB, "nonces are 2 of it, and what an allocator keeps in reserve 4"
