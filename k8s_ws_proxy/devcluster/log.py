"""`pods/log`: which part of a log is asked for, and what is refused.

As kube-apiserver and kubelet have it: `PodLogOptions` and its validation (k8s.io/kubernetes, pkg/apis/core/validation),
`LogLocation` (pkg/registry/core/pod), `ReadLogs` (pkg/kubelet, k8s.io/cri-client).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from k8s_ws_proxy.devcluster import status
from k8s_ws_proxy.devcluster.status import Cause, Failed

if TYPE_CHECKING:
    from k8s_ws_proxy.devcluster.http import Request
    from k8s_ws_proxy.devcluster.world import Container, Pod

FIELDS = (("Content-Type", "text/plain"), ("Cache-Control", "no-cache, private"))
"""What the answer's head says."""
_INT64 = 2**63


@dataclass(frozen=True, slots=True)
class LogOptions:
    """A part of a log. `since` is Unix time in nanoseconds, of whole seconds; None is no bound."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    since: int | None = None
    limit_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class LogTarget:
    """A log that may be read."""

    pod: Pod
    container: Container
    options: LogOptions


def options(request: Request, name: str) -> LogOptions:
    """What the query asks for, of the pod `name`. Raises Failed."""
    tail, limit = _number(request, "tailLines"), _number(request, "limitBytes")
    seconds, moment = _number(request, "sinceSeconds"), _time(request, "sinceTime")
    wrong = []
    if tail is not None and tail < 0:
        wrong.append(_invalid("tailLines", tail, "must be greater than or equal to 0"))
    if limit is not None and limit < 1:
        wrong.append(_invalid("limitBytes", limit, "must be greater than 0"))
    if seconds is not None and moment is not None:
        why = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"
        wrong.append(Cause("FieldValueForbidden", "", why))
    elif seconds is not None and seconds < 1:
        wrong.append(_invalid("sinceSeconds", seconds, "must be greater than 0"))
    if wrong:
        raise Failed(status.invalid("PodLogOptions", name, wrong))
    if seconds is not None:
        moment = int(time.time()) - seconds
    return LogOptions(
        follow=request.flag("follow"),
        previous=request.flag("previous"),
        timestamps=request.flag("timestamps"),
        tail_lines=tail,
        since=None if moment is None else moment * 10**9,
        limit_bytes=limit,
    )


def _invalid(field: str, value: int, why: str) -> Cause:
    return Cause("FieldValueInvalid", field, f"Invalid value: {value}: {why}")


def _number(request: Request, name: str) -> int | None:
    text = request.first(name)
    if not text:
        return None
    try:
        value = int(text) if text.isascii() and text.lstrip("+-").isdecimal() else None
    except ValueError:  # more digits than Python likes
        value = None
    if value is None:
        raise Failed(status.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax'))
    if not -_INT64 <= value < _INT64:
        raise Failed(status.bad_request(f'strconv.ParseInt: parsing "{text}": value out of range'))
    return value


def _time(request: Request, name: str) -> int | None:
    """Whole seconds: what the apiserver hands to the kubelet has no fraction (`LogLocation`)."""
    text = request.first(name)
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or "T" not in text:
        why = f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}" as "2006"'
        raise Failed(status.bad_request(why))
    return int(moment.timestamp() // 1)
