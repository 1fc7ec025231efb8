"""The walk over the pages of a list of pods, the selector that it has, and pods that are to look at their Secret."""

from __future__ import annotations

import json

import pytest

from k8s_ws_proxy.errors import ClusterApiError, ClusterApiUnavailable, ClusterConfigError
from k8s_ws_proxy.rotation.api import Answer
from k8s_ws_proxy.rotation.fleet import Pod
from k8s_ws_proxy.rotation.pods import hasten, selector_of, walk


class Pages:
    """An api that answers with what it was given, and knows what it was asked."""

    namespace = "default"

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def request(self, _method, _path, *, query):
        self.asked.append(query.get("continue"))
        status, *items, further = self.answers.pop(0)
        body = json.dumps({"items": items, "metadata": {"continue": further}})
        return Answer(status, body.encode(), 0.0, 0.0)


async def test_all_pages_are_walked_in_their_order():
    api = Pages((200, "a", "b", "two"), (200, "three"), (200, "c", ""))
    assert await walk(api, "app=x", list) == [["a", "b"], [], ["c"]]
    assert api.asked == [None, "two", "three"]


async def test_a_list_that_has_grown_old_is_begun_anew_and_nothing_is_kept_of_it():
    api = Pages((200, "a", "two"), (410, ""), (200, "b", "two"), (200, "c", ""))
    assert await walk(api, "app=x", list) == [["b"], ["c"]]
    assert api.asked == [None, "two", None, "two"]


async def test_one_that_always_grows_old_is_given_up():
    api = Pages(*[(200, "a", "two"), (410, "")] * 9)
    with pytest.raises(ClusterApiUnavailable, match="grew old"):
        await walk(api, "app=x", list)
    assert len(api.asked) < 10


@pytest.mark.parametrize(("status", "error"), [(410, ClusterApiError), (503, ClusterApiUnavailable)])
async def test_what_is_no_page_is_an_error(status, error):
    with pytest.raises(error):
        await walk(Pages((status, "")), "app=x", list)


async def test_credentials_that_are_gone_are_one_error_however_many_pods_there_are():
    class Gone:
        namespace = "default"

        async def request(self, *_, **__):
            raise ClusterConfigError("No cluster to work on")

    with pytest.raises(ClusterConfigError, match="No cluster"):
        await hasten(Gone(), [Pod(f"uid-{name}", name, "node") for name in "ab"], "a-rotation")


def test_a_selector_as_a_query_has_it():
    expressions = [
        {"key": "tier", "operator": "In", "values": ["a", "b"]},
        {"key": "track", "operator": "NotIn", "values": ["c"]},
        {"key": "there", "operator": "Exists"},
        {"key": "gone", "operator": "DoesNotExist"},
    ]
    selector = {"matchLabels": {"app": "x", "on": "y"}, "matchExpressions": expressions}
    assert selector_of(selector) == "app=x,on=y,tier in (a,b),track notin (c),there,!gone"
    assert selector_of({}) == ""
