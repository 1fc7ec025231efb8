"""docs/observed.md, "Refused": every row, in v5 and in v4."""

import pytest

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
TWO = "a container name must be specified for pod shell, choose one of: [shell side]"
NOBODY = (
    'pods "shell" is forbidden: User "system:serviceaccount:default:nobody" cannot get resource "pods/exec" '
    'in API group "" in the namespace "default"'
)
ANONYMOUS = (
    'pods "shell" is forbidden: User "system:anonymous" cannot get resource "pods/exec" '
    'in API group "" in the namespace "default"'
)
PENDING = "pod pending does not have a host assigned"

STATUS_ROWS = [
    pytest.param({"pod": "nope"}, {}, 404, 'pods "nope" not found', "NotFound", id="pod missing"),
    pytest.param({"namespace": "nope"}, {}, 404, 'pods "shell" not found', "NotFound", id="namespace missing"),
    pytest.param(
        {"container": "nope"},
        {},
        400,
        "container nope is not valid for pod shell",
        "BadRequest",
        id="container unknown",
    ),
    pytest.param({"container": ""}, {}, 400, TWO, "BadRequest", id="no container named, pod has two"),
    pytest.param({}, {"user": "nobody"}, 403, NOBODY, "Forbidden", id="forbidden"),
    pytest.param({}, {"user": "get-only"}, 403, 'pods "shell" is forbidden: ', "Forbidden", id="get without create"),
    pytest.param({}, {"token": "wrong"}, 401, "Unauthorized", "Unauthorized", id="bad token"),
    pytest.param({}, {"user": None}, 403, ANONYMOUS, "Forbidden", id="no token"),
    pytest.param({"pod": "pending", "container": ""}, {}, 400, PENDING, "BadRequest", id="pod pending"),
    pytest.param({}, {"upgrade": False}, 400, "Upgrade request required", "BadRequest", id="GET without upgrade"),
]


@pytest.mark.parametrize("offer", [V5, V4])
@pytest.mark.parametrize(("target", "options", "code", "message", "reason"), STATUS_ROWS)
async def test_refused_with_a_status(clients, path, offer, target, options, code, message, reason):
    client = await clients.ask(path("true", **target), offer=[offer], **options)
    assert client.code == code
    status = await client.json()
    assert (status["kind"], status["apiVersion"], status["status"]) == ("Status", "v1", "Failure")
    assert (status["code"], status["message"], status["reason"]) == (code, message, reason)


async def test_authorization_comes_before_existence(clients, path):
    client = await clients.ask(path("true", pod="nope"), user="nobody")
    assert client.code == 403
    assert 'pods "nope" is forbidden' in (await client.json())["message"]


@pytest.mark.parametrize("offer", [V5, V4])
async def test_a_completed_container_is_not_found_in_plain_text(clients, path, offer):
    client = await clients.ask(path("true", pod="quick", container=""), offer=[offer])
    assert client.code == 500
    assert client.headers.get_content_type() == "text/plain"
    assert await client.body() == b'container not found ("quick")'


@pytest.mark.parametrize("streams", [{"stdout": "0"}, {"stdin": "false", "stdout": "False", "stderr": "0"}])
async def test_no_stream_at_all_is_refused_in_plain_text(clients, path, streams):
    client = await clients.ask(path("true", **streams))
    assert client.code == 400
    assert client.headers.get_content_type() == "text/plain"
    assert await client.body() == b"you must specify at least 1 of stdin, stdout, stderr"


async def test_kubelet_down(cluster, clients, path):
    cluster.faults.kubelet_up = False
    client = await clients.ask(path("true"))
    assert client.code == 500
    message = (await client.json())["message"]
    assert message.startswith("error dialing backend: dial tcp ")
    assert message.endswith(": connect: connection refused")


async def test_websocket_by_post(clients, path):
    client = await clients.ask(path("true"), method="POST")
    assert client.code == 405
    assert await client.body() == b"bad method"


async def test_delete_is_no_method_of_exec(clients, path):
    client = await clients.ask(path("true"), method="DELETE")
    assert client.code == 405
    assert (await client.json())["reason"] == "MethodNotAllowed"


@pytest.mark.parametrize("offer", [["v3.channel.k8s.io"], ["chat", "superchat"]])
async def test_only_subprotocols_it_does_not_speak(clients, path, offer):
    client = await clients.ask(path("true"), offer=offer)
    assert client.code == 403
    assert await client.body() == b""


@pytest.mark.parametrize("command", [[], [""], ["/does/not/exist"], ["nope"], ["/etc/passwd"], ["/"], ["a\0b"]])
@pytest.mark.parametrize("offer", [V5, V4])
@pytest.mark.parametrize("tty", [{}, {"tty": "1", "stdin": "1"}], ids=["pipes", "tty"])
async def test_a_command_that_cannot_be_started_is_always_101(clients, command, offer, tty):
    ended = await clients.run(*command, offer=[offer], streams={"stdout": "1", **tty})
    assert ended.status["status"] == "Failure"
    assert (ended.status["reason"], ended.status["code"]) == ("InternalError", 500)
    assert ended.exit_code is None
    assert ended.stdout == b""
    assert ended.close == (1000, b"")


async def test_a_program_of_no_known_format_cannot_be_started(clients):
    await clients.sh("printf 'no program\\n' > it; chmod +x it; mkdir -p bin")
    ended = await clients.run("./it")
    assert (ended.status["reason"], ended.exit_code) == ("InternalError", None)
    assert "Exec format error" in ended.status["message"]
