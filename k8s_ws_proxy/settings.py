"""The environment -> frozen Settings, with every mistake at once (docs/reference/settings.md)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import durationpy

from k8s_ws_proxy.wire.requests.target import names_namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta

LOG_LEVELS: Final = ("debug", "info", "warn", "error")
SUBRESOURCES: Final = ("exec", "attach", "log", "portforward")
"""What an operator can switch off, each by the apiserver's name for it."""
IDENTITIES: Final = ("proxy", "caller", "user")
"""As whom the apiserver sees a session."""
SIGNATURES: Final = ("v1", "v2")
"""The ways to sign a request."""
_PART: Final = "[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
# A DNS subdomain and a slash, or neither; then the name.
_LABEL_KEY: Final = re.compile(
    rf"(?:(?=[^/]{{1,253}}/){_PART}(?:\.{_PART})*/)?[A-Za-z0-9](?:[-._A-Za-z0-9]{{0,61}}[A-Za-z0-9])?", re.ASCII
)
_MOST: Final = 2**31 - 1  # of any number: far beyond what makes sense
# durationpy takes more than Go does: days, years, and whatever stands between two numbers.
_GO_DURATION: Final = re.compile(r"[+-]?(0|(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)")
_UNITS: Final[dict[str, int]] = {
    "": 1,
    **{unit: 1000**power for power, unit in enumerate("kMGTP", 1)},
    **{f"{unit}i": 1024**power for power, unit in enumerate("KMGTP", 1)},
}
_SIZE: Final = re.compile(rf"(?P<number>[0-9]{{1,15}})(?P<unit>{'|'.join(_UNITS)})", re.ASCII)
RECORDED: Final = ("off", "terminals", "all")
"""Which sessions are recorded, besides those that were issued so."""
_NOTICE: Final = "this session is recorded"
_LONGEST_NOTICE: Final = 200  # characters
_ORIGIN: Final = re.compile(r"https?://[a-z0-9.\-\[\]:]+", re.ASCII)
_STORE: Final = re.compile(
    r"(?:(?:s3|gs|az)://[A-Za-z0-9][A-Za-z0-9._-]*|file:///[^/])(?:[^\s?#@%\\]*[^\s?#@%\\])?", re.ASCII
)
_ENDPOINT: Final = re.compile(r"https?://[^\s/?#@]+(?:/[^\s?#@]*)?", re.ASCII)
_URL: Final = re.compile(r"(?:https?|wss?)://[^\s?#]+", re.ASCII)
# No user or password: these are in a file.
_NATS: Final = re.compile(r"(?:nats|tls|wss?)://[^\s/@?#,]+/?", re.ASCII)
_SUBJECT: Final = re.compile(r"[^\s.*>\x00-\x1f\x7f]+(?:\.[^\s.*>\x00-\x1f\x7f]+)*", re.ASCII)
_ADDRESS: Final = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[^\s:\[\]]*)):(?P<port>[0-9]{1,5})", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; an empty host is every interface, port 0 any free port."""

    host: str
    port: int

    def __str__(self) -> str:
        """As it is written in the environment."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """The TLS listener's files. Without a client CA no certificate is asked for."""

    listen: Address
    cert_file: Path
    key_file: Path
    client_ca_file: Path | None


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where finished recordings go. What is empty here the library looks for itself: in the environment, or the cloud.

    ``credentials_dir`` is a mounted Secret: each entry is an option of the library, called as its environment variable.
    ``keep``: seconds for which a recording that has been stored stays here, too.
    """

    url: str
    endpoint: str = ""
    region: str = ""
    ca_file: Path | None = None
    credentials_dir: Path | None = None
    keep: float = 3600.0


@dataclass(frozen=True, slots=True)
class RecordingSettings:
    """What is recorded of sessions, and where. Sizes are bytes, durations seconds; 0 is no limit.

    Without ``required`` a session goes on where it can't be recorded. ``notice`` is a line for terminals that are.
    With a ``store`` what is finished is taken there.
    """

    directory: Path
    mode: str = "off"
    input: bool = False
    required: bool = True
    min_free: int = 256 * 2**20
    max_age: float = 0.0
    max_bytes: int = 0
    notice: str = ""
    store: StoreSettings | None = None


@dataclass(frozen=True, slots=True)
class NatsSettings:
    """The JetStream that audit lines go to. ``directory`` holds what it has not acknowledged, ``most`` bytes at most.

    ``subject`` may hold ``{event}``. Without credentials nothing is shown, without a CA the system's are believed.
    """

    servers: tuple[str, ...]
    subject: str
    credentials: Path | None
    ca_file: Path | None
    directory: Path
    most: int


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """Where audit lines go. ``log`` is ``off``, ``stderr``, or a file's path.

    ``max_size`` is bytes at which that file is begun anew; 0 is never.
    """

    log: str = "stderr"
    required: bool = False
    nats: NatsSettings | None = None
    max_size: int = 0

    @property
    def file(self) -> Path | None:
        """The file that they are written to, if it is one."""
        return None if self.log in ("off", "stderr") else Path(self.log)


@dataclass(frozen=True, slots=True)
class WebTerminalSettings:
    """The pages in a browser. ``origins`` are those that may send tickets.

    ``frame_ancestors`` is as Content-Security-Policy has it; ``clipboard``: a program in a terminal may set it.
    """

    frame_ancestors: str = "'none'"
    clipboard: bool = False
    origins: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Settings:
    """What the daemon runs with. Durations are seconds."""

    listen: Address = Address("", 8080)
    secret_file: Path | None = None
    secret_dir: Path | None = None
    skew: int = 300
    accepted_signatures: frozenset[str] = frozenset(SIGNATURES)
    signature_max_age: float = 60.0
    identity: str = "proxy"
    identity_user_prefix: str = ""
    identity_group_prefix: str = ""
    tmux_cascade: bool = False
    allowed_namespaces: frozenset[str] = frozenset()
    allowed_subresources: frozenset[str] = frozenset(SUBRESOURCES)
    allowed_ports: tuple[range, ...] = ()
    log_level: str = "info"
    ping_period: float = 30.0
    handshake_timeout: float = 10.0
    tls: TlsSettings | None = None
    allowed_subjects: frozenset[str] = frozenset()
    guacd_subjects: frozenset[str] = frozenset()
    pod_alias_label: str = ""
    node_name: str = ""
    admin: Address | None = Address("", 9090)
    max_sessions: int = 1500
    max_sessions_per_namespace: int = 0
    max_sessions_per_user: int = 0
    max_handshakes: int = 1000
    ready_connections: int = 4
    max_tickets: int = 10_000
    allowed_origins: frozenset[str] = frozenset()
    public_url: str = ""
    watch_notices: bool = True
    session_idle_timeout: float = 0.0
    session_max_duration: float = 0.0
    reap_orphans: bool = True
    state_dir: Path | None = None
    drain_timeout: float = 30.0
    recording: RecordingSettings | None = None
    audit: AuditSettings = AuditSettings()
    web_terminal: WebTerminalSettings | None = None


@dataclass(slots=True)
class _Reader:
    """Takes values out of the environment and keeps a list of what is wrong with them."""

    environ: Mapping[str, str]
    mistakes: list[str] = field(default_factory=list)

    def text(self, name: str, default: str = "") -> str:
        return self.environ.get(name, "").strip() or default

    def path(self, name: str) -> Path | None:
        value = self.text(name)
        return Path(value) if value else None

    def names(self, name: str) -> frozenset[str]:
        value = self.text(name)
        found = frozenset(part.strip() for part in value.split(",") if part.strip())
        if value and not found:
            # Empty means all of them where there are limits: nobody writes a comma for that.
            self.mistakes.append(f"{name} names nothing; it is {value!r}. Unset it if that is what is meant")
        return found

    def namespaces(self, name: str) -> frozenset[str]:
        """Names that a namespace can have: another one is never asked for, and was meant otherwise."""
        found = self.names(name)
        if wrong := sorted(each for each in found if not names_namespace(each)):
            told = ", ".join(map(repr, wrong))
            self.mistakes.append(f"{name} must be names of namespaces, separated by commas; none can have: {told}")
        return found

    def origins(self, name: str) -> frozenset[str]:
        """Origins of pages, as a browser sends them (RFC 6454 §6.2)."""
        found = self.names(name)
        if wrong := sorted(each for each in found if not _ORIGIN.fullmatch(each)):
            told = ", ".join(map(repr, wrong))
            self.mistakes.append(f"{name} must be origins such as https://console.example; wrong: {told}")
        return found

    def ancestors(self, name: str) -> str:
        """Who may have a page in a frame: a source list (Content Security Policy Level 3, frame-ancestors)."""
        named = self.names(name)
        if not named or named == {"none"}:
            return "'none'"
        if wrong := sorted(each for each in named if each != "self" and not _ORIGIN.fullmatch(each)):
            told = ", ".join(map(repr, wrong))
            self.mistakes.append(
                f"{name} must be none, or self and origins such as https://console.example; wrong: {told}"
            )
            return "'none'"
        return " ".join("'self'" if each == "self" else each for each in sorted(named))

    def url(self, name: str) -> str:
        """One that a path can be put behind; ``{node}`` stands for this node's name."""
        value = self.text(name).rstrip("/")
        if value and not _URL.fullmatch(value):
            self.mistakes.append(f"{name} must be a URL such as wss://{{node}}.example/shells; it is {value!r}")
            return ""
        return value.replace("{node}", self.text("NODE_NAME"))

    def label_key(self, name: str) -> str:
        """A label's key (kubernetes.io, "Labels and Selectors", syntax)."""
        value = self.text(name)
        if value and not _LABEL_KEY.fullmatch(value):
            self.mistakes.append(f"{name} must be a label's key, such as app or example.org/app; it is {value!r}")
            return ""
        return value

    def number(self, name: str, default: int, *, least: int, most: int = _MOST) -> int:
        value = self.text(name)
        if not value:
            return default
        if not re.fullmatch(r"[0-9]{1,10}", value) or not least <= int(value) <= most:
            self.mistakes.append(f"{name} must be a whole number from {least} to {most}; it is {value!r}")
            return default
        return int(value)

    def size(self, name: str, default: int, *, least: int = 0) -> int:
        """Bytes, as Kubernetes writes quantities: ``256Mi``, ``10G``, ``1048576``."""
        value = self.text(name)
        if not value:
            return default
        found = _SIZE.fullmatch(value)
        if found is None:
            self.mistakes.append(f"{name} must be a size such as 256Mi, 10Gi or 500M; it is {value!r}")
            return default
        size = int(found["number"]) * _UNITS[found["unit"]]
        if size < least:
            self.mistakes.append(f"{name} must be at least {least} bytes; it is {value!r}")
            return default
        return size

    def boolean(self, name: str, *, default: bool = False) -> bool:
        value = self.text(name, str(default)).lower()
        if value not in ("true", "false", "1", "0"):
            self.mistakes.append(f"{name} must be true or false; it is {value!r}")
        return value in ("true", "1")

    def choice(self, name: str, default: str, among: tuple[str, ...]) -> str:
        value = self.text(name, default).lower()
        if value not in among:
            self.mistakes.append(f"{name} must be one of {', '.join(among)}; it is {value!r}")
            return default
        return value

    def some(self, name: str, among: tuple[str, ...]) -> frozenset[str]:
        """A list of some of ``among``; all of them if it is empty."""
        named = self.names(name)
        if unknown := sorted(named - set(among)):
            told = ", ".join(map(repr, unknown))
            self.mistakes.append(f"{name} must be some of {', '.join(among)}, separated by commas; unknown: {told}")
            return frozenset(among)
        return named or frozenset(among)

    def ports(self, name: str) -> tuple[range, ...]:
        """Ports and ranges of them, both ends included: ``80,8000-8999``."""
        found, wrong = [], []
        for part in sorted(self.names(name)):
            text = re.fullmatch(r"([0-9]{1,5})(?:\s*-\s*([0-9]{1,5}))?", part, re.ASCII)
            first, last = (int(text[1]), int(text[2] or text[1])) if text else (0, 0)
            if 1 <= first <= last <= 65535:
                found.append(range(first, last + 1))
            else:
                wrong.append(part)
        if wrong:
            told = ", ".join(map(repr, wrong))
            self.mistakes.append(
                f"{name} must be ports and ranges of ports from 1 to 65535, such as 80,8000-8999; wrong: {told}"
            )
            return ()
        return tuple(found)

    def duration(self, name: str, default: float, *, least: float, most: float = math.inf) -> float:
        """Go's duration syntax (time.ParseDuration): ``30s``, ``1m30s``, ``500ms``."""
        value = self.text(name)
        if not value:
            return default
        seconds = seconds_of(value)
        if seconds is None:
            self.mistakes.append(f"{name} must be a duration such as 30s, 1m30s or 500ms; it is {value!r}")
            return default
        if seconds < least:
            self.mistakes.append(f"{name} must be at least {least:g}s; it is {value!r}")
            return default
        if seconds > most:
            self.mistakes.append(f"{name} must be at most {most:g}s; it is {value!r}")
            return default
        return seconds

    def address(self, name: str, default: Address, *, among: str = "HOST:PORT or :PORT") -> Address:
        """Go's listen address: ``:8080``, ``127.0.0.1:8080``, ``[::1]:8080``."""
        value = self.text(name)
        if not value:
            return default
        found = _ADDRESS.fullmatch(value)
        if found is None or int(found["port"]) > 65535:
            self.mistakes.append(f"{name} must be {among}; it is {value!r}")
            return default
        return Address(found["v6"] or found["host"] or "", int(found["port"]))

    def address_or_off(self, name: str, default: Address) -> Address | None:
        """A listen address, or None for ``off``."""
        if self.text(name).lower() == "off":
            return None
        return self.address(name, default, among="HOST:PORT, :PORT, or off")


def seconds_of(duration: str) -> float | None:
    """Of a duration in Go's syntax; None for what isn't one."""
    parse: Callable[[str], timedelta] = durationpy.from_str
    if not _GO_DURATION.fullmatch(duration):
        return None
    try:
        return parse(duration).total_seconds()
    except (durationpy.DurationError, OverflowError):
        return None


def parse(environ: Mapping[str, str]) -> tuple[Settings, list[str]]:
    """The settings, with defaults in the place of what is wrong, and a sentence for each mistake."""
    read = _Reader(environ)
    settings = Settings(
        listen=read.address("WS_PROXY_LISTEN_ADDR", Address("", 8080)),
        secret_file=read.path("SHARED_SECRET_FILE"),
        secret_dir=read.path("SHARED_SECRET_DIR"),
        skew=read.number("HMAC_SKEW_SECONDS", 300, least=0),
        accepted_signatures=read.some("ACCEPTED_SIGNATURES", SIGNATURES),
        signature_max_age=read.duration("SIGNATURE_MAX_AGE", 60.0, least=1.0, most=3600.0),
        identity=read.choice("IDENTITY", "proxy", IDENTITIES),
        identity_user_prefix=read.text("IDENTITY_USER_PREFIX"),
        identity_group_prefix=read.text("IDENTITY_GROUP_PREFIX"),
        tmux_cascade=read.boolean("TMUX_CASCADE"),
        allowed_namespaces=read.namespaces("ALLOWED_NAMESPACES"),
        allowed_subresources=read.some("ALLOWED_SUBRESOURCES", SUBRESOURCES),
        allowed_ports=read.ports("ALLOWED_PORTS"),
        log_level=read.choice("LOG_LEVEL", "info", LOG_LEVELS),
        ping_period=read.duration("WS_PING_PERIOD", 30.0, least=0.1),
        handshake_timeout=read.duration("WS_HANDSHAKE_TIMEOUT", 10.0, least=0.1),
        tls=_tls(read),
        allowed_subjects=read.names("CLIENT_CERT_ALLOWED_SUBJECTS"),
        guacd_subjects=read.names("GUACD_SUBJECTS"),
        pod_alias_label=read.label_key("POD_ALIAS_LABEL"),
        node_name=read.text("NODE_NAME"),
        admin=read.address_or_off("WS_PROXY_ADMIN_ADDR", Address("", 9090)),
        max_sessions=read.number("MAX_SESSIONS", 1500, least=1),
        max_sessions_per_namespace=read.number("MAX_SESSIONS_PER_NAMESPACE", 0, least=0),
        max_sessions_per_user=read.number("MAX_SESSIONS_PER_USER", 0, least=0),
        max_handshakes=read.number("MAX_HANDSHAKES", 1000, least=1),
        ready_connections=read.number("READY_CONNECTIONS", 4, least=0, most=32),
        max_tickets=read.number("MAX_TICKETS", 10_000, least=0),
        allowed_origins=read.origins("ALLOWED_ORIGINS"),
        public_url=read.url("PUBLIC_URL"),
        watch_notices=read.boolean("WATCH_NOTICES", default=True),
        session_idle_timeout=read.duration("SESSION_IDLE_TIMEOUT", 0.0, least=0.0),
        session_max_duration=read.duration("SESSION_MAX_DURATION", 0.0, least=0.0),
        reap_orphans=read.boolean("REAP_ORPHANS", default=True),
        state_dir=read.path("STATE_DIR"),
        drain_timeout=read.duration("DRAIN_TIMEOUT", 30.0, least=0.0),
        recording=_recording(read),
        audit=_audit(read),
        web_terminal=_web_terminal(read),
    )
    if settings.secret_file is None and settings.secret_dir is None:
        read.mistakes.append("SHARED_SECRET_FILE or SHARED_SECRET_DIR must be set: without a key nobody can be let in")
    for name, prefix in (
        ("IDENTITY_USER_PREFIX", settings.identity_user_prefix),
        ("IDENTITY_GROUP_PREFIX", settings.identity_group_prefix),
    ):
        if settings.identity == "user" and prefix.casefold().startswith("system:"):
            read.mistakes.append(
                f"{name} must not begin with system: nobody is let in under such a name; it is {prefix!r}"
            )
        if not (prefix.isascii() and prefix.isprintable()):
            read.mistakes.append(f"{name} must be printable ASCII; it is {prefix!r}")
    if settings.allowed_subjects and (settings.tls is None or settings.tls.client_ca_file is None):
        read.mistakes.append(
            "CLIENT_CERT_ALLOWED_SUBJECTS needs the TLS listener (TLS_CERT_FILE, TLS_KEY_FILE) and TLS_CLIENT_CA_FILE"
        )
    return settings, read.mistakes


def doubts(settings: Settings) -> list[str]:
    """A sentence for each thing that works, and that hardly anybody means."""
    found = _guacd_doubts(settings)
    store = settings.recording.store if settings.recording else None
    if store is not None and store.endpoint.startswith("http:"):
        found.append("RECORDING_STORE_ENDPOINT is http: recordings go to the store in the clear")
    return found


def _guacd_doubts(settings: Settings) -> list[str]:
    others = sorted(settings.guacd_subjects - settings.allowed_subjects)
    if others and not settings.allowed_subjects:
        return ["GUACD_SUBJECTS has no effect: nobody comes in by certificate, CLIENT_CERT_ALLOWED_SUBJECTS is empty"]
    if others:
        told = ", ".join(map(repr, others))
        beside = "CLIENT_CERT_ALLOWED_SUBJECTS doesn't: only certificates that have a name from there, too, come in"
        return [f"GUACD_SUBJECTS names {told}, and {beside}"]
    return []


def _web_terminal(read: _Reader) -> WebTerminalSettings | None:
    on, clipboard = read.boolean("WEB_TERMINAL"), read.boolean("WEB_CLIPBOARD")
    settings = WebTerminalSettings(read.ancestors("WEB_FRAME_ANCESTORS"), clipboard, read.origins("ALLOWED_ORIGINS"))
    return settings if on else None


def _recording(read: _Reader) -> RecordingSettings | None:
    mode, directory = read.choice("RECORD", "off", RECORDED), read.path("RECORDING_DIR")
    notice = read.text("RECORDING_NOTICE")
    settings = RecordingSettings(
        directory or Path(),
        mode,
        input=read.boolean("RECORD_INPUT"),
        required=read.boolean("RECORDING_REQUIRED", default=True),
        min_free=read.size("RECORDING_MIN_FREE", 256 * 2**20),
        max_age=read.duration("RECORDING_MAX_AGE", 0.0, least=0.0),
        max_bytes=read.size("RECORDING_MAX_BYTES", 0),
        store=_store(read),
        notice={"true": _NOTICE, "1": _NOTICE, "false": "", "0": ""}.get(notice.lower(), notice),
    )
    if not notice.isprintable() or len(notice) > _LONGEST_NOTICE:
        read.mistakes.append(f"RECORDING_NOTICE must be one line of at most {_LONGEST_NOTICE} characters")
    if directory is None and mode != "off":
        read.mistakes.append(f"RECORD={mode} needs RECORDING_DIR: where recordings are written")
    if directory is None and settings.store is not None:
        read.mistakes.append("RECORDING_STORE needs RECORDING_DIR: where recordings are until they are stored")
    return settings if directory else None


def store_settings(url: str, environ: Mapping[str, str]) -> tuple[StoreSettings | None, list[str]]:
    """Those of the store at ``url``, whatever ``RECORDING_STORE`` says; the rest is the environment's."""
    read = _Reader({**environ, "RECORDING_STORE": url})
    return _store(read), read.mistakes


def _store(read: _Reader) -> StoreSettings | None:
    url, endpoint = read.text("RECORDING_STORE"), read.text("RECORDING_STORE_ENDPOINT")
    region, ca_file = read.text("RECORDING_STORE_REGION"), read.path("RECORDING_STORE_CA_FILE")
    credentials_dir = read.path("RECORDING_STORE_CREDENTIALS_DIR")
    keep = read.duration("RECORDING_KEEP", 3600.0, least=0.0)
    if not url:
        return None
    # What is wrong with these isn't shown: somebody may have written a password into one.
    if not _STORE.fullmatch(url):
        read.mistakes.append(
            "RECORDING_STORE must be s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or "
            "file:///DIRECTORY, without a user, a query and a fragment"
        )
        return None
    if endpoint and not _ENDPOINT.fullmatch(endpoint):
        read.mistakes.append("RECORDING_STORE_ENDPOINT must be a URL such as https://minio.example:9000")
    for name, value in (("RECORDING_STORE_ENDPOINT", endpoint), ("RECORDING_STORE_REGION", region)):
        if value and not url.startswith("s3:"):
            read.mistakes.append(f"{name} is for s3:// only")
    return StoreSettings(url, endpoint, region, ca_file, credentials_dir, keep)


def _audit(read: _Reader) -> AuditSettings:
    log = read.text("AUDIT_LOG", "stderr")
    if log.lower() in ("off", "stderr"):
        log = log.lower()
    elif not Path(log).is_absolute():
        read.mistakes.append(f"AUDIT_LOG must be off, stderr, or the path of a file from / on; it is {log!r}")
    max_size = read.size("AUDIT_LOG_MAX_SIZE", 0)
    if 0 < max_size < 1024**2:  # which a line may have
        told = read.text("AUDIT_LOG_MAX_SIZE")
        read.mistakes.append(f"AUDIT_LOG_MAX_SIZE must be 0, which is no limit, or at least 1Mi; it is {told!r}")
    settings = AuditSettings(log, read.boolean("AUDIT_REQUIRED"), _nats(read), max_size)
    if settings.required and settings.log == "off" and settings.nats is None:
        read.mistakes.append("AUDIT_REQUIRED wants AUDIT_LOG or AUDIT_NATS_URL: there is nowhere to write to")
    return settings


def _nats(read: _Reader) -> NatsSettings | None:
    servers = tuple(each.strip().rstrip("/") for each in read.text("AUDIT_NATS_URL").split(",") if each.strip())
    subject = read.text("AUDIT_NATS_SUBJECT", "catalyst.events.k8s-ws-proxy.{event}")
    credentials, ca_file = read.path("AUDIT_NATS_CREDENTIALS"), read.path("AUDIT_NATS_CA_FILE")
    directory, most = read.path("AUDIT_DIR"), read.size("AUDIT_MAX_BUFFER", 64 * 1024**2, least=1024**2)
    if not _SUBJECT.fullmatch(subject) or set("{}") & set(subject.replace("{event}", "")):
        read.mistakes.append(
            f"AUDIT_NATS_SUBJECT must be a NATS subject without wildcards, and may hold {{event}}; it is {subject!r}"
        )
    if not servers:
        return None
    if not all(map(_NATS.fullmatch, servers)):
        # Not shown: a password may stand in it.
        read.mistakes.append(
            "AUDIT_NATS_URL must be URLs such as nats://nats.example:4222 or tls://nats.example:4222, separated by "
            "commas, without a user or password: these go into AUDIT_NATS_CREDENTIALS"
        )
    if directory is None:
        read.mistakes.append("AUDIT_NATS_URL needs AUDIT_DIR: what NATS has not acknowledged is kept there")
        return None
    return NatsSettings(servers, subject, credentials, ca_file, directory, most)


def _tls(read: _Reader) -> TlsSettings | None:
    cert, key = read.path("TLS_CERT_FILE"), read.path("TLS_KEY_FILE")
    client_ca = read.path("TLS_CLIENT_CA_FILE")
    listen = read.address("TLS_LISTEN_ADDR", Address("", 8443))
    if cert and key:
        return TlsSettings(listen, cert, key, client_ca)
    if cert or key:
        read.mistakes.append("TLS_CERT_FILE and TLS_KEY_FILE must be set together")
    elif client_ca:
        read.mistakes.append("TLS_CLIENT_CA_FILE needs the TLS listener: set TLS_CERT_FILE and TLS_KEY_FILE")
    return None
