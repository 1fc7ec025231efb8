"""A key rotated in earnest: real proxies, Secrets mounted late, callers who never pause, operators who stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time

import pytest
from support import rawws
from support.caller import PIPES, proxy_exec, request
from support.site import OLD, proxies, site

from k8s_ws_proxy.devcluster import Phase, Response
from k8s_ws_proxy.devcluster.faults import throttled
from k8s_ws_proxy.rfc3339 import unix
from k8s_ws_proxy.wire.framing.channels import STDIN, STDOUT
from k8s_ws_proxy.wire.requests.signing import key_fingerprint, signed_headers

CAT = proxy_exec("cat", **PIPES)
TRUE = proxy_exec("true", **PIPES)


@pytest.fixture
async def at(tmp_path):
    async with site(tmp_path) as one:
        yield one
        one.assert_nothing_secret_was_told()


@pytest.fixture
async def three(at):
    """Three proxies whose kubelets are late by different times."""
    at.make_secret()
    async with proxies(at, [0.0, 0.4, 1.2]):
        yield at


def signed(daemon, key, target):
    daemon.secret = key.encode()
    return request(daemon, target)


class Caller:
    """Opens one session after another, at one proxy after another. It reads the Secret late, as its mount would be."""

    def __init__(self, at, lag):
        self._at = at
        self._lag = lag
        self._key = at.keys["secret"]
        self.signed_with = []

    async def read_late(self):
        while True:
            await self._at.cluster.observed.wait_for(lambda: self._at.keys["secret"] != self._key)
            fresh = self._at.keys["secret"]
            await asyncio.sleep(self._lag)
            self._key = fresh

    async def call(self, until):
        reading = asyncio.get_running_loop().create_task(self.read_late())
        try:
            while not until.done():
                for daemon in self._at.daemons:
                    key = self._key
                    headers = signed_headers(key.encode(), TRUE.partition("?")[0], int(time.time()))
                    async with rawws.connected(daemon.port, rawws.request(TRUE, headers)) as ws:
                        assert ws.answer.status == 101, (ws.answer, key_fingerprint(key.encode()))
                        assert (await ws.finish()).exit_code == 0
                    self.signed_with.append(key)
        finally:
            reading.cancel()


async def still_there(ws):
    """Whether a session carries bytes."""
    await ws.send(STDIN, b"ping\n")
    return await ws.until(STDOUT, b"\n") == b"ping\n"


@pytest.mark.slow
async def test_callers_who_never_pause_notice_nothing(three):
    """Not one refusal, not one session cut: with the old key, the new one, and both, on every node."""
    async with contextlib.AsyncExitStack() as stack:
        before = [
            await stack.enter_async_context(rawws.connected(daemon.port, signed(daemon, OLD, CAT)))
            for daemon in three.daemons
        ]
        command = await three.start_rotate(overlap="6s")
        running = asyncio.get_running_loop().create_task(three.end(command))
        callers = [Caller(three, lag) for lag in (0.0, 0.7, 2.0)]
        await asyncio.gather(*(caller.call(running) for caller in callers))
        ran = await running
        assert ran.status == 0, ran
        assert ran.names() == ["begin", "staged", "promoted", "removed", "done"]
        new = three.keys["secret"]
        assert three.keys == {"secret": new}
        for caller in callers:
            assert set(caller.signed_with) == {OLD, new}
        assert all([await still_there(ws) for ws in before])
    for daemon in three.daemons:
        refused = [line for line in daemon.log if line["event"] == "request refused"]
        assert refused == []
        async with rawws.connected(daemon.port, signed(daemon, OLD, TRUE)) as ws:
            assert ws.answer.status == 401, "the old key is gone from every node"


@pytest.mark.slow
async def test_the_old_key_stays_as_long_as_somebody_uses_it(three):
    command = await three.start_rotate(overlap="3s")
    await command.event("promoted")
    daemon = three.daemons[1]
    accepted = []
    while True:
        asked = time.time()
        async with rawws.connected(daemon.port, signed(daemon, OLD, TRUE)) as ws:
            if ws.answer.status != 101:
                break
        accepted.append(asked)
        await asyncio.sleep(1 if len(accepted) < 5 else 5)  # for longer than the overlap, and then no more
    ran = await three.end(command)
    assert ran.status == 0
    assert any(event.get("last_used") for event in ran.events if event["event"] == "waiting")
    removed = three.removed_at(OLD)
    assert not [when for when in accepted if removed - 2.5 < when < removed], "it was used a moment before"


async def test_a_leaked_key_is_refused_at_once_and_sessions_live_on(three):
    daemon = three.daemons[0]
    async with rawws.connected(daemon.port, signed(daemon, OLD, CAT)) as ws:
        ran = await three.rotate("--immediate")
        assert ran.status == 0, ran
        assert ran.names() == ["begin", "replaced", "hastened", "done"]
        assert await still_there(ws)
    new = three.keys["secret"]
    assert three.keys == {"secret": new}
    for daemon in three.daemons:
        for key, status in ((OLD, 401), (new, 101)):
            async with rawws.connected(daemon.port, signed(daemon, key, TRUE)) as ws:
                assert ws.answer.status == status


async def test_a_leaked_key_of_one_caller_refuses_no_other_whose_key_is_rotated_meanwhile(at):
    leaked = "the key of billing, which has leaked"
    at.make_secret({"secret": OLD, "billing": leaked})
    async with proxies(at, [0.0, 0.4]):
        assert (await at.rotate("--until", "promoted")).status == 0
        ran = await at.rotate("--key", "billing", "--immediate")
        assert (ran.status, ran.names()) == (0, ["begin", "other_rotations", "replaced", "hastened", "done"])
        assert ran.event("other_rotations")["rotations"] == {"secret": "overlap"}
        assert at.keys["previous"] == OLD
        for daemon in at.daemons:
            for key, status in ((OLD, 101), (at.keys["secret"], 101), (at.keys["billing"], 101), (leaked, 401)):
                async with rawws.connected(daemon.port, signed(daemon, key, TRUE)) as ws:
                    assert ws.answer.status == status
        retired = await at.keys_command("retire", "--overlap", "0s")
        assert retired.status == 0, retired
        assert set(at.keys) == {"secret", "billing"}


async def test_callers_who_had_one_key_until_now_are_given_one_each(at):
    """Each is a copy of it to begin with."""
    at.make_secret({"secret": OLD, "billing": OLD})
    async with proxies(at, [0.0]):
        ran = await at.rotate()
        assert (ran.status, ran.names()) == (0, ["begin", "others", "staged", "promoted", "removed", "done"])
        done = ran.event("done")
        assert done["copies"] == ["billing"]
        assert done["message"].endswith(
            "The old one is still accepted, since other entries of the Secret hold it, too. "
            "'keys rotate --key billing' ends that for 'billing'"
        )
        [daemon] = at.daemons
        for keys, status in (((OLD, *at.keys.values()), 101), ((OLD,), 401)):
            for key in keys:
                async with rawws.connected(daemon.port, signed(daemon, key, TRUE)) as ws:
                    assert ws.answer.status == status
            if status == 101:
                ran = await at.rotate("--key", "billing")
                assert ran.status == 0, ran
                assert "copies" not in ran.event("done")
                assert ran.event("done")["message"].endswith("and none the old one")


@pytest.mark.parametrize("may", [True, False])
async def test_a_leaked_key_is_gone_at_once_where_pods_may_be_annotated(at, may):
    """A kubelet that takes its time looks when an annotation of the pod changes; this one takes a day."""
    at.make_secret()
    async with proxies(at, [86_400.0]):
        if not may:
            at.cluster.faults.refuse_request("patch", "pods", at.status(403, "no"))
        command = await at.start_rotate("--immediate")
        if may:
            ran = await at.end(command)
            assert (ran.status, ran.names()) == (0, ["begin", "replaced", "hastened", "done"])
        else:
            told = await command.event("not_hastened")
            assert "not allowed to patch the pod proxy-node-0" in told["message"]
            await command.event("waiting")
            command.process.terminate()
            await at.end(command)
            ran = await at.rotate("--immediate", "--timeout", "60s")
            assert (ran.status, ran.names()) == (0, ["begin", "resumed", "hastened", "done"])


async def test_a_leaked_key_is_gone_at_once_although_the_answer_to_that_is_lost(at):
    at.make_secret()
    async with proxies(at, [86_400.0]):
        at.cluster.faults.answer_late("patch", "secrets", at.status(504, "etcd took too long"))
        ran = await at.rotate("--immediate", "--timeout", "60s")
        assert (ran.status, ran.names()) == (0, ["begin", "apiserver", "replaced", "hastened", "done"])


async def test_a_proxy_that_is_replaced_in_the_overlap_is_waited_for(three, tmp_path):
    command = await three.start_rotate("--until", "promoted", overlap="3s")
    assert (await three.end(command)).status == 0
    three.cluster.state.remove_pod("default", "proxy-node-2")
    three.add_node("node-2")  # its new pod runs, and doesn't answer yet
    command = await three.start_command("retire", "--output", "json", "--overlap", "1s")
    waiting = await command.event("waiting", missing=1)
    assert list(waiting["silent"]) == ["node-2"]
    three.add_node("node-2", ("127.0.0.1", three.daemons[2].ports["admin"]))
    ran = await three.end(command)
    assert (ran.status, ran.names()[-2:]) == (0, ["removed", "done"])
    assert OLD not in three.keys.values()


# From here on the pods are functions: what is tested is the command.


@pytest.fixture
def two(at):
    at.make_secret()
    for name in ("node-a", "node-b"):
        at.add_stand_in(name)
    return at


STEPS = ["staged", "promoted", "removed"]


@pytest.mark.parametrize(
    ("after", "how"),
    [
        ("staged", signal.SIGKILL),
        ("promoted", signal.SIGKILL),
        ("removed", signal.SIGKILL),
        ("staged", signal.SIGINT),
        ("promoted", signal.SIGTERM),
    ],
)
async def test_stopped_after_any_step_it_goes_on_for_whoever_runs_it_again(two, after, how):
    command = await two.start_rotate(overlap="1s")
    await command.event(after)
    command.process.send_signal(how)
    stopped = await two.end(command)
    assert stopped.status == (-how if how is signal.SIGKILL else 128 + how)
    if how is not signal.SIGKILL:
        assert "run it again, and it goes on from here" in stopped.stderr
        told = stopped.events[-1]
        assert (told["event"], told["status"]) == ("stopped", 128 + how)
        assert told["message"] in stopped.stderr
        assert told["time"] >= stopped.events[0]["time"]
    begun = two.record["id"]
    again = await two.rotate(overlap="1s")
    assert again.status == 0, again
    assert again.names() == ["begin", "resumed", *STEPS[STEPS.index(after) + 1 :], "done"]
    assert two.record["id"] == begun
    assert set(two.keys) == {"secret"}
    assert len(two.secrets) == 2, "one new key was made, not two"


async def test_two_operators_at_once_make_one_rotation(two):
    first, second = await asyncio.gather(two.rotate(overlap="2s"), two.rotate(overlap="2s"))
    assert (first.status, second.status) == (0, 0)
    assert (first.names() + second.names()).count("staged") == 1
    assert (first.names() + second.names()).count("promoted") == 1
    assert set(two.keys) == {"secret"}
    assert len(two.secrets) == 2


async def test_a_conflict_is_looked_at_anew(two):
    conflict = two.status(409, "the object has been modified")
    two.cluster.faults.refuse_request("patch", "secrets", conflict, times=2)
    ran = await two.rotate()
    assert ran.status == 0
    assert ran.names() == ["begin", "conflict", "conflict", "staged", "promoted", "removed", "done"]


async def test_somebody_who_changes_the_secret_all_the_time_takes_nothing_away(two):
    command = await two.start_rotate("--until", "promoted")
    running = asyncio.get_running_loop().create_task(two.end(command))
    while not running.done():
        two.touch_secret()
        await asyncio.sleep(0.05)
    assert (await running).status == 0
    assert two.secret["metadata"]["labels"]["touched"]
    assert two.keys["previous"] == OLD


async def test_a_node_that_does_not_answer_is_named_and_can_be_waived(two):
    two.add_node("node-dead")
    ran = await two.rotate("--timeout", "8s")
    assert ran.status == 4
    assert "no answer from node-dead (503: connection refused): mend, or --waive" in ran.stderr
    assert "run the same command again" in ran.stderr
    told = ran.event("error")
    assert (told["status"], f"k8s-ws-proxy: {told['message']}\n") == (4, ran.stderr)
    assert told["message"] == told["error"]
    assert told["time"] >= ran.events[0]["time"]
    assert list(ran.event("waiting")["silent"]) == ["node-dead"]
    assert two.record["phase"] == "staged"
    ran = await two.rotate("--waive", "node-dead,node-gone")
    assert ran.status == 0
    assert ran.event("waived_absent")["nodes"] == ["node-gone"]
    assert ran.event("done")["waived"] == ["node-dead"]
    assert "node-dead" in ran.event("done")["message"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((404, b'{"error": "no", "reason": "bad_path"}'), "it has no /keys: an older version?"),
        ((200, b"<html>hello</html>"), "isn't k8s-ws-proxy"),
        ((500, b"\x1b[2Jboom"), "500: "),
    ],
    ids=["an older version", "something else", "a failure"],
)
async def test_what_a_pod_answers_instead_is_told(two, answer, words):
    async def backend(_request):
        return Response(*answer)

    two.add_node("node-odd", backend)
    command = await two.start_rotate()
    waiting = await command.event("waiting")
    command.process.terminate()
    ran = await two.end(command)
    assert words in waiting["silent"]["node-odd"]
    assert words in waiting["message"]
    assert "\\u001b" not in ran.stdout


async def test_a_node_that_hangs_holds_up_no_other(two):
    async def backend(_request):
        await asyncio.Event().wait()

    two.add_node("node-hung", backend)
    command = await two.start_rotate()
    waiting = await command.event("waiting")
    command.process.terminate()
    await two.end(command)
    assert waiting["silent"] == {"node-hung": "not within 10 s"}
    assert waiting["missing"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("off", [-200.0, 200.0], ids=["slow", "fast"])
async def test_a_node_whose_clock_is_off_is_asked_as_any_other(two, off):
    """What it tells comes with a Date of its own, and its use of the old key counts."""
    odd = two.add_stand_in("node-odd")
    odd.off = off
    began = time.time()
    command = await two.start_rotate("--timeout", "60s", overlap="3s")
    await command.event("waiting", waiting_for="old_unused", missing=0)
    odd.used[OLD] = used = time.time()
    ran = await two.end(command)
    assert ran.status == 0, ran
    assert two.removed_at(OLD) - used >= 3.0 - 0.5
    for step in ("staged", "promoted", "retired"):
        assert began - 1 <= unix(two.record[step]) <= time.time() + 1


async def test_a_pod_that_starts_is_counted_and_not_waited_for(two):
    two.add_node("", phase=Phase.PENDING)
    ran = await two.rotate()
    assert (ran.status, ran.event("begin")["starting"], ran.event("begin")["pods"]) == (0, 1, 2)


@pytest.mark.slow
async def test_a_second_rotation_in_an_overlap_is_refused_unless_forced(two):
    assert (await two.rotate("--until", "promoted")).status == 0
    refused = await two.rotate()
    assert refused.status == 3
    assert "'keys retire' ends that" in refused.stderr
    first_new = two.keys["secret"]
    forced = await two.rotate("--force", "--until", "promoted")
    assert forced.status == 0, forced
    assert {two.keys[entry] for entry in ("previous", "previous-2")} == {OLD, first_new}
    retired = await two.keys_command("retire", "--overlap", "0s")
    assert retired.status == 0, retired
    assert set(two.keys) == {"secret"}
    assert "there is no old key to retire" in (await two.keys_command("retire")).stdout


@pytest.mark.parametrize("immediate", [(), ("--immediate",)], ids=["a rotation", "a leaked key"])
@pytest.mark.parametrize("how", ["--timeout", "a signal"])
async def test_what_was_begun_by_force_goes_on_without_it_as_is_said(two, how, immediate):
    late = two.add_stand_in("node-late")
    late.frozen = {"secret": OLD}
    command = await two.start_rotate("--force", *immediate, *(["--timeout", "8s"] if how == "--timeout" else []))
    await command.event("waiting")
    if how != "--timeout":
        command.process.terminate()
    ran = await two.end(command)
    assert ran.status == (4 if how == "--timeout" else 143)
    assert (
        "again without --force, and" in ran.stderr or "again, without --force if it has added a key, and" in ran.stderr
    )
    begun, late.frozen = two.record["id"], None
    again = await two.rotate(*immediate)
    assert (again.status, again.names()[:2]) == (0, ["begin", "resumed"])
    assert two.record["id"] == begun


async def test_where_nothing_was_begun_force_is_what_goes_on(two):
    assert (await two.rotate("--until", "promoted")).status == 0
    two.cluster.faults.refuse_request("patch", "secrets", two.status(503, "etcd is away"), times=99)
    ran = await two.rotate("--force", "--timeout", "4s")
    assert ran.status == 4
    assert "run the same command again, and it goes on" in ran.stderr


async def test_it_can_be_stopped_before_and_gone_on_from(two):
    staged = await two.rotate("--until", "staged")
    assert (staged.status, staged.names()) == (0, ["begin", "staged", "done"])
    assert set(two.keys) == {"secret", "next"}
    assert (await two.keys_command("retire")).status == 3
    promoted = await two.rotate("--until", "promoted")
    assert (promoted.status, promoted.names()) == (0, ["begin", "resumed", "promoted", "done"])
    assert two.keys["previous"] == OLD


async def test_a_dry_run_changes_nothing(two):
    before = two.secret["metadata"]["resourceVersion"]
    ran = await two.keys_command("rotate", "--dry-run")
    assert ran.status == 0
    assert "nothing is changed. A new key would be added" in ran.stdout
    assert "unused for 10m00s" in ran.stdout
    assert "no answer" not in ran.stdout
    two.add_node("node-dead")
    ran = await two.keys_command("rotate", "--dry-run")
    assert "no answer from node-dead (503: connection refused): it would wait for them" in ran.stdout
    assert (await two.keys_command("rotate", "--dry-run", "--immediate")).status == 0
    assert two.secret["metadata"]["resourceVersion"] == before
    assert two.cluster.observed.count("patch secrets") == 0


async def test_an_apiserver_that_goes_away_is_waited_for(two):
    late = two.add_stand_in("node-late")
    late.frozen = {"secret": OLD}
    command = await two.start_rotate()
    await command.event("waiting")
    await two.cluster.stop_listening(drop=True)
    await command.event("apiserver")
    late.frozen = None
    await two.cluster.start_listening()
    ran = await two.end(command)
    assert (ran.status, ran.names()[-1]) == (0, "done")


async def test_a_busy_apiserver_is_given_the_time_it_asks_for(two):
    for verb, resource in (("get", "secrets"), ("list", "pods"), ("get", "pods/proxy"), ("patch", "secrets")):
        two.cluster.faults.refuse_request(verb, resource, throttled(1))
    ran = await two.rotate()
    assert (ran.status, ran.names()) == (0, ["begin", "staged", "promoted", "removed", "done"])


@pytest.mark.parametrize(
    ("verb", "resource"),
    [("get", "secrets"), ("patch", "secrets"), ("get", "daemonsets.apps"), ("list", "pods"), ("get", "pods/proxy")],
)
async def test_a_right_that_is_missing_is_named(two, verb, resource):
    two.cluster.faults.deny(verb, resource)
    ran = await two.rotate()
    assert ran.status == 1
    assert f"it needs a Role with {verb!r} on {resource!r}" in ran.stderr


@pytest.mark.parametrize("code", [400, 422])
async def test_what_the_apiserver_says_of_a_write_is_not_repeated(two, code):
    two.cluster.faults.refuse_request("patch", "secrets", two.status(code, f"Invalid value: {OLD}"))
    ran = await two.rotate()
    assert ran.status == 1
    assert f"the apiserver answered {code}" in ran.stderr


@pytest.mark.parametrize("code", [500, 503, 504])
async def test_an_apiserver_that_fails_for_a_moment_is_asked_again(two, code):
    two.cluster.faults.refuse_request("patch", "secrets", two.status(code, f"etcd: {OLD}"), times=2)
    ran = await two.rotate()
    assert (ran.status, ran.names().count("apiserver")) == (0, 2)
    two.cluster.faults.refuse_request("get", "secrets", two.status(code, "etcd"))
    ran = await two.rotate()
    assert ran.status == 1, "where nothing worked yet, something may be wrong altogether"
    assert str(code) in ran.stderr


async def test_an_expired_token_is_read_again(two):
    late = two.add_stand_in("node-late")
    late.frozen = {"secret": OLD}
    command = await two.start_rotate()
    await command.event("waiting")
    old = two.cluster.token("operator")
    two.cluster.replace_token(old, "a-fresh-token")
    two.cluster.write_kubeconfig(two.directory / "kubeconfig-operator", "operator")
    late.frozen = None
    ran = await two.end(command)
    assert ran.status == 0, ran


async def test_wrong_credentials_are_told(two):
    command = await two.start_command("status")
    assert (await two.end(command)).status == 0
    two.cluster.replace_token(two.cluster.token("operator"), None)
    ran = await two.keys_command("status")
    assert ran.status == 1
    assert "doesn't accept the credentials: log in anew" in ran.stderr
