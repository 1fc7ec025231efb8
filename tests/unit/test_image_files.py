"""The Containerfile, the locks and what builds by them, as far as they can be read: the image itself is tests/image."""

from __future__ import annotations

import fnmatch
import importlib.metadata
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import k8s_ws_proxy

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LOCKS = ["requirements.lock", "requirements-build.lock"]
IN_THE_IMAGE = ["store", "audit"]  # extras


def at_run_time():
    """What the image's Python packages are asked for."""
    return [
        *PROJECT["project"]["dependencies"],
        *(text for extra in IN_THE_IMAGE for text in PROJECT["project"]["optional-dependencies"][extra]),
    ]


def locked(name):
    """A lock's packages: name to version and hashes. Every line must be part of one, or a comment."""
    text = (ROOT / name).read_text("utf-8").replace("\\\n", " ")
    packages = {}
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            pinned, _, marker = line.partition(" --hash")[0].partition(" ; ")
            hashes = [word for word in line.split() if word.startswith("--hash")]
            found = re.fullmatch(r"([a-z0-9-]+)==([\w.+!]+)", pinned.strip())
            assert found, f"not pinned: {line}"
            assert not marker or Marker(marker).evaluate(), f"not for this Python: {line}"
            assert canonicalize_name(found[1]) == found[1]
            packages[found[1]] = (found[2], hashes)
    return packages


def closure(requirements):
    """Everything that these requirements lead to, of what is installed here: name to version."""
    found = {}
    todo = [(Requirement(text), frozenset({""})) for text in requirements]
    while todo:
        requirement, extras = todo.pop()
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        name = canonicalize_name(requirement.name)
        distribution = importlib.metadata.distribution(name)
        if name in found and not requirement.extras:
            continue
        found[name] = distribution.version
        wanted = frozenset({"", *requirement.extras})
        todo += [(Requirement(text), wanted) for text in distribution.requires or ()]
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_hashes(lock):
    packages = locked(lock)
    assert packages
    for name, (_, hashes) in packages.items():
        assert hashes, name
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in hashes), name


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_index_and_no_place_on_this_machine(lock):
    assert not re.search(r"://|--(extra-)?index|--find-links|file:", (ROOT / lock).read_text("utf-8"))


def test_the_lock_is_what_the_run_time_dependencies_lead_to():
    """Not less, or the image lacks a package; not more, or it holds one that nobody asked for."""
    assert locked("requirements.lock").keys() == closure(at_run_time()).keys()


def test_the_tests_run_with_the_locked_versions():
    """`make venv` takes the lock's versions as constraints; after `make lock`, run it again."""
    wanted = {name: version for name, (version, _) in locked("requirements.lock").items()}
    assert wanted == closure(at_run_time())


def test_make_lock_locks_the_extras_that_the_image_has():
    text = (ROOT / "Makefile").read_text("utf-8")
    assert re.search(r"^IMAGE_EXTRAS := (.*)$", text, re.MULTILINE)[1].split() == IN_THE_IMAGE


def test_the_build_s_lock_has_the_build_s_requirements_and_pip():
    packages = locked("requirements-build.lock")
    requirements = [Requirement(text) for text in PROJECT["build-system"]["requires"]]
    assert packages.keys() == {"pip", *(canonicalize_name(each.name) for each in requirements)}
    for each in requirements:
        assert packages[each.name][0] in each.specifier


def instructions():
    """The Containerfile's: stage number, keyword, the rest as one line."""
    text = (ROOT / "Containerfile").read_text("utf-8")
    lines = re.sub(r"\\\n\s*", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    stage, found = -1, []
    for line in lines:
        if line.strip():
            keyword, _, rest = line.partition(" ")
            stage += keyword == "FROM"
            found.append((stage, keyword, rest.strip()))
    return found


def last_stage():
    """The instructions that make the image itself."""
    return [(keyword, rest) for stage, keyword, rest in instructions() if stage == instructions()[-1][0]]


def test_the_base_is_an_argument_and_names_no_registry():
    assert (-1, "ARG", "PYTHON_IMAGE=python:3.11-slim") in instructions()
    bases = [rest for _, keyword, rest in instructions() if keyword == "FROM"]
    assert bases == ["${PYTHON_IMAGE} AS build", "scratch"]


def test_the_image_runs_the_daemon_as_nobody_by_number():
    stage = dict(last_stage())
    assert stage["USER"] == "65534:65534"
    assert stage["ENTRYPOINT"] == '["k8s-ws-proxy"]'
    assert stage["CMD"] == '["serve"]'
    assert stage["STOPSIGNAL"] == "SIGTERM"
    assert "HEALTHCHECK" not in [keyword for _, keyword, _ in instructions()]
    assert "RUN" not in stage, "there is no shell to run it with"


def test_nothing_is_installed_that_isn_t_locked():
    runs = [shlex.split(part) for _, keyword, rest in instructions() if keyword == "RUN" for part in rest.split("&&")]
    installs = [words for words in runs if "install" in words or "wheel" in words]
    assert len(installs) == 4
    for words in installs:
        assert "--no-deps" in words
        assert "--require-hashes" in words or "--no-index" in words
        assert {*words} & {"requirements.lock", "requirements-build.lock", ".", "k8s-ws-proxy"}


def test_the_builder_is_sent_what_it_copies_and_nothing_else():
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    sent = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = set()
    for stage, keyword, rest in instructions():
        if keyword == "COPY" and stage == 0:
            *sources, _ = rest.split()
            copied |= {source.rstrip("/") for source in sources}
    assert sent == copied
    assert all((ROOT / path).exists() for path in sent)


def test_the_version_that_the_build_reads_is_the_package_s():
    script = (ROOT / ".ci/image/build.sh").read_text("utf-8")
    (command,) = re.findall(r"version=\$\((sed .*)\)", script)
    told = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == k8s_ws_proxy.__version__


def test_without_an_engine_the_build_says_what_to_install():
    done = subprocess.run(
        ["sh", ".ci/image/build.sh", "name"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "IMAGE_ENGINE": "no-such-engine"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("No image can be built here with: no-such-engine. Install one, for example: apt-get")


# Runs in a process of its own: what our source names of the Kubernetes client must be there when the rest is not.
WITHOUT_THE_REST = """\
import importlib.abc, sys
sys.path.insert(0, sys.argv[1])
import trim
from pathlib import Path
packages = Path(sys.argv[2])
gone = {".".join(path.relative_to(packages).with_suffix("").parts) for path in trim.unused_kubernetes(packages)}

class Gone(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name in gone:
            raise ModuleNotFoundError(f"taken out of the image: {name}", name=name)

sys.meta_path.insert(0, Gone())
import kubernetes.client, kubernetes.config, kubernetes.aio.client, kubernetes.aio.config
for client, words in trim.named(packages).items():
    for word in words:
        getattr(importlib.import_module(client), word)
print(len(gone))
"""


def test_what_is_trimmed_isn_t_missed(tmp_path):
    kubernetes = Path(importlib.metadata.distribution("kubernetes").locate_file("kubernetes"))
    (tmp_path / "kubernetes").symlink_to(kubernetes)
    (tmp_path / "k8s_ws_proxy").symlink_to(Path(k8s_ws_proxy.__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_REST, str(ROOT / ".ci/image"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 1000


def test_trimming_keeps_the_packages_lists_true(tmp_path):
    packages = tmp_path / "lib/python3.11/site-packages"
    files = ["some/module.py", "some/module.pyi", "some/_fast.c", "k8s_ws_proxy/devcluster/cluster.py"]
    for name in files:
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text("")
    for name in ("kubernetes", "kubernetes/aio"):
        (packages / name / "client").mkdir(parents=True)
        (packages / name / "client/__init__.py").write_text('    "CoreV1Api": ".api.core_v1_api",\n')
    (tmp_path / "bin").mkdir()
    for name in ("python3", "k8s-ws-proxy", "activate"):
        (tmp_path / "bin" / name).write_text("")
    record = packages / "some-1.dist-info/RECORD"
    record.parent.mkdir()
    record.write_text("".join(f"{name},,\n" for name in [*files, "../../../bin/activate", "some-1.dist-info/RECORD"]))
    subprocess.run([sys.executable, ROOT / ".ci/image/trim.py", tmp_path], check=True, capture_output=True)
    assert record.read_text() == "some/module.py,,\nsome-1.dist-info/RECORD,,\n"
    assert not (packages / "k8s_ws_proxy/devcluster").exists()
    assert sorted(path.name for path in (tmp_path / "bin").iterdir()) == ["k8s-ws-proxy", "python3"]
    left = {str(path.relative_to(packages)) for path in packages.rglob("*.*") if path.is_file()}
    assert not [name for name in left if fnmatch.fnmatch(name, "*.py[ix]") or name.endswith(".c")]
