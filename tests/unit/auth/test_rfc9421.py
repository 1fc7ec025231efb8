"""The authenticator for RFC 9421: beside the other credentials, and when a signature comes again."""

from __future__ import annotations

import asyncio

import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from structlog.testing import capture_logs

from k8s_ws_proxy.auth.authenticator import Presented
from k8s_ws_proxy.auth.authorizer import Authorizer
from k8s_ws_proxy.auth.client_cert import ClientCertificates
from k8s_ws_proxy.auth.hmac_v1 import HmacV1
from k8s_ws_proxy.auth.nonces import Nonces
from k8s_ws_proxy.auth.principal import Mode, Principal
from k8s_ws_proxy.auth.rfc9421 import MessageSignatures
from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.keyring import Keyring
from k8s_ws_proxy.wire.requests.signing import Key, signed_headers
from k8s_ws_proxy.wire.requests.signing_v2 import signed_headers_v2

NOW = 1_790_000_000
PATH = "/proxy/exec/default/web/web"
TARGET = f"{PATH}?command=sh"
KEY, NEXT = Key("secret", b"k" * 32), Key("next", b"n" * 32)
V1 = signed_headers(KEY.secret, PATH, NOW)
CERTIFICATE = {
    "subject": ((("organizationName", "ops"),), (("organizationName", "dev"),), (("commonName", "alice"),)),
    "notAfter": "Jan  1 00:00:00 2099 GMT",
}


class Ring:
    """A keyring whose next look finds ``after``, too."""

    tried = Keyring.tried

    def __init__(self, *keys, after=()):
        self.keys = keys
        self._after = after
        self.uses = []

    def used(self, key, scheme):
        self.uses.append((key.id, scheme))

    async def look(self):
        await asyncio.sleep(0)
        self.keys = (*self.keys, *self._after)
        self._after = ()


class Site:
    """The three authenticators as the daemon has them, and a clock that may be set."""

    def __init__(self, ring=None, *, v1=True, v2=True, node="", capacity=100, max_age=60.0, uptime=3600.0):
        self.ring = ring or Ring(KEY)
        self.now = NOW + 0.25
        self.uptime = uptime
        self.authorizer = Authorizer(
            [
                ClientCertificates(frozenset({"alice"}), clock=lambda: self.now),
                MessageSignatures(
                    self.ring,
                    Nonces(max_age, capacity=capacity),
                    accepted=v2,
                    max_age=max_age,
                    clock=lambda: self.now,
                    uptime=lambda: self.uptime,
                ),
                HmacV1(self.ring, skew=300, clock=lambda: self.now, accepted=v1),
            ],
            node=node,
        )

    async def ask(self, sent, *, target=TARGET, method="GET", certificate=None, body=None):
        try:
            return await self.authorizer.authorize(self.presented(sent, target, method, certificate, body))
        except Refusal as refused:
            return refused.reason

    @staticmethod
    def presented(sent, target=TARGET, method="GET", certificate=None, body=None):
        async def read():
            await asyncio.sleep(0)
            return body or b""

        headers = CIMultiDictProxy(CIMultiDict(sent))
        return Presented(method, target, PATH, headers, certificate, "http", body is not None, read)


def signed(nonce="n" * 16, *, created=NOW, key=KEY, body=None, method="GET", target=TARGET, **who):
    more = {f"X-Catalyst-{name}": value for name, value in who.items()}
    return signed_headers_v2(key.secret, method, target, created=created, nonce=nonce, more=more, body=body)


async def test_who_signs_the_request_comes_in_by_the_key_that_fits():
    site = Site(Ring(NEXT, KEY))
    assert await site.ask(signed()) == Principal(Mode.RFC9421, "secret")
    assert site.ring.uses == [("secret", "v2")]


async def test_what_is_said_of_who_is_asking_is_believed():
    sent = signed(User="alice", Groups='"ops", "CN=dev,OU=eng"', Reason="INC%2042")
    expected = Principal(Mode.RFC9421, "secret", user="alice", groups=("ops", "CN=dev,OU=eng"), reason="INC 42")
    assert await Site().ask(sent) == expected


@pytest.mark.parametrize("who", [{"User": "a b"}, {"Groups": "ops"}, {"Reason": "%"}])
async def test_what_cannot_be_read_is_refused_and_costs_no_nonce(who):
    site = Site()
    assert await site.ask(signed(**who)) is Reason.MALFORMED_IDENTITY
    assert isinstance(await site.ask(signed()), Principal)


async def test_the_same_request_twice():
    site = Site()
    assert isinstance(await site.ask(signed()), Principal)
    assert await site.ask(signed()) is Reason.REPLAYED
    assert site.ring.uses == [("secret", "v2")]


async def test_a_hundred_of_the_same_at_once_and_one_comes_in():
    site = Site(Ring(after=[KEY]))  # the key has just been written: each of them waits for a look at the files
    outcomes = await asyncio.gather(*(site.ask(signed(body=b"{}"), body=b"{}") for _ in range(100)))
    assert sum(isinstance(outcome, Principal) for outcome in outcomes) == 1
    assert outcomes.count(Reason.REPLAYED) == 99


async def test_a_nonce_is_used_up_by_a_good_signature_only():
    site = Site()
    assert await site.ask(signed(key=NEXT)) is Reason.BAD_SIGNATURE
    assert await site.ask(signed(), target=TARGET + "x") is Reason.BAD_SIGNATURE
    assert await site.ask(signed(body=b"{}", method="POST"), method="POST", body=b"{} ") is Reason.DIGEST_MISMATCH
    assert isinstance(await site.ask(signed()), Principal)


@pytest.mark.parametrize(
    "more", [{f"X-Catalyst-{number}{'a' * 8000}": "v" for number in range(18)}, {}], ids=["headers", "components"]
)
async def test_an_answer_to_who_is_not_known_is_short(more):
    """Whoever doesn't read it leaves it to us, for some time."""
    sent = signed() | more
    if not more:
        sent["Signature-Input"] = sent["Signature-Input"].replace('("', f'("{"a" * 3000}" "')
    headers = CIMultiDictProxy(CIMultiDict(sent))
    with pytest.raises(Refusal) as refused:
        await Site().authorizer.authorize(Presented("GET", TARGET, PATH, headers))
    assert refused.value.reason is Reason.SIGNATURE_INCOMPLETE
    assert len(str(refused.value)) < 300


class Slow(Site):
    """One whose bodies take their time, in which ``meanwhile`` happens."""

    def __init__(self, meanwhile, **more):
        super().__init__(**more)
        self.meanwhile = meanwhile
        self.waits = 0

    async def ask_slowly(self, sent):
        async def read():
            self.waits += 1
            await asyncio.sleep(0)
            self.meanwhile(self)
            return b"{}"

        headers = CIMultiDictProxy(CIMultiDict(sent))
        try:
            return await self.authorizer.authorize(
                Presented("GET", TARGET, PATH, headers, None, "http", has_body=True, body=read)
            )
        except Refusal as refused:
            return refused.reason


async def test_what_was_good_already_is_not_waited_for_again():
    site = Slow(lambda _: None)
    assert isinstance(await site.ask_slowly(signed(body=b"{}")), Principal)
    assert await site.ask_slowly(signed(body=b"{}")) is Reason.REPLAYED
    assert site.waits == 1


async def test_a_key_that_goes_while_a_body_is_waited_for_lets_nobody_in():
    def lose(site):
        site.ring.keys = (NEXT,)

    site = Slow(lose, ring=Ring(KEY, NEXT))
    assert await site.ask_slowly(signed(body=b"{}")) is Reason.BAD_SIGNATURE
    assert site.ring.uses == []


async def test_a_signature_whose_time_is_over_while_its_body_is_waited_for_is_too_old():
    def pass_time(site):
        site.now += 61

    assert await Slow(pass_time).ask_slowly(signed(body=b"{}")) is Reason.EXPIRED


async def test_when_no_more_nonces_can_be_remembered_nobody_comes_in_until_there_is_room():
    site = Site(capacity=1)
    assert isinstance(await site.ask(signed("a" * 16)), Principal)
    assert await site.ask(signed("b" * 16)) is Reason.TOO_MANY_REQUESTS
    assert await site.ask(signed("a" * 16)) is Reason.REPLAYED
    site.now += 61
    assert isinstance(await site.ask(signed("b" * 16, created=NOW + 61)), Principal)


async def test_a_daemon_that_has_just_started_takes_nothing_from_before():
    site = Site(uptime=0.2)  # it started at NOW + 0.05
    assert await site.ask(signed()) is Reason.EXPIRED
    assert isinstance(await site.ask(signed(created=NOW + 1)), Principal)


async def test_a_clock_that_goes_back_further_than_the_start_takes_nothing_from_before_it():
    late = Site(uptime=5.0)
    assert await late.ask(signed(created=NOW - 10)) is Reason.EXPIRED
    late.now -= 30
    assert await late.ask(signed(created=NOW - 10)) is Reason.EXPIRED
    late.now += 30
    assert isinstance(await late.ask(signed("x" * 16)), Principal)


async def test_a_clock_that_goes_back_by_an_hour_locks_nobody_out_and_lets_nothing_in_twice():
    site = Site()
    site.now += 3600  # it was wrong; the callers' were, too
    assert isinstance(await site.ask(signed("a" * 16, created=NOW + 3600)), Principal)
    site.now -= 3600
    site.uptime += 1
    assert isinstance(await site.ask(signed("b" * 16, created=NOW)), Principal)
    site.now += 3600
    assert await site.ask(signed("a" * 16, created=NOW + 3600)) is Reason.REPLAYED


async def test_a_clock_that_goes_ahead_and_comes_back_lets_nothing_in_twice():
    site = Site()
    assert isinstance(await site.ask(signed("a" * 16)), Principal)
    site.now += 3600
    assert isinstance(await site.ask(signed("b" * 16, created=NOW + 3600)), Principal)
    site.now -= 3590
    assert await site.ask(signed("a" * 16)) is Reason.EXPIRED
    assert isinstance(await site.ask(signed("c" * 16, created=NOW + 10)), Principal)


async def test_who_starts_while_the_clock_is_ahead_says_why_it_takes_nothing_and_logs_it_once():
    site = Site(uptime=0.0)
    site.now -= 3600
    with capture_logs() as log:
        for seconds in (20, 3500):
            site.now, site.uptime = NOW - 3600 + seconds, float(seconds)
            with pytest.raises(Refusal, match=f"gone back by 3600 s.* in {3601 - seconds} s"):
                await site.authorizer.authorize(site.presented(signed(created=int(site.now))))
        assert [(line["seconds"], line["over_in_seconds"]) for line in log] == [(3600, 3581)]
        site.now, site.uptime = NOW + 2, 3602.0
        assert isinstance(await site.ask(signed(created=NOW + 2)), Principal)
        assert await site.ask(signed(created=NOW - 1)) is Reason.EXPIRED
        site.now -= 30
        assert await site.ask(signed(created=NOW - 28)) is Reason.EXPIRED
    assert [line["seconds"] for line in log] == [3600, 3630]


async def test_a_clock_that_is_set_by_less_than_a_second_has_not_gone_back():
    site = Site(uptime=0.0)
    site.now -= 0.5
    with capture_logs() as log, pytest.raises(Refusal, match="sign anew"):
        await site.authorizer.authorize(site.presented(signed(created=NOW - 1)))
    assert log == []


async def test_a_key_that_was_just_written_is_found():
    site = Site(Ring(KEY, after=[NEXT]))
    assert await site.ask(signed(key=NEXT)) == Principal(Mode.RFC9421, "next")


@pytest.mark.parametrize(
    "beside", [V1, dict([next(iter(V1.items()))]), {"X-Catalyst-HMAC": ""}], ids=["both", "one", "empty"]
)
@pytest.mark.parametrize("accepted", [{}, {"v1": False}, {"v2": False}], ids=["v1,v2", "v2", "v1"])
async def test_two_credentials(beside, accepted):
    assert await Site(**accepted).ask(signed() | beside) is Reason.TWO_CREDENTIALS


@pytest.mark.parametrize("header", ["Signature", "Signature-Input"])
async def test_either_header_alone_is_judged_by_itself(header):
    sent = signed()
    del sent[header]
    assert await Site().ask(sent) is Reason.MALFORMED_SIGNATURE
    assert await Site().ask(sent | V1) is Reason.TWO_CREDENTIALS


async def test_only_v2_is_accepted():
    site = Site(v1=False)
    assert await site.ask(V1) is Reason.SIGNATURE_V2_REQUIRED
    assert await site.ask({}) is Reason.SIGNATURE_V2_REQUIRED
    assert isinstance(await site.ask(signed()), Principal)


async def test_only_v1_is_accepted():
    site = Site(v2=False)
    assert await site.ask(signed()) is Reason.SIGNATURE_NOT_ACCEPTED
    assert await site.ask(V1) == Principal(Mode.HMAC, "secret")


async def test_who_takes_the_signature_out_takes_who_is_asking_with_it():
    sent = signed(User="alice")
    left = {name: value for name, value in sent.items() if not name.startswith("Signature")}
    assert await Site().ask(left) is Reason.MISSING_TIMESTAMP
    assert await Site().ask(left | V1) is Reason.IDENTITY_UNSIGNED


@pytest.mark.parametrize("name", ["X-Catalyst-User", "X-Catalyst-Groups", "X-Catalyst-Reason"])
async def test_beside_v1_or_a_certificate_nobody_says_who_is_asking(name):
    site = Site()
    assert await site.ask({**V1, name: "x"}) is Reason.IDENTITY_UNSIGNED
    assert await site.ask({name: "x"}, certificate=CERTIFICATE) is Reason.IDENTITY_UNSIGNED
    assert site.ring.uses == []


async def test_a_certificate_says_who_is_asking():
    expected = Principal(Mode.CLIENT_CERT, "alice", user="alice", groups=("ops", "dev"))
    assert await Site().ask({}, certificate=CERTIFICATE) == expected
    assert await Site().ask(signed(), certificate=CERTIFICATE) == expected, "it decides alone"


@pytest.mark.parametrize("node", ["", "node-2"])
async def test_a_request_for_another_node(node):
    site = Site(node=node)
    assert await site.ask(signed(Node="node-1")) is Reason.WRONG_NODE
    assert await site.ask({**V1, "X-Catalyst-Node": "node-1"}) is Reason.WRONG_NODE
    assert await site.ask({"X-Catalyst-Node": "node-1"}, certificate=CERTIFICATE) is Reason.WRONG_NODE
    assert await site.ask({"X-Catalyst-Node": "node-1"}) is Reason.MISSING_TIMESTAMP, "nobody else is told"


async def test_a_request_for_this_node_is_good_here_and_once():
    here, there = Site(node="node-1"), Site(node="node-2")
    assert isinstance(await here.ask(signed(Node="node-1")), Principal)
    assert await here.ask(signed(Node="node-1")) is Reason.REPLAYED
    assert await there.ask(signed(Node="node-1")) is Reason.WRONG_NODE


async def test_without_it_a_signature_is_good_once_on_each_node():
    for site in (Site(node="node-1"), Site(node="node-2")):
        assert isinstance(await site.ask(signed()), Principal)
        assert await site.ask(signed()) is Reason.REPLAYED


async def test_a_body_must_be_the_one_that_was_signed():
    sent = signed(body=b"{}", method="POST")
    assert await Site().ask(sent, method="POST", body=b"[]") is Reason.DIGEST_MISMATCH
    assert isinstance(await Site().ask(sent, method="POST", body=b"{}"), Principal)


async def test_a_body_is_not_read_for_a_signature_that_is_not_good():
    async def read():
        raise AssertionError("it was read")

    headers = CIMultiDictProxy(CIMultiDict(signed(body=b"{}", key=NEXT)))
    presented = Presented("GET", TARGET, PATH, headers, None, "http", True, read)
    with pytest.raises(Refusal) as refused:
        await Site().authorizer.authorize(presented)
    assert refused.value.reason is Reason.BAD_SIGNATURE
