"""The bodies of the session API."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.wire.requests.issue import Order, parse_join, parse_order
from k8s_ws_proxy.wire.requests.target import parse_path, parse_target

WHERE = {"subresource": "exec", "namespace": "default", "pod": "web"}


def body(**fields):
    return json.dumps({**WHERE, **fields}).encode()


def refused(parse, data):
    with pytest.raises(Refusal) as raised:
        parse(data)
    assert raised.value.reason is Reason.BAD_BODY
    return str(raised.value)


@pytest.mark.parametrize(
    ("fields", "target"),
    [
        ({}, "/proxy/exec/default/web"),
        ({"container": "app"}, "/proxy/exec/default/web/app"),
        ({"container": ""}, "/proxy/exec/default/web"),
        ({"subresource": "log", "container": ""}, "/proxy/logs/default/web"),
        (
            {"command": ["sh", "-c", "echo a&b é"]},
            "/proxy/exec/default/web?command=sh&command=-c&command=echo%20a%26b%20%C3%A9",
        ),
        ({"tty": False, "stdin": False}, "/proxy/exec/default/web?tty=false&stdin=false"),
        ({"tty": True}, "/proxy/exec/default/web?tty=true"),
        ({"subresource": "attach", "tty": True}, "/proxy/attach/default/web?tty=true"),
        ({"subresource": "log"}, "/proxy/logs/default/web"),
        ({"namespace": "a/b"}, "/proxy/exec/a%2Fb/web"),
        ({"pod": "../.."}, "/proxy/exec/default/..%2F.."),
    ],
)
def test_it_is_the_path_that_would_open_it(fields, target):
    assert parse_order(body(**fields)) == Order(target, record=False, expires_in=60)


def test_for_how_long():
    assert parse_order(body(expiresIn=1, record=True)) == Order("/proxy/exec/default/web", record=True, expires_in=1)
    assert parse_order(body(expiresIn=600)).expires_in == 600


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "JSON"),
        (b"[]", "object"),
        (b"null", "object"),
        (b"\xff", "UTF-8"),
        (b"[" * 60_000, "JSON"),
        (b'{"pod":"a","pod":"b"}', "once"),
        (b"{}", "subresource is missing"),
        (json.dumps({"subresource": "exec", "namespace": "a"}).encode(), "pod is missing"),
        (body(subresource="portforward"), "exec, attach, log"),
        (body(subresource="EXEC"), "exec, attach, log"),
        (body(image="x"), "no field 'image'"),
        (body(command="sh"), "a list of strings"),
        (body(command=[]), "a list of strings"),
        (body(command=[1]), "a list of strings"),
        (body(subresource="attach", command=["sh"]), "not for attach"),
        (body(subresource="log", tty=True), "not for log"),
        (body(subresource="log", stdin=True), "not for log"),
        (body(tty="true"), "true or false"),
        (body(tty=1), "true or false"),
        (body(tty=None), "true or false"),
        (body(expiresIn=0), "from 1 to 600"),
        (body(expiresIn=601), "from 1 to 600"),
        (body(expiresIn=True), "from 1 to 600"),
        (body(expiresIn=1.5), "from 1 to 600"),
        (body(pod="\ud800"), "a string"),
        (body(pod=None), "a string"),
    ],
)
def test_what_cannot_be_taken_is_told(data, words):
    assert words in refused(parse_order, data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_whatever_stands_there_is_an_order_or_told(value):
    for fields in ({"command": value}, {"container": value}, {"expiresIn": value}, {"tty": value}):
        outcomes = set()
        try:
            order = parse_order(json.dumps({**WHERE, **fields}).encode())
            parse_target(parse_path(order.target), order.target)
        except Refusal as refusal:
            outcomes = {refusal.reason}
        assert outcomes <= {Reason.BAD_BODY, Reason.BAD_PATH, Reason.BAD_QUERY}


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1, max_size=8))
def test_any_command_arrives_as_it_is(command):
    target = parse_order(body(command=command)).target
    assert parse_target(parse_path(target), target).command == tuple(command)


def test_joining():
    assert parse_join(b'{"mode": "observe"}') == ("observe", 60)
    assert parse_join(b'{"mode": "peer", "expiresIn": 5}') == ("peer", 5)
    for data in (b"{}", b'{"mode": "owner"}', b'{"mode": "peer", "x": 1}', b'{"mode": 1}'):
        refused(parse_join, data)
