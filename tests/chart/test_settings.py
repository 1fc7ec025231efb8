"""Every setting of the daemon is a value of the chart, and what the chart says is what the daemon takes."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest
from support.chart import EVERYTHING, merged, render, values_at

from k8s_ws_proxy import settings
from k8s_ws_proxy.settings import Address, RecordingSettings, StoreSettings

ON = {
    "tls": {"enabled": True},
    "recording": {"record": "all", "store": {"url": "s3://bucket", "existingSecret": "store", "caConfigMap": "ca"}},
}

# variable: the value that sets it, one that isn't its default, and what the daemon then gets.
VALUES = {
    "WS_PROXY_LISTEN_ADDR": ("port", 8081, ":8081"),
    "WS_PROXY_ADMIN_ADDR": ("adminPort", 9091, ":9091"),
    "HMAC_SKEW_SECONDS": ("hmacSkewSeconds", 1000000, "1000000"),
    "ACCEPTED_SIGNATURES": ("signatures.accepted", ["v2"], "v2"),
    "SIGNATURE_MAX_AGE": ("signatures.maxAge", 3600, "3600s"),
    "IDENTITY": ("identity.mode", "user", "user"),
    "IDENTITY_USER_PREFIX": ("identity.userPrefix", "https://issuer.example.com#", "https://issuer.example.com#"),
    "IDENTITY_GROUP_PREFIX": ("identity.groupPrefix", "oidc:", "oidc:"),
    "ALLOWED_NAMESPACES": ("allowedNamespaces", ["a", "b"], "a,b"),
    "ALLOWED_SUBRESOURCES": ("allowedSubresources", ["exec", "log"], "exec,log"),
    "ALLOWED_PORTS": ("allowedPorts", [80, "8000-8999"], "80,8000-8999"),
    "POD_ALIAS_LABEL": ("podAliasLabel", "app.kubernetes.io/name", "app.kubernetes.io/name"),
    "REAP_ORPHANS": ("reapOrphans", False, "false"),
    "TMUX_CASCADE": ("tmuxCascade", True, "true"),
    "LOG_LEVEL": ("logLevel", "warn", "warn"),
    "MAX_SESSIONS": ("maxSessions", 2147483647, "2147483647"),
    "MAX_SESSIONS_PER_NAMESPACE": ("maxSessionsPerNamespace", 7, "7"),
    "MAX_SESSIONS_PER_USER": ("maxSessionsPerUser", 7, "7"),
    "MAX_HANDSHAKES": ("maxHandshakes", 7, "7"),
    "READY_CONNECTIONS": ("readyConnections", 0, "0"),
    "MAX_TICKETS": ("maxTickets", 0, "0"),
    "ALLOWED_ORIGINS": (
        "allowedOrigins",
        ["https://console.example", "http://[::1]:3000"],
        "https://console.example,http://[::1]:3000",
    ),
    "PUBLIC_URL": ("publicUrl", "wss://{node}.example/shells", "wss://{node}.example/shells"),
    "WEB_TERMINAL": ("webTerminal.enabled", True, "true"),
    "WEB_FRAME_ANCESTORS": (
        "webTerminal.frameAncestors",
        ["self", "https://console.example"],
        "self,https://console.example",
    ),
    "WEB_CLIPBOARD": ("webTerminal.clipboard", True, "true"),
    "WATCH_NOTICES": ("watchNotices", False, "false"),
    "SESSION_IDLE_TIMEOUT": ("sessionIdleTimeout", "1h30m", "1h30m"),
    "SESSION_MAX_DURATION": ("sessionMaxDuration", "12h", "12h"),
    "WS_PING_PERIOD": ("wsPingPeriod", "500ms", "500ms"),
    "WS_HANDSHAKE_TIMEOUT": ("wsHandshakeTimeout", "3s", "3s"),
    "DRAIN_TIMEOUT": ("drainTimeout", "0", "0"),
    "RECORD": ("recording.record", "terminals", "terminals"),
    "RECORD_INPUT": ("recording.recordInput", True, "true"),
    "RECORDING_REQUIRED": ("recording.required", False, "false"),
    "RECORDING_NOTICE": ("recording.notice", "It is recorded: all of it.", "It is recorded: all of it."),
    "RECORDING_MIN_FREE": ("recording.minFree", "1Gi", "1Gi"),
    "RECORDING_MAX_AGE": ("recording.maxAge", "720h", "720h"),
    "RECORDING_MAX_BYTES": ("recording.maxBytes", 10_000_000_000, "10000000000"),
    "RECORDING_KEEP": ("recording.keep", "0s", "0s"),
    "RECORDING_STORE": ("recording.store.url", "s3://another.one/with/a/prefix", "s3://another.one/with/a/prefix"),
    "RECORDING_STORE_ENDPOINT": ("recording.store.endpoint", "https://minio:9000", "https://minio:9000"),
    "RECORDING_STORE_REGION": ("recording.store.region", "eu-central-1", "eu-central-1"),
    "RECORDING_STORE_CA_FILE": ("recording.store.caKey", "tls.crt", "/etc/k8s-ws-proxy/store-ca/tls.crt"),
    "AUDIT_LOG": ("audit.log", "file", "/var/lib/k8s-ws-proxy-audit/audit.log"),
    "AUDIT_REQUIRED": ("audit.required", True, "true"),
    "AUDIT_NATS_URL": ("audit.nats.url", "nats://a:4222,tls://[::1]:4222", "nats://a:4222,tls://[::1]:4222"),
    "AUDIT_NATS_SUBJECT": ("audit.nats.subject", "audit.{event}.x", "audit.{event}.x"),
    "AUDIT_NATS_CREDENTIALS": ("audit.nats.credentialsSecret", "creds", "/etc/k8s-ws-proxy/nats/nats.creds"),
    "AUDIT_NATS_CA_FILE": ("audit.nats.caSecret", "ca", "/etc/k8s-ws-proxy/nats/ca.crt"),
    "AUDIT_MAX_BUFFER": ("audit.nats.maxBuffer", "1Gi", "1Gi"),
    "TLS_LISTEN_ADDR": ("tls.port", 9443, ":9443"),
    "CLIENT_CERT_ALLOWED_SUBJECTS": ("tls.clientSubject", "jane", "jane"),
    "GUACD_SUBJECTS": ("guacdSubjects", [], ""),
}
# What follows from where the chart mounts things, and how large these are, and from the node.
FIXED = {
    "SHARED_SECRET_DIR",
    "STATE_DIR",
    "TLS_CERT_FILE",
    "TLS_KEY_FILE",
    "TLS_CLIENT_CA_FILE",
    "NODE_NAME",
    "RECORDING_DIR",
    "AUDIT_DIR",
    "AUDIT_LOG_MAX_SIZE",
    "RECORDING_STORE_CREDENTIALS_DIR",
}
# What changes with another one.
FOLLOW = {"CLIENT_CERT_ALLOWED_SUBJECTS": {"GUACD_SUBJECTS"}, "AUDIT_LOG": {"AUDIT_LOG_MAX_SIZE"}}
# The chart mounts the whole Secret, so that a rotation can add keys.
NOT_USED = {"SHARED_SECRET_FILE"}


def variables():
    """Every variable that the daemon's settings read."""
    text = Path(settings.__file__).read_text("utf-8")
    constants = (node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant))
    return {
        name for name in constants if isinstance(name, str) and re.fullmatch(r"[A-Z]+(_[A-Z]+)+|IDENTITY|RECORD", name)
    }


def test_every_setting_has_a_value_or_follows_from_the_chart():
    assert variables() == VALUES.keys() | FIXED | NOT_USED


def test_the_daemon_set_names_every_setting_that_is_and_none_that_isn_t():
    named = {entry["name"] for entry in render(ON).proxy["env"]}
    assert named == variables() - NOT_USED


@pytest.mark.parametrize("variable", sorted(VALUES))
def test_a_value_reaches_the_daemon(variable):
    path, value, expected = VALUES[variable]
    before, after = render(ON).environ, render(merged(ON, values_at(path, value))).environ
    assert after[variable] == expected
    assert before[variable] != expected
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {variable} | FOLLOW.get(variable, set())


@pytest.mark.parametrize("variable", sorted(VALUES))
def test_the_daemon_takes_what_the_chart_gives_it(variable):
    path, value, _expected = VALUES[variable]
    _settings, mistakes = settings.parse(render(merged(ON, values_at(path, value))).environ)
    assert mistakes == []


def test_the_chart_s_defaults_are_the_daemon_s():
    plain = {name: value for name, value in render().environ.items() if name not in ("SHARED_SECRET_DIR", "STATE_DIR")}
    defaults, _mistakes = settings.parse({})
    assert settings.parse(plain)[0] == defaults
    with_tls, mistakes = settings.parse(render(ON).environ)
    assert mistakes == []
    assert with_tls.tls.listen == Address("", 8443)
    assert with_tls.allowed_subjects == with_tls.guacd_subjects == {"guacd"}
    without = replace(with_tls, tls=None, allowed_subjects=frozenset(), guacd_subjects=frozenset(), secret_dir=None)
    assert with_tls.recording.store == StoreSettings(
        "s3://bucket",
        ca_file=Path("/etc/k8s-ws-proxy/store-ca/ca.crt"),
        credentials_dir=Path("/etc/k8s-ws-proxy/store"),
    )
    directory = Path("/var/lib/k8s-ws-proxy-recordings")
    assert replace(with_tls.recording, store=None) == RecordingSettings(directory, "all")
    assert replace(without, state_dir=None, recording=None) == defaults


def test_everything_at_once_is_taken_too():
    assert settings.parse(render(EVERYTHING).environ)[1] == []
