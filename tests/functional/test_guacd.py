"""guacd's profile, played as guacd behaves (docs/observed.md, "guacd"); and that nobody else gets it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import subprocess
from urllib.parse import unquote

import pytest
from support import guacd, rawws
from support.caller import opened, refusal_of, script
from support.pki import Pki

from k8s_ws_proxy.wire.framing import channels
from k8s_ws_proxy.wire.rules.guacd import CLOSE_AFTER

COUNT = "seq 1 1400000"  # 10 MB and a little


def counted(end=b"\n"):
    """What that prints. Not a constant: each worker would make it while it looks for tests."""
    return b"".join(b"%d%b" % (number, end) for number in range(1, 1_400_001))


@pytest.fixture
def pki(tmp_path):
    return Pki(tmp_path)


@pytest.fixture
def tls(pki):
    """guacd's side of TLS, with a certificate that the daemon lets in."""
    return pki.servers.client(pki.callers.leaf("guacd"))


@pytest.fixture
async def daemon(start, pki):
    """Pings that look for life are far apart, so that those seen here are the profile's own."""
    return await start(**pki.environ(), GUACD_SUBJECTS="guacd", WS_PING_PERIOD="1h")


def terminal(daemon, tls, *command, **where):
    return guacd.connected(daemon.ports["https"], tls, guacd.request(*command, **where))


def on_pipes(daemon, tls, *command):
    """As an apiserver sends output that isn't a terminal's: in messages of 32 KiB."""
    data = guacd.request(*command).replace(b"tty=true", b"tty=false")
    return guacd.connected(daemon.ports["https"], tls, data)


@pytest.mark.parametrize(("how", "end"), [(terminal, b"\r\n"), (on_pipes, b"\n")])
async def test_ten_megabytes_arrive_whole(daemon, tls, how, end):
    async with how(daemon, tls, "/bin/sh", "-c", COUNT) as seen:
        await seen.finish()
    assert len(seen.terminal) > 10_000_000
    assert hashlib.sha256(seen.terminal).digest() == hashlib.sha256(counted(end)).digest()
    assert seen.longest <= 4096
    assert seen.close == (1000, "")


async def test_its_upgrade_may_say_that_there_is_no_body(daemon, tls):
    data = guacd.request("echo", "a").replace(b"Pragma: no-cache", b"Content-Length: 0")
    async with guacd.connected(daemon.ports["https"], tls, data) as seen:
        await seen.finish()
    assert seen.terminal == b"a\r\n"


async def test_without_the_profile_they_do_not(start, pki, tls):
    daemon = await start(**pki.environ())
    async with on_pipes(daemon, tls, "/bin/sh", "-c", COUNT) as seen:
        await seen.finish()
    assert seen.longest > 4096
    assert len(seen.terminal) < len(counted())


async def test_other_clients_get_the_large_messages(daemon):
    async with opened(daemon, script(COUNT)) as ws:
        longest = 0
        while (frame := await ws.frame()) is not None:
            longest = max(longest, len(frame.payload))
    assert longest > 4096


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (('sh -c \'printf "<%s>" "$@"\' sh a \'b  c\' "d\\$e"',), b"<a><b  c><d$e>"),
        (("printf <%s> $HOME * ~",), b"<$HOME><*><~>"),
        (("sh", "-c", "'printf", '"<%s>"', '"$@"\'', "sh", "a", "'b", "c'"), b"<a><b c>"),
        (("printf", "<%s>", "it's", "b"), b"<it's><b>"),
        (("printf", "<%s>", "a b"), b"<a b>"),
    ],
    ids=[
        "quoted",
        "nothing is expanded",
        "cut at white space by 1.6.1",
        "a quotation that stays open",
        "not cut at white space",
    ],
)
async def test_a_command_in_one_argument_is_split_as_a_shell_would(daemon, tls, command, shown):
    async with terminal(daemon, tls, *command) as seen:
        await seen.finish()
    assert seen.terminal == shown


async def test_for_others_it_is_not_split(start, pki, tls):
    daemon = await start(**pki.environ())
    async with terminal(daemon, tls, "printf <%s> a") as seen:
        await seen.finish()
    assert seen.terminal == b""
    assert (await daemon.event("session ended"))["exit_code"] is None


@pytest.mark.parametrize("command", ["", " "])
async def test_an_empty_command_is_the_default_one(daemon, tls, command):
    data = guacd.request("x").replace(b"command=x", b"command=" + command.encode().replace(b" ", b"%20"))
    async with guacd.connected(daemon.ports["https"], tls, data) as seen:
        await seen.type(b"echo from $0; exit\n")
        await seen.finish()
    assert b"from /bin/sh\r\n" in seen.terminal


async def test_no_command_at_all_is_the_default_one(daemon, tls):
    data = guacd.request("x").replace(b"command=x&", b"")
    async with guacd.connected(daemon.ports["https"], tls, data) as seen:
        await seen.type(b"echo from $0; exit\n")
        await seen.finish()
    assert b"from /bin/sh\r\n" in seen.terminal


async def test_its_size_and_its_keystrokes_arrive(daemon, tls):
    async with terminal(daemon, tls, "/bin/sh") as seen:
        await seen.type(b"stty size; echo $(( 6 * 7 )); exit\n")
        await seen.finish()
    assert b"40 100" in seen.terminal
    assert b"42" in seen.terminal


async def test_it_is_pinged_often_enough_to_notice_that_its_user_left(cluster, daemon, tls):
    async with terminal(daemon, tls, "/bin/sh") as seen:
        await seen.leave_at_a_ping()
        ended = await daemon.event("session ended")
    assert ended["reason"] == "client_left"
    await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 0)


async def test_pings_go_on(daemon, tls):
    async with terminal(daemon, tls, "/bin/sh") as seen:
        while seen.pings < 2:
            assert await seen.step()
        await seen.type(b"exit 3\n")
        await seen.finish()
    assert (await daemon.event("session ended"))["exit_code"] == 3
    assert seen.drawn.endswith(b"\r\nk8s-ws-proxy: The command ended with exit status 3.\r\n")


async def test_a_command_that_is_killed_is_told_on_the_terminal(daemon, tls):
    """As when its pod is deleted."""
    text, code = await told(daemon, tls, "sh -c 'kill -KILL $$'")
    assert "killed (exit status 137)" in text
    assert "pod was deleted" in text
    assert code == 1000


@pytest.mark.parametrize("pod", ["Shell", "shell%20", "sh_ell"])
async def test_a_mistyped_name_is_told_on_the_terminal_and_logged(daemon, tls, pod):
    text, code = await told(daemon, tls, "/bin/sh", pod=pod)
    assert f"'{unquote(pod)}' can't be the name of a pod" in text
    assert code == 1011
    line = await daemon.event("request refused")
    assert (line["reason"], line["level"]) == ("bad_path", "info")


async def test_a_mistyped_name_is_logged_for_others_with_a_certificate_and_for_strangers_it_is_not(start, pki, tls):
    daemon = await start(**pki.environ(), LOG_LEVEL="debug")
    stranger = pki.servers.client(pki.callers.leaf("somebody"))
    for who, level in ((tls, "info"), (stranger, "debug"), (pki.servers.client(), "debug")):
        async with rawws.connected(daemon.ports["https"], guacd.request("sh", pod="Shell"), tls=who) as ws:
            assert ws.answer.status == 404
        assert (await daemon.event("request refused", level=level))["reason"] == "bad_path"


async def test_only_so_many_are_told_at_once(daemon, tls):
    """They have no place of a session's: the rest is refused like anybody."""
    async with contextlib.AsyncExitStack() as stack:
        data = guacd.request("sh", pod="Shell")
        for _ in range(64):  # not guacd's model, which closes half a second later: these only wait
            ws = await stack.enter_async_context(rawws.connected(daemon.ports["https"], data, tls=tls))
            ws.writer.transport.pause_reading()  # else it would see the close, and leave by itself
        async with rawws.connected(daemon.ports["https"], data, tls=tls) as ws:
            assert ws.answer.status == 404
    text, _ = await told(daemon, tls, "sh", pod="gone")
    assert "gone" in text


async def told(daemon, tls, *command, **where):
    """What the terminal shows of a failure, and the close."""
    async with terminal(daemon, tls, *command, **where) as seen:
        await seen.finish()
    assert seen.drawn == seen.terminal, "the close came before the first frame was drawn"
    text = seen.drawn.decode()
    assert text.startswith("\r\nk8s-ws-proxy: ")
    assert text.endswith("\r\n")
    assert text.count("\n") == 2, "one line"
    assert seen.close is not None
    return text, seen.close[0]


async def test_a_pod_that_is_not_there_is_told_on_the_terminal(daemon, tls):
    text, code = await told(daemon, tls, "/bin/sh", pod="gone")
    assert 'pods "gone" not found' in text
    assert code == 1011
    assert (await daemon.event("session failed"))["reason"] == "upstream_refused"


async def test_a_command_that_is_not_there_is_told_on_the_terminal(daemon, tls):
    text, code = await told(daemon, tls, "/no/such/command")
    assert "No such file or directory" in text
    assert code == 1000


async def test_a_bad_quotation_is_told_on_the_terminal(cluster, daemon, tls):
    text, code = await told(daemon, tls, "sh -c 'echo")
    assert "quotation mark" in text
    assert code == 1011
    assert (await daemon.event("request refused"))["reason"] == "bad_query"
    assert not [seen for seen in cluster.observed.seen if "exec" in seen.target]


async def test_policy_and_limits_are_told_on_the_terminal(start, pki, tls):
    daemon = await start(**pki.environ(), GUACD_SUBJECTS="guacd", ALLOWED_NAMESPACES="team-a", MAX_SESSIONS="1")
    text, _ = await told(daemon, tls, "/bin/sh")
    assert "Namespace default" in text
    async with terminal(daemon, tls, "/bin/sh", namespace="team-a", pod="web", container="web"):
        text, _ = await told(daemon, tls, "/bin/sh", namespace="team-a", pod="web", container="web")
    assert "as many sessions as it can take" in text
    for reason in ("namespace_denied", "too_many_sessions"):
        assert (await daemon.event("request refused", reason=reason))["level"] == "warning"


async def test_an_apiserver_that_hangs_is_told_before_guacd_gives_up(cluster, daemon, tls):
    cluster.faults.hang()
    text, code = await told(daemon, tls, "/bin/sh")
    assert "didn't answer within 3.5 s" in text
    assert code == 1011


async def test_an_apiserver_that_is_lost_is_told_on_the_terminal(cluster, daemon, tls):
    cluster.faults.die_after(0)
    text, code = await told(daemon, tls, "/bin/sh")
    assert "ended without an exit status" in text
    assert code == 1011


async def test_a_long_failure_is_one_short_line(cluster, daemon, tls):
    message = "x\x1b[31m\n" * 2000
    body = channels.failure(message, reason="InternalError", code=500)
    cluster.faults.refuse(500, body)
    text, code = await told(daemon, tls, "/bin/sh")
    assert "\x1b" not in text
    assert len(text) < 2000
    assert code == 1011


@pytest.mark.parametrize("command", ["echo done", "exit 3", "sleep 0.2; echo done"])
async def test_what_a_command_says_that_ends_at_once_is_drawn(daemon, tls, command):
    async with terminal(daemon, tls, f"sh -c '{command}'") as seen:
        await seen.finish()
    assert seen.drawn == seen.terminal
    assert (b"done\r\n" in seen.drawn) == ("done" in command)
    assert seen.closed is not None
    assert seen.closed - seen.asked >= CLOSE_AFTER
    assert seen.close == (1000, "")


@pytest.mark.parametrize("signals", [1, 3])
async def test_a_drain_does_not_wait_longer_for_the_close(start, pki, tls, signals):
    """Not even where the session has only begun; after a third signal it isn't waited for at all."""
    daemon = await start(**pki.environ(), GUACD_SUBJECTS="guacd", DRAIN_TIMEOUT="0s")
    async with terminal(daemon, tls, "/bin/sh") as seen:
        for _ in range(signals):
            daemon.process.terminate()
        await seen.finish()
        if signals == 1:
            assert b"shutting down" in seen.drawn
    assert await daemon.process.wait() == 0


async def test_a_drain_is_told_on_the_terminal(start, pki, tls):
    daemon = await start(**pki.environ(), GUACD_SUBJECTS="guacd", DRAIN_TIMEOUT="0s")
    async with terminal(daemon, tls, "/bin/sh") as seen:
        await seen.type(b"echo $((40 + 2))\n")
        await seen.until(b"42")
        daemon.process.terminate()
        await seen.finish()
    assert seen.terminal.endswith(b"\r\nk8s-ws-proxy: the proxy on this node is shutting down.\r\n")
    assert seen.close is not None
    assert seen.close[0] == 1001


async def test_before_its_certificate_is_known_it_is_refused_like_anybody(daemon, pki):
    target = "/api/v1/namespaces/default/pods/shell/exec?command=sh"
    stranger = pki.servers.client(pki.callers.leaf("somebody"))
    data = rawws.request(target, subprotocols=(channels.V4,))
    async with rawws.connected(daemon.ports["https"], data, tls=stranger) as ws:
        assert (ws.answer.status, refusal_of(ws.answer, target)[1]) == (401, "subject_denied")


async def test_what_is_no_upgrade_is_refused_like_anybodys(daemon, tls):
    data = guacd.request("sh").replace(b"Upgrade: websocket\r\n", b"")
    async with rawws.connected(daemon.ports["https"], data, tls=tls) as ws:
        assert ws.answer.status == 426


async def test_who_is_let_in_by_one_name_may_be_guacd_by_another(start, pki):
    daemon = await start(**pki.environ(subjects="guacd"), GUACD_SUBJECTS="elsewhere.example")
    line = await daemon.event("doubtful setting")
    assert (line["level"], "'elsewhere.example'" in line["problem"]) == ("warning", True)
    both = pki.servers.client(pki.callers.leaf("guacd", dns=("elsewhere.example",), file="both"))
    text, _ = await told(daemon, both, "/bin/sh", pod="gone")
    assert "gone" in text


async def test_a_subject_is_guacd_by_any_of_its_names(start, pki):
    daemon = await start(**pki.environ(), GUACD_SUBJECTS="terminal.example")
    both = pki.servers.client(pki.callers.leaf("guacd", dns=("terminal.example",), file="both"))
    text, _ = await told(daemon, both, "/bin/sh", pod="gone")
    assert "gone" in text


NO_TERMINAL = b"this container has no terminal: nothing that is typed will be shown\r\n"


async def test_attach_without_a_terminal_is_told(daemon, tls):
    async with terminal(daemon, tls, pod="web", container=None) as seen:
        await seen.until(NO_TERMINAL)


async def test_attach_with_one_and_without_the_right_to_look_is_not(cluster, daemon, tls):
    async with terminal(daemon, tls, pod="term", container=None) as seen:
        await seen.type(b"hello\n")
        await seen.until(b"echo: hello\r\n")
    assert NO_TERMINAL not in seen.terminal
    cluster.faults.deny("get", "pods")
    async with terminal(daemon, tls, pod="web", container=None) as seen:
        await seen.type(b"hello\n")
        await seen.until(b"echo: hello\n")
    assert NO_TERMINAL not in seen.terminal


def ran(*argv):
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout


async def test_what_the_guide_has_an_operator_run(daemon, pki):
    """docs/guides/guacamole.md: with guacd's three files, 426 means that they are good."""
    leaf = pki.callers.leaf("guacd")
    port = daemon.ports["https"]
    answer = await asyncio.to_thread(
        ran,
        *("curl", "--silent", "--cert", leaf.cert, "--key", leaf.key, "--cacert", pki.servers.file, "-i"),
        *("--resolve", f"proxy:{port}:127.0.0.1", f"https://proxy:{port}/api/v1/namespaces/default/pods/web/exec"),
    )
    assert answer.startswith("HTTP/1.1 426 ")
    told = await asyncio.to_thread(ran, "openssl", "x509", "-in", leaf.cert, "-noout", "-subject", "-enddate")
    assert "guacd" in told
    assert "notAfter=" in told
