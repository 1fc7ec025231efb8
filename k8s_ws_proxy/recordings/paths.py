"""Where a recording is, in the directory and in the store: told by the session's id alone."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Final

_VERSION: Final = 7  # of a session's id (RFC 9562 §5.7): its first 48 bits are the milliseconds when it was made
_TIME: Final = 128 - 48
CAST: Final = ".cast"
RECEIPT: Final = ".json"


def path_of(session: str) -> str:
    """That of the recording of ``session``: ``YYYY/MM/DD/<id>.cast``, by the day (UTC) when the id was made.

    Raises ValueError for what isn't the id of a session, in the form in which the proxy writes it.
    """
    found = uuid.UUID(session)
    if str(found) != session or found.version != _VERSION:
        raise ValueError("not the id of a session")
    day = datetime.fromtimestamp(_seconds(found), UTC)
    return f"{day:%Y/%m/%d}/{session}{CAST}"


def began(session: str) -> int:
    """When the id of ``session`` was made, in Unix seconds. Raises ValueError."""
    return _seconds(uuid.UUID(session))


def _seconds(session: uuid.UUID) -> int:
    return (session.int >> _TIME) // 1000


def is_session(text: str) -> bool:
    """It is the id of a session, as path_of() takes it."""
    try:
        path_of(text)
    except ValueError:
        return False
    return True


def receipt_of(path: str) -> str:
    """That of the receipt beside the recording at ``path``."""
    return path.removesuffix(CAST) + RECEIPT
