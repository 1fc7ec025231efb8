"""Which pod an alias means, and a list of pods that can't be read."""

from __future__ import annotations

import json
from urllib.parse import parse_qs

import pytest

from k8s_ws_proxy.errors import Refusal, UpstreamProtocolError
from k8s_ws_proxy.kube import pods


def pod(name, node="a", phase="Running", **metadata):
    return {"metadata": {"name": name, **metadata}, "spec": {"nodeName": node}, "status": {"phase": phase}}


class Apiserver:
    """Answers a list in pages, as one does, and counts the bytes of the largest answer."""

    def __init__(self, pods=(), *, at_most=2 * 1024 * 1024, answers=None):
        self._pods = sorted(pods, key=lambda each: each["metadata"]["name"])
        self._at_most = at_most
        self._answers = answers
        self.asked = []
        self.largest = 0

    async def read(self, path, made_out):
        return made_out(*await self.get(path))

    async def get(self, path):
        target, _, query = path.partition("?")
        self.asked.append(path)
        if target.endswith("/web"):
            return 404, "application/json", b""
        if self._answers is not None:
            return self._answers.pop(0)
        asked = {name: value for name, (value,) in parse_qs(query).items()}
        fields = dict(field.split("=") for field in asked["fieldSelector"].split(","))
        found = [
            each
            for each in self._pods
            if each["status"]["phase"] == fields["status.phase"]
            and each["spec"]["nodeName"] == fields.get("spec.nodeName", each["spec"]["nodeName"])
            and each["metadata"]["name"] > asked.get("continue", "")
        ]
        page = found[: int(asked["limit"])]
        more = {"continue": page[-1]["metadata"]["name"]} if len(page) < len(found) else {}
        body = json.dumps({"metadata": more, "items": page}).encode()[: self._at_most]
        self.largest = max(self.largest, len(body))
        return 200, "application/json", body


async def resolve(apiserver, node=""):
    return await pods.resolve(apiserver, "default", "web", label="app", node=node)


@pytest.mark.parametrize(
    ("listed", "node", "chosen"),
    [
        pytest.param([pod("x", deletionTimestamp="2026-01-01T00:00:00Z"), pod("y")], "a", "y", id="not being deleted"),
        pytest.param([pod("x", "a"), pod("y", "b")], "b", "y", id="this node's first"),
        pytest.param([pod("x", "a"), pod("y", "b", "Pending")], "b", "x", id="another's if none runs here"),
        pytest.param([pod("y", "a"), pod("x", "b")], "", "x", id="without NODE_NAME, the lowest name"),
        pytest.param([pod("y", "b"), pod("x", "b")], "b", "x", id="then the lowest name"),
    ],
)
async def test_the_one_that_is_meant(listed, node, chosen):
    assert await resolve(Apiserver(listed), node) == chosen


@pytest.mark.parametrize("listed", [[], [pod("x", phase="Pending"), pod("y", phase="Succeeded")]])
async def test_none_runs(listed):
    with pytest.raises(Refusal):
        await resolve(Apiserver(listed), "a")


async def test_of_thousands_few_are_read():
    """What is parsed at once is time that everybody waits."""
    apiserver = Apiserver([pod(f"web-{number:05}", "b", padding="x" * 1000) for number in range(8000)])
    assert await resolve(apiserver, "a") == "web-00000"
    assert apiserver.largest < 64 * 1024
    assert len(apiserver.asked) == 3


async def test_those_that_are_being_deleted_are_passed_over_page_by_page():
    gone = [pod(f"a-{number:03}", deletionTimestamp="2026-01-01T00:00:00Z") for number in range(25)]
    apiserver = Apiserver([*gone, pod("b")])
    assert await resolve(apiserver) == "b"
    assert len(apiserver.asked) == 4


async def test_large_ones_are_read_one_by_one():
    large = [pod(f"web-{number}", padding="x" * 1_000_000) for number in range(10)]
    assert await resolve(Apiserver(large)) == "web-0"


async def test_a_list_that_has_grown_old_is_begun_anew():
    page = {"metadata": {"continue": "x"}, "items": []}
    answers = [
        (200, "", json.dumps(page).encode()),
        (410, "", b""),
        (200, "", json.dumps({"items": [pod("y")]}).encode()),
    ]
    apiserver = Apiserver(answers=answers)
    assert await resolve(apiserver) == "y"
    assert "continue" in apiserver.asked[2]
    assert "continue" not in apiserver.asked[3]


async def test_a_list_without_an_end_is_given_up():
    page = json.dumps({"metadata": {"continue": "x"}, "items": []}).encode()
    with pytest.raises(Refusal):
        await resolve(Apiserver(answers=[(200, "", page)] * 500))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"items": 1}', b'{"items": [1]}', b"[" * 100_000])
async def test_a_list_that_cannot_be_read(body):
    with pytest.raises(UpstreamProtocolError):
        await resolve(Apiserver(answers=[(200, "application/json", body)] * 2))


async def test_no_items_at_all_is_no_match():
    with pytest.raises(Refusal):
        await resolve(Apiserver(answers=[(200, "", b'{"items": null}')]))
