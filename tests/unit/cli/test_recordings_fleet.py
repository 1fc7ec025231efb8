"""What several pods say of recordings, by an apiserver that answers as a test has it."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest
from support.archive import NOON, begun, id_at

from k8s_ws_proxy.cli.recordings_fleet import RecordingsFleet
from k8s_ws_proxy.cli.signing import Signing
from k8s_ws_proxy.errors import ClusterApiTimeout, ProxyError
from k8s_ws_proxy.rotation.api import Answer

SESSION = id_at(NOON)
NODES = ("node-1", "node-2", "node-3")


class Api:
    """``answers(node, range)`` says status, body, and seconds that it took. What was asked for is kept."""

    namespace = "catalyst-system"

    def __init__(self, answers):
        self._answers = answers
        self.asked = []

    async def request(self, _method, path, *, headers, **more):
        node = re.search(r"/pods/(node-\d)", path)[1]
        self.asked.append((headers().get("Range"), more))
        status, body, *took = self._answers(node, headers().get("Range"))
        return Answer(status, body, 0.0, took[0] if took else 0.1)


class Fleet(RecordingsFleet):
    """Of three pods."""

    def __init__(self, answers):
        self.api = Api(answers)
        daemons = SimpleNamespace(what="DaemonSet x", port=8080)
        super().__init__(self.api, daemons, Signing(), b"k" * 32, at_once=4, within=5.0)

    async def _pods(self):
        self.asked = len(NODES)
        return [SimpleNamespace(uid=node, name=node, node=node) for node in NODES]


def told(answer, status=200):
    return status, json.dumps(answer).encode()


def refused(status, reason):
    return told({"reason": reason, "error": "It is so."}, status)


NONE_HERE = refused(404, "no_such_recording")


async def message_of(fleet):
    with pytest.raises(ProxyError) as raised:
        await fleet.receipt(SESSION)
    return str(raised.value)


async def test_that_nobody_has_it_is_said_of_those_who_answered():
    fleet = Fleet(lambda node, _: refused(503, "recordings_unreadable") if node == "node-2" else NONE_HERE)
    assert f"there is no recording {SESSION} on 2 nodes that answered" in await message_of(fleet)
    assert [silent.node for silent in fleet.silent] == ["node-2"]


async def test_where_nobody_answers_it_isn_t_said_that_there_is_none():
    fleet = Fleet(lambda *_: refused(401, "bad_signature"))
    assert await message_of(fleet) == f"no node has said whether there is a recording {SESSION}, or a receipt of it"
    assert [silent.node for silent in fleet.silent] == list(NODES)


async def test_who_didn_t_answer_doesn_t_matter_where_it_was_found():
    fleet = Fleet(lambda node, _: (200, b"{}") if node == "node-3" else refused(503, "recordings_unreadable"))
    assert await fleet.receipt(SESSION) == b"{}"
    assert fleet.silent == []


async def test_what_is_in_a_directory_that_pods_share_is_told_once():
    one, two, three = ({**begun(id_at(NOON + number)), "state": "finished"} for number in range(3))
    goes_on = {**one, "state": "recording"}
    del two["node"]
    pages = {"node-1": [goes_on, two], "node-2": [one], "node-3": [goes_on, three]}

    def answers(node, _):
        return told({"node": node, "recordings": pages[node], "skipped": 0, "continue": None})

    found = await Fleet(answers).listed({}, 100)
    assert found.recordings == [three, {**two, "node": "node-1"}, one]
    assert not found.more
    found = await Fleet(answers).listed({}, 2)
    assert (found.recordings, found.more) == ([three, {**two, "node": "node-1"}], True)


LARGE = bytes(range(256)) * 12 * 4096  # 12 MiB


def part_of(data, wanted, took):
    first, last = map(int, wanted.removeprefix("bytes=").split("-"))
    return 206, data[first : last + 1], took


async def read(fleet):
    return b"".join([part async for part in fleet.cast(SESSION)])


def sizes(fleet):
    """What was asked of the node that has it, in KiB, after the first question."""
    asked = [tuple(map(int, wanted.removeprefix("bytes=").split("-"))) for wanted, _ in fleet.api.asked]
    return [(last + 1 - first) // 1024 for first, last in asked if first]


async def test_parts_grow_while_they_come_quickly():
    fleet = Fleet(lambda node, wanted: part_of(LARGE, wanted, 1.0) if node == "node-2" else NONE_HERE)
    assert await read(fleet) == LARGE
    assert {wanted for wanted, _ in fleet.api.asked[:3]} == {"bytes=0-262143"}
    assert sizes(fleet) == [512, 1024, 2048, 4096, 4096, 4096]
    assert all(more["timeout"] == 10 and more["body_timeout"] == 60 for _, more in fleet.api.asked)


async def test_parts_stay_or_shrink_where_the_line_is_slow():
    took = iter((1.0, 1.0, 1.0, 5.0, 11.0, 11.0, 11.0, *(5.0 for _ in range(100))))
    fleet = Fleet(lambda node, wanted: part_of(LARGE, wanted, next(took)) if node == "node-2" else NONE_HERE)
    assert await read(fleet) == LARGE
    assert sizes(fleet)[:7] == [512, 1024, 2048, 2048, 1024, 512, 256]
    assert set(sizes(fleet)[7:]) == {256}


def too_late(*_):
    raise ClusterApiTimeout("the apiserver didn't finish its answer within 60 s", within=60.0)


async def test_the_time_that_was_given_is_said():
    fleet = Fleet(lambda node, _: too_late() if node == "node-2" else NONE_HERE)
    assert "on 2 nodes that answered" in await message_of(fleet)
    assert [(silent.node, silent.why) for silent in fleet.silent] == [("node-2", "not within 60 s")]


@pytest.mark.parametrize(
    ("then", "why"),
    [
        (too_late, "not within 60 s"),
        (lambda: NONE_HERE, "gone"),
        (lambda: refused(503, "recordings_unreadable"), "503 recordings_unreadable: It is so."),
    ],
)
async def test_who_breaks_off_is_named_once_and_nobody_else(then, why):
    def answers(node, wanted):
        if node != "node-2":
            return refused(401, "bad_signature")
        return part_of(LARGE, wanted, 1.0) if wanted.startswith("bytes=0-") else then()

    fleet = Fleet(answers)
    with pytest.raises(ProxyError, match=f"^node-2 broke off in the middle: {why}"):
        await read(fleet)
    assert fleet.silent == []
