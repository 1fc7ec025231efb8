"""What the audit trail tells of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.sessions.record import kept_command
from k8s_ws_proxy.wire.audit.events import AuditTarget, Caller, Subject
from k8s_ws_proxy.wire.requests.target import AttachTarget, ExecTarget, PortForwardTarget

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from k8s_ws_proxy.auth.principal import Principal
    from k8s_ws_proxy.sessions.record import SessionRecord
    from k8s_ws_proxy.wire.requests.target import Route, Target


def subject_of(record: SessionRecord, command: Sequence[str] | None = None) -> Subject:
    """Of a session: who, and what. ``command`` is the whole one, where the record may have it shortened."""
    target = record.target
    if command is None and isinstance(target, ExecTarget):
        command = target.command
    return Subject(
        session=record.watches or record.id,
        peer=record.peer,
        target=AuditTarget(
            target.subresource.value,
            target.namespace,
            record.pod,
            record.container,
            alias=target.pod if target.pod != record.pod else None,
            tty=record.tty,
            ports=target.ports if isinstance(target, PortForwardTarget) else None,
        ),
        command=None if command is None else tuple(command),
        command_sha256=record.command_sha256 or None,
        **_who(record.principal),
    )


def subject_of_request(
    principal: Principal | None, target: Target | Route | None, peer: str, session: str, command_sha256: str = ""
) -> Subject:
    """Of a request that has come only so far: what of it is known."""
    return Subject(
        session=session or None,
        peer=peer,
        target=None
        if target is None
        else AuditTarget(
            target.subresource.value,
            target.namespace,
            target.pod,
            None if isinstance(target, PortForwardTarget) else target.container,
            tty=isinstance(target, AttachTarget) and target.streams.tty,
            ports=target.ports if isinstance(target, PortForwardTarget) else None,
        ),
        command=target.command if isinstance(target, ExecTarget) else None,
        command_sha256=command_sha256 or None,
        **_who(principal),
    )


def subject_of_known(session: str, known: Mapping[str, Any]) -> Subject:
    """Of a session whose daemon is gone: what that knew of it (``as_json.known``), as far as it can be read.

    An alias isn't in it. Nor is the hash of a long command with bytes that are no UTF-8: they stand escaped there.
    """
    if not known:
        return Subject(session=session)
    caller, command = known.get("caller"), _texts(known.get("command"))
    shown, sha256 = (None, "") if command is None else kept_command(command)
    return Subject(
        session=session,
        caller=Caller(str(caller.get("mode")), str(caller.get("name"))) if isinstance(caller, dict) else None,
        user=_text(known.get("user")),
        groups=_texts(known.get("groups")) or (),
        reason=_text(known.get("reason")),
        peer=_text(known.get("peer")),
        target=target_of_known(known),
        command=None if shown is None else tuple(shown),
        command_sha256=None if any("\\udc" in each for each in command or ()) else sha256 or None,
    )


def target_of_known(known: Mapping[str, Any]) -> AuditTarget:
    """What such a session reached, as far as it can be read: of a receipt, too, which anybody may have written."""
    return AuditTarget(
        _text(known.get("subresource")) or "",
        _text(known.get("namespace")) or "",
        _text(known.get("pod")) or "",
        _text(known.get("container")),
        tty=known.get("tty") is True,
    )


def _text(told: Any) -> str | None:
    return told if isinstance(told, str) and told else None


def _texts(told: Any) -> tuple[str, ...] | None:
    return tuple(map(str, told)) if isinstance(told, list) else None


def caller_of(principal: Principal) -> Caller:
    """By which credential somebody was let in."""
    return Caller(principal.mode.value, principal.name)


def _who(principal: Principal | None) -> dict[str, Any]:
    if principal is None:
        return {}
    return {
        "caller": caller_of(principal),
        "user": principal.user,
        "groups": principal.groups,
        "reason": principal.reason,
    }
