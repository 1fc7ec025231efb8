"""The environment -> Settings: every variable of the contract, and every mistake in one go."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_ws_proxy.errors import SettingsError
from k8s_ws_proxy.settings import (
    Address,
    AuditSettings,
    NatsSettings,
    Settings,
    TlsSettings,
    doubts,
    parse,
)


def load(environ):
    """The settings, as `serve` takes them: all of it right, or none."""
    settings, mistakes = parse(environ)
    if mistakes:
        raise SettingsError(mistakes)
    return settings


PORTS = (range(1, 65536), range(443, 444), range(8000, 9000))
KEYS = {"SHARED_SECRET_FILE": "/keys/secret"}
TLS = {"TLS_CERT_FILE": "/tls/tls.crt", "TLS_KEY_FILE": "/tls/tls.key"}


def mistakes(environ):
    with pytest.raises(SettingsError) as error:
        load(environ)
    assert str(error.value).splitlines()[1:] == [f"  - {mistake}" for mistake in error.value.mistakes]
    return error.value.mistakes


def one_mistake(environ):
    (mistake,) = mistakes({**KEYS, **environ})
    return mistake


def test_the_defaults_are_those_of_the_contract():
    assert load(KEYS) == Settings(
        listen=Address("", 8080),
        secret_file=Path("/keys/secret"),
        secret_dir=None,
        skew=300,
        tmux_cascade=False,
        allowed_namespaces=frozenset(),
        allowed_subresources=frozenset({"exec", "attach", "log", "portforward"}),
        allowed_ports=(),
        log_level="info",
        ping_period=30.0,
        handshake_timeout=10.0,
        tls=None,
        allowed_subjects=frozenset(),
        guacd_subjects=frozenset(),
        pod_alias_label="",
        node_name="",
        admin=Address("", 9090),
        max_sessions=1500,
        max_sessions_per_namespace=0,
        max_handshakes=1000,
        ready_connections=4,
        session_idle_timeout=0.0,
        session_max_duration=0.0,
        reap_orphans=True,
        drain_timeout=30.0,
    )


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"WS_PROXY_LISTEN_ADDR": "127.0.0.1:9000"}, {"listen": Address("127.0.0.1", 9000)}),
        ({"SHARED_SECRET_DIR": "/keys"}, {"secret_dir": Path("/keys")}),
        ({"SHARED_SECRET_FILE": "", "SHARED_SECRET_DIR": "/keys"}, {"secret_file": None, "secret_dir": Path("/keys")}),
        ({"HMAC_SKEW_SECONDS": "0"}, {"skew": 0}),
        ({"HMAC_SKEW_SECONDS": "060"}, {"skew": 60}),
        ({"TMUX_CASCADE": "true"}, {"tmux_cascade": True}),
        ({"TMUX_CASCADE": "TRUE"}, {"tmux_cascade": True}),
        ({"TMUX_CASCADE": "1"}, {"tmux_cascade": True}),
        ({"TMUX_CASCADE": "false"}, {"tmux_cascade": False}),
        ({"TMUX_CASCADE": "0"}, {"tmux_cascade": False}),
        ({"ALLOWED_NAMESPACES": "a, b,,c ,"}, {"allowed_namespaces": frozenset("abc")}),
        ({"ALLOWED_NAMESPACES": "  "}, {"allowed_namespaces": frozenset()}),
        ({"ALLOWED_SUBRESOURCES": "log, exec"}, {"allowed_subresources": frozenset({"exec", "log"})}),
        ({"ALLOWED_PORTS": "80"}, {"allowed_ports": (range(80, 81),)}),
        ({"ALLOWED_PORTS": " 443, 1-65535 ,,8000 - 8999"}, {"allowed_ports": PORTS}),
        *(({"LOG_LEVEL": level}, {"log_level": level}) for level in ("debug", "info", "warn", "error")),
        ({"LOG_LEVEL": "WARN"}, {"log_level": "warn"}),
        ({"WS_PING_PERIOD": "1m30s"}, {"ping_period": 90.0}),
        ({"WS_HANDSHAKE_TIMEOUT": "500ms"}, {"handshake_timeout": 0.5}),
        (TLS, {"tls": TlsSettings(Address("", 8443), Path("/tls/tls.crt"), Path("/tls/tls.key"), None)}),
        (
            {**TLS, "TLS_LISTEN_ADDR": "[::1]:1", "TLS_CLIENT_CA_FILE": "/tls/ca"},
            {"tls": TlsSettings(Address("::1", 1), Path("/tls/tls.crt"), Path("/tls/tls.key"), Path("/tls/ca"))},
        ),
        (
            {**TLS, "TLS_CLIENT_CA_FILE": "/ca", "CLIENT_CERT_ALLOWED_SUBJECTS": "a b,c", "GUACD_SUBJECTS": "c"},
            {"allowed_subjects": frozenset({"a b", "c"}), "guacd_subjects": frozenset("c")},
        ),
        *(
            ({"POD_ALIAS_LABEL": key}, {"pod_alias_label": key})
            for key in ("app", "A", "a_b.C-1", "app.kubernetes.io/name", "x/" + "a" * 63, "a" * 253 + "/x")
        ),
        ({"NODE_NAME": "node-1"}, {"node_name": "node-1"}),
        ({"WS_PROXY_ADMIN_ADDR": "127.0.0.1:9100"}, {"admin": Address("127.0.0.1", 9100)}),
        ({"WS_PROXY_ADMIN_ADDR": "off"}, {"admin": None}),
        ({"WS_PROXY_ADMIN_ADDR": " OFF "}, {"admin": None}),
        ({"MAX_SESSIONS": "1"}, {"max_sessions": 1}),
        ({"MAX_SESSIONS_PER_NAMESPACE": "7"}, {"max_sessions_per_namespace": 7}),
        ({"MAX_HANDSHAKES": "1"}, {"max_handshakes": 1}),
        *(({"READY_CONNECTIONS": str(count)}, {"ready_connections": count}) for count in (0, 32)),
        ({"REAP_ORPHANS": "false"}, {"reap_orphans": False}),
        ({"SESSION_IDLE_TIMEOUT": "15m"}, {"session_idle_timeout": 900.0}),
        ({"SESSION_MAX_DURATION": "8h"}, {"session_max_duration": 28800.0}),
        ({"DRAIN_TIMEOUT": "0s"}, {"drain_timeout": 0.0}),
        ({"DRAIN_TIMEOUT": "0"}, {"drain_timeout": 0.0}),
    ],
    ids=",".join,
)
def test_each_variable(environ, expected):
    settings = load({**KEYS, **environ})
    assert {name: getattr(settings, name) for name in expected} == expected


@pytest.mark.parametrize(
    "name",
    [
        "WS_PROXY_LISTEN_ADDR",
        "HMAC_SKEW_SECONDS",
        "TMUX_CASCADE",
        "ALLOWED_SUBRESOURCES",
        "ALLOWED_PORTS",
        "LOG_LEVEL",
        "TLS_LISTEN_ADDR",
        "WS_PING_PERIOD",
        "WS_HANDSHAKE_TIMEOUT",
        "MAX_SESSIONS",
        "DRAIN_TIMEOUT",
        "WS_PROXY_ADMIN_ADDR",
        "TLS_CERT_FILE",
        "NODE_NAME",
    ],
)
@pytest.mark.parametrize("empty", ["", "  ", "\n"])
def test_an_empty_variable_is_an_absent_one(name, empty):
    assert load({**KEYS, name: empty}) == load(KEYS)


def test_blanks_around_a_value_are_trimmed():
    assert load({"SHARED_SECRET_FILE": " /keys/secret\n", "HMAC_SKEW_SECONDS": " 5 "}).skew == 5


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30s", 30.0),
        ("1m", 60.0),
        ("1h", 3600.0),
        ("1h1m1s", 3661.0),
        ("1.5m", 90.0),
        (".5s", 0.5),
        ("2.s", 2.0),
        ("500ms", 0.5),
        ("200000us", 0.2),
        ("200000\u00b5s", 0.2),
        ("200000\u03bcs", 0.2),
        ("200000000ns", 0.2),
        ("+1s", 1.0),
        ("1s1s", 2.0),
    ],
)
def test_durations_are_gos(written, seconds):
    assert load({**KEYS, "WS_PING_PERIOD": written}).ping_period == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written",
    [
        "30",
        "s",
        "1",
        "-",
        "1 s",
        "1s 2s",
        "1s,2s",
        "1h and 2m",
        "1S",
        "1d",
        "1w",
        "1y",
        "1..5s",
        ".s",
        "inf",
        "nan",
        "1e3s",
        "\u0663s",
        "0x1s",
        "99999999999999999999h",
        "9" * 5000 + "s",
        "1s\0",
    ],
    ids=lambda written: written[:12],
)
@pytest.mark.parametrize("name", ["WS_PING_PERIOD", "WS_HANDSHAKE_TIMEOUT", "DRAIN_TIMEOUT"])
def test_what_is_no_duration(name, written):
    mistake = one_mistake({name: written})
    assert mistake.startswith(f"{name} must be a duration such as 30s, 1m30s or 500ms; it is ")


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("WS_PING_PERIOD", "99ms"),
        ("WS_PING_PERIOD", "0"),
        ("WS_PING_PERIOD", "-30s"),
        ("WS_HANDSHAKE_TIMEOUT", "0s"),
        ("DRAIN_TIMEOUT", "-1s"),
    ],
)
def test_a_duration_too_short(name, written):
    assert f"{name} must be at least" in one_mistake({name: written})


@pytest.mark.parametrize(
    ("written", "address"),
    [
        (":8080", Address("", 8080)),
        (":0", Address("", 0)),
        (":65535", Address("", 65535)),
        ("0.0.0.0:80", Address("0.0.0.0", 80)),
        ("localhost:80", Address("localhost", 80)),
        ("node-1.example.org:80", Address("node-1.example.org", 80)),
        ("[::]:80", Address("::", 80)),
        ("[::1]:80", Address("::1", 80)),
        ("[fe80::1%eth0]:80", Address("fe80::1%eth0", 80)),
        ("[::ffff:1.2.3.4]:80", Address("::ffff:1.2.3.4", 80)),
    ],
)
def test_addresses_are_gos_and_show_as_they_were_written(written, address):
    assert load({**KEYS, "WS_PROXY_LISTEN_ADDR": written}).listen == address
    assert str(address) == written


@pytest.mark.parametrize(
    "written",
    [
        "8080",
        "localhost",
        ":",
        ":http",
        ":-1",
        ":+80",
        ":65536",
        ":8 0",
        "::1:80",
        "::80",
        "[::1]",
        "[::1",
        "[::1:80",
        "::1]:80",
        "[localhost:80",
        "localhost]:80",
        "a b:80",
        ":\u0668\u0660",
        ":" + "9" * 5000,
        "http://localhost:80",
        "[]:80",
    ],
    ids=lambda written: written[:20],
)
@pytest.mark.parametrize("name", ["WS_PROXY_LISTEN_ADDR", "TLS_LISTEN_ADDR", "WS_PROXY_ADMIN_ADDR"])
def test_what_is_no_address(name, written):
    assert one_mistake({name: written}).startswith(f"{name} must be HOST:PORT")


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("HMAC_SKEW_SECONDS", "-1"),
        ("HMAC_SKEW_SECONDS", "+1"),
        ("HMAC_SKEW_SECONDS", "300s"),
        ("HMAC_SKEW_SECONDS", "3.5"),
        ("HMAC_SKEW_SECONDS", "1_000"),
        ("HMAC_SKEW_SECONDS", "\u0663"),
        ("HMAC_SKEW_SECONDS", "\u00b2"),
        ("HMAC_SKEW_SECONDS", "9" * 5000),
        ("MAX_SESSIONS", "0"),
        ("MAX_SESSIONS", "many"),
        ("MAX_SESSIONS", "9" * 11),
    ],
    ids=lambda value: value[:12],
)
def test_what_is_no_number(name, written):
    assert one_mistake({name: written}).startswith(f"{name} must be a whole number")


@pytest.mark.parametrize("written", ["yes", "on", "2", "tru", "truefalse"])
def test_what_is_neither_true_nor_false(written):
    assert one_mistake({"TMUX_CASCADE": written}) == f"TMUX_CASCADE must be true or false; it is {written!r}"


@pytest.mark.parametrize("written", ["warning", "trace", "0"])
def test_what_is_no_log_level(written):
    assert (
        one_mistake({"LOG_LEVEL": written}) == f"LOG_LEVEL must be one of debug, info, warn, error; it is {written!r}"
    )


@pytest.mark.parametrize(
    ("written", "told"), [("exec,logs", "'logs'"), ("EXEC", "'EXEC'"), ("x y,log,proxy", "'proxy', 'x y'")]
)
def test_what_is_no_subresource(written, told):
    assert one_mistake({"ALLOWED_SUBRESOURCES": written}) == (
        f"ALLOWED_SUBRESOURCES must be some of exec, attach, log, portforward, separated by commas; unknown: {told}"
    )


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("http", "'http'"),
        ("0", "'0'"),
        ("65536", "'65536'"),
        ("80-79", "'80-79'"),
        ("1-65536", "'1-65536'"),
        ("80-", "'80-'"),
        ("80,-1,443", "'-1'"),
        ("1-2-3, x", "'1-2-3', 'x'"),
        ("٨٠", "'٨٠'"),
    ],
)
def test_what_is_no_port(written, told):
    assert one_mistake({"ALLOWED_PORTS": written}) == (
        f"ALLOWED_PORTS must be ports and ranges of ports from 1 to 65535, such as 80,8000-8999; wrong: {told}"
    )


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"TLS_CERT_FILE": "/c"}, "must be set together"),
        ({"TLS_KEY_FILE": "/k"}, "must be set together"),
        ({"TLS_KEY_FILE": "/k", "TLS_CLIENT_CA_FILE": "/ca"}, "must be set together"),
        ({"TLS_CLIENT_CA_FILE": "/ca"}, "TLS_CLIENT_CA_FILE needs the TLS listener"),
        ({"CLIENT_CERT_ALLOWED_SUBJECTS": "guacd"}, "CLIENT_CERT_ALLOWED_SUBJECTS needs the TLS listener"),
        ({**TLS, "CLIENT_CERT_ALLOWED_SUBJECTS": "guacd"}, "TLS_CLIENT_CA_FILE"),
    ],
)
def test_settings_that_need_each_other(environ, words):
    assert words in one_mistake(environ)


WITH_CALLERS = {**TLS, "TLS_CLIENT_CA_FILE": "/ca", "CLIENT_CERT_ALLOWED_SUBJECTS": "a,b"}


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"GUACD_SUBJECTS": "guacd"}, ["GUACD_SUBJECTS has no effect"]),
        ({**WITH_CALLERS, "GUACD_SUBJECTS": "b,d,c"}, ["GUACD_SUBJECTS names 'c', 'd', and CLIENT_CERT_ALLOWED_"]),
        ({**WITH_CALLERS, "GUACD_SUBJECTS": "b"}, []),
        (WITH_CALLERS, []),
        ({}, []),
    ],
)
def test_what_works_and_is_doubtful(environ, words):
    """A certificate may be let in by one of its names and be guacd by another."""
    told = doubts(load({**KEYS, **environ}))
    assert len(told) == len(words)
    assert all(sentence.startswith(word) for sentence, word in zip(told, words, strict=True))


@pytest.mark.parametrize(
    "name",
    ["ALLOWED_NAMESPACES", "ALLOWED_SUBRESOURCES", "ALLOWED_PORTS", "CLIENT_CERT_ALLOWED_SUBJECTS", "GUACD_SUBJECTS"],
)
@pytest.mark.parametrize("value", [",", " , ,"])
def test_a_list_of_nothing_is_not_a_list_of_everything(name, value):
    assert one_mistake({name: value}).startswith(f"{name} names nothing")


@pytest.mark.parametrize("wrong", ["Team", "a.b", "a_b", "*", "-a", "a" * 64, "a b"])
def test_a_namespace_that_there_can_not_be(wrong):
    told = f"ALLOWED_NAMESPACES must be names of namespaces, separated by commas; none can have: {wrong!r}"
    assert one_mistake({"ALLOWED_NAMESPACES": f"default,{wrong}"}) == told


@pytest.mark.parametrize(
    "wrong", ["a b!", "a/b/c", "/a", "a/", "-a", "a-", "a" * 64, "A/a", "a..b/c", "a" * 254 + "/x", "a=b"]
)
def test_what_is_no_label_s_key(wrong):
    assert one_mistake({"POD_ALIAS_LABEL": wrong}).startswith("POD_ALIAS_LABEL must be a label's key")


@pytest.mark.parametrize(
    ("written", "policy"),
    [
        ("", "'none'"),
        ("none", "'none'"),
        ("self", "'self'"),
        ("https://b.example:8443, self", "https://b.example:8443 'self'"),
    ],
)
def test_who_may_have_a_page_in_a_frame(written, policy):
    given = {"WEB_TERMINAL": "true", "WEB_FRAME_ANCESTORS": written, "SHARED_SECRET_FILE": "x"}
    settings, found = parse(given)
    assert found == []
    assert settings.web_terminal is not None
    assert settings.web_terminal.frame_ancestors == policy


@pytest.mark.parametrize(
    "wrong", ["*", "none,self", "'self'", "https://a.example; script-src *", "https://a.example/", "https://A.example"]
)
def test_what_can_not_have_one(wrong):
    assert one_mistake({"WEB_FRAME_ANCESTORS": wrong}).startswith(
        "WEB_FRAME_ANCESTORS must be none, or self and origins"
    )


@pytest.mark.parametrize("environ", [{}, {"SHARED_SECRET_FILE": "", "SHARED_SECRET_DIR": " "}])
def test_without_a_key_nobody_could_be_let_in(environ):
    (mistake,) = mistakes(environ)
    assert mistake.startswith("SHARED_SECRET_FILE or SHARED_SECRET_DIR must be set")


def test_every_mistake_is_told_at_once():
    found = mistakes(
        {
            "WS_PROXY_LISTEN_ADDR": "x",
            "HMAC_SKEW_SECONDS": "x",
            "TMUX_CASCADE": "x",
            "LOG_LEVEL": "x",
            "ALLOWED_SUBRESOURCES": "x",
            "ALLOWED_PORTS": "x",
            "WS_PING_PERIOD": "x",
            "WS_HANDSHAKE_TIMEOUT": "x",
            "TLS_LISTEN_ADDR": "x",
            "TLS_CERT_FILE": "x",
            "CLIENT_CERT_ALLOWED_SUBJECTS": "x",
            "WS_PROXY_ADMIN_ADDR": "x",
            "MAX_SESSIONS": "x",
            "DRAIN_TIMEOUT": "x",
        }
    )
    assert len(found) == 15
    for name in ("WS_PROXY_LISTEN_ADDR", "HMAC_SKEW_SECONDS", "DRAIN_TIMEOUT", "SHARED_SECRET_FILE", "TLS_KEY_FILE"):
        assert sum(name in mistake for mistake in found) >= 1


def test_parse_gives_defaults_in_the_place_of_what_is_wrong():
    settings, found = parse({**KEYS, "HMAC_SKEW_SECONDS": "x", "WS_PING_PERIOD": "x", "WS_PROXY_LISTEN_ADDR": "x"})
    assert settings == load(KEYS)
    assert len(found) == 3


def test_a_mistake_is_one_line_whatever_the_value():
    assert len(one_mistake({"LOG_LEVEL": "a\nb\x1b[31m"}).splitlines()) == 1


def test_settings_are_frozen():
    with pytest.raises(FrozenInstanceError):
        load(KEYS).skew = 1  # type: ignore[misc]


VARIABLES = [
    "WS_PROXY_LISTEN_ADDR",
    "SHARED_SECRET_FILE",
    "HMAC_SKEW_SECONDS",
    "TMUX_CASCADE",
    "ALLOWED_NAMESPACES",
    "ALLOWED_SUBRESOURCES",
    "ALLOWED_PORTS",
    "LOG_LEVEL",
    "WS_PING_PERIOD",
    "TLS_LISTEN_ADDR",
    "TLS_CERT_FILE",
    "GUACD_SUBJECTS",
    "WS_PROXY_ADMIN_ADDR",
]


@given(
    st.dictionaries(
        st.sampled_from(VARIABLES), st.one_of(st.text(max_size=20), st.text("0123456789.:[]hmsn-+", max_size=9))
    )
)
def test_any_environment_gives_settings_and_sentences(environ):
    settings, found = parse(environ)
    assert all(found)
    assert {field.name for field in fields(settings)} == {field.name for field in fields(Settings)}


NATS = {"AUDIT_NATS_URL": "nats://nats:4222", "AUDIT_DIR": "/audit"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, AuditSettings()),
        ({"AUDIT_LOG": "OFF"}, AuditSettings("off")),
        (
            {"AUDIT_LOG": "/var/log/audit.log", "AUDIT_REQUIRED": "true"},
            AuditSettings("/var/log/audit.log", required=True),
        ),
        (
            {"AUDIT_LOG": "/var/log/audit.log", "AUDIT_LOG_MAX_SIZE": "129024Ki"},
            AuditSettings("/var/log/audit.log", max_size=126 * 2**20),
        ),
        ({"AUDIT_LOG_MAX_SIZE": "0"}, AuditSettings()),
        (
            {
                **NATS,
                "AUDIT_NATS_URL": "nats://a:1, tls://b:2/",
                "AUDIT_MAX_BUFFER": "1Gi",
                "AUDIT_NATS_SUBJECT": "x.{event}",
            },
            AuditSettings(
                nats=NatsSettings(("nats://a:1", "tls://b:2"), "x.{event}", None, None, Path("/audit"), 2**30)
            ),
        ),
        (
            {**NATS, "AUDIT_NATS_CREDENTIALS": "/creds", "AUDIT_NATS_CA_FILE": "/ca"},
            AuditSettings(
                nats=NatsSettings(
                    ("nats://nats:4222",),
                    "catalyst.events.k8s-ws-proxy.{event}",
                    Path("/creds"),
                    Path("/ca"),
                    Path("/audit"),
                    64 * 2**20,
                )
            ),
        ),
    ],
)
def test_where_the_audit_trail_goes(environ, expected):
    settings = load({**KEYS, **environ}).audit
    assert settings == expected
    assert settings.file == (Path("/var/log/audit.log") if settings.log.startswith("/") else None)


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"AUDIT_LOG": "audit.log"}, "AUDIT_LOG must be off, stderr, or the path of a file from / on"),
        ({"AUDIT_LOG": "off", "AUDIT_REQUIRED": "true"}, "AUDIT_REQUIRED wants AUDIT_LOG or AUDIT_NATS_URL"),
        ({"AUDIT_NATS_URL": "nats://nats:4222"}, "AUDIT_NATS_URL needs AUDIT_DIR"),
        ({**NATS, "AUDIT_NATS_URL": "nats:4222"}, "AUDIT_NATS_URL must be URLs such as nats://nats.example:4222"),
        (
            {"AUDIT_LOG_MAX_SIZE": "1023Ki"},
            "AUDIT_LOG_MAX_SIZE must be 0, which is no limit, or at least 1Mi; it is '1023Ki'",
        ),
        ({**NATS, "AUDIT_MAX_BUFFER": "1023Ki"}, "AUDIT_MAX_BUFFER must be at least 1048576 bytes"),
        ({**NATS, "AUDIT_NATS_SUBJECT": "a.>"}, "AUDIT_NATS_SUBJECT must be a NATS subject without wildcards"),
        ({**NATS, "AUDIT_NATS_SUBJECT": "a.{user}"}, "AUDIT_NATS_SUBJECT must be a NATS subject without wildcards"),
        ({**NATS, "AUDIT_NATS_SUBJECT": "a..b"}, "AUDIT_NATS_SUBJECT must be a NATS subject without wildcards"),
    ],
)
def test_where_it_can_t_go(environ, told):
    assert told in one_mistake(environ)


def test_a_password_in_the_url_of_nats_is_refused_and_not_repeated():
    assert "hunter2" not in one_mistake({**NATS, "AUDIT_NATS_URL": "nats://me:hunter2@nats:4222"})
