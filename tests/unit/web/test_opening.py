"""The opening and the plans, with an apiserver that is an object and clients that are one end of a socket pair."""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from aiohttp.test_utils import make_mocked_request
from structlog.testing import capture_logs

from k8s_ws_proxy.auth.principal import Mode, Principal
from k8s_ws_proxy.errors import Reason, Refusal, UpstreamRefused
from k8s_ws_proxy.kube.dial import Upstream
from k8s_ws_proxy.relay.read_budget import ReadBudget
from k8s_ws_proxy.relay.stream import Stream
from k8s_ws_proxy.sessions import registry
from k8s_ws_proxy.sessions.quotas import quotas
from k8s_ws_proxy.sessions.registry import Registry, State, Termination
from k8s_ws_proxy.web.call import Call
from k8s_ws_proxy.web.guacd import GuacdPlan
from k8s_ws_proxy.web.handler import SessionHandler
from k8s_ws_proxy.web.logs import LogPlan
from k8s_ws_proxy.web.opening import Opening
from k8s_ws_proxy.web.plan import PlanParts
from k8s_ws_proxy.web.terminals import TerminalPlan
from k8s_ws_proxy.web.turns import Turns
from k8s_ws_proxy.web.upgrade import Hijacked, Offer
from k8s_ws_proxy.wire.http.body import Body, Download
from k8s_ws_proxy.wire.requests.target import parse_path, parse_target

OFFER = Offer("dGhlIHNhbXBsZSBub25jZQ==", "v4.channel.k8s.io")
HEAD = OFFER.switching("ID")
SETTINGS = SimpleNamespace(pod_alias_label="", node_name="", tmux_cascade=False, ping_period=30.0)
FORBIDDEN = json.dumps({"kind": "Status", "status": "Failure", "message": "no", "reason": "Forbidden", "code": 403})


@dataclass
class Apiserver:
    """Answers as it is told, and knows what it was asked for."""

    answer: object
    asked: list[str] = field(default_factory=list)
    audit_ids: list[str] = field(default_factory=list)

    async def dial(self, path, _subprotocols=(), *, audit_id=""):
        self.audit_ids.append(audit_id)
        self.asked.append(path)
        if isinstance(self.answer, Exception):
            raise self.answer
        return await self.answer if asyncio.isfuture(self.answer) else self.answer

    download = dial


class ACall(Call):
    """One whose client is the near end of a socket pair; without ``near`` the client has left."""

    near = None

    @property
    def peer(self):
        return "10.0.0.1"

    def hijack(self):
        return self.near and (Stream(self.near, asyncio.get_running_loop()), b"")


class Site:
    """What there is around an opening, and both far ends."""

    def __init__(self, loop):
        self.registry = Registry(quotas(1), loop.time)
        self.budget = ReadBudget(loop.time)
        self.opening = Opening(self.registry, self.budget, Turns(), ping_period=30.0, limits=None)
        self.parts = PlanParts(SETTINGS, None, SimpleNamespace(known=lambda *_: None), None, self.budget)
        near_client, self.client = socket.socketpair()
        near_upstream, self.upstream = socket.socketpair()
        for sock in (near_client, self.client, near_upstream, self.upstream):
            sock.setblocking(False)
        self.near_client = near_client
        self.stream = Stream(near_upstream, loop)

    def call(self, path, answer, *, left=False, guacd=False):
        now = asyncio.get_running_loop().time()
        principal = Principal(Mode.HMAC, "2025", guacd=guacd)
        call = ACall(make_mocked_request("GET", path), parse_path(path), principal, Apiserver(answer), now, 60.0)
        object.__setattr__(call, "near", None if left else self.near_client)
        return call

    def terminal(self, path, answer, *, plan=TerminalPlan, **options):
        call = self.call(path, answer, **options)
        return plan(self.parts, call, parse_target(call.route, path), OFFER)

    async def told(self):
        """What the client got, when something has come."""
        return await asyncio.get_running_loop().sock_recv(self.client, 65536)

    def close(self):
        self.client.close()
        self.upstream.close()
        for slot in self.registry.open_slots():
            if slot.bridge is not None:
                slot.bridge.abort()
        self.stream.close()
        self.near_client.close()


@pytest.fixture
async def site(monkeypatch):
    monkeypatch.setattr(registry, "uuid7", lambda: "ID")
    site = Site(asyncio.get_running_loop())
    yield site
    site.close()


EXEC = "/proxy/exec/default/web/app?command=id"


async def test_a_session_opens(site):
    plan = site.terminal(EXEC, Upstream(site.stream, "v4.channel.k8s.io", b"\x82\x02\x01x"))
    with capture_logs() as log:
        assert isinstance(await site.opening.open(plan), Hijacked)
    assert await site.told() == HEAD + b"\x82\x02\x01x"
    assert plan.call.apiserver.asked == [
        "/api/v1/namespaces/default/pods/web/exec?command=id&container=app&stdin=true&stdout=true&tty=true"
    ]
    assert plan.call.apiserver.audit_ids == ["ID"]
    assert [(line["event"], line["session"]) for line in log] == [("session opened", "ID")]
    assert site.registry.open == 1


async def test_one_that_is_ended_while_it_is_opened_has_its_answer_first(site):
    reached = asyncio.get_running_loop().create_future()
    opening = asyncio.get_running_loop().create_task(site.opening.open(site.terminal(EXEC, reached)))
    while not site.registry.open:  # noqa: ASYNC110 - it is seen in passing
        await asyncio.sleep(0)
    (slot,) = site.registry.open_slots()
    assert slot.state is State.OPENING
    slot.terminate(Termination(Principal(Mode.RFC9421, "k", user="carol"), "no"))
    reached.set_result(Upstream(site.stream, "v4.channel.k8s.io", b""))
    await opening
    told = await site.told()
    assert told.startswith(HEAD)
    assert b"ended by carol: no.\r\n" in told
    assert slot.state is State.ENDING


async def test_who_ended_it_first_did(site):
    with capture_logs() as log:
        await site.opening.open(site.terminal(EXEC, Upstream(site.stream, "v4.channel.k8s.io", b"")))
        (slot,) = site.registry.open_slots()
        for user in ("carol", "dave"):
            slot.terminate(Termination(Principal(Mode.RFC9421, "k", user=user), "no"))
    assert [line["by"] for line in log if line["event"] == "session terminated"] == ["carol"]
    assert b"dave" not in await site.told()


async def test_what_is_said_of_the_container_goes_before_the_first_output(site):
    plan = site.terminal(EXEC, None)
    assert plan._said("Defaulted container") == b"\x82\x16\x01Defaulted container\r\n"
    plan = site.terminal(f"{EXEC}&tty=false&stderr=false", None)
    assert plan._said("Defaulted container") == b""


async def test_a_refusal_of_the_apiserver_is_told_in_a_session(site):
    refused = UpstreamRefused("no", status=403, content_type="application/json", body=FORBIDDEN.encode())
    with capture_logs() as log:
        assert isinstance(await site.opening.open(site.terminal(EXEC, refused)), Hijacked)
    answer = await site.told()
    assert answer.startswith(HEAD)
    assert b'"reason": "Forbidden"' in answer
    assert answer.endswith(b"\x03\xf3no"), "close 1011"
    assert [(line["event"], line["reason"]) for line in log] == [("session failed", "upstream_refused")]


async def test_on_the_apiservers_path_it_is_the_answer(site):
    refused = UpstreamRefused("no", status=403, content_type="application/json", body=FORBIDDEN.encode())
    path = "/api/v1/namespaces/default/pods/web/exec?command=id&stdout=true"
    answer = await site.opening.open(site.terminal(path, refused))
    assert (answer.status, answer.body) == (403, FORBIDDEN.encode())
    assert site.registry.open == 0


async def test_guacd_is_told_on_its_terminal_by_whatever_path_it_came(site):
    refused = UpstreamRefused("no such pod", status=404)
    path = "/api/v1/namespaces/default/pods/web/exec?command=sh%20-c%20id&tty=true&stdin=true&stdout=true"
    plan = site.terminal(path, refused, plan=GuacdPlan, guacd=True)
    assert plan.target.command == ("sh", "-c", "id")
    assert isinstance(await site.opening.open(plan), Hijacked)
    assert b"no such pod" in await site.told()


async def test_a_client_that_has_left_while_it_was_dialled(site):
    with capture_logs() as log:
        answer = await site.opening.open(site.terminal(EXEC, Upstream(site.stream, None, b""), left=True))
    assert isinstance(answer, Hijacked)
    assert [line["event"] for line in log] == ["client left before the session opened"]
    assert site.registry.open == 0
    assert site.upstream.recv(1) == b"", "what was dialled is closed"


async def test_a_client_that_leaves_while_it_is_dialled(site):
    dialling = asyncio.get_running_loop().create_future()
    opening = asyncio.ensure_future(site.opening.open(site.terminal(EXEC, dialling)))  # noqa: TID251
    with capture_logs() as log:
        while not site.registry.open:  # noqa: ASYNC110 - it is admitted in passing
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait([opening])
    assert opening.cancelled()
    assert [line["event"] for line in log] == ["client left before the session opened"]
    assert site.registry.open == 0


async def test_what_goes_wrong_between_the_dial_and_the_101_leaves_nothing_behind(site):
    plan = site.terminal(EXEC, Upstream(site.stream, None, b""))

    def begun(_bridge, _client):
        raise ZeroDivisionError

    plan.begun = begun
    with capture_logs() as log, pytest.raises(ZeroDivisionError):
        await site.opening.open(plan)
    assert log == []
    assert site.registry.open == 0
    assert await site.told() == b"", "its connection is closed"
    assert await asyncio.get_running_loop().sock_recv(site.upstream, 1) == b""


async def test_who_finds_no_slot_is_not_dialled(site):
    site.registry.admit(Principal(Mode.HMAC, "2025"), site.terminal(EXEC, None).target, "10.0.0.2")
    plan = site.terminal(EXEC, None)
    with pytest.raises(Refusal) as refusal:
        await site.opening.open(plan)
    assert refusal.value.reason is Reason.TOO_MANY_SESSIONS
    assert plan.call.apiserver.asked == []


async def test_a_log_is_a_body_or_messages(site):
    path = "/api/v1/namespaces/default/pods/web/log"
    call = site.call(path, (site.stream, Download(200, "text/plain", Body(length=3), b"one")))
    plan = LogPlan(site.parts, call, parse_target(call.route, path), None)
    assert isinstance(await site.opening.open(plan), Hijacked)
    answer = await site.told()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n")
    assert answer.endswith(b"\r\n\r\n3\r\none\r\n0\r\n\r\n")


class Says:
    """Stands for each thing that the handler asks, and writes down the order."""

    def __init__(self, order, fails=""):
        self.order = order
        self.fails = fails

    def step(self, name, value=None):
        self.order.append(name)
        if name == self.fails:
            raise Refusal(Reason.NAMESPACE_DENIED, name)
        return value

    async def authorize(self, _presented):
        return self.step("credential", Principal(Mode.HMAC, "2025"))

    def check(self, _route):
        self.step("policy")

    def check_ports(self, _target):
        self.step("ports")

    def concerns(self, _call):
        return False

    def identity_of(self, _principal):
        return self.step("identity")

    def acting_for(self, _identity):
        return self

    async def of(self, _call):
        return self.step("upgrade and query", SimpleNamespace(target=None))

    async def open(self, _plan):
        return self.step("slot")


class Request(dict):
    """What is known of it stands in the request itself."""


ORDER = ["credential", "identity", "policy", "upgrade and query", "ports", "slot"]


@pytest.mark.parametrize("fails", ["", *ORDER])
async def test_the_order_of_the_checks(monkeypatch, fails):
    """It is security: who isn't known learns nothing of namespaces and pods."""
    says = Says([], fails)
    handler = SessionHandler(
        authorizer=says,
        impersonator=says,
        policy=says,
        apiserver=says,
        plans=says,
        opening=says,
        fallback=says,
        teller=None,
        within=10.0,
    )
    transport = SimpleNamespace(
        request_began=lambda: 0.0, caller_known=lambda: says.step("known"), get_extra_info=lambda *_: None
    )
    monkeypatch.setattr("k8s_ws_proxy.web.handler.StreamTransport", SimpleNamespace)
    request = Request()
    request.__dict__.update(transport=transport, raw_path=EXEC, method="GET", headers={}, body_exists=False)
    if fails:
        with pytest.raises(Refusal):
            await handler.open(request)
    else:
        await handler.open(request)
    order = [*ORDER[:1], "known", *ORDER[1:]]
    assert says.order == (order[: order.index(fails) + 1] if fails else order)


class Watches:
    """An observer of all that is shown."""

    full = takes_input = False
    shown = b""

    def output(self, _channel, data):
        self.shown += data

    def ended(self, relay):
        self.ending = relay.ending


@pytest.mark.parametrize("wanted", [True, False])
async def test_who_wants_to_observe_is_asked_before_the_first_byte(site, wanted):
    watches, asked = Watches(), []

    async def observing(slot, plan):
        asked.append((slot.log.record.pod, slot.bridge, plan.call.apiserver.asked[:]))
        return (lambda _bridge: watches) if wanted else None

    opening = Opening(site.registry, site.budget, Turns(), ping_period=30.0, limits=None, observers=[observing])
    await opening.open(site.terminal(EXEC, Upstream(site.stream, None, b"\x82\x02\x01x")))
    assert asked == [("web", None, [])]
    assert watches.shown == (b"x" if wanted else b"")


async def test_of_those_who_come_together_at_most_one_is_dialled_in_a_turn_and_who_has_left_by_then_is_not(site):
    registry = Registry(quotas(99), asyncio.get_running_loop().time)
    opening = Opening(registry, site.budget, Turns(), ping_period=30.0, limits=None)
    never = asyncio.get_running_loop().create_future()
    plans = [site.terminal(EXEC, never) for _ in range(20)]
    going = [asyncio.ensure_future(opening.open(plan)) for plan in plans]  # noqa: TID251
    while not plans[0].call.apiserver.asked:  # noqa: ASYNC110 - it is asked in passing
        await asyncio.sleep(0)
    assert sum(len(plan.call.apiserver.asked) for plan in plans) == 1
    for each in going:
        each.cancel()
    await asyncio.wait(going)
    assert sum(len(plan.call.apiserver.asked) for plan in plans) < 3
    assert registry.open == 0
