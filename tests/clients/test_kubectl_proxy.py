"""kubectl, as it is released, through the proxy: with a client certificate and a kubeconfig of our own making."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os

import pytest
import pytest_asyncio
import yaml
from support import writers
from support.caller import Lines
from support.daemon import running_daemon
from support.kubectl import on_terminals, start
from support.pki import Pki

from k8s_ws_proxy.cli.main import main
from k8s_ws_proxy.devcluster import DevCluster

pytestmark = pytest.mark.asyncio(loop_scope="module")

SAY_WHERE = ("--", "sh", "-c", "echo $HOSTNAME")
LISTS_NOTHING = "It lists nothing: kubectl needs a pod's own name here, not -l, deploy/NAME or svc/NAME."
NOT_SPDY = (
    "This proxy speaks WebSocket, not SPDY. kubectl 1.31 and newer speaks it by itself, unless "
    "KUBECTL_REMOTE_COMMAND_WEBSOCKETS or KUBECTL_PORT_FORWARD_WEBSOCKETS is false."
)
NOT_LOGGED_IN = "error: You must be logged in to the server"


class SecondDoor:
    """A daemon with a TLS listener, kubeconfigs for it, and kubectl with them."""

    def __init__(self, daemon, pki, directory):
        self.daemon = daemon
        self.pki = pki
        self.directory = directory

    @property
    def url(self):
        return f"https://127.0.0.1:{self.daemon.ports['https']}"

    async def kubeconfig(self, subject="operator", authority="callers", days=1):
        """Written by our own command, for a caller whose certificate has this CN."""
        file = self.directory / f"{self.daemon.port}-{subject}-{authority}-{days}.kubeconfig"
        if not file.exists():
            made = getattr(self.pki, authority).leaf(subject, file=file.stem, days=days)
            words = ["--cacert", self.pki.servers.file, "--cert", made.cert, "--key", made.key, "-o", file]
            assert await asyncio.to_thread(main, ["kubeconfig", "--url", self.url, *map(str, words)]) == 0
        return file

    async def run(self, *arguments, stdin=b"", kubeconfig=None, environ=None):
        """Exit status, stdout, stderr of a kubectl without a cache."""
        file = kubeconfig or await self.kubeconfig()
        program = await start(file, self.directory, *arguments, environ=environ, stdin=-1, stdout=-1, stderr=-1)
        stdout, stderr = await program.communicate(stdin)
        return program.returncode, stdout, stderr.decode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_cluster():
    async with DevCluster(writers.world()) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def doors(shared_cluster, tmp_path_factory):
    """Opens a second door with the settings that are given; all are shut after the module's tests."""
    async with contextlib.AsyncExitStack() as stack:

        async def open_(**environ):
            directory = tmp_path_factory.mktemp("door")
            pki = Pki(directory)
            shared_cluster.write_kubeconfig(directory / "kubeconfig", "proxy")
            settings = {**pki.environ("operator"), **environ}
            daemon = await stack.enter_async_context(running_daemon(directory / "kubeconfig", directory, **settings))
            return SecondDoor(daemon, pki, directory)

        yield open_


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(doors):
    return await doors()


@pytest_asyncio.fixture(loop_scope="module")
async def on_a_terminal(door, tmp_path):
    async with on_terminals(tmp_path) as open_one:

        async def open_(*arguments, **size):
            return await open_one(await door.kubeconfig(), *arguments, **size)

        yield open_


async def test_output_stderr_and_exit_code(door):
    lines = await Lines.begin(door.daemon)
    script = "echo out; echo err >&2; exit 42"
    code, stdout, stderr = await door.run("exec", "web", "--", "sh", "-c", script)
    assert (code, stdout, stderr) == (42, b"out\n", "err\ncommand terminated with exit code 42\n")
    opened = await lines.event("session opened")
    assert (opened["mode"], opened["subject"]) == ("client_cert", "operator")


async def test_it_is_websocket_in_v5_all_the_way(door, shared_cluster):
    before = len(shared_cluster.observed.seen)
    code, _, stderr = await door.run("exec", "web", "-v=8", "--", "true")
    assert code == 0
    assert '"Subprotocol negotiated" protocol="v5.channel.k8s.io"' in stderr
    asked = [(seen.method, seen.target.partition("?")[0]) for seen in shared_cluster.observed.seen[before:]]
    path = "/api/v1/namespaces/default/pods/web"
    assert [each for each in asked if each[1] != "/version"] == [("GET", path), ("GET", f"{path}/exec")]


async def test_stdin_to_its_end(door):
    data = os.urandom(20_000_000)
    code, stdout, _ = await door.run("exec", "-i", "web", "--", "sha256sum", stdin=data)
    assert (code, stdout.split()[0].decode()) == (0, hashlib.sha256(data).hexdigest())


async def test_a_large_output_by_hash(door, bulk):
    code, stdout, _ = await door.run("exec", "web", "--", "sh", "-c", bulk.script)
    assert (code, hashlib.sha256(stdout).hexdigest()) == (0, bulk.sha256)


async def test_a_container_by_name_and_by_default(door):
    show = ("--", "sh", "-c", "echo $TMUX_TMPDIR")
    code, stdout, stderr = await door.run("exec", "shell", *show)
    assert (code, stdout.endswith(b"/shell\n")) == (0, True)
    assert stderr == 'Defaulted container "shell" out of: shell, side\n'
    code, stdout, stderr = await door.run("exec", "shell", "-c", "side", *show)
    assert (code, stdout.endswith(b"/side\n"), stderr) == (0, True, "")


async def test_another_namespace(door):
    assert await door.run("exec", "-n", "team-a", "web", *SAY_WHERE) == (0, b"web\n", "")


async def test_files_there_and_back_by_hash(door, tmp_path):
    (tmp_path / "here" / "deeper").mkdir(parents=True)
    files = {"a": os.urandom(3_000_000), "deeper/b c": b"x" * 100_000, "deeper/empty": b""}
    for name, data in files.items():
        (tmp_path / "here" / name).write_bytes(data)
    there, back = tmp_path / "there", tmp_path / "back"
    there.mkdir()
    assert (await door.run("cp", str(tmp_path / "here"), f"web:{there}"))[0] == 0
    assert (await door.run("cp", f"default/web:{there}/here", str(back)))[0] == 0
    for name, data in files.items():
        assert (there / "here" / name).read_bytes() == data
        assert (back / name).read_bytes() == data


async def test_an_interactive_shell(on_a_terminal):
    program, terminal = await on_a_terminal("exec", "-it", "web", "--", "sh", columns=91, rows=17)
    # the size follows the shell's start
    terminal.type(b"until stty size | grep -v '^0 0$'; do :; done; echo $((40+2)); tty\r")
    await terminal.until(b"42\r\n")
    await terminal.until(b"/dev/pts/")
    terminal.type(b"exit 5\r")
    text = await terminal.rest()
    assert b"17 91\r\n" in text
    assert await program.wait() == 5
    assert b"command terminated with exit code 5" in text


async def test_a_resize_reaches_the_process(on_a_terminal, wait_for_size):
    program, terminal = await on_a_terminal("exec", "-it", "web", "--", *wait_for_size)
    await terminal.until(b"ready")
    terminal.resize(120, 50)
    await terminal.until(b"resized")
    await terminal.rest()
    assert await program.wait() == 0


async def test_ctrl_c_goes_to_the_process(on_a_terminal):
    script = "trap 'echo caught; exit 3' INT; echo ready; while :; do read x; done"
    program, terminal = await on_a_terminal("exec", "-it", "web", "--", "sh", "-c", script)
    await terminal.until(b"ready")
    terminal.type(b"\x03")
    assert b"caught" in await terminal.rest()
    assert await program.wait() == 3


async def test_attach_without_a_terminal(door, tmp_path):
    lines = await Lines.begin(door.daemon)
    file = await door.kubeconfig()
    program = await start(file, tmp_path, "attach", "-i", "web", stdin=-1, stdout=-1, stderr=-1)
    program.stdin.write(b"hello\n")
    assert await program.stdout.readline() == b"echo: hello\n"
    program.terminate()
    await program.communicate()
    ended = await lines.event("session ended")
    assert (ended["subresource"], ended["reason"]) == ("attach", "client_left")


async def test_attach_to_a_terminal(on_a_terminal):
    _, terminal = await on_a_terminal("attach", "-it", "term")
    terminal.type(b"hello\r")
    await terminal.until(b"echo: hello\r\n")


async def test_logs_want_no_websocket(door):
    environ = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false"}
    assert await door.run("logs", "-f", "four", environ=environ) == (0, b"one\ntwo\nthree\nfour\n", "")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("exec", "nope", "--", "true"), 'Error from server (NotFound): pods "nope" not found\n'),
        (("exec", "-n", "team-a", "nope", "--", "true"), 'Error from server (NotFound): pods "nope" not found\n'),
        (("exec", "-n", "nowhere", "web", "--", "true"), 'Error from server (NotFound): pods "web" not found\n'),
        (
            ("exec", "shell", "-c", "nope", "--", "true"),
            "error: container nope is not valid for pod shell out of: shell, side\n",
        ),
        (
            ("exec", "quick", "--", "true"),
            "error: cannot exec into a container in a completed pod; current phase is Succeeded\n",
        ),
        (("exec", "deploy/web", "--", "true"), 'error: the server doesn\'t have a resource type "deploy"\n'),
        (("exec", "svc/web", "--", "true"), 'error: the server doesn\'t have a resource type "svc"\n'),
        (("get", "pods"), LISTS_NOTHING),
        (("logs", "-l", "app=web"), LISTS_NOTHING),
        (("delete", "pod", "web"), "Error from server (MethodNotAllowed): Here things are only read, by GET.\n"),
        (("get", "secrets"), 'error: the server doesn\'t have a resource type "secrets"\n'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
async def test_what_is_not_there(door, words, told):
    code, stdout, stderr = await door.run(*words)
    assert (code, stdout) == (1, b"")
    assert told in stderr


async def test_the_apiserver_s_own_words_survive_the_second_attempt(door):
    """kubectl answers a refused WebSocket with a SPDY attempt, and shows that one's answer only."""
    lines = await Lines.begin(door.daemon)
    code, _, stderr = await door.run("exec", "pending", "--", "true")
    assert code == 1
    assert stderr.endswith("pod pending does not have a host assigned\n")
    assert (await lines.event("refusal told again to SPDY"))["status"] == 400


@pytest.mark.parametrize("words", [("exec", "web", "--", "true"), ("attach", "web"), ("cp", "/etc/hostname", "web:x")])
async def test_a_kubectl_that_is_told_to_speak_spdy_is_told_why_not(door, words):
    code, _, stderr = await door.run(*words, environ={"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false"})
    assert code == 1
    assert stderr.endswith(f"error: unable to upgrade connection: {NOT_SPDY}\n")


async def test_a_subject_that_is_not_listed(door):
    file = await door.kubeconfig("stranger")
    told = f"{NOT_LOGGED_IN} (The client certificate's subject is not on the list of those let in.)\n"
    assert await door.run("exec", "web", "--", "true", kubeconfig=file) == (1, b"", told)


async def test_a_certificate_that_has_expired(door):
    file = await door.kubeconfig(days=-1)
    code, _, stderr = await door.run("exec", "web", "--", "true", kubeconfig=file)
    assert (code, "tls: expired certificate" in stderr) == (1, True)


async def test_a_certificate_of_another_ca(door):
    file = await door.kubeconfig(authority="strangers")
    code, _, stderr = await door.run("exec", "web", "--", "true", kubeconfig=file)
    assert (code, "tls: unknown certificate authority" in stderr) == (1, True)


async def test_a_token_in_the_place_of_a_certificate(door, tmp_path):
    document = yaml.safe_load((await door.kubeconfig()).read_text())
    document["users"][0]["user"] = {"token": "a-token"}
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(document))
    code, _, stderr = await door.run("exec", "web", "--", "true", kubeconfig=file)
    assert code == 1
    assert stderr == f"{NOT_LOGGED_IN} (kubectl comes in by client certificate, and there was none.)\n"


async def test_a_namespace_and_a_subresource_that_are_not_allowed(doors):
    door = await doors(ALLOWED_NAMESPACES="team-a", ALLOWED_SUBRESOURCES="attach,log")
    code, _, stderr = await door.run("exec", "web", "--", "true")
    denied = "Namespace default is not among those this proxy may reach (ALLOWED_NAMESPACES).\n"
    assert (code, stderr) == (1, f"Error from server (Forbidden): {denied}")
    code, _, stderr = await door.run("exec", "-n", "team-a", "web", "--", "true")
    assert code == 1
    assert stderr.endswith("exec is switched off at this proxy (ALLOWED_SUBRESOURCES).\n")


async def test_a_port_forward_where_ports_are_limited(doors):
    door = await doors(ALLOWED_PORTS="8080")
    code, _, stderr = await door.run("port-forward", "web", ":8080")
    assert code == 1
    assert stderr.startswith("error: error upgrading connection: ")
    assert "ALLOWED_PORTS" in stderr


async def test_too_many_sessions(doors, tmp_path):
    door = await doors(MAX_SESSIONS="1")
    async with on_terminals(tmp_path) as open_one:
        _, terminal = await open_one(await door.kubeconfig(), "exec", "-it", "web", "--", "cat")
        terminal.type(b"up\r")
        await terminal.until(b"up\r\nup")
        code, _, stderr = await door.run("exec", "web", "--", "true")
    assert code == 1
    assert stderr.endswith("This proxy has as many sessions as it can take: try again in a while.\n")


async def test_an_alias_names_a_pod_for_kubectl_too(doors):
    door = await doors(POD_ALIAS_LABEL="app")
    assert await door.run("exec", "web", *SAY_WHERE) == (0, b"web\n", "")
    code, _, stderr = await door.run("exec", "nope", "--", "true")
    assert code == 1
    assert "There is no pod named nope, and no running one with the label app=nope." in stderr
