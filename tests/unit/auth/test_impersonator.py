"""As whom the apiserver sees a caller, in each mode."""

from __future__ import annotations

import pytest

from k8s_ws_proxy.auth.impersonator import Impersonator
from k8s_ws_proxy.auth.principal import Mode, Principal
from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.wire.requests.impersonation import Identity
from k8s_ws_proxy.wire.requests.key_names import entry_of

ALICE = Principal(Mode.RFC9421, "secret", user="alice", groups=("ops", "CN=dev,OU=eng"), reason="INC-42")
V1 = Principal(Mode.HMAC, "secret")
CERTIFICATE = Principal(Mode.CLIENT_CERT, "gate.example", user="bob", groups=("team",))


@pytest.mark.parametrize("principal", [ALICE, V1, CERTIFICATE])
def test_as_the_proxy_itself(principal):
    assert Impersonator("proxy", "oidc:", "oidc:").identity_of(principal) is None


@pytest.mark.parametrize(
    ("principal", "user"),
    [
        (ALICE, "k8s-ws-proxy:caller:secret"),
        (V1, "k8s-ws-proxy:caller:secret"),
        (CERTIFICATE, "k8s-ws-proxy:caller:gate.example"),
        (Principal(Mode.CLIENT_CERT, "previous"), "k8s-ws-proxy:caller:previous"),
    ],
)
def test_as_the_caller(principal, user):
    identity = Impersonator("caller", "oidc:", "oidc:").identity_of(principal)
    assert identity == Identity(user, ("k8s-ws-proxy:callers",))


@pytest.mark.parametrize(
    ("prefixes", "expected"),
    [
        (("", ""), Identity("alice", ("ops", "CN=dev,OU=eng"))),
        (("oidc:", "idp:"), Identity("oidc:alice", ("idp:ops", "idp:CN=dev,OU=eng"))),
    ],
)
def test_as_the_user(prefixes, expected):
    assert Impersonator("user", *prefixes).identity_of(ALICE) == expected


@pytest.mark.parametrize("mode", ["caller", "user"])
def test_the_user_alone(mode):
    """Who it is can be asked of thousands: it isn't to cost a look at 64 groups each."""
    impersonator = Impersonator(mode, "oidc:", "idp:")
    assert impersonator.user_of(ALICE) == impersonator.identity_of(ALICE).user
    unseen = Principal(Mode.RFC9421, "secret", user="alice", groups=("system:masters",))
    assert impersonator.user_of(unseen) == impersonator.user_of(ALICE)


def test_a_certificate_is_its_own_user():
    assert Impersonator("user").identity_of(CERTIFICATE) == Identity("bob", ("team",))


@pytest.mark.parametrize("principal", [V1, Principal(Mode.RFC9421, "secret"), Principal(Mode.CLIENT_CERT, "x.example")])
def test_who_names_no_user_has_none(principal):
    with pytest.raises(Refusal) as refused:
        Impersonator("user").identity_of(principal)
    assert refused.value.reason is Reason.USER_REQUIRED


@pytest.mark.parametrize("prefix", ["", "oidc:"])
@pytest.mark.parametrize(
    "name",
    [
        "system:masters",
        "system:",
        "System:Masters",
        "SYSTEM:admin",
        " system:masters",
        "\tsystem:x",
        "system:serviceaccount:a:b",
    ],
)
@pytest.mark.parametrize("what", ["user", "group"])
def test_kubernetes_own_names_are_nobodys(prefix, name, what):
    principal = (
        Principal(Mode.RFC9421, "k", user=name)
        if what == "user"
        else Principal(Mode.RFC9421, "k", user="alice", groups=("ops", name))
    )
    with pytest.raises(Refusal) as refused:
        Impersonator("user", prefix, prefix).identity_of(principal)
    assert refused.value.reason is Reason.IDENTITY_DENIED


def test_nor_are_those_that_a_prefix_makes():
    for principal in (
        Principal(Mode.RFC9421, "k", user="tem:masters"),
        Principal(Mode.RFC9421, "k", "a", ("tem:masters",)),
    ):
        with pytest.raises(Refusal) as refused:
            Impersonator("user", "sys" if not principal.groups else "", "sys").identity_of(principal)
        assert refused.value.reason is Reason.IDENTITY_DENIED


@pytest.mark.parametrize("name", ["", " a", "a ", "a\r\nImpersonate-Group: system:masters", "a\0", "a\u202e", "\x7f"])
def test_a_name_that_would_not_arrive_as_it_is(name):
    """A certificate's may hold anything."""
    with pytest.raises(Refusal) as refused:
        Impersonator("user").identity_of(Principal(Mode.CLIENT_CERT, "x", user=name))
    assert refused.value.reason is Reason.IDENTITY_DENIED
    with pytest.raises(Refusal):
        Impersonator("user").identity_of(Principal(Mode.CLIENT_CERT, "x", user="bob", groups=(name,)))


@pytest.mark.parametrize("name", ["jürgen müller", "用户", "a,b"])
def test_a_name_that_does(name):
    identity = Impersonator("user").identity_of(Principal(Mode.CLIENT_CERT, "x", user=name, groups=(name,)))
    assert identity == Identity(name, (name,))


@pytest.mark.parametrize(
    ("key_id", "entry"),
    [
        ("secret", "secret"),
        ("next", "secret"),
        ("previous", "secret"),
        ("previous-2", "secret"),
        ("next-13", "secret"),
        ("billing.previous", "billing"),
        ("billing.next-2", "billing"),
        ("a.b.previous", "a.b"),
        ("previously", "previously"),
        ("my-previous", "my-previous"),
        ("previous.pem", "previous.pem"),
        (".previous", ".previous"),
        ("2025", "2025"),
    ],
)
def test_a_rotation_changes_nobodys_name(key_id, entry):
    assert entry_of(key_id) == entry
    identity = Impersonator("caller").identity_of(Principal(Mode.HMAC, key_id))
    assert identity == Identity(f"k8s-ws-proxy:caller:{entry}", ("k8s-ws-proxy:callers",))


@pytest.mark.parametrize("name", ["", " ", " alice", "alice ", "al\nice"])
def test_a_prefix_makes_no_name_of_what_is_none(name):
    for who in ({"user": name}, {"user": "alice", "groups": (name,)}):
        with pytest.raises(Refusal) as refused:
            Impersonator("user", "oidc:", "oidc:").identity_of(Principal(Mode.CLIENT_CERT, "gate.example", **who))
        assert refused.value.reason is Reason.IDENTITY_DENIED
