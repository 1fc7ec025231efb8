"""Every reason for which a request is turned away: what is answered, when, and what to do.

``make docs`` makes the table in docs/reference/answers.md from these rows, so the texts are Markdown.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal, Self

LogLevel = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Rule:
    """What follows from a reason: HTTP status, log level, and ``Retry-After`` in seconds where one is sent.

    A failed dial has its status on ``/api/v1/...``; on ``/proxy/...`` it is told on channel 3.
    """

    status: int
    level: LogLevel
    retry_after: int | None = None


class Reason(Enum):
    """Why a request was refused or a dial failed.

    The value is a stable ``snake_case`` name, which stands in an error body, in the log and in a metric's label. Beside
    it stand what follows, when it happens, and what to do about it.
    """

    _value_: str
    rule: Rule
    when: str
    remedy: str

    def __new__(cls, name: str, rule: Rule, when: str, remedy: str) -> Self:  # noqa: D102 - a row
        self = object.__new__(cls)
        self._value_ = name
        self.rule, self.when, self.remedy = rule, when, remedy
        return self

    BAD_PATH = (
        "bad_path",
        Rule(404, "debug"),
        (
            "the path isn't exactly a route. This is found out before authentication; it is logged at info if the "
            "caller's certificate is let in"
        ),
        "compare it with [the routes](requests.md): an empty segment, a slash at the end, upper case",
    )
    METHOD_NOT_ALLOWED = (
        "method_not_allowed",
        Rule(405, "info"),
        "the method isn't GET, or on `/proxy/sessions...` none of the route's",
        "the answer's `Allow` has those that there are",
    )
    UPGRADE_REQUIRED = (
        "upgrade_required",
        Rule(426, "info"),
        "no upgrade to WebSocket version 13 was asked for; this is found out after authentication",
        "look for a load balancer that drops `Upgrade` and `Connection`",
    )
    MALFORMED_REQUEST = (
        "malformed_request",
        Rule(400, "info"),
        (
            "it isn't valid HTTP/1.1, or is too long: a request line over 128 KiB, a header over 16 KiB, both over 160 "
            "KiB, a body over 64 KiB"
        ),
        "is HTTP/2 or TLS spoken to the plain listener? is the command over 128 KiB?",
    )
    REQUEST_TIMEOUT = (
        "request_timeout",
        Rule(408, "info"),
        "the request's head wasn't complete `WS_HANDSHAKE_TIMEOUT` after its first byte",
        "a slow or broken network, or a port scan",
    )
    BAD_QUERY = (
        "bad_query",
        Rule(400, "info"),
        "a parameter can't be used: a container that is no DNS label, a NUL in an argument",
        "the answer names it",
    )
    BAD_BODY = (
        "bad_body",
        Rule(400, "info"),
        "the body of a request for a session isn't the JSON that is asked for",
        "the answer says what is wrong with it",
    )
    BAD_HANDSHAKE = (
        "bad_handshake",
        Rule(400, "info"),
        (
            "the upgrade isn't as RFC 6455 wants it: HTTP/1.0, a body or a header that speaks of one "
            "(`Content-Length: 0` doesn't), a bad `Sec-WebSocket-Key`"
        ),
        "use a WebSocket library",
    )
    UNKNOWN_SUBPROTOCOL = (
        "unknown_subprotocol",
        Rule(400, "info"),
        "none of the subprotocols offered is known",
        "offer one that the answer names",
    )
    MISSING_TIMESTAMP = (
        "missing_timestamp",
        Rule(401, "warning"),
        "`X-Catalyst-Timestamp` isn't there",
        "sign the request; look for a proxy that drops the header",
    )
    MALFORMED_TIMESTAMP = (
        "malformed_timestamp",
        Rule(401, "warning"),
        "`X-Catalyst-Timestamp` isn't a decimal number, or comes twice",
        "send Unix seconds in decimal digits, once",
    )
    MISSING_HMAC = (
        "missing_hmac",
        Rule(401, "warning"),
        "`X-Catalyst-HMAC` isn't there",
        "as for the timestamp",
    )
    MALFORMED_HMAC = (
        "malformed_hmac",
        Rule(401, "warning"),
        "`X-Catalyst-HMAC` isn't 64 hex digits, or comes twice",
        "send hex, not base64, once",
    )
    EXPIRED = (
        "expired",
        Rule(401, "warning"),
        (
            "the timestamp is further off than `HMAC_SKEW_SECONDS`. RFC 9421: `created` is missing, is further off "
            "than `SIGNATURE_MAX_AGE` or before the proxy started, or `expires` is over; or the proxy's own clock has "
            "gone back to before its start, and the answer says so"
        ),
        (
            "set the caller's clock right; the answer's `Date` is the proxy's. Sign each request anew, one that is "
            "tried again, too. Where the proxy's clock has gone back, restart its pod"
        ),
    )
    BAD_SIGNATURE = (
        "bad_signature",
        Rule(401, "warning"),
        "no accepted key made this signature, even after another look at the key files",
        "does the caller have the current key (`keys status`)? does it sign the decoded path without query?",
    )
    MALFORMED_SIGNATURE = (
        "malformed_signature",
        Rule(401, "warning"),
        "RFC 9421: one of the two headers is missing, comes twice, isn't one signature, or has another `tag` or `alg`",
        "the answer says what is wrong: look at the caller's signing, and at what stands between and changes headers",
    )
    SIGNATURE_INCOMPLETE = (
        "signature_incomplete",
        Rule(401, "warning"),
        "RFC 9421: the signature doesn't cover all that it must, or covers something that it can't",
        "let the caller cover `@method`, `@path`, `@query` and each `X-Catalyst-` header that it sends",
    )
    REPLAYED = (
        "replayed",
        Rule(401, "warning"),
        "RFC 9421: the nonce is missing, too short or too long, or was used already",
        "a caller that sends a request again must sign it anew; if it doesn't, somebody else sends it: rotate the key",
    )
    DIGEST_MISMATCH = (
        "digest_mismatch",
        Rule(401, "warning"),
        "RFC 9421: `Content-Digest` isn't the body's",
        "look for what changes bodies on the way",
    )
    TWO_CREDENTIALS = (
        "two_credentials",
        Rule(401, "warning"),
        "both kinds of signature in one request, or one beside a ticket",
        "let the caller send one",
    )
    SIGNATURE_V2_REQUIRED = (
        "signature_v2_required",
        Rule(401, "warning"),
        (
            "the request has no RFC 9421 signature, and `v1` isn't among `ACCEPTED_SIGNATURES`, or it is for the "
            "session API, which takes no v1"
        ),
        "let the caller sign with RFC 9421; outside of that API, put `v1` back until it does",
    )
    SIGNATURE_NOT_ACCEPTED = (
        "signature_not_accepted",
        Rule(401, "warning"),
        "the request has an RFC 9421 signature, and `v2` isn't among `ACCEPTED_SIGNATURES`",
        "add it",
    )
    BAD_TICKET = (
        "bad_ticket",
        Rule(401, "warning"),
        "the ticket was used, has expired, is unknown, or is for something else; or the stream's request has none",
        "issue a new one; each is good once, on the node that issued it",
    )
    SUBJECT_DENIED = (
        "subject_denied",
        Rule(401, "warning"),
        "the client certificate is good, but its CN and DNS names aren't listed, or aren't UTF-8",
        "the log has its CN and DNS names: add one to `CLIENT_CERT_ALLOWED_SUBJECTS`",
    )
    CERTIFICATE_EXPIRED = (
        "certificate_expired",
        Rule(401, "warning"),
        (
            "the client certificate was good in its handshake, and isn't now that the TLS session is resumed or the "
            "connection used again"
        ),
        "renew it. A caller that connects anew with it fails in the handshake",
    )
    MALFORMED_IDENTITY = (
        "malformed_identity",
        Rule(400, "warning"),
        "an `X-Catalyst-User`, `-Groups` or `-Reason` can't be read",
        "the answer says which, and how it must look",
    )
    IDENTITY_UNSIGNED = (
        "identity_unsigned",
        Rule(400, "warning"),
        "one of these headers beside a v1 signature, a client certificate or a ticket",
        "sign with RFC 9421; a certificate and a ticket say themselves who it is",
    )
    WRONG_NODE = (
        "wrong_node",
        Rule(421, "warning"),
        "`X-Catalyst-Node` isn't `NODE_NAME`: the request is meant for another node's daemon",
        "let the caller address the node that it names; `NODE_NAME` must be set",
    )
    USER_REQUIRED = (
        "user_required",
        Rule(403, "warning"),
        "`IDENTITY=user`, and the request names no user",
        "move the caller to RFC 9421 and `X-Catalyst-User`, or go back to another `IDENTITY` until it has",
    )
    IDENTITY_DENIED = (
        "identity_denied",
        Rule(403, "warning"),
        "the user or a group begins with `system:`, or can't be sent in a header",
        "nobody is let in under such a name: find out who asks for it",
    )
    ORIGIN_DENIED = (
        "origin_denied",
        Rule(403, "warning"),
        "a ticket was sent by a page whose `Origin` is neither this host's nor in `ALLOWED_ORIGINS`",
        "if the page is yours, add its origin to `ALLOWED_ORIGINS`",
    )
    ACCESS_DENIED = (
        "access_denied",
        Rule(403, "warning"),
        "the apiserver says that who is asking may not do this",
        (
            "the answer says what, and to whom: grant it, or don't. [Others' "
            "sessions](../operations.md#as-whom-sessions-run) need rights of their own"
        ),
    )
    NAMESPACE_DENIED = (
        "namespace_denied",
        Rule(403, "warning"),
        "the namespace isn't in `ALLOWED_NAMESPACES`",
        "add it, or don't",
    )
    SUBRESOURCE_DENIED = (
        "subresource_denied",
        Rule(403, "warning"),
        "exec, attach, log or port-forward isn't in `ALLOWED_SUBRESOURCES`",
        "add it, or don't",
    )
    PORT_DENIED = (
        "port_denied",
        Rule(403, "warning"),
        (
            "a port-forward to a port that isn't in `ALLOWED_PORTS`; or that is set, and a tunnel (`kubectl "
            "port-forward`) doesn't show its port"
        ),
        "add the port, or use `k8s-ws-proxy port-forward default/web 8080`",
    )
    NO_RUNNING_POD = (
        "no_running_pod",
        Rule(404, "warning"),
        "alias resolution is on, there is no pod of that name, and none runs that has it as its label",
        "is the workload up? is `POD_ALIAS_LABEL` the label that it has?",
    )
    NO_SUCH_SESSION = (
        "no_such_session",
        Rule(404, "info"),
        "no session of this id is on this node, or not any more",
        "is it on another node?",
    )
    NO_SUCH_RECORDING = (
        "no_such_recording",
        Rule(404, "info"),
        (
            "no recording of this id is on this node that the caller may read, it has no receipt yet, or there is no "
            "`RECORDING_DIR`"
        ),
        (
            "is it on another node, or in the store? The log's `detail` says so where [a right](recordings.md#who-may) "
            "is missing"
        ),
    )
    BAD_RANGE = (
        "bad_range",
        Rule(416, "info"),
        "none of the bytes that `Range` asks for are there; `Content-Range` says how many there are",
        "ask for others, or for all of it without `Range`",
    )
    RECORDINGS_UNREADABLE = (
        "recordings_unreadable",
        Rule(503, "error", retry_after=5),
        "`RECORDING_DIR` can't be read, or not within ten seconds",
        "the log says why: look at the volume",
    )
    TOO_MANY_READERS = (
        "too_many_readers",
        Rule(429, "warning", retry_after=5),
        "64 requests for recordings are answered at once, or 16 of one caller; or too many lists wait for their turn",
        "find who reads so many (`recording read` in the log), or let them read one after the other",
    )
    NOT_A_TERMINAL = (
        "not_a_terminal",
        Rule(409, "info"),
        "only a session with a terminal can be watched or joined, and none that is ending",
        "open one with `tty`",
    )
    TOO_MANY_SESSIONS = (
        "too_many_sessions",
        Rule(429, "warning", retry_after=5),
        "`MAX_SESSIONS` are open",
        "`k8s_ws_proxy_sessions_open` tells for how long; raise it together with the memory limit",
    )
    TOO_MANY_IN_NAMESPACE = (
        "too_many_sessions_in_namespace",
        Rule(429, "warning", retry_after=5),
        "`MAX_SESSIONS_PER_NAMESPACE` are open there",
        "find who opens them (`session opened` in the log), or raise it",
    )
    TOO_MANY_OF_USER = (
        "too_many_sessions_of_user",
        Rule(429, "warning", retry_after=5),
        "`MAX_SESSIONS_PER_USER` are open of this user",
        "find what opens them (`session opened` in the log has the user), or raise it",
    )
    TOO_MANY_REQUESTS = (
        "too_many_requests",
        Rule(429, "warning", retry_after=1),
        "no more nonces can be remembered: 20,000 signatures within two `SIGNATURE_MAX_AGE`",
        "find who signs so much (`k8s_ws_proxy_key_requests_total`), or lower `SIGNATURE_MAX_AGE`",
    )
    TOO_MANY_TICKETS = (
        "too_many_tickets",
        Rule(429, "warning", retry_after=5),
        "`MAX_TICKETS` are out, or the sessions that wait for theirs take 16 MiB",
        "find who issues and doesn't use them, or raise it",
    )
    TOO_MANY_HANDSHAKES = (
        "too_many_handshakes",
        Rule(429, "warning", retry_after=1),
        "`MAX_HANDSHAKES` are being dialled, or their requests take 16 MiB of memory",
        "the apiserver is slow: look at `k8s_ws_proxy_dial_seconds`",
    )
    TOO_MANY_CONNECTIONS = (
        "too_many_connections",
        Rule(503, "warning", retry_after=1),
        (
            "more connect at once than there is room for, and don't say who they are: the oldest of them is closed. "
            "Known callers aren't touched. One line a second says how many it were"
        ),
        (
            "find who connects, by the NetworkPolicy or on the node (`ss -tn`): a port scan, a flood, a client that "
            "opens connections in store"
        ),
    )
    NO_DESCRIPTORS = (
        "no_descriptors",
        Rule(503, "error", retry_after=5),
        "all file descriptors but 32 are in use; if those are, too, it is told to whoever connects",
        (
            "raise the container's limit of open files; a session takes two, so look at `k8s_ws_proxy_sessions_open` "
            "and `process_open_fds`, too"
        ),
    )
    AUDIT_UNAVAILABLE = (
        "audit_unavailable",
        Rule(503, "error", retry_after=5),
        "`AUDIT_REQUIRED` is on, and an audit line can be written nowhere",
        (
            "the log's `detail` and `/readyz` say what is wrong with each way out: a full disk, a stderr that nobody "
            "reads, NATS away and `AUDIT_DIR` full. Sessions that are open go on"
        ),
    )
    SHUTTING_DOWN = (
        "shutting_down",
        Rule(503, "info", retry_after=5),
        "after SIGTERM; to who is still being dialled, when the drain ends",
        "the caller tries again; the node's next pod answers",
    )
    RECORDING_UNAVAILABLE = (
        "recording_unavailable",
        Rule(503, "error", retry_after=5),
        (
            "the session has to be recorded, and its recording can't be begun: the directory isn't there or can't be "
            "written, fewer than `RECORDING_MIN_FREE` bytes are free, the disk doesn't answer; or one that was issued "
            "with `record: true` comes to a proxy without `RECORDING_DIR`"
        ),
        "the log and `/readyz` say which; make room on the disk, or look at [recordings](../operations.md#recordings)",
    )
    UPSTREAM_REFUSED = (
        "upstream_refused",
        Rule(502, "warning"),
        "the apiserver answered with another status than 101",
        "its answer is in the log: mostly a pod or container that isn't there, or the ClusterRole lacks a verb",
    )
    UPSTREAM_UNREACHABLE = (
        "upstream_unreachable",
        Rule(502, "warning"),
        "no TCP, no TLS, no usable configuration, or the connection broke before the answer",
        "`/readyz` says why: address, certificate, NetworkPolicy",
    )
    UPSTREAM_TIMEOUT = (
        "upstream_timeout",
        Rule(504, "warning"),
        "no answer within `WS_HANDSHAKE_TIMEOUT`; only if the apiserver had half of it, it is taken for down",
        (
            'is the kubelet of that node up? does `kubectl exec` hang, too? Where the answer says "too little was left '
            'for the apiserver", the client was slow to send its request'
        ),
    )
    UPSTREAM_PROTOCOL = (
        "upstream_protocol",
        Rule(502, "warning"),
        "the answer was no WebSocket handshake: what answered isn't an apiserver",
        "what stands between, and answers in its place?",
    )
    INTERNAL_ERROR = (
        "internal_error",
        Rule(500, "error"),
        "a mistake in the proxy",
        "report it, with the log's traceback",
    )
