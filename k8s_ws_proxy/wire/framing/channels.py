"""The channels of ``v4.channel.k8s.io`` and ``v5.channel.k8s.io``, and ``metav1.Status`` on channel 3.

A port-forward has other channels: two for each port, ``2 * i`` for data and ``2 * i + 1`` for an error's text, each
begun by the server with the port's number (kubelet, portforward/websocket.go). In ``TUNNEL`` there are none: its
messages are parts of one stream of SPDY frames (KEP-4006).
"""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

V4: Final = "v4.channel.k8s.io"
V5: Final = "v5.channel.k8s.io"
TUNNEL: Final = "SPDY/3.1+portforward.k8s.io"
SUBPROTOCOLS: Final = (V5, V4)
FORWARD_SUBPROTOCOLS: Final = (V4, TUNNEL)
# What an apiserver calls messages without channels (apiserver, wsstream.NewDefaultReaderProtocols). A log's have none
# whatever is agreed upon: callers that offer the others everywhere may do so here, too.
LOG_SUBPROTOCOLS: Final = (*SUBPROTOCOLS, "binary.k8s.io")

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2
STATUS: Final = 3
RESIZE: Final = 4
# Ours, and only to who asked for them (docs/reference/sessions.md): far from those that Kubernetes may name yet.
NOTICE: Final = 253
MARK: Final = 254
CLOSE: Final = 255  # v5 only: the next byte names the channel that ends (KEP-4006)


class Framing(Enum):
    """What the bytes of a session's messages mean."""

    TERMINAL = "terminal"  # the channels of exec and attach
    PEER = "peer"  # the same from somebody besides the client: what is typed is taken message by message
    PORTS = "ports"  # two channels a port, none of them read here
    TUNNEL = "tunnel"  # no channels: a message is bytes, and nothing more


def choose_subprotocol(offered: Sequence[str], spoken: Sequence[str] = SUBPROTOCOLS) -> str | None:
    """The first of ``offered``, in the client's order, that is spoken; None if none is."""
    return next((name for name in offered if name in spoken), None)


def failure(message: str, *, reason: str, code: int, retry_after: int | None = None) -> bytes:
    """A Failure as ``metav1.Status``, in JSON. ``reason`` is a StatusReason in CamelCase or our own snake_case;
    ``retry_after`` is in seconds.
    """
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
        **({"details": {"retryAfterSeconds": retry_after}} if retry_after is not None else {}),
    }
    return json.dumps(status, ensure_ascii=False).encode("utf-8", "replace")


def terminal_size(payload: bytes) -> tuple[int, int] | None:
    """Columns and rows of a resize message (remotecommand.TerminalSize), None if it isn't one.

    Names count in whatever case, as they do to who decodes it in Go.
    """
    try:
        size = {name.lower(): value for name, value in json.loads(payload).items()}
        columns, rows = size["width"], size["height"]
    except (ValueError, RecursionError, AttributeError, KeyError):
        return None
    if type(columns) is int and type(rows) is int and 0 < columns < 1 << 16 and 0 < rows < 1 << 16:
        return columns, rows
    return None


def size_payload(columns: int, rows: int) -> bytes:
    """What a resize message says, as remotecommand does."""
    return b'{"Width":%d,"Height":%d}' % (columns, rows)


def parse_status(payload: bytes) -> dict[str, Any] | None:
    """The ``metav1.Status`` in ``payload``, or None where it isn't one.

    (Without a subprotocol, channel 3 is plain text.)
    """
    try:
        status = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return status if isinstance(status, dict) and "status" in status else None


def exit_code(status: dict[str, Any]) -> int | None:
    """The command's exit code: 0 for Success, the ``ExitCode`` cause of a Failure, else None (it never ran)."""
    if status.get("status") == "Success":
        return 0
    details = status.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    for cause in causes if isinstance(causes, list) else ():
        if isinstance(cause, dict) and cause.get("reason") == "ExitCode":
            try:
                code = int(cause.get("message", ""))
            except (TypeError, ValueError, OverflowError):  # JSON as Python reads it knows Infinity
                return None
            return code if abs(code) < 1 << 32 else None
    return None
