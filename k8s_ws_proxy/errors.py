"""Every error that leaves this package.

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
    ├── StoreError                  the recordings' store doesn't do what was asked of it
    │   ├── StoreUnusable           it can't even be asked: no library, a wrong URL, credentials that can't be read
    │   ├── StoreAway               it gave no answer, or not in time, or failed itself: it may be worth trying again
    │   ├── StoreRefused            it answered, and said no
    │   └── NotStored               there is no object of that name
    ├── AuditError                  audit lines don't get out to NATS
    │   └── AuditLineTooLong        ... and this one never will
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

    StreamLost, NothingSent     relay.stream: the connection broke; and before a byte of what was asked had left
    FrameViolation              wire.framing.frames: a peer broke RFC 6455
    HandshakeRefused            wire.framing.tls_records: a TLS handshake is none, or too long
    BodyViolation               wire.http.body: a body isn't what its head says
    BadSyntax, HasParameters,   wire.requests.message_signature: it can't be read; it covers what has parameters,
    NotThere                    or isn't there
    _Unreadable                 wire.audit.chain: a line of an audit trail can't be read any more
    Gone                        recordings.cast_file: somebody took the file away
    Unfit, Removed              recordings.waiting: a recording isn't what its receipt says; neither is there any more
    SomethingElse               recordings.beneath: what stands at a path isn't the file or folder that is looked for
    _Differs                    recordings.uploads: the store gave back something else than it was given
    OutOfRange                  wire.http.byte_range: none of the bytes that are asked for are there
    NotACast                    wire.recording.cast_reader: a file is no asciicast
    Unfinished                  wire.container.shell_split: a quotation stays open
    NotStarted, Nonsense        wire.container.greeting: the shell ended; what answers isn't it
    NotAReportError             rotation.fleet: a pod's answer isn't one
    MalformedAnswer             cli.sessions_table: an answer isn't the session API's
    _Denied                     cli.sessions_fleet: a pod's answer is a 403
"""

from __future__ import annotations

from k8s_ws_proxy.reasons import LogLevel
from k8s_ws_proxy.reasons import Reason as Reason  # noqa: PLC0414 - who raises one of these names its reason


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
    """No answer ``within`` so many seconds: its own, or that of what stands behind it."""

    def __init__(self, message: str, *, within: float) -> None:
        super().__init__(message)
        self.within = within


class RotationError(ProxyError):
    """The Secret, or what stands in its annotation, isn't what a rotation can work with."""


class RotationRefused(RotationError):
    """What was asked for can't be done in the state that the rotation is in."""


class RotationUnfinished(RotationError):
    """The time given is up. Nothing is lost: what was reached is written down."""


class StoreError(ProxyError):
    """The recordings' store doesn't do what was asked. The message is made of words of ours, never of its answer."""


class StoreUnusable(StoreError):
    """Nothing can be asked of it: the library isn't installed, or its URL, CA or credentials can't be used."""


class StoreAway(StoreError):
    """No answer, or not in time, or it failed by its own fault (5xx)."""


class StoreRefused(StoreError):
    """It answered, and won't: credentials, rights, no such bucket, a redirect."""


class NotStored(StoreError):
    """There is no object of that name."""


class AuditError(ProxyError):
    """Audit lines can't be brought out to NATS."""


class AuditLineTooLong(AuditError):
    """The server takes no message of this length, now or later."""


class Refusal(ProxyError):
    """A request that is turned away, with the reason the caller is told."""

    def __init__(self, reason: Reason, message: str, *, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.reason = reason
        self.level: LogLevel | None = None  # where it isn't the reason's own
        self.allow: tuple[str, ...] = ("GET",)  # the methods that there are, where it is for the method
        self.size = 0  # bytes that there are, where it is for the range
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
        self.status = self.reason.rule.status


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
    """No TCP connection to the apiserver, no TLS on it, or it broke before there was an answer.

    ``asked``: it may have got the request by then, so that this isn't to be made again.
    """

    def __init__(self, message: str, *, detail: str = "", asked: bool = False) -> None:
        super().__init__(message, detail=detail)
        self.asked = asked


class UpstreamNotTried(UpstreamError):
    """There was no file descriptor for a connection: this says nothing of the apiserver, and may pass in a moment."""

    reason = Reason.NO_DESCRIPTORS


class UpstreamTimeout(UpstreamError):
    """No answer from the apiserver within ``WS_HANDSHAKE_TIMEOUT``."""

    reason = Reason.UPSTREAM_TIMEOUT


class UpstreamProtocolError(UpstreamError):
    """The apiserver's answer isn't a WebSocket handshake (RFC 6455 §4.1)."""

    reason = Reason.UPSTREAM_PROTOCOL
