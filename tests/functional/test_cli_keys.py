"""``k8s-ws-proxy keys``: what its commands print, which status they end with, and what they say when they can't."""

from __future__ import annotations

import base64
import json
import os
import pty
import re
import time

import pytest
from support.site import NAMESPACE, OLD, SECRET_NAME, site

from k8s_ws_proxy.devcluster.resources import SECRETS
from k8s_ws_proxy.devcluster.status import Failed
from k8s_ws_proxy.rotation import api
from k8s_ws_proxy.wire.requests.signing import key_fingerprint

PRINT = key_fingerprint(OLD.encode())


@pytest.fixture
async def at(tmp_path):
    async with site(tmp_path) as one:
        yield one
        if one.secrets:
            one.assert_nothing_secret_was_told()


@pytest.fixture
def two(at):
    at.make_secret()
    for name in ("node-a", "node-b"):
        at.add_stand_in(name)
    return at


BOOTSTRAP = ("bootstrap", "--namespace", NAMESPACE, "--secret", SECRET_NAME, "--key", "secret")


async def test_bootstrap_makes_the_secret_where_there_is_none(at):
    ran = await at.keys_command(*BOOTSTRAP, user="hook")
    assert (ran.status, ran.stderr) == (0, "")
    assert ran.stdout == "made the Secret default/k8s-ws-proxy-hmac with a new key in its entry 'secret'\n"
    (key,) = at.keys.values()
    assert len(key) == 44
    assert len(base64.b64decode(key, validate=True)) == 32
    assert at.secret["type"] == "Opaque"
    again = await at.keys_command(*BOOTSTRAP, user="hook")
    assert (again.status, at.keys) == (0, {"secret": key})
    assert again.stdout == "the Secret default/k8s-ws-proxy-hmac is there: left alone\n"


@pytest.mark.parametrize("entries", [{"secret": OLD}, {"another": OLD}])
async def test_bootstrap_leaves_a_secret_alone_whoever_made_it(at, entries):
    at.make_secret(entries)
    version = at.secret["metadata"]["resourceVersion"]
    ran = await at.keys_command(*BOOTSTRAP, user="hook")
    assert (ran.status, at.secret["metadata"]["resourceVersion"]) == (0, version)
    assert ("without an entry 'secret'" in ran.stdout) == ("secret" not in entries)


async def test_bootstrap_takes_a_secret_that_somebody_made_in_between(at):
    at.make_secret()
    at.cluster.faults.refuse_request("get", "secrets", at.status(404, "not found"))
    ran = await at.keys_command(*BOOTSTRAP, user="hook")
    assert (ran.status, at.keys) == (0, {"secret": OLD})
    assert "somebody else has just made" in ran.stdout


@pytest.mark.parametrize("code", [400, 403, 422, 500, 503])
@pytest.mark.parametrize("verb", ["get", "create"])
async def test_bootstrap_fails_loudly_at_anything_else(at, verb, code):
    at.cluster.faults.refuse_request(verb, "secrets", at.status(code, "no"), times=10)
    ran = await at.keys_command(*BOOTSTRAP, user="hook")
    assert (ran.status, ran.stdout) == (1, "")
    assert f"not allowed to {verb}" in ran.stderr if code == 403 else str(code) in ran.stderr
    with pytest.raises(Failed):
        at.cluster.state.store.get(SECRETS, NAMESPACE, SECRET_NAME)


async def test_in_a_cluster_the_service_account_is_what_opens_it(at, monkeypatch, tmp_path):
    monkeypatch.setattr(api, "SERVICE_ACCOUNT", at.cluster.service_account_dir("hook"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(at.cluster.port))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    async with api.connected(api.Where()) as found:
        assert found.namespace == "default"
        answer = await found.request("GET", f"/api/v1/namespaces/default/secrets/{SECRET_NAME}")
        assert answer.status == 404


async def test_generate_prints_a_key_and_nothing_else(at):
    ran = await at.keys_command("generate")
    assert (ran.status, ran.stderr) == (0, "")
    assert len(base64.b64decode(ran.stdout.strip(), validate=True)) == 32
    assert re.fullmatch(r"[A-Za-z0-9+/]{43}=\n", ran.stdout)
    assert (await at.keys_command("generate")).stdout != ran.stdout
    assert at.cluster.observed.seen == []


async def test_status_for_a_person(two):
    two.add_node("node-c")
    ran = await two.keys_command("status")
    assert (ran.status, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == [
        "Secret default/k8s-ws-proxy-hmac; the DaemonSet default/k8s-ws-proxy: 3 pods running",
        "",
        "ENTRY   FINGERPRINT   ROLE     ON      LAST USED",
        f"secret  {PRINT}  current  2 of 3  not seen",
        "",
        "No rotation of 'secret' has been made here.",
        "no answer from node-c (pod proxy-node-c): 503: connection refused",
    ]


async def test_status_for_a_machine_in_the_middle_of_a_rotation(two):
    late = two.add_stand_in("node-late")
    late.used[OLD] = time.time() - 60
    assert (await two.rotate("--until", "promoted")).status == 0
    late.frozen = {"secret": OLD, "next": two.keys["secret"], "stray": "s" * 44}
    (told,) = [json.loads(line) for line in (await two.keys_command("status", "-o", "json")).stdout.splitlines()]
    assert (told["phase"], told["pods"], told["starting"], told["silent"]) == ("overlap", 3, 0, {})
    keys = {key["id"]: key for key in told["keys"]}
    assert {id_: key["role"] for id_, key in keys.items()} == {"secret": "current", "previous": "previous"}
    assert keys["previous"]["fingerprint"] == PRINT
    assert keys["previous"]["last_used"] is not None
    assert keys["secret"]["last_used"] is None
    assert [key["lacking"] for key in keys.values()] == [[], []]
    assert told["not_in_secret"] == {key_fingerprint(b"s" * 44): ["node-late"]}
    text = (await two.keys_command("status")).stdout
    assert re.search(rf"^previous +{PRINT} +previous +3 of 3 +\d+m\d\ds ago$", text, re.MULTILINE)
    assert "A rotation of 'secret' is in its overlap: the new key is the current one since" in text
    assert "isn't in the Secret, and still accepted on: node-late" in text


async def test_status_tells_of_the_rotation_of_each_entry(at):
    at.make_secret({"secret": OLD, "billing": "b" * 44})
    for name in ("node-a", "node-b"):
        at.add_stand_in(name)
    assert (await at.rotate("--until", "promoted")).status == 0
    told = json.loads((await at.keys_command("status", "--key", "billing", "-o", "json")).stdout)
    assert (told["phase"], told["promoted"]) == ("none", None)
    assert [(one["key"], one["phase"]) for one in told["other_rotations"]] == [("secret", "overlap")]
    assert {key["id"]: key["role"] for key in told["keys"]} == {
        "billing": "current",
        "previous": "previous",
        "secret": "other",
    }
    assert (await at.rotate("--key", "billing", "--until", "staged")).status == 0
    text = (await at.keys_command("status", "--key", "billing")).stdout
    assert "A rotation of 'billing' is under way since" in text
    assert "'keys rotate --key billing' goes on." in text
    assert "A rotation of 'secret' is in its overlap" in text
    assert "'keys retire' ends it." in text


@pytest.mark.parametrize("verb", ["rotate", "retire", "status"])
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--secret", "nope"), "not allowed to get the Secret default/nope"),
        (("--key", "nope"), "the Secret has no entry 'nope': there is secret. Name the right one with --key"),
        (("--context", "nope"), "No cluster to work on"),
        (("--kubeconfig", "/nope"), "No cluster to work on"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
async def test_what_is_not_there_is_told_with_what_to_do(two, verb, words, sentence):
    ran = await two.keys_command(verb, *words)
    assert (ran.status, ran.stdout) == (1, "")
    assert sentence in ran.stderr
    assert "Traceback" not in ran.stderr


async def test_no_secret_at_all(at):
    at.add_stand_in("node-a")
    ran = await at.keys_command("rotate")
    assert ran.status == 1
    assert "make it with 'keys bootstrap'" in ran.stderr


async def test_no_daemonset(two):
    two.cluster.faults.refuse_request("get", "daemonsets.apps", two.status(404, "not found"))
    ran = await two.keys_command("rotate")
    assert ran.status == 1
    assert "name it with --namespace and --daemonset" in ran.stderr


async def test_no_pod(at):
    at.make_secret()
    ran = await at.keys_command("rotate")
    assert (ran.status, at.keys) == (3, {"secret": OLD})
    assert "no pod of the proxy runs there" in ran.stderr


async def test_pods_by_a_selector_alone(two):
    ran = await two.rotate("--selector", "app.kubernetes.io/name=k8s-ws-proxy")
    assert ran.status == 0
    assert two.cluster.observed.count("get daemonsets.apps") == 0
    assert (await two.rotate("--selector", "app=another")).status == 3


async def test_a_list_that_grows_old_before_it_is_read_is_begun_anew(two):
    one = two.add_stand_in("node-c")
    for number in range(505):
        two.add_node(f"node-{number}", one)
    observed = two.cluster.observed
    command = await two.start_command("status", "-o", "json", "--rate", "2000")
    await observed.wait_for(lambda: observed.count("list pods") == 1 and observed.under_way == 0)
    two.touch_secret()  # what is there now is another moment, and the one that is read is forgotten
    two.cluster.state.store.compact()
    ran = await two.end(command)
    assert ran.status == 0
    assert json.loads(ran.stdout)["pods"] == 508
    assert observed.count("list pods") == 4, "a page, one that has expired, and two"


async def test_an_immutable_secret(at):
    at.make_secret(immutable=True)
    at.add_stand_in("node-a")
    ran = await at.keys_command("rotate")
    assert ran.status == 1
    assert "the Secret is immutable" in ran.stderr
    assert (await at.keys_command("status")).status == 0


async def test_entries_that_are_no_part_of_it_are_named(at):
    at.make_secret({"secret": OLD, "legacy": "l" * 44})
    at.add_stand_in("node-a")
    ran = await at.rotate()
    assert (ran.status, ran.event("others")["entries"]) == (0, ["legacy"])
    assert at.keys["legacy"] == "l" * 44


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"SHARED_SECRET_FILE": "/secret"}, "accepts one key at a time"),
        ({"SHARED_SECRET_DIR": "/keys", "WS_PROXY_ADMIN_ADDR": "off"}, "has no admin listener"),
    ],
)
async def test_a_daemonset_that_can_not_take_part(two, environ, sentence):
    two.set_environ(environ)
    ran = await two.keys_command("rotate")
    assert ran.status == 1
    assert sentence in ran.stderr
    assert two.keys == {"secret": OLD}


async def test_port_and_skew_are_the_daemonset_s(at):
    at.make_secret()
    stand_in = at.add_stand_in("node-a")
    at.add_node("node-a", stand_in, port_number=9911)
    at.set_environ({"SHARED_SECRET_DIR": "/keys", "WS_PROXY_ADMIN_ADDR": ":9911", "HMAC_SKEW_SECONDS": "90"})
    ran = await at.keys_command("rotate", "--dry-run")
    assert "unused for 3m00s" in ran.stdout
    assert (await at.rotate()).status == 0


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("rotat",),
        ("rotate", "--overlap", "10"),
        ("rotate", "--overlap", "-1s"),
        ("rotate", "--until", "soon"),
        ("rotate", "--rate", "0"),
        ("status", "--admin-port", "65536"),
        ("status", "--output", "yaml"),
        ("bootstrap", "--force"),
        ("generate", "more"),
    ],
    ids=" ".join,
)
async def test_wrong_usage(at, words):
    ran = await at.keys_command(*words)
    assert (ran.status, ran.stdout) == (2, "")
    assert "usage: k8s-ws-proxy" in ran.stderr


async def test_what_has_leaked_is_replaced_as_a_whole(two):
    ran = await two.keys_command("rotate", "--immediate", "--until", "promoted")
    assert (ran.status, two.keys) == (2, {"secret": OLD})
    assert "leave out --until" in ran.stderr


async def test_a_secret_that_something_else_may_write_is_named(at):
    owner = {"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "name": "hmac", "uid": "1"}
    at.make_secret(metadata={"name": SECRET_NAME, "namespace": NAMESPACE, "ownerReferences": [owner]})
    at.add_stand_in("node-a")
    ran = await at.rotate()
    assert (ran.status, ran.event("owned")["owners"]) == (0, ["ExternalSecret hmac"])


@pytest.mark.parametrize("command", ["bootstrap", "status", "rotate", "retire"])
async def test_help_tells_the_exit_statuses(at, command):
    ran = await at.keys_command(command, "--help")
    assert ran.status == 0
    for number in ("0  done", "1  failed", "2  wrong usage", "3  refused", "4  not done in time"):
        assert number in ran.stdout


async def test_an_apiserver_that_is_not_there(two):
    await two.keys_command("status")
    await two.cluster.stop_listening(drop=True)
    ran = await two.keys_command("rotate")
    assert ran.status == 1
    assert "the apiserver can't be reached: 127.0.0.1:" in ran.stderr
    assert "Traceback" not in ran.stderr


async def test_on_a_terminal_what_is_waited_for_is_one_line_that_changes(two):
    late = two.add_stand_in("node-late")
    late.frozen = {"secret": OLD}
    ours, theirs = pty.openpty()
    command = await two.start_command("rotate", "--overlap", "1s", stdout=theirs)
    os.close(theirs)
    reading = two.reading(ours)
    await reading.until("1 of 3 pods not known to accept the new key")
    late.frozen = None
    ran = await two.end(command)
    text = await reading.rest()
    assert ran.status == 0
    assert "\r\x1b[K" in text
    # What stays when each line has been taken away that was to be.
    kept = [re.sub(r".*\r\x1b\[K", "", line) for line in text.replace("\r\n", "\n").split("\n")]
    assert [re.sub(r"^\d\d:\d\d:\d\d  ", "", line)[:24] for line in kept if line] == [
        "the Secret default/k8s-w",
        "added a new key (" + key_fingerprint(two.keys["secret"].encode())[:7],
        "made it the current one:",
        "took 1 old key out of th",
        "done: every pod accepts ",
    ]
