"""Signing v2: what an RFC 9421 signature must cover, and for how long it is good (docs/reference/signing.md)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import http_sf

from k8s_ws_proxy.errors import CredentialRefused, Reason
from k8s_ws_proxy.wire.requests.message_signature import (
    ALGORITHM,
    INPUT_HEADER,
    SIGNATURE_HEADER,
    BadSyntax,
    HasParameters,
    Message,
    NotThere,
    Signature,
    mac,
    parse,
    signature_base,
    signature_params,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from k8s_ws_proxy.wire.requests.signing import Key

TAG: Final = "k8s-ws-proxy"
LABEL: Final = "catalyst"
REQUIRED: Final = ("@method", "@path", "@query")
OURS: Final = "x-catalyst-"
"""How the names of all headers begin that must be covered where they are sent."""
DIGEST_HEADER: Final = "Content-Digest"
GONE_BACK: Final = "This proxy's clock has gone back"
"""What the sentence begins with where signing anew doesn't help."""
NONCE_LENGTHS: Final = range(16, 129)  # characters
_DERIVED: Final = frozenset({*REQUIRED, "@authority"})
_MOST_COVERED: Final = 64
_LONGEST_TOLD: Final = 256  # characters of what is wrong: names in it are the caller's, who isn't known
_STRINGS: Final = ("nonce", "tag", "alg", "keyid")
_TIMES: Final = ("created", "expires")


@dataclass(frozen=True, slots=True)
class Terms:
    """When a signature is good. ``max_age`` in seconds; ``started`` is when this daemon did, in Unix seconds.

    ``gone_back`` is by how many seconds its clock has gone back since, where that was further than to now: 0 else.
    """

    max_age: float
    started: float
    gone_back: float = 0.0


@dataclass(frozen=True, slots=True)
class Verified:
    """A signature whose MAC is right. ``digest``: it covers Content-Digest, which has still to be that of the body."""

    key: Key
    nonce: str = field(repr=False)
    created: int
    digest: bool


def verify(
    message: Message,
    names: Iterable[str],
    *,
    has_body: bool,
    keys: Sequence[Key],
    now: float,
    terms: Terms,
) -> Verified:
    """Who signed ``message``, whose fields have ``names``. ``now`` is Unix seconds.

    Raises CredentialRefused with ``malformed_signature``, ``signature_incomplete``, ``expired``, ``replayed`` (there is
    no nonce that could tell one request from the next) or ``bad_signature``, in this order of precedence.
    """
    try:
        signature = parse(message.fields(INPUT_HEADER.lower()), message.fields(SIGNATURE_HEADER.lower()))
        created = _check_parameters(signature.parameters)
    except BadSyntax as error:
        raise CredentialRefused(Reason.MALFORMED_SIGNATURE, str(error)) from error
    except HasParameters as error:
        raise _incomplete("covers a component with parameters: there are none here") from error
    _check_covered(signature.covered, names, has_body=has_body)
    created = _check_times(created, signature.parameters.get("expires"), now, terms)
    nonce = _nonce(signature.parameters)
    try:
        base = signature_base(message, signature.covered, signature.parameters)
    except NotThere as error:
        raise _incomplete(f"covers {error.args[0]}, which the request doesn't have") from error
    return Verified(_signer(base, signature, keys), nonce, created, DIGEST_HEADER.lower() in signature.covered)


def check_digest(values: Sequence[str], body: bytes) -> None:
    """Raises CredentialRefused(``digest_mismatch``) where ``Content-Digest`` isn't ``body``'s SHA-256 (RFC 9530 §2)."""
    try:
        found: Any = http_sf.parse(",".join(values).encode("utf-8", "surrogateescape"), tltype="dictionary")
        told = found["sha-256"][0]
    except (http_sf.StructuredFieldError, ValueError, KeyError, TypeError):
        told = None
    if not isinstance(told, bytes) or not hmac.compare_digest(told, hashlib.sha256(body).digest()):
        raise CredentialRefused(
            Reason.DIGEST_MISMATCH, f"{DIGEST_HEADER} must be the sha-256 of the body (RFC 9530), and isn't."
        )


def content_digest(body: bytes) -> str:
    """The value of ``Content-Digest`` for ``body``."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def signed_headers_v2(
    secret: bytes,
    method: str,
    target: str,
    *,
    created: int,
    nonce: str,
    more: Mapping[str, str] | None = None,
    keyid: str = "",
    body: bytes | None = None,
) -> dict[str, str]:
    """All headers of a request that is signed at ``created`` (Unix seconds): ``more``, and the signature's own.

    ``target`` is the request line's. Each of ``more`` is covered.
    """
    sent = dict(more or {})
    if body is not None:
        sent[DIGEST_HEADER] = content_digest(body)
    fields = {name.lower(): [value] for name, value in sent.items()}
    covered = [*REQUIRED, *fields]
    parameters: dict[str, Any] = {
        "created": created,
        **({"keyid": keyid} if keyid else {}),
        "alg": ALGORITHM,
        "nonce": nonce,
        "tag": TAG,
    }
    base = signature_base(Message(method, target, lambda name: fields.get(name, [])), covered, parameters)
    signed = base64.b64encode(mac(secret, base)).decode()
    return {
        **sent,
        INPUT_HEADER: f"{LABEL}={signature_params(covered, parameters)}",
        SIGNATURE_HEADER: f"{LABEL}=:{signed}:",
    }


def _check_parameters(parameters: Mapping[str, Any]) -> int | None:
    """``created``, where there is one. Raises BadSyntax."""
    for name in _STRINGS:
        if name in parameters and type(parameters[name]) is not str:
            raise BadSyntax(f"The signature's {name} must be a string in quotation marks.")
    for name in _TIMES:
        # A boolean is an int to Python, and not to a signer.
        if name in parameters and type(parameters[name]) is not int:
            raise BadSyntax(f"The signature's {name} must be Unix seconds, a whole number.")
    if parameters.get("tag") != TAG:
        raise BadSyntax(f'The signature\'s tag must be "{TAG}".')
    if parameters.get("alg", ALGORITHM) != ALGORITHM:
        raise BadSyntax(f"The signature's alg must be {ALGORITHM}, or absent.")
    created: int | None = parameters.get("created")
    return created


def _check_covered(covered: Sequence[str], names: Iterable[str], *, has_body: bool) -> None:
    if len(covered) > _MOST_COVERED:
        raise _incomplete(f"covers {len(covered)} components, and may cover {_MOST_COVERED}")
    if len(set(covered)) != len(covered):
        raise _incomplete("covers something twice")
    if wrong := [name for name in covered if name.startswith("@") and name not in _DERIVED]:
        raise _incomplete(f"covers {wrong[0]!r}, and of derived components it may cover {', '.join(sorted(_DERIVED))}")
    if wrong := [name for name in covered if name != name.lower()]:
        raise _incomplete(f"covers {wrong[0]!r}: names of headers are in lower case there")
    ours = [name.lower() for name in names if name.lower().startswith(OURS)]
    wanted = [*REQUIRED, *ours, *([DIGEST_HEADER.lower()] if has_body else [])]
    if missing := [name for name in dict.fromkeys(wanted) if name not in covered]:
        raise _incomplete(f"must also cover {', '.join(missing)}")


def _incomplete(what: str) -> CredentialRefused:
    shown = what if len(what) <= _LONGEST_TOLD else what[:_LONGEST_TOLD] + "…"
    return CredentialRefused(Reason.SIGNATURE_INCOMPLETE, f"The signature {shown}.")


def _check_times(created: int | None, expires: int | None, now: float, terms: Terms) -> int:
    if created is None:
        raise CredentialRefused(Reason.EXPIRED, "The signature must say when it was made: created is missing.")
    away = f"created {created - int(now):+d} s"
    if abs(int(now) - created) > terms.max_age:
        raise CredentialRefused(
            Reason.EXPIRED,
            f"The signature's created is more than {terms.max_age:g} s away from this server's clock: "
            "compare yours with the Date header of this answer.",
            detail=away,
        )
    if created < terms.started and terms.gone_back:
        raise CredentialRefused(
            Reason.EXPIRED,
            f"{GONE_BACK} by {terms.gone_back:.0f} s since it started, and it can't know what was used by then: it "
            f"takes RFC 9421 signatures again in {math.ceil(terms.started - now)} s, or when it is restarted.",
            detail=away,
        )
    if created < terms.started:
        raise CredentialRefused(
            Reason.EXPIRED,
            "The signature was made before this proxy started, which can't know if it was used by then: sign anew.",
            detail=away,
        )
    if expires is not None and expires <= now:
        raise CredentialRefused(Reason.EXPIRED, "The signature's expires is over: sign anew.", detail=away)
    return created


def _nonce(parameters: Mapping[str, Any]) -> str:
    nonce: str = parameters.get("nonce", "")
    if len(nonce) not in NONCE_LENGTHS:
        raise CredentialRefused(
            Reason.REPLAYED,
            f"The signature must have a nonce of {NONCE_LENGTHS[0]} to {NONCE_LENGTHS[-1]} characters, a new one each "
            "time: without it the request could be sent again.",
        )
    return nonce


def _signer(base: bytes, signature: Signature, keys: Sequence[Key]) -> Key:
    signer: Key | None = None
    for key in keys:  # every key, whether or not one matched already: the time taken tells nothing
        if hmac.compare_digest(mac(key.secret, base), signature.mac):
            signer = key
    if signer is None:
        raise CredentialRefused(
            Reason.BAD_SIGNATURE,
            "The signature doesn't match. Sign the base of RFC 9421 §2.5 with HMAC-SHA256 and the current secret; "
            "@path and @query are the bytes of the request line.",
        )
    return signer
