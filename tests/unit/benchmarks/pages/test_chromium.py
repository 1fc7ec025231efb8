from __future__ import annotations

import json

import pytest

from benchmarks.pages.chromium import Chromium, ScriptError, Tab


class Connection:
    """Answers each call with what is next in `says`, where that is no call's answer with all until one is."""

    def __init__(self, *says):
        self.told = []
        self._says = list(says)

    def send(self, message):
        self.told.append(json.loads(message))

    def recv(self, timeout=None):
        assert timeout
        said = self._says.pop(0)
        return json.dumps({"id": self.told[-1]["id"], **said} if {"result", "error"} & said.keys() else said)


def event(method, session="", **params):
    return {"method": method, "params": params, **({"sessionId": session} if session else {})}


def test_what_is_told_meanwhile_waits_for_who_asks():
    connection = Connection(event("Network.a", "one"), event("Network.b", "two"), {"result": {"x": 1}})
    browser = Chromium(connection)
    assert browser.call("Page.enable", "one", loud=True) == {"x": 1}
    assert connection.told == [{"id": 1, "method": "Page.enable", "params": {"loud": True}, "sessionId": "one"}]
    assert [each["method"] for each in browser.told("Network.", "one")] == ["Network.a"]
    assert browser.told("Network.", "one") == []
    assert [each["method"] for each in browser.told("Network.", "two")] == ["Network.b"]


def test_a_call_that_fails_is_an_error():
    with pytest.raises(ScriptError, match="no such thing"):
        Chromium(Connection({"error": {"message": "no such thing"}})).call("Page.fly")


def test_a_page_is_there_when_what_was_asked_for_is_loaded():
    def lifecycle(name, loader):
        return event("Page.lifecycleEvent", "one", name=name, loaderId=loader)

    connection = Connection(
        lifecycle("load", "blank"),
        {"result": {"loaderId": "page"}},
        lifecycle("init", "page"),
        lifecycle("load", "page"),
        {"result": {"result": {"value": 3}}},
    )
    tab = Tab(Chromium(connection), "one")
    tab.go("http://127.0.0.1/")
    assert tab.evaluate("1 + 2") == 3
    assert [each["params"]["name"] for each in tab.told("Page.")] == ["load", "init"]


@pytest.mark.parametrize(
    ("said", "do"),
    [
        ({"result": {"errorText": "net::ERR_CONNECTION_REFUSED"}}, lambda tab: tab.go("http://127.0.0.1:1/")),
        ({"result": {"exceptionDetails": {"text": "no page"}, "result": {}}}, lambda tab: tab.evaluate("bench")),
    ],
)
def test_a_page_that_is_not_there_and_a_script_that_fails_are_errors(said, do):
    with pytest.raises(ScriptError):
        do(Tab(Chromium(Connection(said)), "one"))
