"""A page of a list of recordings: bounded in number, bytes and time, and always a step further."""

from __future__ import annotations

import asyncio

import pytest
from support.archive import Recordings

from k8s_ws_proxy.recordings.catalogue import Catalogue, Wanted
from k8s_ws_proxy.web.recording_list import EXAMINED, page_of


class Here:
    """A reader's place, by any thread."""

    async def ask(self, work):
        return await asyncio.to_thread(work)


@pytest.fixture
def made(tmp_path):
    return Recordings(tmp_path)


async def page(made, wanted=Wanted(), limit=100, *, hidden=(), within=60.0):  # noqa: B008 - frozen
    async def visible(namespaces):
        return frozenset(namespaces) - set(hidden)

    until = asyncio.get_running_loop().time() + within
    return await page_of(Catalogue(made.root), Here(), wanted, limit, visible, until)


async def test_a_list_goes_on_though_its_time_is_over_before_it_began(made):
    ids = made.many(5)
    wanted, found = Wanted(), []
    while True:
        one = await page(made, wanted, within=-1)
        found += one.told
        if one.below is None:
            break
        assert one.below in ids
        wanted = Wanted(below=one.below)
    assert len(found) == 5


async def test_it_ends_where_the_limit_and_the_list_do(made):
    ids = made.many(10)
    whole = await page(made, limit=10)
    assert (len(whole.told), whole.below) == (10, None)
    part = await page(made, limit=9)
    assert (len(part.told), part.below) == (9, ids[1])


async def test_so_many_are_looked_at_and_no_more(made):
    made.many(EXAMINED + 200, namespaces=("hidden",))
    found = await page(made, hidden={"hidden"})
    assert found.told == []
    assert found.below is not None
    rest = await page(made, Wanted(below=found.below), hidden={"hidden"})
    assert (rest.told, rest.below) == ([], None)
