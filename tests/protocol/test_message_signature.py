"""RFC 9421 as such: the reference signatures byte for byte, the RFC's own B.2.5, and what isn't one signature."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import vectors

from k8s_ws_proxy.wire.requests.message_signature import (
    LONGEST,
    BadSyntax,
    HasParameters,
    Message,
    NotThere,
    mac,
    parse,
    signature_base,
    signature_params,
)

VECTORS = vectors.load("rfc9421.json")
IDS = [vector["name"] for vector in VECTORS]
MAC = base64.b64encode(bytes(32)).decode()
INPUT = 's=("@method");created=1'


def message(vector):
    fields = {name.lower(): [value] for name, value in vector["headers"].items()}
    return Message(vector["method"], vector["target"], lambda name: fields.get(name, []))


@pytest.mark.parametrize("vector", VECTORS, ids=IDS)
def test_a_reference_signature_is_read_byte_for_byte(vector):
    signature = parse([vector["signature_input"]], [vector["signature"]])
    base = signature_base(message(vector), signature.covered, signature.parameters)
    assert base.decode() == vector["signature_base"]
    assert mac(base64.b64decode(vector["secret_base64"]), base) == signature.mac


@pytest.mark.parametrize("vector", VECTORS, ids=IDS)
def test_a_reference_signature_is_written_byte_for_byte(vector):
    label, _, _ = vector["signature_input"].partition("=")
    signature = parse([vector["signature_input"]], [vector["signature"]])
    params = signature_params(signature.covered, signature.parameters)
    assert f"{label}={params}" == vector["signature_input"]
    base = signature_base(message(vector), signature.covered, signature.parameters)
    made = base64.b64encode(mac(base64.b64decode(vector["secret_base64"]), base)).decode()
    assert f"{label}=:{made}:" == vector["signature"]


def test_there_are_26_of_them():
    assert len(VECTORS) == 26


def test_the_rfcs_own_example():
    """RFC 9421 B.2.5, with the key of B.1.5."""
    key = "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=="
    fields = {
        "host": ["example.com"],
        "date": ["Tue, 20 Apr 2021 02:07:55 GMT"],
        "content-type": ["application/json"],
    }
    signature = parse(
        ['sig-b25=("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"'],
        ["sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:"],
    )
    request = Message("POST", "/foo?param=Value&Pet=dog", lambda name: fields.get(name, []))
    base = signature_base(request, signature.covered, signature.parameters)
    assert base.decode() == (
        '"date": Tue, 20 Apr 2021 02:07:55 GMT\n'
        '"@authority": example.com\n'
        '"content-type": application/json\n'
        '"@signature-params": ("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"'
    )
    assert mac(base64.b64decode(key), base) == signature.mac


@pytest.mark.parametrize(
    ("scheme", "host", "expected"),
    [
        ("https", "Node-1.Example:443", "node-1.example"),
        ("https", "node-1.example:80", "node-1.example:80"),
        ("http", "node-1.example:80", "node-1.example"),
        ("http", "node-1.example:8443", "node-1.example:8443"),
        ("https", "[2001:DB8::1]:443", "[2001:db8::1]"),
    ],
)
def test_an_authority_has_no_default_port_and_no_capitals(scheme, host, expected):
    assert Message("GET", "/", lambda _: [host], scheme).component("@authority") == expected


def test_a_field_that_comes_twice_is_joined():
    assert Message("GET", "/", lambda _: [" a ", "\tb"]).component("x-two") == "a, b"


@pytest.mark.parametrize("name", ["x-missing", "@scheme", "@status", "@", ""])
def test_what_the_message_does_not_have_is_told(name):
    with pytest.raises(NotThere) as raised:
        Message("GET", "/", lambda _: []).component(name)
    assert raised.value.args == (name,)


@pytest.mark.parametrize(
    ("inputs", "signatures"),
    [
        pytest.param([], [f"s=:{MAC}:"], id="no input"),
        pytest.param([INPUT], [], id="no signature"),
        pytest.param([INPUT, INPUT], [f"s=:{MAC}:"], id="two inputs"),
        pytest.param([INPUT], [f"s=:{MAC}:", f"s=:{MAC}:"], id="two signatures"),
        pytest.param([f"{INPUT}, t=()"], [f"s=:{MAC}:"], id="two members"),
        pytest.param([f"{INPUT}, {INPUT}"], [f"s=:{MAC}:"], id="one label twice"),
        pytest.param([f"{INPUT};created=2"], [f"s=:{MAC}:"], id="a parameter twice"),
        pytest.param([INPUT], [f"t=:{MAC}:"], id="another label"),
        pytest.param([INPUT], ["s=:AAAA:"], id="a short MAC"),
        pytest.param([INPUT], [f's="{MAC}"'], id="a MAC in quotes"),
        pytest.param([INPUT], ["s"], id="a MAC that is true"),
        pytest.param([INPUT], [f"s=(:{MAC}:)"], id="a list of MACs"),
        pytest.param(['s="@method"'], [f"s=:{MAC}:"], id="no parentheses"),
        pytest.param(["s=(@method)"], [f"s=:{MAC}:"], id="no quotes"),
        pytest.param(["s=(method)"], [f"s=:{MAC}:"], id="a token"),
        pytest.param(["s=(1 2)"], [f"s=:{MAC}:"], id="numbers"),
        pytest.param([""], [f"s=:{MAC}:"], id="nothing"),
        pytest.param(["ß"], [f"s=:{MAC}:"], id="no ASCII"),
        pytest.param(["\udcff"], [f"s=:{MAC}:"], id="no UTF-8"),
        pytest.param([f'{INPUT};keyid="{"k" * LONGEST}"'], [f"s=:{MAC}:"], id="long"),
        pytest.param(["(" * 2000], [f"s=:{MAC}:"], id="deep"),
        pytest.param([f"s=({'1 ' * 129})"], [f"s=:{MAC}:"], id="many"),
        pytest.param([f"s=();{';'.join(f'a{number}' for number in range(130))}"], [f"s=:{MAC}:"], id="many parameters"),
    ],
)
def test_what_is_not_one_signature_is_refused(inputs, signatures):
    with pytest.raises(BadSyntax):
        parse(inputs, signatures)


def test_a_component_with_parameters_is_told():
    with pytest.raises(HasParameters):
        parse(['s=("@query-param";name="a")'], [f"s=:{MAC}:"])


def test_a_mac_is_not_shown():
    assert MAC not in repr(parse([INPUT], [f"s=:{MAC}:"]))
    assert repr(bytes(32)) not in repr(parse([INPUT], [f"s=:{MAC}:"]))


PIECES = st.lists(
    st.sampled_from(
        [
            "s",
            "=",
            "(",
            ")",
            '"@method"',
            '"',
            ";",
            "created",
            "=1",
            "nonce",
            ":",
            MAC,
            ",",
            " ",
            "\\",
            "?1",
            "é",
            "\t",
            "@9",
        ]
    ),
    max_size=24,
).map("".join)


@given(st.one_of(PIECES, st.text(max_size=200)), st.one_of(PIECES, st.text(max_size=200)))
def test_no_field_makes_anything_but_a_signature_or_bad_syntax(inputs, signatures):
    try:
        signature = parse([inputs], [signatures])
    except (BadSyntax, HasParameters):
        return
    assert len(signature.mac) == 32
    assert all(type(name) is str for name in signature.covered)
