"""TMUX_CASCADE=true: one screen for all who come, and the command as it was sent."""

from __future__ import annotations

import contextlib

import pytest
from support.caller import PIPES, TTY, Lines, api_exec, close, opened, proxy_exec, run, with_query

from k8s_ws_proxy.wire.framing.channels import RESIZE, STDIN, STDOUT

NO_TMUX = b"k8s-ws-proxy: there is no tmux in this container; the session is not shared"


@pytest.fixture
async def daemon(start):
    return await start(TMUX_CASCADE="true")


@contextlib.asynccontextmanager
async def terminal(daemon, *command, columns=80, rows=24, **where):
    """An interactive exec on a terminal of a size."""
    async with opened(daemon, proxy_exec(*command, **TTY, **where)) as ws:
        await ws.send(RESIZE, b'{"Width":%d,"Height":%d}' % (columns, rows))
        yield ws


async def inside(daemon, *command):
    """What a command in the container says of the tmux server there."""
    ended = await run(daemon, proxy_exec(*command, **PIPES))
    assert ended.exit_code == 0, ended
    return ended.text(STDOUT)


async def test_two_callers_see_one_screen(daemon):
    async with terminal(daemon, "sh") as one:
        await one.send(STDIN, b"echo from-$((40+2))\n")
        await one.until(STDOUT, b"from-42")
        async with terminal(daemon, "sh") as two:
            await two.until(STDOUT, b"from-42")
            await two.send(STDIN, b"echo back-$((40+3))\n")
            await two.until(STDOUT, b"back-43")
            await one.until(STDOUT, b"back-43")
            assert await inside(daemon, "tmux", "list-sessions", "-F", "#{session_name} #{session_attached}") == (
                "catalyst-ops 2\n"
            )


async def test_who_comes_later_joins_and_starts_nothing(daemon):
    async with terminal(daemon, "sh", "-c", "echo first-$((1+1)); exec cat") as one:
        await one.until(STDOUT, b"first-2")
        async with terminal(daemon, "sh", "-c", "echo second-$((1+1)); exec cat") as two:
            seen = await two.until(STDOUT, b"first-2")
            await two.send(STDIN, b"typed\n")
            seen += await one.until(STDOUT, b"typed")
            assert b"second-2" not in seen
        assert await inside(daemon, "tmux", "list-panes", "-s", "-F", "#{window_index}.#{pane_index}") == "0.0\n"


async def test_the_screen_outlives_its_callers(daemon, cluster):
    async with terminal(daemon, "sh") as one:
        await one.send(STDIN, b"echo kept-$((40+2))\n")
        await one.until(STDOUT, b"kept-42")
        await close(one)
        await one.finish()
    await daemon.event("session ended")
    await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 0)
    async with terminal(daemon, "sh") as again:
        await again.until(STDOUT, b"kept-42")


async def test_it_ends_with_the_command(daemon):
    async with terminal(daemon, "sh") as ws:
        await ws.send(STDIN, b"exit\n")
        ended = await ws.finish()
    assert "[exited]" in ended.text(STDOUT)
    assert ended.exit_code == 0


ARGUMENTS = {
    "spaces": ["a b", "  c  "],
    "an empty one": ["", "x", ""],
    "only an empty one": [""],
    "quotes": ["it's", '"quoted"', "a\\b", "'"],
    "what a shell would run": ["$(echo run)", "`echo run`", "$HOME", "${PATH}", "a;echo run", "&& echo run", "|cat"],
    "what tmux would expand": ["#{session_name}", "#(echo run)", "#S", "%1", "~", "{", "}", "#[bold]"],
    "a trailing semicolon": ["a;", ";", ";;", "a\\;", "\\;", "b"],
    "a trailing semicolon at the very end": ["x", "end;"],
    "non-ASCII": ["grüße", "日本語", "🙂", "e\u0301"],
    "bytes that are not UTF-8": ["\udcff\udcfe;", "a\udc80b"],
    "line ends": ["a\nb", "\ttab", "\n"],
    "dashes": ["--", "-n", "-"],
    "patterns": ["*", "?", "[a-z]"],
}


@pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
async def test_arguments_reach_the_command_exactly_as_sent(daemon, tmp_path, arguments):
    """The command writes them down, each with a NUL after it, where no terminal changes them."""
    result = tmp_path / "arguments"
    script = f'for a do printf "%s\\0" "$a"; done >{result}; echo written; exec cat'
    async with terminal(daemon, "sh", "-c", script, "name", *arguments) as ws:
        await ws.until(STDOUT, b"written")
    assert result.read_bytes() == b"".join(each.encode("utf-8", "surrogateescape") + b"\0" for each in arguments)


async def test_a_command_of_one_word_with_shell_syntax_is_not_run_by_a_shell(daemon, tmp_path):
    trap = tmp_path / "trap"
    async with terminal(daemon, f"touch {trap}; sh") as ws:
        ended = await ws.finish()
    assert not trap.exists()
    assert ended.code == 1000


@pytest.mark.parametrize("path", ["/proxy", "/api"])
async def test_no_tmux_in_the_container(daemon, path):
    """The command runs plainly, and the caller is told in one line."""
    command = ("sh", "-c", 'printf "%s|" "$@"; stty size; exit 7', "name", "a b;", "$(id)", "")
    target = (
        proxy_exec(*command, pod="plain", container="plain", **TTY)
        if path == "/proxy"
        else api_exec(*command, pod="plain", stdin="true", stdout="true", tty="true")
    )
    ended = await run(daemon, target)
    first, second = ended.output[STDOUT].splitlines()
    assert first == NO_TMUX
    assert second == b"a b;|$(id)||0 0"
    assert ended.exit_code == 7


async def test_the_default_shell_is_shared_too(daemon):
    async with terminal(daemon) as ws:
        await ws.send(STDIN, b"echo $0-$TMUX\n")
        await ws.until(STDOUT, b"/bin/sh-/")
        assert await inside(daemon, "tmux", "list-sessions", "-F", "#{session_name}") == "catalyst-ops\n"


NOT_INTERACTIVE = {
    "no tty": proxy_exec("sh", "-c", "echo plain-$TMUX", **PIPES),
    "a tty without stdin": proxy_exec("sh", "-c", "echo plain-$TMUX", **TTY, stdin="false"),
    "/api without tty": api_exec("sh", "-c", "echo plain-$TMUX", container="shell", stdin="true", stdout="true"),
}


@pytest.mark.parametrize("target", NOT_INTERACTIVE.values(), ids=NOT_INTERACTIVE)
async def test_a_non_interactive_exec_is_not_wrapped(daemon, cluster, target):
    ended = await run(daemon, target)
    assert ended.text(STDOUT).strip() == "plain-"
    assert "tmux" not in cluster.observed.seen[-1].target


async def test_attach_is_not_wrapped(daemon, cluster):
    async with opened(daemon, with_query("/proxy/attach/default/term/term", **TTY)) as ws:
        await ws.send(STDIN, b"hello\n")
        await ws.until(STDOUT, b"echo: hello\r\n")
    assert "tmux" not in cluster.observed.seen[-1].target


async def test_without_the_setting_nothing_is_wrapped(start, cluster):
    daemon = await start()
    ended = await run(daemon, proxy_exec("sh", "-c", "echo plain-$TMUX", **TTY))
    assert ended.text(STDOUT).strip() == "plain-"
    assert "tmux" not in cluster.observed.seen[-1].target


async def test_the_log_names_the_command_that_was_asked_for(daemon):
    lines = Lines(daemon)
    async with terminal(daemon, "sh", "-c", "exec cat"):
        line = await lines.event("session opened")
    assert line["command"] == ["sh", "-c", "exec cat"]


async def size_becomes(daemon, size):
    """Wait, in the container, until tmux says so: its server learns of a resize and of a key in either order."""
    say = "tmux display-message -p -t catalyst-ops: '#{window_width}x#{window_height}'"
    await inside(daemon, "sh", "-c", f'until [ "$({say})" = {size} ]; do sleep 0.02; done')


async def test_the_window_has_the_size_of_the_client_used_last(daemon):
    """Its last line is the status bar's."""
    async with terminal(daemon, "cat", columns=100, rows=40) as one:
        await one.send(STDIN, b"one-came\n")
        await one.until(STDOUT, b"one-came")
        await size_becomes(daemon, "100x39")
        async with terminal(daemon, "cat", columns=60, rows=20) as two:
            await two.send(STDIN, b"two-came\n")
            await one.until(STDOUT, b"two-came")
            await size_becomes(daemon, "60x19")
            await one.send(STDIN, b"one-again\n")
            await two.until(STDOUT, b"one-again")
            await size_becomes(daemon, "100x39")
            await two.send(RESIZE, b'{"Width":70,"Height":30}')
            await two.send(STDIN, b"two-again\n")
            await one.until(STDOUT, b"two-again")
            await size_becomes(daemon, "70x29")


async def test_several_containers_have_a_session_each(daemon):
    async with terminal(daemon, "sh") as shell, terminal(daemon, "sh", container="side") as side:
        await shell.send(STDIN, b"echo in-shell-$((1+1))\n")
        await shell.until(STDOUT, b"in-shell-2")
        await side.send(STDIN, b"echo in-side-$((1+1))\n")
        assert b"in-shell-2" not in await side.until(STDOUT, b"in-side-2")


STATUSES = {"exit 0": 0, "exit 7": 7, "kill -KILL $$": 137, "exec /nowhere": 127}


@pytest.mark.parametrize("reaped", ["true", "false"], ids=["hung up", "not hung up"])
@pytest.mark.parametrize(("ending", "status"), STATUSES.items(), ids=STATUSES)
async def test_who_started_it_is_told_the_commands_exit_status(start, reaped, ending, status):
    daemon = await start(TMUX_CASCADE="true", REAP_ORPHANS=reaped)
    async with terminal(daemon, "sh", "-c", f"echo begun-$((1+1)); read line; {ending}") as ws:
        await ws.until(STDOUT, b"begun-2")
        await ws.send(STDIN, b"\n")
        ended = await ws.finish()
    assert ended.exit_code == status
    assert ended.text(STDOUT).endswith("[exited]\r\n")


ENDING = ("sh", "-c", "echo begun-$((1+1)); read line; exit 7")


async def test_who_joined_is_told_nothing_of_it(daemon):
    async with terminal(daemon, *ENDING) as one:
        await one.until(STDOUT, b"begun-2")
        async with terminal(daemon, *ENDING) as two:
            await two.until(STDOUT, b"begun-2")
            await two.send(STDIN, b"\n")
            first, second = await one.finish(), await two.finish()
    assert (first.exit_code, second.exit_code) == (7, 0)
    assert second.text(STDOUT).endswith("[exited]\r\n")


async def test_who_started_it_and_detached_is_told_that_it_went_well(daemon):
    async with terminal(daemon, *ENDING) as one:
        await one.until(STDOUT, b"begun-2")
        await inside(daemon, "tmux", "detach-client", "-s", "catalyst-ops")
        assert (await one.finish()).exit_code == 0
    async with terminal(daemon, *ENDING) as two:
        await two.until(STDOUT, b"begun-2")
        await two.send(STDIN, b"\n")
        assert (await two.finish()).exit_code == 0


async def test_who_started_it_and_was_cut_off_leaves_nothing(daemon, cluster):
    async with terminal(daemon, *ENDING) as one:
        await one.until(STDOUT, b"begun-2")
        before = await inside(daemon, "sh", "-c", 'find "$TMUX_TMPDIR" "$HOME"')
    await daemon.event("process hung up")
    async with terminal(daemon, *ENDING) as two:
        await two.until(STDOUT, b"begun-2")
        assert await inside(daemon, "sh", "-c", 'find "$TMUX_TMPDIR" "$HOME"') == before
        await two.send(STDIN, b"\n")
        assert (await two.finish()).exit_code == 0
