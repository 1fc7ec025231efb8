"""Log lines: one object each, whatever stands in it."""

from __future__ import annotations

import io
import json
import logging

import pytest
import structlog

from k8s_ws_proxy.observe import log


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def configured(monkeypatch):
    """configure() on a stream of its own; everything is put back afterwards."""
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.WARNING)
    monkeypatch.setattr(log._Configured, "logger", None)

    def configure(level="debug", stream=None):
        stream = stream or io.StringIO()
        log.configure(level, stream)
        return stream

    yield configure
    structlog.reset_defaults()


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_a_json_object(configured):
    stream = configured()
    log.logger().info("session opened", session="5e55", pod="web", exit_code=None, command=["sh", "é"])
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "session opened",
        "level": "info",
        "session": "5e55",
        "pod": "web",
        "exit_code": None,
        "command": ["sh", "é"],
    }


@pytest.mark.parametrize(
    "forged",
    [
        'x\n{"event": "session ended"}',
        "x\r\nx",
        '", "event": "x',
        "\x1b[2J\x1b[31m",
        "\0\x07\x7f",
        "\u2028\u2029\x85",
        "\udcff\ud800",
    ],
)
@pytest.mark.parametrize("stream", [None, Terminal], ids=["file", "terminal"])
def test_nothing_that_a_caller_sends_can_forge_a_line(configured, forged, stream):
    out = configured(stream=stream() if stream else None)
    log.logger().warning("refused", path=forged, command=[forged], detail={"x": forged})
    text = out.getvalue()
    assert len(text.splitlines()) == 1
    assert text.endswith("\n")
    text.encode()
    if stream is None:
        assert text.isascii()
        assert text.strip().isprintable()
        (line,) = lines(out)
        assert (line["event"], line["path"], line["command"]) == ("refused", forged, [forged])
    else:
        assert "\x1b[2J" not in text
        assert "\x07" not in text


@pytest.mark.parametrize(
    ("level", "shown"),
    [("debug", 4), ("info", 3), ("warn", 2), ("error", 1)],
)
def test_levels(configured, level, shown):
    stream = configured(level)
    for method in ("debug", "info", "warning", "error"):
        getattr(log.logger(), method)(method)
    assert [line["level"] for line in lines(stream)] == ["debug", "info", "warning", "error"][4 - shown :]


def test_on_a_terminal_lines_are_for_a_person(configured):
    stream = configured(stream=Terminal())
    log.logger().info("listening", address=":8080")
    assert "listening" in stream.getvalue()
    assert "address" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


@pytest.mark.parametrize("stream", [None, Terminal], ids=["file", "terminal"])
def test_an_exception_is_shown_with_where_it_came_from(configured, stream):
    out = configured(stream=stream() if stream else None)
    try:
        int("what went wrong")
    except ValueError as error:
        log.logger().error("failed", exc_info=error)
    assert "what went wrong" in out.getvalue()
    assert "test_log.py" in out.getvalue()
    if stream is None:
        (line,) = lines(out)
        assert line["exception"].startswith("Traceback")


def test_what_other_libraries_log_takes_the_same_way(configured):
    stream = configured("info")
    logging.getLogger("aiohttp.server").error("odd %s", "thing\nforged")
    logging.getLogger("asyncio").info("chatter")
    (line,) = lines(stream)
    assert (line["event"], line["level"]) == ("odd thing\nforged", "error")


def test_to_configure_again_replaces(configured):
    configured()
    stream = configured("warn")
    log.logger().info("not shown")
    logging.getLogger("x").warning("once")
    assert [line["event"] for line in lines(stream)] == ["once"]


def test_every_level_of_the_settings_is_known():
    from k8s_ws_proxy.settings import LOG_LEVELS  # noqa: PLC0415

    assert tuple(log.LEVELS) == LOG_LEVELS
