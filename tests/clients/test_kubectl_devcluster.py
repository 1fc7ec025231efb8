"""kubectl, as it is released, straight against the embedded cluster: the stand-in is held to something real."""

import base64
import hashlib
import json
import os
import shlex

import pytest
import yaml
from support.kubectl import on_terminals, start
from support.operations import kubectl_run
from support.pod_security import violations

from k8s_ws_proxy.devcluster import DaemonSet, DevCluster, ForeignPod, Response


@pytest.fixture
async def cluster():
    async with DevCluster() as running:
        yield running


@pytest.fixture
def kubectl(cluster, tmp_path):
    async def run(*arguments, stdin=b"", user="admin"):
        file = cluster.write_kubeconfig(tmp_path / f"{user}.kubeconfig", user)
        program = await start(file, tmp_path, *arguments, stdin=-1, stdout=-1, stderr=-1)
        stdout, stderr = await program.communicate(stdin)
        return program.returncode, stdout, stderr.decode()

    return run


@pytest.fixture
async def on_a_terminal(cluster, tmp_path):
    async with on_terminals(tmp_path) as open_one:

        async def open_(*arguments, **size):
            return await open_one(cluster.write_kubeconfig(tmp_path / "kubeconfig"), *arguments, **size)

        yield open_


async def test_output_stderr_and_exit_code(kubectl):
    code, stdout, stderr = await kubectl("exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 42")
    assert (code, stdout) == (42, b"out\n")
    assert stderr == "err\ncommand terminated with exit code 42\n"


async def test_it_came_by_websocket_in_v5(kubectl, cluster):
    await kubectl("exec", "web", "--", "true")
    upgrades = [seen for seen in cluster.observed.seen if seen.offered]
    assert [(seen.method, seen.offered) for seen in upgrades] == [("GET", ("v5.channel.k8s.io",))]


async def test_stdin_to_its_end(kubectl):
    data = os.urandom(5_000_000)
    code, stdout, _ = await kubectl("exec", "-i", "web", "--", "sha256sum", stdin=data)
    assert (code, stdout.split()[0].decode()) == (0, hashlib.sha256(data).hexdigest())


async def test_a_large_output_by_hash(kubectl):
    code, stdout, _ = await kubectl("exec", "web", "--", "sh", "-c", "seq 1 3000000")
    assert code == 0
    assert stdout == b"".join(b"%d\n" % number for number in range(1, 3000001))


async def test_the_pod_that_rotates_from_within_the_cluster_may_run_where_pods_are_restricted(kubectl):
    """docs/operations.md's line, up to where it would be sent."""
    words = [word for word in shlex.split(kubectl_run())[1:] if word not in ("--rm", "-it")]
    at = words.index("--")
    code, stdout, stderr = await kubectl(*words[:at], "--dry-run=client", "--output=json", *words[at:])
    assert (code, stderr) == (0, "")
    spec = json.loads(stdout)["spec"]
    assert violations(spec) == []
    assert spec["serviceAccountName"] == "k8s-ws-proxy-rotation"
    assert spec["containers"][0]["args"] == ["keys", "rotate"]


async def test_a_command_that_is_not_there(kubectl):
    code, _, stderr = await kubectl("exec", "web", "--", "nope")
    assert code == 1
    assert 'unable to start "nope"' in stderr


@pytest.mark.parametrize(
    ("arguments", "user", "told"),
    [
        (["nope"], "admin", 'pods "nope" not found'),
        (["quick"], "admin", "cannot exec into a container in a completed pod"),
        (["pending"], "admin", "pod pending does not have a host assigned"),
        (["shell", "-c", "nope"], "admin", "container nope is not valid for pod shell"),
        (["shell"], "nobody", 'cannot get resource "pods"'),
        (["shell", "-c", "shell"], "get-only", "is forbidden"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_refusals_are_told(kubectl, arguments, user, told):
    code, stdout, stderr = await kubectl("exec", *arguments, "--", "true", user=user)
    assert (code, stdout) == (1, b"")
    assert told in stderr


async def test_the_other_container_by_name(kubectl):
    code, stdout, _ = await kubectl("exec", "shell", "-c", "side", "--", "sh", "-c", "echo $TMUX_TMPDIR")
    assert code == 0
    assert stdout.endswith(b"/side\n")


async def test_discovery_is_two_requests(kubectl, cluster):
    code, stdout, _ = await kubectl("api-resources", "--no-headers", "-o", "name")
    assert code == 0
    assert {"pods", "namespaces", "secrets", "daemonsets.apps"} <= set(stdout.decode().split())
    assert [seen.target.partition("?")[0] for seen in cluster.observed.seen] == ["/api", "/apis"]


async def test_get_pods_and_a_selector(kubectl):
    code, stdout, _ = await kubectl("get", "pods", "-l", "app=web", "-o", "name")
    assert (code, stdout) == (0, b"pod/web\n")
    code, stdout, _ = await kubectl("get", "pods", "-n", "team-a", "-o", "name", user="proxy")
    assert (code, stdout) == (0, b"pod/web\n")


async def test_a_secrets_whole_life(kubectl):
    async def said(*arguments, stdin=b""):
        code, stdout, stderr = await kubectl(*arguments, stdin=stdin)
        assert (code, stderr) == (0, "")
        return stdout.decode()

    assert await said("create", "secret", "generic", "s", "--from-literal=secret=old") == "secret/s created\n"
    await said("patch", "secret", "s", "--type=merge", "-p", '{"stringData":{"secret":"new"}}')
    tested = '[{"op":"test","path":"/data/secret","value":"bmV3"},{"op":"add","path":"/data/more","value":"eA=="}]'
    await said("patch", "secret", "s", "--type=json", "-p", tested)
    await said("patch", "secret", "s", "-p", '{"data":{"more":null}}')
    await said("annotate", "secret", "s", "example.com/state=1")
    found = yaml.safe_load(await said("get", "secret", "s", "-o", "yaml"))
    assert (found["data"], found["metadata"]["annotations"]) == ({"secret": "bmV3"}, {"example.com/state": "1"})
    assert await said("delete", "secret", "s") == 'secret "s" deleted from default namespace\n'


async def test_a_secret_is_applied_twice_and_replaced(kubectl):
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "1"}}
    for verb, value, told in (("apply", "1", "created"), ("apply", "2", "configured"), ("replace", "3", "replaced")):
        manifest["stringData"]["a"] = value
        code, stdout, stderr = await kubectl(verb, "-f", "-", stdin=json.dumps(manifest).encode())
        assert (code, stdout.decode(), stderr) == (0, f"secret/s {told}\n", "")
        _, stdout, _ = await kubectl("get", "secret", "s", "-o", "jsonpath={.data.a}")
        assert base64.b64decode(stdout).decode() == value


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["create", "secret", "generic", "s"], 'error: failed to create secret secrets "s" already exists\n'),
        (["create", "secret", "generic", "S_"], 'Secret "S_" is invalid: metadata.name: Invalid value: "S_": a lower'),
        (["get", "secret", "nope"], 'Error from server (NotFound): secrets "nope" not found\n'),
        (["delete", "secret", "nope"], 'Error from server (NotFound): secrets "nope" not found\n'),
        (["patch", "secret", "s", "--type=json", "-p", '[{"op":"remove","path":"/data"}]'], "The request is invalid: "),
        (
            ["patch", "secret", "s", "--type=merge", "-p", '{"metadata":{"resourceVersion":"1"}}'],
            'Error from server (Conflict): Operation cannot be fulfilled on secrets "s": the object has been modif',
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_what_is_wrong_with_a_secret_is_told(kubectl, arguments, told):
    await kubectl("create", "secret", "generic", "s")
    code, stdout, stderr = await kubectl(*arguments)
    assert (code, stdout) == (1, b"")
    assert told in stderr


async def test_a_daemonset_its_pods_and_the_way_to_their_ports(kubectl, cluster):
    async def answer(request):
        return Response(200, request.path.encode())

    cluster.state.add_daemonset(DaemonSet("proxy", labels={"app": "proxy"}))
    for number in range(700):  # kubectl asks for 500 at a time
        name = f"proxy-{number:03}"
        pod = ForeignPod(name, labels={"app": "proxy"}, node=f"n{number}", daemonset="proxy", ports={9090: answer})
        cluster.state.add_pod(pod)
    _, stdout, _ = await kubectl("get", "daemonset", "proxy", "-o", "jsonpath={.status.numberReady}")
    assert stdout == b"700"
    _, stdout, _ = await kubectl("get", "pods", "-l", "app in (proxy)", "-o", "name")
    assert stdout.decode().split() == [f"pod/proxy-{number:03}" for number in range(700)]
    _, stdout, _ = await kubectl("get", "pods", "--field-selector", "spec.nodeName=n7", "-o", "name")
    assert stdout == b"pod/proxy-007\n"
    raw = "/api/v1/namespaces/default/pods/proxy-007:{}/proxy/keys"
    assert await kubectl("get", "--raw", raw.format(9090)) == (0, b"/keys", "")
    code, _, stderr = await kubectl("get", "--raw", raw.format(9))
    assert code == 1
    assert stderr.startswith("Error from server (ServiceUnavailable): error trying to reach service: dial tcp ")


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


async def test_a_resize_reaches_the_process(on_a_terminal):
    script = "trap 'stty size' WINCH; echo ready; until [ \"$x\" = quit ]; do read x; done"
    program, terminal = await on_a_terminal("exec", "-it", "web", "--", "sh", "-c", script)
    await terminal.until(b"ready")
    terminal.resize(120, 50)
    await terminal.until(b"50 120")
    terminal.type(b"quit\r")
    await terminal.rest()
    assert await program.wait() == 0


async def test_ctrl_c_goes_to_the_process(on_a_terminal):
    script = "trap 'echo caught; exit 3' INT; echo ready; while :; do read x; done"
    program, terminal = await on_a_terminal("exec", "-it", "web", "--", "sh", "-c", script)
    await terminal.until(b"ready")
    terminal.type(b"\x03")
    assert b"caught" in await terminal.rest()
    assert await program.wait() == 3


async def test_attach_hears_and_is_heard(cluster, tmp_path):
    file = cluster.write_kubeconfig(tmp_path / "kubeconfig")
    program = await start(file, tmp_path, "attach", "-i", "web", stdin=-1, stdout=-1, stderr=-1)
    program.stdin.write(b"hello\n")
    assert await program.stdout.readline() == b"echo: hello\n"
    program.terminate()
    await program.communicate()
    await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 0)
    assert cluster.observed.running == 1


async def test_attach_to_a_terminal(on_a_terminal):
    _, terminal = await on_a_terminal("attach", "-it", "term")
    terminal.type(b"hello\r")
    await terminal.until(b"echo: hello\r\n")
