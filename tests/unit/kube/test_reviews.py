"""Questions to the apiserver: how many at once, and what no answer is."""

from __future__ import annotations

import asyncio

import pytest

from k8s_ws_proxy.errors import UpstreamError
from k8s_ws_proxy.kube.reviews import Question, Reviews
from k8s_ws_proxy.wire.requests.impersonation import Identity

YES = b'{"status": {"allowed": true}}'


class Apiserver:
    """Answers every question with ``body``, in a while."""

    def __init__(self, body=YES):
        self.body = body
        self.asked = self.now = self.most = 0

    async def post(self, _path, _body):
        self.asked += 1
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.001)
        self.now -= 1
        return 201, "application/json", self.body


def question(name):
    return Question(Identity(name, ("ops",)), "list", "sessions")


async def test_so_many_at_once():
    """Each is a connection, and whoever signs may name any user."""
    apiserver = Apiserver()
    reviews = Reviews(apiserver, asyncio.get_running_loop().time)
    assert all(await asyncio.gather(*(reviews.allows(question(f"user-{number}")) for number in range(500))))
    assert (apiserver.asked, apiserver.most) == (500, 64)


async def test_whoever_waits_for_a_turn_takes_what_the_others_heard():
    apiserver = Apiserver()
    reviews = Reviews(apiserver, asyncio.get_running_loop().time)
    assert all(await asyncio.gather(*(reviews.allows(question("alice")) for _ in range(500))))
    assert apiserver.asked == 64
    assert await reviews.allows(question("bob"))
    assert apiserver.asked == 65


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'"yes"', b"\xff", b"{}", b'{"status": {}}', b'{"status": [1]}', b"[" * 100_000]
)
async def test_what_is_no_answer_is_no_yes(body):
    reviews = Reviews(Apiserver(body), asyncio.get_running_loop().time)
    with pytest.raises(UpstreamError):
        await reviews.allows(question("alice"))


@pytest.mark.parametrize("said", [b"1", b'"true"', b"null", b"{}", b"false"])
async def test_only_true_is_a_yes(said):
    reviews = Reviews(Apiserver(b'{"status": {"allowed": %s}}' % said), asyncio.get_running_loop().time)
    assert not await reviews.allows(question("alice"))
