"""What the audit trail tells of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.wire.audit.events import AuditTarget, Caller, Subject
from k8s_ws_proxy.wire.requests.target import AttachTarget, ExecTarget, PortForwardTarget

if TYPE_CHECKING:
    from collections.abc import Sequence

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
