"""Who may list and read recordings: RBAC's word. alice has sessions there, an auditor may read, a lister only list."""

from __future__ import annotations

import json

import pytest
from support import identities
from support.archive import NOON, Recordings, id_at
from support.caller import refusal_of
from support.sessions import call

from k8s_ws_proxy.devcluster import DevCluster
from k8s_ws_proxy.devcluster.roles import bind, cluster_role, role, rule, user

PATH = "/proxy/recordings"
GROUP = "terminal.openova.io"
LISTER = role("default", "recording-lister", rule("recordings", "list", group=GROUP))
READER = role("default", "recording-reader", rule("recordings", "get", group=GROUP))
AUDITOR = cluster_role("recording-auditor", rule("recordings", "list get", group=GROUP))
SESSIONS = cluster_role("all-of-sessions", rule("sessions", "*", group=GROUP))


@pytest.fixture
async def cluster():
    async with DevCluster(identities.world(identities.CONSTRAINED, identities.REVIEWS)) as running:
        for each in (LISTER, READER, AUDITOR, SESSIONS):
            running.state.grant(each)
        for each, name in ((LISTER, "lister"), (READER, "reader"), (AUDITOR, "auditor"), (SESSIONS, "operator")):
            running.state.grant(bind(each, user(name)))
        yield running


@pytest.fixture
def made(tmp_path):
    return Recordings(tmp_path / "recordings")


@pytest.fixture
async def guarded(start, made):
    made.root.mkdir()
    return await start(IDENTITY="user", RECORDING_DIR=str(made.root))


async def listed(daemon, who, query=""):
    answer = await call(daemon, "GET", PATH + query, User=who)
    assert answer.status == 200, answer
    return [each["sessionId"] for each in json.loads(answer.body)["recordings"]]


async def test_lists_leave_out_what_may_not_be_seen(guarded, made):
    default = made.finished(namespace="default", user="alice")
    system = made.running(b"x", namespace="kube-system", user="alice", at=NOON + 1)
    assert await listed(guarded, "auditor") == [system, default]
    assert await listed(guarded, "lister") == [default]
    assert await listed(guarded, "lister", "?namespace=kube-system") == []
    for who in ("alice", "reader", "operator", "bob"):
        assert await listed(guarded, who) == [], who
        assert await listed(guarded, who, "?namespace=default") == [], who


async def test_who_may_read(guarded, made):
    session = made.finished(namespace="default", user="alice")
    for who, status in (("auditor", 200), ("reader", 200), ("lister", 404), ("operator", 404), ("bob", 404)):
        for path in ("", "/receipt"):
            answer = await call(guarded, "GET", f"{PATH}/{session}{path}", User=who)
            assert answer.status == status, (who, path)
        answer = await call(guarded, "POST", f"{PATH}/{session}/ticket", {}, User=who)
        assert answer.status == (201 if status == 200 else 404), who
    other = made.finished(namespace="kube-system")
    assert (await call(guarded, "GET", f"{PATH}/{other}", User="reader")).status == 404


async def test_ones_own_are_not_ones_own(guarded, made):
    session = made.finished(namespace="default", user="alice")
    assert (await call(guarded, "GET", f"{PATH}/{session}", User="alice")).status == 404


async def test_what_may_not_be_read_looks_like_what_isn_t_there(guarded, made):
    session, unknown = made.finished(user="alice"), id_at(NOON)
    for path in ("", "/receipt"):
        hidden = await call(guarded, "GET", f"{PATH}/{session}{path}", User="bob")
        absent = await call(guarded, "GET", f"{PATH}/{unknown}{path}", User="bob")
        assert refusal_of(hidden, PATH)[1] == "no_such_recording"
        assert hidden.body == absent.body.replace(unknown.encode(), session.encode())
        hidden.headers.pop("date"), absent.headers.pop("date")
        assert hidden.headers == absent.headers
    line = await guarded.event("request refused", reason="no_such_recording")
    assert line["detail"] == "bob may not get recordings.terminal.openova.io in the namespace default"


async def test_a_list_that_goes_on_tells_nothing_of_what_may_not_be_seen(guarded, made):
    made.many(5200, namespaces=("kube-system",))
    answer = await call(guarded, "GET", PATH, User="lister")
    page = json.loads(answer.body)
    assert page["recordings"] == []
    while page["continue"]:
        token = page["continue"]
        assert not any(path.stem in token for path in made.root.rglob("*.json"))
        page = json.loads((await call(guarded, "GET", f"{PATH}?continue={token}", User="lister")).body)
        assert page["recordings"] == []


async def test_a_ticket_shows_it_in_the_name_of_whoever_asked_for_it(guarded, made):
    session = made.finished(namespace="kube-system")
    answer = await call(guarded, "POST", f"{PATH}/{session}/ticket", {}, User="auditor")
    ticket = json.loads(answer.body)["ticket"]
    guarded.confidential.add(ticket)
    bearer = {"Authorization": f"Bearer {ticket}"}
    assert (await call(guarded, "GET", f"{PATH}/{session}", headers=bearer)).status == 200
    assert (await guarded.event("recording read", session=session))["user"] == "auditor"


async def test_where_nobody_can_be_asked_nobody_may(start, tmp_path, made):
    made.root.mkdir()
    session = made.finished()
    async with DevCluster(identities.world(identities.CONSTRAINED)) as cluster:  # without the right to ask
        kubeconfig = str(cluster.write_kubeconfig(tmp_path / "kubeconfig-silent", "proxy"))
        daemon = await start(IDENTITY="user", KUBECONFIG=kubeconfig, RECORDING_DIR=str(made.root))
        for path in ("", f"/{session}", f"/{session}/receipt"):
            answer = await call(daemon, "GET", PATH + path, User="auditor")
            assert (answer.status, refusal_of(answer, PATH)[1]) == (502, "upstream_refused")
