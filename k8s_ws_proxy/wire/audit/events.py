"""What the audit trail tells: one frozen record for each event. ``make docs`` makes the table in docs/audit.md of them.

Nothing here holds a secret, a ticket, a token, a signature, or what passed through a session.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar


@dataclass(frozen=True, slots=True)
class Caller:
    """How somebody was let in."""

    mode: Annotated[str, "how the caller proved who it is: `hmac`, `rfc9421` or `client_cert`"]
    name: Annotated[str, "the id of the key that signed, or the certificate's listed subject"]


@dataclass(frozen=True, slots=True)
class AuditTarget:
    """What somebody wants to reach."""

    subresource: Annotated[str, "`exec`, `attach`, `log` or `portforward`"]
    namespace: Annotated[str, "the pod's namespace"]
    pod: Annotated[str, "the pod; behind an alias its own name, as soon as it is known"]
    container: Annotated[str | None, "the container, where one is named or found out"] = None
    alias: Annotated[str | None, "the alias that was asked for, where it is another name than the pod's"] = None
    tty: Annotated[bool, "with a terminal"] = False
    ports: Annotated[
        tuple[int, ...] | None, "the ports of a port-forward; none in a tunnel, which names them itself"
    ] = None


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom and what an event is about: these fields are in every line, null where there is none.

    Only what a credential has proved stands in ``caller``, ``user``, ``groups`` and ``reason``.
    """

    session: Annotated[str | None, "the session's id"] = None
    caller: Annotated[Caller | None, "by which credential the caller was let in; null where none was proved"] = None
    user: Annotated[str | None, "the user whom the caller speaks for, as its credential says"] = None
    groups: Annotated[tuple[str, ...], "that user's groups"] = ()
    reason: Annotated[str | None, "why, as the caller says (`X-Catalyst-Reason`)"] = None
    peer: Annotated[str | None, "the caller's address, without the port"] = None
    target: Annotated[AuditTarget | None, "what the session reaches"] = None
    command: Annotated[
        tuple[str, ...] | None,
        "the command's arguments; bytes that are no UTF-8 as `\\udcNN`. One of over 4096 characters is whole in "
        "`session.issued`, in `session.opened`, and in the line of a session that was dialled and didn't open; it is "
        "shortened in the others",
    ] = None
    command_sha256: Annotated[
        str | None,
        "where the command has over 4096 characters: the SHA-256 of its arguments, each followed by a zero byte",
    ] = None


@dataclass(frozen=True, slots=True)
class Event:
    """One event. ``name`` is what it is called in a line, ``text`` when it happens."""

    name: ClassVar[str]
    text: ClassVar[str]

    subject: Subject = field(default_factory=Subject)


@dataclass(frozen=True, slots=True)
class SessionIssued(Event):
    """A ticket."""

    name = "session.issued"
    text = (
        "a ticket was issued: for a session that isn't open yet, to join the one of that id, or to replay its recording"
    )

    use: Annotated[str, "what the ticket is good for: `stream`, `observe`, `peer` or `replay`"] = "stream"
    expires: Annotated[str, "until when, unless it is used before"] = ""


@dataclass(frozen=True, slots=True)
class SessionRefused(Event):
    """A request that was turned away, or a dial that failed."""

    name = "session.refused"
    text = (
        "a request was turned away, or the apiserver refused the session. Each has a line of its own, up to 10 a "
        "second for a reason where no credential was proved, and 100 where one was"
    )

    refusal: Annotated[str, "the reason, as in [answers](reference/answers.md)"] = ""
    status: Annotated[int, "the HTTP status that goes with it"] = 0
    method: Annotated[str | None, "the request's method"] = None
    path: Annotated[str | None, "the request's path without its query, as it was sent, up to 256 characters"] = None
    omitted: Annotated[
        int,
        "how many more were refused for this reason since its last line, and have none. A line that has only this "
        "closes a second in which there were some",
    ] = 0


@dataclass(frozen=True, slots=True)
class SessionOpened(Event):
    """The 101 is about to be sent."""

    name = "session.opened"
    text = "the apiserver has opened the session, and the caller is about to be told"


@dataclass(frozen=True, slots=True)
class SessionEnded(Event):
    """Both sides have been told, or the caller left before there was a session."""

    name = "session.ended"
    text = "the session has ended; also where its caller left while it was opened, and the command may have begun"

    ending: Annotated[str, "how, as in [answers](reference/answers.md#how-a-session-ends)"] = ""
    opened: Annotated[bool, "there is a `session.opened` of it"] = True
    exit_code: Annotated[int | None, "the command's exit status, where the apiserver told it"] = None
    close_code: Annotated[int | None, "the WebSocket close code that the caller got"] = None
    bytes_in: Annotated[int, "bytes from the caller"] = 0
    bytes_out: Annotated[int, "bytes to the caller"] = 0
    duration_seconds: Annotated[float, "from the request to the end, in seconds"] = 0.0


@dataclass(frozen=True, slots=True)
class SessionTerminated(Event):
    """Somebody ends it."""

    name = "session.terminated"
    text = "somebody has ended the session, or withdrawn one that was issued; who was in it is in the common fields"

    by: Annotated[Caller | None, "by which credential whoever ends it was let in"] = None
    by_user: Annotated[str | None, "the user whom that caller speaks for"] = None
    by_peer: Annotated[str | None, "that caller's address"] = None
    why: Annotated[str, "the reason that was given for it"] = ""


@dataclass(frozen=True, slots=True)
class SessionWatched(Event):
    """Somebody joins another's terminal."""

    name = "session.watched"
    text = "somebody joins the session of that id; who that is stands in the common fields"

    watch: Annotated[str, "the watcher's own session id"] = ""
    watch_mode: Annotated[str, "`observe`, or `peer` for one who may type, too"] = "observe"


@dataclass(frozen=True, slots=True)
class SessionUnwatched(Event):
    """They have left it."""

    name = "session.unwatched"
    text = "who had joined it has left, or it has ended"

    watch: Annotated[str, "the watcher's own session id"] = ""
    watch_mode: Annotated[str, "`observe` or `peer`"] = "observe"
    ending: Annotated[str, "how, as in [answers](reference/answers.md#how-a-session-ends)"] = ""
    bytes_out: Annotated[int, "bytes that the watcher was sent"] = 0
    bytes_in: Annotated[int, "bytes from the watcher"] = 0
    duration_seconds: Annotated[float, "how long, in seconds"] = 0.0


@dataclass(frozen=True, slots=True)
class RecordingFinished(Event):
    """A recording is whole."""

    name = "recording.finished"
    text = (
        "a session's recording is whole, or as whole as it will be. Where its daemon was killed, the common fields "
        "are what that daemon had written down of the session and sealed; without a good seal they are the id only. Of "
        "one that was finished too late for its daemon to tell, the next one tells what its receipt says; so it may "
        "come twice, once in the run of each"
    )

    path: Annotated[str, "where it is below `RECORDING_DIR`, and in the store"] = ""
    size: Annotated[int, "its bytes"] = 0
    sha256: Annotated[str, "its SHA-256"] = ""
    ending: Annotated[str, "how the session ended, or `interrupted`"] = ""


@dataclass(frozen=True, slots=True)
class RecordingRead(Event):
    """Somebody reads a recording."""

    name = "recording.read"
    text = "somebody reads the recording of the session of that id; who that is stands in the common fields"

    path: Annotated[str, "the recording's path"] = ""
    part: Annotated[str, "`recording` or `receipt`"] = "recording"
    range: Annotated[str | None, "the bytes that were asked for, where not all were"] = None
    follow: Annotated[bool, "it goes on with what comes"] = False


@dataclass(frozen=True, slots=True)
class KeysChanged(Event):
    """The daemon accepts other keys than before."""

    name = "keys.changed"
    text = "the daemon accepts other keys than before"

    keys: Annotated[tuple[str, ...], "the ids of all that are accepted from now on"] = ()
    added: Annotated[tuple[str, ...], "of these, the ids that are new"] = ()
    removed: Annotated[tuple[str, ...], "the ids that are gone"] = ()
    replaced: Annotated[tuple[str, ...], "the ids whose key is another one"] = ()


@dataclass(frozen=True, slots=True)
class TlsChanged(Event):
    """The TLS listener shows another certificate, or trusts other CAs."""

    name = "tls.changed"
    text = "the TLS listener's files were read anew: certificate, key, or the CA of clients"

    certificate_sha256: Annotated[str | None, "the SHA-256 of the certificate that it shows (its DER)"] = None
    client_cas_sha256: Annotated[tuple[str, ...], "the SHA-256 of each CA whose clients are believed"] = ()
    expires: Annotated[str | None, "when the first of them expires"] = None


@dataclass(frozen=True, slots=True)
class DaemonStarted(Event):
    """The first line of a run."""

    name = "daemon.started"
    text = "the daemon begins: the first line of its run"

    version: Annotated[str, "the daemon's"] = ""
    keys: Annotated[tuple[str, ...], "the ids of the keys that it accepts"] = ()
    identity: Annotated[str, "its `IDENTITY`"] = ""
    required: Annotated[bool, "its `AUDIT_REQUIRED`"] = False
    cut: Annotated[int, "bytes of an unfinished last line that were cut off the file: the daemon before was killed"] = 0


@dataclass(frozen=True, slots=True)
class DaemonStopped(Event):
    """The last line of a run that wasn't killed."""

    name = "daemon.stopped"
    text = "the daemon ends: the last line of its run, unless it was killed"

    seconds: Annotated[float, "how long it ran"] = 0.0


EVENTS: tuple[type[Event], ...] = (
    SessionIssued,
    SessionRefused,
    SessionOpened,
    SessionEnded,
    SessionTerminated,
    SessionWatched,
    SessionUnwatched,
    RecordingFinished,
    RecordingRead,
    KeysChanged,
    TlsChanged,
    DaemonStarted,
    DaemonStopped,
)
"""All of them, in the order of docs/audit.md."""
