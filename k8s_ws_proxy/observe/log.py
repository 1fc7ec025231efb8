"""structlog: one JSON object a line on stderr, or lines for a person where that is a terminal.

Values are escaped by the renderers, so nothing a caller sends can forge a line. Nothing secret is passed in.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final

import structlog

LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}


class _Configured:
    """What configure() has made, if it was called."""

    logger: Any = None


def configure(level: str, stream: Any = None) -> None:
    """Set the process's logging up: ``level`` is one of LEVELS; what other libraries log takes the same way.

    ``stream`` is a text stream, stderr by default; the daemon's is a LogWriter.
    """
    stream = stream or sys.stderr
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: Any = (
        # repr: else a caller's escape sequences reach the operator's terminal as they are.
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback, repr_native_str=True)
        if stream.isatty()
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    # Else each line has a logger of its own made for it, which costs as much as the line.
    _Configured.logger = structlog.get_logger().bind()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=max(LEVELS[level], logging.WARNING), handlers=[handler], force=True)


def logger() -> Any:
    """The package's logger."""
    return _Configured.logger or structlog.get_logger()


def announce(event: str, **facts: Any) -> None:
    """One line at level info that no LOG_LEVEL suppresses: what others wait for (docs/reference/settings.md)."""
    structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(logging.INFO)).info(event, **facts)
