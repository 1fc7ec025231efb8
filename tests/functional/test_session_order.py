"""In which order a session is refused: for whom it is before what it is, whether it is opened or issued."""

from __future__ import annotations

import pytest
from support.caller import PIPES, get, proxy_exec, refusal_of
from support.sessions import SESSIONS, SHELL, call

ELSEWHERE = proxy_exec("true", pod="web", namespace="kube-system", **PIPES)


@pytest.fixture
async def daemon(start):
    return await start(IDENTITY="user", ALLOWED_NAMESPACES="default")


@pytest.mark.parametrize(
    ("who", "reason"),
    [
        ({}, "user_required"),
        ({"User": "system:admin"}, "identity_denied"),
        ({"User": "alice", "Groups": '"system:masters"'}, "identity_denied"),
        ({"User": "alice"}, "namespace_denied"),
    ],
    ids=["nobody", "a name of Kubernetes", "a group of Kubernetes", "somebody"],
)
async def test_who_it_is_for_is_judged_before_the_namespace(daemon, who, reason):
    opened = await get(daemon, ELSEWHERE, daemon.headers_v2(ELSEWHERE, **who))
    issued = await call(daemon, "POST", SESSIONS, {**SHELL, "namespace": "kube-system"}, **who)
    assert (opened.status, refusal_of(opened, ELSEWHERE)[1]) == (403, reason)
    assert (issued.status, refusal_of(issued, SESSIONS)[1]) == (403, reason)


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
async def test_nobody_is_told_of_bodies_methods_and_sessions(daemon, method):
    unknown = f"{SESSIONS}/01995f3c-0000-7000-8000-000000000001"
    for target in (SESSIONS, unknown, f"{unknown}/ticket", f"{unknown}/watch"):
        answer = await call(daemon, method, target, b"{" if method != "GET" else None)
        assert (answer.status, refusal_of(answer, target)[1]) == (403, "user_required")
