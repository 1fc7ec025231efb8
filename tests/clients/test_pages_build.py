"""What `make pages` makes: the same bytes from the same lock, and a word for all that the proxy may say."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from k8s_ws_proxy.auth.principal import Mode, Principal
from k8s_ws_proxy.reasons import Reason
from k8s_ws_proxy.sessions.registry import Termination
from k8s_ws_proxy.web.browser_pages import BUILT
from k8s_ws_proxy.wire.rules import relay
from k8s_ws_proxy.wire.rules.relay import Ending
from k8s_ws_proxy.wire.rules.watch import TOO_SLOW

ROOT = Path(__file__).parents[2]
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


def test_the_same_lock_gives_the_same_bytes(tmp_path):
    subprocess.run(["node", "build.mjs", tmp_path / "dist"], cwd=PAGES, check=True)
    assert files(tmp_path / "dist") == files(BUILT), "make pages, and commit what it makes"


def test_the_types_are_right_and_those_of_the_client_are_written_down(tmp_path):
    tsc = ["node", "node_modules/typescript/bin/tsc", "--project", "tsconfig.json"]
    declare = ["--noEmit", "false", "--declaration", "--emitDeclarationOnly", "--outDir", tmp_path]
    done = subprocess.run([*tsc, *declare], cwd=PAGES, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "client/client.d.ts").read_text() == (PAGES / "client/client.d.ts").read_text(), "make pages"


def test_the_wheel_has_the_pages(tmp_path):
    """And nothing of what they are built from."""
    source = tmp_path / "source"
    shutil.copytree(
        ROOT / "k8s_ws_proxy", source / "k8s_ws_proxy", ignore=shutil.ignore_patterns("node_modules", "*.pyc")
    )
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    build = f"import setuptools.build_meta as backend; backend.build_wheel({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        place = "k8s_ws_proxy/web/pages/"
        held = {name.removeprefix(place): packed.read(name) for name in packed.namelist() if name.startswith(place)}
    assert held == {f"dist/{name}": data for name, data in files(BUILT).items()}


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


def test_every_ending_is_one_that_the_pages_know(told):
    assert told["endings"].keys() == {ending.value for ending in Ending}
    assert {kind for kinds in told["endings"].values() for kind in kinds} == set(told["kinds"]) == set(told["ends"])


def test_every_reason_has_its_sentence_or_is_none_that_a_ticket_gets(told):
    refusals = told["refusals"]
    assert refusals.keys() - {""} == {reason.value for reason in Reason} - NOT_BY_TICKET
    assert all(each["sentence"].endswith((".", "?")) for each in refusals.values())


def failure(reason, code, message="m"):
    return {"status": "Failure", "reason": reason, "code": code, "message": message}


EXIT = {
    "status": "Failure",
    "reason": "NonZeroExitCode",
    "details": {"causes": [{"reason": "ExitCode", "message": "3"}]},
}


NO_CONTAINER = 'Internal error occurred: unable to upgrade connection: container not found ("web")'
TERMINATED = Termination(Principal(Mode.RFC9421, "secret", user="jane")).sentence
ENDED = [
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
    (failure("InternalError", 500, NO_CONTAINER), 1011, "m", "lost_upstream"),  # something came before it
    (failure("InternalError", 500, NO_CONTAINER), 1000, "", "pod_gone"),
    (None, 1008, TERMINATED, "terminated"),
]
"""What came last, and as which kind of an end it counts."""


@pytest.fixture(scope="module")
def told():
    """What the modules of the pages say, by one run of Node.js."""
    script = f"""
      const {{ ENDINGS, ENDS, REFUSALS }} = await import('./src/endings.js');
      const {{ endOf, KINDS }} = await import('./client/client.js');
      const ended = {json.dumps([case[:3] for case in ENDED])}.map((case_) => endOf(...case_).kind);
      const told = {{ endings: ENDINGS, ends: Object.keys(ENDS), refusals: REFUSALS, kinds: KINDS, ended }};
      console.log(JSON.stringify(told));
    """
    run = subprocess.run(
        ["node", "--input-type=module", "-e", script], cwd=PAGES, check=True, capture_output=True, text=True
    )
    return json.loads(run.stdout)


@pytest.mark.parametrize("number", range(len(ENDED)), ids=[f"{code}-{kind}" for _, code, _, kind in ENDED])
def test_how_an_end_is_told_from_the_others(told, number):
    assert told["ended"][number] == ENDED[number][3]


def test_the_words_that_tell_them_apart_are_the_proxy_s():
    """Where there is no status, the close's reason says it."""
    assert '"no answer to a ping"' in Path(relay.__file__).read_text("utf-8")
    assert TOO_SLOW == "too_slow"
