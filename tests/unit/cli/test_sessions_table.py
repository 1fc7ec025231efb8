"""The table of sessions: the ages in it, what is shown of a session, and what counts as a change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_ws_proxy.cli.sessions_table import Changes, MalformedAnswer, Table, age, at_length, row_of, shortest, size
from k8s_ws_proxy.rfc3339 import rfc3339

NOW = 1_790_000_000.0
ID = "01995f3c-0000-7000-8000-{:012x}"


def told(number=1, **more):
    return {
        "sessionId": ID.format(number),
        "state": "open",
        "subresource": "exec",
        "namespace": "default",
        "pod": "web",
        "container": "web",
        "command": ["sh"],
        "tty": True,
        "node": "node-a",
        "caller": {"mode": "rfc9421", "name": "secret"},
        "user": "jane",
        "groups": ["ops"],
        "reason": "ticket 42",
        "peer": "10.0.0.1:4000",
        "started": rfc3339(NOW - 90),
        "bytesIn": 10,
        "bytesOut": 2048,
        "idleSeconds": 4.2,
        "watchers": [],
        "recordingPath": None,
        **more,
    }


def rows(*sessions, wide=False):
    return [row_of(session, wide=wide) for session in sessions]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-3, "0s"),
        (0.9, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (599, "9m59s"),
        (600, "10m"),
        (3 * 3600 - 1, "179m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"),
        (8 * 3600, "8h"),
        (48 * 3600 - 1, "47h"),
        (48 * 3600, "2d"),
        (50 * 3600, "2d2h"),
        (8 * 86400 + 3600, "8d"),
        (1000 * 86400, "1000d"),
    ],
)
def test_an_age_is_written_as_kubectl_does(seconds, shown):
    assert age(seconds) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0B"), (1023, "1023B"), (1024, "1.0Ki"), (10 << 10, "10Ki"), ((1 << 20) - 1, "1024Ki"), (5 << 40, "5.0Ti")],
)
def test_bytes_have_a_unit(number, shown):
    assert size(number) == shown


def test_the_table_is_as_wide_as_what_is_in_it():
    lines = Table(wide=False).lines(
        rows(
            told(1),
            told(2, namespace="kube-system", subresource="log", tty=False, user=None, state="issued", idleSeconds=None),
        ),
        NOW,
    )
    assert list(lines) == [
        "ID         STATE    POD               CONTAINER   USER         NODE     AGE   IDLE   KIND",
        "00000001   open     default/web       web         jane         node-a   90s   4s     exec/tty",
        "00000002   issued   kube-system/web   web         key:secret   node-a   90s   -      log",
    ]


def test_a_wide_one_has_whole_ids_and_what_was_typed_not_at_any_length():
    (head, line) = Table(wide=True).lines(rows(told(command=["sh", "-c", "x" * 100], reason=None), wide=True), NOW)
    assert head.split()[-6:] == ["WATCHERS", "PEER", "IN", "OUT", "REASON", "COMMAND"]
    assert line.startswith(ID.format(1))
    assert line.split()[-7:] == ["10.0.0.1:4000", "10B", "2.0Ki", "-", "sh", "-c", f"{'x' * 53}…"]


def test_who_has_a_certificate_is_called_by_its_subject():
    (row,) = rows(told(user=None, caller={"mode": "client_cert", "name": "guacd"}, container=None))
    assert (row.user, row.container) == ("cert:guacd", "-")


def test_nothing_that_a_terminal_would_obey_is_shown():
    session = told(user="\x1b[2Jeve\n", reason="\x07", command=["\x9b31m"], pod="a\rb")
    (row,) = rows(session, wide=True)
    text = "".join([*Table(wide=True).lines([row], NOW), *at_length(session, NOW)])
    assert text.isprintable()


@pytest.mark.parametrize(
    "wrong",
    [{"started": "yesterday"}, {"watchers": None}, {"caller": "x"}, {"idleSeconds": "x"}, {"bytesIn": None}],
)
def test_what_is_no_session(wrong):
    with pytest.raises(MalformedAnswer):
        row_of(told(**wrong), wide=True)
    with pytest.raises(MalformedAnswer):
        list(at_length(told(**wrong), NOW))


def test_what_is_no_session_at_length():
    for wrong in ({"groups": None}, {"watchers": [1]}):
        with pytest.raises(MalformedAnswer):
            list(at_length(told(**wrong), NOW))


@given(st.sets(st.integers(0, (1 << 40) - 1), max_size=20))
def test_ids_are_as_short_as_tells_them_apart(numbers):
    ids = [ID.format(number) for number in numbers]
    length = shortest(ids)
    assert length >= 8
    assert len({id_[-length:] for id_ in ids}) == len(ids)
    assert length == 8 or len({id_[1 - length :] for id_ in ids}) < len(ids)


def test_ids_that_end_alike_are_longer_and_a_later_one_is_whole():
    table = Table(wide=False)
    _, *first = table.lines(rows(told(1), told(0x300000001)), NOW)
    assert [line.split()[0] for line in first] == ["000000001", "300000001"]
    (later,) = table.lines(rows(told(0xF300000001)), NOW)
    assert later.split()[0] == ID.format(0xF300000001)
    for state in ("ended", "open"):
        list(table.lines(rows(told(0xF300000001, state="ended")), NOW))  # its end makes nobody else's id free
        again, new = table.lines(rows(told(1, state=state), told(0x500000001)), NOW)
        assert again.split()[0] == "000000001"
        assert new.split()[0] == "500000001"


def test_what_changes_is_shown_again_and_the_columns_stay():
    changes, table = Changes(), Table(wide=False)
    first = list(table.lines(changes.since(rows(told(1, state="opening"), told(2, user="jonathan"))), NOW))
    assert len(first) == 3
    same = rows(told(1, state="opening", bytesIn=99, idleSeconds=0.0), told(2, idleSeconds=7.0))
    assert changes.since(same) == []
    news = changes.since(rows(told(1, watchers=[{"user": "eve", "mode": "observe", "since": ""}]), told(3)))
    lines = list(table.lines(news, NOW))
    assert [line.split()[:2] for line in lines] == [["00000001", "open"], ["00000003", "open"], ["00000002", "ended"]]
    assert {line.index("default/web") for line in (*first[1:], *lines)} == {first[0].index("POD")}


def test_a_session_on_a_node_that_is_silent_has_not_ended():
    changes = Changes()
    assert len(changes.since(rows(told(1), told(2, node="node-b")))) == 2
    assert changes.since([], {"node-a", "node-b"}) == []
    (gone,) = changes.since([], {"node-a"})
    assert (gone.node, gone.state) == ("node-b", "ended")
    assert changes.since(rows(told(1))) == []


def test_one_at_length():
    lines = dict(line.split(":", 1) for line in at_length(told(container=None, groups=[]), NOW))
    assert {name: text.strip() for name, text in lines.items()} == {
        "Session": ID.format(1),
        "State": "open, idle for 4s",
        "Started": f"{rfc3339(NOW - 90)} (90s ago)",
        "Pod": "default/web",
        "Container": "-",
        "Node": "node-a",
        "Kind": "exec/tty",
        "Command": "sh",
        "User": "jane",
        "Groups": "-",
        "Reason": "ticket 42",
        "Credential": "rfc9421, secret",
        "Peer": "10.0.0.1:4000",
        "Bytes in": "10",
        "Bytes out": "2048",
        "Watchers": "-",
        "Recording": "-",
    }
