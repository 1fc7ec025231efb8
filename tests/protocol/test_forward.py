"""A port-forward's behaviour, script by script: bytes both ways, and each way it ends."""

from __future__ import annotations

from functools import partial

import pytest
from support.framing import BINARY, CONT, KEY, PING, PONG, Frame, client, closing, server, text
from support.script import FINE, Session, close, told

from k8s_ws_proxy.wire.framing.channels import STDOUT
from k8s_ws_proxy.wire.rules.forward import ForwardRelay
from k8s_ws_proxy.wire.rules.lifetime import Lifetime, Limits
from k8s_ws_proxy.wire.rules.liveness import Health
from k8s_ws_proxy.wire.rules.relay import Ending, Phase

PORTS, TUNNEL = (8080, 443), ()
BOTH = pytest.mark.parametrize("ports", [PORTS, TUNNEL], ids=["ports", "tunnel"])
BEGIN = server(0, b"\x90\x1f") + server(1, b"\x90\x1f") + server(2, b"\xbb\x01") + server(3, b"\xbb\x01")


def opened(ports=PORTS):
    return Session(partial(ForwardRelay, ports=ports))


@BOTH
def test_bytes_pass_both_ways_unchanged(ports):
    session = opened(ports).upstream(BEGIN).client(sent := client(0, b"GET /") + client(2, b"\x16\x03"))
    session.upstream(answer := server(0, b"HTTP/1.1 200") + server(3, b"connection refused"))
    assert text(session.to_client()) == BEGIN + answer
    assert text(session.to_upstream()) == sent
    assert session.relay.phase is Phase.RELAYING


@BOTH
def test_what_would_be_a_status_or_a_resize_elsewhere_is_neither(ports):
    session = opened(ports).upstream(status := server(3, b'{"status":"Success"}')).client(resize := client(4, b"{"))
    assert text(session.to_client()) == status
    assert text(session.to_upstream()) == resize
    assert not session.relay.status_seen
    assert session.end == (None, None, None)


@BOTH
def test_nobody_types_into_a_port(ports):
    assert not opened(ports).client(client(0, b"x")).relay.keystroke


def test_fragments_reach_the_apiserver_as_whole_messages():
    fragments = Frame(BINARY, b"\x00ab", False, KEY).encode() + Frame(CONT, b"cd", key=KEY).encode()
    assert told(opened().client(fragments).to_upstream()) == [(BINARY, b"\x00ab"), (BINARY, b"\x00cd")]
    assert told(opened(TUNNEL).client(fragments).to_upstream()) == [(BINARY, b"\x00ab"), (BINARY, b"cd")]


@BOTH
@pytest.mark.parametrize("code", [1000, None])
def test_upstream_closes_in_order(ports, code):
    session = opened(ports).upstream(server(0, b"bye"), closing(code))
    assert told(session.to_client()) == [(BINARY, b"\x00bye"), close(1000)]
    assert told(session.to_upstream()) == [close(1000)]
    assert session.end == (Ending.FORWARD_ENDED, 1000, None)


@BOTH
@pytest.mark.parametrize("code", [1001, 1011, 4000])
def test_upstream_closes_for_another_reason(ports, code):
    session = opened(ports).upstream(closing(code, "going away"))
    assert told(session.to_client()) == [close(1011, "The connection to the apiserver was lost.")]
    assert session.end == (Ending.UPSTREAM_LOST, 1011, None)


@BOTH
def test_upstream_is_lost(ports):
    session = opened(ports).upstream(BEGIN, server(0, b"half of it")[:7]).do("upstream_end")
    frames = told(session.to_client())
    assert frames[-2:] == [(BINARY, b"\x00half"), close(1011, "The connection to the apiserver was lost.")]
    assert session.end == (Ending.UPSTREAM_LOST, 1011, None)


@BOTH
def test_upstream_falls_silent(ports):
    session = opened(ports).tick(upstream=FINE, client=Health(unsent=True))
    assert [frame.opcode for frame in session.to_upstream()] == [PING]
    session.tick(upstream=FINE, client=Health(unsent=True))
    (frame,) = session.to_client()
    assert frame.payload[:2] == (1011).to_bytes(2, "big")
    assert session.end == (Ending.UPSTREAM_SILENT, 1011, None)


@BOTH
def test_upstream_breaks_the_protocol(ports):
    session = opened(ports).upstream(b"\xff\xff")
    (frame,) = session.to_client()
    assert frame.payload[:2] == (1011).to_bytes(2, "big")
    assert session.end == (Ending.UPSTREAM_BROKE_PROTOCOL, 1011, None)


@BOTH
def test_the_client_leaves(ports):
    session = opened(ports).client(closing(1000, key=KEY))
    assert told(session.to_upstream()) == [close(1000)]
    assert session.end == (Ending.CLIENT_LEFT, 1000, None)
    session = opened(ports).do("client_end")
    assert told(session.to_upstream()) == [close(1001)]


@BOTH
def test_pings_are_answered_hop_by_hop(ports):
    session = opened(ports).client(Frame(PING, b"c", key=KEY).encode()).upstream(Frame(PING, b"u").encode())
    assert told(session.to_client()) == [(PONG, b"c")]
    assert told(session.to_upstream()) == [(PONG, b"u")]


@BOTH
def test_the_daemon_goes_down(ports):
    session = opened(ports).upstream(BEGIN).do("drain", b"a line\r\n", 1, "the proxy is shutting down")
    assert told(session.to_client())[-1:] == [close(1001, "the proxy is shutting down")]
    assert session.end == (Ending.DRAINED, 1001, None)
    assert told(session.do("drain", b"", 1, "").to_client()) == []


def test_a_failed_dial_is_told_on_the_error_channel_of_each_port():
    session = opened().do("fail", b'{"status":"Failure"}', 'pods "nope" not found')
    assert told(session.to_client()) == [
        (BINARY, b"\x01\x90\x1f"),
        (BINARY, b'\x01pods "nope" not found'),
        (BINARY, b"\x03\xbb\x01"),
        (BINARY, b'\x03pods "nope" not found'),
        close(1011, 'pods "nope" not found'),
    ]
    assert session.end == (Ending.UPSTREAM_FAILED, 1011, None)


def test_a_failed_dial_of_one_port_is_told_on_channel_3_too():
    session = opened((8080,)).do("fail", b'{"status":"Failure"}', 'pods "nope" not found')
    assert told(session.to_client()) == [
        (BINARY, b"\x01\x90\x1f"),
        (BINARY, b'\x01pods "nope" not found'),
        (BINARY, b'\x03{"status":"Failure"}'),
        close(1011, 'pods "nope" not found'),
    ]


def test_a_tunnel_tells_a_failed_dial_by_its_close_alone():
    session = opened(TUNNEL).do("fail", b'{"status":"Failure"}', 'pods "nope" not found')
    assert told(session.to_client()) == [close(1011, 'pods "nope" not found')]


@BOTH
def test_a_limit_is_told_by_the_close_alone(ports):
    session = opened(ports)
    session.relay.limit(Lifetime(Limits(duration=900), 0.0), STDOUT)
    assert session.do("look_at_age", 840).to_client() == []
    reason = "the session has lasted 900 s, as long as one may"
    assert told(session.do("look_at_age", 900).to_client()) == [close(1008, reason)]
    assert session.end == (Ending.MAX_DURATION, 1008, None)
