"""The log routes: which part of a log is wanted, and what is refused (the contract, "Logs")."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.wire.requests.log_options import LogOptions
from k8s_ws_proxy.wire.requests.target import Dialect, LogTarget, Subresource, parse_path, parse_target

PROXY = "/proxy/logs/default/web/app"
APISERVER = "/api/v1/namespaces/default/pods/web/log"
UPSTREAM = "/api/v1/namespaces/default/pods/web/log"


def target(request_target):
    parsed = parse_target(parse_path(request_target), request_target)
    assert isinstance(parsed, LogTarget)
    return parsed


def upstream(request_target):
    return target(request_target).upstream_path()


@pytest.mark.parametrize(
    ("path", "dialect", "container"),
    [
        (PROXY, Dialect.PROXY, "app"),
        ("/proxy/logs/default/web", Dialect.PROXY, None),
        (APISERVER, Dialect.APISERVER, None),
        ("/proxy/%6Cogs/default/web/app", Dialect.PROXY, "app"),
    ],
)
@pytest.mark.parametrize("query", ["", "?follow=false", "?a?b#c"])
def test_each_route(path, dialect, container, query):
    route = parse_path(path + query)
    assert route.subresource is Subresource.LOG
    assert (route.dialect, route.namespace, route.pod, route.container) == (dialect, "default", "web", container)


@pytest.mark.parametrize(
    "path",
    [
        "/proxy/log/default/web/app",
        "/proxy/Logs/default/web/app",
        "/proxy/logs/default",
        "/proxy/logs/default/web/app/",
        "/proxy/logs/default/web/app/more",
        "/proxy/logs/default//app",
        "/proxy/logs/default/WEB/app",
        "/proxy/logs/default/web%2Fapp",
        "/api/v1/namespaces/default/pods/web/logs",
        "/api/v1/namespaces/default/pods/web/log/",
        "/api/v1/namespaces/default/pods/web/log/app",
        "/api/v1/pods/web/log",
    ],
)
def test_a_bad_path(path):
    with pytest.raises(Refusal) as refusal:
        parse_path(path)
    assert refusal.value.reason is Reason.BAD_PATH


PROXY_QUERIES = {
    "": "container=app&follow=true&tailLines=100",
    "follow=true": "container=app&follow=true&tailLines=100",
    "follow=false": "container=app&tailLines=100",
    "follow=FALSE": "container=app&tailLines=100",
    "follow=0": "container=app&tailLines=100",
    "follow=": "container=app&follow=true&tailLines=100",
    "follow=maybe": "container=app&follow=true&tailLines=100",
    "previous=true&follow=false": "container=app&previous=true&tailLines=100",
    "previous=false&follow=false": "container=app&tailLines=100",
    "follow=&tailLines=&since=&previous=&timestamps=": "container=app&follow=true&tailLines=100",
    "timestamps=true&follow=false": "container=app&timestamps=true&tailLines=100",
    "tailLines=0&follow=false": "container=app&tailLines=0",
    "tailLines=1&follow=false": "container=app&tailLines=1",
    "tailLines=10000&follow=false": "container=app&tailLines=10000",
    "tailLines=007&follow=false": "container=app&tailLines=7",
    "tailLines=&follow=false": "container=app&tailLines=100",
    "tailLines=5&tailLines=6&follow=false": "container=app&tailLines=5",
    "since=&follow=false": "container=app&tailLines=100",
    "since=2025-01-02T03:04:05Z": "container=app&follow=true&tailLines=100&sinceTime=2025-01-02T03%3A04%3A05Z",
    "container=other&follow=false": "container=app&tailLines=100",
    # The apiserver's own names mean nothing here, and what isn't known goes nowhere.
    "sinceSeconds=5&sinceTime=x&limitBytes=x&stream=x&pretty=true&foo=bar&follow=false": "container=app&tailLines=100",
}


@pytest.mark.parametrize(("query", "expected"), PROXY_QUERIES.items())
def test_what_proxy_logs_asks_the_apiserver_for(query, expected):
    assert upstream(f"{PROXY}?{query}") == f"{UPSTREAM}?{expected}"


API_QUERIES = {
    "": "",
    "follow=true": "follow=true",
    "follow=false&previous=false&timestamps=false": "",
    "container=app&follow=true&previous=true&timestamps=true": (
        "container=app&follow=true&previous=true&timestamps=true"
    ),
    "tailLines=0": "tailLines=0",
    "tailLines=10001": "tailLines=10001",
    "tailLines=9223372036854775807": "tailLines=9223372036854775807",
    "sinceSeconds=300": "sinceSeconds=300",
    "sinceTime=2025-01-02T03:04:05Z": "sinceTime=2025-01-02T03%3A04%3A05Z",
    "limitBytes=1": "limitBytes=1",
    "stream=Stderr": "stream=Stderr",
    "insecureSkipTLSVerifyBackend=true&pretty=true&foo=bar": "",
    "tailLines=&sinceSeconds=&sinceTime=&limitBytes=&stream=&container=": "",
}


@pytest.mark.parametrize(("query", "expected"), API_QUERIES.items())
def test_what_the_apiservers_own_path_asks_it_for(query, expected):
    assert upstream(f"{APISERVER}?{query}") == UPSTREAM + ("?" + expected if expected else "")


def test_without_a_container_the_default_one_is_left_to_the_apiserver():
    assert upstream("/proxy/logs/default/web?follow=false") == f"{UPSTREAM}?tailLines=100"
    assert upstream("/proxy/logs/default/web?follow=false&container=a") == f"{UPSTREAM}?container=a&tailLines=100"


NUMBERS = ["-1", "+1", "1.5", "1e3", "abc", "0x10", " 1", "1 ", "%31%00", "٣", "1,000", "99999999999999999999"]


@pytest.mark.parametrize("value", [*NUMBERS, "10001", "9223372036854775807"])
def test_a_bad_tail_on_proxy_logs(value):
    assert refused(f"{PROXY}?tailLines={value}") == "tailLines must be a whole number from 0 to 10000."


@pytest.mark.parametrize("name", ["tailLines", "sinceSeconds", "limitBytes"])
@pytest.mark.parametrize("value", [*NUMBERS, "9223372036854775808"])
def test_a_bad_number_on_the_apiservers_path(name, value):
    assert refused(f"{APISERVER}?{name}={value}").startswith(f"{name} must be a whole number of ")


@pytest.mark.parametrize("name", ["sinceSeconds", "limitBytes"])
def test_what_must_be_one_at_least(name):
    assert refused(f"{APISERVER}?{name}=0") == f"{name} must be a whole number of 1 or more."


def test_two_beginnings_exclude_each_other():
    with pytest.raises(Refusal, match="sinceTime and sinceSeconds exclude each other"):
        target(f"{APISERVER}?sinceTime=2025-01-02T03:04:05Z&sinceSeconds=5")


def test_a_stream_that_there_is_not():
    assert refused(f"{APISERVER}?stream=both") == "stream must be one of All, Stdout, Stderr."


def test_a_bad_container():
    with pytest.raises(Refusal) as refusal:
        target(f"{APISERVER}?container=App")
    assert refusal.value.reason is Reason.BAD_QUERY


def refused(request_target):
    with pytest.raises(Refusal) as refusal:
        target(request_target)
    assert refusal.value.reason is Reason.BAD_QUERY
    return str(refusal.value).removeprefix("The parameter ")


TIMES = {
    "2025-01-02T03:04:05Z": "2025-01-02T03:04:05Z",
    "2025-01-02t03:04:05z": "2025-01-02T03:04:05Z",
    "2025-01-02T03:04:05.1Z": "2025-01-02T03:04:05.1Z",
    "2025-01-02T03:04:05.123456789Z": "2025-01-02T03:04:05.123456789Z",
    "2025-01-02T03:04:05%2B02:00": "2025-01-02T03:04:05+02:00",
    "2025-01-02T03:04:05-23:59": "2025-01-02T03:04:05-23:59",
    "2024-02-29T00:00:00Z": "2024-02-29T00:00:00Z",
    "2000-02-29T00:00:00Z": "2000-02-29T00:00:00Z",
    "0001-01-01T00:00:00Z": "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z": "9999-12-31T23:59:59Z",
}


@pytest.mark.parametrize(("value", "sent"), TIMES.items())
def test_a_time(value, sent):
    assert target(f"{PROXY}?since={value}").options.since_time == sent
    assert target(f"{APISERVER}?sinceTime={value}").options.since_time == sent


@pytest.mark.parametrize(
    "value",
    [
        "yesterday",
        "5m",
        "1735787045",
        "2025-01-02",
        "2025-01-02T03:04:05",
        "2025-01-02 03:04:05Z",
        "2025-01-02T03:04Z",
        "2025-1-2T3:4:5Z",
        "2025-01-02T03:04:05+02:00",  # a plus in a query is a space
        "2025-01-02T03:04:05%2B0200",
        "2025-01-02T03:04:05%2B24:00",
        "2025-01-02T03:04:05%2B02:60",
        "2025-01-02T03:04:05,5Z",
        "2025-01-02T03:04:05.Z",
        "2025-01-02T03:04:05.1234567890Z",
        "2025-00-02T03:04:05Z",
        "2025-13-02T03:04:05Z",
        "2025-01-00T03:04:05Z",
        "2025-04-31T03:04:05Z",
        "2025-02-29T03:04:05Z",
        "1900-02-29T03:04:05Z",
        "2025-01-02T24:00:00Z",
        "2025-01-02T03:60:05Z",
        "2025-01-02T23:59:60Z",
        "02025-01-02T03:04:05Z",
        "٢٠٢٥-01-02T03:04:05Z",
        "2025-01-02T03:04:05Z%00",
        "2025-01-02T03:04:05Z%0A",
        "%FF",
    ],
)
def test_a_bad_time(value):
    for request_target, name in ((f"{PROXY}?since={value}", "since"), (f"{APISERVER}?sinceTime={value}", "sinceTime")):
        text = refused(request_target)
        assert text.startswith(f"{name} must be a time as in RFC 3339")
        assert "%2B" in text


@given(st.datetimes(), st.timezones())
def test_every_time_that_python_writes_is_taken(moment, zone):
    text = moment.replace(tzinfo=zone).isoformat(timespec="microseconds")
    if text.count(":") > 3 or "." in text[26:]:
        return  # an offset with seconds, from before there were zones: RFC 3339 has none
    value = text.replace("+", "%2B")
    assert target(f"{PROXY}?since={value}").options.since_time == text


@given(st.text(max_size=40), st.sampled_from([PROXY, APISERVER]))
def test_whatever_is_asked_only_a_refusal_comes_out(text, path):
    try:
        parsed = target(f"{path}?{text}&tailLines={text}&since={text}")
    except Refusal as refusal:
        assert refusal.reason is Reason.BAD_QUERY  # noqa: PT017 - there may be none
    else:
        assert isinstance(parsed.options, LogOptions)
