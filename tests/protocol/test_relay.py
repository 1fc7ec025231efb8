"""A session's behaviour, script by script: what each side is told, in which order, whatever comes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.framing import (
    BINARY,
    CLOSE,
    CONT,
    KEY,
    PING,
    PONG,
    Frame,
    client,
    closing,
    cut_at,
    server,
    text,
)
from support.script import Session, close, told

from k8s_ws_proxy.wire.framing.channels import STDERR, STDOUT, failure
from k8s_ws_proxy.wire.framing.splitter import MESSAGE_LIMIT, Status
from k8s_ws_proxy.wire.rules.lifetime import Lifetime, Limits
from k8s_ws_proxy.wire.rules.liveness import BUSY, Health
from k8s_ws_proxy.wire.rules.relay import KEYSTROKES, MOST_PONGS, PING_PAYLOAD, Ending, Phase

SUCCESS = b'{"metadata":{},"status":"Success"}'
EXIT_3 = b'{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}'


def made_up(frames):
    """The Failure that stands before the close, and the close's code and reason."""
    status, closed = frames[-2:]
    assert status.payload[:1] == b"\x03"
    assert closed.opcode == CLOSE
    parsed = json.loads(status.payload[1:])
    assert parsed["status"] == "Failure"
    assert parsed["message"]
    return parsed, int.from_bytes(closed.payload[:2], "big"), closed.payload[2:].decode()


def test_bytes_pass_both_ways_unchanged():
    session = Session()
    session.client(typed := client(0, b"ls\n") + client(4, b'{"Width":80,"Height":24}'))
    session.upstream(shown := server(1, b"") + server(1, b"file\n") + server(2, b"oh\n"))
    assert text(session.to_upstream()) == typed
    assert text(session.to_client()) == shown
    assert session.relay.phase is Phase.RELAYING
    assert session.end == (None, None, None)


def test_the_end_of_stdin_passes():
    session = Session().client(client(0, b"all"), client(255, b"\x00"))
    assert told(session.to_upstream()) == [(BINARY, b"\x00all"), (BINARY, b"\xff\x00")]


def test_a_paste_in_fragments_reaches_upstream_as_whole_messages():
    paste = bytes(i % 251 for i in range(1 << 20))
    edges = list(range(0, len(paste), 32_000))
    frames = [
        Frame(CONT if n else BINARY, (b"" if n else b"\x00") + paste[start : start + 32_000], n == len(edges) - 1, KEY)
        for n, start in enumerate(edges)
    ]
    session = Session().client(text(frames))
    sent = session.to_upstream()
    assert all(frame.fin and frame.opcode == BINARY and frame.payload[0] == 0 for frame in sent)
    assert b"".join(frame.payload[1:] for frame in sent) == paste


LARGE = client(0, b"x" * 70_000)


@pytest.mark.parametrize(
    ("parts", "typed"),
    [
        pytest.param([client(0, b"l")], True, id="a key"),
        pytest.param([client(0, b"l") + client(0, b"s")], True, id="two keys"),
        pytest.param([client(4, b"{}")], True, id="a resize"),
        pytest.param([client(0, b"x" * (KEYSTROKES - 9))], True, id="as much as may be typed"),
        pytest.param([client(0, b"x" * (KEYSTROKES - 8))], False, id="more than is typed"),
        pytest.param([LARGE], False, id="a paste"),
        pytest.param([LARGE[:-9], LARGE[-9:]], False, id="the end of a paste"),
        pytest.param([LARGE[:9]], False, id="the beginning of a paste"),
        pytest.param([LARGE, client(0, b"l")], True, id="a key after a paste"),
        pytest.param([client(0, b"l"), LARGE], False, id="a paste after a key"),
        pytest.param([client(0, b"l")[:4]], False, id="half a key"),
        pytest.param([Frame(BINARY, b"\x00l", fin=False, key=KEY).encode()], False, id="a fragment"),
        pytest.param([Frame(PONG, b"", key=KEY).encode()], False, id="a pong"),
    ],
)
def test_what_counts_as_typing(parts, typed):
    assert Session().client(*parts).relay.keystroke is typed


@pytest.mark.parametrize(
    ("status", "exit_code"), [(SUCCESS, 0), (EXIT_3, 3), (failure("x", reason="r", code=500), None)]
)
def test_output_status_close_in_this_order(status, exit_code):
    session = Session()
    last = server(1, b"out") + server(2, b"err") + server(1, b"last") + server(3, status)
    session.upstream(last + closing(1000))
    frames = session.to_client()
    assert text(frames) == last + closing(1000)
    assert session.end == (Ending.COMMAND_ENDED, 1000, exit_code)
    assert told(session.to_upstream()) == [close(1000)]


def test_the_same_however_it_is_cut():
    stream = server(1, b"out" * 60) + server(3, EXIT_3) + closing(1000)
    for offset in range(1, len(stream)):
        session = Session().upstream(*cut_at(stream, [offset]))
        frames = session.to_client()
        assert b"".join(frame.payload[1:] for frame in frames[:-2]) == b"out" * 60
        assert told(frames[-2:]) == [(BINARY, b"\x03" + EXIT_3), close(1000)]
        assert session.end == (Ending.COMMAND_ENDED, 1000, 3)


def test_a_status_alone_does_not_end_it():
    session = Session().upstream(server(3, SUCCESS), server(1, b"more"))
    assert session.relay.phase is Phase.RELAYING
    assert session.relay.status_seen
    assert told(session.to_client()) == [(BINARY, b"\x03" + SUCCESS), (BINARY, b"\x01more")]


@pytest.mark.parametrize(
    ("how", "code"),
    [
        (lambda session: session.do("upstream_end"), 1000),
        (lambda session: session.do("status_overdue"), 1000),
        (lambda session: session.upstream(closing()), 1000),
        (lambda session: session.upstream(closing(1000)), 1000),
        (lambda session: session.upstream(closing(1001)), 1001),
    ],
    ids=["end", "overdue", "close without a code", "close 1000", "close 1001"],
)
def test_after_the_status_any_end_is_the_commands(how, code):
    session = how(Session().upstream(server(1, b"x") + server(3, EXIT_3)))
    assert told(session.to_client()) == [(BINARY, b"\x01x"), (BINARY, b"\x03" + EXIT_3), close(code)]
    assert session.end == (Ending.COMMAND_ENDED, code, 3)


@pytest.mark.parametrize("code", [None, 1000, 1001, 1011], ids=str)
def test_a_close_without_a_status_is_a_failure_never_a_success(code):
    session = Session().upstream(server(1, b"half") + closing(code))
    frames = session.to_client()
    assert frames[0].payload == b"\x01half"
    status, closed, reason = made_up(frames)
    assert len(frames) == 3
    assert (status["reason"], status["code"], closed) == ("InternalError", 500, 1011)
    assert reason == "The apiserver closed the connection without an exit status."
    assert session.end == (Ending.UPSTREAM_LOST, 1011, None)
    assert told(session.to_upstream()) == [close(1001)]


def test_an_end_at_every_byte():
    stream = server(1, b"a" * 130) + Frame(PING, b"now").encode() + server(2, b"err") + server(3, SUCCESS)
    end_of_status = len(stream)
    stream += closing(1000, "done")
    for offset in range(len(stream)):
        session = Session().upstream(stream[:offset]).do("upstream_end")
        frames = [frame for frame in session.to_client() if frame.opcode not in (PING, PONG)]
        if offset < end_of_status:
            _, code, _ = made_up(frames)
            assert (session.relay.ending, code) == (Ending.UPSTREAM_LOST, 1011)
            assert [frame for frame in frames if frame.payload[1:] == SUCCESS] == []
        else:
            assert told(frames[-2:]) == [(BINARY, b"\x03" + SUCCESS), close(1000)]
            assert session.relay.ending is Ending.COMMAND_ENDED
        out = b"".join(frame.payload[1:] for frame in frames if frame.payload[:1] == b"\x01")
        assert out == b"a" * min(130, max(0, offset - 5))  # two bytes more of header, one of channel
        assert session.relay.phase is Phase.CLOSING


def test_the_last_bytes_of_a_message_that_stays_half_are_told():
    session = Session().upstream(server(1, b"prompt> ")[:-2]).do("upstream_end")
    frames = session.to_client()
    assert frames[0].payload == b"\x01prompt"
    assert made_up(frames)[1] == 1011


@pytest.mark.parametrize("status", [b"", b"plain text", b"[]", b"{", b"\xff\xfe", b'{"status":5}'])
def test_a_status_that_cannot_be_read_passes_untouched_and_ends_well(status):
    session = Session().upstream(server(3, status) + closing(1000))
    assert told(session.to_client()) == [(BINARY, b"\x03" + status), close(1000)]
    assert session.end == (Ending.COMMAND_ENDED, 1000, None)


@pytest.mark.parametrize(
    "bad",
    [b"\x83\x00", b"\xc2\x00", b"\x82\x80", b"\x80\x01x", b"\x88\x01\x03", b"\x82\x7e\x00\x01x"],
    ids=["opcode", "reserved bit", "masked", "continuation", "half a code", "length"],
)
@pytest.mark.parametrize("status", [None, SUCCESS], ids=["before its status", "after its status"])
def test_an_apiserver_that_breaks_the_protocol(bad, status):
    stream = server(1, b"good") + (server(3, status) if status else b"")
    session = Session().upstream(stream + bad)
    frames = session.to_client()
    assert text(frames).startswith(stream)
    if status is None:
        parsed, code, _ = made_up(frames)
        assert "broke the WebSocket protocol" in parsed["message"]
        assert code == 1011
    else:
        assert told(frames[2:])[0][0] == CLOSE
        assert len(frames) == 3
    assert session.relay.ending is Ending.UPSTREAM_BROKE_PROTOCOL
    assert session.relay.close_code == 1011


@pytest.mark.parametrize(
    ("payload", "code", "upstream_code"),
    [(b"", None, 1001), (b"\x03\xe8", 1000, 1000), (b"\x03\xe9bye", 1001, 1001), (b"\x0f\xa0own", 4000, 4000)],
)
def test_a_clients_close_is_echoed_and_closes_upstream(payload, code, upstream_code):
    session = Session().client(client(0, b"last") + Frame(CLOSE, payload, key=KEY).encode() + client(0, b"late"))
    assert told(session.to_client()) == [(CLOSE, payload)]
    assert told(session.to_upstream()) == [(BINARY, b"\x00last"), close(upstream_code)]
    assert session.end == (Ending.CLIENT_LEFT, code, None)


def test_a_client_that_vanishes_at_every_byte():
    stream = client(0, b"typed") + client(4, b"{}") + client(0, b"x" * 200)
    for offset in range(len(stream) + 1):
        session = Session().client(stream[:offset]).do("client_end")
        frames = session.to_upstream()
        assert told(frames[-1:]) == [close(1001)]
        assert session.end == (Ending.CLIENT_LEFT, None, None)
        assert all(frame.fin for frame in frames)


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (b"\x82\x02\x00a", 1002),
        (b"\xc2\x82" + KEY + b"\x00a", 1002),
        (b"\x83\x80" + KEY, 1002),
        (b"\x09\x80" + KEY, 1002),
        (b"\x89\xfe\x00\x7e" + KEY + bytes(126), 1002),
        (b"\x82\xfe\x00\x01" + KEY + b"x", 1002),
        (b"\x80\x81" + KEY + b"x", 1002),
        (closing(1005, key=KEY), 1002),
        (Frame(CLOSE, b"\x03\xe8\xff", key=KEY).encode(), 1007),
        (b"\x82\xff" + (MESSAGE_LIMIT + 1).to_bytes(8, "big") + KEY + b"x", 1009),
        (client(4, b" " * 70_000), 1009),
    ],
    ids=[
        "unmasked",
        "reserved bit",
        "opcode",
        "fragmented ping",
        "long ping",
        "length",
        "continuation",
        "close code",
        "close reason",
        "too big",
        "resize too big",
    ],
)
def test_a_client_that_breaks_the_protocol(bad, code):
    session = Session().client(client(0, b"good") + bad + client(0, b"late"))
    (closed,) = session.to_client()
    assert closed.opcode == CLOSE
    assert int.from_bytes(closed.payload[:2], "big") == code
    assert len(closed.payload) > 2, "it is told why"
    assert told(session.to_upstream()) == [(BINARY, b"\x00good"), close(1001)]
    assert session.end == (Ending.CLIENT_BROKE_PROTOCOL, code, None)


def test_a_fragmented_message_over_the_limit():
    session = Session().client(Frame(BINARY, b"\x00" + b"x" * 999, fin=False, key=KEY).encode())
    session.client(b"\x80\xff" + (MESSAGE_LIMIT - 999).to_bytes(8, "big") + KEY + b"x")
    assert session.end == (Ending.CLIENT_BROKE_PROTOCOL, 1009, None)


def test_pings_are_answered_hop_by_hop_and_pongs_go_nowhere():
    session = Session()
    session.client(Frame(PING, b"from client", key=KEY).encode() + Frame(PONG, b"stray", key=KEY).encode())
    assert told(session.to_client()) == [(PONG, b"from client")]
    assert session.to_upstream() == []
    session.upstream(Frame(PING, b"from upstream").encode() + Frame(PONG, b"stray").encode())
    assert told(session.to_upstream()) == [(PONG, b"from upstream")]
    assert session.to_client() == []


def test_of_a_flood_of_pings_the_most_recent_are_answered():
    flood = b"".join(Frame(PING, b"%d" % n, key=KEY).encode() for n in range(100))
    session = Session().client(flood)
    assert told(session.to_client()) == [(PONG, b"%d" % n) for n in range(100 - MOST_PONGS, 100)]
    flood = b"".join(Frame(PING, b"%d" % n).encode() for n in range(100))
    session.upstream(flood)
    assert told(session.to_upstream()) == [(PONG, b"%d" % n) for n in range(100 - MOST_PONGS, 100)]
    assert MOST_PONGS == 16


def test_a_ping_before_the_close_is_answered_before_it():
    session = Session().client(Frame(PING, b"p", key=KEY).encode() + closing(1000, key=KEY))
    assert told(session.to_client()) == [(PONG, b"p"), close(1000)]


def test_a_ping_between_the_fragments_and_in_the_middle_of_a_cut_message():
    long = server(1, b"x" * 1000)
    session = Session().upstream(long[:300]).tick()
    frames = session.to_client()
    assert told(frames[-1:]) == [(PING, PING_PAYLOAD)]
    session.upstream(long[300:])
    frames += session.to_client()
    assert b"".join(frame.payload[1:] for frame in frames if frame.opcode == BINARY) == b"x" * 1000


def test_our_frames_to_upstream_are_masked_each_under_a_key_of_its_own():
    session = Session().tick().upstream(Frame(PING, b"a").encode()).client(closing(1000, key=KEY))
    keys = [frame.key for frame in session.to_upstream()]
    assert len(keys) == 3
    assert len(set(keys)) == 3
    assert b"\0\0\0\0" not in keys


def test_a_tick_pings_both_legs():
    session = Session().tick()
    assert told(session.to_client()) == told(session.to_upstream()) == [(PING, PING_PAYLOAD)]


def answer_client(session):
    return session.client(Frame(PONG, PING_PAYLOAD, key=KEY).encode())


def answer_upstream(session):
    return session.upstream(Frame(PONG, PING_PAYLOAD).encode())


def test_sessions_whose_peers_answer_live_on():
    session = Session()
    for _ in range(100):
        answer_upstream(answer_client(session.tick()))
    assert session.relay.phase is Phase.RELAYING


def test_a_client_that_answers_nothing_is_dead_within_two_ticks():
    session = answer_upstream(Session().tick()).tick()
    assert session.end == (Ending.CLIENT_SILENT, 1001, None)
    assert told(session.to_client())[-1] == close(1001, "no answer to a ping")
    assert told(session.to_upstream())[-1] == close(1001)


def test_an_upstream_that_answers_nothing_is_dead_within_two_ticks():
    session = answer_client(Session().tick()).tick()
    assert session.end == (Ending.UPSTREAM_SILENT, 1011, None)
    parsed, code, _ = made_up(session.to_client())
    assert (parsed["code"], code) == (500, 1011)
    assert told(session.to_upstream())[-1] == close(1001)


def test_an_upstream_that_falls_silent_after_its_status_has_said_how_it_ended():
    session = answer_client(Session().upstream(server(3, SUCCESS)).tick()).tick()
    frames = session.to_client()
    assert [frame.payload for frame in frames if frame.payload[:1] == b"\x03" and frame.opcode == BINARY] == [
        b"\x03" + SUCCESS
    ]
    assert session.relay.exit_code == 0


@pytest.mark.parametrize(
    "byte", [b"\x82", client(0, b"x"), Frame(PONG, b"", key=KEY).encode()], ids=["one", "data", "pong"]
)
def test_any_byte_from_the_client_is_life(byte):
    session = answer_upstream(Session().tick().client(byte)).tick()
    assert session.relay.phase is Phase.RELAYING


def test_output_that_the_client_has_not_taken_holds_its_deadline_off():
    session = Session()
    for _ in range(10):
        answer_upstream(session.tick(client=Health(unsent=True)))
    assert session.relay.phase is Phase.RELAYING
    assert session.to_client() == []


def test_a_client_whose_kernel_acknowledges_nothing_is_dead():
    session = Session().tick(client=Health(unsent=True))
    answer_upstream(session).tick(client=Health(unsent=True, unanswered=True))
    assert session.relay.ending is Ending.CLIENT_SILENT


def test_a_flood_to_a_client_that_is_busy_with_it_is_no_reason_to_end():
    session = Session().tick()
    session.upstream(server(1, b"x" * BUSY)).tick()
    assert session.relay.phase is Phase.RELAYING
    answer_upstream(session).tick()
    assert session.relay.phase is Phase.RELAYING


def test_a_flood_to_an_upstream_that_is_busy_with_it_is_no_reason_to_end():
    session = Session().tick()
    session.client(client(0, b"x" * BUSY)).tick()
    assert session.relay.phase is Phase.RELAYING


@pytest.mark.parametrize("channel", [STDOUT, STDERR])
def test_a_drain_tells_the_person_the_program_and_the_client(channel):
    session = Session().upstream(server(1, b"$ ")).do("drain", b"going down\r\n", channel, "the node goes down")
    frames = session.to_client()
    parsed, code, reason = made_up(frames)
    assert told(frames[:2]) == [(BINARY, b"\x01$ "), (BINARY, bytes([channel]) + b"going down\r\n")]
    assert (parsed["reason"], parsed["code"], code, reason) == ("ServiceUnavailable", 503, 1001, "the node goes down")
    assert told(session.to_upstream()) == [close(1001)]
    assert session.end == (Ending.DRAINED, 1001, None)


def test_a_drain_after_the_status_adds_nothing_to_it():
    session = Session().upstream(server(3, EXIT_3)).do("drain", b"going down", STDOUT, "down")
    assert told(session.to_client()) == [(BINARY, b"\x03" + EXIT_3), close(1001, "down")]
    assert session.end == (Ending.DRAINED, 1001, 3)


def test_a_drain_in_the_middle_of_a_message_is_whole():
    session = Session().upstream(server(1, b"x" * 500)[:200]).do("drain", b"down", STDOUT, "down")
    frames = session.to_client()  # asserts that they are whole
    assert frames[-3].payload == b"\x01down"


def test_a_drain_after_the_end_does_nothing():
    session = Session().do("client_end")
    session.to_client()
    session.do("drain", b"down", STDOUT, "down")
    assert session.to_client() == []
    assert session.relay.ending is Ending.CLIENT_LEFT


def limited(channel=STDOUT, **limits):
    session = Session()
    session.relay.limit(Lifetime(Limits(**limits), 0.0), channel)
    return session


@pytest.mark.parametrize("channel", [STDOUT, STDERR])
@pytest.mark.parametrize(
    ("limits", "ending", "word"),
    [
        ({"idle": 900}, Ending.IDLE_TIMEOUT, "nothing has passed"),
        ({"duration": 900}, Ending.MAX_DURATION, "lasted"),
    ],
    ids=["idle", "duration"],
)
def test_a_limit_is_told_a_minute_before_then_on_channel_3_then_closed(limits, ending, word, channel):
    session = limited(channel, **limits).do("look_at_age", 830)
    assert session.to_client() == []
    (notice,) = session.do("look_at_age", 840).to_client()
    assert notice.payload.startswith(bytes((channel,)) + b"\r\nk8s-ws-proxy: ")
    assert b"60 s" in notice.payload
    assert session.relay.phase is Phase.RELAYING
    frames = session.do("look_at_age", 900).to_client()
    status, code, reason = made_up(frames)
    assert frames[0].payload == bytes((channel,)) + f"\r\nk8s-ws-proxy: {reason}.\r\n".encode()
    assert (status["reason"], status["code"], code) == ("Timeout", 504, 1008)
    assert word in reason
    assert session.end == (ending, 1008, None)
    assert told(session.to_upstream()) == [close(1001)]


ACTIVE = {
    "a key": lambda session: session.client(client(0, b"l")),
    "a resize": lambda session: session.client(client(4, b'{"Width":80,"Height":24}')),
    "a byte of output": lambda session: session.upstream(server(1, b"x")),
}
IDLE = {
    "nothing": lambda session: session,
    "pings of the client": lambda session: session.client(Frame(PING, b"there?", key=KEY).encode()),
    "pongs": lambda session: session.client(Frame(PONG, b"", key=KEY).encode()).upstream(Frame(PONG, b"").encode()),
    "an empty message of the client": lambda session: session.client(client(0, b"")),
    "an empty message of the apiserver": lambda session: session.upstream(server(1, b"")),
    "many of the client in one segment": lambda session: session.client(client(0, b"") * 9),
    "many of the apiserver in one segment": lambda session: session.upstream(server(1, b"") * 9),
    "messages without a channel": lambda session: session.client(Frame(BINARY, b"", True, b"abcd").encode() * 9),
    "our own pings and notices": lambda session: session.tick().do("look_at_age", 845),
}


@pytest.mark.parametrize("what", ACTIVE.values(), ids=ACTIVE)
def test_any_byte_either_way_keeps_an_idle_session(what):
    session = what(limited(idle=900).do("look_at_age", 840)).do("look_at_age", 900).do("look_at_age", 1700)
    assert session.relay.phase is Phase.RELAYING


@pytest.mark.parametrize("what", IDLE.values(), ids=IDLE)
def test_pings_do_not(what):
    session = what(limited(idle=900).do("look_at_age", 840)).do("look_at_age", 900)
    assert session.relay.ending is Ending.IDLE_TIMEOUT


def test_nothing_keeps_one_that_has_lasted_its_time():
    session = limited(duration=900).do("look_at_age", 840).client(client(0, b"l")).do("look_at_age", 900)
    assert session.relay.ending is Ending.MAX_DURATION


def test_a_limit_after_the_status_adds_nothing_to_it():
    session = limited(duration=900).upstream(server(3, EXIT_3)).do("look_at_age", 840)
    session.to_client()
    (closed,) = session.do("look_at_age", 900).to_client()
    assert closed.opcode == CLOSE
    assert session.end == (Ending.MAX_DURATION, 1008, 3)


def test_who_takes_nothing_after_its_end_has_its_time_too():
    """A paused terminal may read on as long as a session may last, and no longer."""
    session = limited(duration=900, idle=300).upstream(server(1, b"x") + server(3, SUCCESS) + closing(1000))
    session.to_client()
    assert [session.relay.look_at_age(now) for now in (60, 300, 360, 400)] == [False, False, True, True]
    assert session.relay.to_client == []
    assert session.relay.ending is Ending.COMMAND_ENDED


def test_without_a_limit_age_means_nothing():
    session = Session().do("look_at_age", 1e9)
    assert session.relay.phase is Phase.RELAYING
    assert session.to_client() == []


@pytest.mark.parametrize(("reason", "said"), [("forbidden", "forbidden"), ("é" * 100, "é" * 61)])
def test_a_dial_that_failed_is_told_on_channel_3_and_closed_with_1011(reason, said):
    status = failure("pods is forbidden", reason="Forbidden", code=403)
    session = Session().do("fail", status, reason)
    assert told(session.to_client()) == [(BINARY, b"\x03" + status), close(1011, said)]
    assert session.end == (Ending.UPSTREAM_FAILED, 1011, None)


ENDS = {
    "client close": lambda session: session.client(closing(1000, key=KEY)),
    "client end": lambda session: session.do("client_end"),
    "client violation": lambda session: session.client(b"\x82\x00"),
    "upstream close": lambda session: session.upstream(closing(1000)),
    "upstream end": lambda session: session.do("upstream_end"),
    "upstream violation": lambda session: session.upstream(b"\xf0\x00"),
    "silence": lambda session: session.tick().tick(),
    "drain": lambda session: session.do("drain", b"", STDOUT, ""),
    "fail": lambda session: session.do("fail", b"{}", ""),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_after_the_end_nothing_is_relayed_and_nothing_more_is_said(end):
    session = end(Session())
    assert session.relay.phase is Phase.CLOSING
    ending = session.end
    session.to_client()
    session.to_upstream()
    session.client(client(0, b"late"), closing(1000, key=KEY), b"\xff\xff").upstream(server(1, b"late"), b"\xff\xff")
    session.do("client_end").do("upstream_end").do("status_overdue").tick().tick().do("drain", b"x", STDOUT, "x")
    assert session.to_client() == session.to_upstream() == []
    assert session.end == ending


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_each_end_closes_both_sides_once(end):
    session = end(Session())
    assert [frame.opcode for frame in session.to_client()].count(CLOSE) == 1
    assert [frame.opcode for frame in session.to_upstream()].count(CLOSE) == 1


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_to_fail_after_the_end_is_an_error_of_the_caller(end):
    session = end(Session())
    with pytest.raises(AssertionError):
        session.relay.fail(b"{}", "too late")


def test_a_status_from_the_client_cannot_be():
    with pytest.raises(AssertionError):
        Session().relay._client_event(Status(b""))


def test_bytes_of_one_block_after_the_end_within_it_are_left():
    session = Session().upstream(server(3, SUCCESS) + closing(1000) + server(1, b"late"))
    assert told(session.to_client()) == [(BINARY, b"\x03" + SUCCESS), close(1000)]


STEPS = st.one_of(
    st.tuples(st.just("client"), st.sampled_from([client(0, b"x"), Frame(PING, b"p", key=KEY).encode(), b"\x82"])),
    st.tuples(st.just("client"), st.binary(min_size=1, max_size=40)),
    st.tuples(st.just("upstream"), st.sampled_from([server(1, b"x" * 200)[:150], server(3, SUCCESS), closing(1000)])),
    st.tuples(st.just("upstream"), st.binary(min_size=1, max_size=40)),
    st.tuples(st.just("do"), st.sampled_from(["client_end", "upstream_end", "status_overdue"])),
    st.tuples(st.just("tick"), st.builds(Health, st.booleans(), st.booleans()), st.builds(Health, st.booleans())),
    st.just(("do", "drain", b"down", STDOUT, "down")),
)


@given(st.lists(STEPS, max_size=15))
def test_whatever_happens_both_sides_get_whole_frames_and_one_end(steps):
    session, seen = Session(), []
    for name, *arguments in steps:
        if arguments == ["status_overdue"] and not session.relay.status_seen:
            continue
        getattr(session, name)(*arguments)
        seen += session.to_client()
        session.to_upstream()
        closes = [frame for frame in seen if frame.opcode == CLOSE]
        assert len(closes) == (session.relay.phase is Phase.CLOSING)
        assert (session.relay.ending is None) == (session.relay.phase is Phase.RELAYING)
    assert [frame.opcode for frame in seen[:-1]].count(CLOSE) == 0
    if session.relay.ending in (Ending.UPSTREAM_LOST, Ending.UPSTREAM_SILENT, Ending.UPSTREAM_BROKE_PROTOCOL):
        statuses = [frame.payload[1:] for frame in seen if frame.opcode == BINARY and frame.payload[:1] == b"\x03"]
        assert statuses
        assert session.relay.status_seen or json.loads(statuses[-1])["status"] == "Failure"
