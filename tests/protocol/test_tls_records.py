"""TLS records, counted and bounded before OpenSSL has them."""

from __future__ import annotations

import contextlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_ws_proxy.wire.framing.tls_records import (
    MAX_HANDSHAKE,
    MAX_HELLO,
    MAX_RECORDS,
    HandshakeRecords,
    HandshakeRefused,
    RecordCounter,
)


def record(content, kind=22):
    return bytes((kind, 3, 1)) + len(content).to_bytes(2, "big") + content


def hello(size):
    """The beginning of a ClientHello that says it has ``size`` bytes."""
    return b"\x01" + size.to_bytes(3, "big")


def taken(records, wire):
    """What is read of ``wire``, as long as it is let."""
    pos = 0
    while pos < len(wire):
        data = wire[pos : pos + records.want]
        records.take(data)
        pos += len(data)


def test_a_client_hello_is_taken():
    out = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname="proxy")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    records = HandshakeRecords()
    taken(records, out.read())
    assert (records.records, records.want) == (1, 5)


@pytest.mark.parametrize("step", [1, 2, 3, 1000])
def test_nothing_of_the_next_record_is_wanted(step):
    wire, records, pos, ends = record(hello(2000)) + record(b"x" * 700), HandshakeRecords(), 0, []
    while pos < len(wire):
        data = wire[pos : pos + min(step, records.want)]
        records.take(data)
        pos += len(data)
        if records.want == 5 and not records._left:
            ends.append(pos)
    assert ends == [9, len(wire)]


@pytest.mark.parametrize("cut", range(1, 4))
def test_a_hello_that_announces_too_much_is_refused_as_soon_as_it_says_so(cut):
    """OpenSSL would make room for it at once."""
    records = HandshakeRecords()
    wire = record(hello(MAX_HELLO + 1)[:cut]) + record(hello(MAX_HELLO + 1)[cut:])
    with pytest.raises(HandshakeRefused, match="first message"):
        taken(records, wire)
    taken(HandshakeRecords(), record(hello(MAX_HELLO)))


def test_what_is_no_handshake_is_refused():
    with pytest.raises(HandshakeRefused, match="doesn't begin"):
        taken(HandshakeRecords(), b"GET / HTTP/1.1\r\n")


def test_a_record_that_is_too_long_is_refused():
    with pytest.raises(HandshakeRefused, match="longer than TLS allows"):
        taken(HandshakeRecords(), b"\x16\x03\x01\xff\xff")


@pytest.mark.parametrize(("size", "count"), [(1, MAX_RECORDS + 1), (16_384, MAX_HANDSHAKE // 16_384)])
def test_a_handshake_has_so_many_records_and_bytes_and_no_more(size, count):
    first = record(hello(1000))
    taken(records := HandshakeRecords(), first + record(b"x" * size) * (count - 2))
    with pytest.raises(HandshakeRefused, match="the handshake has over"):
        taken(records, record(b"x" * size) * 2)


@given(
    sizes=st.lists(st.integers(0, 300), max_size=30),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=10),
)
def test_records_are_counted_wherever_they_are_cut(sizes, cuts):
    wire = memoryview(b"".join(record(bytes(size), 23) for size in sizes))
    counter, pos, begun, turn = RecordCounter(), 0, 0, 0
    while pos < len(wire):
        part = wire[pos : pos + cuts[turn % len(cuts)]]
        begun += counter.count(part)
        pos += len(part)
        turn += 1
    assert begun == len(sizes)


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused(data):
    with contextlib.suppress(HandshakeRefused):
        taken(HandshakeRecords(), data)


def test_a_cipher_that_is_changed_again_and_again_is_refused():
    """OpenSSL drops each but the first without a word, in the middle of a handshake: any number of them."""
    records = HandshakeRecords()
    taken(records, record(hello(1000)) + record(b"\x01", 20) * 2)
    with pytest.raises(HandshakeRefused, match="again and again"):
        taken(records, record(b"\x01", 20))


def test_a_record_is_told_as_one_when_it_is_there():
    records = HandshakeRecords()
    assert records.between
    for byte in record(hello(1000)):
        records.take(bytes((byte,)))
        last = records.between
    assert last
