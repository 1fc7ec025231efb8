"""metav1.Status bodies and channel-3 messages, in the apiserver's own words (docs/observed.md, "Refused",
"Channel 3").
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
    metadata: dict[str, Any] = field(default_factory=dict)
    """ListMeta: a `continue` token, where one helps."""

    @property
    def succeeded(self) -> bool:
        """Whether it is no failure: those all say something."""
        return not self.message

    def body(self) -> bytes:
        """The answer to a plain request: with `kind` and `apiVersion`, as the apiserver sends it over HTTP."""
        return json.dumps({"kind": "Status", "apiVersion": "v1", **self._fields()}).encode()

    def frame(self) -> bytes:
        """The text for channel 3 on v4 and v5: without `kind`, as the kubelet writes it."""
        return json.dumps(self._fields(), separators=(",", ":")).encode()

    def _fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = {"metadata": self.metadata, "status": "Success" if self.succeeded else "Failure"}
        if self.message:
            fields["message"] = self.message
        if self.reason:
            fields["reason"] = self.reason
        if self.details:
            fields["details"] = self.details
        if self.code:
            fields["code"] = self.code
        return fields


@dataclass(frozen=True, slots=True)
class Cause:
    """One mistake in an object: `reason` is a CauseType, `message` what is wrong with `field`."""

    reason: str
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class Failed(Exception):
    """The request ends here, with this status."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.message)
        self.status = status


SUCCESS = Status()
UNAUTHORIZED = Status("Unauthorized", "Unauthorized", 401)


def not_found(kind: str, name: str) -> Status:
    """404: there is no such object."""
    return Status(f'{kind} "{name}" not found', "NotFound", 404, _of(kind, name))


def no_such_resource() -> Status:
    """404: the path itself means nothing to the apiserver."""
    return Status("the server could not find the requested resource", "NotFound", 404)


def deleted(kind: str, name: str, uid: str) -> Status:
    """200: what was there is gone."""
    return Status(details={"name": name, "kind": kind, "uid": uid})


def already_exists(resource: str, name: str) -> Status:
    """409: a create came too late."""
    return Status(f'{resource} "{name}" already exists', "AlreadyExists", 409, _of(resource, name))


def conflict(resource: str, name: str, why: str = "") -> Status:
    """409: it isn't any more what the writer took it for."""
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {resource} "{name}": {why}'
    return Status(message, "Conflict", 409, _of(resource, name))


def invalid(kind: str, name: str, causes: list[Cause]) -> Status:
    """422: it could be read, and doesn't hold what it must."""
    told = ", ".join(str(cause) for cause in causes)
    if len(causes) > 1:
        told = f"[{told}]"
    details: dict[str, Any] = {"name": name, "kind": kind} if name else {"kind": kind} if kind else {}
    details["causes"] = [{"reason": each.reason, "message": each.message, "field": each.field} for each in causes]
    return Status(f'{kind} "{name}" is invalid: {told}', "Invalid", 422, details)


def patch_failed() -> Status:
    """422: a JSON patch that doesn't fit, a `test` that fails among them. It doesn't say where."""
    return Status("the server rejected our request due to an error in our request", "Invalid", 422)


def expired(token: str) -> Status:
    """410: the page asked for is of a list that isn't kept any more. The new token goes on with what there is now."""
    message = (
        "The provided continue parameter is too old to display a consistent list result. You can start a new list "
        "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
        "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
        "modified, or deleted between the time the first chunk was returned and now may show up in the list."
    )
    return Status(message, "Expired", 410, metadata={"continue": token})


def unsupported_media_type(accepted: tuple[str, ...]) -> Status:
    """415: a body in a form that isn't read here."""
    message = f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
    return Status(message, "UnsupportedMediaType", 415)


def unreachable(why: str) -> Status:
    """503: the pod proxy got no answer."""
    return Status(f"error trying to reach service: {why}", "ServiceUnavailable", 503)


def bad_request(message: str) -> Status:
    """400: the apiserver understood, and won't."""
    return Status(message, "BadRequest", 400)


def forbidden(resource: str, name: str, why: str) -> Status:
    """403: `why` is what stands after the colon, and may be empty."""
    if not resource:  # it was for a path
        return Status(f"forbidden: {why}", "Forbidden", 403)
    subject = f'{resource} "{name}"' if name else resource
    details = {key: value for key, value in _of(resource, name).items() if value}
    return Status(f"{subject} is forbidden: {why}", "Forbidden", 403, details)


def method_not_allowed() -> Status:
    """405: the path exists, the method on it doesn't."""
    return Status("the server does not allow this method on the requested resource", "MethodNotAllowed", 405)


def internal_error(message: str) -> Status:
    """The command could not be started: 101 all the same, and no ExitCode cause (docs/observed.md, "Refused")."""
    causes = [{"message": message}]
    return Status(f"Internal error occurred: {message}", "InternalError", 500, {"causes": causes})


def backend_unreachable(address: str) -> Status:
    """500: the apiserver can't reach the kubelet."""
    return Status(f"error dialing backend: dial tcp {address}: connect: connection refused", code=500)


def upgrade_failed(why: str) -> Status:
    """500: the pod proxy got no answer to an upgrade, or none that is one."""
    return Status(why, code=500)


def request_failed(url: str, address: str) -> Status:
    """500: the same, where the apiserver asks the kubelet itself and doesn't only connect to it."""
    return Status(f'Get "{url}": dial tcp {address}: connect: connection refused', code=500)


def no_previous(container: str, pod: str) -> Status:
    """400: the container hasn't been started anew yet (kubelet, validateContainerLogStatus)."""
    return bad_request(f'previous terminated container "{container}" in pod "{pod}" not found')


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


def _of(resource: str, name: str) -> dict[str, Any]:
    """The details of an error about one object; `resource` is qualified, `daemonsets.apps`."""
    plural, _, group = resource.partition(".")
    return {"name": name, **({"group": group} if group else {}), "kind": plural}
