"""Which part of a log is wanted: the parameters of both routes, checked, and as the apiserver takes them.

``/proxy/logs`` has names and defaults of its own (docs/reference/requests.md, "Logs"); ``/api/v1/.../log`` takes the
apiserver's (``PodLogOptions``), and passes on those that are known here. ``insecureSkipTLSVerifyBackend`` is not:
whether the kubelet's certificate must verify isn't a caller's to decide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.errors import Reason, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    Parameters = Mapping[str, list[str]]

TAIL_DEFAULT: Final = 100  # lines
TAIL_MOST: Final = 10_000  # lines, on /proxy/logs
_INT64: Final = 2**63 - 1
_STREAMS: Final = ("All", "Stdout", "Stderr")

_NUMBER: Final = re.compile(r"[0-9]{1,19}", re.ASCII)
_TIME: Final = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
    r"[Tt](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})(?:\.[0-9]{1,9})?"
    r"(?:[Zz]|[-+](?P<offset_hour>[0-9]{2}):(?P<offset_minute>[0-9]{2}))",
    re.ASCII,
)
_DAYS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True)
class LogOptions:
    """A part of a log. None is the apiserver's default: everything there is.

    ``tail_lines`` are counted from the end, ``limit_bytes`` from the beginning of what is sent; ``since_time`` is RFC
    3339, and excludes ``since_seconds``. ``stream`` is ``All``, ``Stdout`` or ``Stderr``.
    """

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    since_time: str | None = None
    since_seconds: int | None = None
    limit_bytes: int | None = None
    stream: str | None = None

    def query(self) -> list[tuple[str, str]]:
        """The parameters of ``PodLogOptions`` that differ from their defaults."""
        values: list[tuple[str, bool | int | str | None]] = [
            ("follow", self.follow),
            ("previous", self.previous),
            ("timestamps", self.timestamps),
            ("tailLines", self.tail_lines),
            ("sinceTime", self.since_time),
            ("sinceSeconds", self.since_seconds),
            ("limitBytes", self.limit_bytes),
            ("stream", self.stream),
        ]
        return [
            (name, "true" if value is True else str(value))
            for name, value in values
            if value is not None and value is not False
        ]


def of_proxy(parameters: Parameters) -> LogOptions:
    """What is wanted on ``/proxy/logs``: an empty value is none, whatever it is of. Raises Refusal(``bad_query``)."""
    given = {name: values for name, values in parameters.items() if values[0]}
    tail = _number(parameters, "tailLines", least=0, most=TAIL_MOST)
    return LogOptions(
        follow=_on(given, "follow", default=True),
        previous=_on(given, "previous", default=False),
        timestamps=_on(given, "timestamps", default=False),
        tail_lines=TAIL_DEFAULT if tail is None else tail,
        since_time=_time(parameters, "since"),
    )


def of_apiserver(parameters: Parameters) -> LogOptions:
    """What is wanted on ``/api/v1/.../log``. Raises Refusal(``bad_query``)."""
    since_time = _time(parameters, "sinceTime")
    since_seconds = _number(parameters, "sinceSeconds", least=1)
    if since_time is not None and since_seconds is not None:
        raise Refusal(Reason.BAD_QUERY, "sinceTime and sinceSeconds exclude each other: send one of them.")
    stream = _text(parameters, "stream")
    if stream is not None and stream not in _STREAMS:
        raise Refusal(Reason.BAD_QUERY, f"The parameter stream must be one of {', '.join(_STREAMS)}.")
    return LogOptions(
        follow=_on(parameters, "follow", default=False),
        previous=_on(parameters, "previous", default=False),
        timestamps=_on(parameters, "timestamps", default=False),
        tail_lines=_number(parameters, "tailLines", least=0),
        since_time=since_time,
        since_seconds=since_seconds,
        limit_bytes=_number(parameters, "limitBytes", least=1),
        stream=stream,
    )


def _text(parameters: Parameters, name: str) -> str | None:
    """The first value; an empty one counts as absent."""
    return parameters.get(name, [""])[0] or None


def _on(parameters: Parameters, name: str, *, default: bool) -> bool:
    value = parameters.get(name)
    # Convert_Slice_string_To_bool of apimachinery: only "false" and "0" are false.
    return default if value is None else value[0].lower() not in ("false", "0")


def _number(parameters: Parameters, name: str, *, least: int, most: int = _INT64) -> int | None:
    value = _text(parameters, name)
    if value is None:
        return None
    if not _NUMBER.fullmatch(value) or not least <= int(value) <= most:
        bound = f"from {least} to {most}" if most != _INT64 else f"of {least} or more"
        raise Refusal(Reason.BAD_QUERY, f"The parameter {name} must be a whole number {bound}.")
    return int(value)


def _time(parameters: Parameters, name: str) -> str | None:
    value = _text(parameters, name)
    if value is None:
        return None
    if not _is_time(value):
        raise Refusal(
            Reason.BAD_QUERY,
            f"The parameter {name} must be a time as in RFC 3339, such as 2006-01-02T15:04:05Z or "
            "2006-01-02T15:04:05.123+02:00 (in a URL, the plus is written %2B).",
        )
    return value.upper()  # RFC 3339 allows t and z, Go's parser doesn't


def _is_time(text: str) -> bool:
    """RFC 3339 §5.6 and §5.7, but for leap seconds, which the apiserver doesn't take."""
    found = _TIME.fullmatch(text)
    if found is None:
        return False
    year, month, day, hour, minute, second, *offset = (int(part or 0) for part in found.groups())
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return (
        1 <= month <= 12
        and 1 <= day <= _DAYS[month - 1]
        and (month, day, leap) != (2, 29, False)
        and hour <= 23
        and minute <= 59
        and second <= 59
        and offset[0] <= 23
        and offset[1] <= 59
    )
