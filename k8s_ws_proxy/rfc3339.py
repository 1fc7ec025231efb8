"""Dates as RFC 3339 has them, from Unix seconds and back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal


def rfc3339(seconds: float, to: Literal["milliseconds", "microseconds"] = "milliseconds") -> str:
    """Unix seconds as RFC 3339, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=to).replace("+00:00", "Z")


def unix(text: Any) -> float:
    """RFC 3339 as Unix seconds. Raises ValueError."""
    if not isinstance(text, str):
        raise ValueError("not a time")  # noqa: TRY004 - one error for all that isn't a time
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    return moment.timestamp()
