"""Every error that leaves this package, and what each reason means to a caller.

::

    ProxyError
    ├── SettingsError               the environment is wrong: every mistake at once, exit status 2
    ├── KeySourceError              a key file or directory can't be used
    ├── CertificateError            a certificate, its key or a CA can't be used
    ├── ClusterConfigError          neither in-cluster files nor a kubeconfig can be used
    ├── ClusterApiError             the apiserver doesn't do what a command asked of it
    │   └── ClusterApiUnavailable   ... now: it may be worth trying again
    │       └── ClusterApiTimeout   ... in time
    ├── RotationError               the Secret's keys can't be rotated as it is
    │   ├── RotationRefused         not now, or not in this way
    │   └── RotationUnfinished      time is up: running it again goes on
    ├── Refusal                     a request is turned away; carries a Reason
    │   └── CredentialRefused       ... because of who is asking
    └── UpstreamError               the apiserver leg failed; carries a Reason
        ├── UpstreamRefused         it answered, and not with 101
        ├── UpstreamUnreachable     no connection, or TLS failed
        ├── UpstreamNotTried        it wasn't asked: there is no descriptor left here
        ├── UpstreamTimeout         no answer within the handshake time-out
        └── UpstreamProtocolError   it answered something that is not a WebSocket handshake

``str(error)`` is what the peer may read. ``error.detail`` is for the log only.

A few more are caught one floor above the one that raises them, and become one of these or a session's end:

    StreamLost                  relay.stream: the connection broke
    FrameViolation              wire.framing.frames: a peer broke RFC 6455
    HandshakeRefused            wire.framing.tls_records: a TLS handshake is none, or too long
    BodyViolation               wire.http.body: a body isn't what its head says
    BadSyntax, HasParameters,   wire.requests.message_signature: it can't be read; it covers what has parameters,
    NotThere                    or isn't there
    Unfinished                  wire.container.shell_split: a quotation stays open
    NotStarted, Nonsense        wire.container.greeting: the shell ended; what answers isn't it
    NotAReportError             rotation.fleet: a pod's answer isn't one
    NotTold, _Denied            cli.sessions_told, cli.sessions_fleet: an answer isn't the session API's; it is a 403
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal, assert_never

LogLevel = Literal["debug", "info", "warning", "error"]


class Reason(Enum):
    """Why a request was refused or a dial failed: stable ``snake_case`` names (docs/reference/answers.md).

    The value is what stands in an error body, in the log and in a metric's label.
    """

    BAD_PATH = "bad_path"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    UPGRADE_REQUIRED = "upgrade_required"
    MALFORMED_REQUEST = "malformed_request"
    REQUEST_TIMEOUT = "request_timeout"
    BAD_QUERY = "bad_query"
    BAD_BODY = "bad_body"
    BAD_HANDSHAKE = "bad_handshake"
    UNKNOWN_SUBPROTOCOL = "unknown_subprotocol"
    MISSING_TIMESTAMP = "missing_timestamp"
    MALFORMED_TIMESTAMP = "malformed_timestamp"
    MISSING_HMAC = "missing_hmac"
    MALFORMED_HMAC = "malformed_hmac"
    EXPIRED = "expired"
    BAD_SIGNATURE = "bad_signature"
    MALFORMED_SIGNATURE = "malformed_signature"
    SIGNATURE_INCOMPLETE = "signature_incomplete"
    REPLAYED = "replayed"
    DIGEST_MISMATCH = "digest_mismatch"
    TWO_CREDENTIALS = "two_credentials"
    SIGNATURE_V2_REQUIRED = "signature_v2_required"
    SIGNATURE_NOT_ACCEPTED = "signature_not_accepted"
    BAD_TICKET = "bad_ticket"
    SUBJECT_DENIED = "subject_denied"
    CERTIFICATE_EXPIRED = "certificate_expired"
    MALFORMED_IDENTITY = "malformed_identity"
    IDENTITY_UNSIGNED = "identity_unsigned"
    WRONG_NODE = "wrong_node"
    USER_REQUIRED = "user_required"
    IDENTITY_DENIED = "identity_denied"
    ORIGIN_DENIED = "origin_denied"
    ACCESS_DENIED = "access_denied"
    NAMESPACE_DENIED = "namespace_denied"
    SUBRESOURCE_DENIED = "subresource_denied"
    PORT_DENIED = "port_denied"
    NO_RUNNING_POD = "no_running_pod"
    NO_SUCH_SESSION = "no_such_session"
    NOT_A_TERMINAL = "not_a_terminal"
    TOO_MANY_SESSIONS = "too_many_sessions"
    TOO_MANY_IN_NAMESPACE = "too_many_sessions_in_namespace"
    TOO_MANY_OF_USER = "too_many_sessions_of_user"
    TOO_MANY_REQUESTS = "too_many_requests"
    TOO_MANY_TICKETS = "too_many_tickets"
    TOO_MANY_HANDSHAKES = "too_many_handshakes"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    NO_DESCRIPTORS = "no_descriptors"
    SHUTTING_DOWN = "shutting_down"
    UPSTREAM_REFUSED = "upstream_refused"
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    UPSTREAM_PROTOCOL = "upstream_protocol"
    INTERNAL_ERROR = "internal_error"


@dataclass(frozen=True, slots=True)
class Rule:
    """What follows from a reason: HTTP status, log level, and ``Retry-After`` in seconds where one is sent."""

    status: int
    level: LogLevel
    retry_after: int | None = None


def rule(reason: Reason) -> Rule:  # noqa: C901 - a table has as many rows as it has
    """The one table from reason to answer (docs/reference/answers.md).

    A dial's failure has the status it gets on ``/api/v1/...``; on ``/proxy/...`` it is told on channel 3.
    """
    match reason:
        case Reason.BAD_PATH:
            return Rule(404, "debug")
        case Reason.METHOD_NOT_ALLOWED:
            return Rule(405, "info")
        case Reason.UPGRADE_REQUIRED:
            return Rule(426, "info")
        case (
            Reason.MALFORMED_REQUEST
            | Reason.BAD_QUERY
            | Reason.BAD_BODY
            | Reason.BAD_HANDSHAKE
            | Reason.UNKNOWN_SUBPROTOCOL
        ):
            return Rule(400, "info")
        case Reason.NO_SUCH_SESSION:
            return Rule(404, "info")
        case Reason.NOT_A_TERMINAL:
            return Rule(409, "info")
        case Reason.MALFORMED_IDENTITY | Reason.IDENTITY_UNSIGNED:
            return Rule(400, "warning")
        case Reason.WRONG_NODE:
            return Rule(421, "warning")
        case Reason.REQUEST_TIMEOUT:
            return Rule(408, "info")
        case (
            Reason.MISSING_TIMESTAMP
            | Reason.MALFORMED_TIMESTAMP
            | Reason.MISSING_HMAC
            | Reason.MALFORMED_HMAC
            | Reason.EXPIRED
            | Reason.BAD_SIGNATURE
            | Reason.MALFORMED_SIGNATURE
            | Reason.SIGNATURE_INCOMPLETE
            | Reason.REPLAYED
            | Reason.DIGEST_MISMATCH
            | Reason.TWO_CREDENTIALS
            | Reason.SIGNATURE_V2_REQUIRED
            | Reason.SIGNATURE_NOT_ACCEPTED
            | Reason.BAD_TICKET
            | Reason.SUBJECT_DENIED
            | Reason.CERTIFICATE_EXPIRED
        ):
            return Rule(401, "warning")
        case Reason.NAMESPACE_DENIED | Reason.SUBRESOURCE_DENIED | Reason.PORT_DENIED:
            return Rule(403, "warning")
        case Reason.USER_REQUIRED | Reason.IDENTITY_DENIED | Reason.ORIGIN_DENIED | Reason.ACCESS_DENIED:
            return Rule(403, "warning")
        case Reason.NO_RUNNING_POD:
            return Rule(404, "warning")
        case (
            Reason.TOO_MANY_SESSIONS | Reason.TOO_MANY_IN_NAMESPACE | Reason.TOO_MANY_OF_USER | Reason.TOO_MANY_TICKETS
        ):
            return Rule(429, "warning", retry_after=5)
        case Reason.TOO_MANY_HANDSHAKES | Reason.TOO_MANY_REQUESTS:
            return Rule(429, "warning", retry_after=1)
        case Reason.TOO_MANY_CONNECTIONS:
            return Rule(503, "warning", retry_after=1)
        case Reason.NO_DESCRIPTORS:
            return Rule(503, "error", retry_after=5)
        case Reason.SHUTTING_DOWN:
            return Rule(503, "info", retry_after=5)
        case Reason.UPSTREAM_REFUSED | Reason.UPSTREAM_UNREACHABLE | Reason.UPSTREAM_PROTOCOL:
            return Rule(502, "warning")
        case Reason.UPSTREAM_TIMEOUT:
            return Rule(504, "warning")
        case Reason.INTERNAL_ERROR:
            return Rule(500, "error")
        case _ as never:
            assert_never(never)


class ProxyError(Exception):
    """The root. ``str()`` is for the peer or the person at the keyboard, ``detail`` for the log."""

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class SettingsError(ProxyError):
    """The environment can't be used. ``mistakes`` holds one sentence each; the message holds all of them."""

    def __init__(self, mistakes: list[str]) -> None:
        lines = "\n".join(f"  - {mistake}" for mistake in mistakes)
        super().__init__(f"the settings are wrong:\n{lines}")
        self.mistakes = mistakes


class KeySourceError(ProxyError):
    """A key file or directory is unreadable or holds no usable key."""


class CertificateError(ProxyError):
    """A certificate, its key or a CA file is unreadable, or they don't belong together."""


class ClusterConfigError(ProxyError):
    """Where the apiserver is, or how to speak to it, can't be found out."""


class ClusterApiError(ProxyError):
    """The apiserver refused something, or answered nonsense. ``status`` is HTTP's, 0 without an answer."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class ClusterApiUnavailable(ClusterApiError):
    """It can't be reached, or says that it can't now."""


class ClusterApiTimeout(ClusterApiUnavailable):
    """No answer in time: its own, or that of what stands behind it."""


class RotationError(ProxyError):
    """The Secret, or what stands in its annotation, isn't what a rotation can work with."""


class RotationRefused(RotationError):
    """What was asked for can't be done in the state that the rotation is in."""


class RotationUnfinished(RotationError):
    """The time given is up. Nothing is lost: what was reached is written down."""


class Refusal(ProxyError):
    """A request that is turned away, with the reason the caller is told."""

    def __init__(self, reason: Reason, message: str, *, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.reason = reason
        self.level: LogLevel | None = None  # where it isn't the reason's own
        self.allow: tuple[str, ...] = ("GET",)  # the methods that there are, where it is for the method
        self.session = ""  # the id of the one that it would have been, if it had come so far


class CredentialRefused(Refusal):
    """The caller isn't who it must be: 401. Its message never holds an expected signature."""


class UpstreamError(ProxyError):
    """The apiserver leg failed before it became a session.

    ``status`` is the HTTP status for a caller on ``/api/v1/...``; ``body`` is the apiserver's own answer where it
    gave one, to be handed on there untouched.
    """

    reason = Reason.UPSTREAM_UNREACHABLE

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.status = rule(self.reason).status


class UpstreamRefused(UpstreamError):
    """The apiserver answered the upgrade with another status than 101; ``retry_after`` in seconds, if it said so."""

    reason = Reason.UPSTREAM_REFUSED

    def __init__(
        self, message: str, *, status: int, content_type: str = "", body: bytes = b"", retry_after: int | None = None
    ) -> None:
        super().__init__(message, detail=f"the apiserver answered {status}")
        self.status = status
        self.content_type = content_type
        self.body = body
        self.retry_after = retry_after


class UpstreamUnreachable(UpstreamError):
    """No TCP connection to the apiserver, no TLS on it, or it broke before there was an answer."""


class UpstreamNotTried(UpstreamError):
    """There was no file descriptor for a connection: this says nothing of the apiserver, and may pass in a moment."""

    reason = Reason.NO_DESCRIPTORS


class UpstreamTimeout(UpstreamError):
    """No answer from the apiserver within ``WS_HANDSHAKE_TIMEOUT``."""

    reason = Reason.UPSTREAM_TIMEOUT


class UpstreamProtocolError(UpstreamError):
    """The apiserver's answer isn't a WebSocket handshake (RFC 6455 §4.1)."""

    reason = Reason.UPSTREAM_PROTOCOL
