"""What the proxy answers, for a person: each refusal with what to do, and by which name the proxy knows a session."""

from __future__ import annotations

import json
import re
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.cli.sign import V1, V2
from k8s_ws_proxy.errors import ProxyError, Reason
from k8s_ws_proxy.wire.requests.signing_v2 import GONE_BACK

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiohttp

CLOCKS_AGREE: Final = 2.0  # seconds: a Date header has only whole ones, and an answer is some time on its way
_ID: Final = re.compile(r"[0-9A-Za-z_-]{1,64}", re.ASCII)

V1_ONLY: Final = frozenset(
    reason.value for reason in (Reason.MISSING_TIMESTAMP, Reason.MISSING_HMAC, Reason.SIGNATURE_NOT_ACCEPTED)
)
"""What a request signed as v2 is told by a proxy that is older than v2, and by one where v2 is switched off."""
V2_ONLY: Final = Reason.SIGNATURE_V2_REQUIRED.value

_LATER: Final = frozenset(
    reason.value
    for reason in (
        Reason.TOO_MANY_SESSIONS,
        Reason.TOO_MANY_IN_NAMESPACE,
        Reason.TOO_MANY_OF_USER,
        Reason.TOO_MANY_REQUESTS,
        Reason.TOO_MANY_HANDSHAKES,
        Reason.TOO_MANY_CONNECTIONS,
        Reason.NO_DESCRIPTORS,
        Reason.SHUTTING_DOWN,
    )
)
_HINTS: Final = {
    Reason.REPLAYED.value: "Each request of this program is signed anew: something between here and the proxy sent it "
    "a second time. Try again, and look what stands between.",
    Reason.SUBJECT_DENIED.value: "CLIENT_CERT_ALLOWED_SUBJECTS of the proxy must hold the CN or a DNS name of the one "
    "in --cert.",
    Reason.WRONG_NODE.value: "Is --url (or K8S_WS_PROXY_URL) the address of the proxy on that node?",
    Reason.IDENTITY_DENIED.value: "Kubernetes' own names are nobody's here: name a person and their groups with --as "
    "and --as-group, or use another certificate.",
    Reason.NAMESPACE_DENIED.value: "Ask whoever runs the proxy to add the namespace, or use a proxy that may reach it.",
    Reason.SUBRESOURCE_DENIED.value: "Ask whoever runs the proxy to switch it on.",
    Reason.PORT_DENIED.value: "Ask whoever runs the proxy to allow the port.",
    Reason.NO_RUNNING_POD.value: "Is the name right, and does a pod of that name or label run?",
}


class Refused(ProxyError):
    """The proxy said no; ``reason`` is its word for why, ``date`` its clock's time as the answer has it."""

    def __init__(self, message: str, *, reason: str, date: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.date = date


def refused(
    response: aiohttp.ClientResponse, body: bytes, version: str | None, given: tuple[str, ...] = ()
) -> ProxyError:
    """What to say of an answer that isn't the one asked for.

    ``version`` is how the request was signed, None where it was by certificate; ``given`` are the options that left no
    choice.
    """
    status = response.status
    try:
        told = json.loads(body)
        sentence, reason = printable(str(told["error"])), printable(str(told["reason"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        phrase = printable(response.reason or "")
        return ProxyError(
            f"{response.url.origin()} answered {status} {phrase} and isn't k8s-ws-proxy, by that answer: "
            "check --url, and what stands between"
        )
    date = response.headers.get("Date", "")
    lines = [f"the proxy refused ({status} {reason}): {sentence}"]
    if hint := advice(reason, response.headers, version, given, sentence=sentence):
        lines.append(hint)
    return Refused(named("\n".join(lines), session_of(response)), reason=reason, date=date)


def session_of(response: aiohttp.ClientResponse) -> str:
    """By which name the proxy's log and the apiserver's know the session; empty where there was none."""
    session = response.headers.get("X-Session-Id", "")
    return session if _ID.fullmatch(session) else ""


def named(problem: str, session: str) -> str:
    """``problem``, and what a person can name to whoever runs the proxy."""
    return f"{problem}\nIn the proxy's log this is session {session}." if problem and session else problem


def printable(text: str) -> str:
    """``text`` from a peer, without what a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)


def ahead(date: str) -> float | None:
    """By how many seconds this machine's clock is ahead of a ``Date`` header; None for one that is none."""
    try:
        return time.time() - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


def advice(
    reason: str, headers: Mapping[str, str], version: str | None, given: tuple[str, ...] = (), *, sentence: str = ""
) -> str:
    """What to do, beyond the ``sentence`` that the proxy says itself; ``headers`` are its answer's, as far as known."""
    match reason:
        case Reason.EXPIRED.value if sentence.startswith(GONE_BACK):
            return "Tell whoever runs the proxy: signing anew doesn't help."
        case Reason.EXPIRED.value:
            return _clocks(headers.get("Date", ""), version)
        case Reason.BAD_SIGNATURE.value:
            hint = "Is the file named by --secret-file (or SHARED_SECRET_FILE) the secret that this proxy accepts now?"
            changed = " If it is, something between here and the proxy changes what is asked for."
            return hint + changed if version == V2 else hint
        case _ if reason in V1_ONLY or reason == V2_ONLY:
            return _other_version(reason, version, given)
        case Reason.USER_REQUIRED.value:
            return "Use a certificate that has a CN." if version is None else "Say for whom this is with --as USER."
        case _ if reason in _LATER:
            seconds = printable(headers.get("Retry-After", ""))
            return f"Try again in {seconds} s." if seconds else "Try again in a while."
    return _HINTS.get(reason, "")


def _other_version(reason: str, version: str | None, given: tuple[str, ...]) -> str:
    """The proxy looks for another signature than it was sent."""
    if version is None:
        return "The certificate wasn't asked for: is --url the TLS listener, with TLS_CLIENT_CA_FILE set there?"
    if version == V2 and reason in V1_ONLY:
        return (
            f"This proxy doesn't take RFC 9421 signatures, and {V1}, which covers the path only, isn't enough for "
            f"{', '.join(given) or 'what it asked for before'}. Do without, or ask whoever runs the proxy to upgrade "
            f"it, or to accept {V2} (ACCEPTED_SIGNATURES)."
        )
    if version == V1 and reason == V2_ONLY:
        return f"Leave out --sign {V1}, or write --sign {V2}: this proxy takes RFC 9421 signatures only."
    names = "X-Catalyst-..." if version == V1 else "Signature and Signature-Input"
    return f"They were sent: something between here and the proxy takes the {names} headers out."


def _clocks(date: str, version: str | None) -> str:
    off = ahead(date)
    if off is None:
        return "Set this machine's clock right."
    if version == V2 and abs(off) <= CLOCKS_AGREE:
        return (
            "The clocks agree. Has the proxy just been started? It refuses what was signed before: run this again, "
            "which signs anew."
        )
    return (
        f"This machine's clock is {abs(round(off))} s {'ahead of' if off > 0 else 'behind'} the proxy's: set it right."
    )
