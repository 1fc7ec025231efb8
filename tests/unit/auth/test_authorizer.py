"""Who may come in: a certificate that was presented decides alone, otherwise the headers do."""

from __future__ import annotations

import asyncio

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from k8s_ws_proxy.auth.authenticator import Presented
from k8s_ws_proxy.auth.authorizer import Authorizer
from k8s_ws_proxy.auth.client_cert import ClientCertificates, subject_names
from k8s_ws_proxy.auth.hmac_v1 import HmacV1
from k8s_ws_proxy.auth.principal import Mode, Principal
from k8s_ws_proxy.errors import CredentialRefused, Reason
from k8s_ws_proxy.keyring import Keyring
from k8s_ws_proxy.wire.requests.signing import HMAC_HEADER, TIMESTAMP_HEADER, Key, signed_headers

NOW = 1_735_689_600
PATH = "/proxy/exec/default/web/web"
OLD, NEW = Key("old", b"o" * 32), Key("new", b"n" * 32)
CERTIFICATE = {
    "subject": ((("countryName", "DE"),), (("organizationName", "guacd"),), (("commonName", "gate.example.org"),)),
    "subjectAltName": (("DNS", "guacd.example.org"), ("IP Address", "10.0.0.1"), ("DNS", "other"), ("email", "a@b")),
    "notAfter": "Jan  1 00:00:00 2025 GMT",  # NOW: the last second belongs to it (RFC 5280 §4.1.2.5)
}


class Ring:
    """A keyring whose next look finds ``after``."""

    def __init__(self, keys, after=None):
        self.keys = keys
        self._after = after
        self.looks = 0
        self.uses = []

    tried = Keyring.tried

    def used(self, key, scheme):
        self.uses.append((key.id, scheme))

    async def look(self):
        self.looks += 1
        if self._after is not None:
            self.keys = self._after


def headers(secret=OLD.secret, **changed):
    made = CIMultiDict(signed_headers(secret, PATH, NOW))
    for name, value in changed.items():
        made[name.replace("_", "-")] = value
    return CIMultiDictProxy(made)


async def ask(ring, sent, *, certificate=None, allowed=(), path=PATH):
    clock = lambda: NOW  # noqa: E731
    authorizer = Authorizer([ClientCertificates(frozenset(allowed), clock=clock), HmacV1(ring, skew=300, clock=clock)])
    try:
        return await authorizer.authorize(Presented("GET", path, path, sent, certificate))
    except CredentialRefused as refused:
        return refused.reason


NOTHING = CIMultiDictProxy(CIMultiDict())


async def test_the_headers_name_the_key_that_signed_and_it_is_counted():
    ring = Ring((OLD, NEW))
    assert await ask(ring, headers(NEW.secret)) == Principal(Mode.HMAC, "new")
    assert ring.uses == [("new", "v1")]


async def test_header_names_are_of_any_case():
    lower = CIMultiDictProxy(CIMultiDict({name.lower(): text for name, text in headers().items()}))
    assert await ask(Ring((OLD,)), lower) == Principal(Mode.HMAC, "old")


@pytest.mark.parametrize("name", [TIMESTAMP_HEADER, HMAC_HEADER])
async def test_a_header_that_comes_twice_is_seen_twice(name):
    doubled = CIMultiDict(headers())
    doubled.add(name.lower(), doubled[name])
    reason = await ask(Ring((OLD,)), CIMultiDictProxy(doubled))
    assert reason is (Reason.MALFORMED_TIMESTAMP if name == TIMESTAMP_HEADER else Reason.MALFORMED_HMAC)


async def test_another_path_is_not_signed():
    assert await ask(Ring((OLD,)), headers(), path="/proxy/exec/default/web/db") is Reason.BAD_SIGNATURE


async def test_a_signature_by_a_key_that_was_just_written_is_found_by_another_look():
    ring = Ring((OLD,), after=(OLD, NEW))
    assert await ask(ring, headers(NEW.secret)) == Principal(Mode.HMAC, "new")
    assert ring.looks == 1


async def test_a_wrong_signature_costs_one_look():
    ring = Ring((OLD,))
    assert await ask(ring, headers(b"x" * 32)) is Reason.BAD_SIGNATURE
    assert (ring.looks, ring.uses) == (1, [])


async def test_after_another_look_it_may_still_be_wrong():
    assert await ask(Ring((OLD,), after=(NEW,)), headers(b"x" * 32)) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (NOTHING, Reason.MISSING_TIMESTAMP),
        (headers(X_Catalyst_Timestamp="soon"), Reason.MALFORMED_TIMESTAMP),
        (headers(X_Catalyst_HMAC=""), Reason.MISSING_HMAC),
        (headers(X_Catalyst_HMAC="zz"), Reason.MALFORMED_HMAC),
        (headers(X_Catalyst_Timestamp="1"), Reason.EXPIRED),
    ],
)
async def test_what_no_other_key_could_help_costs_no_look(sent, reason):
    ring = Ring((OLD,))
    assert await ask(ring, sent) is reason
    assert ring.looks == 0
    assert ring.uses == []


@pytest.mark.parametrize("name", ["gate.example.org", "guacd.example.org", "other"])
async def test_a_listed_cn_or_dns_name_lets_in(name):
    principal = await ask(Ring(()), NOTHING, certificate=CERTIFICATE, allowed=[name, "another"])
    assert principal == Principal(Mode.CLIENT_CERT, name, user="gate.example.org", groups=("guacd",))


@pytest.mark.parametrize(
    "allowed", ["guacd", "DE", "10.0.0.1", "a@b", "GATE.EXAMPLE.ORG", "example.org", "*.example.org"]
)
async def test_nothing_else_about_a_certificate_does(allowed):
    assert await ask(Ring(()), NOTHING, certificate=CERTIFICATE, allowed=[allowed]) is Reason.SUBJECT_DENIED


async def test_a_certificate_that_is_not_listed_does_not_fall_back_to_the_headers():
    assert await ask(Ring((OLD,)), headers(), certificate=CERTIFICATE, allowed=["another"]) is Reason.SUBJECT_DENIED


async def test_a_listed_certificate_needs_no_headers_and_wrong_ones_do_no_harm():
    sent = headers(X_Catalyst_HMAC="0" * 64)
    ring = Ring((OLD,))
    principal = await ask(ring, sent, certificate=CERTIFICATE, allowed=["other"])
    assert principal.mode is Mode.CLIENT_CERT
    assert ring.uses == []


async def test_a_certificate_that_lets_in_uses_no_key_even_beside_a_good_signature():
    ring = Ring((OLD,))
    assert (await ask(ring, headers(), certificate=CERTIFICATE, allowed=["other"])).mode is Mode.CLIENT_CERT
    assert ring.uses == []


async def test_a_certificate_that_can_not_be_read_does_not_fall_back_to_the_headers():
    unreadable = {"unreadable": "'utf-8' codec can't decode byte 0xff"}
    assert await ask(Ring((OLD,)), headers(), certificate=unreadable, allowed=["other"]) is Reason.SUBJECT_DENIED


@pytest.mark.parametrize("name", ["other", "another"], ids=["listed", "not listed"])
async def test_a_certificate_that_has_expired_since_its_handshake(name):
    late = {**CERTIFICATE, "notAfter": "Dec 31 23:59:59 2024 GMT"}
    ring = Ring((OLD,))
    assert await ask(ring, headers(), certificate=late, allowed=[name]) is Reason.CERTIFICATE_EXPIRED
    assert ring.uses == []


async def test_an_empty_list_turns_the_mode_off():
    assert await ask(Ring((OLD,)), headers(), certificate=CERTIFICATE) == Principal(Mode.HMAC, "old")
    assert await ask(Ring((OLD,)), NOTHING, certificate=CERTIFICATE) is Reason.MISSING_TIMESTAMP


@pytest.mark.parametrize("certificate", [None, {}])
async def test_without_a_certificate_the_headers_decide_there_too(certificate):
    assert await ask(Ring((OLD,)), headers(), certificate=certificate, allowed=["other"]) == Principal(Mode.HMAC, "old")


async def test_a_denied_subject_is_named_in_the_log_and_not_to_the_caller():
    authenticator = ClientCertificates(frozenset("x"), clock=lambda: NOW)
    with pytest.raises(CredentialRefused) as refused:
        await authenticator.authenticate(Presented("GET", PATH, PATH, NOTHING, CERTIFICATE))
    for name in ("gate.example.org", "guacd.example.org", "other"):
        assert name in refused.value.detail
        assert name not in str(refused.value)


@pytest.mark.parametrize(
    ("certificate", "names"),
    [
        (CERTIFICATE, ["gate.example.org", "guacd.example.org", "other"]),
        ({}, []),
        ({"subject": ((("commonName", "a"), ("commonName", "b")),)}, ["a", "b"]),
        ({"subject": (), "subjectAltName": ()}, []),
    ],
)
def test_the_names_of_a_certificate(certificate, names):
    assert subject_names(certificate) == names


class Takes:
    """An authenticator that answers the same to everybody."""

    def __init__(self, answer):
        self._answer = answer
        self.asked = []

    async def authenticate(self, presented):
        self.asked.append(presented)
        if isinstance(self._answer, CredentialRefused):
            raise self._answer
        return self._answer


ALICE = Principal(Mode.CLIENT_CERT, "alice")
REFUSED = CredentialRefused(Reason.BAD_SIGNATURE, "no")


@pytest.mark.parametrize(
    ("answers", "asked", "decides"),
    [([None, ALICE, REFUSED], 2, ALICE), ([None, REFUSED, ALICE], 2, REFUSED), ([None, None], 2, None), ([], 0, None)],
)
async def test_the_first_that_knows_the_credential_decides_alone(answers, asked, decides):
    authenticators = [Takes(answer) for answer in answers]
    decided = await asyncio.gather(
        Authorizer(authenticators).authorize(Presented("GET", PATH, PATH, NOTHING)), return_exceptions=True
    )
    if decides is None:
        assert isinstance(decided[0], CredentialRefused)
    else:
        assert decided == [decides]
    assert [len(each.asked) for each in authenticators] == [1] * asked + [0] * (len(answers) - asked)
