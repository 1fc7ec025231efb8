"""What `make pages` makes: the same bytes from the same lock, and a word for all that the proxy may say."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
from pathlib import Path

import pytest

from k8s_ws_proxy.auth.principal import Mode, Principal
from k8s_ws_proxy.reasons import Reason
from k8s_ws_proxy.sessions.registry import Termination
from k8s_ws_proxy.web.browser_pages import BUILT
from k8s_ws_proxy.wire.rules import relay
from k8s_ws_proxy.wire.rules.relay import Ending
from k8s_ws_proxy.wire.rules.watch import TOO_SLOW

PAGES = BUILT.parent
MOST = 600 * 1024  # bytes, compressed as they are sent

# What nobody is told who comes with a ticket: it is about signatures and certificates, or about other routes.
NOT_BY_TICKET = {
    "missing_timestamp",
    "malformed_timestamp",
    "missing_hmac",
    "malformed_hmac",
    "expired",
    "bad_signature",
    "malformed_signature",
    "signature_incomplete",
    "replayed",
    "digest_mismatch",
    "signature_v2_required",
    "signature_not_accepted",
    "subject_denied",
    "certificate_expired",
    "malformed_identity",
    "wrong_node",
    "bad_body",
    "port_denied",
    "too_many_requests",
}


def files(directory):
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def node(script):
    """What a module of the pages says, as JSON."""
    run = subprocess.run(
        ["node", "--input-type=module", "-e", f"console.log(JSON.stringify(await (async () => {{ {script} }})()))"],
        cwd=PAGES,
        check=True,
        capture_output=True,
    )
    return json.loads(run.stdout)


def test_the_same_lock_gives_the_same_bytes(tmp_path):
    subprocess.run(["node", "build.mjs", tmp_path / "dist"], cwd=PAGES, check=True)
    assert files(tmp_path / "dist") == files(BUILT), "make pages, and commit what it makes"


def test_the_types_are_right_and_those_of_the_client_are_written_down(tmp_path):
    def tsc(*arguments):
        done = subprocess.run(["npx", "tsc", *arguments], cwd=PAGES, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout

    tsc("--project", "tsconfig.json")
    tsc("--project", "client/tsconfig.json", "--outDir", str(tmp_path))
    assert (tmp_path / "client.d.ts").read_text() == (PAGES / "client/client.d.ts").read_text(), "make pages"


def test_the_lock_names_each_package_by_its_hash():
    lock = json.loads((PAGES / "package-lock.json").read_text("utf-8"))
    packages = {name: each for name, each in lock["packages"].items() if name}
    assert packages
    assert all(each["integrity"].startswith("sha512-") for each in packages.values())
    own = json.loads((PAGES / "package.json").read_text("utf-8"))
    wanted = {**own["dependencies"], **own["devDependencies"]}
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values())


def test_all_of_it_together_is_small_enough():
    sizes = [len(gzip.compress(data, 9)) for name, data in files(BUILT).items() if name != "LICENSES"]
    assert sum(sizes) <= MOST


def test_every_ending_is_one_that_the_pages_know():
    told = node(
        "const { ENDINGS, ENDS } = await import('./src/endings.js');"
        "const { KINDS } = await import('./client/client.js');"
        "return { endings: ENDINGS, ends: Object.keys(ENDS), kinds: KINDS };"
    )
    assert told["endings"].keys() == {ending.value for ending in Ending}
    assert {kind for kinds in told["endings"].values() for kind in kinds} == set(told["kinds"]) == set(told["ends"])


def test_every_reason_has_its_sentence_or_is_none_that_a_ticket_gets():
    told = node("return (await import('./src/endings.js')).REFUSALS;")
    assert told.keys() - {""} == {reason.value for reason in Reason} - NOT_BY_TICKET
    assert all(each["sentence"].endswith((".", "?")) for each in told.values())


def failure(reason, code, message="m"):
    return {"status": "Failure", "reason": reason, "code": code, "message": message}


EXIT = {
    "status": "Failure",
    "reason": "NonZeroExitCode",
    "details": {"causes": [{"reason": "ExitCode", "message": "3"}]},
}


@pytest.mark.parametrize(
    ("status", "code", "reason", "kind"),
    [
        ({"status": "Success"}, 1000, "", "command_ended"),
        (EXIT, 1000, "", "command_ended"),
        (EXIT, 1001, "shutting down", "command_ended"),
        (failure("InternalError", 500), 1000, "", "command_failed"),
        (failure("Terminated", 403), 1008, "ended by jane", "terminated"),
        (None, 1008, "ended by jane: lunch", "terminated"),
        (failure("Timeout", 504), 1008, "nothing has passed for 60 s", "limit_reached"),
        (None, 1008, "the session has lasted 60 s", "limit_reached"),
        (failure("ServiceUnavailable", 503), 1001, "m", "drained"),
        (None, 1001, "m", "drained"),
        (None, 1001, "no answer to a ping", "silent"),
        (failure("ClientLeft", 410), 1001, "m", "owner_left"),
        (None, 1008, "too_slow", "too_slow"),
        (failure("NotFound", 404), 1011, "m", "pod_gone"),
        (failure("Forbidden", 403), 1011, "m", "not_opened"),
        (failure("InternalError", 504), 1011, "m", "not_opened"),
        (failure("InternalError", 500), 1011, "m", "lost_upstream"),
        (None, 1011, "m", "lost_upstream"),
        (None, 1002, "m", "protocol"),
        (None, 1009, "m", "protocol"),
        (None, 1000, "", "output_ended"),
        (None, 1006, "", "lost"),
        ({"status": "Failure", "details": {"causes": 5}}, 1006, "", "command_failed"),
    ],
)
def test_how_an_end_is_told_from_the_others(status, code, reason, kind):
    told = json.dumps([status, code, reason])
    assert node(f"return (await import('./client/client.js')).endOf(...{told}).kind;") == kind


def test_the_words_that_tell_them_apart_are_the_proxy_s():
    """Where there is no status, the close's reason says it."""
    assert '"no answer to a ping"' in Path(relay.__file__).read_text("utf-8")
    assert TOO_SLOW == "too_slow"
    ended = Termination(Principal(Mode.RFC9421, "secret", user="jane")).sentence
    assert node(f"return (await import('./client/client.js')).endOf(null, 1008, '{ended}').kind;") == "terminated"
