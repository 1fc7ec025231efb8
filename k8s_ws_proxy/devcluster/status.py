"""metav1.Status bodies and channel-3 messages, in the apiserver's own words (apiserver-facts: Refused,
Channel 3).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Status:
    """One metav1.Status, outside of its encoding. `code` 0 means that none is written."""

    message: str = ""
    reason: str = ""
    code: int = 0
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        """True for the one status that isn't a failure."""
        return self == SUCCESS

    def body(self) -> bytes:
        """The answer to a plain request: with `kind` and `apiVersion`, as the apiserver sends it over HTTP."""
        return json.dumps({"kind": "Status", "apiVersion": "v1", **self._fields()}).encode()

    def frame(self) -> bytes:
        """The text for channel 3 on v4 and v5: without `kind`, as the kubelet writes it."""
        return json.dumps(self._fields(), separators=(",", ":")).encode()

    def _fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = {"metadata": {}, "status": "Success" if self.succeeded else "Failure"}
        if self.message:
            fields["message"] = self.message
        if self.reason:
            fields["reason"] = self.reason
        if self.details:
            fields["details"] = self.details
        if self.code:
            fields["code"] = self.code
        return fields


SUCCESS = Status()
UNAUTHORIZED = Status("Unauthorized", "Unauthorized", 401)


def not_found(kind: str, name: str) -> Status:
    """404: there is no such object."""
    return Status(f'{kind} "{name}" not found', "NotFound", 404, {"name": name, "kind": kind})


def no_such_resource() -> Status:
    """404: the path itself means nothing to the apiserver."""
    return Status("the server could not find the requested resource", "NotFound", 404)


def bad_request(message: str) -> Status:
    """400: the apiserver understood, and won't."""
    return Status(message, "BadRequest", 400)


def forbidden(resource: str, name: str, why: str) -> Status:
    """403: `why` is what stands after the colon, and may be empty."""
    subject = f'{resource} "{name}"' if name else resource
    details = {"name": name, "kind": resource} if name else {"kind": resource}
    return Status(f"{subject} is forbidden: {why}", "Forbidden", 403, details)


def method_not_allowed() -> Status:
    """405: the path exists, the method on it doesn't."""
    return Status("the server does not allow this method on the requested resource", "MethodNotAllowed", 405)


def internal_error(message: str) -> Status:
    """The command could not be started: 101 all the same, and no ExitCode cause (apiserver-facts: Refused)."""
    causes = [{"message": message}]
    return Status(f"Internal error occurred: {message}", "InternalError", 500, {"causes": causes})


def backend_unreachable(address: str) -> Status:
    """500: the apiserver can't reach the kubelet."""
    return Status(f"error dialing backend: dial tcp {address}: connect: connection refused", code=500)


def exited(code: int, *, command: tuple[str, ...], with_command_line: bool) -> Status:
    """What channel 3 says of a process that ended with `code`, 0 to 255 (a signal counts as 128 + its
    number).

    With `with_command_line`, which is v4's way, the message ends with the whole command line.
    """
    if code == 0:
        return SUCCESS
    message = f"command terminated with non-zero exit code: exit status {code}"
    if with_command_line:
        message += f", error executing command [{' '.join(command)}]"
    causes = [{"reason": "ExitCode", "message": str(code)}]
    return Status(message, "NonZeroExitCode", details={"causes": causes})
