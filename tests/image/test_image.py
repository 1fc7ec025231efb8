"""The image itself, really built, and run as a cluster runs it. `make image-test`; needs root, buildah, debootstrap."""

from __future__ import annotations

import asyncio
import base64
import csv
import hashlib
import os
import re
import signal
import stat
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.caller import PIPES, ask, get, proxy_exec, run
from support.chart import render
from support.container import ROOT, build, built, image_id, remove
from support.daemon import SECRET, children, running_daemon

import k8s_ws_proxy
from k8s_ws_proxy.devcluster import DevCluster
from k8s_ws_proxy.wire.framing.channels import STDOUT

pytestmark = [pytest.mark.image, pytest.mark.timeout(900)]

NAME = "localhost/k8s-ws-proxy:test"
LIMIT = 200_000_000
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
UNCHECKED_HASH = 0b01  # PEP 552


@pytest.fixture(scope="module")
def image():
    made = built(NAME)
    yield made
    remove(made)


@pytest.fixture
async def cluster():
    async with DevCluster() as running:
        yield running


@pytest.fixture(scope="module")
def chart():
    """What the chart renders by default: how the image is really run."""
    return render()


def kubelet_lays(directory):
    """As the kubelet lays a volume: the pod's user may read it, and nobody else."""
    for each in (directory, *directory.iterdir()):
        os.chown(each, 65534, 65534)
    return directory


@pytest.fixture
def secrets(chart):
    """Where the DaemonSet mounts the Secret."""
    (mount,) = chart.proxy["volumeMounts"]
    return mount["mountPath"]


@pytest.fixture
def mounts(cluster, secrets, tmp_path):
    tmp_path.joinpath("hmac").mkdir()
    tmp_path.joinpath("hmac/secret").write_bytes(SECRET)
    account = cluster.service_account_dir("proxy")
    return {secrets: kubelet_lays(tmp_path / "hmac"), ACCOUNT: kubelet_lays(account)}


@pytest.fixture
def address(cluster):
    """What every pod's environment holds."""
    url = urlsplit(cluster.url)
    return {"KUBERNETES_SERVICE_HOST": url.hostname, "KUBERNETES_SERVICE_PORT": str(url.port)}


@pytest.fixture
def start(image, chart, mounts, address, tmp_path):
    """Starts the DaemonSet's container."""

    def start_():
        mine = {"KUBECONFIG": "", "HOME": "", "SHARED_SECRET_FILE": ""}  # not what running_daemon sets for other tests
        free = {name: "127.0.0.1:0" for name in chart.environ if name.endswith("_ADDR")}
        command = image.command(*chart.proxy["args"], mounts=mounts)
        return running_daemon(Path(), tmp_path, program=command, **{**mine, **address, **chart.environ, **free})

    return start_


def told(image, *arguments, **options):
    """Run a command in the image to its end: exit status, stdout, stderr."""
    command = image.command(*arguments, **options)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


def python(image, code):
    """Run Python code in the image."""
    status, stdout, stderr = told(image, "-c", code, entrypoint=["python"])
    assert status == 0, stderr
    return stdout


def test_it_says_what_it_is_and_how_it_runs(image):
    labels = image.config["Labels"]
    assert labels["org.opencontainers.image.title"] == "k8s-ws-proxy"
    assert labels["org.opencontainers.image.version"] == k8s_ws_proxy.__version__
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", labels["org.opencontainers.image.revision"])
    assert image.config["User"] == "65534:65534"
    assert image.config["Entrypoint"] == ["k8s-ws-proxy"]
    assert image.config["Cmd"] == ["serve"]
    assert image.config["StopSignal"] == "SIGTERM"
    assert "Healthcheck" not in image.config
    assert told(image, "--version") == (0, f"k8s-ws-proxy {k8s_ws_proxy.__version__}\n", "")


def test_it_is_as_small_as_we_say(image):
    def size(*parts):
        return sum(path.stat().st_size for path in image.files() if path.is_relative_to(image.root.joinpath(*parts)))

    library = "usr/lib/python3.11"
    measured = {
        "application and its dependencies": size("opt"),
        "standard library": size(library),
        "shared libraries": size("usr/lib") - size(library),
        "interpreter": size("usr/bin"),
        "all of it": image.size,
    }
    assert image.size < LIMIT
    text = (ROOT / "docs/image.md").read_text()
    told = {part: float(size) * 1e6 for part, size in re.findall(r"^\| ([a-z ]+) \| ([\d.]+) \|$", text, re.MULTILINE)}
    assert told == {part: pytest.approx(size, rel=0.1) for part, size in measured.items()}


def test_the_same_commit_makes_the_same_image(image):
    first = image_id(NAME)
    build(NAME)
    assert image_id(NAME) == first


def test_python_and_the_proxy_are_all_that_can_be_run(image):
    programs = {
        str(path.relative_to(image.root))
        for path in image.files()
        if path.stat().st_mode & 0o111 and path.suffix != ".py" and ".so" not in path.name
    }
    assert programs == {"usr/bin/python3.11", "opt/k8s-ws-proxy/bin/k8s-ws-proxy"}
    assert not list(image.root.rglob("pip")) + list(image.root.rglob("setuptools"))
    assert not (image.root / "bin").exists()


def test_nobody_can_change_it(image):
    for path in image.root.rglob("*"):
        mode = path.lstat().st_mode
        assert not mode & (stat.S_ISUID | stat.S_ISGID), path
        if not path.is_symlink() and path != image.root / "tmp":
            assert not mode & 0o022, path
            assert path.stat().st_uid == 0, path


def test_the_packages_lists_are_true(image):
    """Every file that a package's RECORD names is there, and is what it was in the wheel."""
    checked = 0
    (packages,) = image.root.glob("opt/k8s-ws-proxy/lib/python3.*/site-packages")
    for record in packages.glob("*.dist-info/RECORD"):
        for name, digest, _ in csv.reader(record.read_text().splitlines()):
            path = packages / name
            assert path.is_file(), name
            if digest:
                algorithm, _, value = digest.partition("=")
                found = hashlib.new(algorithm, path.read_bytes()).digest()
                assert base64.urlsafe_b64encode(found).rstrip(b"=").decode() == value, name
                checked += 1
    assert checked > 500


def test_scanners_find_what_debian_gave(image):
    """dpkg's entries for the packages that files were taken of, as distroless images have them, and the licences."""
    entries = {path.name: path.read_text() for path in (image.root / "var/lib/dpkg/status.d").iterdir()}
    assert {"libc6", "libssl3", "python3.11-minimal"} <= entries.keys()
    for name, entry in entries.items():
        assert re.search(rf"^Package: {re.escape(name)}$", entry, re.MULTILINE)
        assert re.search(r"^Version: \S+$", entry, re.MULTILINE)
        assert (image.root / "usr/share/doc" / name / "copyright").exists()


def test_all_of_it_can_be_imported_without_the_embedded_cluster(image):
    names = python(
        image,
        "import pkgutil, importlib, k8s_ws_proxy\n"
        "for found in pkgutil.walk_packages(k8s_ws_proxy.__path__, 'k8s_ws_proxy.'):\n"
        "    if not found.name.endswith('__main__'):\n"
        "        print(importlib.import_module(found.name).__name__)\n",
    ).split()
    assert "k8s_ws_proxy.cli.serve" in names
    assert not [name for name in names if "devcluster" in name]


def test_every_module_is_compiled_and_its_bytecode_is_taken_unseen(image):
    """No source is looked at when a module is imported, nothing would be written if the root could be, and the same
    sources make the same bytes.
    """
    modules = [path for path in image.files() if path.suffix == ".py"]
    assert len(modules) > 1000
    for module in modules:
        compiled = module.parent / "__pycache__" / f"{module.stem}.cpython-311.pyc"
        assert int.from_bytes(compiled.read_bytes()[4:8], "little") == UNCHECKED_HASH, module


def test_it_knows_the_public_authorities(image):
    """For an apiserver with a certificate of one of them, and a kubeconfig without a CA."""
    assert int(python(image, "import ssl; print(len(ssl.create_default_context().get_ca_certs()))")) > 50


def test_dev_says_that_it_is_elsewhere(image):
    status, _, stderr = told(image, "dev")
    assert status == 1
    assert "The container image is without it on purpose: run dev on your own machine" in stderr
    assert "Traceback" not in stderr


def assert_confined(pid):
    """Whom the kernel takes the process for, and what it may do."""
    facts = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    assert facts["Uid"].split() == ["65534"] * 4
    assert facts["Gid"].split() == ["65534"] * 4
    assert set(facts["Groups"].split()) <= {"65534"}
    assert facts["NSpid"].split()[-1] == "1"
    assert facts["NoNewPrivs"] == "1"
    assert int(facts["CapEff"], 16) == int(facts["CapPrm"], 16) == 0
    assert os.statvfs(f"/proc/{pid}/root").f_flag & os.ST_RDONLY


async def test_it_serves_a_signed_session_and_ends_on_sigterm(start):
    async with start() as daemon:
        (serving,) = children(daemon.process.pid)
        assert_confined(serving)
        assert (await get(daemon, "/healthz")).status == 200
        assert (await get(daemon, "/readyz")).status == 200
        target = proxy_exec("sh", "-c", "echo from the pod; exit 7", **PIPES)
        assert (await ask(daemon, target, headers={})).status == 401
        ended = await run(daemon, target)
        assert (ended.text(STDOUT), ended.exit_code) == ("from the pod\n", 7)

        os.kill(serving, signal.SIGTERM)
        assert await daemon.wait() == 0
    assert SECRET.decode() not in "".join(daemon.raw_log)


async def test_its_own_command_line_is_a_client(image, start, mounts, secrets):
    async with start() as daemon:
        line = image.command(
            *("exec", "default/shell", "-c", "shell", "--url", daemon.url, "--secret-file", f"{secrets}/secret"),
            *("--", "sh", "-c", "echo hello; exit 5"),
            mounts=mounts,
        )
        client = await asyncio.create_subprocess_exec(
            *line, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
        stdout, _ = await client.communicate()
    assert stdout == b"hello\n"
    assert client.returncode == 5


async def test_it_does_what_the_chart_s_hook_asks(image, chart, cluster, address, tmp_path):
    """By the service account, and with what was left of the Kubernetes client: it makes the Secret."""
    (hook,) = chart.pods["Job k8s-ws-proxy-hmac-bootstrap"]["containers"]
    arguments = hook["args"]
    namespace = arguments[arguments.index("--namespace") + 1]
    assert namespace == "catalyst-system"
    arguments = ["default" if word == namespace else word for word in arguments]  # a namespace that is there
    job = await asyncio.create_subprocess_exec(
        *image.command(*arguments, mounts={ACCOUNT: kubelet_lays(cluster.service_account_dir("admin"))}),
        env=address,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await job.communicate()
    assert job.returncode == 0, stderr
    async with cluster.mount_secret("default", "k8s-ws-proxy-hmac", tmp_path / "made"):
        value = (tmp_path / "made/secret").read_bytes()
    assert len(base64.b64decode(value, validate=True)) == 32
    assert value not in stdout + stderr


def test_without_a_secret_it_says_so_and_ends_with_2(image):
    status, _, stderr = told(image)
    assert status == 2
    assert "SHARED_SECRET_FILE or SHARED_SECRET_DIR must be set" in stderr
