"""A client that has asked for messages aside from Kubernetes's: it is sent no more than it takes."""

from __future__ import annotations

import hashlib
import json

import pytest
from support.sessions import issue, presented

from k8s_ws_proxy.relay.read_budget import BLOCK_SIZE
from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.framing.channels import MARK, NOTICE, STATUS, STDOUT, exit_code, parse_status
from k8s_ws_proxy.wire.rules.aside import MOST_AHEAD

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCRIPT = "seq 1 2000000 | head -c 8000000"
TURNS = 50  # in which a daemon that isn't held would send what it has


async def test_it_is_sent_no_more_than_it_takes_and_all_of_it(shared_daemon):
    told = await issue(shared_daemon, command=["sh", "-c", f"{SCRIPT}; exit 3"], tty=False)
    output = hashlib.sha256()
    size = 0
    status = None
    marks = []
    async with presented(shared_daemon, f"{told['path']}?aside=true", told["ticket"]) as ws:
        first = await ws.frame()
        assert first.payload[:1] == bytes((NOTICE,))
        assert json.loads(first.payload[1:]) == {"tty": False, "stdin": True}

        async def read():
            """The next frame."""
            nonlocal size, status
            frame = await ws.frame()
            assert frame is not None
            if frame.opcode == frames.BINARY:
                channel, data = frame.payload[0], frame.payload[1:]
                if channel == MARK:
                    marks.append(data)
                elif channel == STDOUT:
                    output.update(data)
                    size += len(data)
                else:
                    assert channel == STATUS
                    status = data
            return frame

        while size <= MOST_AHEAD - BLOCK_SIZE:
            await read()
        for turn in range(TURNS):
            await ws.send_frame(frames.PING, b"%d" % turn)
            while (await read()).opcode != frames.PONG:
                pass
        assert size <= MOST_AHEAD + BLOCK_SIZE
        opcode = None
        while opcode != frames.CLOSE:
            for mark in marks:
                await ws.send(MARK, mark)
            marks.clear()
            opcode = (await read()).opcode
    assert exit_code(parse_status(status)) == 3
    meant = "".join(f"{number}\n" for number in range(1, 2_000_001)).encode()[:8_000_000]
    assert (size, output.hexdigest()) == (len(meant), hashlib.sha256(meant).hexdigest())


@pytest.mark.parametrize("query", ["", "?aside=1", "?aside=true&mode=peer", "?marks=true"])
async def test_who_has_not_asked_in_these_words_gets_none(shared_daemon, query):
    told = await issue(shared_daemon, command=["sh", "-c", "head -c 1000000 /dev/zero"], tty=False)
    async with presented(shared_daemon, told["path"] + query, told["ticket"]) as ws:
        ended = await ws.finish()
    assert ended.output.keys() == {STDOUT, STATUS}
