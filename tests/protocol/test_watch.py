"""A watcher's side: how its session ends, and what of its messages counts."""

from __future__ import annotations

import json

import pytest

from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.framing.channels import CLOSE, RESIZE, STATUS, STDIN, STDOUT, Framing
from k8s_ws_proxy.wire.framing.splitter import HEADROOM, Block, MessageSplitter, Violation
from k8s_ws_proxy.wire.rules.liveness import Health
from k8s_ws_proxy.wire.rules.relay import Ending, Phase
from k8s_ws_proxy.wire.rules.watch import ObserveRelay, PeerRelay, resize, stdin_of

KEY = b"\x11\x22\x33\x44"
SUCCESS = b'{"metadata":{},"status":"Success"}'


def mask_key():
    return KEY


def message(channel, payload, key=b""):
    return frames.frame(frames.BINARY, bytes((channel,)) + payload, key)


def close(code, reason="", key=b""):
    return frames.frame(frames.CLOSE, frames.close_payload(code, reason), key)


def take(take_data, data):
    block = Block(1 << 18)
    block.buf[HEADROOM : HEADROOM + len(data)] = data
    take_data(block, HEADROOM, HEADROOM + len(data))


def sent(pieces):
    data, out, pos = b"".join(pieces), [], 0
    while pos < len(data):
        head = frames.parse_header(data, pos, len(data), masked=False)
        out.append((head.opcode, data[pos + head.size : pos + head.size + head.length]))
        pos += head.size + head.length
    return out


def test_output_sizes_and_status_pass_and_the_close_is_that_of_the_session():
    relay = ObserveRelay(mask_key)
    said = [message(STDOUT, b"a"), message(RESIZE, b'{"Width":80,"Height":24}'), message(STATUS, SUCCESS)]
    take(relay.upstream_data, b"".join(said) + frames.frame(frames.PING, b"the client's") + close(1000, "bye"))
    assert b"".join(relay.to_client) == b"".join(said) + close(1000, "bye")
    assert (relay.ending, relay.close_code, relay.exit_code) == (Ending.WATCHED_ENDED, 1000, 0)


@pytest.mark.parametrize(("code", "reason"), [(1001, "shutting down"), (1008, "ended by bob"), (1011, "lost")])
def test_a_session_that_is_ended_is_so_for_all(code, reason):
    relay = ObserveRelay(mask_key)
    take(relay.upstream_data, message(STATUS, b'{"status":"Failure"}') + close(code, reason))
    assert sent(relay.to_client)[-1] == (frames.CLOSE, frames.close_payload(code, reason))
    assert (relay.ending, relay.exit_code) == (Ending.WATCHED_ENDED, None)


@pytest.mark.parametrize("end", [close(None), close(1000), close(1001, "no answer to a ping"), None])
def test_where_the_client_has_left_it_is_a_failure(end):
    relay = ObserveRelay(mask_key)
    relay.upstream_end() if end is None else take(relay.upstream_data, end)
    (_, status), (opcode, payload) = sent(relay.to_client)
    assert json.loads(status[1:])["status"] == "Failure"
    assert json.loads(status[1:])["reason"] == "ClientLeft"
    assert (opcode, frames.parse_close(payload)) == (frames.CLOSE, (1001, "the session's own client has left"))


def test_one_that_was_too_slow_is_told_so():
    relay = ObserveRelay(mask_key)
    relay.too_slow()
    relay.too_slow()
    relay.upstream_end()
    assert sent(relay.to_client) == [(frames.CLOSE, frames.close_payload(1008, "too_slow"))]
    assert relay.ending is Ending.TOO_SLOW


def test_an_observer_s_pings_are_answered_and_the_rest_is_dropped():
    relay = ObserveRelay(mask_key)
    take(relay.client_data, message(STDIN, b"rm", KEY) + message(RESIZE, b"{}", KEY) + frames.frame(9, b"p", KEY))
    assert sent(relay.to_client) == [(frames.PONG, b"p")]
    assert relay.to_upstream == []
    assert not relay.keystroke
    take(relay.client_data, close(1000, key=KEY))
    assert relay.ending is Ending.CLIENT_LEFT


def test_nobody_asks_the_session_whether_it_is_there():
    relay = ObserveRelay(mask_key)
    idle = Health(unread=False, unsent=False, unanswered=False)
    relay.tick(Health(unread=True, unsent=True, unanswered=False), idle)
    for _ in range(9):
        relay.tick(Health(unread=True, unsent=True, unanswered=False), idle)
    assert relay.to_upstream == []
    assert relay.phase is Phase.RELAYING
    assert relay.status_overdue() is None


def splitter():
    return MessageSplitter(masked=True, framing=Framing.PEER)


def taken(split, block, data):
    carry = split.carry
    end = HEADROOM + len(carry) + len(data)
    block.buf[HEADROOM:end] = carry + data
    return b"".join(split.take(block, HEADROOM, end))


@pytest.mark.parametrize("size", [1, 200, 60_000])
def test_what_a_peer_types_goes_on_message_by_message(size):
    whole = message(STDIN, b"x" * size, KEY)
    split, block = splitter(), Block(1 << 18)
    for cut in (1, len(whole) // 2, len(whole) - 1):
        assert taken(split, block, whole[:cut]) == b""
        assert not split.midway
        assert taken(split, block, whole[cut:]) == whole


def test_the_client_s_own_go_on_as_they_come():
    whole = message(STDIN, b"x" * 60_000, KEY)
    split, block = MessageSplitter(masked=True), Block(1 << 18)
    assert taken(split, block, whole[:30_000])
    assert split.midway
    taken(split, block, whole[30_000:])
    assert not split.midway


def test_a_peer_s_message_in_fragments_is_put_together():
    parts = (b"\0a", b"b", b"c")
    split, block = splitter(), Block(1 << 18)
    out = b""
    for number, part in enumerate(parts):
        head = frames.header(frames.CONTINUATION if number else frames.BINARY, len(part), KEY, fin=number == 2)
        out += taken(split, block, head + frames.mask(part, KEY))
    assert stdin_of(out, 99)[0] == b"abc"


def test_a_peer_s_message_has_a_bound():
    split, block = splitter(), Block(1 << 18)
    assert taken(split, block, frames.header(frames.BINARY, 70_000, KEY) + b"\x11" * 9) == b""
    assert split.events == [Violation(1009, "a message on channel 0 is longer than 65535 bytes")]


def test_of_a_peer_s_messages_what_it_types_counts():
    said = [
        message(STDIN, b"l", KEY),
        frames.frame(frames.PONG, b"x", KEY),
        message(RESIZE, b'{"Width":1,"Height":1}', KEY),
        message(CLOSE, b"\0", KEY),
        frames.frame(frames.BINARY, b"", KEY),
        message(STDIN, b"s", KEY),
    ]
    assert stdin_of(b"".join(said), 99) == (b"ls", sum(map(len, said)))


def test_it_is_taken_in_portions_of_whole_messages():
    one = message(STDIN, b"x" * 59, KEY)
    assert stdin_of(one * 3, 130) == (b"x" * 118, 2 * len(one))
    assert stdin_of(one * 3, 10) == (b"x" * 59, len(one))
    assert stdin_of(one * 200, 1 << 20) == (b"x" * 59 * 128, 128 * len(one))
    assert PeerRelay(mask_key).phase is Phase.RELAYING


def test_the_client_s_size_is_the_last_that_it_told():
    sizes = [message(RESIZE, b'{"Width":%d,"Height":24}' % width, KEY) for width in (80, 81)]
    keys = message(STDIN, b"ls\r", KEY)
    assert resize(keys + sizes[0] + keys + sizes[1] + frames.frame(frames.PING, b"x", KEY), 64) == (81, 24)
    assert resize(sizes[0] + message(RESIZE, b"nonsense", KEY), 64) == (80, 24)
    assert resize(keys * 9 + sizes[0], 9) is None
    assert resize(message(RESIZE, b'{"width":5,"HEIGHT":6}', KEY), 64) == (5, 6)


@pytest.mark.parametrize("length", [0, 1, 2, 125, 126, 65535, 65536])
def test_the_size_is_found_behind_messages_of_each_form_of_length(length):
    before = frames.frame(frames.BINARY, bytes(length), b"\1\2\3\4")
    size = message(RESIZE, b'{"Width":80,"Height":24}', KEY)
    assert resize(memoryview(before + before + size + before), 64) == (80, 24)
    assert (
        resize(memoryview(before + frames.frame(frames.PING, b'\4{"Width":80,"Height":24}', KEY) + before), 64) is None
    )
    # A key may make any channel look like that of a size.
    assert resize(frames.frame(frames.BINARY, b"\0" * 40, b"\4\4\4\4"), 64) is None
