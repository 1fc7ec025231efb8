"""URL -> target: the contract's table "Requests", form by form."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.wire.framing.channels import SUBPROTOCOLS, TUNNEL, V4
from k8s_ws_proxy.wire.requests.target import (
    DEFAULT_COMMAND,
    MOST_PORTS,
    AttachTarget,
    Dialect,
    ExecTarget,
    PortForwardTarget,
    Streams,
    Subresource,
    parse_path,
    parse_target,
)

PROXY = "/proxy/exec/default/web/app"
APISERVER = "/api/v1/namespaces/default/pods/web/exec"


FORWARD = "/proxy/portforward/default/web"


def target(request_target, subprotocol=None):
    return parse_target(parse_path(request_target), request_target, subprotocol)


def refused(function, *arguments):
    with pytest.raises(Refusal) as refusal:
        function(*arguments)
    return refusal.value.reason


@pytest.mark.parametrize(
    ("path", "dialect", "subresource", "container"),
    [
        ("/proxy/exec/default/web/app", Dialect.PROXY, Subresource.EXEC, "app"),
        ("/proxy/attach/default/web/app", Dialect.PROXY, Subresource.ATTACH, "app"),
        ("/proxy/exec/default/web", Dialect.PROXY, Subresource.EXEC, None),
        ("/proxy/attach/default/web", Dialect.PROXY, Subresource.ATTACH, None),
        ("/proxy/portforward/default/web", Dialect.PROXY, Subresource.PORTFORWARD, None),
        ("/api/v1/namespaces/default/pods/web/portforward", Dialect.APISERVER, Subresource.PORTFORWARD, None),
        ("/api/v1/namespaces/default/pods/web/exec", Dialect.APISERVER, Subresource.EXEC, None),
        ("/api/v1/namespaces/default/pods/web/attach", Dialect.APISERVER, Subresource.ATTACH, None),
    ],
)
@pytest.mark.parametrize("query", ["", "?", "?tty=true&command=/../%2F", "?a?b#c"])
def test_each_route(path, dialect, subresource, container, query):
    route = parse_path(path + query)
    assert (route.path, route.dialect, route.subresource, route.namespace, route.pod, route.container) == (
        path,
        dialect,
        subresource,
        "default",
        "web",
        container,
    )


def test_attach_is_attach_in_both_dialects_and_never_a_silent_exec():
    for path in ("/proxy/attach/default/web/app", "/api/v1/namespaces/default/pods/web/attach"):
        parsed = target(f"{path}?command=rm&command=-rf")
        assert type(parsed) is AttachTarget
        assert "/attach?" in parsed.upstream_path()
        assert "command" not in parsed.upstream_path()


BAD_PATHS = {
    "nothing": "",
    "the root": "/",
    "a star": "*",
    "absolute form": "http://host/proxy/exec/default/web/app",
    "authority form": "host:80",
    "no leading slash": "proxy/exec/default/web/app",
    "two leading slashes": "//proxy/exec/default/web/app",
    "too short": "/proxy/exec/default",
    "unknown kind": "/proxy/run/default/web/app",
    "kind in upper case": "/proxy/EXEC/default/web/app",
    "root in upper case": "/Proxy/exec/default/web/app",
    "empty namespace": "/proxy/exec//web/app",
    "empty pod": "/proxy/exec/default//app",
    "trailing slash": "/proxy/exec/default/web/app/",
    "trailing slash for a container": "/proxy/exec/default/web/",
    "extra segment": "/proxy/exec/default/web/app/more",
    "dots for a namespace": "/proxy/exec/../web/app",
    "dots for a pod": "/proxy/exec/default/../app",
    "dots for a container": "/proxy/exec/default/web/..",
    "dots after all": "/proxy/exec/default/web/app/..",
    "dots before all": "/x/../proxy/exec/default/web/app",
    "a dot segment": "/proxy/./exec/default/web/app",
    "encoded dots": "/proxy/exec/default/%2e%2e/app",
    "encoded slash": "/proxy/exec/default/web%2Fapp",
    "encoded slash, lower case": "/proxy/exec/default%2fweb/app",
    "encoded slash between all": "/proxy%2Fexec%2Fdefault%2Fweb%2Fapp",
    "encoded backslash": "/proxy/exec/default/web%5Capp",
    "twice encoded": "/proxy/exec/default/w%2565b/app",
    "NUL": "/proxy/exec/default/web%00/app",
    "raw NUL": "/proxy/exec/default/web\0/app",
    "new line": "/proxy/exec/default/web%0A/app",
    "raw new line": "/proxy/exec/default/web\n/app",
    "new line at the end": "/proxy/exec/default/web/app%0A",
    "space": "/proxy/exec/default/web%20/app",
    "encoded question mark": "/proxy/exec/default/web/app%3Ftty=true",
    "fragment": "/proxy/exec/default/web/app#x",
    "parameters": "/proxy/exec/default/web;a=b/app",
    "plus": "/proxy/exec/default/we+b/app",
    "upper case namespace": "/proxy/exec/Default/web/app",
    "upper case pod": "/proxy/exec/default/Web/app",
    "upper case container": "/proxy/exec/default/web/App",
    "encoded upper case": "/proxy/exec/default/%57eb/app",
    "underscore": "/proxy/exec/default/we_b/app",
    "dotted namespace": "/proxy/exec/de.fault/web/app",
    "dotted container": "/proxy/exec/default/web/a.pp",
    "hyphen first": "/proxy/exec/-default/web/app",
    "hyphen last": "/proxy/exec/default-/web/app",
    "dot first in pod": "/proxy/exec/default/.web/app",
    "dot last in pod": "/proxy/exec/default/web./app",
    "two dots in pod": "/proxy/exec/default/we..b/app",
    "hyphen before a dot": "/proxy/exec/default/we-.b/app",
    "non-ASCII": "/proxy/exec/default/wéb/app",
    "encoded non-ASCII": "/proxy/exec/default/w%C3%A9b/app",
    "full-width letters": "/proxy/exec/default/\uff57eb/app",
    "other digits": "/proxy/exec/default/web\u0663/app",
    "not UTF-8": "/proxy/exec/default/web%FF/app",
    "raw bytes that aren't UTF-8": b"/proxy/exec/default/web\xff/app".decode("utf-8", "surrogateescape"),
    "lone percent": "/proxy/exec/default/web%/app",
    "half a percent": "/proxy/exec/default/web%4/app",
    "percent and no hex": "/proxy/exec/default/web%zz/app",
    "namespace of 64": f"/proxy/exec/{'n' * 64}/web/app",
    "container of 64": f"/proxy/exec/default/web/{'c' * 64}",
    "pod of 254": f"/proxy/exec/default/{'p' * 254}/app",
    "100,000 characters of pod": f"/proxy/exec/default/{'p' * 100_000}/app",
    "100,000 dots": f"/proxy/exec/default/{'p.' * 50_000}/app",
    "100,000 slashes": "/" * 100_000,
    "100,000 percents": "/proxy/exec/default/" + "%61" * 33_333,
    "a port-forward with a container": "/proxy/portforward/default/web/app",
    "a port-forward with its ports in the path": "/proxy/portforward/default/web/8080",
    "a port-forward without a pod": "/proxy/portforward/default",
    "a port-forward with a hyphen": "/proxy/port-forward/default/web",
    "apiserver: the list of pods": "/api/v1/namespaces/default/pods",
    "apiserver: a pod": "/api/v1/namespaces/default/pods/web",
    "apiserver: other subresource": "/api/v1/namespaces/default/pods/web/eviction",
    "apiserver: other resource": "/api/v1/namespaces/default/services/web/proxy",
    "apiserver: other version": "/api/v2/namespaces/default/pods/web/exec",
    "apiserver: a group": "/apis/v1/namespaces/default/pods/web/exec",
    "apiserver: trailing slash": "/api/v1/namespaces/default/pods/web/exec/",
    "apiserver: container in the path": "/api/v1/namespaces/default/pods/web/exec/app",
    "apiserver: empty pod": "/api/v1/namespaces/default/pods//exec",
    "apiserver: dots": "/api/v1/namespaces/default/pods/../exec",
    "apiserver: encoded slash": "/api/v1/namespaces/default/pods/web%2Fexec",
    "apiserver: upper case": "/api/v1/namespaces/default/pods/Web/exec",
}


@pytest.mark.parametrize("path", BAD_PATHS.values(), ids=BAD_PATHS)
@pytest.mark.parametrize("query", ["", "?tty=true"], ids=["alone", "with a query"])
def test_a_bad_path(path, query):
    assert refused(parse_path, path + query) is Reason.BAD_PATH


@pytest.mark.parametrize(
    ("namespace", "pod", "container"),
    [
        ("a", "b", "c"),
        ("0", "1", "2"),
        ("n" * 63, "p" * 253, "c" * 63),
        ("a-b", "a.b-c.d", "a--b"),
        ("kube-system", "coredns-5d78c9869d-abcde", "coredns"),
        # Kubernetes bounds a subdomain by 253 characters in all; 63 a label is DNS's rule, not its own.
        ("default", f"{'long-deployment-name-' * 5}7d8b5-x2x9z", "app"),
    ],
)
def test_names_that_kubernetes_gives(namespace, pod, container):
    route = parse_path(f"/proxy/exec/{namespace}/{pod}/{container}")
    assert (route.namespace, route.pod, route.container) == (namespace, pod, container)


@pytest.mark.parametrize(
    "raw",
    [
        "/proxy/exec/default/%77%65%62/app",
        "/proxy/exec/%64efault/web/ap%70",
        "/%70roxy/%65%78%65%63/default/web/app",
        "/proxy/exec/default/web/app?x=%41",
    ],
)
def test_good_characters_may_be_percent_encoded_and_are_signed_decoded(raw):
    assert parse_path(raw).path == "/proxy/exec/default/web/app"


def test_hex_of_a_percent_code_in_either_case():
    assert parse_path("/proxy/exec/default/a%2db/app").pod == parse_path("/proxy/exec/default/a%2Db/app").pod == "a-b"


# Only "false" (in any case) and "0" are false: Convert_Slice_string_To_bool of apimachinery.
BOOLEANS = {
    "false": False,
    "False": False,
    "FALSE": False,
    "0": False,
    "true": True,
    "1": True,
    "maybe": True,
    "": True,
    "no": True,
    "off": True,
    "00": True,
    "+false": True,
    "%66alse": False,
}


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr", "tty"])
@pytest.mark.parametrize(("value", "expected"), BOOLEANS.items())
@pytest.mark.parametrize("path", [PROXY, APISERVER], ids=["proxy", "apiserver"])
def test_a_stream_is_on_unless_false(path, name, value, expected):
    others = "" if name == "tty" else "&tty=false"
    assert getattr(target(f"{path}?{name}={value}{others}").streams, name) is expected


def test_the_first_of_several_values_counts_as_for_the_apiserver():
    assert target(f"{PROXY}?tty=false&tty=true").streams.tty is False
    assert target(f"{PROXY}?tty&tty=false").streams.tty is True


ALL = Streams(stdin=True, stdout=True, stderr=False, tty=True)


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        (PROXY, "", ALL),
        (PROXY, "tty=true", ALL),
        (PROXY, "tty=true&stderr=true", ALL),
        (PROXY, "stdin=true", ALL),
        (PROXY, "tty=false", Streams(stdin=True, stdout=True, stderr=True, tty=False)),
        (PROXY, "tty=false&stdin=false", Streams(stdin=False, stdout=True, stderr=True, tty=False)),
        (PROXY, "tty=false&stderr=false", Streams(stdin=True, stdout=True, stderr=False, tty=False)),
        (PROXY, "tty=0&stdout=0", Streams(stdin=True, stdout=False, stderr=True, tty=False)),
        # On /api/v1 what is absent is off, as for the apiserver ...
        (APISERVER, "stdout=true", Streams(stdin=False, stdout=True, stderr=False, tty=False)),
        (APISERVER, "stdout=true&stderr=true", Streams(stdin=False, stdout=True, stderr=True, tty=False)),
        (APISERVER, "stdin=true&stdout=true&tty=true", ALL),
        (APISERVER, "stderr=true", Streams(stdin=False, stdout=False, stderr=True, tty=False)),
        (APISERVER, "stdout=true&stderr=true&tty=true", Streams(stdin=False, stdout=True, stderr=False, tty=True)),
        (APISERVER, "stdin=false&stdout=false&stderr=false", Streams(False, False, False, False)),
        # ... unless no stream is named at all, which the apiserver would refuse.
        (APISERVER, "", ALL),
        (APISERVER, "command=ls", ALL),
        (APISERVER, "tty=true", ALL),
        (APISERVER, "tty=false", Streams(stdin=True, stdout=True, stderr=True, tty=False)),
    ],
)
def test_which_streams(path, query, expected):
    assert target(f"{path}?{query}").streams == expected


def test_no_stderr_beside_a_tty_goes_upstream():
    assert "stderr" not in target(f"{PROXY}?tty=true&stderr=true").upstream_path()
    assert "stderr=true" in target(f"{PROXY}?tty=false&stderr=true").upstream_path()


@pytest.mark.parametrize(
    ("query", "interactive"),
    [("", True), ("tty=false", False), ("stdin=false", False), ("tty=true&stdin=true", True)],
)
def test_interactive_is_a_terminal_that_somebody_types_into(query, interactive):
    assert target(f"{PROXY}?{query}").interactive is interactive


@pytest.mark.parametrize(
    ("request_target", "container"),
    [
        ("/proxy/exec/default/web/app", "app"),
        ("/proxy/exec/default/web/app?container=side", "app"),
        ("/proxy/exec/default/web", None),
        ("/proxy/exec/default/web?container=", None),
        ("/proxy/exec/default/web?container=side", "side"),
        (APISERVER, None),
        (f"{APISERVER}?container=", None),
        (f"{APISERVER}?container=app", "app"),
        (f"{APISERVER}?container=app&container=side", "app"),
        (f"{APISERVER}?container=%61pp", "app"),
    ],
)
def test_an_empty_or_absent_container_is_left_out_upstream(request_target, container):
    parsed = target(request_target)
    assert parsed.container == container
    assert (f"container={container}" in parsed.upstream_path()) is (container is not None)
    assert ("container" in parsed.upstream_path()) is (container is not None)


@pytest.mark.parametrize("container", ["App", "a.b", "a/b", "%00", "..", "-a", "a" * 64, "%FF", "a%0A"])
def test_a_container_parameter_that_is_no_label(container):
    assert refused(target, f"{APISERVER}?container={container}") is Reason.BAD_QUERY


@pytest.mark.parametrize(
    ("query", "command"),
    [
        ("", DEFAULT_COMMAND),
        ("tty=true", DEFAULT_COMMAND),
        ("command=sh", ("sh",)),
        ("command=sh&command=-c&command=echo+a%20b", ("sh", "-c", "echo a b")),
        ("command=sh&tty=true&command=-l", ("sh", "-l")),
        ("command=", ("",)),
        ("command", ("",)),
        ("command=echo&command=&command=x", ("echo", "", "x")),
        ("command=a=b", ("a=b",)),
        ("command=a;b", ("a;b",)),
        ("command=%26&command=%3D&command=%2B&command=%25", ("&", "=", "+", "%")),
        ("command=%C3%A9%E2%9C%93", ("é✓",)),
        ("command=é", ("é",)),
        ("command=%FF%FE", ("\udcff\udcfe",)),
        ("command=%0A%09%0D", ("\n\t\r",)),
        ("command=%", ("%",)),
        ("command=%zz", ("%zz",)),
        ("command=$(id)&command=`id`", ("$(id)", "`id`")),
        ("Command=sh", DEFAULT_COMMAND),
        ("command=sh#command=x", ("sh",)),
    ],
)
def test_commands(query, command):
    parsed = target(f"{PROXY}?{query}")
    assert isinstance(parsed, ExecTarget)
    assert parsed.command == command


def test_an_argument_with_a_nul_is_refused():
    assert refused(target, f"{PROXY}?command=sh&command=a%00b") is Reason.BAD_QUERY


def test_guacds_own_request():
    query = "command=%2Fbin%2Fsh&container=shell&stdin=true&stdout=true&tty=true"
    parsed = target(f"/api/v1/namespaces/default/pods/shell/exec?{query}")
    assert parsed == ExecTarget("default", "shell", "shell", ALL, ("/bin/sh",))


def test_what_goes_upstream():
    parsed = target(f"{PROXY}?command=sh&command=-c&command=echo+%22a%20b%22&tty=false&stdin=false")
    assert parsed.upstream_path() == (
        "/api/v1/namespaces/default/pods/web/exec?command=sh&command=-c&command=echo+%22a+b%22"
        "&container=app&stdout=true&stderr=true"
    )
    assert target("/proxy/attach/default/web").upstream_path() == (
        "/api/v1/namespaces/default/pods/web/attach?stdin=true&stdout=true&tty=true"
    )


def test_another_command_leaves_the_rest():
    parsed = target(f"{PROXY}?command=sh")
    assert isinstance(parsed, ExecTarget)
    other = parsed.with_command(["tmux", "attach"])
    assert other.command == ("tmux", "attach")
    assert other.with_command(["sh"]) == parsed


def test_targets_are_frozen():
    parsed = target(PROXY)
    with pytest.raises(FrozenInstanceError):
        parsed.pod = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("query", "ports"),
    [
        ("ports=8080", (8080,)),
        ("ports=8080,8443", (8080, 8443)),
        ("ports=8443&ports=8080", (8443, 8080)),
        ("ports=1,2&ports=3&x=4", (1, 2, 3)),
        ("ports=1,65535", (1, 65535)),
        ("ports=080", (80,)),
        ("ports=%38%30", (80,)),
        (f"ports={','.join(map(str, range(1, MOST_PORTS + 1)))}", tuple(range(1, MOST_PORTS + 1))),
    ],
)
@pytest.mark.parametrize("path", [FORWARD, "/api/v1/namespaces/default/pods/web/portforward"])
def test_ports(path, query, ports):
    parsed = target(f"{path}?{query}", V4)
    assert parsed == target(f"{path}?{query}") == PortForwardTarget("default", "web", ports)
    assert parsed.subprotocols == (V4,)
    sent = parsed.upstream_path()
    assert sent.partition("?")[0] == "/api/v1/namespaces/default/pods/web/portforward"
    assert sent.partition("?")[2] == "&".join(f"ports={port}" for port in ports)
    assert target(sent) == parsed


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("", "Say which ports"),
        ("port=80", "Say which ports"),
        ("ports=", "'' isn't one"),
        ("ports=80,", "'' isn't one"),
        ("ports=80&ports=", "'' isn't one"),
        ("ports=0", "'0' isn't one"),
        ("ports=65536", "'65536' isn't one"),
        ("ports=000080", "'000080' isn't one"),
        ("ports=-1", "'-1' isn't one"),
        ("ports=+80", "' 80' isn't one"),
        ("ports=%2B80", "'+80' isn't one"),
        ("ports=80%20", "'80 ' isn't one"),
        ("ports=80%0A", "'80\\n' isn't one"),
        ("ports=http", "'http' isn't one"),
        ("ports=80-90", "'80-90' isn't one"),
        ("ports=80;90", "'80;90' isn't one"),
        ("ports=%D9%A3", "'\\u0663' isn't one"),
        ("ports=%FF", "'\\udcff' isn't one"),
        (f"ports={'9' * 100_000}", f"'{'9' * 20}' isn't one"),
        ("ports=80,80", "80 is named twice"),
        ("ports=80&ports=443,080", "80 is named twice"),
        (f"ports={','.join(map(str, range(1, MOST_PORTS + 2)))}", "128 ports are too many"),
    ],
)
def test_ports_that_cannot_be_taken(query, told):
    with pytest.raises(Refusal) as refusal:
        target(f"{FORWARD}?{query}", V4)
    assert refusal.value.reason is Reason.BAD_QUERY
    assert told in str(refusal.value)
    assert str(refusal.value).isascii()


@pytest.mark.parametrize("query", ["", "?ports=8080", "?ports=none"])
def test_a_tunnel_names_its_ports_inside(query):
    """kubectl sends no ``ports``; where somebody does, the kubelet doesn't look."""
    parsed = target(f"/api/v1/namespaces/default/pods/web/portforward{query}", TUNNEL)
    assert parsed == PortForwardTarget("default", "web", ())
    assert parsed.subprotocols == (TUNNEL,)
    assert parsed.upstream_path() == "/api/v1/namespaces/default/pods/web/portforward"


def test_each_route_has_its_subprotocols():
    assert parse_path(PROXY).subprotocols == target(PROXY).subprotocols == SUBPROTOCOLS
    assert parse_path(FORWARD).subprotocols == (V4, TUNNEL)


ARGUMENTS = st.binary(max_size=30).filter(lambda data: b"\0" not in data)
STREAMS = st.builds(Streams, stdin=st.booleans(), stdout=st.booleans(), stderr=st.booleans(), tty=st.booleans()).filter(
    lambda streams: not (streams.tty and streams.stderr) and (streams.stdin or streams.stdout or streams.stderr)
)


@given(st.lists(ARGUMENTS, min_size=1, max_size=8), STREAMS, st.sampled_from([None, "app"]))
def test_what_goes_upstream_means_there_what_it_means_here(arguments, streams, container):
    command = tuple(argument.decode("utf-8", "surrogateescape") for argument in arguments)
    wanted = ExecTarget("default", "web", container, streams, command)
    sent = wanted.upstream_path()
    assert sent.isascii()
    assert target(sent) == wanted
    assert target(sent).upstream_path() == sent


@given(st.one_of(st.binary(max_size=80), st.text("/.%2Fproxyexcdfault#?=&\0-AZ", max_size=80).map(str.encode)))
def test_any_bytes_give_a_target_or_a_refusal_of_the_contract(raw):
    request_target = raw.decode("utf-8", "surrogateescape")
    for prefix in (
        "",
        "/",
        "/proxy/exec/",
        "/proxy/exec/default/web/app?",
        "/api/v1/namespaces/d/pods/p/exec?",
        f"{FORWARD}?",
    ):
        try:
            parsed = target(prefix + request_target)
        except Refusal as refusal:
            assert refusal.reason in {Reason.BAD_PATH, Reason.BAD_QUERY}  # noqa: PT017 - either outcome is right
        else:
            assert parsed.upstream_path().isascii()


@pytest.mark.parametrize("command", [("sh", "-c", "echo a b"), ("",), ("a+b%&=#/?~._-",), ("ü\n",), ("\udcff",)])
def test_arguments_go_up_as_a_form_has_them(command):
    """As ``urlencode`` writes them, which the apiserver's ``net/url`` reads."""
    wanted = ExecTarget("default", "web", "app", ALL, command)
    assert wanted.upstream_path().partition("?")[2] == urlencode(wanted.query(), errors="surrogateescape")
