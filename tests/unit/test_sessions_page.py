"""docs/reference/sessions.md against the code: routes, fields, reasons and numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path

from k8s_ws_proxy.auth.principal import Mode, Principal
from k8s_ws_proxy.errors import Reason
from k8s_ws_proxy.kube import reviews
from k8s_ws_proxy.sessions import quotas, record, tickets
from k8s_ws_proxy.sessions.as_json import session_json
from k8s_ws_proxy.sessions.record import SessionRecord, WatchMode
from k8s_ws_proxy.sessions.registry import State
from k8s_ws_proxy.web import directory
from k8s_ws_proxy.web.caller import MAX_BODY
from k8s_ws_proxy.web.rights import GROUP, RESOURCE
from k8s_ws_proxy.wire.requests import issue
from k8s_ws_proxy.wire.requests.bearer import SUBPROTOCOL_PREFIX
from k8s_ws_proxy.wire.requests.target import parse_path, parse_target
from k8s_ws_proxy.wire.rules import tail, watch

PAGE = (Path(__file__).parents[2] / "docs/reference/sessions.md").read_text("utf-8")
ORDER, ANSWER = (json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


def section(title):
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)[1]


def firsts(title, number=0):
    """The names in the first column of a section's table."""
    tables = re.findall(r"(?:^\|.*\n)+", section(title), re.MULTILINE)
    rows = tables[number].splitlines()[2:]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])]


def test_the_fields_of_an_order_are_those_that_are_taken():
    assert firsts("Issuing") == list(issue._TYPES)
    assert issue.parse_order(json.dumps(ORDER).encode()).target == (
        "/proxy/exec/default/web/web?command=sh&command=-l&tty=true"
    )


def test_the_fields_of_a_session_are_those_that_are_told():
    target = parse_target(parse_path("/proxy/exec/a/b"), "/proxy/exec/a/b")
    known = SessionRecord.of("id", Principal(Mode.HMAC, "secret"), target, "peer", 0, 0)
    assert firsts("A session as told") == list(session_json(known, State.OPEN, [], node="n"))
    for state in State:
        assert f"`{state.value}`" in section("A session as told")
    for mode in (*Mode, *WatchMode):
        assert f"`{mode.value}`" in section("A session as told")


def test_the_answer_that_is_shown_is_one():
    assert list(ANSWER) == ["sessionId", "ticket", "path", "url", "expires", "recordingPath"]
    assert ANSWER["url"].endswith(ANSWER["path"])
    assert ANSWER["path"] == f"/proxy/sessions/{ANSWER['sessionId']}/stream"
    assert len(ANSWER["ticket"]) == 43


def test_the_reasons_are_reasons():
    told_ = set(re.findall(r"`([a-z0-9]+_[a-z0-9_]+)`", PAGE)) - {mode.value for mode in Mode}
    told_ -= {watch.TOO_SLOW}
    assert len(told_) >= 25
    assert told_ <= {reason.value for reason in Reason}


def test_the_numbers_are_the_code_s():
    for said in (
        f"1 to {issue.LONGEST_TIME}; {issue.DEFAULT_TIME} if it isn't there",
        f"256 random bits, {-(-tickets._BITS // 6)} characters of base64url",
        f"| {tickets.MOST_BYTES >> 20} MiB, {quotas._TAKES} bytes for each",
        f"| a body | {MAX_BODY >> 10} KiB |",
        f"| a command that is told whole | {record._WHOLE} characters |",
        f"the first {record._MOST_ARGUMENTS} arguments, {record._LONGEST_ARGUMENT} characters of each",
        f"| `reason` of an ending | {directory._LONGEST_REASON} characters |",
        f"An answer is remembered for {reviews._GOOD_FOR:.0f} seconds",
        f"`{SUBPROTOCOL_PREFIX}<ticket>`",
        f"played again, {tail.MOST >> 10} KiB of it at most",
        f"close 1008 `{watch.TOO_SLOW}`",
        f"the resource `{RESOURCE}` in the API group `{GROUP}`",
    ):
        assert said in PAGE, said
    assert tickets._BITS == 256
