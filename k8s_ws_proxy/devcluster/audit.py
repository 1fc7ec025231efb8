"""The audit log: what was asked, by whom and as whom, and how it was answered, in the apiserver's own format
(Kubernetes: "Auditing"; audit.k8s.io/v1).

The policy is level Metadata for everything, without the stage RequestReceived.
"""

from __future__ import annotations

import collections
import contextlib
import datetime as dt
import ipaddress
import json
import os
import uuid
from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.devcluster import requestinfo, resources

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from k8s_ws_proxy.devcluster.http import Request, Response
    from k8s_ws_proxy.devcluster.rbac import Decision, UserInfo

    Event = dict[str, Any]

KEPT = 4096
"""Events in memory; older ones are in the file only."""
HEADER = "Audit-ID"
_DECISION = "authorization.k8s.io/decision"
_REASON = "authorization.k8s.io/reason"


class AuditLog:
    """Events of one cluster: a line each, the last ones in memory, and all of them in `file` if one is named."""

    def __init__(self, changed: Callable[[], None], file: Path | None = None) -> None:
        self._changed = changed
        self._lines: collections.deque[str] = collections.deque(maxlen=KEPT)
        self._file = None if file is None else os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    @property
    def events(self) -> list[Event]:
        """Those that are kept, oldest first."""
        return [json.loads(line) for line in self._lines]

    def of(self, audit_id: str, stage: str = "") -> list[Event]:
        """Those of one request, of one stage or of all."""
        return [each for each in self.events if each["auditID"] == audit_id and stage in {"", each["stage"]}]

    def request(self, request: Request, peer: str) -> Entry:
        """A request that has come, from `peer`."""
        return Entry(self, request, peer)

    def write(self, event: Event) -> None:
        """One more event. A file gets it in one unbuffered write, which tests may do in an event loop."""
        line = json.dumps(event, separators=(",", ":"))
        self._lines.append(line)
        if self._file is not None:
            with os.fdopen(self._file, "ab", buffering=0, closefd=False) as file:
                file.write(line.encode() + b"\n")
        self._changed()

    def close(self) -> None:
        """Write to the file no more."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


class Entry:
    """What is said of one request, as it becomes known."""

    def __init__(self, log: AuditLog, request: Request, peer: str) -> None:
        self._log = log
        self._answered = False
        self._complete = False
        self._long = requestinfo.long_running(request)
        self.audit_id = next((value for name, value in request.headers if name == "audit-id" and value), "")
        """As it was sent, whatever it is; else made here."""
        self.audit_id = self.audit_id or str(uuid.uuid4())
        self._event: Event = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "auditID": self.audit_id,
            "stage": "",
            "requestURI": request.target,
            "verb": _verb(request),
            "user": {},
            "sourceIPs": _sources(request, peer),
            "userAgent": _user_agent(request),
            **_object(request),
            "requestReceivedTimestamp": _now(),
        }

    def user(self, user: UserInfo) -> None:
        """Who asks."""
        self._event["user"] = _user(user)

    def impersonated(self, user: UserInfo, constraint: str) -> None:
        """Whom it acts as, and the constrained verb that allowed it, if one did."""
        self._event["impersonatedUser"] = _user(user)
        if constraint:
            self._event["authenticationMetadata"] = {"impersonationConstraint": constraint}

    def decided(self, decision: Decision) -> None:
        """What the authorizer said."""
        said = "allow" if decision.allowed else "forbid"
        self._event["annotations"] = {_DECISION: said, _REASON: decision.reason}

    def unauthenticated(self, request: Request, *, certificate: bool) -> None:
        """Nobody knows who asks: there is this one event."""
        tried = ["bearer"] if request.header("authorization").lower().startswith("bearer ") else []
        tried += ["x509"] if certificate else []
        how = f"attempted: {', '.join(tried)}" if tried else "no credentials provided"
        self._event["responseStatus"] = {
            "metadata": {},
            "status": "Failure",
            "message": f"Authentication failed, {how}",
        }
        self._event["responseStatus"]["code"] = 401
        self._answered = self._complete = True
        self._say("ResponseStarted")

    def started(self, code: int, response: Response | None = None) -> None:
        """The answer's head goes out; `response` is all of it, where that is known."""
        if self._answered:
            return
        self._answered = True
        self._event["responseStatus"] = {"metadata": {}} | _told(response) | {"code": code}
        if self._long:
            self._say("ResponseStarted")

    def complete(self) -> None:
        """Nothing more will be sent. Says nothing where nothing was answered."""
        if self._answered and not self._complete:
            self._complete = True
            self._say("ResponseComplete")

    def _say(self, stage: str) -> None:
        self._log.write(self._event | {"stage": stage, "stageTimestamp": _now()})


def _told(response: Response | None) -> Event:
    """What stands in a status that is the answer."""
    if response is None or response.content_type != "application/json" or not response.body.startswith(b'{"kind": "St'):
        return {}
    said = json.loads(response.body)
    return {name: said[name] for name in ("status", "message", "reason", "details") if name in said}


def _verb(request: Request) -> str:
    location = resources.locate(request.path)
    return requestinfo.verb(request, location) if request.method in requestinfo.VERBS else request.method.lower()


def _object(request: Request) -> dict[str, Event]:
    location = resources.locate(request.path)
    if location is None:
        return {}
    resource, _, subresource = location.resource.name.partition("/")
    fields = {
        "resource": resource,
        "namespace": location.namespace,
        "name": location.name,
        "apiGroup": location.resource.group,
        "apiVersion": location.resource.version,
        "subresource": subresource,
    }
    return {"objectRef": {name: value for name, value in fields.items() if value}}


def _user(user: UserInfo) -> Event:
    fields: Event = {"username": user.name, "uid": user.uid, "groups": list(user.groups)}
    fields["extra"] = {key: list(values) for key, values in user.extra.items()}
    return {name: value for name, value in fields.items() if value}


def _sources(request: Request, peer: str) -> list[str]:
    """Those that the headers name, which a client may set as it likes, and then the peer."""
    found = []
    for each in (*request.listed("x-forwarded-for"), *request.listed("x-real-ip"), peer):
        with contextlib.suppress(ValueError):
            address = str(ipaddress.ip_address(each))
            if address not in found:
                found.append(address)
    return found


def _user_agent(request: Request) -> str:
    agent = request.header("user-agent")
    return f"{agent[:1024]}...TRUNCATED" if len(agent) > 1024 else agent


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
